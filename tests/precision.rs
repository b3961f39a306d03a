//! Each fixture in `fixtures/precision/<what>` shows what becomes of a model that gets halves, and why the rest has none.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use onnx_slim::exec::tract::Tract;
use onnx_slim::ir::{Attr, DType, Graph, NodeId, OpKind, ScopeId, Tensor};
use onnx_slim::model::Model;
use onnx_slim::ops::schema;
use onnx_slim::passes::infer_shapes;
use onnx_slim::precision::{Half, HalveError, Halver, Io, Summary};
use onnx_slim::target;
use onnx_slim::text;

use support::{assert_sound, each};

fn halver(what: &str) -> Halver {
    let (half, io) = match what {
        "fp16" => (Half::F16, Io::Keep),
        "fp16-convert" => (Half::F16, Io::Convert),
        "bf16" => (Half::BF16, Io::Keep),
        "fp16-weights" => (Half::Weights, Io::Keep),
        other => panic!("{other}: there is no such precision"),
    };
    Halver { io, ..Halver::new(half, Arc::new(Tract)) }
}

/// What is wrong with the types of a call: strongly typed runtimes take no operands of one type letter that differ, and
/// none that the operator has not.
fn mistyped(graph: &Graph, node: NodeId, opset: u32) -> Vec<String> {
    let n = graph.node(node);
    let Some(schema) = schema::lookup(n.domain(), n.op_name(), opset) else { return Vec::new() };
    let mut letters: BTreeMap<&str, DType> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (slot, value) in graph.operands(node).enumerate() {
        let (Some(value), Some(param)) = (value, schema.input(slot)) else { continue };
        let Some(dtype) = graph.value(value).ty.dtype() else { continue };
        let differs = *letters.entry(param.ty).or_insert(dtype) != dtype;
        // Operands of a body's node are of any type each.
        if differs && n.bodies().next().is_none() || !schema.takes(slot, dtype.name()) {
            wrong.push(format!("{} operand {slot} is {}", graph.label(node), dtype.name()));
        }
    }
    wrong
}

fn assert_typed(model: &Model) {
    let opset = u32::try_from(model.opset()).unwrap();
    let wrong: Vec<String> = model.graph.nodes().flat_map(|n| mistyped(&model.graph, n, opset)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is inferred anew is what was written.
    let mut again = model.clone();
    infer_shapes(&mut again.graph);
    for value in model.graph.values() {
        let types = (model.graph.value(value).ty.dtype(), again.graph.value(value).ty.dtype());
        assert_eq!(types.0, types.1, "{}", model.graph.value_label(value));
    }
}

fn words(summary: &Summary) -> String {
    let mut words = format!("{} halves, {} floats, {} casts\n", summary.halves, summary.floats, summary.casts);
    for kept in &summary.kept {
        let _ = writeln!(words, "{} {} stays: {}", kept.op, kept.nodes.join(", "), kept.why);
    }
    for note in &summary.notes {
        let _ = writeln!(words, "{note}");
    }
    words
}

#[test]
fn fixtures() {
    each("precision", |mut case| {
        infer_shapes(&mut case.model.graph);
        let halver = halver(&case.subject);
        let words = match halver.run(&mut case.model, &|_, _| {}) {
            Ok(summary) => {
                let least = if halver.half == Half::BF16 { 35.0 } else { 55.0 };
                for output in summary.measured.outputs.iter().filter(|q| q.cosine.is_some()) {
                    assert!(output.sqnr > least, "{} is {} dB", output.output, output.sqnr);
                }
                words(&summary)
            }
            Err(why) => format!("{why}\n"),
        };
        assert_sound(&case.model);
        assert_typed(&case.model);
        case.snapshot("precision", &format!("{}---\n{words}", text::print(&case.model)));
    });
}

fn parsed(text: &str) -> Model {
    let mut model = text::parse(text).unwrap();
    infer_shapes(&mut model.graph);
    model
}

#[test]
fn what_is_excluded_stays() {
    let mut model =
        parsed("g (float[2,4] x) => (float[2,4] y) <float[4,4] w> { [one] a = MatMul(x, w) [two] y = MatMul(a, w) }");
    let mut halver = halver("fp16");
    halver.choice.exclude = vec!["two".into()];
    let summary = halver.run(&mut model, &|_, _| {}).unwrap();
    assert_eq!((summary.halves, summary.floats, summary.casts), (1, 1, 2));
    halver.choice.exclude = vec!["three".into()];
    assert!(matches!(halver.run(&mut model, &|_, _| {}), Err(HalveError::Choice(_))));
}

#[test]
fn what_the_target_has_no_kernel_of_stays() {
    let text = r#"<ir_version: 10, opset_import: ["": 22]>
        g (float[2,4] x) => (float[2,4] y) <float[4,4] w> { a = MatMul(x, w) y = Relu(a) }"#;
    let halver = |target| Halver { target, ..halver("bf16") };
    assert_eq!(halver(&target::TENSORRT).run(&mut parsed(text), &|_, _| {}).unwrap().halves, 2);
    let error = halver(&target::ONNXRUNTIME).run(&mut parsed(text), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("nothing of the model can be bfloat16") && error.contains("no kernel"), "{error}");
}

#[test]
fn a_weight_that_does_not_fit_is_not_stored() {
    let large = ["1e9"; 64].join(", ");
    let mut model = parsed(&format!(
        "g (float[2,8] x) => (float[2,8] y) <float[8,8] w, float[8,8] large = {{{large}}}> {{
            a = MatMul(x, w) y = MatMul(a, large) }}"
    ));
    let summary = halver("fp16-weights").run(&mut model, &|_, _| {}).unwrap();
    assert_eq!((summary.halves, summary.kept.len()), (1, 1));
    assert!(summary.kept[0].why.contains("1.000e9"), "{}", summary.kept[0].why);
}

