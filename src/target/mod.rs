//! What each runtime accepts, as data. Passes read a profile; they never ask which target it is.

mod onnx;
mod onnxruntime;
mod openvino;
mod tensorrt;
mod tflite;

pub use onnx::ONNX;
pub use onnxruntime::ONNXRUNTIME;
pub use openvino::OPENVINO;
pub use tensorrt::TENSORRT;
pub use tflite::TFLITE;

use crate::ir::OpKind;

/// What a runtime accepts.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// What `--target` calls it.
    pub name: &'static str,
    /// The oldest opset of the default domain that it runs.
    pub oldest_opset: i64,
    /// The newest opset of the default domain that it runs. A model of a newer one is written in this one.
    pub newest_opset: i64,
    /// Operators that no fusion may bring in: the runtime lacks them, or runs them slower than what they stand for.
    pub avoids: &'static [OpKind],
    /// Operators of com.microsoft that it has and runs as fast as what they stand for, or faster.
    pub contrib: &'static [&'static str],
    /// What a user should know about models written for it.
    pub notes: &'static [&'static str],
}

/// Every target.
pub static ALL: [&Profile; 5] = [&ONNX, &ONNXRUNTIME, &TENSORRT, &OPENVINO, &TFLITE];

/// The target called `name`.
pub fn by_name(name: &str) -> Option<&'static Profile> {
    ALL.into_iter().find(|p| p.name == name)
}

impl Profile {
    /// The opset in which a model of opset `from` is written: the same, unless the runtime does not know it.
    pub fn opset_for(&self, from: i64) -> i64 {
        from.clamp(self.oldest_opset, self.newest_opset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_by_its_name_and_accepts_something() {
        for profile in ALL {
            assert_eq!(by_name(profile.name), Some(profile));
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
}
