//! Inputs that the user gives: arrays of an `.npz` file, under the inputs' names.
//!
//! An array with one axis more than its input is a stack of inputs. One with as many axes holds samples along its first
//! axis, as many in each feed as the input's first size says; one, then two, where that size is open.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use bytes::Bytes;
use npyz::npz::NpzArchive;
use npyz::{Deserialize, NpyFile, Order, TypeChar};

use crate::exec::exact::rounded;
use crate::exec::sample::Input;
use crate::ir::{DType, Tensor};

/// Why arrays are no inputs.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file is not an `.npz` file, or not there.
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
}

/// An `.npz` file with inputs.
#[derive(Clone, Debug)]
pub struct Data {
    file: PathBuf,
}

/// What an array's axes are.
#[derive(Clone, Copy)]
enum Layout {
    /// `array[i]` is an input.
    Stacked,
    /// So many samples of the first axis are an input.
    Batched(usize),
    /// The first size is open: any number of samples is an input.
    Open,
}

impl Data {
    /// The inputs in this file.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a zip file.
    pub fn open(file: impl AsRef<Path>) -> Result<Data, DataError> {
        let data = Data { file: file.as_ref().to_path_buf() };
        data.archive()?;
        Ok(data)
    }

    fn archive(&self) -> Result<NpzArchive<BufReader<File>>, DataError> {
        NpzArchive::open(&self.file).map_err(|error| self.io(error))
    }

    fn io(&self, error: io::Error) -> DataError {
        DataError::Io { file: self.file.clone(), error }
    }

    fn unfit(&self, input: &Input, reason: String) -> DataError {
        DataError::Unfit { file: self.file.clone(), input: input.name.clone(), reason }
    }

    /// Feeds of one tensor per input, read as they are asked for; as many as the shortest array has.
    ///
    /// # Errors
    /// For an input without a fitting array. What is wrong within an array shows when it is read.
    pub(crate) fn feeds(&self, inputs: &[Input], batches: Batches) -> Result<Feeds, DataError> {
        let columns = inputs.iter().map(|input| Ok((input.name.clone(), self.column(input, batches)?)));
        Ok(Feeds { columns: columns.collect::<Result<_, DataError>>()? })
    }

    /// The tensors for `input`, read by a thread of its own that stays just ahead.
    fn column(&self, input: &Input, batches: Batches) -> Result<Receiver<Result<Tensor, DataError>>, DataError> {
        let shape = self.shape(&mut self.archive()?, input)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let (data, input) = (self.clone(), input.clone());
        let read = move || {
            let sent = sender.clone();
            let done = data.archive().and_then(|mut archive| {
                let array =
                    archive.by_name(&input.name).map_err(|e| data.io(e))?.ok_or_else(|| data.missing(&input))?;
                let send = |tensor| sent.send(Ok(tensor)).is_ok();
                let (io, unfit) = (|e| data.io(e), |reason| data.unfit(&input, reason));
                shape.read(array, input.dtype, batches, &send).map_err(io)?.map_err(unfit)
            });
            if let Err(error) = done {
                // Nobody listening is no failure.
                let _ = sender.send(Err(error));
            }
        };
        thread::Builder::new().name("data".into()).spawn(read).map_err(|e| self.io(e))?;
        Ok(receiver)
    }

    fn missing(&self, input: &Input) -> DataError {
        DataError::Missing { file: self.file.clone(), input: input.name.clone() }
    }

    /// How the array for `input` is cut.
    fn shape(&self, archive: &mut NpzArchive<BufReader<File>>, input: &Input) -> Result<Cutting, DataError> {
        let array = archive.by_name(&input.name).map_err(|e| self.io(e))?.ok_or_else(|| self.missing(input))?;
        let unfit = |reason: String| self.unfit(input, reason);
        let shape: Option<Vec<usize>> = array.shape().iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| unfit("is too large".into()))?;
        let rank = input.dims.len();
        let layout = match shape.len().checked_sub(rank) {
            Some(1) => Layout::Stacked,
            Some(0) if rank > 0 => match input.dims[0].known().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Layout::Batched(n.max(1)),
                None => Layout::Open,
            },
            _ => return Err(unfit(format!("has {} axes, the input {rank}", shape.len()))),
        };
        let [samples, inner @ ..] = &shape[..] else { return Err(unfit("has no axes".into())) };
        let declared = if matches!(layout, Layout::Stacked) { &input.dims[..] } else { &input.dims[1..] };
        if declared.iter().zip(inner).any(|(d, &n)| d.known().is_some_and(|d| usize::try_from(d) != Ok(n))) {
            return Err(unfit(format!("has sizes {shape:?}, which the input does not take")));
        }
        if array.order() == Order::Fortran && shape.len() > 1 {
            return Err(unfit("is in Fortran order; save np.ascontiguousarray of it".into()));
        }
        let per_sample = inner.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let per_sample = per_sample.ok_or_else(|| unfit("is too large".into()))?;
        Ok(Cutting { layout, samples: *samples, inner: inner.to_vec(), per_sample })
    }
}

