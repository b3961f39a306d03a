//! Each fixture in `fixtures/quantize/<target>` shows where that target's policy puts integers, with scales that are
//! given, and why the rest has none.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use onnx_slim::choice::Choice;
use onnx_slim::ir::{DType, Graph, OpKind, ScopeId};
use onnx_slim::model::Model;
use onnx_slim::passes::infer_shapes;
use onnx_slim::quantize::{Group, Plan, Scaling, Site, emit, place};
use onnx_slim::survey::survey;
use onnx_slim::target::{self, Effect, Target};
use onnx_slim::text;

use support::{assert_sound, each};

#[path = "../src/random.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod random;

fn target(name: &str) -> Target {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.toml"));
    let text = if file.exists() { file.display().to_string() } else { name.to_string() };
    Target::open(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// A scale and zero point for every group that tell them apart. What is never negative has its zero point at the end.
fn given(graph: &Graph, plan: &Plan) -> BTreeMap<Group, Scaling> {
    let makes_shares = |value| graph.producer(value).is_some_and(|(node, _)| graph.node(node).op == OpKind::Softmax);
    let scaling = |site: &Site| {
        let zero_point = match (site.grid.symmetric, site.grid.dtype) {
            (true, _) => 0,
            (false, DType::I8) => -100 + i64::try_from(site.group).unwrap(),
            (false, _) if makes_shares(site.value) => 0,
            (false, _) => 10 + i64::try_from(site.group).unwrap(),
        };
        Scaling { scale: (site.group + 1) as f32 / 64.0, zero_point }
    };
    plan.sites.iter().map(|site| (site.group, scaling(site))).collect()
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
    let scales = given(&model.graph, &plan);
    emit(&mut model.graph, &plan, &scales).unwrap();
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

/// Whether TensorRT's own rules have something to say of what was made for it.
fn assert_suits_tensorrt(model: &Model) {
    let findings = survey(model, &target::TENSORRT, model.opset(), model.opset());
    let refused: Vec<_> = findings.iter().filter(|f| f.effect == Effect::Unsupported).collect();
    assert!(refused.is_empty(), "{refused:?}\n{}", text::print(model));
    let slow: Vec<_> = findings.iter().filter(|f| f.rule.starts_with("TRT-P") || f.rule.starts_with("TRT-X")).collect();
    assert!(slow.is_empty(), "{slow:?}\n{}", text::print(model));
}

#[test]
fn what_is_placed_for_tensorrt_keeps_its_rules() {
    let mut seen = 0;
    each("quantize", |mut case| {
        if case.subject == "tensorrt" {
            infer_shapes(&mut case.model.graph);
            quantized(&mut case.model, &target("tensorrt"));
            assert_suits_tensorrt(&case.model);
        }
    });
    for number in 0..GRAPHS {
        let mut model = grown(number);
        let plan = place(&model.graph, &target("tensorrt").policy, model.opset(), &Choice::default()).unwrap();
        seen += plan.sites.len();
        let scales = given(&model.graph, &plan);
        emit(&mut model.graph, &plan, &scales).unwrap();
        assert_suits_tensorrt(&model);
    }
    assert!(seen > 500, "little has been tried: {seen}");
}

#[test]
fn whatever_graph_gets_integers_is_sound() {
    let names: Vec<&str> = target::ALL.iter().map(|t| t.name).chain(["generic-npu"]).collect();
    let mut seen = BTreeMap::new();
    for name in names {
        let target = target(name);
        for number in 0..GRAPHS {
            let mut model = grown(number);
            let before = model.graph.clone();
            let plan = place(&model.graph, &target.policy, model.opset(), &Choice::default()).unwrap();
            for kept in &plan.kept {
                assert!(!kept.why.is_empty() && !plan.integer.contains(&kept.node));
            }
            *seen.entry(name).or_insert(0) += plan.sites.len();
            let scales = given(&model.graph, &plan);
            emit(&mut model.graph, &plan, &scales).unwrap();
            assert_sound(&model);
            let outputs = |graph: &onnx_slim::ir::Graph| {
                let shown = graph.scope(ScopeId::MAIN).outputs();
                shown.iter().map(|o| format!("{:?}", graph.value(o.value()).ty)).collect::<Vec<_>>()
            };
            assert_eq!(outputs(&before), outputs(&model.graph), "{name} {number}");
            let again = place(&model.graph, &target.policy, model.opset(), &Choice::default()).unwrap();
            assert!(again.weights.is_empty(), "{name} {number}: weights would get integers twice");
            // Each tensor that a run computes is quantized once, or a second time behind that.
            let graph = &model.graph;
            for value in graph.values() {
                let quantized = graph.value(value).users().iter().filter(|user| match user {
                    onnx_slim::ir::User::Node(n, 0) => graph.node(*n).op == OpKind::QuantizeLinear,
                    _ => false,
                });
                assert!(quantized.count() <= 1 + usize::from(name == "tflite"), "{name} {number}");
            }
        }
    }
    assert!(seen.values().all(|&sites| sites > 500), "little has been tried: {seen:?}");
}

/// Graphs that are tried with each policy.
const GRAPHS: u64 = 60;

/// A graph of operators that keep `[1, 16, 8, 8]`, each on tensors that are there.
fn grown(number: u64) -> Model {
    let mut random = random::Random::new(number, "graph");
    let mut body = String::new();
    let mut tensors = vec!["x".to_string()];
    for i in 0..24 {
        let one = tensors[random.below(tensors.len() as u64) as usize].clone();
        let last = tensors[tensors.len() - 1].clone();
        let (a, b) = if random.below(3) == 0 { (one.clone(), last) } else { (last, one) };
        let t = format!("t{i}");
        let _ = match random.below(22) {
            0..=3 => writeln!(body, "{t} = Conv <pads = [1, 1, 1, 1]> ({a}, w, bias)"),
            4 => writeln!(body, "{t} = Conv <pads = [1, 1, 1, 1], group = 16> ({a}, depth)"),
            5..=7 => writeln!(body, "{t} = Relu({a})"),
            8 => writeln!(body, "{t} = Clip({a}, zero, six)"),
            9..=11 => writeln!(body, "{t} = Add({a}, {b})"),
            12 => writeln!(body, "{t} = Mul({a}, {b})"),
            13 => writeln!(body, "c{i} = Concat <axis = 1> ({a}, {b})\n{t} = Conv(c{i}, wide)"),
            14 => writeln!(body, "{t} = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({a})"),
            15 => writeln!(body, "{t} = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({a})"),
            16 => writeln!(body, "s{i} = Sigmoid({a})\n{t} = Mul({a}, s{i})"),
            17 => writeln!(body, "{t} = Transpose <perm = [0, 1, 3, 2]> ({a})"),
            18 => writeln!(
                body,
                "p{i}, q{i} = Split <axis = 1, num_outputs = 2> ({a})\n{t} = Concat <axis = 1> (q{i}, p{i})"
            ),
            19 => writeln!(body, "{t} = MatMul({a}, square)"),
            20 => writeln!(body, "{t} = MatMul({a}, {b})"),
            _ => writeln!(body, "{t} = Softmax({a})"),
        };
        tensors.push(t);
    }
    let weights = "float[16,16,3,3] w, float[16] bias, float[16,1,3,3] depth, float[16,32,1,1] wide, float[8,8] square, \
         float zero = {0}, float six = {6}";
    let last = &tensors[tensors.len() - 1];
    let text = format!("g (float[1,16,8,8] x) => (y) <{weights}> {{ {body} y = Identity({last}) }}");
    let mut model = text::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    infer_shapes(&mut model.graph);
    model
}

#[test]
fn ranges_are_chosen_as_is_asked() {
    use onnx_slim::calibrate::{Calibration, Levels, Method, Source, Wanted, range};
    use onnx_slim::exec::{Executor, tract::Tract};
    use onnx_slim::quality::Bounds;
    use onnx_slim::quantize::Quantizer;

    let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,32] x) => (float[n,8] y)
        <float[32,8] w> { y = MatMul(x, w) }"#;
    let model = || {
        let mut model = text::parse(text).unwrap();
        infer_shapes(&mut model.graph);
        model
    };
    let calibration = Calibration { source: Some(Source::Random(3)), samples: Some(64), ..Calibration::default() };
    let engine: std::sync::Arc<dyn Executor> = std::sync::Arc::new(Tract);
    let gathered = calibration.gathered(&model(), &Wanted::all(), &*engine, &|_, _| {}, None, None).unwrap().gathered;
    let scale = |name: &str| {
        let method: Method = name.parse().unwrap();
        let mut quantizer = Quantizer {
            policy: target("onnxruntime").policy,
            choice: Choice::default(),
            calibration: calibration.clone(),
            method: Some(method),
            everywhere: true,
            race: None,
            without: ["smooth-activations", "equalize-channels"].map(String::from).into(),
            engine: engine.clone(),
            bounds: Bounds::default(),
        };
        quantizer.without.insert("correct-biases".into());
        let mut model = model();
        quantizer.run(&mut model, None, &|_, _| {}).unwrap();
        let g = &model.graph;
        let x = g.scope(ScopeId::MAIN).inputs()[0];
        let quantize =
            g.nodes().find(|&n| g.node(n).op == OpKind::QuantizeLinear && g.operand(n, 0) == Some(x)).unwrap();
        let scale = g.constant(g.operand(quantize, 1).unwrap()).unwrap().real(0).unwrap();
        let expected = range(&gathered.tensors["x"], method, Levels::ASYMMETRIC_8).scale(Levels::ASYMMETRIC_8);
        assert!((scale / expected - 1.0).abs() < 1e-6, "{name}: {scale}, and not {expected}");
        scale
    };
    let seen = &gathered.tensors["x"];
    let all = f64::from(seen.max) - f64::from(seen.min);
    assert!((scale("minmax") * 255.0 / all - 1.0).abs() < 1e-6);
    let names = ["minmax", "mean", "ema", "percentile=90", "percentile=99", "entropy", "mse"];
    let mut scales: Vec<f64> = names.iter().map(|name| scale(name)).collect();
    assert!(scales.iter().all(|&other| other <= scales[0]), "nothing is wider than all that was seen: {scales:?}");
    scales.sort_by(f64::total_cmp);
    scales.dedup();
    assert!(scales.len() >= names.len() - 1, "methods give ranges of their own: {scales:?}");
}

#[test]
fn rows_of_several_axes_stay_where_the_target_wants_them() {
    use onnx_slim::calibrate::{Calibration, Source};
    use onnx_slim::exec::tract::Tract;
    use onnx_slim::optimizer::Optimizer;
    use onnx_slim::quality::Bounds;
    use onnx_slim::quantize::Quantizer;

    let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,4,32] x) => (float[n,4,32] y)
        <float[32,32] w, float[32] b, float[32,32] v, float[32] c, float[32,32] u, float[32] d>
        { p = MatMul(x, w) q = Add(p, b) i = Relu(q) r = MatMul(i, v) s = Add(r, c) j = Relu(s)
          t = MatMul(j, u) y = Add(t, d) }"#;
    let ops = |name: &str| {
        let target = target(name);
        let quantizer = Quantizer {
            policy: target.policy,
            choice: Choice::default(),
            calibration: Calibration { source: Some(Source::Random(3)), samples: Some(8), ..Calibration::default() },
            method: None,
            everywhere: true,
            race: None,
            without: std::collections::BTreeSet::new(),
            engine: std::sync::Arc::new(Tract),
            bounds: Bounds::default(),
        };
        let done = Optimizer::for_target(target.profile).quantized(quantizer).run(text::parse(text).unwrap()).unwrap();
        let graph = done.model.graph;
        graph.nodes().map(|node| graph.node(node).op).collect::<Vec<_>>()
    };
    let (flat, kept) = (ops("onnxruntime"), ops("openvino"));
    assert!(flat.contains(&OpKind::Gemm) && flat.contains(&OpKind::Reshape), "{flat:?}");
    assert!(kept.contains(&OpKind::MatMul) && !kept.contains(&OpKind::Reshape), "{kept:?}");
}
