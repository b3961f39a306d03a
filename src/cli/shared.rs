//! Options that several verbs have.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::onnx::{Defaults, Functions, ReadOptions};

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Noise {
    /// Say more on stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet", display_order = 1000)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, display_order = 1001)]
    pub quiet: bool,
}

/// How a result is compared with what it was made of.
#[derive(Debug, Args)]
pub(super) struct Proving {
    /// Do not run original and result to compare them
    #[arg(long, conflicts_with_all = ["check_data", "check_budget", "check_memory", "engine"])]
    pub no_check: bool,
    /// Compare on these inputs: arrays in an .npz file under the names of the inputs, an .npy file for the only input, or a
    /// folder of such files or of ONNX test data
    #[arg(long, value_name = "PLACE")]
    pub check_data: Option<PathBuf>,
    /// Stop comparing after about this many seconds of each model
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub check_budget: Duration,
    /// Make no run that takes more memory than this
    #[arg(long, value_name = "GIB", default_value = "4", value_parser = gibibytes)]
    pub check_memory: u64,
    /// What runs the models
    #[arg(long, value_enum, default_value_t = Engine::default())]
    pub engine: Engine,
}

/// How models are read and written.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Keep weights in a file beside the model, whatever its size
    #[arg(long)]
    pub external_data: bool,
    /// Make inputs that have a default value constants; callers cannot pass them any more
    #[arg(long)]
    pub freeze_defaults: bool,
    /// Keep inputs that have a default value, also where the file gives every weight as one
    #[arg(long, conflicts_with = "freeze_defaults")]
    pub keep_defaults: bool,
    /// Keep calls of functions that the model defines, instead of putting the function's nodes in their place
    #[arg(long)]
    pub keep_functions: bool,
}

impl Files {
    /// How models are read.
    pub(super) fn reading(&self) -> ReadOptions {
        ReadOptions {
            defaults: match (self.freeze_defaults, self.keep_defaults) {
                (true, _) => Defaults::Frozen,
                (false, true) => Defaults::Overridable,
                (false, false) => Defaults::Meant,
            },
            functions: if self.keep_functions { Functions::Kept } else { Functions::Inlined },
        }
    }
}

/// What runs models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// Built in
    #[default]
    Tract,
    /// An onnxruntime library, found through ORT_DYLIB_PATH
    Ort,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For programs: one object, or an array when there are several models
    Json,
    /// For people
    Table,
}

/// A length of time, of a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(|| "not a number of seconds".into())
}

/// Bytes, of a number of GiB.
pub(super) fn gibibytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().map(|gib: f64| gib * f64::from(1u32 << 30));
    // Beyond the largest number, all there are.
    bytes.filter(|b| *b >= 0.0).map(|b| b as u64).ok_or_else(|| "not a number of GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_an_amount() {
        assert_eq!(gibibytes("0.5"), Ok(1 << 29));
        assert_eq!(gibibytes("inf"), Ok(u64::MAX));
        for wrong in ["-1", "nan", "all"] {
            assert!(gibibytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_a_length_of_time() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "nan", "inf", "1e300", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