/// How many samples are in a feed where the model leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batches {
    /// One.
    One,
    /// One, two, one, two: whatever depends on the batch shows.
    OneAndTwo,
}

/// Feeds on their way from a file.
pub(crate) struct Feeds {
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

/// How an array is cut into tensors.
#[derive(Clone)]
struct Cutting {
    layout: Layout,
    samples: usize,
    /// Sizes of a sample.
    inner: Vec<usize>,
    /// Elements of a sample.
    per_sample: usize,
}

impl Cutting {
    /// Samples of each tensor.
    fn counts(&self, batches: Batches) -> impl Iterator<Item = usize> {
        let (layout, mut left) = (self.layout, self.samples);
        (0..).map_while(move |i| {
            let count = match (layout, batches) {
                (Layout::Stacked, _) | (Layout::Open, Batches::One) => 1,
                (Layout::Batched(n), _) => n,
                (Layout::Open, Batches::OneAndTwo) => 1 + i % 2,
            };
            left = left.checked_sub(count)?;
            Some(count)
        })
    }

    /// Sizes of a tensor of so many samples.
    fn dims(&self, count: usize) -> Vec<usize> {
        if matches!(self.layout, Layout::Stacked) { self.inner.clone() } else { [&[count], &self.inner[..]].concat() }
    }

    /// Hand each tensor of `array` to `send` until it takes no more. The inner error says why the type does not fit.
    fn read(
        &self,
        array: NpyFile<impl Read>,
        dtype: DType,
        batches: Batches,
        send: &dyn Fn(Tensor) -> bool,
    ) -> io::Result<Result<(), String>> {
        let npyz::DType::Plain(ty) = array.dtype() else { return Ok(Err("holds records".into())) };
        let cut = Cut { cutting: self, batches, dtype, send };
        match (ty.type_char(), ty.size_field()) {
            (TypeChar::Float, 4) if dtype == DType::F32 => cut.exact(array, f32::to_le_bytes),
            (TypeChar::Int, 8) if dtype == DType::I64 => cut.exact(array, i64::to_le_bytes),
            (TypeChar::Uint, 8) if dtype == DType::U64 => cut.exact(array, u64::to_le_bytes),
            (TypeChar::Bool, _) => cut.converted(array, |b: bool| f64::from(u8::from(b))),
            (TypeChar::Float, 2) => cut.converted(array, |x: half::f16| x.to_f64()),
            (TypeChar::Float, 4) => cut.converted(array, |x: f32| x.into()),
            (TypeChar::Float, 8) => cut.converted(array, |x: f64| x),
            (TypeChar::Int, 1) => cut.converted(array, |x: i8| x.into()),
            (TypeChar::Int, 2) => cut.converted(array, |x: i16| x.into()),
            (TypeChar::Int, 4) => cut.converted(array, |x: i32| x.into()),
            (TypeChar::Int, 8) => cut.converted(array, |x: i64| x as f64),
            (TypeChar::Uint, 1) => cut.converted(array, |x: u8| x.into()),
            (TypeChar::Uint, 2) => cut.converted(array, |x: u16| x.into()),
            (TypeChar::Uint, 4) => cut.converted(array, |x: u32| x.into()),
            _ => Ok(Err(format!("holds elements of type {ty}, the input {dtype}"))),
        }
    }
}

/// An array on its way to tensors of one element type.
struct Cut<'a> {
    cutting: &'a Cutting,
    batches: Batches,
    dtype: DType,
    send: &'a dyn Fn(Tensor) -> bool,
}

