//! What a target cannot run of a model, and what it runs badly, before anybody tries.

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::ir::{Graph, NodeId, ScopeId};
use crate::model::Model;
use crate::onnx;
use crate::ops::CallView;
use crate::target::{Effect, Limit, Profile, Subject};

/// The rule of what an opset has no words for.
const OPSET: &str = "ONNX-OPSET";

/// Something that is wrong with a model for a target, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the target refuses it or runs it badly.
    pub effect: Effect,
    /// What the report calls it: `TRT-T12`.
    pub rule: String,
    /// The operator, with its domain where that is not the default one; empty for what is said of inputs.
    pub op: String,
    /// The reason.
    pub why: String,
    /// What to do.
    pub advice: String,
    /// Whether `optimize` says it in words that the target has.
    pub rewritten: bool,
    /// The nodes or inputs, by name, in the order of the file.
    pub places: Vec<String>,
}

/// Everything about `model` that `target` cannot run or runs badly when it is written in `opset`; `read_opset` is that
/// of the file that the model came from. What cannot be run comes first.
///
/// Types tell more when they are inferred before.
pub fn survey(model: &Model, target: &Profile, opset: i64, read_opset: i64) -> Vec<Finding> {
    let graph = &model.graph;
    let mut found = Found::default();
    for limit in target.limits() {
        inputs(graph, limit, &mut found);
    }
    let defined = onnx::function_names(model);
    let mut pending = vec![ScopeId::MAIN];
    while let Some(scope) = pending.pop() {
        let nodes = graph.schedule(scope);
        let bodies: Vec<ScopeId> = nodes.iter().flat_map(|&n| graph.node(n).bodies()).collect();
        pending.extend(bodies.into_iter().rev());
        for node in nodes {
            let call = CallView::new(graph, node);
            let name = (graph.node(node).domain().to_string(), graph.node(node).op_name().to_string());
            for limit in target.limits() {
                let is_function =
                    matches!(limit.subject, Subject::Foreign(_) | Subject::NoSuch(_)) && defined.contains(&name);
                if !is_function && limit.holds(&call, opset) {
                    found.add(limit.effect, limit.rule, qualified(graph, node), limit.why, limit.advice, || {
                        graph.label(node)
                    });
                }
            }
            if let Some(why) = lacks_words(&call, opset, read_opset) {
                let why = format!("opset {opset} has no words for it: {why}");
                let advice = "write a newer opset with --opset, or export the model without it";
                found.add(Effect::Unsupported, OPSET, qualified(graph, node), &why, advice, || graph.label(node));
            }
        }
    }
    let mut findings = found.findings;
    findings.sort_by_key(|f| f.effect);
    findings
}

/// Why `opset` has no words for a call of a model that was read from a file of a newer one.
pub fn lacks_words(call: &CallView<'_>, opset: i64, read_opset: i64) -> Option<String> {
    if opset >= read_opset {
        // What the file could say, and what rules may bring in, this opset can.
        return None;
    }
    let number = |n: i64| u32::try_from(n).unwrap_or(0);
    onnx::says(call.graph(), call.id(), number(opset), number(read_opset)).err()
}

/// Inputs of the main graph that `limit` is about.
fn inputs(graph: &Graph, limit: &Limit, found: &mut Found) {
    for &input in graph.scope(ScopeId::MAIN).inputs() {
        let ty = &graph.value(input).ty;
        let holds = match limit.subject {
            Subject::Types(types) => ty.dtype().is_some_and(|t| types.contains(&t)),
            Subject::OpenInputs => ty.shape().dims().is_none_or(|d| d.iter().any(|d| d.known().is_none())),
            Subject::Calls(_) | Subject::Foreign(_) | Subject::NoSuch(_) | Subject::Inner(_) => false,
        };
        if holds && graph.value(input).default().is_none() {
            found.add(limit.effect, limit.rule, String::new(), limit.why, limit.advice, || {
                format!("input {}", graph.value_label(input))
            });
        }
    }
}

/// The operator, with its domain where that is not the default one.
fn qualified(graph: &Graph, node: NodeId) -> String {
    let node = graph.node(node);
    match node.domain() {
        "" => node.op_name().to_string(),
        domain => format!("{domain}.{}", node.op_name()),
    }
}

#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    /// Which finding a rule, operator and reason have.
    index: FxHashMap<(String, String, String), usize>,
}

impl Found {
    fn add(&mut self, effect: Effect, rule: &str, op: String, why: &str, advice: &str, place: impl FnOnce() -> String) {
        let key = (rule.to_string(), op.clone(), why.to_string());
        let at = *self.index.entry(key).or_insert(self.findings.len());
        if at == self.findings.len() {
            let (rule, why, advice) = (rule.into(), why.into(), advice.into());
            self.findings.push(Finding { effect, rule, op, why, advice, rewritten: false, places: Vec::new() });
        }
        self.findings[at].places.push(place());
    }
}

/// Mark those findings that are none any more `afterwards`.
pub fn mark_rewritten(findings: &mut [Finding], afterwards: &[Finding]) {
    for finding in findings {
        finding.rewritten = !afterwards.iter().any(|f| (&f.rule, &f.op) == (&finding.rule, &finding.op));
    }
}

/// How many places cannot be run, and how many run badly.
pub fn counts(findings: &[Finding]) -> (usize, usize) {
    let of = |effect| findings.iter().filter(|f| f.effect == effect).map(|f| f.places.len()).sum();
    (of(Effect::Unsupported), of(Effect::Warning))
}

/// What there is to do about what `optimize` says in other words.
const REWRITTEN: &str = "onnx-slim optimize for this target says it in other words";

/// Columns that lists of places wrap at.
const WIDTH: usize = 100;

/// The lines of findings: what, why, what to do, where.
pub fn lines(findings: &[Finding]) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in findings {
        let op = if finding.op.is_empty() { String::new() } else { format!(" {}", finding.op) };
        lines.push(format!("{}{op}: {}", finding.rule, finding.why));
        let advice = if finding.rewritten { REWRITTEN } else { &finding.advice };
        lines.push(format!("  → {advice}"));
        let mut line = String::from("  at");
        for (i, place) in finding.places.iter().enumerate() {
            if i > 0 && line.chars().count() + place.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut line, "    ".into()));
            }
            line.push(' ');
            line.push_str(place);
            if i + 1 < finding.places.len() {
                line.push(',');
            }
        }
        lines.push(line);
    }
    lines
}
