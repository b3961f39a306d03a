//! Each fixture in `fixtures/lowbit/<target>-<integers>` shows what becomes of weights that get few bits, and why others
//! stay.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::fmt::Write as _;
use std::sync::Arc;

use onnx_slim::calibrate::{Calibration, Source};
use onnx_slim::exec::tract::Tract;
use onnx_slim::ir::{Graph, NodeId, OpKind, Tensor};
use onnx_slim::lowbit::{Group, Integers, LowBitError, Method, Packer, Summary};
use onnx_slim::model::Model;
use onnx_slim::passes::infer_shapes;
use onnx_slim::target;
use onnx_slim::text;

use support::{assert_sound, each};

fn packer(what: &str) -> Packer {
    let (name, integers) = what.split_once('-').expect("a target and integers");
    let integers = match integers {
        "int8-weights" => Integers::Int8,
        "int4" => Integers::Int4,
        "uint4" => Integers::Uint4,
        "int2" => Integers::Int2,
        other => panic!("{other}: there are no such integers"),
    };
    let target = target::by_name(name).expect("a target");
    Packer { target, ..Packer::new(integers, Arc::new(Tract)) }
}

fn words(summary: &Summary) -> String {
    let mut words = String::new();
    for weight in &summary.weights {
        let [outputs, columns] = weight.sizes;
        let _ = writeln!(
            words,
            "{}: {outputs} x {columns}, {} bits, groups of {}, {} readers, {}",
            weight.layer, weight.bits, weight.group, weight.readers, weight.method
        );
    }
    for kept in &summary.kept {
        let _ = writeln!(words, "{} stays: {}", kept.nodes.join(", "), kept.why);
    }
    for note in &summary.notes {
        let _ = writeln!(words, "{note}");
    }
    words
}

#[test]
fn fixtures() {
    each("lowbit", |mut case| {
        infer_shapes(&mut case.model.graph);
        let packer = packer(&case.subject);
        case.model.set_opset(packer.opset_for(case.model.opset()));
        let words = match packer.run(&mut case.model, &|_, _| {}) {
            Ok(summary) => words(&summary),
            Err(why) => format!("{why}\n"),
        };
        assert_sound(&case.model);
        case.snapshot("lowbit", &format!("{}---\n{words}", text::print(&case.model)));
    });
}

fn parsed(text: &str) -> Model {
    let mut model = text::parse(text).unwrap();
    infer_shapes(&mut model.graph);
    model
}

const PRODUCT: &str = "g (float[n,64] x) => (float[n,32] y) <float[64,32] w> { [one] y = MatMul(x, w) }";

fn nodes(graph: &Graph, op: OpKind) -> Vec<NodeId> {
    graph.nodes().filter(|&n| graph.node(n).op == op).collect()
}

#[test]
fn what_is_excluded_stays() {
    let mut packer = packer("onnx-int4");
    packer.choice.exclude = vec!["one".into()];
    let error = packer.run(&mut parsed(PRODUCT), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("no weight can be int4") && error.contains("excluded"), "{error}");
    packer.choice.exclude = vec!["two".into()];
    assert!(matches!(packer.run(&mut parsed(PRODUCT), &|_, _| {}), Err(LowBitError::Choice(_))));
}

#[test]
fn what_the_target_does_not_take_is_refused() {
    let refused = |what: &str| packer(what).run(&mut parsed(PRODUCT), &|_, _| {}).unwrap_err().to_string();
    assert_eq!(refused("tflite-int4"), "tflite takes no weights in int4");
    assert_eq!(refused("tensorrt-uint4"), "tensorrt takes no weights in uint4, but in int8, int4");
    let asymmetric = Packer { symmetric: Some(false), ..packer("tensorrt-int4") };
    let error = asymmetric.run(&mut parsed(PRODUCT), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("--symmetric"), "{error}");
}

#[test]
fn another_group_than_was_asked_for_is_told() {
    let packer = Packer { group: Some(Group::Columns(16)), ..packer("tensorrt-int4") };
    let summary = packer.run(&mut parsed(PRODUCT), &|_, _| {}).unwrap();
    assert_eq!(summary.weights[0].group, 64);
    assert!(summary.notes.iter().any(|note| note.contains("not 16: tensorrt takes [64, 128]")), "{:?}", summary.notes);
}

