//! `Split` of a `Concat` along the same axis, into the parts that were joined, is those parts.

use crate::ir::OpKind::{Concat, Split};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call};
use crate::rules::support::parts::{axis, operands, same_axis, size};

pub fn rule() -> Rule {
    let (split, concat) = (call("split"), call("concat"));
    let pattern = Split.any().on(Concat.any().bind(concat)).bind(split);
    Rule::new("drop-split-of-concat", Exactness::Bitwise, pattern, move |m| -> Result<Replacement, Skip> {
        let (split, concat) = (m.call(split), m.call(concat));
        applies(same_axis(&split, &concat))?;
        let along = axis(&split).ok_or(Skip::NotThis)?;
        let joined = operands(&concat).ok_or(Skip::NotThis)?;
        let parts: Vec<_> = m.graph().results(split.id()).to_vec();
        applies(parts.len() == joined.len())?;
        let mut pairs = Vec::new();
        for (slot, (part, &operand)) in parts.iter().zip(&joined).enumerate() {
            let sizes = (split.result_dims(slot).and_then(|d| d.get(along)), size(&concat, operand, along));
            applies(matches!(sizes, (Some(a), Some(b)) if a == b))?;
            if part.is_some_and(|v| !m.graph().value(v).users().is_empty()) {
                pairs.push((slot, Expr::Value(operand)));
            }
        }
        applies(!pairs.is_empty())?;
        Ok(Replacement::from_iter(pairs))
    })
    .even_if_shared()
}
