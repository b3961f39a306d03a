//! Structure taken out of a model: channels, heads, units of a state, in every tensor that holds a part of them.
//!
//! A [`Cut`] says what remains of each tensor. Surgery makes the model that is left; a mask makes the model that
//! it must equal: the original, with zeros where something was summed over.

pub mod cut;
pub mod recover;

pub use cut::Cut;
pub use recover::{Recovered, Recovery, recover};
