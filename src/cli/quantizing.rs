//! How a model gets another precision, as the command line says it.

use std::path::PathBuf;

use clap::Args;

use crate::calibrate::Method;
use crate::cli::assigning::Assigning;
use crate::cli::calibration::Calibration;
use crate::cli::choosing::Choosing;
use crate::cli::lowbit::LowBits;
use crate::cli::precision::{Io, Precision, QUANTIZING};

/// How a model gets integers.
#[derive(Debug, Default, Args)]
pub(super) struct Quantizing {
    /// What the result computes in
    #[arg(help_heading = QUANTIZING, long, value_enum)]
    pub precision: Option<Precision>,
    /// What becomes of float32 inputs and outputs with --precision fp16 or bf16
    #[arg(help_heading = QUANTIZING, long, value_enum, default_value_t)]
    pub io: Io,
    /// Write nothing, and exit with code 1, where an output has less than DB dB of signal over its quantization noise
    #[arg(help_heading = QUANTIZING, long, value_name = "DB", allow_negative_numbers = true, value_parser = decibels)]
    pub min_sqnr: Option<f64>,
    /// Write nothing, and exit with code 1, where the class that scores highest is another one for more than PERCENT
    /// of the samples
    #[arg(help_heading = QUANTIZING, long, value_name = "PERCENT", value_parser = percent)]
    pub max_drop: Option<f64>,
    /// Leave out a correction of what integers lose (equalize-channels, smooth-activations, choose-ranges,
    /// correct-biases); may be repeated
    #[arg(help_heading = QUANTIZING, long, value_name = "NAME")]
    pub without_correction: Vec<String>,
    /// Quantize whatever the target can run in integers, even where its costs say that this takes longer
    #[arg(help_heading = QUANTIZING, long)]
    pub quantize_all: bool,
    /// Measure where integers pay, and do not go by the target's costs: its runtime runs the model without, where costs
    /// say that they pay, and with all of them, in a PYTHON that has onnxruntime or openvino
    #[arg(
        help_heading = QUANTIZING, long, value_name = "PYTHON", num_args = 0..=1, require_equals = true,
        default_missing_value = "python3", conflicts_with = "quantize_all"
    )]
    pub measure: Option<PathBuf>,
    #[command(flatten)]
    pub assigning: Assigning,
    #[command(flatten)]
    pub low_bits: LowBits,
    /// How ranges of tensors are chosen from samples: auto for what is best for the outputs, minmax, mean or ema (of the
    /// least and greatest element of each sample), percentile or percentile=99.9 (of the elements inside), entropy, mse
    #[arg(help_heading = QUANTIZING, long, value_name = "METHOD", value_parser = ranges)]
    pub ranges: Option<Ranges>,
    #[command(flatten)]
    pub choosing: Choosing,
    #[command(flatten)]
    pub calibration: Calibration,
}

fn decibels(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| "expected a number of dB, such as 30".to_string())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse().ok().filter(|n| (0.0..=100.0).contains(n));
    number.ok_or_else(|| "expected a number from 0 to 100".to_string())
}

/// How ranges of tensors are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ranges {
    /// As is best for the outputs.
    Auto,
    /// In this way, for all tensors.
    By(Method),
}

impl Ranges {
    /// As the library has it.
    pub(super) fn method(self) -> Option<Method> {
        match self {
            Ranges::Auto => None,
            Ranges::By(method) => Some(method),
        }
    }
}

fn ranges(text: &str) -> Result<Ranges, String> {
    if text == "auto" { Ok(Ranges::Auto) } else { text.parse().map(Ranges::By) }
}
