//! Constant tensors between the file's messages and the graph.
//!
//! The file holds elements as raw bytes, as a list of numbers, or in another file; the graph always as raw bytes.
//! Integers that the file had as numbers are written as numbers again where that is shorter.

use bytes::Bytes;
use prost::Message;

use super::error::TensorFault;
use super::proto::TensorProto;
use crate::ir::{DType, Data, Dims, Tensor, packed};

/// How a file spells the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As they lie in memory.
    Raw,
    /// One after another, in the field of their type.
    Numbers,
}

/// The tensor that a message describes. Data in another file has been put into `raw_data` before.
pub(crate) fn read(proto: &TensorProto) -> Result<(Tensor, Spelling), TensorFault> {
    if proto.segment.is_some() {
        return Err(TensorFault::Segment);
    }
    let code = proto.data_type();
    let dtype = DType::from_code(code).ok_or(TensorFault::UnknownType(code))?;
    let dims = dims(&proto.dims)?;
    if dtype == DType::String {
        return Ok((Tensor::strings(&dims, proto.string_data.clone())?, Spelling::Raw));
    }
    match &proto.raw_data {
        Some(raw) if !raw.is_empty() => Ok((Tensor::raw(dtype, &dims, raw.clone())?, Spelling::Raw)),
        raw => {
            let bytes = pack(proto, dtype);
            let spelling = if raw.is_some() || bytes.is_empty() { Spelling::Raw } else { Spelling::Numbers };
            Ok((Tensor::raw(dtype, &dims, bytes.into())?, spelling))
        }
    }
}

/// The tensor that `bytes` encode, as in a file of ONNX test data.
pub(crate) fn decode(bytes: &[u8]) -> Result<Tensor, TensorFault> {
    let proto = TensorProto::decode(bytes).map_err(|_| TensorFault::NoTensor)?;
    Ok(read(&proto)?.0)
}

/// Sizes as the graph holds them.
pub(super) fn dims(dims: &[i64]) -> Result<Dims, TensorFault> {
    dims.iter()
        .map(|&d| {
            if d < 0 {
                return Err(TensorFault::NegativeDimension(d));
            }
            usize::try_from(d).map_err(|_| TensorFault::LargeDimension(d))
        })
        .collect()
}

/// The list of numbers that elements of `dtype` stand in, as packed elements.
fn pack(proto: &TensorProto, dtype: DType) -> Vec<u8> {
    let low = |width: usize| proto.int32_data.iter().flat_map(move |n| n.to_le_bytes().into_iter().take(width));
    match dtype {
        DType::F32 | DType::C64 => proto.float_data.iter().flat_map(|n| n.to_le_bytes()).collect(),
        DType::F64 | DType::C128 => proto.double_data.iter().flat_map(|n| n.to_le_bytes()).collect(),
        DType::I64 => proto.int64_data.iter().flat_map(|n| n.to_le_bytes()).collect(),
        DType::U64 => proto.uint64_data.iter().flat_map(|n| n.to_le_bytes()).collect(),
        DType::U32 => proto.uint64_data.iter().flat_map(|n| n.to_le_bytes().into_iter().take(4)).collect(),
        DType::I32 => low(4).collect(),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => low(2).collect(),
        DType::I8
        | DType::U8
        | DType::Bool
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0
        | DType::U4
        | DType::I4
        | DType::F4E2M1
        | DType::U2
        | DType::I2 => low(1).collect(),
        // One element to a number, unlike the other types of less than a byte.
        DType::F6E2M3 | DType::F6E3M2 => packed::pack(dtype.bits(), low(1)),
        DType::String => Vec::new(),
    }
}

/// The message of a tensor. `Numbers` asks for a list of numbers where the type has one that is shorter.
pub(super) fn write(tensor: &Tensor, name: &str, spelling: Spelling) -> TensorProto {
    let mut proto = TensorProto {
        dims: tensor.dims().iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
        data_type: Some(tensor.dtype().code()),
        name: (!name.is_empty()).then(|| name.to_string()),
        ..TensorProto::default()
    };
    match tensor.data() {
        Data::Strings(strings) => proto.string_data = strings.to_vec(),
        Data::Raw(_) | Data::Splat(_) => {
            let raw = tensor.bytes().unwrap_or_default();
            // Of no elements that is said, too: OpenVINO 2026.4 does not find a body's constant without any data.
            let as_numbers = spelling == Spelling::Numbers && !raw.is_empty();
            if !(as_numbers && set_numbers(&mut proto, tensor.dtype(), &raw)) {
                proto.raw_data = Some(raw);
            }
        }
    }
    proto
}

