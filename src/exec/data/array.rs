//! One array cut into samples, and samples put together to the batches that an input takes.

use std::io::{self, Read};

use bytes::Bytes;
use npyz::{Deserialize, NpyFile, Order, TypeChar};

use super::Batches;
use crate::exec::exact::rounded;
use crate::exec::sample::Input;
use crate::ir::{DType, Tensor};

/// What an array's axes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `array[i]` is an input.
    Stacked,
    /// `array[i]` is a sample of a batch.
    Batched,
    /// The array is a sample of a batch.
    One,
}

/// How an array is cut.
#[derive(Clone)]
pub(super) struct Cutting {
    layout: Layout,
    count: usize,
    /// Sizes of a sample.
    inner: Vec<usize>,
    /// Elements of a sample.
    elements: usize,
}

impl Cutting {
    /// How `array` is cut for `input`; an error says why it does not fit.
    pub(super) fn of(array: &NpyFile<impl Read>, input: &Input) -> Result<Cutting, String> {
        let shape: Option<Vec<usize>> = array.shape().iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or("is too large")?;
        let rank = input.dims.len();
        let (layout, count, inner, declared) = match &shape[..] {
            [count, inner @ ..] if inner.len() == rank => (Layout::Stacked, *count, inner, &input.dims[..]),
            [count, inner @ ..] if shape.len() == rank => (Layout::Batched, *count, inner, &input.dims[1..]),
            inner if inner.len() + 1 == rank => (Layout::One, 1, inner, &input.dims[1..]),
            _ => return Err(format!("has {} axes, the input {rank}", shape.len())),
        };
        if declared.iter().zip(inner).any(|(d, &n)| d.known().is_some_and(|d| usize::try_from(d) != Ok(n))) {
            return Err(format!("has sizes {shape:?}, which the input does not take"));
        }
        if array.order() == Order::Fortran && shape.len() > 1 {
            return Err("is in Fortran order; save np.ascontiguousarray of it".into());
        }
        let elements = inner.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or("is too large")?;
        // However many samples of nothing a header claims, no data stand behind them.
        if elements == 0 {
            return Err(format!("has sizes {shape:?}: its samples are empty"));
        }
        Ok(Cutting { layout, count, inner: inner.to_vec(), elements })
    }

    /// Hand the tensors that `array` completes to `send`; whether it takes more. The inner error says why they do not
    /// fit.
    pub(super) fn read(
        &self,
        array: NpyFile<impl Read>,
        samples: &mut Samples,
        send: &dyn Fn(Tensor) -> bool,
    ) -> io::Result<Result<bool, String>> {
        let dtype = samples.dtype;
        let npyz::DType::Plain(ty) = array.dtype() else { return Ok(Err("holds records".into())) };
        let mut cut = Cut { cutting: self, samples, send };
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

/// Samples on their way to the batches of an input.
pub(super) struct Samples {
    dtype: DType,
    /// How many make a batch; open without.
    batch: Option<usize>,
    batches: Batches,
    /// Batches so far.
    sent: usize,
    /// Samples of the batch that is being put together, and their sizes.
    waiting: Vec<Bytes>,
    inner: Vec<usize>,
}

impl Samples {
    pub(super) fn new(input: &Input, batches: Batches) -> Samples {
        let batch = input.dims.first().and_then(|d| d.known()).and_then(|n| usize::try_from(n).ok()).map(|n| n.max(1));
        Samples { dtype: input.dtype, batch, batches, sent: 0, waiting: Vec::new(), inner: Vec::new() }
    }

    /// Why there is not a single batch, if so.
    pub(super) fn short(&self) -> Option<String> {
        let (n, batch) = (self.waiting.len(), self.batch.unwrap_or(1));
        (self.sent == 0 && n > 0).then(|| format!("has {n} samples, and a batch takes {batch}"))
    }

    /// Take one sample of these sizes; the batch, when it is complete.
    fn take(&mut self, inner: &[usize], sample: Bytes) -> Result<Option<Tensor>, String> {
        if self.waiting.is_empty() {
            self.inner = inner.to_vec();
        } else if self.inner != inner {
            return Err(format!("has samples of sizes {:?} and {inner:?}, which are no batch", self.inner));
        }
        self.waiting.push(sample);
        let wanted = match (self.batch, self.batches) {
            (Some(n), _) => n,
            (None, Batches::One) => 1,
            (None, Batches::OneAndTwo) => 1 + self.sent % 2,
        };
        if self.waiting.len() < wanted {
            return Ok(None);
        }
        let bytes = match &self.waiting[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        self.waiting.clear();
        self.sent += 1;
        Tensor::raw(self.dtype, &[&[wanted], inner].concat(), bytes).map(Some).map_err(|e| e.to_string())
    }
}

/// An array on its way to tensors.
struct Cut<'a> {
    cutting: &'a Cutting,
    samples: &'a mut Samples,
    send: &'a dyn Fn(Tensor) -> bool,
}

impl Cut<'_> {
    fn exact<T: Deserialize, const N: usize>(
        &mut self,
        array: NpyFile<impl Read>,
        bytes: impl Fn(T) -> [u8; N],
    ) -> io::Result<Result<bool, String>> {
        self.each(array, |elements: Vec<T>| Some(elements.into_iter().flat_map(&bytes).collect()))
    }

    fn converted<T: Deserialize>(
        &mut self,
        array: NpyFile<impl Read>,
        real: impl Fn(T) -> f64,
    ) -> io::Result<Result<bool, String>> {
        let dtype = self.samples.dtype;
        self.each(array, |elements: Vec<T>| rounded(dtype, &elements.into_iter().map(&real).collect::<Vec<f64>>()))
    }

    fn each<T: Deserialize>(
        &mut self,
        array: NpyFile<impl Read>,
        pack: impl Fn(Vec<T>) -> Option<Bytes>,
    ) -> io::Result<Result<bool, String>> {
        let Cutting { layout, count, inner, elements } = self.cutting;
        let invalid = |e: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
        let mut all = array.data::<T>().map_err(|e| invalid(&e))?;
        for _ in 0..*count {
            // Grows with what is there, not with what the header claims.
            let some = all.by_ref().take(*elements).collect::<io::Result<Vec<T>>>()?;
            if some.len() < *elements {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(bytes) = pack(some) else {
                return Ok(Err(format!("holds numbers, the input {}", self.samples.dtype)));
            };
            let tensor = match layout {
                Layout::Stacked => Tensor::raw(self.samples.dtype, inner, bytes).map(Some).map_err(|e| e.to_string()),
                Layout::Batched | Layout::One => self.samples.take(inner, bytes),
            };
            match tensor {
                Ok(None) => {}
                Ok(Some(tensor)) => {
                    if !(self.send)(tensor) {
                        return Ok(Ok(false));
                    }
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(true))
    }
}
