//! Inputs that the user gives, read as they are asked for.
//!
//! A place is an `.npz` file with an array for each input, under its name; an `.npy` file for a model of one input; a
//! folder of such files, in the order of their names; or a folder of ONNX test data (`test_data_set_0/input_0.pb`, …).
//!
//! An array with one axis more than its input is a stack of inputs. One with as many axes holds samples along its first
//! axis, and one with an axis less is one sample. Samples are dealt out in batches of the input's first size, across
//! files; where that size is open, as [`Batches`] says.

mod array;
mod column;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use npyz::npz::NpzArchive;

use crate::exec::sample::{self, Input};
use crate::ir::Tensor;
use crate::model::Model;

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
    #[error("{}: there is no array for input \"{input}\"", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The input.
        input: String,
    },
    /// An array is not what its input takes.
    #[error("{}: array \"{input}\" {reason}", .file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
        /// The input.
        input: String,
        /// Why.
        reason: String,
    },
    /// What the model takes is not known.
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
}

/// Where inputs are.
#[derive(Clone, Debug)]
pub struct Data {
    pieces: Vec<Piece>,
}

/// One file or folder that holds tensors for every input.
#[derive(Clone, Debug)]
enum Piece {
    /// Arrays by name.
    Npz(PathBuf),
    /// One array.
    Npy(PathBuf),
    /// A folder of `input_K.pb`.
    Messages(PathBuf),
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
        if !fs::metadata(place).map_err(io)?.is_dir() {
            let piece = Piece::of(place).ok_or_else(|| unknown("expected an .npz or .npy file, or a folder"))?;
            if let Piece::Npz(file) = &piece {
                archive(file)?;
            }
            return Ok(Data { pieces: vec![piece] });
        }
        let mut entries = fs::read_dir(place).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>();
        let entries = entries.as_mut().map_err(|e| io(io::Error::new(e.kind(), e.to_string())))?;
        // As people count: set_2 comes before set_10.
        entries.sort_by_cached_key(|path| (path.as_os_str().len(), path.clone()));
        let mut pieces: Vec<Piece> = entries.iter().filter_map(|path| Piece::of(path)).collect();
        if pieces.is_empty() && place.join(column::message(0)).is_file() {
            pieces.push(Piece::Messages(place.to_path_buf()));
        }
        if pieces.is_empty() {
            return Err(unknown("the folder has no .npz or .npy file and no test_data_set_0/input_0.pb"));
        }
        Ok(Data { pieces })
    }

    /// Samples for `model`: one tensor per input that has no default, in batches of the size that the model fixes, or one
    /// by one.
    ///
    /// # Errors
    /// When it is not known what the model takes, and as [`Data::open`] for what does not fit it.
    pub fn samples(&self, model: &Model) -> Result<Feeds, DataError> {
        let inputs = sample::inputs(model).map_err(|reason| DataError::Model { reason })?;
        self.feeds(&inputs, Batches::One)
    }

    /// Feeds of one tensor per input, as many as the input with the fewest has.
    ///
    /// # Errors
    /// For an input for which the first piece has nothing fitting. What is wrong later shows when it is read.
    pub(crate) fn feeds(&self, inputs: &[Input], batches: Batches) -> Result<Feeds, DataError> {
        let columns = inputs.iter().enumerate().map(|(slot, input)| {
            let alone = inputs.len() == 1;
            Ok((input.name.clone(), column::start(&self.pieces, slot, alone, input, batches)?))
        });
        Ok(Feeds { columns: columns.collect::<Result<_, DataError>>()? })
    }
}

impl Piece {
    fn of(path: &Path) -> Option<Piece> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => Some(Piece::Npz(path.to_path_buf())),
            Some("npy") => Some(Piece::Npy(path.to_path_buf())),
            _ => path.join(column::message(0)).is_file().then(|| Piece::Messages(path.to_path_buf())),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Piece::Npz(path) | Piece::Npy(path) | Piece::Messages(path) => path,
        }
    }
}

fn archive(file: &Path) -> Result<NpzArchive<BufReader<File>>, DataError> {
    NpzArchive::open(file).map_err(|error| DataError::Io { file: file.to_path_buf(), error })
}

/// One tensor per input after another, on their way from files.
pub struct Feeds {
    columns: Vec<(String, Receiver<Result<Tensor, DataError>>)>,
}

impl Iterator for Feeds {
    type Item = Result<Vec<(String, Tensor)>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.columns.is_empty() {
            return None;
        }
        let mut feed = Vec::with_capacity(self.columns.len());
        for (name, column) in &self.columns {
            match column.recv().ok()? {
                Ok(tensor) => feed.push((name.clone(), tensor)),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(feed))
    }
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

    fn feeds(place: &Path, ty: &str, batches: Batches) -> Result<Vec<Tensor>, DataError> {
        let text = format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({ty} x) => (float[] y) {{ y = Relu(x) }}"#);
        let inputs = inputs(&parse(&text).unwrap()).unwrap();
        let feeds = Data::open(place)?.feeds(&inputs, batches)?;
        feeds.map(|feed| Ok(feed?[0].1.clone())).collect()
    }

    fn dims(tensors: &[Tensor]) -> Vec<Vec<usize>> {
        tensors.iter().map(|t| t.dims().to_vec()).collect()
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
        let four = of("float[4,2]", Batches::One).unwrap_err().to_string();
        assert!(four.contains("3 samples, and a batch takes 4"), "{four}");
        let other = folder.path().join("b.npz");
        save_npz(&other, "y", &[1], &[1.0]);
        assert!(matches!(feeds(&other, "float[1]", Batches::One), Err(DataError::Missing { .. })));
        assert!(matches!(Data::open("/no/such/file.npz"), Err(DataError::Io { .. })));
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
