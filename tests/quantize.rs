//! Each fixture in `fixtures/quantize/<target>` shows where that target's policy puts integers, with scales that are
//! given, and why the rest has none.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use onnx_slim::ir::DType;
use onnx_slim::model::Model;
use onnx_slim::passes::infer_shapes;
use onnx_slim::quantize::{Choice, Group, Plan, Scaling, emit, place};
use onnx_slim::target::Target;
use onnx_slim::text;

use support::{assert_sound, each};

fn target(name: &str) -> Target {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.toml"));
    let text = if file.exists() { file.display().to_string() } else { name.to_string() };
    Target::open(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// A scale and zero point for every group that tell them apart.
fn given(plan: &Plan) -> BTreeMap<Group, Scaling> {
    let scaling = |group: Group, symmetric: bool, dtype: DType| {
        let zero_point = match (symmetric, dtype) {
            (true, _) => 0,
            (false, DType::I8) => -100 + i64::try_from(group).unwrap(),
            (false, _) => 10 + i64::try_from(group).unwrap(),
        };
        Scaling { scale: (group + 1) as f32 / 64.0, zero_point }
    };
    plan.sites.iter().map(|s| (s.group, scaling(s.group, s.grid.symmetric, s.grid.dtype))).collect()
}

/// What a policy makes of a model, in words, and the model after it.
fn quantized(model: &mut Model, target: &Target) -> String {
    let plan = place(&model.graph, &target.policy, model.opset(), &Choice::default()).unwrap();
    let mut words = String::new();
    for site in &plan.sites {
        let fixed = if site.fixed.is_some() { " as it insists" } else { "" };
        let label = model.graph.value_label(site.value);
        let _ = writeln!(words, "{} {label}: {}, scale {}{fixed}", site.rule, site.grid.dtype.name(), site.group);
    }
    for weight in &plan.weights {
        let axis = weight.axis.map_or("one scale".to_string(), |axis| format!("axis {axis}"));
        let _ = writeln!(words, "{} weight of {}: {axis}", weight.rule, model.graph.label(weight.node));
    }
    for kept in &plan.kept {
        let rule = if kept.rule.is_empty() { "-" } else { &kept.rule };
        let _ = writeln!(words, "{rule} {} stays: {}", model.graph.label(kept.node), kept.why);
    }
    emit(&mut model.graph, &plan, &given(&plan)).unwrap();
    words
}

#[test]
fn fixtures() {
    each("quantize", |mut case| {
        infer_shapes(&mut case.model.graph);
        let target = target(&case.subject);
        let words = quantized(&mut case.model, &target);
        assert_sound(&case.model);
        // What has integers is left as it is.
        let again = place(&case.model.graph, &target.policy, case.model.opset(), &Choice::default()).unwrap();
        let label = |node| case.model.graph.label(node);
        let nodes: Vec<String> = again.weights.iter().map(|w| label(w.node)).collect();
        assert!(again.weights.is_empty(), "{nodes:?} would get integers twice");
        case.snapshot("quantize", &format!("{}---\n{words}", text::print(&case.model)));
    });
}
