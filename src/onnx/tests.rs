//! What a file means, and what is said of files that mean nothing.

use prost::Message;

use super::proto::{FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use super::testing::{graph, graph_attr, info, int, ints, model_of, node, tensor};
use super::{Defaults, Fault, Functions, IrVersion, ReadOptions, WriteOptions};
use crate::ir::{DType, Graph, OpKind, ScopeId, Tensor};
use crate::model::Model;

fn read(model: &ModelProto) -> Model {
    Model::from_bytes(model.encode_to_vec(), &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn fault(model: &ModelProto) -> Fault {
    let read = Model::from_bytes(model.encode_to_vec(), &ReadOptions::default());
    read.expect_err("the model is not well formed").fault
}

fn message(model: &ModelProto) -> String {
    fault(model).to_string()
}

fn written(model: &Model) -> ModelProto {
    ModelProto::decode(model.to_bytes().unwrap().as_slice()).unwrap()
}

fn names(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|n| n.op_type()).collect()
}

fn ops(graph: &Graph) -> Vec<OpKind> {
    graph.schedule(ScopeId::MAIN).into_iter().map(|n| graph.node(n).op).collect()
}

#[test]
fn wiring_that_leads_nowhere_is_named() {
    let dangling = model_of(13, graph(&["x"], vec![node("Add", &["x", "nowhere"], &["y"])], &["y"]));
    assert_eq!(message(&dangling), "Add \"y\" reads \"nowhere\", which nothing defines");
    let twice = vec![node("Abs", &["x"], &["y"]), node("Neg", &["x"], &["y"])];
    assert_eq!(
        message(&model_of(13, graph(&["x"], twice, &["y"]))),
        "Neg \"y\" defines \"y\", which is already defined"
    );
    let missing = model_of(13, graph(&["x"], vec![node("Abs", &["x"], &["y"])], &["z"]));
    assert_eq!(message(&missing), "a graph output reads \"z\", which nothing defines");
    let circle = vec![node("Abs", &["b"], &["a"]), node("Neg", &["a"], &["b"])];
    let circle = model_of(13, graph(&["x"], circle, &["b"]));
    assert_eq!(message(&circle), "nodes wait for each other: Abs \"a\", Neg \"b\"");
}

#[test]
fn a_circle_through_a_body_is_a_circle() {
    let body = graph(&[], vec![node("Abs", &["late"], &["t"])], &["t"]);
    let mut choose = node("If", &["x"], &["y"]);
    choose.attribute = vec![graph_attr("then_branch", body.clone()), graph_attr("else_branch", body)];
    let circle = model_of(13, graph(&["x"], vec![choose, node("Neg", &["y"], &["late"])], &["late"]));
    assert!(matches!(fault(&circle), Fault::Cycle { .. }));
}

#[test]
fn nodes_may_stand_in_any_order() {
    let nodes = vec![node("Neg", &["a"], &["y"]), node("Abs", &["x"], &["a"])];
    let model = read(&model_of(13, graph(&["x"], nodes, &["y"])));
    assert_eq!(names(written(&model).graph.as_ref().unwrap()), ["Abs", "Neg"]);
}

#[test]
fn tensors_must_be_what_they_say() {
    let with = |t: TensorProto| {
        let mut g = graph(&["x"], vec![node("Add", &["x", "w"], &["y"])], &["y"]);
        g.initializer = vec![t];
        model_of(13, g)
    };
    let short = TensorProto { dims: vec![3], ..tensor("w", &[2], &[1.0, 2.0]) };
    assert_eq!(message(&with(short)), "tensor \"w\": float[3] needs 12 bytes but has 8");
    let negative = TensorProto { dims: vec![-2], ..tensor("w", &[2], &[1.0, 2.0]) };
    assert_eq!(message(&with(negative)), "tensor \"w\": dimension -2 is negative");
    let huge = TensorProto { dims: vec![i64::MAX, 4], ..tensor("w", &[2], &[1.0, 2.0]) };
    assert!(message(&with(huge)).contains("too large"));
    let unnamed = TensorProto { name: None, ..tensor("w", &[2], &[1.0, 2.0]) };
    assert_eq!(message(&with(unnamed)), "an initializer has no name");
    let mut twice = with(tensor("w", &[2], &[1.0, 2.0]));
    let g = twice.graph.as_mut().unwrap();
    g.initializer.push(g.initializer[0].clone());
    assert_eq!(message(&twice), "an initializer defines \"w\", which is already defined");
}

#[test]
fn versions_must_be_known() {
    let g = || graph(&["x"], vec![node("Abs", &["x"], &["y"])], &["y"]);
    assert_eq!(message(&model_of(99, g())), "opset 99 of ai.onnx is not known (the newest known is 28)");
    assert_eq!(message(&model_of(-1, g())), "opset -1 of ai.onnx is not known (the newest known is 28)");
    let silent = ModelProto { opset_import: Vec::new(), ..model_of(13, g()) };
    assert!(matches!(fault(&silent), Fault::NoImport));
    assert!(matches!(fault(&ModelProto { graph: None, ..model_of(13, g()) }), Fault::NoGraph));
}

#[test]
fn text_must_be_utf8_and_nesting_finite() {
    let named = graph(&["x"], vec![node("Abs", &["x"], &["yyyy"])], &["yyyy"]);
    let mut bytes = model_of(13, named).encode_to_vec();
    let at = bytes.windows(4).position(|w| w == b"yyyy").unwrap();
    bytes[at] = 0xff;
    let error = Model::from_bytes(bytes, &ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "<memory>: NodeProto.output is not UTF-8 text");

    let mut deep = graph(&[], Vec::new(), &[]);
    for _ in 0..40 {
        let mut outer = node("If", &[], &[]);
        outer.attribute = vec![graph_attr("then_branch", deep)];
        deep = graph(&[], vec![outer], &[]);
    }
    assert!(matches!(fault(&model_of(13, deep)), Fault::TooDeep(_)));
}

#[test]
fn a_default_stays_overridable_unless_frozen() {
    let mut g = graph(&["x", "w"], vec![node("Add", &["x", "w"], &["y"])], &["y"]);
    g.initializer = vec![tensor("w", &[2], &[1.0, 2.0])];
    let proto = model_of(13, g);
    let overridable = ReadOptions { defaults: Defaults::Overridable, ..ReadOptions::default() };
    let model = Model::from_bytes(proto.encode_to_vec(), &overridable).unwrap();
    let inputs = model.graph.scope(ScopeId::MAIN).inputs();
    assert_eq!(inputs.len(), 2);
    assert!(model.graph.value(inputs[1]).default().is_some());
    assert!(model.graph.constant(inputs[1]).is_none());
    assert_eq!(written(&model), proto);

    let options = ReadOptions { defaults: Defaults::Frozen, ..ReadOptions::default() };
    let frozen = Model::from_bytes(proto.encode_to_vec(), &options).unwrap();
    assert_eq!(frozen.graph.scope(ScopeId::MAIN).inputs().len(), 1);

    assert_eq!(frozen.notes, [] as [&str; 0], "that was asked for");
    let meant = read(&proto);
    assert_eq!(meant.graph.scope(ScopeId::MAIN).inputs().len(), 1);
    assert!(
        meant.notes[0].starts_with("an input with a default is a constant, as the file lists"),
        "{:?}",
        meant.notes
    );

    let old = ModelProto { ir_version: Some(3), ..proto };
    let old = read(&old);
    assert_eq!(old.graph.scope(ScopeId::MAIN).inputs().len(), 1, "before IR version 4 a default is a constant");
    assert_eq!(written(&old).ir_version(), 4);
}

#[test]
fn bodies_read_values_around_them() {
    let branch = |op: &str, name: &str| graph(&[], vec![node(op, &["a"], &[name])], &[name]);
    let mut choose = node("If", &["c"], &["y"]);
    choose.attribute =
        vec![graph_attr("then_branch", branch("Abs", "t")), graph_attr("else_branch", branch("Neg", "t"))];
    let mut g = graph(&["x", "c"], vec![node("Relu", &["x"], &["a"]), choose], &["y"]);
    g.input[1] = ValueInfoProto { name: Some("c".into()), ..ValueInfoProto::default() };
    let proto = model_of(13, g);
    let model = read(&proto);
    let relu = model.graph.schedule(ScopeId::MAIN)[0];
    let a = model.graph.result(relu, 0).unwrap();
    assert_eq!(model.graph.value(a).users().len(), 2, "each branch is a user");
    assert_eq!(written(&model), proto, "branches may share a name");
}

#[test]
fn a_body_that_shows_an_outer_value_copies_it() {
    let body = graph(&[], vec![node("Abs", &["a"], &["t"])], &["t"]);
    let mut choose = node("If", &["c"], &["y"]);
    choose.attribute = vec![graph_attr("then_branch", body.clone()), graph_attr("else_branch", body)];
    let mut model = read(&model_of(13, graph(&["x", "c"], vec![node("Relu", &["x"], &["a"]), choose], &["y"])));
    let scopes: Vec<ScopeId> = model.graph.scopes().filter(|s| *s != ScopeId::MAIN).collect();
    let a = model.graph.result(model.graph.schedule(ScopeId::MAIN)[0], 0).unwrap();
    model.graph.set_output(scopes[0], 0, a);
    model.graph.remove_dead();
    let choose = written(&model).graph.unwrap().node.pop().unwrap();
    assert_eq!(names(choose.attribute[0].g.as_ref().unwrap()), ["Identity"]);
    assert_eq!(names(choose.attribute[1].g.as_ref().unwrap()), ["Abs"]);
}

#[test]
fn outputs_keep_their_names_whatever_they_show() {
    let nodes = vec![node("Abs", &["x"], &["y"]), node("Neg", &["y"], &["z"])];
    let mut model = read(&model_of(13, graph(&["x"], nodes, &["y", "z"])));
    let x = model.graph.scope(ScopeId::MAIN).inputs()[0];
    model.graph.set_output(ScopeId::MAIN, 0, x);
    let constant = model.graph.add_constant(ScopeId::MAIN, "", Tensor::f32s(&[2], &[1.0, 2.0]).unwrap());
    model.graph.set_output(ScopeId::MAIN, 1, constant);
    model.graph.remove_dead();
    let g = written(&model).graph.unwrap();
    assert_eq!(g.output.iter().map(|o| o.name()).collect::<Vec<_>>(), ["y", "z"]);
    assert_eq!(g.node, [node("Identity", &["x"], &["y"])]);
    assert_eq!(g.initializer[0].name(), "z");
}

#[test]
fn what_the_graph_does_not_hold_is_carried() {
    let mut call = node("Abs", &["x"], &["a"]);
    call.doc_string = Some("why".into());
    call.metadata_props = vec![entry("k", "v")];
    call.domain = Some("ai.onnx".into());
    let mut g = graph(&["x"], vec![call, node("Neg", &["a"], &["y"])], &["y"]);
    g.value_info = vec![ValueInfoProto { doc_string: Some("middle".into()), ..info("a", &[2]) }];
    g.metadata_props = vec![entry("graph", "too")];
    g.input[0].metadata_props = vec![entry("x", "in")];
    let denoted = g.output[0].r#type.as_mut().unwrap();
    denoted.denotation = Some("IMAGE".into());
    let mut proto = model_of(13, g);
    proto.producer_name = Some("maker".into());
    proto.metadata_props = vec![entry("author", "me")];
    proto.doc_string = Some(String::new());
    assert_eq!(written(&read(&proto)), proto);
}

fn entry(key: &str, value: &str) -> super::proto::StringStringEntryProto {
    super::proto::StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }
}

#[test]
fn unknown_operators_pass_through() {
    let mut call = node("Thing", &["x", "", "x"], &["a", "", "y"]);
    call.domain = Some("my.domain".into());
    call.attribute = vec![int("n", 3), ints("list", &[1, 2])];
    let experimental = node("ImageScaler", &["a"], &["z"]);
    let mut proto = model_of(13, graph(&["x"], vec![call, experimental], &["y", "z"]));
    proto.opset_import.push(OperatorSetIdProto { domain: Some("my.domain".into()), version: Some(1) });
    let model = read(&proto);
    assert_eq!(ops(&model.graph), [OpKind::Custom, OpKind::Custom]);
    assert_eq!(written(&model), proto);
}

#[test]
fn a_large_repeated_element_is_written_as_a_node() {
    let mut model = read(&model_of(13, graph(&["x"], vec![node("Add", &["x", "x"], &["y"])], &["y"])));
    let splat = Tensor::splat(DType::F32, &[1000, 1000], &2.0f32.to_le_bytes()).unwrap();
    let value = model.graph.add_constant(ScopeId::MAIN, "twos", splat);
    let add = model.graph.schedule(ScopeId::MAIN)[0];
    model.graph.set_operand(add, 1, Some(value));
    let g = written(&model).graph.unwrap();
    assert_eq!(names(&g), ["ConstantOfShape", "Add"]);
    assert_eq!(g.initializer[0].raw_data().len(), 16, "only the shape");
    let again = read(&written(&model));
    assert_eq!(ops(&again.graph), [OpKind::ConstantOfShape, OpKind::Add]);
}

#[test]
fn the_ir_version_is_kept_or_the_lowest() {
    let proto =
        ModelProto { ir_version: Some(14), ..model_of(13, graph(&["x"], vec![node("Abs", &["x"], &["y"])], &["y"])) };
    let model = read(&proto);
    assert_eq!(written(&model).ir_version(), 14);
    let lowest = WriteOptions { ir_version: IrVersion::Lowest, ..WriteOptions::default() };
    let bytes = model.to_bytes_with(&lowest).unwrap();
    assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap().ir_version(), 7);
}

