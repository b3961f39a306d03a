//! Inputs that the user gives, read as they are asked for.
//!
//! A place is an `.npz` file with an array for each input, under its name; an `.npy` file for a model of one input; a
//! folder of such files, in the order of their names; or a folder of ONNX test data (`test_data_set_0/input_0.pb`, …).
//!
//! An array with one axis more than its input is a stack of inputs. One with as many axes holds samples along its first
//! axis, and one with an axis less is one sample. Arrays that fit as they are, and would not go
//! together if they were cut so, are taken as they are. Samples are dealt out in batches of the input's first size, across
//! files; where that size is open, as [`Batches`] says.

mod array;
mod batch;
mod column;
mod convert;
mod image;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use npyz::npz::NpzArchive;

pub use self::batch::Origin;
use self::column::{Column, Sent, stands_whole};
pub use self::image::{Imaging, Layout};
use crate::exec::sample::Input;
use crate::ir::Tensor;

/// Why arrays are no inputs.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("{}: {error}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// There is nothing for an input.
    #[error("{}: there is no array for input \"{input}\"; {}", .file.display(), has(.known))]
    Missing {
        /// The file.
        file: PathBuf,
        /// The input.
        input: String,
        /// Arrays that the file has: those with a similar name, or some.
        known: Vec<String>,
    },
    /// An array is not what its input takes.
    #[error("{} for input \"{input}\" {reason}", .file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
        /// The input.
        input: String,
        /// Why.
        reason: String,
    },
    /// One sample is not what its input takes.
    #[error("{origin} for input \"{input}\" {reason}")]
    Sample {
        /// Which.
        origin: Origin,
        /// The input.
        input: String,
        /// Why.
        reason: String,
    },
    /// What the model takes is not known, or nothing can be made up for it.
    #[error("{reason}")]
    Model {
        /// Why.
        reason: String,
    },
    /// The place holds nothing that is known.
    #[error("{}: {reason}", .place.display())]
    Unknown {
        /// A file or folder.
        place: PathBuf,
        /// What was looked for.
        reason: &'static str,
    },
    /// There is not a single sample.
    #[error("{}: there are no samples", .place.display())]
    Empty {
        /// A file or folder.
        place: PathBuf,
    },
}

fn has(known: &[String]) -> String {
    match known {
        [] => "it has none".into(),
        known => format!("it has \"{}\"", known.join("\", \"")),
    }
}

/// What there is to say of the data, told once each. Clones share what was said.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// What was said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where inputs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    place: PathBuf,
    pieces: Vec<Piece>,
    imaging: Imaging,
    /// Files of the folder that are nothing that is known.
    passed_over: usize,
}

/// One file or folder that holds tensors for every input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Arrays by name.
    Npz(PathBuf),
    /// One array.
    Npy(PathBuf),
    /// A folder of `input_K.pb`.
    Messages(PathBuf),
    /// One image, for the only input.
    Image(PathBuf),
}

/// How many samples are in a feed where the model leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batches {
    /// One.
    One,
    /// One, two, one, two: whatever depends on the batch shows.
    OneAndTwo,
}

impl Data {
    /// The inputs at this place.
    ///
    /// # Errors
    /// When there is none, or it is nothing that is known.
    pub fn open(place: impl AsRef<Path>) -> Result<Data, DataError> {
        let place = place.as_ref();
        let io = |error| DataError::Io { file: place.to_path_buf(), error };
        let unknown = |reason| DataError::Unknown { place: place.to_path_buf(), reason };
        let data =
            |pieces, passed_over| Data { place: place.to_path_buf(), pieces, imaging: Imaging::default(), passed_over };
        if !fs::metadata(place).map_err(io)?.is_dir() {
            let piece = Piece::of(place).ok_or_else(|| unknown("expected an .npz, .npy or image file, or a folder"))?;
            if let Piece::Npz(file) = &piece {
                archive(file)?;
            }
            return Ok(data(vec![piece], 0));
        }
        let entries = entries(place)?;
        let mut pieces: Vec<Piece> = entries.iter().filter_map(|path| Piece::of(path)).collect();
        let passed_over = entries.iter().filter(|path| path.is_file()).count().saturating_sub(pieces.len());
        if pieces.is_empty() && place.join(column::message(0)).is_file() {
            return Ok(data(vec![Piece::Messages(place.to_path_buf())], 0));
        }
        if pieces.is_empty() {
            // Images are often sorted by what they show: a folder for each class.
            for folder in entries.iter().filter(|path| path.is_dir()) {
                pieces.extend(self::entries(folder)?.into_iter().filter(|p| image::is_named_so(p)).map(Piece::Image));
            }
        }
        if pieces.is_empty() {
            return Err(unknown("the folder has no .npz, .npy or image file and no test_data_set_0/input_0.pb"));
        }
        let images = pieces.iter().filter(|p| matches!(p, Piece::Image(_))).count();
        if images > 0 && images < pieces.len() {
            return Err(unknown("the folder has both images and arrays; name the files or the folder that are meant"));
        }
        Ok(data(pieces, passed_over))
    }

