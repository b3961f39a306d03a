//! Constant tensors: element type, sizes, and bytes that may be mapped from a file, shared, or one repeated element.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};
use smallvec::SmallVec;

use crate::ir::{DType, packed, rounding};

/// Sizes of a tensor, outermost first; empty for a scalar.
pub type Dims = SmallVec<[usize; 4]>;

/// A constant. Cloning is cheap: the bytes are shared, and weights stay in the mapped file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    dtype: DType,
    dims: Dims,
    data: Data,
}

/// Where a tensor's elements are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// Packed little-endian elements, as ONNX's `raw_data` lays them out.
    Raw(Bytes),
    /// Every element is this one (its packed bytes), however many there are.
    Splat(Element),
    /// Strings, one after another.
    Strings(std::sync::Arc<[Bytes]>),
}

/// The bytes of one element, at most 16; an element of less than a byte sits in the low bits of one.
pub type Element = SmallVec<[u8; 16]>;

/// Why bytes and dimensions do not make a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The product of the dimensions does not fit the address space.
    #[error("dimensions {0:?} are too large")]
    TooLarge(Dims),
    /// The data has another length than type and dimensions say.
    #[error("{dtype}{dims:?} needs {expected} bytes but has {actual}")]
    Length {
        /// Element type.
        dtype: DType,
        /// Dimensions.
        dims: Dims,
        /// Bytes that type and dimensions ask for.
        expected: usize,
        /// Bytes that are there.
        actual: usize,
    },
    /// A string tensor with raw bytes, or the reverse.
    #[error("data of another kind than {0}")]
    Kind(DType),
}

