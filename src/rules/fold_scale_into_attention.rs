//! `Mul` or `Div` of an `Attention`'s queries or keys by one number is the `Attention` with another `scale`.
//!
//! Declines where the scale would not be positive.

use crate::ir::OpKind::{Attention, Div, Mul};
use crate::ir::{Key, ValueId};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call, require, var};
use crate::rules::support::attention::scaled;

const SCALE: Key<f32> = Key::new("scale", 0.0);

pub fn rule() -> Rule {
    let (attention, by, queries) = (call("attention"), call("by"), var("queries"));
    let on_queries = Attention.any().on(any_of(&[Mul, Div]).bind(by)).bind(attention);
    let on_keys = Attention.any().on((queries, any_of(&[Mul, Div]).bind(by))).bind(attention);
    Rule::new("fold-scale-into-attention", Exactness::Rounding, on_queries.or(on_keys), move |m| {
        let (attention, by) = (m.call(attention), m.call(by));
        // Cached keys are not scaled, and keys that are handed on are.
        applies(!attention.has(4) && attention.node().attr("scale").is_some())?;
        let results = m.graph().results(attention.id());
        applies(results.iter().skip(1).flatten().all(|&v| m.graph().value(v).users().is_empty()))?;
        let (x, k) = scaled(&by).ok_or(Skip::NotThis)?;
        let scale = (f64::from(SCALE.of(attention.node())) * k) as f32;
        require(scale.is_normal() && scale > 0.0, "the scale is not positive")?;
        let scaled: Option<ValueId> = m.graph().result(by.id(), 0);
        let slot = usize::from(attention.operand(0) != scaled);
        let operand = |s: usize| -> Expr { if s == slot { x.into() } else { attention.operand(s).into() } };
        Ok(Attention.emit((0..attention.operand_count()).map(operand)).like(attention).with("scale", scale))
    })
    .even_if_shared()
}
