//! What the tensors of a model hold on real inputs: gathered once, for every target.
//!
//! A [`Source`] gives [`Samples`], a [`Split`] of which holds some out to measure on; [`gather()`] runs the model on the
//! others and sees what is [`Wanted`] of it; what was [`Gathered`] is [`Saved`], merged, and read as [`Range`]s.

mod calibration;
mod careful;
mod channels;
mod elements;
mod gather;
mod histogram;
mod pool;
mod range;
mod samples;
mod saved;
mod settling;
mod split;
mod statistics;

pub use calibration::{Calibration, CalibrationError, Early, LONG, Probe, Runs, Settles};
pub use careful::careful;
pub use channels::Channels;
pub(crate) use gather::Gathering;
pub use gather::{GatherError, Gathered, Unknown, Wanted, gather, observed};
pub use histogram::{Bin, Histogram};
pub use pool::Pool;
pub use range::{Levels, Method, Range, mean_squared_error, range};
pub use samples::{Feed, Sample, Samples, Source};
pub use saved::{Fingerprint, Saved, SavedError};
pub use split::{HeldOut, Split};
pub use statistics::{MOMENTUM, Statistics};
