//! How rules work: patterns find, expressions replace, one engine edits.
//!
//! A rule is a pure function from match to expression. It cannot do surgery, so it cannot leave a dangling wire, rename
//! an output or change a weight that somebody else reads.

mod engine;
mod expr;
mod fuel;
mod growth;
mod limits;
mod pattern;
mod rule;
mod step;

pub use engine::{Settings, Unsettled, apply, apply_where};
pub use expr::{CONTRIB, Expr, Replacement, contrib, tensor};
pub use fuel::Fuel;
pub use growth::Growth;
pub(crate) use growth::NODE_BYTES;
pub use limits::Limits;
pub use pattern::{
    Call, Const, IntoPat, Match, Operands, OptConst, Pat, Var, any_of, call, constant, exactly, optional, var,
};
pub use rule::{Exactness, Rule, Skip, applies, require};
pub use step::Step;
