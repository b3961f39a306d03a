//! The ONNX file format: reading and writing.

#[rustfmt::skip]
#[allow(dead_code, missing_docs, clippy::all, clippy::pedantic, reason = "generated from proto/onnx.proto")]
mod proto;
