//! What a model computes in, as the command line names it.

use clap::ValueEnum;

/// Under this the help lists what makes integers of real numbers.
pub(super) const QUANTIZING: &str = "Quantizing";

/// What a model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Precision {
    /// For each layer what keeps --min-sqnr or --max-drop at the least cost, or is best within --budget
    Auto,
    /// Integers of 8 bits, where the target is faster with them
    Int8,
    /// The same without samples: weights become integers, and activations do while the model runs
    Int8Dynamic,
    /// float16, where it is enough: what needs more stays float32, and the report says why
    Fp16,
    /// bfloat16, which has the range of float32 and fewer digits than float16
    Bf16,
    /// Weights in float16 in the file, and float32 in a run
    Fp16Weights,
    /// Weights in integers of 8 bits, all else as it was
    Int8Weights,
    /// Weights in integers of 4 bits around zero, all else as it was
    Int4,
    /// Weights in integers of 4 bits with zero points, all else as it was
    Uint4,
    /// Weights in integers of 2 bits around zero: few models are any good with them
    Int2,
}

impl Precision {
    /// The same of single layers.
    ///
    /// # Errors
    /// When layers have no such precision.
    pub(super) fn of_layers(self) -> Result<crate::sensitivity::Precision, String> {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_string()).parse()
    }
}

/// What becomes of inputs and outputs of a model that gets halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Io {
    /// They stay as they are
    #[default]
    Keep,
    /// They change their type, too
    Convert,
}
