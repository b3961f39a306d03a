//! `sensitivity`: what each layer of a model loses by computing in fewer bits.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cli::calibration::Calibration;
use crate::cli::choosing::{Choosing, TargetParser};
use crate::cli::progress::Progress;
use crate::cli::shared::{Files, Format, Noise, Proving};
use crate::cli::source::Source;
use crate::cli::{End, engine, render, usage};
use crate::error::Error;
use crate::model::Model;
use crate::onnx;
use crate::optimizer::Optimizer;
use crate::passes::infer_declared;
use crate::sensitivity::{Measure, Precision, Summary, plot};
use crate::target::{Profile, Target};

const EXAMPLES: &str = "\
Examples:
  onnx-slim sensitivity model.onnx --calib samples.npz
  onnx-slim sensitivity model.onnx --calib samples.npz --plot losses.svg --report json
  onnx-slim sensitivity model.onnx --calib samples.npz --candidates int8 --cache losses.json

The model is optimized first, and measured as it is then. Each layer alone gets the numbers that it
would have in a precision, and the model runs on from there; the loss is what its outputs lose.";

/// The command line of the verb.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Sensitivity {
    /// The model; `-` is standard input
    #[arg(value_name = "IN")]
    pub model: PathBuf,
    /// The runtime that will run the model: layers are tried in what it has for them
    #[arg(short, long, value_name = "TARGET", default_value = "onnx", value_parser = TargetParser)]
    pub target: String,
    /// Precisions to try: fp16, int8; int8-weights, int4, uint4, int2 (weights in the file, float32 in a run)
    #[arg(long, value_name = "NAME,NAME…", value_delimiter = ',', default_value = "fp16,int8-weights,int8,int4")]
    pub candidates: Vec<Precision>,
    /// What a loss is
    #[arg(long, value_enum, default_value_t)]
    pub loss: Loss,
    /// Keep what was measured in this file: a run that was cut short goes on from there, and the next one on the same
    /// model and samples measures nothing again
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// Draw the losses into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// How to print what was measured
    #[arg(long, value_enum, default_value = "table")]
    pub report: Format,
    #[command(flatten)]
    pub choosing: Choosing,
    #[command(flatten)]
    pub calibration: Calibration,
    #[command(flatten)]
    pub proof: Proving,
    #[command(flatten)]
    pub files: Files,
}

/// What a loss is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Loss {
    /// KL divergence of outputs that are scores of classes, error over signal of others
    #[default]
    Auto,
    /// KL divergence of the classes' probabilities
    Kl,
    /// Power of the error of outputs over their power
    Nmse,
    /// The same of the layer's own result
    Local,
    /// The same of the layer's weights, which nothing is run for
    Weights,
}

impl From<Loss> for Measure {
    fn from(loss: Loss) -> Measure {
        match loss {
            Loss::Auto => Measure::Auto,
            Loss::Kl => Measure::Kl,
            Loss::Nmse => Measure::Nmse,
            Loss::Local => Measure::Local,
            Loss::Weights => Measure::Weights,
        }
    }
}

pub(super) fn run(args: &Sensitivity, noise: Noise) -> anyhow::Result<End> {
    let target = Target::open(&args.target).map_err(|error| usage("sensitivity", error))?;
    if args.calibration.calib.is_none() {
        return Err(usage("sensitivity", "samples are needed to run the model on: --calib PLACE"));
    }
    let measuring = crate::sensitivity::Sensitivity {
        target: target.profile,
        policy: target.policy,
        candidates: args.candidates.clone(),
        choice: args.choosing.choice(),
        calibration: args.calibration.calibration()?,
        engine: engine::bounded(&args.proof)?,
        measure: args.loss.into(),
        cache: args.cache.clone(),
    };
    let progress = Progress::new(1, noise);
    progress.step("read");
    let read = args.files.reading();
    let model = Source::open(&args.model)?.read(&read)?;
    progress.step("optimize");
    let at = || args.model.display().to_string();
    let mut model = floats(model, target.profile, &measuring).with_context(at)?;
    infer_declared(&mut model.graph);
    let found = measuring.run(&model, &|done, total| progress.samples(done, total)).map_err(Error::from);
    drop(progress);
    let found = found.with_context(at)?;
    if let Some(file) = &args.plot {
        onnx::replace(file, |to| to.write_all(plot::svg(&found).as_bytes()))
            .with_context(|| file.display().to_string())?;
    }
    let text = match args.report {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&found)?),
        Format::Table => render::fitted(&table(&args.model.display().to_string(), &found)),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(End::Done)
}

