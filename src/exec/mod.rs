//! Running things: single nodes by exact kernels, whole models by an engine.
//!
//! [`exact`] holds our own kernels. They compute what ONNX specifies in every element type, need no engine, and
//! decline what the specification leaves open. An [`Executor`] runs whole models: [`tract`], which is built in, or
//! onnxruntime from a library (the `ort` feature). [`compare()`] proves with one that two models compute the same.

mod bounded;
pub mod compare;
mod data;
pub(crate) mod demand;
mod detach;
pub mod exact;
mod executor;
mod expand;
mod made_up;
mod one_call;
#[cfg(feature = "ort")]
pub mod ort;
mod proof;
pub mod race;
pub(crate) mod sample;
pub mod stepper;
#[cfg(feature = "tract")]
pub mod tract;
pub(crate) mod vectors;

pub use bounded::Bounded;
pub(crate) use data::{Batches, Feeds, Notes, is_taken};
pub use data::{Data, DataError, Imaging, Layout, Origin};
pub use executor::{At, Cannot, Executor, Session};
pub use expand::expand;
pub(crate) use made_up::MadeUp;
pub use one_call::fold_with_engine;
pub use proof::{Account, Feeding, Plan, Reference, Verdict, compare, join_along, more_inputs};
pub use stepper::Stepper;