fn function(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }],
        ..FunctionProto::default()
    }
}

fn call(name: &str, operands: &[&str], results: &[&str]) -> NodeProto {
    NodeProto { domain: Some("local".into()), ..node(name, operands, results) }
}

fn with_functions(opset: i64, g: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    let mut model = model_of(opset, g);
    model.opset_import.push(OperatorSetIdProto { domain: Some("local".into()), version: Some(1) });
    model.functions = functions;
    model
}

#[test]
fn calls_of_functions_become_their_nodes() {
    let mut leaky = node("LeakyRelu", &["t"], &["r"]);
    leaky.attribute = vec![super::proto::AttributeProto {
        name: Some("alpha".into()),
        ref_attr_name: Some("slope".into()),
        r#type: Some(1),
        ..Default::default()
    }];
    let mut inner = function("Inner", &["p"], vec![node("Neg", &["p"], &["t"]), leaky], &["r"]);
    inner.attribute_proto = vec![super::testing::float("slope", 0.25)];
    let mut given = call("Inner", &["q"], &["u"]);
    given.attribute = vec![super::testing::float("slope", 0.5)];
    let outer = function("Outer", &["q"], vec![given, call("Inner", &["u"], &["v"])], &["v", "q"]);
    let g = graph(&["x"], vec![call("Outer", &["x"], &["y", "same"])], &["y", "same"]);
    let proto = with_functions(13, g, vec![outer, inner]);

    let out = written(&read(&proto));
    let g = out.graph.unwrap();
    assert_eq!(names(&g), ["Neg", "LeakyRelu", "Neg", "LeakyRelu", "Identity"]);
    assert_eq!(g.node[1].attribute[0].f(), 0.5);
    assert_eq!(g.node[3].attribute[0].f(), 0.25, "the default");
    assert_eq!(g.node[3].output, ["y"]);
    assert!(out.functions.is_empty());

    let kept = ReadOptions { functions: Functions::Kept, ..ReadOptions::default() };
    let kept = Model::from_bytes(proto.encode_to_vec(), &kept).unwrap();
    assert_eq!(written(&kept), proto);
}

