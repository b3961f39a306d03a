//! `src/onnx/proto.rs` is what prost-build makes of `proto/onnx.proto`.
//!
//! `UPDATE_PROTO=1 cargo test --test proto` rewrites it.

use std::fs;
use std::path::Path;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["onnx.proto"], [root.join("proto")]).expect("proto/onnx.proto is valid");
    let out = tempfile::tempdir().expect("a temporary folder");
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("prost-build accepts proto/onnx.proto");
    let generated = fs::read_to_string(out.path().join("onnx.rs")).expect("prost-build wrote onnx.rs");

    let committed = root.join("src/onnx/proto.rs");
    if std::env::var_os("UPDATE_PROTO").is_some() {
        fs::write(&committed, &generated).expect("src/onnx/proto.rs is writable");
    }
    let current = fs::read_to_string(&committed).unwrap_or_default();
    assert!(current == generated, "src/onnx/proto.rs is not what proto/onnx.proto generates; run UPDATE_PROTO=1");
}
