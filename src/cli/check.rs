//! `check`: whether two models compute the same, or what a target cannot run of one.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::{End, args, engine, render, usage};
use crate::error::Error;
use crate::exec::{Executor, Plan, Verdict};
use crate::interface::Interface;
use crate::ir::ScopeId;
use crate::model::Model;
use crate::optimizer::Optimizer;
use crate::passes::infer_declared;
use crate::proof::{self, Referee};
use crate::rewrite::Exactness;
use crate::survey::{self, Finding};
use crate::target::{Effect, Profile, Target};

/// What is printed.
#[derive(Serialize)]
struct Comparison {
    original: String,
    other: String,
    /// Whether some engine ran both, and none found a difference.
    same: bool,
    /// How names and order of inputs and outputs differ.
    interface: Vec<String>,
    /// What each engine found.
    engines: Vec<Verdict>,
}

pub(super) fn run(args: &args::Check) -> anyhow::Result<End> {
    match (&args.other, &args.target) {
        (Some(other), _) => compare(args, other),
        (None, Some(target)) => look(args, Target::open(target).map_err(|error| usage("check", error))?.profile),
        (None, None) => Err(usage("check", "expected a second model, or --target")),
    }
}

/// What is printed of one model.
#[derive(Serialize)]
struct Suitability {
    model: String,
    target: &'static str,
    opset: i64,
    /// How many nodes and inputs the target cannot run.
    unsupported: usize,
    /// How many it runs badly.
    warnings: usize,
    findings: Vec<Finding>,
}

/// What `target` cannot run of the model.
fn look(args: &args::Check, target: &'static Profile) -> anyhow::Result<End> {
    let model = read(&args.original)?;
    let opset = model.opset();
    let mut findings = survey::survey(&model, target, target.opset_for(opset), opset);
    if let Ok(done) = Optimizer::for_target(target).unchecked().allow_unsupported().run(model) {
        survey::mark_rewritten(&mut findings, &done.report.findings);
    }
    let (unsupported, warnings) = survey::counts(&findings);
    let model = args.original.display().to_string();
    let found = Suitability { model, target: target.name, opset, unsupported, warnings, findings };
    let text = match args.json {
        true => serde_json::to_string_pretty(&found)? + "\n",
        false => render::fitted(&suitability(&found)),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if unsupported == 0 { End::Done } else { End::Failed })
}

fn suitability(found: &Suitability) -> String {
    let times = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let mut text = match (found.unsupported, found.warnings) {
        (0, 0) => format!("{} suits {}\n", found.model, found.target),
        (0, n) => format!("{} suits {}, with {}\n", found.model, found.target, times(n, "warning")),
        (n, 0) => format!("{}: {} cannot run {}\n", found.model, found.target, times(n, "place")),
        (n, w) => {
            format!("{}: {} cannot run {}, {}\n", found.model, found.target, times(n, "place"), times(w, "warning"))
        }
    };
    for (effect, title) in [(Effect::Unsupported, "cannot run"), (Effect::Warning, "runs badly")] {
        let these: Vec<Finding> = found.findings.iter().filter(|f| f.effect == effect).cloned().collect();
        if !these.is_empty() {
            let _ = writeln!(text, "{title}");
        }
        for line in survey::lines(&these) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn compare(args: &args::Check, other: &Path) -> anyhow::Result<End> {
    let mut plan = engine::plan(args.data.as_deref(), args.budget, args.memory)?;
    let engines = args.engine.iter().map(|&e| engine::executor(e)).collect::<anyhow::Result<Vec<_>>>()?;
    let other_path = other;
    let (original, other) = (read(&args.original)?, read(other_path)?);
    fix_sizes(&mut plan, &original, &other);
    let interface = Interface::of(&original.graph).differences(&Interface::of(&other.graph));
    // Nothing is known of how the second was made of the first; rounding is what they may differ by.
    let verdict = |engine: Arc<dyn Executor>| {
        Referee::new(original.clone(), engine, plan.clone()).compare(other.clone(), Exactness::Rounding)
    };
    let verdicts: Vec<Verdict> = engines.into_iter().map(verdict).collect();
    let same =
        interface.is_empty() && verdicts.iter().any(Verdict::is_same) && !verdicts.iter().any(Verdict::is_different);
    let (original, other) = (args.original.display().to_string(), other_path.display().to_string());
    let found = Comparison { original, other, same, interface, engines: verdicts };
    let text = if args.json { serde_json::to_string_pretty(&found)? + "\n" } else { for_people(&found) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if same { End::Done } else { End::Failed })
}

fn read(path: &Path) -> Result<Model, Error> {
    let mut model = Model::read(path)?;
    infer_declared(&mut model.graph);
    Ok(model)
}

/// Where one of the models fixes a size that the other leaves open, that is the size to compare them with.
fn fix_sizes(plan: &mut Plan, original: &Model, other: &Model) {
    let inputs = |model: &Model| {
        let values = model.graph.scope(ScopeId::MAIN).inputs().iter().map(|&i| model.graph.value(i).clone());
        values.collect::<Vec<_>>()
    };
    let others = inputs(other);
    for mine in inputs(original) {
        let Some(theirs) = others.iter().find(|v| v.name == mine.name) else { continue };
        let (Some(mine), Some(theirs)) = (mine.ty.shape().dims(), theirs.ty.shape().dims()) else { continue };
        for (mine, theirs) in mine.iter().zip(theirs) {
            let size = theirs.known().and_then(|n| usize::try_from(n).ok());
            if let (Some(atom), Some(size)) = (mine.as_atom(), size) {
                plan.sizes.insert(atom.to_string(), size);
            }
        }
    }
}

fn for_people(found: &Comparison) -> String {
    let mut text = format!("{} and {}\n", found.original, found.other);
    for line in &found.interface {
        let _ = writeln!(text, "  {line}");
    }
    for verdict in &found.engines {
        let _ = writeln!(text, "  {}", proof::summary(verdict));
        for line in proof::differences(verdict) {
            let _ = writeln!(text, "    {line}");
        }
    }
    render::fitted(&text)
}
