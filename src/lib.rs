//! Makes an ONNX model the smallest and fastest form its target runs well, and proves that it computes the same.

pub mod ir;
pub mod model;
pub mod onnx;
pub mod ops;
pub mod passes;
pub mod report;
pub mod rewrite;
pub mod rules;