#[test]
fn nothing_is_packed_twice() {
    for what in ["onnx-int4", "onnxruntime-int4"] {
        let mut model = parsed(PRODUCT);
        packer(what).run(&mut model, &|_, _| {}).unwrap();
        let once = text::print(&model);
        let error = packer(what).run(&mut model, &|_, _| {}).unwrap_err();
        assert!(matches!(error, LowBitError::Nothing { .. }), "{error}");
        assert_eq!(text::print(&model), once);
    }
}

#[test]
fn a_bound_that_is_not_kept_is_an_error() {
    let mut packer = packer("onnx-int2");
    packer.calibration = random(4);
    packer.bounds.min_sqnr = Some(60.0);
    let error = packer.run(&mut parsed(PRODUCT), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("at least 60 dB"), "{error}");
}

fn random(samples: usize) -> Calibration {
    Calibration { source: Some(Source::Random(0)), samples: Some(samples), ..Calibration::default() }
}

/// What the second product reads are 64 mixtures of 8 numbers: its columns can stand for each other.
const MIXED: &str =
    "g (float[n,8] x) => (float[n,32] y) <float[8,64] u, float[64,32] w> { a = MatMul(x, u) y = MatMul(a, w) }";

/// What the products read is large in few columns.
const UNEVEN: &str = r#"<ir_version: 10, opset_import: ["": 21]>
    g (float[n,64] x) => (float[n,32] y, float[n,32] z) <float[64] scale, float[64] bias, float[64,32] v, float[64,32] w> {
        h = LayerNormalization(x, scale, bias) y = MatMul(h, v) z = MatMul(h, w) }"#;

fn quality(model: &Model, method: Method) -> (f64, Summary) {
    let packer = Packer { method, calibration: random(200), ..packer("onnx-int4") };
    let summary = packer.run(&mut model.clone(), &|_, _| {}).unwrap();
    (summary.measured.outputs[0].sqnr, summary)
}

#[test]
fn samples_make_better_integers() {
    let model = parsed(MIXED);
    let (nearest, _) = quality(&model, Method::Nearest);
    let (swept, summary) = quality(&model, Method::Gptq);
    let (best, chosen) = quality(&model, Method::Auto);
    assert_eq!((summary.weights[0].method, chosen.weights[0].method), (Method::Gptq, Method::Gptq));
    assert!(swept > nearest + 3.0 && best == swept, "{nearest} {swept} {best}");
}

#[test]
fn columns_are_scaled_where_results_lose_less() {
    let mut model = parsed(UNEVEN);
    let mut set = |name: &str, dims: &[usize], element: &dyn Fn(usize) -> f64| {
        let value = model.graph.values().find(|&v| model.graph.value_label(v) == name).unwrap();
        let elements: Vec<f32> = (0..dims.iter().product()).map(|i| element(i) as f32).collect();
        model.graph.set_constant(value, Tensor::f32s(dims, &elements).unwrap());
    };
    set("scale", &[64], &|i| (2.0 * (i as f64 * 1.7).sin()).exp());
    // Most weights are small, as they are in use: a group's range then depends on one of them.
    for (name, first) in [("v", 0), ("w", 5000)] {
        set(name, &[64, 32], &|i| {
            (((first + i) as f64 * 12.9898).sin() * 43758.5453).rem_euclid(1.0).mul_add(2.0, -1.0).powi(5)
        });
    }
    let (plain, unscaled) = quality(&model, Method::Refined);
    let (scaled, summary) = quality(&model, Method::Scaled);
    assert_eq!((unscaled.scaled, summary.scaled), (0, 1));
    assert!(scaled > plain, "{plain} {scaled}");
}

#[test]
fn integers_are_what_the_report_says() {
    // What was compared is what the file gives: the same model, its integers computed by the engine's own kernels.
    let mut packer = packer("onnx-int8-weights");
    packer.calibration = random(16);
    let float = parsed(PRODUCT);
    let mut packed = float.clone();
    let summary = packer.run(&mut packed, &|_, _| {}).unwrap();
    assert_eq!(nodes(&packed.graph, OpKind::DequantizeLinear).len(), 1);
    assert!(summary.measured.outputs[0].sqnr > 35.0, "{}", summary.measured.outputs[0].sqnr);
    assert!(summary.bytes[1] * 3 < summary.bytes[0], "{:?}", summary.bytes);
}