/// The number of elements that `dims` span; `None` on overflow.
pub(crate) fn count(dims: &[usize]) -> Option<usize> {
    // A zero anywhere means no elements, even beside sizes whose product overflows.
    if dims.contains(&0) {
        return Some(0);
    }
    dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

impl Tensor {
    /// A tensor over packed little-endian bytes.
    ///
    /// # Errors
    /// When the length does not fit type and dimensions, or for strings.
    pub fn raw(dtype: DType, dims: &[usize], data: Bytes) -> Result<Tensor, TensorError> {
        let n = count(dims).ok_or_else(|| TensorError::TooLarge(dims.into()))?;
        if dtype == DType::String {
            return Err(TensorError::Kind(dtype));
        }
        let expected = dtype.byte_len(n).ok_or_else(|| TensorError::TooLarge(dims.into()))?;
        if data.len() != expected {
            return Err(TensorError::Length { dtype, dims: dims.into(), expected, actual: data.len() });
        }
        Ok(Tensor { dtype, dims: dims.into(), data: Data::Raw(data) })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// When their number is not what the dimensions say.
    pub fn strings(dims: &[usize], strings: Vec<Bytes>) -> Result<Tensor, TensorError> {
        let n = count(dims).ok_or_else(|| TensorError::TooLarge(dims.into()))?;
        if strings.len() != n {
            let (dtype, dims) = (DType::String, dims.into());
            return Err(TensorError::Length { dtype, dims, expected: n, actual: strings.len() });
        }
        Ok(Tensor { dtype: DType::String, dims: dims.into(), data: Data::Strings(strings.into()) })
    }

    /// A tensor whose every element is `element` (packed bytes of one element of `dtype`; not for strings).
    ///
    /// # Errors
    /// When the number of elements overflows, or `element` is not one element of `dtype`.
    pub fn splat(dtype: DType, dims: &[usize], element: &[u8]) -> Result<Tensor, TensorError> {
        count(dims).and_then(|n| n.checked_mul(128)).ok_or_else(|| TensorError::TooLarge(dims.into()))?;
        if dtype == DType::String {
            return Err(TensorError::Kind(dtype));
        }
        let expected = dtype.bits().div_ceil(8);
        if element.len() != expected {
            return Err(TensorError::Length { dtype, dims: dims.into(), expected, actual: element.len() });
        }
        Ok(Tensor { dtype, dims: dims.into(), data: Data::Splat(element.into()) })
    }

    /// An int64 vector.
    pub fn vector(elements: &[i64]) -> Tensor {
        let data: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
        Tensor { dtype: DType::I64, dims: SmallVec::from_iter([elements.len()]), data: Data::Raw(data.into()) }
    }

    /// An int64 scalar.
    pub fn scalar(element: i64) -> Tensor {
        let data = Bytes::copy_from_slice(&element.to_le_bytes());
        Tensor { dtype: DType::I64, dims: Dims::new(), data: Data::Raw(data) }
    }

    /// A float32 tensor.
    ///
    /// # Errors
    /// When the number of elements is not what the dimensions say.
    pub fn f32s(dims: &[usize], elements: &[f32]) -> Result<Tensor, TensorError> {
        Tensor::raw(DType::F32, dims, elements.iter().flat_map(|e| e.to_le_bytes()).collect())
    }

    /// Round `elements` to `dtype` (nearest, ties to even) and pack them.
    ///
    /// # Errors
    /// When the count does not fit, or `dtype` is not f16, bf16, f32 or f64.
    pub fn rounded(dtype: DType, dims: &[usize], elements: &[f64]) -> Result<Tensor, TensorError> {
        let mut data = Vec::with_capacity(dtype.byte_len(elements.len()).unwrap_or(0));
        for &e in elements {
            push_rounded(&mut data, dtype, e)?;
        }
        Tensor::raw(dtype, dims, data.into())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Where the elements are.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The number of elements.
    #[expect(clippy::len_without_is_empty, reason = "a tensor with no element is rare and asked for as `len() == 0`")]
    pub fn len(&self) -> usize {
        count(&self.dims).expect("constructors refuse dimensions whose product overflows")
    }

    /// Bytes that the elements take in a file. A splat counts as one element: it is written as a `ConstantOfShape`.
    pub fn stored_bytes(&self) -> usize {
        match &self.data {
            Data::Raw(b) => b.len(),
            Data::Splat(e) => e.len(),
            Data::Strings(s) => s.iter().map(|b| b.len() + 2).sum(),
        }
    }

    /// Whether a file has a node in place of the tensor: one that repeats the element of a large splat.
    pub fn is_repeated(&self) -> bool {
        let bytes = self.dtype.byte_len(self.len()).unwrap_or(usize::MAX);
        matches!(self.data, Data::Splat(_)) && bytes > Tensor::MAX_SPELLED_OUT
    }

    /// Why weights that are [repeated](Tensor::is_repeated) stay as they are where others become smaller or better.
    pub(crate) const REPEATED: &'static str = "its weight repeats one number, which takes no bytes";

    /// Splats of more bytes are not spelled out in a file.
    const MAX_SPELLED_OUT: usize = 256;

    /// Packed little-endian elements; a splat is spelled out. `None` for strings, and for a splat of more than
    /// [`Tensor::MAX_SPELLED`] elements, which a few bytes of a file can claim.
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.data {
            Data::Raw(b) => Some(b.clone()),
            Data::Splat(e) => self.is_spellable().then(|| repeat(self.dtype, e, self.len()).into()),
            Data::Strings(_) => None,
        }
    }

    /// Larger splats are never spelled out in memory.
    pub const MAX_SPELLED: usize = 1 << 24;

    fn is_spellable(&self) -> bool {
        match &self.data {
            Data::Splat(_) => self.len() <= Tensor::MAX_SPELLED,
            Data::Raw(_) | Data::Strings(_) => true,
        }
    }

    /// The strings, for a string tensor.
    pub fn as_strings(&self) -> Option<&[Bytes]> {
        match &self.data {
            Data::Strings(s) => Some(s),
            Data::Raw(_) | Data::Splat(_) => None,
        }
    }

    /// The one element that all are equal to (bit for bit), for tensors with at least one element.
    ///
    /// Looks at every byte of a raw tensor until two elements differ.
    pub fn uniform(&self) -> Option<Element> {
        match &self.data {
            Data::Splat(e) => (self.len() > 0).then(|| e.clone()),
            Data::Strings(_) => None,
            Data::Raw(bytes) => {
                let bits = self.dtype.bits();
                if self.len() == 0 {
                    return None;
                }
                if bits < 8 {
                    let first = self.packed(bytes, 0);
                    return (0..self.len())
                        .all(|i| self.packed(bytes, i) == first)
                        .then(|| SmallVec::from_iter([first]));
                }
                let first = &bytes[..bits / 8];
                bytes.chunks_exact(bits / 8).all(|e| e == first).then(|| first.into())
            }
        }
    }

    fn packed(&self, bytes: &Bytes, i: usize) -> u8 {
        packed::element(self.dtype.bits(), bytes, i)
    }

    /// The packed bytes of element `i`; `None` past the end or for strings.
    pub fn element(&self, i: usize) -> Option<Element> {
        if i >= self.len() {
            return None;
        }
        match &self.data {
            Data::Splat(e) => Some(e.clone()),
            Data::Strings(_) => None,
            Data::Raw(bytes) => Some(match self.dtype.bits() {
                1..8 => SmallVec::from_iter([self.packed(bytes, i)]),
                bits => bytes[i * bits / 8..(i + 1) * bits / 8].into(),
            }),
        }
    }

    /// The same elements under other dimensions.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Tensor, TensorError> {
        match count(dims) {
            Some(n) if n == self.len() => Ok(Tensor { dtype: self.dtype, dims: dims.into(), data: self.data.clone() }),
            Some(n) => Err(TensorError::Length {
                dtype: self.dtype,
                dims: dims.into(),
                expected: self.dtype.byte_len(n).unwrap_or(n),
                actual: self.dtype.byte_len(self.len()).unwrap_or(0),
            }),
            None => Err(TensorError::TooLarge(dims.into())),
        }
    }

    /// Element `i` as a real number. `None` for strings, complex and 8-bit or smaller float types.
    pub fn real(&self, i: usize) -> Option<f64> {
        real(self.dtype, &self.element(i)?)
    }

    /// Every element as a real number, under the conditions of [`Tensor::real`] and [`Tensor::bytes`].
    pub fn reals(&self) -> Option<Vec<f64>> {
        if !self.is_spellable() {
            return None;
        }
        match &self.data {
            Data::Splat(e) => Some(vec![real(self.dtype, e)?; self.len()]),
            Data::Raw(b) if self.dtype.bits() >= 8 => {
                b.chunks_exact(self.dtype.bits() / 8).map(|e| real(self.dtype, e)).collect()
            }
            Data::Raw(_) | Data::Strings(_) => (0..self.len()).map(|i| self.real(i)).collect(),
        }
    }

    /// The single element as a real number, whatever the rank.
    pub fn item(&self) -> Option<f64> {
        if self.len() == 1 { self.real(0) } else { None }
    }

    /// The real number that every element equals.
    pub fn uniform_real(&self) -> Option<f64> {
        real(self.dtype, &self.uniform()?)
    }

    /// Every element as an integer; `None` for other than integer and bool types, or a uint64 beyond int64.
    pub fn integers(&self) -> Option<Vec<i64>> {
        if !self.is_spellable() {
            return None;
        }
        (0..self.len()).map(|i| integer(self.dtype, &self.element(i)?)).collect()
    }

    /// The single element as an integer, whatever the rank.
    pub fn integer(&self) -> Option<i64> {
        if self.len() == 1 { integer(self.dtype, &self.element(0)?) } else { None }
    }

    /// Every element multiplied by `k[i]`, `i` its index along `axis`; rounded once to the element type.
    ///
    /// `None` unless the type is f16, bf16, f32 or f64 and `k` has one factor per slice.
    pub fn scaled_along(&self, axis: usize, k: &[f64]) -> Option<Tensor> {
        if *self.dims.get(axis)? != k.len() {
            return None;
        }
        if self.len() == 0 {
            return Some(self.clone());
        }
        let inner = count(&self.dims[axis + 1..])?;
        if let (Data::Splat(e), true) = (&self.data, k.windows(2).all(|w| w[0] == w[1])) {
            let mut out = Vec::new();
            push_rounded(&mut out, self.dtype, real(self.dtype, e)? * k.first()?).ok()?;
            return Tensor::splat(self.dtype, &self.dims, &out).ok();
        }
        let bytes = self.bytes()?;
        let width = self.dtype.bits() / 8;
        if width == 0 {
            return None;
        }
        let mut out = Vec::with_capacity(bytes.len());
        for (block, slice) in bytes.chunks(width * inner.max(1)).enumerate() {
            let factor = k[block % k.len()];
            for e in slice.chunks_exact(width) {
                push_rounded(&mut out, self.dtype, real(self.dtype, e)? * factor).ok()?;
            }
        }
        Tensor::raw(self.dtype, &self.dims, out.into()).ok()
    }

    /// A hash of type, dimensions and content, and an identity: equal tensors have equal keys.
    ///
    /// A splat and the same content spelled out have different keys, as they differ in a file.
    pub fn content_hash(&self) -> u64 {
        use xxhash_rust::xxh3::Xxh3;
        let mut h = Xxh3::new();
        h.update(&[self.dtype as u8, u8::try_from(self.dims.len()).unwrap_or(u8::MAX)]);
        for d in &self.dims {
            h.update(&d.to_le_bytes());
        }
        match &self.data {
            Data::Raw(b) => {
                h.update(&[0]);
                h.update(b);
            }
            Data::Splat(e) => {
                h.update(&[1]);
                h.update(e);
            }
            Data::Strings(s) => {
                for b in s.iter() {
                    h.update(&b.len().to_le_bytes());
                    h.update(b);
                }
            }
        }
        h.digest()
    }

    /// Whether both name the same bytes in memory (or the same splat): true without reading them.
    pub fn same_storage(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.dims == other.dims
            && match (&self.data, &other.data) {
                (Data::Raw(a), Data::Raw(b)) => a.as_ptr() == b.as_ptr() && a.len() == b.len(),
                (Data::Splat(a), Data::Splat(b)) => a == b,
                (Data::Strings(a), Data::Strings(b)) => std::sync::Arc::ptr_eq(a, b),
                _ => false,
            }
    }
}

fn repeat(dtype: DType, element: &[u8], n: usize) -> Vec<u8> {
    let bits = dtype.bits();
    if bits >= 8 {
        return element.repeat(n);
    }
    packed::pack(bits, std::iter::repeat_n(element[0], n))
}

/// One packed element as a real number.
fn real(dtype: DType, e: &[u8]) -> Option<f64> {
    Some(match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(e.try_into().ok()?)),
        DType::F64 => f64::from_le_bytes(e.try_into().ok()?),
        DType::F16 => f16::from_le_bytes(e.try_into().ok()?).to_f64(),
        DType::BF16 => bf16::from_le_bytes(e.try_into().ok()?).to_f64(),
        DType::U64 => u64::from_le_bytes(e.try_into().ok()?) as f64,
        DType::String
        | DType::C64
        | DType::C128
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F6E2M3
        | DType::F6E3M2
        | DType::F4E2M1
        | DType::F8E8M0 => return None,
        _ => integer(dtype, e)? as f64,
    })
}

