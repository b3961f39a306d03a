//! Structure taken out of a model: channels, heads, units of a state, in every tensor that holds a part of them.
//!
//! ```text
//! Model ─ colour (ties of each call) ─▶ classes ─▶ Groups ─ importance, budget ─▶ Cut ─ surgery ─▶ smaller Model ─ recover ─▶
//!                                                                  └─ mask ─▶ what it must equal
//! ```
//!
//! A class is what can only be removed together: all slices, of all tensors, that some chain of calls ties to one index.
//! A [`Cut`] says what remains of each tensor. [`surgery`] makes the model that is left; [`mask`] makes the model that it
//! must equal: the original, with zeros where something was summed over.

pub mod account;
pub mod atoms;
mod balance;
pub mod budget;
mod call;
pub mod colour;
pub mod cut;
mod error;
pub mod groups;
pub mod importance;
pub mod mask;
mod meter;
mod pruner;
pub mod recover;
mod roles;
mod summary;
pub mod surgery;
pub mod untie;
pub mod view;
mod work;

pub use account::{GroupAccount, StopAccount, accounts, stops};
pub use budget::{Allocation, Budget, Rules, allocate};
pub use colour::{Axis, Choices, Class, Colouring, Factor, Grouped};
pub use cut::Cut;
pub use error::PruneError;
pub use groups::{Group, Groups, Member, Sink};
pub use importance::{Criterion, Ranker, Ranking, by_weights, rank};
pub use mask::masked;
pub use meter::Measure;
pub use pruner::Pruner;
pub use recover::{Recovered, Recovery, recover};
pub use summary::{Pruned, Summary};
pub use surgery::{Refused, apply};
pub use untie::untie;
