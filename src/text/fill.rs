//! A weight that is declared without data has elements made from its name, the same everywhere.
//!
//! Floats lie evenly in [-0.25, 0.25), those of a name containing `var` or `scale` in [0.5, 1.5), so that a variance
//! has a root and a quantization scale a sense. Integers are small. A name that begins with `zeros` or `ones` says what
//! all elements are.

use bytes::Bytes;
use half::{bf16, f16};
use xxhash_rust::xxh3::xxh3_64;

use crate::ir::{DType, Tensor, packed};
use crate::onnx::proto::TensorProto;
use crate::random::Random;

/// What all weights without data of one text may take together.
pub(super) const MAX_BYTES: usize = 256 << 20;

/// The tensor called `name`. The caller bounds the sizes.
pub(super) fn tensor(name: &str, dtype: DType, dims: &[usize]) -> TensorProto {
    let mut tensor = TensorProto {
        name: Some(name.into()),
        data_type: Some(dtype.code()),
        dims: dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
        ..TensorProto::default()
    };
    let count = crate::ir::count(dims).unwrap_or(0);
    let mut random = Random(xxh3_64(name.as_bytes()));
    let positive = name.contains("var") || name.contains("scale");
    let uniform = [("zeros", 0.0), ("ones", 1.0)].into_iter().find(|(prefix, _)| name.starts_with(prefix));
    if let Some((_, number)) = uniform
        && let Some(data) = repeated(dtype, number, count)
    {
        tensor.raw_data = Some(data.into());
        return tensor;
    }
    if dtype == DType::String {
        tensor.string_data = (0..count).map(|_| Bytes::from(format!("s{}", random.next() >> 61))).collect();
        return tensor;
    }
    let bits = dtype.bits();
    if bits < 8 {
        let low = (0..count).map(|_| small(dtype, random.next()).to_le_bytes()[0]);
        tensor.raw_data = Some(packed::pack(bits, low).into());
        return tensor;
    }
    let mut data = Vec::with_capacity(dtype.byte_len(count).unwrap_or(0));
    for _ in 0..count {
        let draw = random.next();
        let float = float(draw, positive);
        match dtype {
            DType::F32 => data.extend(float.to_le_bytes()),
            DType::F64 => data.extend(f64::from(float).to_le_bytes()),
            DType::C64 => {
                [float, self::float(random.next(), positive)].iter().for_each(|f| data.extend(f.to_le_bytes()))
            }
            DType::C128 => [float, self::float(random.next(), positive)]
                .iter()
                .for_each(|&f| data.extend(f64::from(f).to_le_bytes())),
            DType::F16 => data.extend(f16::from_f32(float).to_le_bytes()),
            DType::BF16 => data.extend(bf16::from_f32(float).to_le_bytes()),
            _ => data.extend(&small(dtype, draw).to_le_bytes()[..bits / 8]),
        }
    }
    tensor.raw_data = Some(data.into());
    tensor
}

/// `count` packed elements that are all `number`; `None` for types that do not hold it.
fn repeated(dtype: DType, number: f64, count: usize) -> Option<Vec<u8>> {
    let one = match dtype {
        dtype if dtype.is_integer() || dtype == DType::Bool => {
            (number as i64).to_le_bytes()[..dtype.bits().div_ceil(8)].to_vec()
        }
        dtype => Tensor::rounded(dtype, &[1], &[number]).ok()?.bytes()?.to_vec(),
    };
    Tensor::splat(dtype, &[count], &one).ok()?.bytes().map(|bytes| bytes.to_vec())
}

/// One draw as a float: exact in float32, so the same on every machine.
fn float(draw: u64, positive: bool) -> f32 {
    // 23 bits: sums and products below round nowhere.
    let steps = (draw >> 41) as f32;
    let unit = steps / (1u32 << 23) as f32;
    if positive { 0.5 + unit } else { 0.5 * (unit - 0.5) }
}

/// One draw as an integer, or as the bits of a float of 8 or fewer bits; the low bytes count.
fn small(dtype: DType, draw: u64) -> i64 {
    let draw = (draw >> 56) as i64;
    match dtype {
        DType::Bool => draw & 1,
        DType::I2 => (draw & 3) - 2,
        DType::U2 => draw & 3,
        DType::I4 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => (draw & 7) - 4,
        // Sign and fraction are free, the exponent is that of an eighth to a quarter (or half of that).
        DType::F8E4M3FN | DType::F8E4M3FNUZ => (draw & 0x87) | 0x20,
        DType::F8E5M2 | DType::F8E5M2FNUZ => (draw & 0x83) | 0x30,
        // Between -2 and 2.
        DType::F6E2M3 | DType::F6E3M2 => draw & 0b10_1111,
        // Between -1.5 and 1.5.
        DType::F4E2M1 => draw & 0b1011,
        // Between an eighth and one.
        DType::F8E8M0 => 124 + (draw & 3),
        _ => draw & 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(name: &str) -> Vec<f32> {
        let data = tensor(name, DType::F32, &[1000]).raw_data.unwrap_or_default();
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    #[test]
    fn the_name_alone_decides() {
        assert_eq!(floats("w"), floats("w"));
        assert_ne!(floats("w"), floats("v"));
        // Pinned: fixtures and snapshots everywhere depend on it.
        assert_eq!(floats("w")[..3], [-0.21536952, 0.2052958, 0.07853073]);
    }

    #[test]
    fn ranges_are_what_the_names_ask_for() {
        assert!(floats("w").iter().all(|f| (-0.25..0.25).contains(f)));
        assert!(floats("w").iter().any(|&f| f < -0.2) && floats("w").iter().any(|&f| f > 0.2));
        assert!(floats("bn_var").iter().all(|f| (0.5..1.5).contains(f)));
    }

    #[test]
    fn zeros_and_ones_are_what_their_names_say() {
        let all = |name: &str, dtype| tensor(name, dtype, &[3]).raw_data.unwrap_or_default().to_vec();
        assert_eq!(all("zeros_f", DType::F32), [0; 12]);
        assert_eq!(all("ones", DType::I16), [1, 0, 1, 0, 1, 0]);
        assert_eq!(all("ones", DType::I4), [0x11, 0x01]);
        assert_eq!(all("ones", DType::F16), [0, 0x3c, 0, 0x3c, 0, 0x3c]);
    }

    #[test]
    fn small_elements_are_packed() {
        for (dtype, bytes) in [(DType::I4, 3), (DType::U2, 2), (DType::F4E2M1, 3), (DType::F6E3M2, 4), (DType::Bool, 5)]
        {
            assert_eq!(tensor("w", dtype, &[5]).raw_data.map(|d| d.len()), Some(bytes), "{dtype}");
        }
    }
}
