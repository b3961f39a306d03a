//! How layers get a precision each, as the command line says it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::assign::{Assigner, Budget, Cost, Point, Summary, usual};
use crate::calibrate::Calibration;
use crate::choice::Choice;
use crate::cli::precision::QUANTIZING;
use crate::cli::sensitivity::Loss;
use crate::onnx;
use crate::quality::Bounds;
use crate::sensitivity::{Precision, Sensitivity};
use crate::target::Target;

/// How layers get a precision each.
#[derive(Debug, Default, Args)]
pub(super) struct Assigning {
    /// With --precision auto: the most that the result may cost, as a share of float32 or a number (bytes=50%, bytes=2MB,
    /// avg-bits=5, bitops=25%, latency=50%); it is the best within that
    #[arg(help_heading = QUANTIZING, long, value_name = "COST=AMOUNT")]
    pub budget: Option<Budget>,
    /// With --precision auto and a bound: what is to be as little as the bound allows
    #[arg(help_heading = QUANTIZING, long, value_enum, default_value_t)]
    pub minimize: Minimize,
    /// Precisions that --precision auto may give to layers [default: int8-weights,int8,int4 and fp16; fp16-weights in its
    /// place for the fewest bytes, and where the target is slower in halves]
    #[arg(help_heading = QUANTIZING, long, value_name = "NAME,NAME…", value_delimiter = ',')]
    pub candidates: Vec<Precision>,
    /// Have layers compute in a precision: `/layer1/*=int8`, `op:Gemm=fp16`, `name:a*b=fp32` for a name as it is. May be
    /// repeated, and the last that matches counts; other layers compute in what --precision says, or stay float32, and
    /// nothing is searched for
    #[arg(help_heading = QUANTIZING, long, value_name = "PATTERN=PRECISION", value_parser = layer_precision)]
    pub layer_precision: Vec<(String, Precision)>,
    /// What --precision auto tells losses of layers by
    #[arg(help_heading = QUANTIZING, long, value_enum, default_value_t)]
    pub loss: Loss,
    /// Write every assignment that no other undercuts in cost and loss into this file, as JSON
    #[arg(help_heading = QUANTIZING, long, value_name = "FILE")]
    pub pareto: Option<PathBuf>,
    /// Keep what --precision auto measures of layers in this file: a run that was cut short goes on from there, and the
    /// next one with another bound measures no layer again
    #[arg(help_heading = QUANTIZING, long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
}

/// What is to be as little as a bound allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Minimize {
    /// Bytes and time together, each as a share of float32's; bit operations, where nothing is known of times
    #[default]
    Balance,
    /// Bytes of weights, with the scales of their integers
    Bytes,
    /// Multiply-accumulates, each times the bits of both factors
    Bitops,
    /// Time, as far as the target's costs are known
    Latency,
}

impl Assigning {
    /// An option that was given and goes with a search or an assignment only.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.budget.is_some(), "--budget"),
            (self.minimize != Minimize::default(), "--minimize"),
            (!self.candidates.is_empty(), "--candidates"),
            (self.loss != Loss::default(), "--loss"),
            (self.pareto.is_some(), "--pareto"),
            (self.cache.is_some(), "--cache"),
        ];
        given.into_iter().find(|(is, _)| *is).map(|(_, option)| option)
    }

    /// As the library has it.
    ///
    /// # Errors
    /// What is missing or does not go together.
    pub(super) fn assigner(
        &self,
        target: Target,
        choice: Choice,
        calibration: Calibration,
        engine: std::sync::Arc<dyn crate::exec::Executor>,
        bounds: Bounds,
    ) -> Result<Assigner, String> {
        if calibration.source.is_none() {
            return Err("samples are needed to see what layers lose: --calib PLACE".into());
        }
        if calibration.has_files() {
            return Err("statistics of tensors do not say what layers lose: leave out --stats and --save-stats".into());
        }
        if self.layer_precision.is_empty() && self.budget.is_none() && bounds == Bounds::default() {
            return Err("how far to go is not said: a bound (--min-sqnr DB, --max-drop PERCENT) or --budget".into());
        }
        if let (false, Some(option)) = (self.layer_precision.is_empty(), self.given()) {
            return Err(format!("--layer-precision says what layers compute in: {option} goes with a search"));
        }
        if self.budget.is_some() && self.minimize != Minimize::default() {
            return Err("--minimize goes with a bound, and --budget says what it counts itself".into());
        }
        let minimize = match self.minimize {
            Minimize::Balance => Cost::Balance,
            Minimize::Bytes => Cost::Bytes,
            Minimize::Bitops => Cost::Bitops,
            Minimize::Latency => Cost::Latency,
        };
        let cost = self.budget.map_or(minimize, |budget| budget.cost);
        // Nothing is searched for: what is asked for is what there is.
        let named: Vec<Precision> = self.layer_precision.iter().map(|(_, precision)| *precision).collect();
        let candidates = match self.candidates.is_empty() {
            _ if !named.is_empty() => named,
            true => usual(target.profile, cost),
            false => self.candidates.clone(),
        };
        let (profile, policy) = (target.profile, target.policy);
        let (measure, cache) = (self.loss.into(), self.cache.clone());
        let sensitivity =
            Sensitivity { target: profile, policy, candidates, choice, calibration, engine, measure, cache };
        let (given, lists_front) = (self.layer_precision.clone(), self.pareto.is_some());
        Ok(Assigner { sensitivity, bounds, budget: self.budget, minimize, given, lists_front })
    }
}

/// What `--pareto` writes.
#[derive(Serialize)]
struct Front<'a> {
    /// What a cost is.
    cost: Cost,
    /// What a loss is.
    measure: &'static str,
    /// The assignments, the cheapest first.
    points: &'a [Point],
}

/// Write the front of what was found.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_front(file: &Path, found: &Summary) -> anyhow::Result<()> {
    let front = Front { cost: found.cost, measure: found.measure, points: &found.front };
    let text = format!("{}\n", serde_json::to_string_pretty(&front)?);
    onnx::replace(file, |to| to.write_all(text.as_bytes())).with_context(|| file.display().to_string())
}

fn layer_precision(text: &str) -> Result<(String, Precision), String> {
    let (pattern, precision) = text
        .rsplit_once('=')
        .filter(|(p, _)| !p.is_empty())
        .ok_or("expected PATTERN=PRECISION, such as /layer1/*=int8")?;
    Ok((pattern.into(), precision.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_given_by_layer() {
        assert_eq!(layer_precision("/a=b/*=int8"), Ok(("/a=b/*".into(), Precision::Int8)));
        for wrong in ["", "a", "=int8", "a=", "a=int3"] {
            assert!(layer_precision(wrong).is_err(), "{wrong}");
        }
    }
}