    /// The same, images being made inputs as `imaging` says.
    #[must_use]
    pub fn imaged(mut self, imaging: Imaging) -> Data {
        self.imaging = imaging;
        self
    }

    /// Whether these are images.
    pub fn is_images(&self) -> bool {
        self.pieces.iter().any(|p| matches!(p, Piece::Image(_)))
    }

    /// What there is to say of the place, before anything is read.
    pub(crate) fn notes(&self) -> Notes {
        let notes = Notes::default();
        if self.passed_over > 0 {
            notes.add(format!(
                "{}: {} files are no samples and are passed over",
                self.place.display(),
                self.passed_over
            ));
        }
        if self.is_images() && self.imaging.is_plain() {
            notes.add("images are given to the model as bytes from 0 to 255: no scale, mean or std was said".into());
        }
        notes
    }

    /// Where these are.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// Keep about `count` files, taken evenly from all, where each of them is a sample.
    pub(crate) fn thin(&mut self, count: usize) {
        let single = |piece: &Piece| matches!(piece, Piece::Image(_) | Piece::Messages(_));
        if count < self.pieces.len() && self.pieces.iter().all(single) {
            let all = std::mem::take(&mut self.pieces);
            let total = all.len();
            let kept = all.into_iter().enumerate().filter(|(i, _)| is_taken(*i, count, total));
            self.pieces = kept.map(|(_, piece)| piece).collect();
        }
    }

    /// Feeds of one tensor per input, as many as the input with the fewest has.
    ///
    /// # Errors
    /// For an input for which the first piece has nothing fitting. What is wrong later shows when it is read.
    pub(crate) fn feeds(&self, inputs: &[Input], batches: Batches, notes: &Notes) -> Result<Feeds, DataError> {
        let columns = self.columns(inputs, notes).zip(inputs);
        let columns = columns.map(|(column, input)| Ok((input.clone(), column?.start(batches)?)));
        Ok(Feeds { columns: columns.collect::<Result<_, DataError>>()? })
    }

    /// How many feeds there are, and how many samples make one at the most, told from headers alone.
    ///
    /// # Errors
    /// For a piece that does not fit.
    pub(crate) fn total(&self, inputs: &[Input], notes: &Notes) -> Result<(u64, usize), DataError> {
        let found = self.columns(inputs, notes).map(|column| column?.total());
        let (totals, batches): (Vec<u64>, Vec<usize>) =
            found.collect::<Result<Vec<_>, DataError>>()?.into_iter().unzip();
        let (least, most) = (totals.iter().min().copied().unwrap_or(0), totals.iter().max().copied().unwrap_or(0));
        if least < most {
            let name = |n: u64| totals.iter().position(|t| *t == n).and_then(|i| inputs.get(i)).map_or("", |i| &i.name);
            notes.add(format!(
                "{}: there are {most} samples for input \"{}\" and {least} for \"{}\"; {least} are used",
                self.place.display(),
                name(most),
                name(least)
            ));
        }
        Ok((least, batches.into_iter().max().unwrap_or(1)))
    }

