//! `advise`: which recipe for which model, and why.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::advise::{self, Traits};
use crate::cli::shared::Format;
use crate::cli::{End, usage};
use crate::error::Error;
use crate::model::Model;
use crate::optimizer::Optimizer;
use crate::target;

const EXAMPLES: &str = "\
Examples:
  onnx-slim advise model.onnx --goal latency --device cpu
  onnx-slim advise model.onnx --goal size --device edge --calib samples.npz > small.toml
  onnx-slim optimize model.onnx --recipe small.toml

Remarks say which rows of the table decided what, and why; `onnx-slim explain advise` prints all of it.
Paths in the recipe are those of this command line: it is for a file in this folder.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Advise {
    /// The model; `-` is standard input
    pub model: PathBuf,
    /// What the model is to be good at
    #[arg(long, value_enum)]
    pub goal: Goal,
    /// What runs it
    #[arg(long, value_enum)]
    pub device: Device,
    /// Samples of what the model will see, as --calib of optimize takes them: they allow more
    #[arg(long, value_name = "PLACE")]
    pub calib: Option<PathBuf>,
    /// Print a report in the place of the recipe: json has the recipe, what was seen of the model and the reasons
    #[arg(long, value_enum)]
    pub report: Option<Format>,
}

/// What a model is to be good at.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Goal {
    /// One run takes little time
    Latency,
    /// The file is small
    Size,
    /// A run takes little work and memory: many share a machine, or a battery
    Cost,
}

/// What runs a model.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Device {
    /// A graphics processor
    Gpu,
    /// The processor of a server or of a desk's computer
    Cpu,
    /// A phone or a small board
    Edge,
    /// An accelerator for networks
    Npu,
}

pub(super) fn run(args: &Advise) -> anyhow::Result<End> {
    let place = match args.calib.as_deref().map(|place| place.to_str()) {
        None => None,
        Some(Some(place)) => Some(place),
        Some(None) => return Err(usage("advise", "a recipe has no bytes that are no text: give --calib another name")),
    };
    let goal = match args.goal {
        Goal::Latency => advise::Goal::Latency,
        Goal::Size => advise::Goal::Size,
        Goal::Cost => advise::Goal::Cost,
    };
    let device = match args.device {
        Device::Gpu => advise::Device::Gpu,
        Device::Cpu => advise::Device::Cpu,
        Device::Edge => advise::Device::Edge,
        Device::Npu => advise::Device::Npu,
    };
    let model = Model::read(&args.model).map_err(Error::from)?;
    // What is said of a model is said of it as it will be.
    let optimized = Optimizer::for_target(&target::ONNX).unchecked().run(model);
    let model = optimized.with_context(|| args.model.display().to_string())?.model;
    let advice = advise::advise(Traits::of(&model, place.is_some()), goal, device, place);
    let text = match args.report {
        Some(Format::Json) => format!("{}\n", serde_json::to_string_pretty(&advice)?),
        Some(Format::Table) | None => advice.commented(),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(End::Done)
}