#[test]
fn a_function_of_another_opset_is_inlined_if_its_operators_did_not_change() {
    let g = |name: &str| graph(&["x"], vec![call(name, &["x"], &["y"])], &["y"]);
    let same = function("F", &["p"], vec![node("Abs", &["p"], &["r"])], &["r"]);
    assert!(written(&read(&with_functions(17, g("F"), vec![same]))).functions.is_empty());
    let changed = function("F", &["p"], vec![node("ReduceMean", &["p"], &["r"])], &["r"]);
    let proto = with_functions(18, g("F"), vec![changed]);
    let model = read(&proto);
    assert_eq!(model.notes, ["function local.F is kept: it uses ReduceMean of ai.onnx 13, the model uses ai.onnx 18"]);
    assert_eq!(written(&model), proto);
}

#[test]
fn functions_may_not_call_themselves() {
    let loop_ = function("F", &["p"], vec![call("F", &["p"], &["r"])], &["r"]);
    let g = graph(&["x"], vec![call("F", &["x"], &["y"])], &["y"]);
    assert_eq!(message(&with_functions(13, g, vec![loop_])), "function local.F calls itself");
}

#[test]
fn functions_that_would_explode_are_kept() {
    let leaf = function("F0", &["p"], vec![node("Abs", &["p"], &["a"]), node("Neg", &["a"], &["r"])], &["r"]);
    let mut functions = vec![leaf];
    for level in 1..50 {
        let below = format!("F{}", level - 1);
        let nodes = vec![call(&below, &["p"], &["a"]), call(&below, &["a"], &["r"])];
        functions.push(function(&format!("F{level}"), &["p"], nodes, &["r"]));
    }
    let g = graph(&["x"], vec![call("F49", &["x"], &["y"])], &["y"]);
    let model = read(&with_functions(13, g, functions));
    assert_eq!(model.graph.node_count(), 1);
    assert_eq!(written(&model).functions.len(), 50);
}

