//! The tensors of one input, read by a thread that stays just ahead of who uses them.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use npyz::npz::{NpzArchive, file_name_from_array_name};

use super::array::{Array, Cutting, Layout};
use super::batch::{Batcher, Fed, Origin, Rest, fixed};
use super::image::Frame;
use super::{Batches, Called, Data, DataError, Notes, Piece, archive};
use crate::exec::sample::Input;
use crate::ir::Tensor;
use crate::onnx::tensor;
use crate::similar::similar;

/// The file of the input at this place among the model's inputs.
pub(super) fn message(slot: usize) -> String {
    format!("input_{slot}.pb")
}

/// The tensors for one input.
pub(super) struct Column {
    slot: usize,
    /// The model has no other.
    alone: bool,
    input: Input,
    pieces: Vec<Piece>,
    /// Arrays of as many axes as the input has are inputs, not samples along the first of them.
    whole: bool,
    /// How images become the input, where there are images.
    frame: Option<Frame>,
    notes: Notes,
}

/// What comes through: the thread that reads sends nothing behind an error.
pub(super) type Sent = Result<Fed, DataError>;

impl Column {
    /// Of the input at `slot`, which is or is not `alone`, and is or is not given as a `whole`.
    ///
    /// # Errors
    /// When the first piece has nothing that fits.
    pub(super) fn new(
        data: &Data,
        slot: usize,
        alone: bool,
        whole: bool,
        input: &Input,
        notes: &Notes,
    ) -> Result<Column, DataError> {
        let mut column = Column {
            slot,
            alone,
            input: input.clone(),
            pieces: data.pieces.clone(),
            whole,
            frame: None,
            notes: notes.clone(),
        };
        if let Some(Piece::Image(file)) = data.pieces.iter().find(|p| matches!(p, Piece::Image(_))) {
            let frame = if alone { Frame::of(&data.imaging, input) } else { Err("is for a model of one input".into()) };
            column.frame = Some(frame.map_err(|reason| column.unfit(file, reason))?);
        }
        Ok(column)
    }

