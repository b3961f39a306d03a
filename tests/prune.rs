//! Each fixture in `fixtures/prune` shows what remains of a graph that loses something, or why it cannot lose it; and
//! what remains computes what the original computes with zeros where it sums over what went.
//!
//! Comments behind the claim say what goes: `# remove W axis 0: 1, 3` takes the classes of these indices out of the
//! whole graph; `# keep W axis 0: 0, 2` says what remains of one tensor, and nothing of the others.

#[path = "prune/grow.rs"]
mod grow;
#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::cell::Cell;

use onnx_slim::ir::{Graph, OpKind, ValueId};
use onnx_slim::passes::infer_shapes;
use onnx_slim::prune::{Choices, Colouring, Cut, Factor, Grouped, Groups, apply, masked, untie};
use onnx_slim::rewrite::Exactness;
use onnx_slim::text;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use support::{Case, assert_sound, each, proof};

/// Operators that no engine here runs: tests/conformance/prune.py compares models of them in onnxruntime.
const RUNS_ELSEWHERE: [OpKind; 3] = [OpKind::Custom, OpKind::RoiAlign, OpKind::GridSample];

#[test]
fn fixtures() {
    each("prune", |mut case| {
        infer_shapes(&mut case.model.graph);
        untie(&mut case.model.graph);
        let cut = cut(&case);
        let mut pruned = case.model.clone();
        if let Err(refused) = apply(&mut pruned.graph, &cut) {
            assert_eq!(text::print(&pruned), text::print(&case.model), "a cut that is refused changes nothing");
            case.snapshot("prune", &format!("{}---\n{refused}\n{}\n", text::print(&case.model), refused.hint));
            return;
        }
        assert_sound(&pruned);
        let mut zeroed = case.model.clone();
        zeroed.graph = masked(&case.model.graph, &cut).expect("what is summed over can be masked");
        assert_sound(&zeroed);
        case.snapshot("prune", &format!("{}---\n{}", text::print(&case.model), text::print(&pruned)));
        let ops = || case.model.graph.nodes().map(|node| case.model.graph.node(node).op);
        if !ops().any(|op| RUNS_ELSEWHERE.contains(&op)) {
            proof::compare(&zeroed, &pruned, Exactness::Rounding);
            assert!(proof::differ(&case.model, &pruned), "what goes makes no difference");
        }
    });
}

/// What the comments of a fixture ask for.
fn cut(case: &Case) -> Cut {
    let graph = &case.model.graph;
    let groups = Groups::of(graph, Colouring::of(graph, &Choices::default()));
    let mut removed = groups.nothing();
    let mut kept = Vec::new();
    for line in &case.asks {
        let (what, indices) = line.split_once(": ").expect("what is asked for ends in a list");
        let words: Vec<&str> = what.split(' ').collect();
        let [verb, name, "axis", axis] = words[..] else { panic!("{line} asks for nothing") };
        let (value, axis) = (value(graph, name), axis.parse::<usize>().expect("an axis"));
        let indices: Vec<usize> = indices.split(", ").map(|i| i.parse().expect("an index")).collect();
        match verb {
            "keep" => kept.push((value, axis, indices)),
            "remove" => {
                let classes = groups.colouring.classes_of(value, axis);
                let classes = classes.unwrap_or_else(|| panic!("axis {axis} of {name} has no classes"));
                for index in indices {
                    assert_ne!(classes[index], 0, "index {index} of {name} stays");
                    removed[classes[index] as usize] = true;
                }
            }
            _ => panic!("{line} asks for nothing"),
        }
    }
    let mut cut = groups.cut(&removed);
    for (value, axis, indices) in kept {
        cut.keep(value, axis, indices);
    }
    cut
}

