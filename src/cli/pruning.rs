//! What is pruned, as the command line says it.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::calibrate::Calibration;
use crate::distill::Distillation;
use crate::exec::{Executor, Plan};
use crate::prune::{Budget, Criterion, Factor, Grouped, Pruner, Rules};
use crate::quality::Bounds;
use crate::sparsify::Pattern;

/// Under this the help lists these options.
const PRUNING: &str = "Pruning";

/// How a model loses channels.
#[derive(Debug, Default, Args)]
pub(super) struct Pruning {
    /// Remove channels: a share of every group (0.3), as many as leave a share of a measure (macs=0.5, params=0.5,
    /// bytes=0.5), or as many as --min-sqnr or --max-drop allow (auto)
    #[arg(help_heading = PRUNING, long, value_name = "BUDGET")]
    pub prune: Option<Budget>,
    /// Remove this share of the channels of every group: --prune RATIO
    #[arg(help_heading = PRUNING, long, value_name = "RATIO", value_parser = share, conflicts_with = "prune")]
    pub ratio: Option<f64>,
    /// What tells which channels go first: obs or activation with samples, l1, l2, fpgm, bn or random without [default:
    /// obs with samples, l2 without]
    #[arg(help_heading = PRUNING, long, value_name = "CRITERION")]
    pub importance: Option<Criterion>,
    /// Keep a multiple of so many channels [default: the target's]
    #[arg(help_heading = PRUNING, long, value_name = "N", value_parser = count)]
    pub align: Option<usize>,
    /// The largest share of a group that a budget for the whole model takes
    #[arg(help_heading = PRUNING, long, value_name = "RATIO", value_parser = share, default_value = "0.7")]
    pub max_ratio: f64,
    /// Keep at least so many channels of every group
    #[arg(help_heading = PRUNING, long, value_name = "N", value_parser = count, default_value = "1")]
    pub min_channels: usize,
    /// Of the layers with these names, remove this share: `/layer1/*=0.1`, `op:ConvTranspose=0`; may be repeated, and
    /// the last that matches counts
    #[arg(help_heading = PRUNING, long, value_name = "PATTERN=RATIO", value_parser = layer_ratio)]
    pub layer_ratio: Vec<(String, f64)>,
    /// Keep all channels of the results of these nodes; may be repeated
    #[arg(help_heading = PRUNING, long, value_name = "PATTERN")]
    pub protect: Vec<String>,
    /// What convolutions in groups lose
    #[arg(help_heading = PRUNING, long, value_enum, default_value_t)]
    pub grouped: GroupedArg,
    /// What attention loses: whole heads, or the same part of every head
    #[arg(help_heading = PRUNING, long, value_enum, default_value_t)]
    pub heads: Heads,
    /// Make weights zeros: 2:4, two of every four input channels that stay, or 0.5, a share of every layer. Few runtimes
    /// are faster for it; the report says what the target gains
    #[arg(help_heading = PRUNING, long, value_name = "N:M|SHARE")]
    pub sparsity: Option<Pattern>,
    /// Leave the weights that remain as they are, where samples could tell better ones
    #[arg(help_heading = PRUNING, long)]
    pub without_recovery: bool,
    /// Bring the outputs nearer to the original's by so many steps of gradient descent on the samples, which need no
    /// labels, if half as many have helped in a trial; 0 for none [default: 800, or as many as two or three minutes allow]
    #[arg(help_heading = PRUNING, long, value_name = "STEPS")]
    pub distill: Option<usize>,
    /// Spend the budget in so many stages, with importance told anew before each
    #[arg(help_heading = PRUNING, long, value_name = "N", value_parser = count, default_value = "1")]
    pub steps: usize,
}

/// What convolutions in groups lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum GroupedArg {
    /// Whichever leaves the smaller units
    #[default]
    Finer,
    /// Whole groups
    Whole,
    /// The same channels of every group
    Within,
}

/// What attention loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Heads {
    /// Whole heads
    #[default]
    Whole,
    /// The same part of every head
    Within,
}

impl Pruning {
    /// The budget, where one is given.
    pub(super) fn budget(&self) -> Option<Budget> {
        self.prune.or(self.ratio.map(Budget::Ratio))
    }

    /// As the library has it, for a target that likes multiples of `align` channels.
    pub(super) fn pruner(
        &self,
        budget: Budget,
        align: usize,
        engine: Arc<dyn Executor>,
        calibration: Calibration,
        check: Option<Plan>,
        bounds: Bounds,
    ) -> Pruner {
        Pruner {
            criterion: self.importance,
            rules: Rules {
                align: self.align.unwrap_or(align),
                max_ratio: self.max_ratio,
                min_classes: self.min_channels,
            },
            grouped: match self.grouped {
                GroupedArg::Finer => Grouped::Finer,
                GroupedArg::Whole => Grouped::Whole,
                GroupedArg::Within => Grouped::Within,
            },
            factor: match self.heads {
                Heads::Whole => Factor::Outer,
                Heads::Within => Factor::Inner,
            },
            ratios: self.layer_ratio.clone(),
            protect: self.protect.clone(),
            recovers: !self.without_recovery,
            distillation: Distillation { steps: self.distill, ..Distillation::default() },
            stages: self.steps,
            calibration,
            check,
            bounds,
            ..Pruner::new(budget, engine)
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..1.0).contains(share)).ok_or_else(|| "expected a number from 0 to 1".into())
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a number of at least 1".into())
}

fn layer_ratio(text: &str) -> Result<(String, f64), String> {
    let (pattern, ratio) = text.rsplit_once('=').filter(|(p, _)| !p.is_empty()).ok_or("expected PATTERN=RATIO")?;
    Ok((pattern.into(), share(ratio)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_given_by_layer() {
        assert_eq!(layer_ratio("/a=b/*=0.25"), Ok(("/a=b/*".into(), 0.25)));
        for wrong in ["", "a", "=0.5", "a=", "a=1", "a=-1", "a=x"] {
            assert!(layer_ratio(wrong).is_err(), "{wrong}");
        }
    }
}
