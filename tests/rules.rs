//! Each fixture in `fixtures/rules/<rule>` shows what that rule makes of it, or why it leaves it alone, and the result
//! computes the same.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use onnx_slim::passes::infer_shapes;
use onnx_slim::rewrite::{Fuel, Growth, Settings, apply};
use onnx_slim::{rules, target, text};

use support::{assert_sound, each, proof, report};

#[test]
fn fixtures() {
    let rules: Vec<_> = rules::all().into_iter().chain(rules::lower::all()).collect();
    each("rules", |mut case| {
        let entry = rules.iter().find(|e| e.rule.name() == case.subject);
        let rule = &entry.unwrap_or_else(|| panic!("{}: no rule has this name", case.subject)).rule;

        infer_shapes(&mut case.model.graph);
        let before = case.model.clone();
        let fuel = Fuel::unlimited();
        let growth = Growth::of(GROWTH);
        growth.measure(&case.model.graph);
        let contrib = target::ONNXRUNTIME.contrib;
        let settings = Settings { contrib, ..Settings::new(case.model.opset(), &fuel, &growth) };
        let step = apply(&mut case.model.graph, &[rule], settings).expect("one rule settles");
        case.model.graph.remove_dead();
        case.model.import_domains();
        assert_sound(&case.model);

        let again = apply(&mut case.model.graph.clone(), &[rule], settings).expect("one rule settles");
        assert!(again.applied.is_empty(), "it is not done when it is done");

        if step.changed() {
            proof::compare(&before, &case.model, step.exactness);
        }
        case.snapshot("rules", &format!("{}---\n{}", text::print(&case.model), report(&step)));
    });
}

/// Bytes that new constants may add.
const GROWTH: usize = 1024;
