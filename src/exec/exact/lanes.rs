//! Elements as opaque lanes of their width, for operators that only move them.
//!
//! A kernel is written once over `T: Lane` and instantiated by [`per_lane!`] for 1, 2, 4, 8 and 16 bytes and for
//! strings. Packed elements of less than a byte are spread to one byte each on the way in and packed on the way out.

use std::borrow::Cow;

use bytes::Bytes;

use crate::exec::exact::Unable;
use crate::exec::exact::args::Args;
use crate::ir::{DType, Data, Element, Tensor, packed};

/// An element as it is moved.
pub(super) trait Lane: Clone + Default + PartialEq {
    /// The elements of `t`, spelled out.
    fn read<'t>(args: &Args<'_>, t: &'t Tensor) -> Result<Cow<'t, [Self]>, Unable>;
    /// The tensor of these elements.
    fn write(dtype: DType, dims: &[usize], lanes: Vec<Self>) -> Result<Tensor, Unable>;
}

macro_rules! fixed_width {
    ($($width:literal),*) => { $(
        impl Lane for [u8; $width] {
            fn read<'t>(args: &Args<'_>, t: &'t Tensor) -> Result<Cow<'t, [Self]>, Unable> {
                match t.data() {
                    Data::Raw(bytes) if t.dtype().bits() < 8 => {
                        args.room(DType::U8, t.len())?;
                        Ok(Cow::Owned(spread(t.dtype(), bytes, t.len()).as_chunks().0.to_vec()))
                    }
                    Data::Raw(bytes) => Ok(Cow::Borrowed(bytes.as_chunks().0)),
                    Data::Splat(e) => {
                        args.room(t.dtype(), t.len())?;
                        let lane: [u8; $width] = e[..].try_into().map_err(|_| Unable::NoKernel)?;
                        Ok(Cow::Owned(vec![lane; t.len()]))
                    }
                    Data::Strings(_) => Err(Unable::NoKernel),
                }
            }

            fn write(dtype: DType, dims: &[usize], lanes: Vec<Self>) -> Result<Tensor, Unable> {
                let bytes = lanes.into_flattened();
                raw(dtype, dims, if dtype.bits() < 8 { pack(dtype, &bytes) } else { bytes })
            }
        }
    )* };
}

fixed_width!(1, 2, 4, 8, 16);

impl Lane for Bytes {
    fn read<'t>(_: &Args<'_>, t: &'t Tensor) -> Result<Cow<'t, [Bytes]>, Unable> {
        t.as_strings().map(Cow::Borrowed).ok_or(Unable::NoKernel)
    }

    fn write(_: DType, dims: &[usize], lanes: Vec<Bytes>) -> Result<Tensor, Unable> {
        Tensor::strings(dims, lanes).map_err(|e| Unable::malformed(e.to_string()))
    }
}

/// A tensor over packed bytes that a kernel made.
pub(super) fn raw(dtype: DType, dims: &[usize], bytes: Vec<u8>) -> Result<Tensor, Unable> {
    Tensor::raw(dtype, dims, bytes.into()).map_err(|e| Unable::malformed(e.to_string()))
}

/// One byte per element, from packed elements of less.
pub(super) fn spread(dtype: DType, packed: &[u8], n: usize) -> Vec<u8> {
    packed::unpack(dtype.bits(), packed, n)
}

/// Packed elements of less than a byte, from one byte per element.
pub(super) fn pack(dtype: DType, spread: &[u8]) -> Vec<u8> {
    packed::pack(dtype.bits(), spread.iter().copied())
}

/// The element that every one of `tensors` repeats; `None` unless all are splats (or single elements) of it.
pub(super) fn common_splat(tensors: &[&Tensor]) -> Option<Element> {
    let mut common: Option<Element> = None;
    for t in tensors {
        let e = match t.data() {
            Data::Splat(e) => e.clone(),
            Data::Raw(_) if t.len() == 1 => t.element(0)?,
            // Takes part in nothing.
            _ if t.len() == 0 => continue,
            Data::Raw(_) | Data::Strings(_) => return None,
        };
        if common.as_ref().is_some_and(|c| *c != e) {
            return None;
        }
        common = Some(e);
    }
    common
}

/// Evaluate an expression with `$T` the lane type of `$dtype`.
macro_rules! per_lane {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.bits() {
            0 => {
                type $T = ::bytes::Bytes;
                $body
            }
            16 => {
                type $T = [u8; 2];
                $body
            }
            32 => {
                type $T = [u8; 4];
                $body
            }
            64 => {
                type $T = [u8; 8];
                $body
            }
            128 => {
                type $T = [u8; 16];
                $body
            }
            _ => {
                type $T = [u8; 1];
                $body
            }
        }
    };
}

pub(super) use per_lane;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_inverts_spreading() {
        let packed = [0b11_10_01_00u8, 0b01];
        assert_eq!(spread(DType::U2, &packed, 5), [0, 1, 2, 3, 1]);
        assert_eq!(pack(DType::U2, &[0, 1, 2, 3, 1]), packed);
        assert_eq!(spread(DType::I4, &[0xf1, 0x02], 3), [1, 15, 2]);
        assert_eq!(pack(DType::I4, &[1, 15, 2]), [0xf1, 0x02]);
    }
}