    /// Start reading.
    pub(super) fn start(self, batches: Batches) -> Result<Receiver<Sent>, DataError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        if let Some(first) = self.pieces.first() {
            // What fits nothing is known at once.
            self.length(first)?;
        }
        let place = self.pieces.first().map(|p| p.path().to_path_buf()).unwrap_or_default();
        let read = move || {
            // A defect in a reader of a format must not look like the end of the data.
            let all = panic::catch_unwind(AssertUnwindSafe(|| self.read(batches, &sender)));
            let error = match all {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => {
                    let error = io::Error::other("a defect of the reader");
                    DataError::Io { file: self.pieces.first().map(|p| p.path().into()).unwrap_or_default(), error }
                }
            };
            // Nobody listening is no failure.
            let _ = sender.send(Err(error));
        };
        let spawned = thread::Builder::new().name("data".into()).spawn(read);
        spawned.map_err(|error| DataError::Io { file: place, error })?;
        Ok(receiver)
    }

    /// How many tensors there are, and how many samples make one, told from headers alone.
    pub(super) fn total(&self) -> Result<(u64, usize), DataError> {
        let (mut whole, mut samples) = (0u64, 0u64);
        for piece in &self.pieces {
            match self.length(piece)? {
                Length::Tensors(n) => whole = whole.saturating_add(n),
                Length::Samples(n) => samples = samples.saturating_add(n),
            }
        }
        let batch = fixed(&self.input).filter(|_| samples > 0).unwrap_or(1);
        let batches = if samples > 0 { (samples / batch as u64).max(1) } else { 0 };
        Ok((whole.saturating_add(batches), batch))
    }

    fn read(&self, batches: Batches, sender: &SyncSender<Sent>) -> Result<(), DataError> {
        let mut batcher = Batcher::new(&self.input, batches);
        let send = |fed| sender.send(Ok(fed)).is_ok();
        for piece in &self.pieces {
            if !self.read_piece(piece, &mut batcher, &send)? {
                return Ok(());
            }
        }
        let name = &self.input.name;
        let last = self.pieces.last().map(Piece::path).unwrap_or(Path::new(""));
        match batcher.rest().map_err(|reason| self.unfit(last, reason))? {
            Rest::Nothing => {}
            Rest::Dropped(n, batch) => {
                self.notes
                    .add(format!("input \"{name}\": the last {n} samples make no batch of {batch} and are left out"));
            }
            Rest::Wrapped(fed, n, batch) => {
                self.notes.add(format!("input \"{name}\": {n} samples are repeated to make a batch of {batch}"));
                send(fed);
            }
        }
        Ok(())
    }

    /// Hand on the tensors of `piece`; whether more are wanted.
    fn read_piece(&self, piece: &Piece, batcher: &mut Batcher, send: &dyn Fn(Fed) -> bool) -> Result<bool, DataError> {
        let faulty = |index, reason| DataError::Sample {
            origin: Origin::File { file: piece.path().to_path_buf(), index },
            input: self.input.name.clone(),
            reason,
        };
        let at = |index| Origin::File { file: piece.path().to_path_buf(), index: Some(index) };
        match piece {
            Piece::Npz(file) => self.with_array(file, |array, cutting| {
                cutting.read(array, &at, batcher, send).map_err(|f| faulty(Some(f.index), f.reason))
            })?,
            Piece::Npy(file) => {
                let array = npy(file)?;
                let cutting =
                    Cutting::of(&array, &self.input, self.whole).map_err(|reason| self.unfit(file, reason))?;
                cutting.read(array, &at, batcher, send).map_err(|f| faulty(Some(f.index), f.reason))
            }
            Piece::Messages(folder) => {
                let origin = Origin::File { file: folder.clone(), index: None };
                Ok(send(Fed { tensor: self.message(folder)?, origin }))
            }
            Piece::Image(file) => {
                let Some(frame) = &self.frame else { return Ok(false) };
                let (sizes, elements) = frame.read(file).map_err(|reason| faulty(None, reason))?;
                let origin = Origin::File { file: file.clone(), index: None };
                let fed = match frame.is_whole {
                    true => Tensor::raw(self.input.dtype, &sizes, elements)
                        .map(|tensor| Some(Fed { tensor, origin }))
                        .map_err(|e| e.to_string()),
                    false => batcher.take(&sizes, elements, origin),
                };
                Ok(fed.map_err(|reason| faulty(None, reason))?.is_none_or(send))
            }
        }
    }

    /// How much there is in `piece`, and whether it fits, as far as its header tells.
    fn length(&self, piece: &Piece) -> Result<Length, DataError> {
        let of = |cutting: &Cutting| match cutting.layout {
            Layout::Stacked | Layout::Whole => Length::Tensors(cutting.count as u64),
            Layout::Batched | Layout::One => Length::Samples(cutting.count as u64),
        };
        match piece {
            Piece::Npz(file) => self.with_array(file, |_, cutting| of(cutting)),
            Piece::Npy(file) if self.alone => {
                let cutting = Cutting::of(&npy(file)?, &self.input, self.whole);
                cutting.map(|c| of(&c)).map_err(|reason| self.unfit(file, reason))
            }
            Piece::Npy(file) => {
                Err(self.unfit(file, "is one of several inputs, which an .npz file has by name".into()))
            }
            Piece::Messages(folder) => {
                let file = folder.join(message(self.slot));
                let found = fs::metadata(&file).map(|_| Length::Tensors(1));
                found.map_err(|error| DataError::Io { file, error })
            }
            Piece::Image(_) => match &self.frame {
                Some(frame) if frame.is_whole => Ok(Length::Tensors(1)),
                _ => Ok(Length::Samples(1)),
            },
        }
    }

    /// Do `with` with the array for the input and how it is cut.
    fn with_array<T>(
        &self,
        file: &Path,
        with: impl FnOnce(Array<npyz::zip::read::ZipFile<'_>>, &Cutting) -> T,
    ) -> Result<T, DataError> {
        let mut archive = archive(file)?;
        let keys: Vec<String> = archive.array_names().map(str::to_string).collect();
        let name = &self.input.name;
        let key = match keys.iter().find(|k| *k == name) {
            Some(key) => key.clone(),
            None => self.only_key(&mut archive, &keys, file)?,
        };
        let array = in_archive(&mut archive, &key, file)?;
        let cutting = Cutting::of(&array, &self.input, self.whole).map_err(|reason| self.unfit(file, reason))?;
        Ok(with(array, &cutting))
    }

    /// The array that only one input can be meant by, whatever it is called.
    fn only_key(
        &self,
        archive: &mut NpzArchive<BufReader<File>>,
        keys: &[String],
        file: &Path,
    ) -> Result<String, DataError> {
        let name = &self.input.name;
        if self.alone {
            let mut fitting = Vec::new();
            for key in keys {
                if in_archive(archive, key, file)
                    .is_ok_and(|array| Cutting::of(&array, &self.input, self.whole).is_ok())
                {
                    fitting.push(key);
                }
            }
            if let [key] = fitting[..] {
                self.notes.add(format!(
                    "{}: the model's only input, \"{name}\", takes the only array that fits it, \"{key}\"",
                    file.display()
                ));
                return Ok(key.clone());
            }
        }
        let near = similar(name, keys.iter().map(String::as_str));
        let known: Vec<String> = if near.is_empty() { keys.iter().take(8).cloned().collect() } else { near };
        Err(DataError::Missing { file: file.to_path_buf(), input: name.clone(), known })
    }

    /// The tensor for the input in a folder of messages.
    fn message(&self, folder: &Path) -> Result<Tensor, DataError> {
        let file: PathBuf = folder.join(message(self.slot));
        let bytes = fs::read(&file).map_err(|error| DataError::Io { file: file.clone(), error })?;
        let invalid = |e: &dyn std::fmt::Display| DataError::Io {
            file: file.clone(),
            error: io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
        };
        let tensor = tensor::decode(&bytes).map_err(|e| invalid(&e))?;
        let fits = tensor.dtype() == self.input.dtype
            && tensor.rank() == self.input.dims.len()
            && self
                .input
                .dims
                .iter()
                .zip(tensor.dims())
                .all(|(d, &n)| d.known().is_none_or(|d| usize::try_from(d) == Ok(n)));
        let reason = || format!("is {}{:?}, which the input does not take", tensor.dtype(), tensor.dims());
        if fits { Ok(tensor) } else { Err(self.unfit(&file, reason())) }
    }

    fn unfit(&self, file: &Path, reason: String) -> DataError {
        DataError::Unfit { file: file.to_path_buf(), input: self.input.name.clone(), reason }
    }
}

