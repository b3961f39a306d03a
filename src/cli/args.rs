//! The command line: what can be said, and how `--help` explains it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::cli::advise::Advise;
use crate::cli::choosing::TargetParser;
use crate::cli::dump::Dump;
use crate::cli::editing::{Edits, rename, some};
use crate::cli::pruning::Pruning;
use crate::cli::quantizing::Quantizing;
use crate::cli::sensitivity::Sensitivity;
use crate::cli::shared::{Engine, Files, Format, Noise, Proving, gibibytes, seconds};
use crate::edit::Rename;
use crate::target;

const EXAMPLES: &str = "\
Examples:
  onnx-slim optimize model.onnx -o slim.onnx
  onnx-slim optimize model.onnx --target tensorrt --input-shape x:1,3,224,224
  onnx-slim optimize *.onnx --out-dir slim/
  onnx-slim quantize model.onnx --target onnxruntime --calib samples.npz
  onnx-slim prune model.onnx --prune macs=0.5 --calib samples.npz
  onnx-slim advise model.onnx --goal latency --device cpu > recipe.toml
  onnx-slim optimize model.onnx --recipe recipe.toml
  onnx-slim edit model.onnx --outputs features -o backbone.onnx
  onnx-slim join backbone.onnx head.onnx -o whole.onnx
  onnx-slim inspect model.onnx
  onnx-slim check model.onnx slim.onnx
  onnx-slim explain fold-batchnorm

Exit codes: 0 done; 1 a model could not be handled, or the check found a difference or something
that the target cannot run; 2 the command line is wrong.";

/// Make an ONNX model the smallest and fastest form its target runs well, and prove that it computes the same.
#[derive(Debug, Parser)]
#[command(name = "onnx-slim", version, about, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub noise: Noise,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Simplify models and prove that the results compute the same
    Optimize(Box<Optimize>),
    /// Make a model compute in integers: optimize with --precision int8
    Quantize(Box<Optimize>),
    /// Make a model smaller by channels that it needs least: optimize with --prune
    Prune(Box<Optimize>),
    /// Find out what each layer of a model loses by computing in fewer bits
    Sensitivity(Box<Sensitivity>),
    /// Cut, resize or rename a model, and change nothing else
    Edit(Box<Edit>),
    /// Make one model of two, the second behind the first
    Join(Join),
    /// Find out whether two models compute the same, or what a target cannot run of one
    Check(Check),
    /// Show what a model holds: its interface, operators, parameters
    Inspect(Inspect),
    /// Say which recipe we would choose for a model, and why
    Advise(Advise),
    /// Tell what a rule or pass does, from its own documentation; without a name, list them
    Explain(Explain),
    /// Print a completion script for a shell
    Completions(Completions),
}

const OPTIMIZE_EXAMPLES: &str = "\
Examples:
  onnx-slim optimize model.onnx                              writes model.slim.onnx beside it
  onnx-slim optimize model.onnx -o model.onnx                in place
  onnx-slim optimize big.onnx -o slim.onnx --external-data   weights in slim.onnx.data
  onnx-slim optimize a.onnx b.onnx --out-dir slim/           several at once
  onnx-slim optimize model.onnx --input-shape x:1,3,224,224  with the sizes of an input fixed
  onnx-slim optimize model.onnx --opset 20                   with operators of a newer opset
  onnx-slim optimize - -o - < model.onnx > slim.onnx         as a filter
  onnx-slim optimize model.onnx --report json                what was done, as data
  onnx-slim optimize a.onnx --opset 20 --save-recipe r.toml  what was asked for, as a file …
  onnx-slim optimize b.onnx --recipe r.toml                  … and the same of another model

After optimizing, original and result are run on the same inputs and compared. When they differ, the
first edit at fault is named, nothing is written and the exit code is 1. When nothing helps, the
output is a copy of the input.";

