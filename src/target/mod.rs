//! What each runtime accepts, as data. Passes read a profile; they never ask which target it is.

mod few_bits;
mod limit;
mod onnx;
mod onnxruntime;
mod openvino;
pub mod policy;
mod tensorrt;
mod tensorrt_integers;
mod tflite;

pub use few_bits::{FewBits, Form};
pub use limit::{Effect, Limit, Subject};
pub use onnx::ONNX;
pub use onnxruntime::ONNXRUNTIME;
pub use openvino::OPENVINO;
pub use policy::{Condition, Policy, PolicyError, Target};
pub use tensorrt::{TENSORRT, TENSORRT_8_6, TENSORRT_10_1, TENSORRT_10_15};
pub use tflite::TFLITE;

use crate::ir::{DType, OpKind};
use crate::ops::CallView;

/// What a runtime accepts.
pub struct Profile {
    /// What `--target` calls it; a release that is not the newest follows a colon.
    pub name: &'static str,
    /// The oldest opset of the default domain that it runs.
    pub oldest_opset: i64,
    /// The newest opset of the default domain that it runs. A model of a newer one is written in this one.
    pub newest_opset: i64,
    /// Operators that no fusion may bring in though the runtime has them: it runs what they stand for faster.
    pub avoids: &'static [OpKind],
    /// What it cannot run or runs badly.
    pub limits: &'static [&'static [Limit]],
    /// Element types that values within the model are computed in another type instead: from, to.
    pub narrows: &'static [(DType, DType)],
    /// Operators of com.microsoft that it has and runs as fast as what they stand for, or faster.
    pub contrib: &'static [&'static str],
    /// How it wants its integers: a [`Policy`], as text.
    pub policy: &'static str,
    /// Layers whose channels are a multiple of this run best: what its vectors or tiles hold.
    pub channel_multiple: usize,
    /// What it gains from zeros in weights, in words.
    pub sparsity: &'static str,
    /// How it quantizes activations while a model runs.
    pub dynamics: Dynamics,
    /// How it takes weights of a few bits, by their type. Of types that are not here it takes none.
    pub few_bits: &'static [FewBits],
    /// What a user should know about models written for it.
    pub notes: &'static [&'static str],
}

/// How a runtime quantizes activations while a model runs, with the range that they have in that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamics {
    /// It does not.
    None,
    /// It has operators for it: `DynamicQuantizeLinear` and `MatMulInteger`.
    Operators {
        /// And com.microsoft's `DynamicQuantizeLSTM`.
        lstm: bool,
    },
    /// By itself, where it finds weights of integers behind a `DequantizeLinear`.
    Weights,
}

/// Every target.
pub static ALL: [&Profile; 8] =
    [&ONNX, &ONNXRUNTIME, &TENSORRT, &TENSORRT_10_15, &TENSORRT_10_1, &TENSORRT_8_6, &OPENVINO, &TFLITE];

/// The target called `name`.
pub fn by_name(name: &str) -> Option<&'static Profile> {
    ALL.into_iter().find(|p| p.name == name)
}

impl Profile {
    /// The opset in which a model of opset `from` is written: the same, unless the runtime does not know it.
    pub fn opset_for(&self, from: i64) -> i64 {
        from.clamp(self.oldest_opset, self.newest_opset)
    }

    /// How it takes weights that are integers of this type.
    pub fn few_bits(&self, dtype: DType) -> Option<&'static FewBits> {
        self.few_bits.iter().find(|row| row.dtype == dtype)
    }

    /// Every row of what it cannot run or runs badly.
    pub fn limits(&self) -> impl Iterator<Item = &'static Limit> {
        self.limits.iter().copied().flatten()
    }

    /// Whether the runtime cannot run the call in a model of `opset`, for the operator that it is and how it is called.
    pub fn lacks(&self, call: &CallView<'_>, opset: i64) -> bool {
        self.limits().any(|limit| limit.lacks_call(call, opset))
    }

    /// Whether calls in this type run worse than others, by a row that says so.
    pub fn is_slow_in(&self, dtype: DType) -> bool {
        let is_about = |limit: &Limit| matches!(limit.subject, Subject::Inner(types) if types.contains(&dtype));
        self.limits().any(|limit| limit.effect == Effect::Warning && is_about(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_by_its_name_and_accepts_something() {
        for profile in ALL {
            assert_eq!(by_name(profile.name).map(|p| p.name), Some(profile.name));
            assert!(profile.oldest_opset <= profile.newest_opset, "{}", profile.name);
        }
    }

    #[test]
    fn the_opset_moves_only_as_far_as_it_must() {
        assert_eq!(TENSORRT.opset_for(17), 17);
        assert_eq!(TENSORRT.opset_for(99), TENSORRT.newest_opset);
        assert_eq!(TENSORRT.opset_for(7), TENSORRT.oldest_opset);
        assert_eq!(ONNX.opset_for(1), 1);
    }

    #[test]
    fn targets_that_are_slow_in_halves_say_so() {
        assert!(ONNXRUNTIME.is_slow_in(DType::F16));
        assert!(
            !ONNXRUNTIME.is_slow_in(DType::F32) && !TENSORRT.is_slow_in(DType::F16) && !ONNX.is_slow_in(DType::F16)
        );
    }

    #[test]
    fn every_row_says_why_and_what_to_do() {
        for profile in ALL {
            for limit in profile.limits() {
                let sentence = |text: &str| !text.is_empty() && !text.ends_with('.') && text.contains(' ');
                assert!(sentence(limit.why) && sentence(limit.advice), "{} {}", profile.name, limit.rule);
                let (area, number) = limit.rule.split_once('-').unwrap_or_default();
                assert!(!area.is_empty() && !number.is_empty(), "{} {}", profile.name, limit.rule);
            }
        }
        assert_eq!(ONNX.limits().count(), 0);
    }
}
