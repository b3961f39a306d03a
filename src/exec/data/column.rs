//! The tensors of one input, read by a thread that stays just ahead of who uses them.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use npyz::NpyFile;

use super::array::{Cutting, Samples};
use super::{Batches, DataError, Piece, archive};
use crate::exec::sample::Input;
use crate::ir::Tensor;
use crate::onnx::tensor;

/// The file of the input at this place among the model's inputs.
pub(super) fn message(slot: usize) -> String {
    format!("input_{slot}.pb")
}

/// Start reading the tensors of the input at `slot`, which is or is not `alone`.
pub(super) fn start(
    pieces: &[Piece],
    slot: usize,
    alone: bool,
    input: &Input,
    batches: Batches,
) -> Result<Receiver<Result<Tensor, DataError>>, DataError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let mut column = Column { slot, alone, input: input.clone(), samples: Samples::new(input, batches), sender };
    let pieces = pieces.to_vec();
    if let Some(first) = pieces.first() {
        // What fits nothing is known at once.
        column.cutting(first)?;
    }
    let place = pieces.first().map(|p| p.path().to_path_buf()).unwrap_or_default();
    let read = move || {
        let done = pieces.iter().try_fold(true, |go_on, piece| if go_on { column.read(piece) } else { Ok(false) });
        let done = done.and_then(|_| match (column.samples.short(), pieces.last()) {
            (Some(reason), Some(last)) => Err(column.unfit(last.path(), reason)),
            _ => Ok(()),
        });
        if let Err(error) = done {
            // Nobody listening is no failure.
            let _ = column.sender.send(Err(error));
        }
    };
    let spawned = thread::Builder::new().name("data".into()).spawn(read);
    spawned.map_err(|error| DataError::Io { file: place, error })?;
    Ok(receiver)
}

struct Column {
    slot: usize,
    alone: bool,
    input: Input,
    samples: Samples,
    sender: SyncSender<Result<Tensor, DataError>>,
}

impl Column {
    /// Hand on the tensors of `piece`; whether more are wanted.
    fn read(&mut self, piece: &Piece) -> Result<bool, DataError> {
        let cutting = self.cutting(piece)?;
        let path = piece.path();
        let io = |error| DataError::Io { file: path.to_path_buf(), error };
        let unfit = {
            let input = self.input.name.clone();
            move |reason| DataError::Unfit { file: path.to_path_buf(), input, reason }
        };
        let sender = &self.sender;
        let send = |tensor| sender.send(Ok(tensor)).is_ok();
        match (piece, cutting) {
            (Piece::Npz(file), Some(cutting)) => {
                let mut archive = archive(file)?;
                let Some(array) = archive.by_name(&self.input.name).map_err(io)? else { return Ok(false) };
                cutting.read(array, &mut self.samples, &send).map_err(io)?.map_err(unfit)
            }
            (Piece::Npy(file), Some(cutting)) => {
                cutting.read(npy(file)?, &mut self.samples, &send).map_err(io)?.map_err(unfit)
            }
            (Piece::Messages(folder), _) => Ok(send(self.message(folder)?)),
            (Piece::Npz(_) | Piece::Npy(_), None) => Ok(false),
        }
    }

    /// How the array for the input in `piece` is cut; messages are not.
    fn cutting(&self, piece: &Piece) -> Result<Option<Cutting>, DataError> {
        let io = |error| DataError::Io { file: piece.path().to_path_buf(), error };
        let cutting = match piece {
            Piece::Npz(file) => {
                let mut archive = archive(file)?;
                let array = archive
                    .by_name(&self.input.name)
                    .map_err(io)?
                    .ok_or_else(|| DataError::Missing { file: file.clone(), input: self.input.name.clone() })?;
                Cutting::of(&array, &self.input)
            }
            Piece::Npy(file) if self.alone => Cutting::of(&npy(file)?, &self.input),
            Piece::Npy(_) => Err("is one of several inputs, which an .npz file has by name".into()),
            Piece::Messages(folder) => {
                self.message(folder)?;
                return Ok(None);
            }
        };
        cutting.map(Some).map_err(|reason| self.unfit(piece.path(), reason))
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

fn npy(file: &Path) -> Result<NpyFile<BufReader<File>>, DataError> {
    let io = |error| DataError::Io { file: file.to_path_buf(), error };
    NpyFile::new(BufReader::new(File::open(file).map_err(io)?)).map_err(io)
}
