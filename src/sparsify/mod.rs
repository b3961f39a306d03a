//! Zeros in weights: which, and what the others become so that the layer computes nearly the same.
//!
//! Without samples the smallest weights go. With samples, columns are taken one after another, and what is lost with a
//! weight is made up for by those of the columns behind it (SparseGPT, Frantar & Alistarh 2023), for the second moments
//! of what the layer reads in the model whose layers before it are sparse already.
//!
//! Few runtimes are faster for it; [`Profile::sparsity`](crate::target::Profile::sparsity) says of each what it gains.

mod pattern;
mod sparsifier;
mod sweep;

pub use pattern::Pattern;
pub use sparsifier::{Layer, Sparsifier, SparsifyError, Summary};
pub use sweep::{smallest, sweep};