#[derive(Debug, Args)]
#[command(after_help = OPTIMIZE_EXAMPLES)]
pub(super) struct Optimize {
    /// Models to optimize; `-` is standard input
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Where to write the result; `-` is standard output [default: IN with .slim.onnx for .onnx]
    #[arg(short, long, value_name = "OUT", conflicts_with = "out_dir")]
    pub output: Option<PathBuf>,
    /// Write every result into this folder, under its input's name
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    /// The runtime that will run the model
    #[arg(short, long, value_name = "TARGET", default_value = "onnx", value_parser = TargetParser)]
    pub target: String,
    /// Write the model in this opset. A newer one lets more be fused (LayerNormalization came with 17, Gelu with 20);
    /// operators that an older one lacks are said in others
    #[arg(long, value_name = "N")]
    pub opset: Option<i64>,
    /// Write the model also where the target cannot run all of it; the report says what
    #[arg(long)]
    pub allow_unsupported: bool,
    /// Do what this file says, too: a recipe, as --save-recipe writes it. Options that are given count before it
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Write target, edits, passes, pruning, precision and calibration of this run to a file, to do the same again
    #[arg(long, value_name = "FILE")]
    pub save_recipe: Option<PathBuf>,
    #[command(flatten)]
    pub edits: Edits,
    #[command(flatten)]
    pub pruning: Pruning,
    #[command(flatten)]
    pub quantizing: Quantizing,
    #[command(flatten)]
    pub proof: Proving,
    /// Leave out a rule or pass
    #[arg(long, value_name = "RULE")]
    pub disable: Vec<String>,
    /// Apply nothing but this rule or pass
    #[arg(long, value_name = "RULE")]
    pub only: Vec<String>,
    /// Write the model as text after each run of a pass: to a file, into a folder, or to standard output
    #[arg(long, value_name = "PASS[=PATH]", value_parser = Dump::parse)]
    pub dump_after: Vec<Dump>,
    /// Print a report on standard output
    #[arg(long, value_enum)]
    pub report: Option<Format>,
    #[command(flatten)]
    pub files: Files,
    /// The verb that was given, where it is another than `optimize`.
    #[arg(skip)]
    pub verb: OptimizeVerb,
}

/// Verbs that take a model through the whole pipeline or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OptimizeVerb {
    /// The whole pipeline, as far as options ask for it.
    #[default]
    Optimize,
    /// Nothing but the edits.
    Edit,
    /// The whole pipeline, with integers.
    Quantize,
    /// The whole pipeline, with fewer channels.
    Prune,
}

impl Optimize {
    /// The verb that was given.
    pub(super) fn verb(&self) -> &'static str {
        match self.verb {
            OptimizeVerb::Optimize => "optimize",
            OptimizeVerb::Edit => "edit",
            OptimizeVerb::Quantize => "quantize",
            OptimizeVerb::Prune => "prune",
        }
    }
}

const EDIT_EXAMPLES: &str = "\
Examples:
  onnx-slim edit model.onnx --outputs features -o backbone.onnx      what computes one tensor
  onnx-slim edit model.onnx --inputs h --outputs y -o part.onnx      what lies between two tensors
  onnx-slim edit model.onnx --rename x=image --rename 812=logits -o named.onnx

Names are those of the model as it is. What was cut out is run and compared with the same tensors of
the whole. onnx-slim optimize takes the same options, and makes the model small in the same go.";

#[derive(Debug, Args)]
#[command(after_help = EDIT_EXAMPLES)]
pub(super) struct Edit {
    /// The models to edit; `-` is standard input
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Where to write the result; `-` is standard output [default: IN with .edited.onnx for .onnx]
    #[arg(short, long, value_name = "OUT", conflicts_with = "out_dir")]
    pub output: Option<PathBuf>,
    /// Write every result into this folder, under its input's name
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,
    #[command(flatten)]
    pub edits: Edits,
    #[command(flatten)]
    pub proof: Proving,
    /// Print a report on standard output
    #[arg(long, value_enum)]
    pub report: Option<Format>,
    #[command(flatten)]
    pub files: Files,
}

