//! The command line: what can be said, and how `--help` explains it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::calibrate::Method;
use crate::cli::advise::Advise;
use crate::cli::assigning::Assigning;
use crate::cli::calibration::Calibration;
use crate::cli::choosing::{Choosing, TargetParser};
use crate::cli::editing::{Edits, rename, some};
use crate::cli::lowbit::LowBits;
use crate::cli::pruning::Pruning;
use crate::cli::sensitivity::Sensitivity;
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
    #[arg(long, value_name = "PASS[=PATH]", value_parser = dump)]
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

/// Under this the help lists what makes integers of real numbers.
pub(super) const QUANTIZING: &str = "Quantizing";

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

/// What becomes of inputs and outputs of a model that gets halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Io {
    /// They stay as they are
    #[default]
    Keep,
    /// They change their type, too
    Convert,
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

/// A request for the model's text after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dump {
    /// The pass.
    pub pass: String,
    /// A file or folder; none for standard output.
    pub to: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(|| "not a number of seconds".into())
}

/// Bytes.
fn gibibytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().map(|gib: f64| gib * f64::from(1u32 << 30));
    // Beyond the largest number, all there are.
    bytes.filter(|b| *b >= 0.0).map(|b| b as u64).ok_or_else(|| "not a number of GiB".into())
}

fn dump(text: &str) -> Result<Dump, String> {
    let (pass, to) = match text.split_once('=') {
        Some((_, "")) => return Err("a file or folder is missing after =".into()),
        Some((pass, to)) => (pass, Some(to.into())),
        None => (text, None),
    };
    Ok(Dump { pass: pass.into(), to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_dump_goes_where_it_is_told() {
        assert_eq!(dump("fuse").unwrap(), Dump { pass: "fuse".into(), to: None });
        assert_eq!(dump("fuse=a=b.txt").unwrap(), Dump { pass: "fuse".into(), to: Some("a=b.txt".into()) });
        assert!(dump("fuse=").is_err());
    }

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
