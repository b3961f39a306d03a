//! Nodes of old opsets become the newest spelling and are written as they were.

use prost::Message;

use super::super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::super::testing::{float, floats, info, int, ints, model_of, tensor, text};
use crate::ir::{Attr, Graph, NodeId, OpKind, ScopeId, Tensor};
use crate::model::Model;
use crate::onnx::{ReadOptions, WriteError};

/// A model of one node that reads `x` (of `dims`) and `more`, and makes `results` values.
fn model(
    opset: i64,
    op: &str,
    dims: &[i64],
    more: &[TensorProto],
    results: usize,
    attrs: &[AttributeProto],
) -> Vec<u8> {
    let output: Vec<String> = (0..results).map(|i| format!("y{i}")).collect();
    let inputs = std::iter::once("x".to_string()).chain(more.iter().map(|t| t.name().to_string()));
    let node = NodeProto {
        input: inputs.collect(),
        output: output.clone(),
        op_type: Some(op.into()),
        attribute: attrs.to_vec(),
        ..NodeProto::default()
    };
    let output = output.iter().map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() });
    let graph = GraphProto {
        node: vec![node],
        input: vec![info("x", dims)],
        output: output.collect(),
        initializer: more.to_vec(),
        ..GraphProto::default()
    };
    model_of(opset, graph).encode_to_vec()
}

fn read(bytes: &[u8]) -> Model {
    Model::from_bytes(bytes.to_vec(), &ReadOptions::default()).unwrap()
}

fn only_node(graph: &Graph) -> NodeId {
    let mut nodes = graph.nodes();
    let node = nodes.next().unwrap();
    assert!(nodes.next().is_none(), "one node");
    node
}

fn written(model: &Model) -> NodeProto {
    let bytes = model.to_bytes().unwrap();
    ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap().node.pop().unwrap()
}

/// Reading gives `op` with these constant operands, and writing gives what was read.
fn there_and_back(bytes: &[u8], op: OpKind, operands: &[(usize, &[f64])]) -> Model {
    let model = read(bytes);
    let graph = &model.graph;
    let node = only_node(graph);
    assert_eq!(graph.node(node).op, op);
    for (slot, expected) in operands {
        let value = graph.operand(node, *slot).unwrap_or_else(|| panic!("operand {slot} of {op}"));
        assert_eq!(graph.constant(value).unwrap().reals().unwrap(), *expected, "operand {slot} of {op}");
    }
    let original = ModelProto::decode(bytes).unwrap().graph.unwrap();
    let again = ModelProto::decode(model.to_bytes().unwrap().as_slice()).unwrap().graph.unwrap();
    assert_eq!(again.node, original.node);
    assert_eq!(again.initializer, original.initializer);
    model
}

#[test]
fn attributes_become_operands_and_back() {
    let x = [2, 3, 4, 4];
    let clip = model(6, "Clip", &x, &[], 1, &[float("min", 0.0), float("max", 6.0)]);
    there_and_back(&clip, OpKind::Clip, &[(1, &[0.0]), (2, &[6.0])]);
    let pad = model(2, "Pad", &x, &[], 1, &[ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]), float("value", 2.5)]);
    there_and_back(&pad, OpKind::Pad, &[(1, &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]), (2, &[2.5])]);
    let paddings = model(1, "Pad", &x, &[], 1, &[ints("paddings", &[0, 0, 1, 1, 0, 0, 1, 1])]);
    there_and_back(&paddings, OpKind::Pad, &[(1, &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0])]);
    let slice = model(9, "Slice", &x, &[], 1, &[ints("starts", &[1]), ints("ends", &[3]), ints("axes", &[2])]);
    there_and_back(&slice, OpKind::Slice, &[(1, &[1.0]), (2, &[3.0]), (3, &[2.0])]);
    let top = model(9, "TopK", &x, &[], 2, &[int("axis", 1), int("k", 2)]);
    there_and_back(&top, OpKind::TopK, &[(1, &[2.0])]);
    let squeeze = model(11, "Squeeze", &[1, 3], &[], 1, &[ints("axes", &[0])]);
    there_and_back(&squeeze, OpKind::Squeeze, &[(1, &[0.0])]);
    let sum = model(12, "ReduceSum", &x, &[], 1, &[int("keepdims", 0), ints("axes", &[-1])]);
    there_and_back(&sum, OpKind::ReduceSum, &[(1, &[-1.0])]);
    let mean = model(17, "ReduceMean", &x, &[], 1, &[ints("axes", &[2, 3])]);
    there_and_back(&mean, OpKind::ReduceMean, &[(1, &[2.0, 3.0])]);
    let reshape = model(4, "Reshape", &x, &[], 1, &[ints("shape", &[0, -1])]);
    there_and_back(&reshape, OpKind::Reshape, &[(1, &[0.0, -1.0])]);
    let dropout = model(10, "Dropout", &x, &[], 1, &[float("ratio", 0.3)]);
    there_and_back(&dropout, OpKind::Dropout, &[(1, &[f64::from(0.3f32)])]);
    let split = model(11, "Split", &x, &[], 2, &[int("axis", 1), ints("split", &[1, 2])]);
    there_and_back(&split, OpKind::Split, &[(1, &[1.0, 2.0])]);
}

