//! What the tensors of a model hold on real inputs: gathered once, for every target.

mod gather;
mod histogram;
mod range;
mod saved;
mod statistics;

pub use gather::{Feed, GatherError, Gathered, gather, observed};
pub use histogram::{Bin, Histogram};
pub use range::{Levels, Method, Range, mean_squared_error, range};
pub use saved::{Saved, SavedError};
pub use statistics::{MOMENTUM, Statistics};
