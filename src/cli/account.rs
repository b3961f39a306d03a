//! What became of each model, for people and for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::census::Census;
use crate::cli::args;
use crate::cli::jobs::Job;
use crate::cli::render;
use crate::cli::shared::Noise;
use crate::precision::{self, Half};
use crate::proof::{Proof, Reason};
use crate::quality::{Measured, in_decibels};
use crate::quantize::{Coverage, Summary};
use crate::report::Report;
use crate::rewrite::Step;
use crate::stages::Stand;
use crate::survey;

/// What became of one model.
pub(super) struct Account {
    model: String,
    output: String,
    seconds: f64,
    result: anyhow::Result<Optimized>,
}

/// A model that was written.
pub(super) struct Optimized {
    pub delivery: Delivery,
    pub report: Report,
}

/// What the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Delivery {
    /// The result.
    Optimized,
    /// The model as it was asked for, and not made smaller.
    Edited,
    /// The input, as nothing helped.
    Copied,
}

impl Account {
    pub(super) fn new(job: &Job, result: anyhow::Result<Optimized>, took: Duration) -> Account {
        let (model, output) = (job.input.display().to_string(), job.output.display().to_string());
        Account { model, output, seconds: took.as_secs_f64(), result }
    }

    /// Whether the model could not be handled. Output that nobody wants to read any more is no failure.
    pub(super) fn is_failure(&self) -> bool {
        self.result.as_ref().is_err_and(|error| !render::is_broken_pipe(error))
    }
}

/// Say on stderr what became of one of `total` models.
pub(super) fn tell(account: &Account, args: &args::Optimize, total: usize, noise: Noise) {
    match &account.result {
        Err(error) if account.is_failure() => render::error(error, Some(&account.model)),
        Err(_) => {}
        Ok(_) if noise.quiet || args.report.is_some() => {}
        Ok(done) if total > 1 => render::say(&format!("{}\n", line(account, done))),
        Ok(done) => render::say(&summary(account, done, noise.verbose > 0)),
    }
}

/// One line about one model.
fn line(account: &Account, done: &Optimized) -> String {
    let (before, after) = (&done.report.before, &done.report.after);
    let sizes = match done.delivery {
        Delivery::Copied => "nothing to gain, copied".to_string(),
        Delivery::Optimized | Delivery::Edited => format!(
            "{} → {} nodes, {} → {}",
            before.nodes,
            after.nodes,
            render::bytes(before.file_bytes),
            render::bytes(after.file_bytes)
        ),
    };
    format!("{} → {}: {sizes}", account.model, account.output)
}

/// What matters about one model.
fn summary(account: &Account, done: &Optimized, in_full: bool) -> String {
    let mut text = format!("{} → {}, {}\n", account.model, account.output, render::seconds(account.seconds));
    match done.delivery {
        Delivery::Copied => text.push_str("  nothing to gain: the output is a copy of the input\n"),
        Delivery::Optimized | Delivery::Edited => text.push_str(&comparison(&done.report.before, &done.report.after)),
    }
    notes(&mut text, &done.report, in_full);
    text
}

/// Everything about one model: the human form of the report.
pub(super) fn table(account: &Account) -> String {
    let Ok(done) = &account.result else { return format!("{} → not optimized\n", account.model) };
    let mut text = format!("{} → {}, {}\n\n", account.model, account.output, render::seconds(account.seconds));
    let name = done.report.steps.iter().map(|s| s.pass.len()).max().unwrap_or_default();
    for step in &done.report.steps {
        one_step(&mut text, step, name);
    }
    text.push('\n');
    if done.delivery == Delivery::Copied {
        text.push_str("  nothing to gain: the output is a copy of the input\n");
    }
    text.push_str(&comparison(&done.report.before, &done.report.after));
    notes(&mut text, &done.report, true);
    text
}

/// Columns that lists wrap at.
const WIDTH: usize = 110;

fn one_step(text: &mut String, step: &Step, name: usize) {
    let nodes = match (step.nodes_before, step.nodes_after) {
        (before, after) if after < before => format!("−{} nodes", before - after),
        (before, after) if after > before => format!("+{} nodes", after - before),
        _ => String::new(),
    };
    let head = format!("  {:name$}  {nodes:>11}  {:>7}", step.pass, render::seconds(step.seconds));
    let indent = head.chars().count();
    // A step that counts nothing but itself has said it all with its nodes.
    let applied = step.applied.iter().filter(|(what, _)| **what != step.pass);
    let applied: Vec<String> = applied.map(|(what, times)| format!("{what} {times}")).collect();
    let declined: Vec<String> = step
        .declined
        .iter()
        .flat_map(|(rule, whys)| whys.iter().map(move |(why, times)| format!("{rule} held back {times}: {why}")))
        .collect();
    let mut lines = wrapped(&applied, WIDTH.saturating_sub(indent + 2));
    lines.extend(declined);
    let mut lines = lines.into_iter();
    let _ = writeln!(text, "{}", format!("{head}  {}", lines.next().unwrap_or_default()).trim_end());
    for line in lines {
        let _ = writeln!(text, "{:indent$}  {line}", "");
    }
}

