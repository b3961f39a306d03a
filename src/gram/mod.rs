//! What layers read, to the second order: how much of a layer's result is lost without some of it, and which weights
//! make up for that best.
//!
//! A [`Layer`] is a matrix product of its weight with [`Patches`] of what it reads. [`Sums`] over them give
//! [`Moments`]: means and covariances. Pruning ranks channels by them ([`order`]) and repairs layers; so can anything
//! that changes weights and knows what it costs: `tr(D·H·Dᵀ)` for a change `D` and the second moments `H`.

pub mod layer;
pub mod linalg;
pub mod moments;
pub mod order;
pub mod patches;
pub mod places;
pub mod sweep;

pub use layer::{Bias, Layer, floats};
pub use linalg::Cholesky;
pub use moments::{Moments, Sums};
pub use order::{Removal, Sink, by_energy, by_least_loss};
pub use patches::{Patches, Results};
