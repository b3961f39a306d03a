//! Weights in files beside the model: found only there, and written there once each.

use std::fs;
use std::path::Path;

use onnx_slim::ir::{Graph, Origin, ScopeId, Tensor};
use onnx_slim::model::Model;
use onnx_slim::onnx::{ExternalFault, Fault, Weights, WriteOptions};

/// A model that adds two weights of 300 floats to `x`, the second one twice.
fn model() -> Model {
    let text = "<ir_version: 8, opset_import: [\"\" : 13]> g (float[300] x) => (float[300] y) { y = Abs(x) }";
    let mut model = onnx_slim::text::parse(text).expect("the text is a model");
    let graph = &mut model.graph;
    let x = graph.scope(ScopeId::MAIN).inputs()[0];
    let shared = weights(2.0);
    let mut last = x;
    for (name, tensor) in [("a", weights(1.0)), ("b", shared.clone()), ("c", shared)] {
        let w = graph.add_constant(ScopeId::MAIN, name, tensor);
        let add = graph.add_node(ScopeId::MAIN, onnx_slim::ir::OpKind::Add, &[Some(last), Some(w)], 1, 1);
        last = graph.result(add, 0).expect("one result");
    }
    graph.set_output(ScopeId::MAIN, 0, last);
    graph.remove_dead();
    model
}

fn weights(first: f32) -> Tensor {
    let data: Vec<f32> = (0..300u16).map(|i| first + f32::from(i)).collect();
    Tensor::f32s(&[300], &data).expect("300 elements")
}

fn constants(graph: &Graph) -> Vec<Tensor> {
    let of = |v| graph.value(v).constant().cloned().expect("a constant");
    graph.values().filter(|&v| graph.value(v).origin() == Origin::Constant).map(of).collect()
}

fn write_beside(path: &Path) {
    let beside = WriteOptions { weights: Weights::Beside, ..WriteOptions::default() };
    model().write_with(path, &beside).unwrap();
}

#[test]
fn weights_are_written_beside_the_model_once_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_beside(&path);
    let data = fs::read(folder.path().join("m.onnx.data")).unwrap();
    assert_eq!(data.len(), 1216 + 1200, "two of 1,200 bytes, the second one aligned to 64");
    let back = Model::read(&path).unwrap();
    assert_eq!(constants(&back.graph), constants(&model().graph));
    assert_eq!(back.file_bytes, fs::metadata(&path).unwrap().len() + data.len() as u64);
}

#[test]
fn a_model_with_weights_beside_it_may_be_written_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_beside(&path);
    let back = Model::read(&path).unwrap();
    let beside = WriteOptions { weights: Weights::Beside, ..WriteOptions::default() };
    let written = back.write_with(&path, &beside).unwrap();
    assert_eq!(written.files, [path.clone(), folder.path().join("m.onnx.data")]);
    assert_eq!(constants(&Model::read(&path).unwrap().graph), constants(&model().graph));
    assert_eq!(folder.path().read_dir().unwrap().count(), 2, "nothing else is left in the folder");
}

#[test]
fn small_models_take_their_weights_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_beside(&path);
    let alone = folder.path().join("alone.onnx");
    Model::read(&path).unwrap().write(&alone).unwrap();
    fs::remove_file(folder.path().join("m.onnx.data")).unwrap();
    assert_eq!(constants(&Model::read(&alone).unwrap().graph), constants(&model().graph));
}

/// Puts `to`, of the same length, in the place of `from` in the model's file.
fn edit(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let mut found = false;
    for at in 0..bytes.len() - from.len() {
        if &bytes[at..at + from.len()] == from.as_bytes() {
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
    }
    assert!(found);
    fs::write(path, bytes).unwrap();
}

fn fault(path: &Path) -> (String, ExternalFault) {
    match Model::read(path).expect_err("the data cannot be had").fault {
        Fault::External { tensor, fault } => (tensor, fault),
        other => panic!("{other}"),
    }
}

#[test]
fn data_outside_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("m.onnx");
    write_beside(&path);
    fs::copy(inner.join("m.onnx.data"), folder.path().join("nnx.data")).unwrap();
    edit(&path, "m.onnx.data", "../nnx.data");
    assert!(matches!(fault(&path), (tensor, ExternalFault::Outside(at)) if tensor == "a" && at == "../nnx.data"));
    edit(&path, "../nnx.data", "/etc/passwd");
    assert!(matches!(fault(&path), (_, ExternalFault::Outside(_))));
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused_and_one_within_followed() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("m.onnx");
    write_beside(&path);
    let data = inner.join("m.onnx.data");
    let moved = inner.join("moved");
    fs::rename(&data, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &data).unwrap();
    assert!(Model::read(&path).is_ok());
    fs::remove_file(&data).unwrap();
    fs::rename(&moved, folder.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("moved"), &data).unwrap();
    assert!(matches!(fault(&path), (_, ExternalFault::Outside(_))));
    // A store of files by content links both the model and its data out, to one folder.
    fs::rename(&path, folder.path().join("model")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("model"), &path).unwrap();
    assert!(Model::read(&path).is_ok());
}

#[test]
fn data_that_is_missing_or_short_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_beside(&path);
    let data = folder.path().join("m.onnx.data");
    let bytes = fs::read(&data).unwrap();
    fs::write(&data, &bytes[..bytes.len() - 4]).unwrap();
    let error = Model::read(&path).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "external data of tensor \"b\": \"m.onnx.data\" has 2412 bytes, the tensor takes bytes 1216 to 2416"
        ),
        "{error}"
    );
    fs::remove_file(&data).unwrap();
    assert!(matches!(fault(&path), (_, ExternalFault::Missing(_))));
    assert!(Model::read(&path).unwrap_err().hint().is_some());
    let streamed = Model::from_bytes(fs::read(&path).unwrap(), &Default::default()).unwrap_err();
    assert!(matches!(streamed.fault, Fault::External { fault: ExternalFault::NoFolder, .. }));
}

#[test]
fn sizes_must_be_numbers_that_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_beside(&path);
    edit(&path, "1216", "-216");
    assert!(matches!(fault(&path), (_, ExternalFault::Number { key: "offset", .. })));
    edit(&path, "-216", "9216");
    assert!(matches!(fault(&path), (_, ExternalFault::Short { offset: 9216, .. })));
}
