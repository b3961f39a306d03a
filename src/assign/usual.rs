//! What layers may compute in where nothing is said of it.

use crate::assign::Cost;
use crate::ir::DType;
use crate::sensitivity::Precision;
use crate::target::Profile;

/// Precisions to try for `target` where `cost` is to be little: with the others models are rarely any good, or the same
/// with a little more. Of halves those that serve what is asked for. Weights that lie in them take as few bytes as layers
/// that compute in them, and lose less; where the target is slower in halves, nobody has anything else of them.
pub fn usual(target: &Profile, cost: Cost) -> Vec<Precision> {
    let half = match cost {
        Cost::Latency if target.is_slow_in(DType::F16) => None,
        Cost::Bytes | Cost::Bits => Some(Precision::Fp16Weights),
        Cost::Balance | Cost::Bitops if target.is_slow_in(DType::F16) => Some(Precision::Fp16Weights),
        Cost::Latency | Cost::Balance | Cost::Bitops => Some(Precision::Fp16),
    };
    half.into_iter().chain([Precision::Int8Weights, Precision::Int8, Precision::Int4]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{ONNX, ONNXRUNTIME, TENSORRT};

    #[test]
    fn halves_are_those_that_serve_what_is_asked_for() {
        let half = |target: &Profile, cost: Cost| {
            usual(target, cost).into_iter().find(|precision| precision.weight_bits() == 16)
        };
        for cost in [Cost::Balance, Cost::Latency, Cost::Bitops] {
            assert_eq!(half(&ONNX, cost), Some(Precision::Fp16));
            assert_eq!(half(&TENSORRT, cost), Some(Precision::Fp16));
        }
        assert_eq!(half(&ONNXRUNTIME, Cost::Balance), Some(Precision::Fp16Weights));
        assert_eq!(half(&ONNXRUNTIME, Cost::Latency), None);
        assert_eq!(half(&ONNX, Cost::Bytes), Some(Precision::Fp16Weights));
    }
}