#[test]
fn constants_that_are_not_looked_into_stay_initializers() {
    let mut g = graph(&["x"], vec![node("Abs", &["x"], &["y"]), node("Thing", &["s"], &["z"])], &["y", "z"]);
    g.node[1].domain = Some("my.domain".into());
    g.sparse_initializer = vec![super::proto::SparseTensorProto {
        values: Some(tensor("s", &[1], &[1.0])),
        indices: Some(TensorProto { data_type: Some(7), int64_data: vec![3], dims: vec![1], ..TensorProto::default() }),
        dims: vec![5],
    }];
    let mut proto = model_of(13, g);
    proto.opset_import.push(OperatorSetIdProto { domain: Some("my.domain".into()), version: Some(1) });
    assert_eq!(written(&read(&proto)), proto);
}

#[test]
fn six_bit_floats_are_constants_like_others() {
    let mut g = graph(&["x"], vec![node("Reshape", &["w", "x"], &["y"])], &["y"]);
    g.initializer = vec![TensorProto {
        data_type: Some(27),
        dims: vec![5],
        raw_data: Some(vec![0o10, 0o33, 0x40, 0o37].into()),
        ..tensor("w", &[], &[])
    }];
    let mut proto = model_of(28, g);
    proto.ir_version = Some(14);
    let model = read(&proto);
    let w = model.graph.values().find_map(|v| model.graph.constant(v)).unwrap();
    assert_eq!((w.dtype(), w.element(1).unwrap()[0]), (crate::ir::DType::F6E2M3, 44));
    assert_eq!(written(&model), proto);
}