/// One packed element as an integer.
fn integer(dtype: DType, e: &[u8]) -> Option<i64> {
    Some(match dtype {
        DType::I64 => i64::from_le_bytes(e.try_into().ok()?),
        DType::I32 => i32::from_le_bytes(e.try_into().ok()?).into(),
        DType::I16 => i16::from_le_bytes(e.try_into().ok()?).into(),
        DType::I8 => i8::from_le_bytes(e.try_into().ok()?).into(),
        DType::U64 => i64::try_from(u64::from_le_bytes(e.try_into().ok()?)).ok()?,
        DType::U32 => u32::from_le_bytes(e.try_into().ok()?).into(),
        DType::U16 => u16::from_le_bytes(e.try_into().ok()?).into(),
        DType::U8 | DType::Bool | DType::U4 | DType::U2 => (*e.first()?).into(),
        DType::I4 => i64::from(((*e.first()? << 4) as i8) >> 4),
        DType::I2 => i64::from(((*e.first()? << 6) as i8) >> 6),
        _ => return None,
    })
}

/// Append `value`, rounded to nearest, ties to even.
fn push_rounded(out: &mut Vec<u8>, dtype: DType, value: f64) -> Result<(), TensorError> {
    match dtype {
        DType::F32 => out.extend((value as f32).to_le_bytes()),
        DType::F64 => out.extend(value.to_le_bytes()),
        DType::F16 => out.extend(rounding::to_f16(value).to_le_bytes()),
        DType::BF16 => out.extend(rounding::to_bf16(value).to_le_bytes()),
        other => return Err(TensorError::Kind(other)),
    }
    Ok(())
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.dims.as_slice())?;
        match &self.data {
            Data::Splat(e) => write!(f, " all {:?}", real(self.dtype, e)),
            Data::Strings(s) => write!(f, " {s:?}"),
            Data::Raw(_) if self.len() <= 8 => match self.integers() {
                Some(ints) => write!(f, " {ints:?}"),
                None => write!(f, " {:?}", self.reals()),
            },
            Data::Raw(b) => write!(f, " {} bytes", b.len()),
        }
    }
}