    fn columns<'a>(
        &'a self,
        inputs: &'a [Input],
        notes: &'a Notes,
    ) -> impl Iterator<Item = Result<Column, DataError>> + 'a {
        let alone = inputs.len() == 1;
        let whole = self.pieces.first().is_some_and(|piece| stands_whole(piece, inputs));
        inputs.iter().enumerate().map(move |(slot, input)| Column::new(self, slot, alone, whole, input, notes))
    }
}

/// Whether the `i`th of `total` is one of `count` that are spread evenly over all.
pub(crate) fn is_taken(i: usize, count: usize, total: usize) -> bool {
    let (i, count, total) = (i as u128, count as u128, total.max(1) as u128);
    (i + 1) * count / total > i * count / total
}

/// What a folder has, as people count: set_2 comes before set_10. What is hidden is left alone.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |error| DataError::Io { file: folder.to_path_buf(), error };
    let found = fs::read_dir(folder).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>();
    let mut found = found.map_err(io)?;
    found.retain(|path| !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")));
    found.sort_by_cached_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(found)
}

impl Piece {
    fn of(path: &Path) -> Option<Piece> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => Some(Piece::Npz(path.to_path_buf())),
            Some("npy") => Some(Piece::Npy(path.to_path_buf())),
            _ if image::is_named_so(path) => Some(Piece::Image(path.to_path_buf())),
            _ => path.join(column::message(0)).is_file().then(|| Piece::Messages(path.to_path_buf())),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Piece::Npz(path) | Piece::Npy(path) | Piece::Messages(path) | Piece::Image(path) => path,
        }
    }
}

fn archive(file: &Path) -> Result<NpzArchive<BufReader<File>>, DataError> {
    NpzArchive::open(file).map_err(|error| DataError::Io { file: file.to_path_buf(), error })
}

/// One tensor per input after another, on their way from files.
pub(crate) struct Feeds {
    columns: Vec<(Input, Receiver<Sent>)>,
}