#[test]
fn a_bound_that_is_not_kept_is_an_error() {
    let mut model = parsed("g (float[2,4] x) => (float[2,4] y) <float[4,4] w> { y = MatMul(x, w) }");
    let mut halver = halver("bf16");
    halver.bounds.min_sqnr = Some(90.0);
    let error = halver.run(&mut model, &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("at least 90 dB"), "{error}");
}

#[test]
fn no_more_casts_than_a_cut_needs() {
    // Two branches of one float32 tensor that halves read: one Cast serves both.
    let mut model = parsed(
        "g (float[2,4] x) => (float[2,4] y) <float[4,4] w, float[4,4] v> {
            a = MatMul(x, w) b = MatMul(x, v) c = Add(a, b) y = Relu(c) }",
    );
    let summary = halver("fp16").run(&mut model, &|_, _| {}).unwrap();
    let casts = model.graph.nodes_of(ScopeId::MAIN).filter(|&n| model.graph.node(n).op == OpKind::Cast).count();
    assert_eq!((summary.casts, casts), (2, 2));
}

#[test]
fn made_up_inputs_decide_nothing_where_sizes_follow_what_tensors_hold() {
    // Halves cannot tell x + 4096 from x + 4097.
    let model = |last: &str| {
        parsed(&format!(
            "g (float[2,4] x) => (float[2,4] y, int64[2,n] found) <float[4,4] w, float big = {{4096}}> {{
                a = MatMul(x, w) b = Add(a, big) y = Sub(b, big) {last} }}"
        ))
    };
    let run = |mut model: Model| halver("fp16").run(&mut model, &|_, _| {}).unwrap();
    let follows = run(model("found = NonZero(y)"));
    assert!(follows.notes.iter().any(|note| note.contains("sizes follow")), "{:?}", follows.notes);
    assert_eq!(follows.floats, 0);
    let fixed = run(model("found = Cast <to = 7> (y)"));
    assert!(fixed.notes.is_empty() && fixed.floats > 0, "{:?} {}", fixed.notes, fixed.floats);
}

/// Numbers near 4096, where float16 has every second or every fourth whole number.
fn near_4096(name: &str, number: &str, dims: [usize; 2]) -> String {
    let count = dims[0] * dims[1];
    format!("float[{},{}] {name} = {{{}}}", dims[0], dims[1], vec![number; count].join(", "))
}

#[test]
fn weights_that_cost_too_much_are_not_stored() {
    let (up, down) = (near_4096("up", "4097.3", [1, 64]), near_4096("down", "4095.1", [1, 64]));
    let mut model = parsed(&format!(
        "g (float[2,64] x) => (float[2,64] y) <float[64,64] w, {up}, {down}> {{
            a = MatMul(x, w) b = Add(a, up) y = Sub(b, down) }}"
    ));
    let summary = halver("fp16-weights").run(&mut model, &|_, _| {}).unwrap();
    let kept: Vec<&String> = summary.kept.iter().flat_map(|kept| &kept.nodes).collect();
    assert_eq!((summary.halves, kept), (1, vec![&"up".to_string(), &"down".to_string()]), "{:?}", summary.kept);
    assert!(summary.kept[0].why.contains("dB of signal over its noise"), "{:?}", summary.kept);
    assert!(summary.measured.outputs[0].sqnr > 51.0 && summary.notes.is_empty(), "{summary:?}");
}

