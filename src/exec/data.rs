//! Inputs that the user gives: arrays of an `.npz` file, under the inputs' names.
//!
//! An array with one axis more than its input is a stack of inputs. One with as many axes holds samples along its first
//! axis, as many in each feed as the input's first size says; one, then two, where that size is open.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

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

/// How an array is cut into inputs.
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
        NpzArchive::open(&self.file).map_err(|error| DataError::Io { file: self.file.clone(), error })
    }

    /// Up to `most` feeds: for each, one tensor per input.
    pub(super) fn feeds(&self, inputs: &[Input], most: usize) -> Result<Vec<Vec<(String, Tensor)>>, DataError> {
        let mut archive = self.archive()?;
        let mut columns = Vec::with_capacity(inputs.len());
        for input in inputs {
            let column = self.column(&mut archive, input, most)?;
            columns.push(column);
        }
        let count = columns.iter().map(Vec::len).min().unwrap_or(0);
        let feed =
            |i: usize| inputs.iter().zip(&columns).map(|(input, c)| (input.name.clone(), c[i].clone())).collect();
        Ok((0..count).map(feed).collect())
    }

    /// The first tensors for `input`.
    fn column(
        &self,
        archive: &mut NpzArchive<BufReader<File>>,
        input: &Input,
        most: usize,
    ) -> Result<Vec<Tensor>, DataError> {
        let io = |error| DataError::Io { file: self.file.clone(), error };
        let unfit = |reason: String| DataError::Unfit { file: self.file.clone(), input: input.name.clone(), reason };
        let array = archive.by_name(&input.name).map_err(io)?;
        let array = array.ok_or_else(|| DataError::Missing { file: self.file.clone(), input: input.name.clone() })?;
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
        let cuts = cuts(layout, *samples, most);
        let taken: usize = cuts.iter().sum();
        let per_sample = inner.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let elements = per_sample.and_then(|n| n.checked_mul(taken)).ok_or_else(|| unfit("is too large".into()))?;
        let bytes = read(array, input.dtype, elements).map_err(io)?.map_err(unfit)?;
        let all_dims = [&[taken], inner].concat();
        let all = Tensor::raw(input.dtype, &all_dims, bytes).map_err(|e| unfit(e.to_string()))?;
        let mut tensors = Vec::with_capacity(cuts.len());
        let mut first = 0;
        for cut in cuts {
            let dims = if matches!(layout, Layout::Stacked) { inner.to_vec() } else { [&[cut], inner].concat() };
            tensors.push(part(&all, first, cut, &dims).ok_or_else(|| unfit("does not divide into samples".into()))?);
            first += cut;
        }
        Ok(tensors)
    }
}

/// How many samples each feed takes.
fn cuts(layout: Layout, samples: usize, most: usize) -> Vec<usize> {
    let per_feed = match layout {
        Layout::Stacked => 1,
        Layout::Batched(n) => n,
        Layout::Open => {
            // One, two, one, two: whatever depends on the batch shows.
            let mut left = samples;
            return (0..most)
                .map(|i| 1 + i % 2)
                .take_while(|n| left.checked_sub(*n).map(|l| left = l).is_some())
                .collect();
        }
    };
    vec![per_feed; (samples / per_feed).min(most)]
}

fn part(all: &Tensor, first: usize, count: usize, dims: &[usize]) -> Option<Tensor> {
    let bytes = all.bytes()?;
    let per_sample = bytes.len().checked_div(*all.dims().first()?)?;
    Tensor::raw(all.dtype(), dims, bytes.slice(first * per_sample..(first + count) * per_sample)).ok()
}

/// The first `count` elements as packed elements of `dtype`; the inner error says why the type does not fit.
fn read(array: NpyFile<impl Read>, dtype: DType, count: usize) -> io::Result<Result<Bytes, String>> {
    let npyz::DType::Plain(ty) = array.dtype() else { return Ok(Err("holds records".into())) };
    match (ty.type_char(), ty.size_field()) {
        (TypeChar::Float, 4) if dtype == DType::F32 => exact(array, count, f32::to_le_bytes),
        (TypeChar::Int, 8) if dtype == DType::I64 => exact(array, count, i64::to_le_bytes),
        (TypeChar::Uint, 8) if dtype == DType::U64 => exact(array, count, u64::to_le_bytes),
        (TypeChar::Bool, _) => converted(array, count, dtype, |b: bool| f64::from(u8::from(b))),
        (TypeChar::Float, 2) => converted(array, count, dtype, |x: half::f16| x.to_f64()),
        (TypeChar::Float, 4) => converted(array, count, dtype, |x: f32| x.into()),
        (TypeChar::Float, 8) => converted(array, count, dtype, |x: f64| x),
        (TypeChar::Int, 1) => converted(array, count, dtype, |x: i8| x.into()),
        (TypeChar::Int, 2) => converted(array, count, dtype, |x: i16| x.into()),
        (TypeChar::Int, 4) => converted(array, count, dtype, |x: i32| x.into()),
        (TypeChar::Int, 8) => converted(array, count, dtype, |x: i64| x as f64),
        (TypeChar::Uint, 1) => converted(array, count, dtype, |x: u8| x.into()),
        (TypeChar::Uint, 2) => converted(array, count, dtype, |x: u16| x.into()),
        (TypeChar::Uint, 4) => converted(array, count, dtype, |x: u32| x.into()),
        _ => Ok(Err(format!("holds elements of type {ty}, the input {dtype}"))),
    }
}

fn exact<T: Deserialize, const N: usize>(
    array: NpyFile<impl Read>,
    count: usize,
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<Result<Bytes, String>> {
    let elements = elements(array, count)?;
    Ok(Ok(elements.into_iter().flat_map(bytes).collect()))
}

fn converted<T: Deserialize>(
    array: NpyFile<impl Read>,
    count: usize,
    dtype: DType,
    real: impl Fn(T) -> f64,
) -> io::Result<Result<Bytes, String>> {
    let reals: Vec<f64> = elements(array, count)?.into_iter().map(real).collect();
    Ok(rounded(dtype, &reals).ok_or_else(|| format!("holds numbers, the input {dtype}")))
}

fn elements<T: Deserialize>(array: NpyFile<impl Read>, count: usize) -> io::Result<Vec<T>> {
    let elements = array.data::<T>().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
    // Grows with what is there, not with what the header claims.
    elements.take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sample::inputs;
    use crate::text::parse;

    #[test]
    fn open_batches_alternate() {
        assert_eq!(cuts(Layout::Open, 5, 9), [1, 2, 1]);
        assert_eq!(cuts(Layout::Open, 100, 4), [1, 2, 1, 2]);
        assert_eq!(cuts(Layout::Batched(2), 5, 9), [2, 2]);
        assert_eq!(cuts(Layout::Stacked, 3, 2), [1, 1]);
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
            let feeds = Data::open(&path).unwrap().feeds(&model(ty), 9)?;
            Ok::<_, DataError>(feeds.into_iter().map(|f| f[0].1.clone()).collect::<Vec<_>>())
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
        assert!(matches!(Data::open(&other).unwrap().feeds(&model("float[1]"), 1), Err(DataError::Missing { .. })));
        assert!(matches!(Data::open("/no/such/file.npz"), Err(DataError::Io { .. })));
    }
}