#[test]
fn quantization_annotations_live_as_long_as_their_tensor() {
    let mut g = graph(&["x"], vec![node("Abs", &["x"], &["a"]), node("Neg", &["a"], &["y"])], &["y"]);
    g.initializer = vec![tensor("scale", &[1], &[0.5])];
    g.quantization_annotation = vec![super::proto::TensorAnnotation {
        tensor_name: Some("a".into()),
        quant_parameter_tensor_names: vec![entry("SCALE_TENSOR", "scale")],
    }];
    let proto = model_of(13, g);
    let mut model = read(&proto);
    model.graph.remove_dead();
    assert_eq!(written(&model), proto, "the scale is read by the annotation alone");
    let x = model.graph.scope(ScopeId::MAIN).inputs()[0];
    model.graph.set_output(ScopeId::MAIN, 0, x);
    model.graph.remove_dead();
    let g = written(&model).graph.unwrap();
    assert!(g.quantization_annotation.is_empty() && g.initializer.is_empty());
}

#[test]
fn training_and_devices_are_carried() {
    let mut call = node("Abs", &["x"], &["y"]);
    call.device_configurations = vec![super::proto::NodeDeviceConfigurationProto {
        configuration_id: Some("two".into()),
        pipeline_stage: Some(1),
        ..Default::default()
    }];
    let mut proto = model_of(23, graph(&["x"], vec![call], &["y"]));
    proto.configuration = vec![super::proto::DeviceConfigurationProto {
        name: Some("two".into()),
        num_devices: Some(2),
        device: vec!["a".into(), "b".into()],
    }];
    proto.training_info = vec![super::proto::TrainingInfoProto {
        algorithm: Some(graph(&[], vec![node("Neg", &["w"], &["g"])], &["g"])),
        ..Default::default()
    }];
    assert_eq!(written(&read(&proto)), proto);
}

#[test]
fn numbers_stay_numbers_where_that_is_shorter() {
    let mut reshape = node("Reshape", &["x", "s"], &["y"]);
    reshape.name = Some("r".into());
    let mut g = graph(&["x"], vec![reshape], &["y"]);
    g.initializer = vec![TensorProto {
        data_type: Some(7),
        dims: vec![2],
        int64_data: vec![1, 2],
        name: Some("s".into()),
        ..TensorProto::default()
    }];
    let proto = model_of(13, g);
    assert_eq!(written(&read(&proto)), proto);
}

#[test]
fn functions_and_bodies_nest_to_a_bound() {
    let mut functions = Vec::new();
    for level in 0..10 {
        let mut inner = node("Abs", &["p"], &["r"]);
        if level > 0 {
            inner = call(&format!("F{}", level - 1), &["p"], &["r"]);
        }
        for _ in 0..20 {
            let mut outer = node("If", &["p"], &["r"]);
            outer.attribute = vec![graph_attr("then_branch", graph(&[], vec![inner], &["r"]))];
            inner = outer;
        }
        functions.push(function(&format!("F{level}"), &["p"], vec![inner], &["r"]));
    }
    let g = graph(&["x"], vec![call("F9", &["x"], &["y"])], &["y"]);
    assert!(matches!(fault(&with_functions(13, g, functions)), Fault::FunctionsTooDeep(_)));
}
