//! The ONNX file format: reading and writing.

mod about;
mod build;
mod carried;
mod compatible;
mod draft;
mod emit;
mod error;
mod external;
#[rustfmt::skip]
mod fields;
mod functions;
mod labels;
mod merge;
mod names;
mod offload;
mod options;
#[rustfmt::skip]
#[allow(dead_code, missing_docs, clippy::all, clippy::pedantic, reason = "generated from proto/onnx.proto")]
pub(crate) mod proto;
mod read;
mod recognize;
mod sink;
mod sparing;
mod spelling;
mod strip;
mod tally;
pub(crate) mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod types;
mod words;
mod write;

pub use about::About;
pub use error::{ExternalFault, Fault, ReadError, TensorFault, WriteError};
pub(crate) use merge::Clash;
pub use options::{Defaults, Functions, ReadOptions};
pub(crate) use words::{function_names, says};
pub(crate) use write::replace;
pub use write::{IrVersion, Weights, WriteOptions, Written};
