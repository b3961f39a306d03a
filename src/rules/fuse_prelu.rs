//! `Relu(x) - slope · Relu(-x)` with a constant slope is `PRelu`; so is the sum with the negated slope.
//!
//! Declines where the slope's shape would make the result larger than `x`, and where a result on the way is also read
//! elsewhere.

use crate::ir::OpKind::{Add, PRelu};
use crate::rewrite::{Exactness, Rule, Skip, applies, constant, require, var};
use crate::rules::support::branch;
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::numbers::{is_foldable_float, mapped};

pub fn rule() -> Rule {
    let (x, slope) = (var("x"), constant("slope"));
    Rule::new("fuse-prelu", Exactness::Rounding, branch::halves(x, slope), move |m| {
        applies(m.ty(x).dtype().is_some_and(is_foldable_float))?;
        require(absorbs_constant(m.shape(x), &m[slope]), "the constant may broadcast x to a larger shape")?;
        // Before opset 7 a slope is one per channel.
        if m.opset() < 7 {
            return Err(Skip::NeedsOpset(7));
        }
        let slope = match m.root().node().op {
            Add => mapped(&m[slope], |_, s| -s).ok_or(Skip::NotThis)?.into(),
            _ => m.value_of(slope).into(),
        };
        Ok(PRelu.emit([m[x].into(), slope]).named_like(m.root()))
    })
}
