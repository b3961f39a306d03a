//! Each fixture in `fixtures/passes/<pass>` shows what that pass makes of it, and the result computes the same.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use onnx_slim::ir::{DType, OpKind};
use onnx_slim::ops::CallView;
use onnx_slim::passes::{Context, Widens, infer_shapes, pipeline};
use onnx_slim::rewrite::{Fuel, Growth, Limits};
use onnx_slim::target::ONNXRUNTIME;
use onnx_slim::text;

use support::{assert_sound, each, proof, report};

#[test]
fn fixtures() {
    let pipeline = pipeline::standard();
    each("passes", |mut case| {
        let pass = pipeline.passes().find(|p| p.name() == case.subject);
        let pass = pass.unwrap_or_else(|| panic!("{}: no pass has this name", case.subject));

        infer_shapes(&mut case.model.graph);
        let before = case.model.clone();
        let fuel = Fuel::unlimited();
        let growth = Growth::of(GROWTH);
        growth.measure(&case.model.graph);
        let cx = Context {
            contrib: ONNXRUNTIME.contrib,
            limits: Limits::new(&lacks_gelu),
            narrows: &[(DType::F64, DType::F32)],
            widens: Widens::All,
            ..Context::new(case.model.opset(), &fuel, &growth)
        };
        for earlier in MADE_BY.iter().filter(|(later, _)| *later == case.subject).map(|(_, earlier)| earlier) {
            let earlier = pipeline.passes().find(|p| p.name() == *earlier).expect("a pass of the pipeline");
            earlier.run(&mut case.model.graph, &cx).expect("the pass has no defect");
            case.model.graph.remove_dead();
            growth.measure(&case.model.graph);
        }
        let step = pass.run(&mut case.model.graph, &cx).expect("the pass has no defect");
        case.model.graph.remove_dead();
        case.model.import_domains();
        assert_sound(&case.model);

        infer_shapes(&mut case.model.graph);
        let again = pass.run(&mut case.model.graph.clone(), &cx).expect("the pass has no defect");
        assert!(again.applied.is_empty(), "it is not done when it is done");

        if step.changed() {
            proof::compare(&before, &case.model, step.exactness);
        }
        case.snapshot("passes", &format!("{}---\n{}", text::print(&case.model), report(&step)));
    });
}

/// What the runtime of these fixtures cannot run.
fn lacks_gelu(call: &CallView<'_>) -> bool {
    call.node().op == OpKind::Gelu
}

/// Bytes that folding may add: fixtures are small files.
const GROWTH: usize = 0;

/// Passes that work on what no file holds, and the pass that makes it.
const MADE_BY: &[(&str, &str)] = &[("spell-out", "fold-constants")];
