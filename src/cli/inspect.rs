//! `inspect`: what a model holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

use crate::census;
use crate::census::Census;
use crate::cli::{End, args, render};
use crate::error::Error;
use crate::interface::{Interface, Port};
use crate::ir::{Graph, Tensor};
use crate::liveness::{Peak, peak};
use crate::model::Model;
use crate::onnx::About;
use crate::optimizer::Optimizer;
use crate::passes::infer_declared;
use crate::prune::{Choices, Colouring, GroupAccount, Groups, StopAccount, accounts, stops, untie};
use crate::quantize::{Coverage, coverage};
use crate::target;

/// What is printed.
#[derive(Serialize)]
struct Inspection {
    model: String,
    ir_version: i64,
    /// Versions by domain; the default domain is `ai.onnx`.
    opsets: BTreeMap<String, i64>,
    #[serde(flatten)]
    interface: Interface,
    /// Graphs within nodes: branches and loop bodies.
    bodies: usize,
    #[serde(flatten)]
    census: Census,
    /// Where a run holds most activations.
    activations: Option<Peak>,
    /// How much of it is computed in integers, of a model that has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    integers: Option<Coverage>,
    /// Constants by element type.
    constants: BTreeMap<&'static str, Constants>,
    #[serde(flatten)]
    about: About,
    notes: Vec<String>,
}

#[derive(Default, Serialize)]
struct Constants {
    tensors: usize,
    elements: u64,
    bytes: u64,
}

pub(super) fn run(args: &args::Inspect) -> anyhow::Result<End> {
    let mut model = Model::read(&args.model).map_err(Error::from)?;
    if args.groups {
        return groups(args, model);
    }
    infer_declared(&mut model.graph);
    let found = inspect(&args.model.display().to_string(), model);
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&found)?)
    } else {
        render::fitted(&for_people(&found))
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(End::Done)
}

/// What can be pruned of a model.
#[derive(Serialize)]
struct Prunable {
    model: String,
    /// Channels that can only be removed together, all that are alike in one group.
    groups: Vec<GroupAccount>,
    /// Operators about whose channels nothing is known.
    stopped: Vec<StopAccount>,
    /// How long it took to tell the groups, in milliseconds.
    milliseconds: f64,
}

/// Show the groups of a model as it is pruned: optimized, with constants that only look shared apart.
fn groups(args: &args::Inspect, model: Model) -> anyhow::Result<End> {
    let mut model = Optimizer::for_target(&target::ONNX).unchecked().run(model)?.model;
    let start = Instant::now();
    untie(&mut model.graph);
    let groups = Groups::of(&model.graph, Colouring::of(&model.graph, &Choices::default()));
    let milliseconds = 1e3 * start.elapsed().as_secs_f64();
    let found = Prunable {
        milliseconds,
        model: args.model.display().to_string(),
        groups: accounts(&model.graph, &groups),
        stopped: stops(&model.graph, &groups.colouring),
    };
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&found)?)
    } else {
        render::fitted(&groups_for_people(&found))
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(End::Done)
}

