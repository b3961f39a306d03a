//! Running things: single nodes by exact kernels, whole models by an engine.
//!
//! [`exact`] holds our own kernels. They compute what ONNX specifies in every element type, need no engine, and
//! decline what the specification leaves open.

pub mod exact;
