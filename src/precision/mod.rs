//! Half the bits in the place of float32: which tensors become float16 or bfloat16, which stay, and what it costs in
//! accuracy.
//!
//! ```text
//! Model ─ cells (what changes type together) ─▶ keep, fit (what must stay, and why) ─▶ sides (fewest Casts) ─▶ emit
//!      └──────────── samples that were held out ──────────▶ quality ◀──────────────────────────────────────────┘
//! ```
//!
//! Types are explicit: every operand of a call has the type that its operator asks for, and a `Cast` stands wherever a
//! tensor is made in one type and read in the other, one for each such tensor. What that costs in accuracy is told by a
//! rehearsal: the float32 model with each of these tensors rounded, which any engine runs. Calls that cost too much stay
//! float32: the module `culprits` finds them. Storing weights alone in halves is another way, which halves the file and
//! changes nothing that is computed but by the rounding of the weights.

mod attempt;
mod cells;
mod culprits;
mod emit;
mod error;
mod fit;
mod halver;
mod keep;
mod leaning;
mod masks;
mod rehearse;
mod sides;
mod slots;
mod store;
mod summary;
mod told;

pub use error::HalveError;
pub use fit::{Fit, Role};
pub use halver::{Half, Halver, Io};
pub use keep::{KEEPS, Keep};
pub use masks::Masks;
pub(crate) use rehearse::rounded;
pub(crate) use store::{refuses as store_refuses, store_these};
pub use summary::{Kept, Summary};