#[test]
fn equal_parts_are_counted() {
    let split = there_and_back(&model(13, "Split", &[4, 4], &[], 2, &[]), OpKind::Split, &[]);
    let node = only_node(&split.graph);
    assert_eq!(split.graph.node(node).attr("num_outputs"), Some(&Attr::Int(2)));
}

#[test]
fn unequal_parts_are_spelled_out_before_opset_18() {
    let mut split = read(&model(18, "Split", &[5, 4], &[], 2, &[int("num_outputs", 2)]));
    split.opset_imports[0].version = 17;
    let node = written(&split);
    assert!(node.attribute.is_empty());
    assert_eq!(node.input.len(), 2, "sizes are an operand");
    split.opset_imports[0].version = 11;
    assert_eq!(written(&split).attribute[0].ints, [3, 2]);
}

#[test]
fn softmax_is_the_same_only_along_the_last_axis() {
    there_and_back(&model(11, "Softmax", &[2, 3], &[], 1, &[]), OpKind::Softmax, &[]);
    there_and_back(&model(11, "Softmax", &[2, 3, 4], &[], 1, &[int("axis", 2)]), OpKind::Softmax, &[]);
    let pooled = read(&model(11, "Softmax", &[2, 3, 1, 1], &[], 1, &[]));
    assert_eq!(pooled.graph.node(only_node(&pooled.graph)).attr("axis"), Some(&Attr::Int(1)));
    let flattened = there_and_back(&model(11, "Softmax", &[2, 3, 4], &[], 1, &[]), OpKind::Custom, &[]);
    assert_eq!(flattened.graph.node(only_node(&flattened.graph)).op_name(), "Softmax");
}

#[test]
fn a_node_left_as_it_is_cannot_be_written_where_it_means_something_else() {
    let mut softmax = read(&model(11, "Softmax", &[2, 3, 4], &[], 1, &[]));
    softmax.opset_imports[0].version = 12;
    assert!(softmax.to_bytes().is_ok(), "the operator did not change");
    softmax.opset_imports[0].version = 13;
    assert!(matches!(softmax.to_bytes(), Err(WriteError::Opset { opset: 13, .. })));
}

#[test]
fn upsample_is_a_resize() {
    let scales = [1.0, 1.0, 2.0, 2.0];
    let up = model(8, "Upsample", &[1, 1, 2, 2], &[], 1, &[text("mode", "nearest"), floats("scales", &scales)]);
    let up = there_and_back(&up, OpKind::Resize, &[(2, &[1.0, 1.0, 2.0, 2.0])]);
    let node = up.graph.node(only_node(&up.graph));
    assert_eq!(node.attr("nearest_mode"), Some(&"floor".into()));
    let operand = tensor("scales", &[4], &scales);
    let nine = model(9, "Upsample", &[1, 1, 2, 2], std::slice::from_ref(&operand), 1, &[text("mode", "linear")]);
    there_and_back(&nine, OpKind::Resize, &[(2, &[1.0, 1.0, 2.0, 2.0])]);
    let ten = model(10, "Resize", &[1, 1, 2, 2], &[operand], 1, &[]);
    there_and_back(&ten, OpKind::Resize, &[(2, &[1.0, 1.0, 2.0, 2.0])]);
    let shrinks = model(10, "Resize", &[1, 1, 2, 2], &[tensor("s", &[4], &[1.0, 1.0, 0.5, 0.5])], 1, &[]);
    there_and_back(&shrinks, OpKind::Custom, &[]);
}

