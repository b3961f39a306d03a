//! Whatever graph is optimized, it computes what it did: random small graphs of valid calls, their sizes fixed or open.
//!
//! Each graph grows call by call, and a call stays when it can be computed on two sets of inputs, so every graph runs.
//! The interpreter is made of the exact kernels and, for the operators that they lack, the embedded engine one call at
//! a time. It checks inference on the way: what the graph says of a value's type has to hold for the tensor.
#![cfg(feature = "tract")]

#[path = "properties/calls.rs"]
mod calls;
#[path = "properties/grow.rs"]
mod grow;
#[path = "properties/interpret.rs"]
mod interpret;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use onnx_slim::error::Error;
use onnx_slim::exec::compare::{Tolerance, difference};
use onnx_slim::interface::Interface;
use onnx_slim::ir::{Graph, OpKind, ScopeId, Tensor, verify};
use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::proof::{Judge, Verdict};
use onnx_slim::rewrite::{Exactness, Rule, var};
use onnx_slim::{target, text};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use grow::Grown;
use interpret::{Feed, run};

/// Graphs tried.
const CASES: u32 = 200;

/// Numbers that the choices of one call are made from.
const CHOICES: usize = 10;

#[test]
fn what_is_optimized_computes_the_same() {
    let seen = RefCell::new(Seen::default());
    if let Err(failure) = for_graphs(CASES, |grown| holds(grown, &mut seen.borrow_mut())) {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    println!("{} calls: {:?}", seen.ops.values().sum::<usize>(), seen.ops);
    println!("{} edits: {:?}", seen.edits.values().sum::<usize>(), seen.edits);
    // Graphs that nothing applies to would pass too.
    assert!(seen.ops.len() > 40 && seen.edits.len() > 35, "little has been tried");
}

#[test]
fn a_wrong_rule_is_found_and_named() {
    let wrong = || {
        let x = var("x");
        let pattern = OpKind::Abs.of(x).or(OpKind::Relu.of(x));
        Rule::new("wrong", Exactness::Bitwise, pattern, move |m| Ok(m[x])).even_if_shared()
    };
    let found = for_graphs(CASES, |Grown { model, feeds }| {
        let judge = Interpreter { feeds: feeds.clone() };
        let optimizer = Optimizer::for_target(&target::ONNX).only("wrong").with_rules(vec![wrong()]).checked_by(judge);
        match optimizer.run(model.clone()) {
            Err(Error::Different { guilty: Some(guilty), .. }) => Err(TestCaseError::fail(guilty.rule)),
            _ => Ok(()),
        }
    });
    let found = found.expect_err("a wrong rule has changed nothing that is computed").to_string();
    assert!(found.contains("wrong"), "{found}");
}

/// Have `property` hold for `cases` graphs, the same ones each time. `PROPERTY_SEED` and `PROPERTY_CASES` ask for
/// others.
fn for_graphs(
    cases: u32,
    property: impl Fn(&Grown) -> Result<(), TestCaseError>,
) -> Result<(), TestError<([u16; 8], Vec<[u16; CHOICES]>)>> {
    let cases = std::env::var("PROPERTY_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    let seed = std::env::var("PROPERTY_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0u8);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let call = prop::array::uniform::<_, CHOICES>(any::<u16>());
    let graphs = (any::<[u16; 8]>(), prop::collection::vec(call, 5..25));
    runner.run(&graphs, |(start, steps)| property(&grow::grow(&start, &steps)))
}

/// What has been tried.
#[derive(Default)]
struct Seen {
    /// Calls by operator.
    ops: BTreeMap<&'static str, usize>,
    /// Edits by rule, or by action of a pass.
    edits: BTreeMap<String, usize>,
}

/// Every property of one graph.
fn holds(grown: &Grown, seen: &mut Seen) -> Result<(), TestCaseError> {
    let Grown { model, feeds } = grown;
    let original = text::print(model);
    let fail = |what: String| TestCaseError::fail(format!("{what}\n{original}"));
    let malformed = verify(&model.graph);
    prop_assert!(malformed.is_empty(), "a malformed graph has grown: {malformed:?}\n{original}");

    let again = reread(model).map_err(|why| fail(format!("the original is not read again: {why}")))?;
    prop_assert_eq!(&text::print(&again), &original, "the original is another when it is read again");

    let optimizer = Optimizer::for_target(&target::ONNX).checked_by(Interpreter { feeds: feeds.clone() });
    let once = match optimizer.run(model.clone()) {
        Ok(outcome) => outcome,
        Err(error) => return Err(fail(format!("{error}: {}", error.details().join("; ")))),
    };
    for node in model.graph.nodes() {
        *seen.ops.entry(model.graph.node(node).op.name()).or_default() += 1;
    }
    for (edit, times) in once.report.steps.iter().flat_map(|s| &s.applied) {
        *seen.edits.entry(edit.clone()).or_default() += times;
    }
    let fired = || {
        let applied = once.report.steps.iter().flat_map(|s| s.applied.keys()).cloned().collect::<Vec<_>>();
        applied.join(", ")
    };
    let result = text::print(&once.model);
    let fail = |what: String| fail(format!("{what}\nby {}:\n{result}", fired()));

    if let Some(proof) = &once.report.proof
        && let Verdict::Unknown { why } = &proof.verdict
    {
        return Err(fail(format!("not compared: {why}")));
    }
    let malformed = verify(&once.model.graph);
    if !malformed.is_empty() {
        return Err(fail(format!("malformed: {malformed:?}")));
    }
    let kept = Interface::of(&once.model.graph);
    if let Some(why) = interface_change(&model.graph, &once.model.graph) {
        return Err(fail(format!("the interface has changed: {why}; {kept:?}")));
    }
    let written = reread(&once.model).map_err(|why| fail(format!("not read again: {why}")))?;
    let reread = text::print(&written);
    if reread != result {
        return Err(fail(format!("another when it is read again:\n{reread}\nfrom")));
    }
    if let Err(why) = same(model, &written, feeds, once.report.exactness) {
        return Err(fail(format!("what is read again differs: {why}")));
    }

    let twice = Optimizer::for_target(&target::ONNX).run(once.model.clone());
    let twice = twice.map_err(|e| fail(format!("the second time: {e}")))?;
    let second = text::print(&twice.model);
    if second != result {
        return Err(fail(format!("not settled, the second time comes to\n{second}\nfrom")));
    }
    Ok(())
}

fn reread(model: &Model) -> Result<Model, String> {
    let bytes = model.to_bytes().map_err(|e| e.to_string())?;
    Model::from_bytes(bytes, &Default::default()).map_err(|e| e.to_string())
}

/// Names and declared types of all inputs and outputs stay.
fn interface_change(before: &Graph, after: &Graph) -> Option<String> {
    let ports = |g: &Graph| {
        let main = g.scope(ScopeId::MAIN);
        let inputs = main.inputs().iter().map(|&v| format!("{} {:?}", g.value(v).name, g.value(v).ty));
        let outputs = main.outputs().iter().map(|o| format!("{} {:?}", o.name, o.declared));
        inputs.chain(outputs).collect::<Vec<_>>()
    };
    let (before, after) = (ports(before), ports(after));
    (before != after).then(|| format!("{before:?} became {after:?}"))
}

/// Compares by interpreting both.
struct Interpreter {
    feeds: Vec<Feed>,
}

impl Judge for Interpreter {
    fn judge(&self, original: &Model, result: &Model, exactness: Exactness, _: Instant) -> Verdict {
        let engine = "the interpreter".to_string();
        match same(original, result, &self.feeds, exactness) {
            Ok(()) => Verdict::Equal { engine, runs: self.feeds.len(), worst: 0.0, missing: Vec::new() },
            Err(why) => Verdict::Different { engine, differences: vec![why] },
        }
    }
}

/// Whether both compute the same outputs, within what `exactness` allows.
fn same(original: &Model, result: &Model, feeds: &[Feed], exactness: Exactness) -> Result<(), String> {
    let graphs = [&original.graph, &result.graph];
    let tolerance = Tolerance::of(exactness, graphs);
    // The engine adds up terms in an order of its own, which depends on sizes.
    let sums = graphs.into_iter().any(|g| {
        g.nodes().any(|n| matches!(g.node(n).op, OpKind::Conv | OpKind::MatMul | OpKind::Gemm | OpKind::AveragePool))
    });
    let exact = exactness == Exactness::Bitwise && !sums;
    for feed in feeds {
        let want = run(&original.graph, feed).map_err(|why| format!("the original: {why}"))?;
        let got = run(&result.graph, feed).map_err(|why| format!("the result: {why}"))?;
        let names = original.graph.scope(ScopeId::MAIN).outputs().iter().map(|o| o.name.to_string());
        for ((name, want_tensor), got_tensor) in names.zip(&want.outputs).zip(&got.outputs) {
            let found = difference(&name, want_tensor, got_tensor, tolerance);
            // What cancels keeps the error of what it was made from.
            let cancelled = want_tensor.dtype().is_float()
                && same_type(want_tensor, got_tensor)
                && found.max_abs <= tolerance.share * want.largest;
            if (exact && found.differing > 0) || (!found.within && !cancelled) {
                let why = found.reason.unwrap_or_else(|| format!("{} elements", found.differing));
                let how = if exact { "bit by bit" } else { "beyond rounding" };
                return Err(format!("output \"{name}\" differs {how}: {why}"));
            }
        }
    }
    Ok(())
}

fn same_type(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.dims() == b.dims()
}
