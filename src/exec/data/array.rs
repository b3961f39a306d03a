//! One array of a file: what its header says, how it is cut into samples, and the elements as an input takes them.

use std::io::{self, Read};

use bytes::Bytes;
use npyz::{DType as NumpyType, Endianness, NpyHeader, Order, TypeChar, TypeStr};

use super::batch::{Batcher, Fed, LARGEST_SAMPLE, Origin};
use super::convert::Conversion;
use crate::exec::sample::Input;
use crate::ir::{DType, Tensor};

/// Bytes that the header of an array may take; NumPy itself reads none longer than 10,000.
const LONGEST_HEADER: usize = 1 << 16;

/// Brackets within brackets in a header: records in records, which no input takes.
const DEEPEST_HEADER: usize = 16;

/// An array whose elements are still to come.
pub(super) struct Array<R> {
    shape: Vec<u64>,
    order: Order,
    ty: NumpyType,
    data: R,
}

impl<R: Read> Array<R> {
    /// Read the header.
    pub(super) fn open(mut data: R) -> io::Result<Array<R>> {
        let header = header(&mut data)?;
        Ok(Array { shape: header.shape().to_vec(), order: header.order(), ty: header.dtype(), data })
    }

    /// Its sizes.
    pub(super) fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|&d| usize::try_from(d).ok()).collect()
    }
}

/// The header, read so that what it claims costs nothing.
fn header(data: &mut impl Read) -> io::Result<NpyHeader> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    let mut bytes = vec![0; 8];
    data.read_exact(&mut bytes).map_err(|_| invalid("this is no array of NumPy"))?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(invalid("this is no array of NumPy"));
    }
    let mut length = [0; 4];
    let wide = if bytes[6] == 1 { 2 } else { 4 };
    data.read_exact(&mut length[..wide])?;
    bytes.extend(&length[..wide]);
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_HEADER {
        return Err(invalid("the array's header is too long"));
    }
    let start = bytes.len();
    data.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() - start < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !is_modest(&bytes[start..]) {
        return Err(invalid("the array's header claims sizes that no file has"));
    }
    NpyHeader::from_reader(&bytes[..])
}

/// Whether the numbers of a header multiply to one, and its brackets are few: the parser counts on both.
fn is_modest(text: &[u8]) -> bool {
    let (mut depth, mut elements, mut number, mut quote) = (0usize, 1u64, None::<u64>, None::<u8>);
    for &byte in text.iter().chain(b" ") {
        if let Some(end) = quote {
            if byte == end {
                quote = None;
            }
            continue;
        }
        if byte.is_ascii_digit() {
            let grown = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
            let Some(grown) = grown else { return false };
            number = Some(grown);
            continue;
        }
        if let Some(n) = number.take() {
            let Some(more) = elements.checked_mul(n.max(1)).filter(|n| *n < 1 << 60) else { return false };
            elements = more;
        }
        match byte {
            b'\'' | b'"' => quote = Some(byte),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_HEADER {
            return false;
        }
    }
    true
}

/// What an array's axes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `array[i]` is an input.
    Stacked,
    /// `array[i]` is a sample of a batch.
    Batched,
    /// The array is a sample of a batch.
    One,
    /// The array is an input.
    Whole,
}

/// How an array is cut.
#[derive(Clone)]
pub(super) struct Cutting {
    pub(super) layout: Layout,
    pub(super) count: usize,
    /// Sizes of a sample.
    inner: Vec<usize>,
    /// Bytes of a sample in the file.
    bytes: usize,
    conversion: Conversion,
}

/// What is wrong with a sample.
pub(super) struct Fault {
    pub(super) index: usize,
    pub(super) reason: String,
}