/// Puts the elements into the list of numbers of their type if that takes fewer bytes.
fn set_numbers(proto: &mut TensorProto, dtype: DType, raw: &Bytes) -> bool {
    fn elements<const N: usize>(raw: &[u8]) -> impl Iterator<Item = [u8; N]> {
        raw.as_chunks::<N>().0.iter().copied()
    }
    /// Whether the lengths add up to no more than `limit`.
    fn fits(limit: usize, mut lengths: impl Iterator<Item = usize>) -> bool {
        lengths.try_fold(limit, usize::checked_sub).is_some()
    }
    let signed = |n: i64| prost::length_delimiter_len(usize::try_from(n).unwrap_or(usize::MAX));
    let unsigned = |n: u64| prost::length_delimiter_len(usize::try_from(n).unwrap_or(usize::MAX));
    match dtype {
        DType::I64 => {
            let numbers = || elements(raw).map(i64::from_le_bytes);
            let fits = fits(raw.len(), numbers().map(signed));
            if fits {
                proto.int64_data = numbers().collect();
            }
            fits
        }
        DType::I32 => {
            let numbers = || elements(raw).map(i32::from_le_bytes);
            let fits = fits(raw.len(), numbers().map(|n| signed(n.into())));
            if fits {
                proto.int32_data = numbers().collect();
            }
            fits
        }
        DType::U64 => {
            let numbers = || elements(raw).map(u64::from_le_bytes);
            let fits = fits(raw.len(), numbers().map(unsigned));
            if fits {
                proto.uint64_data = numbers().collect();
            }
            fits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::TensorError;

    fn typed(dtype: DType) -> TensorProto {
        TensorProto { dims: vec![2], data_type: Some(dtype.code()), ..TensorProto::default() }
    }

    #[test]
    fn numbers_are_packed_as_their_type_lies_in_memory() {
        let small = TensorProto { int32_data: vec![-1, 0x3c00], ..typed(DType::F16) };
        assert_eq!(read(&small).unwrap().0.bytes().unwrap().as_ref(), [0xff, 0xff, 0x00, 0x3c]);
        let bools = TensorProto { int32_data: vec![1, 0], ..typed(DType::Bool) };
        assert_eq!(read(&bools).unwrap().0.integers(), Some(vec![1, 0]));
        let nibbles = TensorProto { int32_data: vec![0x2f], ..typed(DType::I4) };
        assert_eq!(read(&nibbles).unwrap().0.integers(), Some(vec![-1, 2]));
        let six_bits = TensorProto { int32_data: vec![8, 44], ..typed(DType::F6E2M3) };
        assert_eq!(read(&six_bits).unwrap().0.bytes().unwrap().as_ref(), [8, 11]);
        let unsigned = TensorProto { uint64_data: vec![7, u64::from(u32::MAX)], ..typed(DType::U32) };
        assert_eq!(read(&unsigned).unwrap().0.integers(), Some(vec![7, u32::MAX.into()]));
    }

    #[test]
    fn small_integers_stay_numbers_and_large_ones_become_raw() {
        let small = Tensor::vector(&[1, 2]);
        assert_eq!(write(&small, "s", Spelling::Numbers).int64_data, [1, 2]);
        assert!(write(&small, "s", Spelling::Raw).int64_data.is_empty());
        let negative = Tensor::vector(&[-1, -2]);
        assert!(write(&negative, "n", Spelling::Numbers).raw_data.is_some(), "ten bytes each as numbers");
    }

    #[test]
    fn no_elements_are_written_as_no_bytes() {
        for spelling in [Spelling::Numbers, Spelling::Raw] {
            assert_eq!(write(&Tensor::vector(&[]), "e", spelling).raw_data.as_deref(), Some(&[][..]));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let short = TensorProto { raw_data: Some(vec![0; 7].into()), ..typed(DType::F32) };
        assert!(matches!(read(&short), Err(TensorFault::Data(TensorError::Length { expected: 8, actual: 7, .. }))));
        let negative = TensorProto { dims: vec![-3], ..typed(DType::F32) };
        assert_eq!(read(&negative), Err(TensorFault::NegativeDimension(-3)));
        let huge = TensorProto { dims: vec![i64::MAX, i64::MAX], ..typed(DType::F32) };
        assert!(matches!(read(&huge), Err(TensorFault::Data(TensorError::TooLarge(_)))));
        let unknown = TensorProto { data_type: Some(99), ..TensorProto::default() };
        assert_eq!(read(&unknown), Err(TensorFault::UnknownType(99)));
    }
}
