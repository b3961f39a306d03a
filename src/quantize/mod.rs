//! Integers in the place of real numbers: which tensors, in which type, with which scale, and what it costs in accuracy.
//!
//! ```text
//! float Model ─ place (policy of the target) ─▶ Plan ─ statistics, range method ─▶ scales ─▶ emit ─▶ Model with QDQ
//!      └────────────── samples that were held out ──────────────────▶ quality ◀───────────────────────────┘
//! ```
//!
//! Statistics belong to tensors and know no target; a target's policy says which tensors get integers, of which type and
//! which of them share a scale. What is written is ONNX's QDQ form: `QuantizeLinear` and `DequantizeLinear` around what a
//! runtime then computes in integers.

pub mod correct;
mod coverage;
mod dynamic;
pub(crate) mod emit;
mod grid;
mod measured;
mod pays;
mod place;
mod placement;
mod plan;
pub(crate) mod quantizer;
mod scales;
mod weights;

pub use correct::Step;
pub use coverage::{Coverage, coverage, integer_nodes};
pub use dynamic::{Dynamic, NotDynamic};
pub use emit::emit;
pub use grid::{Grid, Scaling};
pub use measured::{Extent, Measurement, Turn};
pub use pays::{Estimate, Paying};
pub(crate) use pays::{Latencies, latencies};
pub use place::{TakenOut, place, place_fit, place_without, unfit};
pub use placement::{Left, Placed, PlacedWeight, Placement, Source};
pub use plan::{ConstantSite, Group, Kept, Plan, Readers, Site, WeightSite};
pub use quantizer::{QuantizeError, Quantizer, Summary};
pub use scales::{NoStatistics, Ranges, scales};
pub use weights::{Integers, given_back, integers, least_scales, weight_scales, with_scales};