#[test]
fn noise_from_everywhere_is_told_and_stays() {
    let (up, down) = (near_4096("up", "4097.3", [4, 4]), near_4096("down", "4095.1", [4, 4]));
    let model = parsed(&format!(
        "g (float[2,4] x) => (float[2,4] y) <{up}, {down}> {{
            a = MatMul(x, up) b = MatMul(x, down) y = Sub(a, b) }}"
    ));
    let summary = halver("fp16").run(&mut model.clone(), &|_, _| {}).unwrap();
    assert_eq!((summary.halves, summary.floats), (3, 0), "{summary:?}");
    assert!(summary.notes.iter().any(|note| note.contains("noise comes from everywhere")), "{:?}", summary.notes);
    // Whoever says how good it has to be gets that or nothing.
    let mut asked = halver("fp16");
    asked.bounds.min_sqnr = Some(51.0);
    assert!(asked.run(&mut model.clone(), &|_, _| {}).is_err());
}

fn constant_bytes(model: &Model) -> usize {
    let graph = &model.graph;
    graph.values().filter_map(|value| graph.constant(value)).map(Tensor::stored_bytes).sum()
}

#[test]
fn outputs_are_not_lost_for_fewer_bytes() {
    let (up, down) = (near_4096("up", "4097.3", [4, 4]), near_4096("down", "4095.1", [4, 4]));
    // What cancels needs float32, of weights that others read as halves.
    let model = parsed(&format!(
        "g (float[2,4] x) => (float[2,4] y, float[2,4] z) <{up}, {down}> {{
            a = MatMul(x, up) b = MatMul(x, down) y = Sub(a, b)
            r = Neg(x) c = MatMul(r, up) d = MatMul(r, down) e = Add(c, d) f = Relu(e) g = Neg(f) z = Abs(g) }}"
    ));
    let mut half = model.clone();
    let summary = halver("fp16").run(&mut half, &|_, _| {}).unwrap();
    assert!(summary.measured.outputs.iter().all(|output| output.sqnr >= 50.0), "{summary:?}");
    assert!(constant_bytes(&half) > constant_bytes(&model));
}

#[test]
fn a_weight_is_there_once_where_twice_is_more_than_before() {
    let (up, down) = (near_4096("up", "4097.3", [16, 16]), near_4096("down", "4095.1", [16, 16]));
    let model = parsed(&format!(
        "g (float[2,16] x) => (float[2,16] y, float[2,16] z) <{up}, {down}, float[16,16] own> {{
            a = MatMul(x, up) b = MatMul(x, down) y = Sub(a, b)
            r = Neg(x) c = MatMul(r, up) d = MatMul(r, down) e = Add(c, d) f = Relu(e) z = MatMul(f, own) }}"
    ));
    let mut half = model.clone();
    let summary = halver("fp16").run(&mut half, &|_, _| {}).unwrap();
    assert!(constant_bytes(&half) < constant_bytes(&model), "{summary:?}");
    assert!(summary.measured.outputs.iter().all(|output| output.sqnr >= 50.0), "{summary:?}");
    assert!(summary.kept.iter().any(|kept| kept.why.contains("would be there twice")), "{:?}", summary.kept);
}

#[test]
fn attributes_are_rounded_as_operands_are() {
    // Of numbers that are halves 0.01 times each is none: 0.01 is 0.010002136 as a half.
    let text = "g (float[2,4] x) => (float[2,4] y) <float[4,4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}> {
        a = MatMul(x, w) y = LeakyRelu <alpha = 0.01> (a) }";
    let (summary, rehearsal) = halver("fp16").rehearsed(&mut parsed(text), &|_, _| {}).unwrap();
    let graph = &rehearsal.unwrap().graph;
    let relu = graph.nodes().find(|&node| graph.node(node).op == OpKind::LeakyRelu).unwrap();
    assert_eq!(graph.node(relu).attr("alpha"), Some(&Attr::Float(0.010_002_136)));
    assert_eq!(summary.halves, 2);
}