fn value(graph: &Graph, name: &str) -> ValueId {
    let found = graph.values().find(|&v| *graph.value(v).name == *name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

#[cfg(feature = "tract")]
#[test]
fn no_weight_is_made_from_samples_that_quality_is_measured_on() {
    use std::sync::Arc;

    use onnx_slim::calibrate::{Calibration, Source};
    use onnx_slim::exec::tract::Tract;
    use onnx_slim::prune::{Budget, Pruner};

    let mut model = text::parse(
        r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[n,2] x) => (float[n,2] y)
        <float[2,6] a = {1, -1, 0.5, 2, 0.3, -0.7, 0.2, 1, -1, 0.4, 1.5, 0.9},
         float[6,2] b = {1, 0.1, -0.3, 1, 0.7, 0.6, -1, 0.2, 0.4, -0.8, 0.9, 1}>
        { p = MatMul(x, a)  q = Relu(p)  y = MatMul(q, b) }"#,
    )
    .expect("a model");
    infer_shapes(&mut model.graph);
    let calibration = Calibration { source: Some(Source::Random(0)), samples: Some(40), ..Calibration::default() };
    let pruner = Pruner { calibration, ..Pruner::new(Budget::Ratio(0.5), Arc::new(Tract)) };
    let summary = pruner.run(&mut model, &|_, _| ()).expect("half of the channels go");
    let recovered = summary.recovered.expect("there are samples");
    assert!(recovered.held_out > 0 && summary.measured.held_out > 0);
    assert_eq!(recovered.samples + recovered.held_out + summary.measured.held_out, 40);
}

/// Networks tried.
const CASES: u32 = 150;

#[test]
fn what_remains_of_any_network_is_the_network_with_zeros() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u32>().ok());
    let cases = number("PROPERTY_CASES").unwrap_or(CASES);
    let seed = number("PROPERTY_SEED").and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let cut = Cell::new(0);
    let tape = proptest::collection::vec(any::<u16>(), 20..120);
    runner
        .run(&tape, |tape| {
            cut.set(cut.get() + u32::from(holds(&tape)));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // Networks that nothing can be taken from would pass too.
    assert!(cut.get() > cases / 2, "only {} of {cases} networks lost anything", cut.get());
}

/// Whether a random network lost anything; what remains has been compared then.
fn holds(tape: &[u16]) -> bool {
    let mut choices = grow::Choices(tape.iter());
    let grouped = [Grouped::Finer, Grouped::Whole, Grouped::Within][choices.below(3)];
    let factor = [Factor::Outer, Factor::Inner][choices.below(2)];
    let classes: Vec<u16> = (0..8).map(|_| u16::try_from(choices.below(1 << 16)).expect("16 bits")).collect();
    let text = grow::grow(&mut choices);
    let mut model = text::parse(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    infer_shapes(&mut model.graph);
    untie(&mut model.graph);

    let asked = Choices { grouped, factor, ..Choices::default() };
    let groups = Groups::of(&model.graph, Colouring::of(&model.graph, &asked));
    let mut removed = groups.nothing();
    for (class, gone) in removed.iter_mut().enumerate().skip(1) {
        *gone = classes[class % 8].rotate_left(u32::try_from(class / 8 % 16).expect("small")) % 5 < 2;
    }
    // Something of every axis stays.
    while let Some((value, axis)) = groups.emptied(&removed) {
        let classes = groups.colouring.classes_of(value, axis).expect("an axis without classes has not lost any");
        removed[classes[0] as usize] = false;
    }
    let cut = groups.cut(&removed);
    if cut.is_empty() {
        return false;
    }
    let mut pruned = model.clone();
    if let Err(refused) = apply(&mut pruned.graph, &cut) {
        panic!("{refused}; {}\n{text}", refused.hint);
    }
    assert_sound(&pruned);
    let mut zeroed = model.clone();
    zeroed.graph = masked(&model.graph, &cut).expect("floats can be masked");
    if std::panic::catch_unwind(|| proof::compare(&zeroed, &pruned, Exactness::Rounding)).is_err() {
        panic!("{text}---\n{}", text::print(&pruned));
    }
    true
}
