//! Weights of a few bits: integers of 2, 4 or 8, with a scale for every few of them, and real numbers in all that is
//! computed.
//!
//! ```text
//! weight (mapped) ─ sites (who reads it, and how it may be written) ─▶ matrix ─ grid, gptq, scaled ─▶ codes ─▶ emit
//!      samples ─ stepper: what a layer reads in the model so far ─────────────────┘ (importance, second moments)
//! ```
//!
//! A file becomes four to eight times smaller, and so does what a run of one row reads, which is what the time of
//! language models goes to. A weight is looked at where it lies in the file, one after another; what becomes of it is
//! put aside in files too, so memory is that of one weight, however many there are.
//!
//! The forms that runtimes keep, and do not make float32 of when they load a model, differ:
//! [`Profile::few_bits`](crate::target::Profile::few_bits) has them.

mod codes;
mod emit;
mod gptq;
mod grid;
mod levels;
mod packer;
mod reading;
mod scaled;
mod seen;
mod sites;
mod summary;
mod trial;

pub use levels::{GROUPS, Group, Integers, Method};
pub use packer::{LowBitError, Packer};
pub use summary::{Kept, Summary, Weight};
pub(crate) use trial::Trial;
