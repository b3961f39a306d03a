//! `Where` with a known outcome is the branch taken: the condition is the same for all elements, or both branches are
//! one value.
//!
//! Declines where the condition or the other branch may broadcast the result to a larger shape.

use crate::ir::OpKind::Where;
use crate::rewrite::{Exactness, Rule, Skip, require, var};
use crate::rules::support::broadcast::absorbs;

pub fn rule() -> Rule {
    let (condition, yes, no) = (var("condition"), var("yes"), var("no"));
    Rule::new("drop-where", Exactness::Bitwise, Where.of((condition, yes, no)), move |m| {
        let known = m.graph().constant(m[condition]).and_then(|c| c.uniform_real());
        let (taken, other) = match known {
            _ if m[yes] == m[no] => (yes, no),
            Some(0.0) => (no, yes),
            Some(_) => (yes, no),
            None => return Err(Skip::NotThis),
        };
        let shape = m.shape(taken);
        let keeps = [other, condition].iter().all(|&v| m.shape(v).dims().is_some_and(|dims| absorbs(shape, dims)));
        let why = "the condition or the other branch may broadcast the result to a larger shape";
        require(keeps || shape.surely_equals(m.root_shape()), why)?;
        Ok(m[taken])
    })
}