#[test]
fn broadcasting_on_request_becomes_alignment() {
    let bias = tensor("b", &[3], &[1.0, 2.0, 3.0]);
    let asked = [int("broadcast", 1), int("axis", 1)];
    let add = model(6, "Add", &[2, 3, 4, 4], std::slice::from_ref(&bias), 1, &asked);
    let read = read(&add);
    let node = only_node(&read.graph);
    let aligned = read.graph.operand(node, 1).and_then(|v| read.graph.constant(v)).unwrap();
    assert_eq!(aligned.dims(), [3, 1, 1]);
    let again = written(&read);
    assert_eq!(again.attribute, asked);
    let last = model(6, "Mul", &[2, 3], &[bias], 1, &[int("broadcast", 1)]);
    there_and_back(&last, OpKind::Mul, &[(1, &[1.0, 2.0, 3.0])]);
}

#[test]
fn training_switches_must_be_off() {
    there_and_back(&model(6, "Dropout", &[2], &[], 1, &[int("is_test", 1)]), OpKind::Dropout, &[]);
    there_and_back(&model(6, "Dropout", &[2], &[], 1, &[]), OpKind::Custom, &[]);
    let parts: Vec<TensorProto> = ["s", "b", "m", "v"].map(|n| tensor(n, &[3], &[1.0; 3])).into();
    there_and_back(
        &model(6, "BatchNormalization", &[2, 3], &parts, 1, &[int("is_test", 1)]),
        OpKind::BatchNormalization,
        &[],
    );
    there_and_back(&model(7, "BatchNormalization", &[2, 3], &parts, 5, &[]), OpKind::Custom, &[]);
}

#[test]
fn a_mask_that_nobody_reads_is_left_out() {
    let mut unread = ModelProto::decode(model(8, "Dropout", &[2], &[], 2, &[]).as_slice()).unwrap();
    let graph = unread.graph.as_mut().unwrap();
    graph.output.pop();
    let model = read(&unread.encode_to_vec());
    let node = only_node(&model.graph);
    assert_eq!((model.graph.node(node).op, model.graph.results(node).len()), (OpKind::Dropout, 1));
    assert_eq!(written(&model).output, ["y0"]);
    // Who reads it gets what that version gave.
    let read_on = self::model(8, "Dropout", &[2], &[], 2, &[]);
    there_and_back(&read_on, OpKind::Custom, &[]);
}

#[test]
fn a_node_that_the_opset_has_no_words_for_raises_it() {
    let mut gelu = read(&model(20, "Gelu", &[2], &[], 1, &[]));
    gelu.opset_imports[0].version = 17;
    let bytes = gelu.to_bytes().unwrap();
    assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap().opset_import[0].version(), 20);
}

#[test]
fn what_no_opset_has_words_for_is_refused_by_name() {
    // The Softmax holds the model at opset 11, which has no Gelu and no smallest elements first.
    let mut held = read(&model(11, "Softmax", &[2, 3, 4], &[], 1, &[]));
    let graph = &mut held.graph;
    let softmax = only_node(graph);
    let y = graph.result(softmax, 0);
    let gelu = graph.add_node(ScopeId::MAIN, OpKind::Gelu, &[y], 1, 1);
    graph.node_mut(gelu).name = "g".into();
    let k = graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[1]));
    let top = graph.add_node(ScopeId::MAIN, OpKind::TopK, &[y, Some(k)], 2, 2);
    graph.node_mut(top).name = "t".into();
    graph.set_attr(top, "largest", 0.into());
    held.opset_imports[0].version = 10;
    let error = held.to_bytes().unwrap_err().to_string();
    assert_eq!(
        error,
        "opset 10 cannot express Softmax \"y0\": its form is that of opset 11; Gelu \"g\": Gelu begins with opset 20; \
         TopK \"t\": largest begins with opset 11"
    );
}

#[test]
fn an_attribute_at_its_default_is_left_out_where_it_is_not_known() {
    let mut cast = read(&model(19, "Cast", &[2], &[], 1, &[int("to", 10), int("saturate", 1)]));
    cast.opset_imports[0].version = 13;
    assert_eq!(written(&cast).attribute, [int("to", 10)]);
}