fn groups_for_people(found: &Prunable) -> String {
    let classes: usize = found.groups.iter().map(|g| g.classes).sum();
    let mut text = format!(
        "{}: {} groups, {classes} classes, told in {:.1} ms\n\n",
        found.model,
        found.groups.len(),
        found.milliseconds
    );
    let list = |names: &[String]| match names {
        [] => "-".to_string(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let mut rows = vec![["classes", "elements each", "made by", "summed by", "coupled"].map(String::from)];
    rows.extend(found.groups.iter().map(|g| {
        [
            g.classes.to_string(),
            g.elements.to_string(),
            list(&g.made_by),
            list(&g.summed_by),
            g.coupled.clone().unwrap_or_default(),
        ]
    }));
    text.push_str(&render::columns(&rows));
    for stop in &found.stopped {
        let times = if stop.calls == 1 { "once".to_string() } else { format!("{} times", stop.calls) };
        let _ = writeln!(text, "note: nothing is known of the channels of {}, {times}: {}", stop.op, stop.node);
    }
    text
}

fn inspect(name: &str, model: Model) -> Inspection {
    let mut constants: BTreeMap<&'static str, Constants> = BTreeMap::new();
    for tensor in tensors(&model.graph) {
        let row = constants.entry(tensor.dtype().name()).or_default();
        row.tensors += 1;
        row.elements += tensor.len() as u64;
        row.bytes += tensor.stored_bytes() as u64;
    }
    let domain = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { d.to_string() };
    Inspection {
        model: name.into(),
        ir_version: model.ir_version,
        opsets: model.opset_imports.iter().map(|o| (domain(&o.domain), o.version)).collect(),
        interface: Interface::of(&model.graph),
        bodies: model.graph.scopes().count() - 1,
        census: census::take(&model),
        activations: peak(&model.graph),
        integers: Some(coverage(&model.graph)).filter(Coverage::is_some),
        constants,
        about: model.about(),
        notes: model.notes,
    }
}

fn tensors(graph: &Graph) -> impl Iterator<Item = &Tensor> {
    graph.values().filter_map(|v| graph.value(v).constant().or_else(|| graph.value(v).default()))
}

fn for_people(found: &Inspection) -> String {
    let opsets: Vec<String> = found.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    let mut text = format!(
        "{}: {}, {}IR version {}, opset {}\n",
        found.model,
        render::bytes(found.census.file_bytes),
        if found.about.producer.is_empty() { String::new() } else { format!("by {}, ", found.about.producer) },
        found.ir_version,
        opsets.join(", ")
    );
    ports(&mut text, "inputs", &found.interface.inputs);
    ports(&mut text, "outputs", &found.interface.outputs);
    let bodies = match found.bodies {
        0 => String::new(),
        n => format!(", in the main graph and {n} inside nodes"),
    };
    let _ = writeln!(text, "\n{} nodes{bodies}", found.census.nodes);
    let mut ops: Vec<(&String, &usize)> = found.census.ops.iter().collect();
    ops.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let rows: Vec<[String; 2]> = ops.into_iter().map(|(op, n)| [op.clone(), n.to_string()]).collect();
    text.push_str(&render::columns(&rows));
    let _ = writeln!(
        text,
        "\n{} parameters, {}",
        render::count(found.census.parameters),
        render::bytes(found.census.parameter_bytes)
    );
    let rows: Vec<[String; 4]> = found
        .constants
        .iter()
        .map(|(dtype, c)| {
            let tensors = format!("{} tensor{}", c.tensors, if c.tensors == 1 { "" } else { "s" });
            [dtype.to_string(), tensors, render::count(c.elements), render::bytes(c.bytes)]
        })
        .collect();
    text.push_str(&render::columns(&rows));
    let macs = match found.census.macs {
        Some(macs) => format!("{} multiply-accumulates per run", render::count(macs)),
        None => "multiply-accumulates depend on sizes that are open".into(),
    };
    let _ = writeln!(text, "\n{macs}");
    if let Some(integers) = &found.integers {
        integer_lines(&mut text, integers);
    }
    let _ = match &found.activations {
        Some(peak) if peak.at.is_empty() => writeln!(text, "{} of activations at most", render::bytes(peak.bytes)),
        Some(peak) => writeln!(text, "{} of activations at most, at {}", render::bytes(peak.bytes), peak.at),
        None => writeln!(text, "activations depend on sizes that are open"),
    };
    if !found.about.functions.is_empty() {
        let _ = writeln!(text, "functions: {}", found.about.functions.join(", "));
    }
    for (key, value) in &found.about.metadata {
        let _ = writeln!(text, "{key}: {}", value.lines().next().unwrap_or_default());
    }
    for note in &found.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn integer_lines(text: &mut String, found: &Coverage) {
    let share = found.macs.map_or_else(|| "none".into(), |share| format!("{:.0} %", 100.0 * share));
    let Coverage { integer, weighted, quantize, dequantize, .. } = found;
    let _ = writeln!(text, "{share} of them of integers, in {integer} of {weighted} operators");
    let dtypes: Vec<String> = found.dtypes.iter().map(|(dtype, count)| format!("{count} of {dtype}")).collect();
    let of = if dtypes.is_empty() { String::new() } else { format!(": {}", dtypes.join(", ")) };
    let _ = writeln!(text, "{quantize} nodes quantize, {dequantize} dequantize{of}");
}

fn ports(text: &mut String, title: &str, ports: &[Port]) {
    let _ = writeln!(text, "\n{title}");
    let width = ports.iter().map(|p| p.name.chars().count()).max().unwrap_or_default();
    for port in ports {
        let optional = if port.optional { "  (has a default)" } else { "" };
        let _ = writeln!(text, "  {:width$}  {}{optional}", port.name, port.ty);
    }
}
