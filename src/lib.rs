//! Makes an ONNX model the smallest and fastest form its target runs well, and proves that it computes the same.
//!
//! ```text
//! file ─ onnx::read ─▶ Model(Graph) ─ passes (infer, fold, merge, simplify, lower) ─▶ survey ─▶ exec::compare ─▶ onnx::write
//!                          ▲ op table, symbolic shapes                      target ▲            ▲ the proof
//! ```
//!
//! Where to start reading: [`ir::Graph`] is what everything works on; [`ops`] says what every operator is;
//! [`rewrite`] is the language that the [`rules`] are written in; [`passes::pipeline`] has the order in which
//! everything runs; [`edit`] changes a model as a caller asks before that; [`exec`] runs models, to fold what is
//! constant and to prove that the result equals the original; [`stages`] change what a model computes, on purpose, after
//! all that; [`calibrate`] runs them on a caller's samples and keeps
//! what their tensors held, in bounded memory, for who gives integers to them.
//!
//! What each part does without:
//!
//! * `ir` knows no operator facts (it holds an `OpKind`, not an `OpDef`) and no file format.
//! * `ops` knows no pass, no target, no protobuf.
//! * `rules` never name a target, never edit a graph, never do I/O.
//! * Only `onnx` and `text` see generated protobuf types. Only `ir` sees petgraph. Only `cli` prints, exits or reads
//!   the environment.

pub mod advise;
pub mod assign;
pub mod calibrate;
pub mod census;
pub mod choice;
#[doc(hidden)]
pub mod cli;
pub mod distill;
pub mod edit;
pub mod error;
pub mod exec;
pub mod gram;
pub mod interface;
pub mod ir;
pub mod knapsack;
pub mod liveness;
pub mod lowbit;
pub mod manual;
mod mapped;
mod min_cut;
pub mod model;
pub mod onnx;
pub mod ops;
pub mod optimizer;
pub mod passes;
pub mod precision;
pub mod proof;
pub mod prune;
pub mod quality;
pub mod quantize;
mod random;
pub mod recipe;
pub mod report;
pub mod rewrite;
pub mod rules;
pub mod selecting;
pub mod sensitivity;
pub mod similar;
pub mod sparsify;
pub mod stages;
pub mod survey;
pub mod target;
pub mod text;