/// Whether the arrays of `piece` are one set of inputs as they are, though none has an axis for samples: all sizes are
/// what `inputs` ask for, and cut along their first axes they would not go together. That is so where a name is the
/// first axis of one input and a later axis of another, and where there would be more of one input than of another, as
/// of a sequence that lies step by step beside the state that it begins with.
pub(super) fn stands_whole(piece: &Piece, inputs: &[Input]) -> bool {
    let Piece::Npz(file) = piece else { return false };
    if inputs.len() < 2 {
        return false;
    }
    let Ok(mut archive) = archive(file) else { return false };
    let mut called = Called::default();
    let mut counts = Vec::new();
    for input in inputs {
        let Ok(array) = in_archive(&mut archive, &input.name, file) else { return false };
        let Some(sizes) = array.sizes().filter(|sizes| sizes.len() == input.dims.len()) else { return false };
        let mut pairs = input.dims.iter().zip(&sizes);
        let fits = pairs.all(|(dim, &size)| dim.known().is_none_or(|d| usize::try_from(d) == Ok(size)));
        if !fits || called.agree(input, &sizes).is_err() {
            return false;
        }
        counts.extend(sizes.first().map(|&size| size / fixed(input).unwrap_or(1)));
    }
    let is_first = |name: &str| inputs.iter().any(|input| input.dims.first().and_then(|d| d.name()) == Some(name));
    let is_later = |input: &Input| input.dims.iter().skip(1).filter_map(|d| d.name()).any(is_first);
    counts.iter().any(|count| *count != counts[0]) || inputs.iter().any(is_later)
}

/// How much a piece holds.
enum Length {
    /// Tensors as the input takes them.
    Tensors(u64),
    /// Samples, of which batches are made.
    Samples(u64),
}

fn npy(file: &Path) -> Result<Array<impl Read + use<>>, DataError> {
    let io = |error| DataError::Io { file: file.to_path_buf(), error };
    Array::open(BufReader::new(File::open(file).map_err(io)?)).map_err(io)
}

fn in_archive<'a>(
    archive: &'a mut NpzArchive<BufReader<File>>,
    key: &str,
    file: &Path,
) -> Result<Array<npyz::zip::read::ZipFile<'a>>, DataError> {
    let io = |error| DataError::Io { file: file.to_path_buf(), error };
    let entry = archive.zip_archive().by_name(&file_name_from_array_name(key)).map_err(|e| io(e.into()))?;
    Array::open(entry).map_err(io)
}