impl Cutting {
    /// How `array` is cut for `input`, not at all where it is `whole` and has as many axes; an error says why it does
    /// not fit.
    pub(super) fn of(array: &Array<impl Read>, input: &Input, whole: bool) -> Result<Cutting, String> {
        let shape = array.sizes().ok_or("is too large")?;
        let rank = input.dims.len();
        let (layout, count, inner, declared) = match &shape[..] {
            all if all.len() == rank && (whole || rank == 0) => (Layout::Whole, 1, all, &input.dims[..]),
            [count, inner @ ..] if inner.len() == rank => (Layout::Stacked, *count, inner, &input.dims[..]),
            [count, inner @ ..] if shape.len() == rank => (Layout::Batched, *count, inner, &input.dims[1..]),
            inner if inner.len() + 1 == rank => (Layout::One, 1, inner, &input.dims[1..]),
            _ => return Err(format!("has {} axes, the input {rank}", shape.len())),
        };
        if declared.iter().zip(inner).any(|(d, &n)| d.known().is_some_and(|d| usize::try_from(d) != Ok(n))) {
            let dims: Vec<String> = input.dims.iter().map(ToString::to_string).collect();
            return Err(format!("has sizes {shape:?}, the input [{}]", dims.join(", ")));
        }
        if array.order == Order::Fortran && shape.len() > 1 {
            return Err("is in Fortran order; save np.ascontiguousarray of it".into());
        }
        let conversion = conversion(&array.ty, input.dtype)?;
        let elements = inner.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or("is too large")?;
        // However many samples of nothing a header claims, no data stand behind them.
        if elements == 0 {
            return Err(format!("has sizes {shape:?}: its samples are empty"));
        }
        let most = elements.checked_mul(conversion.widest()).filter(|bytes| *bytes <= LARGEST_SAMPLE);
        if most.is_none() {
            return Err(format!("has sizes {shape:?}: a sample of it takes more than 1 GiB"));
        }
        Ok(Cutting { layout, count, inner: inner.to_vec(), bytes: elements * conversion.width(), conversion })
    }

    /// Hand the tensors that `array`, which is in `file`, completes to `send`; whether it takes more.
    pub(super) fn read(
        &self,
        array: Array<impl Read>,
        at: &dyn Fn(usize) -> Origin,
        batcher: &mut Batcher,
        send: &dyn Fn(Fed) -> bool,
    ) -> Result<bool, Fault> {
        let mut data = array.data;
        for index in 0..self.count {
            let fault = |reason: String| Fault { index, reason };
            // Grows with what is there, not with what the header claims.
            let mut sample = Vec::new();
            let read = data.by_ref().take(self.bytes as u64).read_to_end(&mut sample);
            read.map_err(|e| fault(format!("cannot be read: {e}")))?;
            if sample.len() < self.bytes {
                return Err(fault(format!("is cut off: the file ends before it, and says that it has {}", self.count)));
            }
            let sample: Bytes = self.conversion.apply(sample).map_err(fault)?;
            let fed = match self.layout {
                Layout::Stacked | Layout::Whole => Tensor::raw(self.conversion.to(), &self.inner, sample)
                    .map(|tensor| Some(Fed { tensor, origin: at(index) }))
                    .map_err(|e| e.to_string()),
                Layout::Batched | Layout::One => batcher.take(&self.inner, sample, at(index)),
            };
            if let Some(fed) = fed.map_err(fault)?
                && !send(fed)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How elements of a file's type become an input's; an error says why they do not.
fn conversion(ty: &NumpyType, to: DType) -> Result<Conversion, String> {
    let NumpyType::Plain(ty) = ty else { return Err("holds records".into()) };
    let from = dtype(ty).ok_or_else(|| format!("holds elements of type {ty}, the input {to}"))?;
    Conversion::new(from, ty.endianness() == Endianness::Big, to)
}

/// NumPy's types of numbers.
fn dtype(ty: &TypeStr) -> Option<DType> {
    Some(match (ty.type_char(), ty.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<Vec<u64>, String> {
        Array::open(bytes).map(|a| a.shape).map_err(|e| e.to_string())
    }

    #[test]
    fn a_header_is_read_and_no_more() {
        let good = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &[]);
        assert_eq!(opened(&good), Ok(vec![2, 3]));
        let scalar = array("{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", &[]);
        assert_eq!(opened(&scalar), Ok(vec![]));
    }

    #[test]
    fn what_a_header_claims_costs_nothing() {
        let sizes = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }\n";
        assert!(opened(&array(sizes, &[])).unwrap_err().contains("claims sizes"));
        let nested = format!("{{'descr': {}", "(".repeat(5000));
        assert!(opened(&array(&nested, &[])).unwrap_err().contains("claims sizes"));
        let mut long = b"\x93NUMPY\x02\x00".to_vec();
        long.extend(u32::MAX.to_le_bytes());
        assert!(opened(&long).unwrap_err().contains("too long"));
        let whole = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", &[]);
        for end in 0..whole.len() {
            assert!(opened(&whole[..end]).is_err(), "{end} bytes");
        }
        assert!(opened(b"\x93NUMPY\x09\x00\x01\x00\x00\x00 ").is_err(), "an unknown version");
    }
}