impl Iterator for Feeds {
    /// One tensor per input, and where the first of them comes from.
    type Item = Result<(Vec<(String, Tensor)>, Origin), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut feed = Vec::with_capacity(self.columns.len());
        let mut origin = None;
        let mut sizes = Called::default();
        for (input, column) in &self.columns {
            match column.recv().ok()? {
                Ok(fed) => {
                    if let Err(reason) = sizes.agree(input, fed.tensor.dims()) {
                        return Some(Err(DataError::Sample { origin: fed.origin, input: input.name.clone(), reason }));
                    }
                    feed.push((input.name.clone(), fed.tensor));
                    origin.get_or_insert(fed.origin);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        origin.map(|origin| Ok((feed, origin)))
    }
}

/// What the names of open dimensions stand for in one feed: each for one size, wherever it is.
#[derive(Default)]
struct Called<'a>(Vec<(&'a str, usize, &'a Input)>);

impl<'a> Called<'a> {
    /// Take in the sizes that `input` has, or say which of them is another than its name had before.
    fn agree(&mut self, input: &'a Input, sizes: &[usize]) -> Result<(), String> {
        for (dim, &size) in input.dims.iter().zip(sizes) {
            let Some(name) = dim.name() else { continue };
            match self.0.iter().find(|(known, ..)| *known == name) {
                Some(&(_, before, other)) if before != size => {
                    return Err(format!(
                        "has \"{name}\" = {size} and \"{}\" {before}; for two sizes give two names: {} {}",
                        other.name,
                        renaming(other, "", name),
                        renaming(input, "_2", name),
                    ));
                }
                Some(_) => {}
                None => self.0.push((name, size, input)),
            }
        }
        Ok(())
    }
}

/// The option that writes `suffix` behind the name `name` in the sizes of `input`.
fn renaming(input: &Input, suffix: &str, name: &str) -> String {
    let dims = input.dims.iter().map(|dim| match (dim.known(), dim.name()) {
        (Some(size), _) => size.to_string(),
        (None, Some(this)) if this == name => format!("{name}{suffix}"),
        (None, this) => this.unwrap_or("n").to_string(),
    });
    format!("--input-shape {}:{}", input.name, dims.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sample::inputs;
    use crate::ir::DType;
    use crate::text::parse;

    fn save_npz(path: &Path, name: &str, shape: &[u64], elements: &[f32]) {
        use npyz::WriterBuilder;
        let mut file = npyz::npz::NpzWriter::create(path).unwrap();
        let mut array = file.array(name, Default::default()).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
        array.extend(elements.iter().copied()).unwrap();
        array.finish().unwrap();
    }

    fn save_npy(path: &Path, shape: &[u64], elements: &[f32]) {
        use npyz::WriterBuilder;
        let file = File::create(path).unwrap();
        let mut array = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
        array.extend(elements.iter().copied()).unwrap();
        array.finish().unwrap();
    }

    fn of(ty: &str) -> Vec<Input> {
        let text = format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({ty} x) => (float[] y) {{ y = Relu(x) }}"#);
        inputs(&parse(&text).unwrap()).unwrap()
    }

    fn feeds(place: &Path, ty: &str, batches: Batches) -> Result<Vec<Tensor>, DataError> {
        let feeds = Data::open(place)?.feeds(&of(ty), batches, &Notes::default())?;
        feeds.map(|feed| Ok(feed?.0[0].1.clone())).collect()
    }

    fn dims(tensors: &[Tensor]) -> Vec<Vec<usize>> {
        tensors.iter().map(|t| t.dims().to_vec()).collect()
    }

    #[test]
    fn arrays_whose_first_axes_are_no_batch_are_taken_as_they_are() {
        use npyz::WriterBuilder;
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
g (float[t,b,2] x, float[1,b,3] state) => (float[] y) { y = Relu(x) }"#;
        let inputs = inputs(&parse(text).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |shapes: [&[u64]; 2]| {
            let place = folder.path().join("a.npz");
            let mut file = npyz::npz::NpzWriter::create(&place).unwrap();
            for (name, shape) in ["x", "state"].into_iter().zip(shapes) {
                let array = file.array(name, Default::default()).unwrap().default_dtype();
                let mut array = array.shape(shape).begin_nd().unwrap();
                array.extend(std::iter::repeat_n(1.0f32, shape.iter().product::<u64>() as usize)).unwrap();
                array.finish().unwrap();
            }
            drop(file);
            let feeds = Data::open(&place).unwrap().feeds(&inputs, Batches::One, &Notes::default()).unwrap();
            feeds.map(|feed| feed.map(|f| dims(&[f.0[0].1.clone(), f.0[1].1.clone()]))).collect::<Result<Vec<_>, _>>()
        };
        assert_eq!(write([&[4, 2, 2], &[1, 2, 3]]).unwrap(), [vec![vec![4, 2, 2], vec![1, 2, 3]]]);
        // As many of one as of the other: one after another.
        assert_eq!(write([&[3, 2, 2], &[3, 2, 3]]).unwrap(), vec![vec![vec![1, 2, 2], vec![1, 2, 3]]; 3]);
    }

    #[test]
    fn one_name_is_one_size() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
g (float[b,t] x, float[b,t] mask) => (float[] y) { y = Add(x, mask) }"#;
        let inputs = inputs(&parse(text).unwrap()).unwrap();
        let mut sizes = Called::default();
        assert_eq!(sizes.agree(&inputs[0], &[2, 1]), Ok(()));
        assert_eq!(sizes.agree(&inputs[1], &[2, 1]), Ok(()));
        insta::assert_snapshot!(sizes.agree(&inputs[1], &[2, 6]).unwrap_err(), @r#"has "t" = 6 and "x" 1; for two sizes give two names: --input-shape x:b,t --input-shape mask:b,t_2"#);
    }

    #[test]
    fn arrays_are_cut_into_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        save_npz(&path, "x", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let of = |ty: &str, batches| feeds(&path, ty, batches);
        assert_eq!(dims(&of("float[n,2]", Batches::OneAndTwo).unwrap()), [[1, 2], [2, 2]]);
        assert_eq!(dims(&of("float[n,2]", Batches::One).unwrap()), [[1, 2]; 3]);
        assert_eq!(dims(&of("float[2,2]", Batches::One).unwrap()), [[2, 2]]);
        let stacked = of("float[2]", Batches::OneAndTwo).unwrap();
        assert_eq!(stacked[2].reals(), Some(vec![5.0, 6.0]));
        let halves = of("float16[1,2]", Batches::One).unwrap();
        assert_eq!((halves.len(), halves[1].dtype(), halves[1].reals()), (3, DType::F16, Some(vec![3.0, 4.0])));
        assert!(matches!(of("float[1,3]", Batches::One), Err(DataError::Unfit { .. })));
        assert!(matches!(of("string[1,2]", Batches::One), Err(DataError::Unfit { .. })));
        for other in ["int64[1,2]", "bool[n,2]", "uint8[2]"] {
            let refused = of(other, Batches::One).unwrap_err().to_string();
            assert!(refused.contains("holds float") && refused.contains("not converted"), "{refused}");
        }
        let other = folder.path().join("b.npz");
        save_npz(&other, "xs", &[1, 1], &[1.0]);
        let missing = feeds(&other, "float[1,2]", Batches::One).unwrap_err();
        assert!(matches!(missing, DataError::Missing { .. }));
        assert!(missing.to_string().ends_with("no array for input \"x\"; it has \"xs\""), "{missing}");
        assert!(matches!(Data::open("/no/such/file.npz"), Err(DataError::Io { .. })));
    }

    /// The tensors for one input, and what there is to say of them.
    fn told(data: &Data, ty: &str) -> (Vec<Tensor>, Vec<String>) {
        let notes = data.notes();
        let feeds = data.feeds(&of(ty), Batches::One, &notes).unwrap();
        (feeds.map(|feed| feed.unwrap().0[0].1.clone()).collect(), notes.said())
    }

    #[test]
    fn what_makes_no_batch_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        save_npz(&path, "x", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let data = Data::open(&path).unwrap();
        let (found, notes) = told(&data, "float[4,2]");
        assert_eq!(found[0].reals(), Some(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0]));
        assert_eq!(notes, ["input \"x\": 3 samples are repeated to make a batch of 4"]);
        let (found, notes) = told(&data, "float[2,2]");
        assert_eq!(
            (found.len(), &notes[..]),
            (1, &["input \"x\": the last 1 samples make no batch of 2 and are left out".to_string()][..])
        );
        let total = |ty| data.total(&of(ty), &Notes::default()).unwrap();
        assert_eq!(
            [total("float[4,2]"), total("float[2,2]"), total("float[n,2]"), total("float[2]")],
            [(1, 4), (1, 2), (3, 1), (3, 1)]
        );
        let huge = data.feeds(&of("float[1000000000,2]"), Batches::One, &Notes::default()).unwrap();
        let refused = huge.map(|f| f.map(|_| ())).collect::<Result<Vec<()>, _>>().unwrap_err().to_string();
        assert!(refused.contains("sample 0") && refused.contains("batch"), "{refused}");
    }

    #[test]
    fn the_only_input_takes_the_only_array_that_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        save_npz(&path, "images", &[3, 2], &[0.0; 6]);
        let (found, notes) = told(&Data::open(&path).unwrap(), "float[n,2]");
        assert_eq!(found.len(), 3);
        assert!(notes[0].contains("\"images\""), "{notes:?}");
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,2] x, float[n,2] z) => (float[n,2] y) { y = Add(x, z) }"#;
        let two = inputs(&parse(text).unwrap()).unwrap();
        let refused = Data::open(&path).unwrap().feeds(&two, Batches::One, &Notes::default()).err().unwrap();
        assert!(matches!(refused, DataError::Missing { .. }), "{refused}");
    }