/// The model as layers get their precision in it: optimized, in operators of ONNX.
fn floats(model: Model, target: &'static Profile, measuring: &crate::sensitivity::Sensitivity) -> Result<Model, Error> {
    // Scales per channel came with 13.
    let opset = target.opset_for(measuring.opset_for(model.opset().max(13)));
    let optimizer = Optimizer::for_target(target).only_onnx().widened().opset(opset).allow_unsupported().unchecked();
    Ok(optimizer.run(model)?.model)
}

/// Signs of the longest bar.
const BAR: usize = 24;

/// Losses below this have no bar.
const LEAST: f64 = 1e-9;

/// What was measured, for people: the most sensitive layers first.
pub(super) fn table(name: &str, found: &Summary) -> String {
    let mut precisions: Vec<Precision> = found.layers.iter().flat_map(|l| l.effects.keys().copied()).collect();
    precisions.sort_unstable();
    precisions.dedup();
    let mut text = format!(
        "{name}: {} layers, loss of outputs ({}) on {} {}samples\n\n",
        found.layers.len(),
        found.measure,
        found.samples,
        if found.made_up { "made-up " } else { "" }
    );
    let longest = found.layers.iter().map(|layer| layer.node.chars().count()).max().unwrap_or(0).clamp(5, 48);
    let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes what is written");
    let heads: String = precisions.iter().map(|p| format!(" {p:>12}")).collect();
    line(format_args!("{:longest$}  {:13} {:>9} {:>9}{heads}", "layer", "operator", "weights", "MACs"));
    let largest = found.layers.iter().flat_map(|l| l.effects.values()).map(|e| e.loss).filter(|l| l.is_finite());
    let largest = largest.fold(LEAST * 10.0, f64::max);
    for layer in &found.layers {
        let of = |precision: &Precision| match layer.effects.get(precision) {
            None => "-".to_string(),
            Some(effect) if effect.loss.is_infinite() => "lost".into(),
            Some(effect) => format!("{:.2e}", effect.loss),
        };
        let losses: String = precisions.iter().map(|p| format!(" {:>12}", of(p))).collect();
        let share = (layer.worst().min(largest) / LEAST).log10() / (largest / LEAST).log10();
        let bar = "▇".repeat((share.max(0.0) * BAR as f64).round() as usize);
        line(format_args!(
            "{:longest$}  {:13} {:>9} {:>9}{losses} {bar}",
            ending(&layer.node, longest),
            layer.op,
            short(layer.weights),
            short(layer.macs)
        ));
    }
    line(format_args!(""));
    line(format_args!(
        "{:.1} forwards of one sample for layers ({} candidates needed none behind their layer), {} runs before that",
        found.forwards, found.skipped, found.ground_runs
    ));
    line(format_args!("{:.1} s; one pass over the samples takes {:.1} s", found.seconds, found.pass_seconds));
    for note in &found.notes {
        line(format_args!("note: {note}"));
    }
    text
}

/// The end of a name, which tells layers apart.
pub(super) fn ending(name: &str, most: usize) -> String {
    let letters = name.chars().count();
    if letters <= most {
        return name.to_string();
    }
    let end: String = name.chars().skip(letters + 1 - most).collect();
    format!("…{end}")
}

/// A number in three digits and a unit.
pub(super) fn short(number: u64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(size, _)| number as f64 >= *size) {
        Some((size, unit)) => format!("{:.1}{unit}", number as f64 / size),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_in_front_and_numbers_are_short() {
        assert_eq!(ending("/layer1/conv", 12), "/layer1/conv");
        assert_eq!(ending("/layer1/conv", 6), "…/conv");
        assert_eq!([short(999), short(1_500), short(2_000_000_000)], ["999", "1.5k", "2.0G"]);
    }
}
