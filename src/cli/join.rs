//! `join`: two models in, one out.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::args;
use crate::cli::shared::Noise;
use crate::cli::source::is_stream;
use crate::cli::{End, engine, render, usage};
use crate::edit::{self, Edits};
use crate::error::Error;
use crate::exec::{Executor, Plan};
use crate::interface::{Interface, Port};
use crate::model::Model;
use crate::onnx::{IrVersion, Weights, WriteOptions};
use crate::proof::Reason;

pub(super) fn run(args: &args::Join, noise: Noise) -> anyhow::Result<End> {
    if is_stream(&args.first) && is_stream(&args.second) {
        return Err(usage("join", "standard input holds one model"));
    }
    if is_stream(&args.output) && io::stdout().is_terminal() {
        return Err(usage("join", "a model is not for the terminal: name a file with -o, or pipe it on"));
    }
    let start = Instant::now();
    let check: Option<(Arc<dyn Executor>, Plan)> = match &args.proof {
        proof if proof.no_check => None,
        proof => {
            let plan = engine::plan(proof.check_data.as_deref(), proof.check_budget, proof.check_memory)?;
            Some((engine::executor(proof.engine)?, plan))
        }
    };
    let options = args.files.reading();
    let first = Model::read_with(&args.first, &options).map_err(Error::from)?;
    let second = Model::read_with(&args.second, &options).map_err(Error::from)?;
    let opsets = (first.opset(), second.opset());
    let prefix = args.prefix.clone().unwrap_or_else(|| {
        let stem = args.second.file_stem().map(|s| s.to_string_lossy().into_owned());
        format!("{}/", stem.filter(|s| s != "-").unwrap_or_else(|| "second".into()))
    });
    let asked = edit::Join { links: args.map.clone(), prefix };
    let (mut model, joined) = edit::join(first, second, &asked).map_err(Error::from)?;
    let cut = Edits { outputs: args.outputs.clone(), ..Edits::default() };
    let done = cut.apply(&mut model).map_err(Error::from)?;
    let mut said = String::new();
    for edited in [joined].into_iter().chain(done) {
        let check = check.as_ref().map(|(engine, plan)| (engine, plan)).ok_or(Reason::NotAsked);
        let edit = edited.confirmed(check).map_err(Error::from)?;
        let proof = edit.proof.map_or_else(String::new, |proof| format!(": {proof}"));
        let _ = writeln!(said, "  {}{proof}", edit.what);
    }
    let weights = if args.files.external_data { Weights::Beside } else { Weights::Inside };
    let write = WriteOptions { weights, ir_version: IrVersion::Kept };
    let written = model.write_with(&args.output, &write).map_err(Error::from)?;
    if noise.quiet {
        return Ok(End::Done);
    }
    let (a, b, out) = (args.first.display(), args.second.display(), args.output.display());
    let mut text = format!("{a} and {b} → {out}, {}\n{said}", render::seconds(start.elapsed().as_secs_f64()));
    let Interface { inputs, outputs } = Interface::of(&model.graph);
    let list = |ports: Vec<Port>| ports.iter().map(|p| format!("{} {}", p.ty, p.name)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "  {} => {}", list(inputs), list(outputs));
    if opsets.0 != opsets.1 {
        let _ = writeln!(text, "note: opsets {} and {} are opset {}", opsets.0, opsets.1, written.opset);
    }
    for note in &model.notes {
        let _ = writeln!(text, "note: {note}");
    }
    render::say(&render::fitted(&text));
    Ok(End::Done)
}