    #[test]
    fn what_is_cut_off_names_the_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        save_npy(&path, &[4, 2], &[1.0; 8]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let refused = feeds(&path, "float[n,2]", Batches::One).unwrap_err().to_string();
        assert!(refused.contains("a.npy, sample 2 for input \"x\" is cut off"), "{refused}");
        let npz = folder.path().join("b.npz");
        save_npz(&npz, "x", &[2000, 2], &(0..4000).map(|i| (i as f32).sin()).collect::<Vec<_>>());
        let whole = fs::read(&npz).unwrap();
        for end in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&npz, &whole[..end]).unwrap();
            assert!(matches!(feeds(&npz, "float[n,2]", Batches::One), Err(DataError::Io { .. })), "{end}");
        }
        let mut spoiled = whole.clone();
        spoiled[200..300].fill(0xa5);
        fs::write(&npz, &spoiled).unwrap();
        assert!(feeds(&npz, "float[n,2]", Batches::One).is_err());
    }

    #[test]
    fn a_scalar_is_an_input() {
        let folder = tempfile::tempdir().unwrap();
        save_npy(&folder.path().join("a.npy"), &[], &[3.0]);
        save_npy(&folder.path().join("b.npy"), &[2], &[4.0, 5.0]);
        let found = feeds(folder.path(), "float", Batches::One).unwrap();
        assert_eq!(
            found.iter().map(|t| (t.rank(), t.item().unwrap())).collect::<Vec<_>>(),
            [(0, 3.0), (0, 4.0), (0, 5.0)]
        );
    }

    #[test]
    fn what_is_taken_is_spread_evenly() {
        let taken = |count, total| (0..total).filter(|i| is_taken(*i, count, total)).collect::<Vec<_>>();
        assert_eq!(taken(3, 9), [2, 5, 8]);
        assert_eq!(taken(4, 4), [0, 1, 2, 3]);
        assert_eq!(taken(7, 3), [0, 1, 2]);
        assert_eq!(taken(5, 512).len(), 5);
    }

    #[test]
    fn batches_reach_across_files() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..11 {
            // Without the batch's axis: one sample.
            save_npy(&folder.path().join(format!("s{i}.npy")), &[2], &[i as f32, 0.5]);
        }
        let found = feeds(folder.path(), "float[4,2]", Batches::One).unwrap();
        assert_eq!(dims(&found), [[4, 2], [4, 2]]);
        let firsts: Vec<f64> = found.iter().flat_map(|t| t.reals().unwrap()).step_by(2).collect();
        assert_eq!(firsts, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "s10 comes last");
    }

    #[test]
    fn samples_of_different_sizes_are_no_batch() {
        let folder = tempfile::tempdir().unwrap();
        save_npy(&folder.path().join("a.npy"), &[1, 2], &[1.0, 2.0]);
        save_npy(&folder.path().join("b.npy"), &[1, 3], &[1.0, 2.0, 3.0]);
        assert_eq!(dims(&feeds(folder.path(), "float[1,n]", Batches::One).unwrap()), [[1, 2], [1, 3]]);
        let refused = feeds(folder.path(), "float[2,n]", Batches::One).unwrap_err().to_string();
        assert!(refused.contains("b.npy") && refused.contains("batch"), "{refused}");
    }

    #[test]
    fn test_data_are_inputs() {
        let folder = tempfile::tempdir().unwrap();
        for set in 0..2 {
            let inner = folder.path().join(format!("test_data_set_{set}"));
            fs::create_dir(&inner).unwrap();
            // Sizes 1 and 2, type float, two elements.
            let mut message = vec![0x0a, 2, 1, 2, 0x10, 1, 0x22, 8];
            message.extend([set as f32, 7.0].iter().flat_map(|x| x.to_le_bytes()));
            fs::write(inner.join("input_0.pb"), message).unwrap();
        }
        let found = feeds(folder.path(), "float[n,2]", Batches::One).unwrap();
        assert_eq!(found.iter().map(|t| t.reals().unwrap()[0]).collect::<Vec<_>>(), [0.0, 1.0]);
        assert_eq!(feeds(&folder.path().join("test_data_set_1"), "float[n,2]", Batches::One).unwrap().len(), 1);
        let refused = feeds(folder.path(), "float[n,3]", Batches::One).unwrap_err().to_string();
        assert!(refused.contains("input_0.pb"), "{refused}");
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Data::open(empty.path()), Err(DataError::Unknown { .. })));
        fs::write(folder.path().join("noise.npy"), b"noise").unwrap();
        assert!(matches!(feeds(&folder.path().join("noise.npy"), "float[1]", Batches::One), Err(DataError::Io { .. })));
    }
}