/// Items with commas between, in lines of at most `width` where that is possible.
fn wrapped(items: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let item = if i + 1 < items.len() { format!("{item},") } else { item.clone() };
        match lines.last_mut() {
            Some(line) if line.len() + 1 + item.len() <= width => {
                line.push(' ');
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}

/// Before and after: nodes, operators whose number changed, parameters, work, bytes.
fn comparison(before: &Census, after: &Census) -> String {
    let mut rows = vec![[String::new(), "before".into(), "after".into()]];
    rows.push(["nodes".into(), before.nodes.to_string(), after.nodes.to_string()]);
    let ops: BTreeSet<&String> = before.ops.keys().chain(after.ops.keys()).collect();
    for op in ops {
        let of = |census: &Census| census.ops.get(op).copied().unwrap_or_default();
        if of(before) != of(after) {
            rows.push([format!("  {op}"), of(before).to_string(), of(after).to_string()]);
        }
    }
    let pair = |name: &str, show: fn(u64) -> String, a: u64, b: u64| [name.into(), show(a), show(b)];
    rows.push(pair("parameters", render::count, before.parameters, after.parameters));
    if before.macs.is_some() || after.macs.is_some() {
        let macs = |census: &Census| census.macs.map_or_else(|| "?".into(), render::count);
        rows.push(["multiply-accumulates".into(), macs(before), macs(after)]);
    }
    rows.push(pair("file", render::bytes, before.file_bytes, after.file_bytes));
    render::columns(&rows)
}

/// What integers cover and cost; `in_full` with the layers that err most.
fn integers(text: &mut String, done: &Summary, in_full: bool) {
    let Coverage { macs, integer, weighted, .. } = &done.coverage;
    let share = macs.map_or_else(|| "no".into(), |share| format!("{:.0} % of the", 100.0 * share));
    let _ = writeln!(
        text,
        "  integers in {share} multiply-accumulates: {integer} of {weighted} layers{}",
        if done.samples > 0 { format!(", ranges from {}", samples(done.samples)) } else { String::new() }
    );
    qualities(text, &done.measured);
    if in_full && !done.layers.is_empty() {
        text.push_str("  layers that err most, with what came to them\n");
        let rows: Vec<[String; 3]> =
            done.layers.iter().map(|l| [format!("  {}", l.node), l.op.clone(), in_decibels(l.sqnr)]).collect();
        text.push_str(&render::columns(&rows));
    }
}

/// What has half the bits, and what had to stay.
fn halves(text: &mut String, done: &precision::Summary, in_full: bool) {
    let (what, name) = match done.half {
        Half::F16 => ("operators in", "float16"),
        Half::BF16 => ("operators in", "bfloat16"),
        Half::Weights => ("weights stored as", "float16"),
    };
    let _ = writeln!(text, "  {} {what} {name}, {} in float32, {} casts", done.halves, done.floats, done.casts);
    for kept in &done.kept {
        let first = kept.nodes.first().map_or("", |node| node);
        let others = match kept.nodes.len() {
            0 | 1 => String::new(),
            more => format!(" and {} more", more - 1),
        };
        let places = if in_full { kept.nodes.join(", ") } else { format!("{first}{others}") };
        let _ = writeln!(text, "  float32: {} {places}: {}", kept.op, kept.why);
    }
    qualities(text, &done.measured);
}

/// How the model stood behind each stage.
fn course(text: &mut String, stands: &[Stand]) {
    if stands.is_empty() {
        return;
    }
    let head = ["stage", "nodes", "file", "parameters", "multiply-accumulates", "activations", "against the original"];
    let mut rows = vec![head.map(String::from)];
    rows.extend(stands.iter().map(|stand| {
        [
            stand.stage.to_string(),
            stand.nodes.to_string(),
            stand.file_bytes.map_or_else(|| "?".into(), render::bytes),
            render::bytes(stand.parameter_bytes),
            stand.macs.map_or_else(|| "?".into(), render::count),
            stand.activations.as_ref().map_or_else(|| "?".into(), |peak| render::bytes(peak.bytes)),
            against(&stand.measured),
        ]
    }));
    text.push_str(&render::columns(&rows));
}

/// The worst of all outputs.
fn against(measured: &Measured) -> String {
    let outputs = &measured.outputs;
    let floats = outputs.iter().filter(|q| q.cosine.is_some()).map(|q| q.sqnr);
    let mut said: Vec<String> = floats.min_by(f64::total_cmp).map(in_decibels).into_iter().collect();
    let share = |share: f64, what: &str| format!("{:.1} % {what}", 100.0 * share);
    said.extend(outputs.iter().filter_map(|q| q.agreement).min_by(f64::total_cmp).map(|s| share(s, "the same class")));
    said.extend(outputs.iter().filter_map(|q| q.equal).min_by(f64::total_cmp).map(|s| share(s, "the same")));
    said.join(", ")
}

/// How far outputs are from what they were, on samples that were held out.
fn qualities(text: &mut String, measured: &Measured) {
    for q in &measured.outputs {
        let mut said = vec![match q.equal {
            Some(share) => format!("{:.1} % of its elements are the same", 100.0 * share),
            None => in_decibels(q.sqnr),
        }];
        said.extend(q.cosine.map(|cosine| format!("cosine {cosine:.4}")));
        said.extend(q.agreement.map(|share| format!("the same class in {:.1} %", 100.0 * share)));
        let _ =
            writeln!(text, "  output \"{}\" on {}: {}", q.output, samples(measured.held_out as u64), said.join(", "));
    }
}

fn samples(count: u64) -> String {
    format!("{count} sample{}", if count == 1 { "" } else { "s" })
}

fn notes(text: &mut String, report: &Report, in_full: bool) {
    for edit in &report.edits {
        let _ = match &edit.proof {
            Some(proof) => writeln!(text, "  {}: {proof}", edit.what),
            None => writeln!(text, "  {}", edit.what),
        };
    }
    if !matches!(report.proof, Proof::Without(Reason::Edited)) {
        let _ = writeln!(text, "  {}", report.proof);
    }
    if let Some(done) = &report.accounts.pruning {
        for line in done.lines() {
            let _ = writeln!(text, "  {line}");
        }
        qualities(text, &done.measured);
        if in_full {
            text.push_str("  channels of each group before and after\n");
            let rows: Vec<[String; 3]> = done
                .groups
                .iter()
                .filter(|g| g.after < g.before)
                .map(|g| {
                    [format!("  {}", g.layers.first().map_or("", |l| l)), g.before.to_string(), g.after.to_string()]
                })
                .collect();
            text.push_str(&render::columns(&rows));
        }
    }
    if let Some(done) = &report.accounts.sparsity {
        for line in done.lines() {
            let _ = writeln!(text, "  {line}");
        }
        qualities(text, &done.measured);
    }
    if let Some(done) = &report.accounts.assignment {
        for line in done.lines() {
            let _ = writeln!(text, "  {line}");
        }
        qualities(text, &done.measured);
        if in_full {
            text.push_str("  what each layer computes in, what it loses by that, and why\n");
            let rows: Vec<[String; 5]> = done.rows();
            text.push_str(&render::columns(&rows));
        }
    }
    if let Some(done) = &report.accounts.quantization {
        integers(text, done, in_full);
    }
    if let Some(done) = &report.accounts.precision {
        halves(text, done, in_full);
    }
    if let Some(done) = &report.accounts.low_bits {
        for line in done.lines() {
            let _ = writeln!(text, "  {line}");
        }
        qualities(text, &done.measured);
    }
    course(text, &report.stages);
    for line in survey::lines(&report.findings) {
        let mark = if line.starts_with(' ') { "         " } else { "warning: " };
        text.push_str(&render::fitted(&format!("{mark}{line}")));
    }
    let pruning = report.accounts.pruning.iter().flat_map(|done| &done.notes);
    let assigning = report.accounts.assignment.iter().flat_map(|done| &done.notes);
    let quantizing = report.accounts.quantization.iter().flat_map(|done| &done.notes);
    let halving = report.accounts.precision.iter().flat_map(|done| &done.notes);
    let packing = report.accounts.low_bits.iter().flat_map(|done| &done.notes);
    let mut said: BTreeSet<&String> = BTreeSet::new();
    for note in report.notes.iter().chain(pruning).chain(assigning).chain(quantizing).chain(halving).chain(packing) {
        // Stages that share samples say the same of them.
        if said.insert(note) {
            let _ = writeln!(text, "note: {note}");
        }
    }
}

/// What `--report json` prints of one model.
#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    output: Option<&'a str>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    report: Option<&'a Report>,
}

impl<'a> From<&'a Account> for Json<'a> {
    fn from(account: &'a Account) -> Json<'a> {
        let done = account.result.as_ref();
        Json {
            model: &account.model,
            output: done.is_ok().then_some(&*account.output),
            seconds: account.seconds,
            delivery: done.ok().map(|d| d.delivery),
            error: done.err().map(|error| render::message(error, None).trim_end().to_string()),
            report: done.ok().map(|d| &d.report),
        }
    }
}

/// The report as JSON: an object for one model, an array for several.
pub(super) fn json(accounts: &[Account]) -> anyhow::Result<String> {
    let text = match accounts {
        [account] => serde_json::to_string_pretty(&Json::from(account))?,
        accounts => serde_json::to_string_pretty(&accounts.iter().map(Json::from).collect::<Vec<_>>())?,
    };
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_wrap_between_items() {
        let items = ["aa 1", "bb 2", "cc 3"].map(String::from);
        assert_eq!(wrapped(&items, 11), ["aa 1, bb 2,", "cc 3"]);
        assert_eq!(wrapped(&items, 1), ["aa 1,", "bb 2,", "cc 3"]);
        assert_eq!(wrapped(&[], 10), [""; 0]);
    }
}
