//! Each fixture in `fixtures/prune` shows what remains of a graph that loses something, or why it cannot lose it; and
//! what remains computes what the original computes with zeros where it sums over what went.
//!
//! Comments behind the claim say what goes: `# remove W axis 0: 1, 3` takes the classes of these indices out of the
//! whole graph; `# keep W axis 0: 0, 2` says what remains of one tensor, and nothing of the others.

mod support;

use onnx_slim::ir::{Graph, ValueId};
use onnx_slim::passes::infer_shapes;
use onnx_slim::prune::{Choices, Colouring, Cut, Groups, apply, masked, untie};
use onnx_slim::rewrite::Exactness;
use onnx_slim::text;

use support::{Case, assert_sound, each, proof};

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
        proof::compare(&zeroed, &pruned, Exactness::Rounding);
        assert!(proof::differ(&case.model, &pruned), "what goes makes no difference");
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