impl From<Edit> for Optimize {
    fn from(edit: Edit) -> Optimize {
        let Edit { inputs, output, out_dir, edits, proof, report, files } = edit;
        Optimize {
            inputs,
            output,
            out_dir,
            target: target::ONNX.name.into(),
            opset: None,
            allow_unsupported: true,
            edits,
            proof,
            disable: Vec::new(),
            only: Vec::new(),
            dump_after: Vec::new(),
            report,
            files,
            pruning: Pruning::default(),
            quantizing: Quantizing::default(),
            recipe: None,
            save_recipe: None,
            verb: OptimizeVerb::Edit,
        }
    }
}

const JOIN_EXAMPLES: &str = "\
Examples:
  onnx-slim join backbone.onnx head.onnx -o whole.onnx
  onnx-slim join backbone.onnx head.onnx --map features=x -o whole.onnx
  onnx-slim join a.onnx b.onnx --map y=x --outputs y,scores -o ab.onnx

Without --map, outputs of the first are the inputs of the second that have their names, or its only
output is the only input. What the second takes is no output any more, unless --outputs says so.
The older of two opsets is raised to the newer. Both models are run one after the other and compared
with the result.";

#[derive(Debug, Args)]
#[command(after_help = JOIN_EXAMPLES)]
pub(super) struct Join {
    /// The model that runs first; `-` is standard input
    #[arg(value_name = "FIRST")]
    pub first: PathBuf,
    /// The model that runs on what the first computes
    #[arg(value_name = "SECOND")]
    pub second: PathBuf,
    /// Where to write the result; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// A tensor of the first model and the input of the second that it is
    #[arg(long, value_name = "TENSOR=INPUT", value_parser = rename)]
    pub map: Vec<Rename>,
    /// End at these tensors [default: outputs of the first that the second does not take, and those of the second]
    #[arg(long, value_name = "NAME,NAME…", value_parser = some)]
    pub outputs: Vec<String>,
    /// What stands before a name of the second model that the first has too [default: its file's name and a slash]
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    #[command(flatten)]
    pub proof: Proving,
    #[command(flatten)]
    pub files: Files,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  onnx-slim check original.onnx slim.onnx
  onnx-slim check original.onnx slim.onnx --data inputs.npz
  onnx-slim check original.onnx slim.onnx --engine tract,ort
  onnx-slim check --target tensorrt:10.1 model.onnx            what this release cannot run";

#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(super) struct Check {
    /// The model that is right; with --target, the model to look at
    #[arg(value_name = "A")]
    pub original: PathBuf,
    /// The model that should compute the same
    #[arg(value_name = "B", required_unless_present = "target", conflicts_with = "target")]
    pub other: Option<PathBuf>,
    /// List what this runtime cannot run of one model, and what it runs badly
    #[arg(short, long, value_name = "TARGET", value_parser = TargetParser,
        conflicts_with_all = ["engine", "data", "budget", "memory"])]
    pub target: Option<String>,
    /// What runs the models; each engine compares them by itself
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tract")]
    pub engine: Vec<Engine>,
    /// Compare on these inputs: arrays in an .npz file under the names of the inputs, an .npy file for the only input, or a
    /// folder of such files or of ONNX test data
    #[arg(long, value_name = "PLACE")]
    pub data: Option<PathBuf>,
    /// Stop after about this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub budget: Duration,
    /// Make no run that takes more memory than this
    #[arg(long, value_name = "GIB", default_value = "4", value_parser = gibibytes)]
    pub memory: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The model; `-` is standard input
    pub model: PathBuf,
    /// Show which channels can only be removed together, and what keeps others from being removed
    #[arg(long)]
    pub groups: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A rule or pass, as `--disable` and the report call it; `advise` for the table that it decides by
    #[arg(value_name = "RULE|PASS")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
