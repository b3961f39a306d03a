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
#[path = "../src/random.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod random;

use std::cell::RefCell;
use std::collections::BTreeMap;

use onnx_slim::exec::compare::{Tolerance, difference};
use onnx_slim::exec::{expand, fold_with_engine, tract::Tract};
use onnx_slim::interface::Interface;
use onnx_slim::ir::{Graph, OpKind, ScopeId, Tensor, verify};
use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::passes::pipeline::{self, Silent};
use onnx_slim::passes::{Context, Pipeline, infer_declared};
use onnx_slim::proof::first_guilty;
use onnx_slim::rewrite::{Exactness, Fuel, Growth, Rule, Step, var};
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
    eprintln!("{} calls: {:?}", seen.ops.values().sum::<usize>(), seen.ops);
    eprintln!("{} edits: {:?}", seen.edits.values().sum::<usize>(), seen.edits);
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
    let passes = Optimizer::for_target(&target::ONNX).with_rules(vec![wrong()]);
    let passes = passes.pipeline();
    let found = for_graphs(CASES, |Grown { model, feeds }| {
        let (result, steps, fuel) = optimize(passes, model, u64::MAX).map_err(TestCaseError::fail)?;
        match same(model, &result, feeds, exactness(&steps)) {
            Err(_) => Err(TestCaseError::fail(guilty(passes, model, feeds, fuel.spent()))),
            Ok(()) => Ok(()),
        }
    });
    let found = found.expect_err("a wrong rule has changed nothing that is computed").to_string();
    assert!(found.contains("wrong at"), "{found}");
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

    let passes = pipeline::standard();
    let (once, steps, fuel) = optimize(&passes, model, u64::MAX).map_err(&fail)?;
    for node in model.graph.nodes() {
        *seen.ops.entry(model.graph.node(node).op.name()).or_default() += 1;
    }
    for (edit, times) in steps.iter().flat_map(|s| &s.applied) {
        *seen.edits.entry(edit.clone()).or_default() += times;
    }
    let fired = || {
        let applied = steps.iter().flat_map(|s| s.applied.keys()).cloned().collect::<Vec<_>>();
        applied.join(", ")
    };
    let result = text::print(&once);
    let fail = |what: String| fail(format!("{what}\nby {}:\n{result}", fired()));

    if let Err(why) = same(model, &once, feeds, exactness(&steps)) {
        let guilty = guilty(&passes, model, feeds, fuel.spent());
        return Err(fail(format!("{why}; the first difference comes from {guilty}")));
    }
    let malformed = verify(&once.graph);
    if !malformed.is_empty() {
        return Err(fail(format!("malformed: {malformed:?}")));
    }
    let kept = Interface::of(&once.graph);
    if let Some(why) = interface_change(&model.graph, &once.graph) {
        return Err(fail(format!("the interface has changed: {why}; {kept:?}")));
    }
    let written = reread(&once).map_err(|why| fail(format!("not read again: {why}")))?;
    let reread = text::print(&written);
    if reread != result {
        return Err(fail(format!("another when it is read again:\n{reread}\nfrom")));
    }
    if let Err(why) = same(model, &written, feeds, exactness(&steps)) {
        return Err(fail(format!("what is read again differs: {why}")));
    }

    let (twice, ..) = optimize(&passes, &once, u64::MAX).map_err(|why| fail(format!("the second time: {why}")))?;
    let second = text::print(&twice);
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

/// What `passes` make of `model` with this many edits.
fn optimize(passes: &Pipeline, model: &Model, edits: u64) -> Result<(Model, Vec<Step>, Fuel), String> {
    let mut model = model.clone();
    infer_declared(&mut model.graph);
    let fuel = Fuel::new(edits);
    let growth = Growth::of(4096);
    let cx = Context {
        contrib: target::ONNXRUNTIME.contrib,
        engine: Some(&|call, operands, limit| fold_with_engine(&Tract, call, operands, limit).ok()),
        ..Context::new(model.opset(), &fuel, &growth)
    };
    let steps = passes.run(&mut model.graph, &cx, &mut Silent).map_err(|e| e.to_string())?;
    model.import_domains();
    Ok((model, steps, fuel))
}

fn exactness(steps: &[Step]) -> Exactness {
    steps.iter().map(|s| s.exactness).max().unwrap_or_default()
}

/// The first of `total` edits that makes a difference.
fn guilty(passes: &Pipeline, model: &Model, feeds: &[Feed], total: u64) -> String {
    let first = first_guilty(total, |edits| {
        let (result, steps, _) = optimize(passes, model, edits).ok()?;
        Some(same(model, &result, feeds, exactness(&steps)).is_err())
    });
    let last = first.and_then(|edits| optimize(passes, model, edits).ok()).map(|(_, _, fuel)| fuel.last());
    last.unwrap_or_else(|| "no single edit".into())
}

/// Whether both compute the same outputs, within what `exactness` allows.
fn same(original: &Model, result: &Model, feeds: &[Feed], exactness: Exactness) -> Result<(), String> {
    // What only some targets have, nobody here computes.
    let mut result = result.clone();
    expand(&mut result.graph);
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
