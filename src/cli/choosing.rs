//! The target by its name or by a file, and what of a model may have integers.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::choice::Choice;
use crate::cli::precision::QUANTIZING;
use crate::target;

/// What of a model may have integers.
#[derive(Debug, Default, Args)]
pub(super) struct Choosing {
    /// Quantize only these: names of nodes with `*` and `?`, `op:MatMul` for an operator, or `from..to` for what lies
    /// between two tensors
    #[arg(help_heading = QUANTIZING, long, value_name = "WHAT")]
    quantize_only: Vec<String>,
    /// Do not quantize these
    #[arg(help_heading = QUANTIZING, long, value_name = "WHAT")]
    exclude: Vec<String>,
}

impl Choosing {
    pub(super) fn choice(&self) -> Choice {
        Choice { only: self.quantize_only.clone(), exclude: self.exclude.clone() }
    }
}

/// Names of targets, and paths of files that describe one.
#[derive(Clone)]
pub(super) struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = String;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        if let Some(path) = value.to_str().filter(|text| target::policy::is_file(text)) {
            return Ok(path.into());
        }
        names().parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let values: Vec<_> = names().possible_values().into_iter().flatten().collect();
        Some(Box::new(values.into_iter()))
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(target::ALL.map(|t| t.name))
}