impl Cut<'_> {
    fn exact<T: Deserialize, const N: usize>(
        &self,
        array: NpyFile<impl Read>,
        bytes: impl Fn(T) -> [u8; N],
    ) -> io::Result<Result<(), String>> {
        self.each(array, |elements: Vec<T>| Some(elements.into_iter().flat_map(&bytes).collect()))
    }

    fn converted<T: Deserialize>(
        &self,
        array: NpyFile<impl Read>,
        real: impl Fn(T) -> f64,
    ) -> io::Result<Result<(), String>> {
        self.each(array, |elements: Vec<T>| {
            let reals: Vec<f64> = elements.into_iter().map(&real).collect();
            rounded(self.dtype, &reals)
        })
    }

    fn each<T: Deserialize>(
        &self,
        array: NpyFile<impl Read>,
        pack: impl Fn(Vec<T>) -> Option<Bytes>,
    ) -> io::Result<Result<(), String>> {
        let invalid = |e: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
        let mut elements = array.data::<T>().map_err(|e| invalid(&e))?;
        for count in self.cutting.counts(self.batches) {
            let Some(wanted) = self.cutting.per_sample.checked_mul(count) else {
                return Ok(Err("is too large".into()));
            };
            // Grows with what is there, not with what the header claims.
            let some = elements.by_ref().take(wanted).collect::<io::Result<Vec<T>>>()?;
            if some.len() < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(bytes) = pack(some) else {
                return Ok(Err(format!("holds numbers, the input {}", self.dtype)));
            };
            let tensor = match Tensor::raw(self.dtype, &self.cutting.dims(count), bytes) {
                Ok(tensor) => tensor,
                Err(error) => return Ok(Err(error.to_string())),
            };
            if !(self.send)(tensor) {
                break;
            }
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sample::inputs;
    use crate::text::parse;

    #[test]
    fn samples_are_dealt_out() {
        let counts = |layout, samples, batches| {
            Cutting { layout, samples, inner: vec![2], per_sample: 2 }.counts(batches).collect::<Vec<_>>()
        };
        assert_eq!(counts(Layout::Open, 5, Batches::OneAndTwo), [1, 2, 1]);
        assert_eq!(counts(Layout::Open, 3, Batches::One), [1, 1, 1]);
        assert_eq!(counts(Layout::Batched(2), 5, Batches::OneAndTwo), [2, 2]);
        assert_eq!(counts(Layout::Stacked, 2, Batches::OneAndTwo), [1, 1]);
    }

    fn saved(name: &str, shape: &[u64], elements: &[f32]) -> tempfile::TempPath {
        use npyz::WriterBuilder;
        let path = tempfile::Builder::new().suffix(".npz").tempfile().unwrap().into_temp_path();
        let mut file = npyz::npz::NpzWriter::create(&path).unwrap();
        let mut array = file.array(name, Default::default()).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
        array.extend(elements.iter().copied()).unwrap();
        array.finish().unwrap();
        drop(file);
        path
    }

    #[test]
    fn arrays_are_cut_into_inputs() {
        let model = |ty: &str| {
            let text =
                format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({ty} x) => (float[] y) {{ y = Relu(x) }}"#);
            inputs(&parse(&text).unwrap()).unwrap()
        };
        let path = saved("x", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let feeds = |ty: &str| {
            let feeds = Data::open(&path).unwrap().feeds(&model(ty), Batches::OneAndTwo)?;
            feeds.map(|feed| Ok::<_, DataError>(feed?[0].1.clone())).collect::<Result<Vec<_>, _>>()
        };
        let dims = |t: Vec<Tensor>| t.iter().map(|t| t.dims().to_vec()).collect::<Vec<_>>();
        assert_eq!(dims(feeds("float[n,2]").unwrap()), [[1, 2], [2, 2]]);
        let stacked = feeds("float[2]").unwrap();
        assert_eq!(stacked[2].reals(), Some(vec![5.0, 6.0]));
        let halves = feeds("float16[1,2]").unwrap();
        assert_eq!((halves.len(), halves[1].dtype(), halves[1].reals()), (3, DType::F16, Some(vec![3.0, 4.0])));
        assert!(matches!(feeds("float[1,3]"), Err(DataError::Unfit { .. })));
        assert!(matches!(feeds("string[1,2]"), Err(DataError::Unfit { .. })));
        let other = saved("y", &[1], &[1.0]);
        assert!(matches!(
            Data::open(&other).unwrap().feeds(&model("float[1]"), Batches::One),
            Err(DataError::Missing { .. })
        ));
        assert!(matches!(Data::open("/no/such/file.npz"), Err(DataError::Io { .. })));
    }
}