/// A tensor's text, for messages: type and dimensions.
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<Cow<'_, str>> = self.dims.iter().map(|d| d.to_string().into()).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_fit_type_and_dimensions() {
        assert!(Tensor::raw(DType::F32, &[2, 2], vec![0; 16].into()).is_ok());
        assert!(Tensor::raw(DType::F32, &[2, 2], vec![0; 15].into()).is_err());
        assert!(Tensor::raw(DType::I4, &[3], vec![0; 2].into()).is_ok());
        assert!(Tensor::raw(DType::F32, &[usize::MAX, 2], Bytes::new()).is_err());
        assert!(Tensor::raw(DType::F32, &[usize::MAX, 0], Bytes::new()).is_ok());
    }

    #[test]
    fn small_integers_are_signed_and_packed_low_first() {
        let t = Tensor::raw(DType::I4, &[3], vec![0x8f, 0x07].into()).unwrap();
        assert_eq!(t.integers(), Some(vec![-1, -8, 7]));
    }

    #[test]
    fn a_splat_spells_out_to_equal_elements() {
        let t = Tensor::splat(DType::I4, &[3], &[0xf]).unwrap();
        assert_eq!(t.bytes().unwrap().as_ref(), [0xff, 0x0f]);
        assert_eq!(t.integers(), Some(vec![-1, -1, -1]));
        assert_eq!(t.uniform_real(), Some(-1.0));
        let six = Tensor::splat(DType::F6E2M3, &[5], &[0b10_0001]).unwrap();
        assert_eq!(six.bytes().unwrap().as_ref(), [0x61, 0x18, 0x86, 0x21]);
        let same = Tensor::raw(DType::F6E2M3, &[5], six.bytes().unwrap()).unwrap();
        assert_eq!(same.uniform().unwrap()[..], [0b10_0001]);
        assert_eq!(same.element(4), six.element(4));
    }

    #[test]
    fn scaling_follows_the_axis() {
        let t = Tensor::f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(t.scaled_along(0, &[10.0, 100.0]).unwrap().reals().unwrap(), [10.0, 20.0, 300.0, 400.0]);
        assert_eq!(t.scaled_along(1, &[10.0, 100.0]).unwrap().reals().unwrap(), [10.0, 200.0, 30.0, 400.0]);
    }
}
