//! A multiple of `Elu` is `Selu`: `γ · Elu(x)`.
//!
//! Declines where the factor's shape would make the result larger than `x`, and where the result of `Elu` is also read
//! elsewhere.

use crate::ir::Key;
use crate::ir::OpKind::{Elu, Mul, Selu};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, require, var};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::formula::near;
use crate::rules::support::numbers::is_foldable_float;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    let (x, elu, gamma) = (var("x"), call("elu"), constant("gamma"));
    let pattern = Mul.of((Elu.of(x).bind(elu), gamma));
    Rule::new("fuse-selu", Exactness::Rounding, pattern, move |m| {
        let dtype = m.ty(x).dtype().filter(|d| is_foldable_float(*d)).ok_or(Skip::NotThis)?;
        let factor = m[gamma].real(0).and_then(|_| m[gamma].uniform_real()).ok_or(Skip::NotThis)?;
        // The attribute is of single precision.
        applies(factor > 0.0 && near(f64::from(factor as f32), factor, dtype))?;
        require(absorbs_constant(m.shape(x), &m[gamma]), "the constant may broadcast x to a larger shape")?;
        let alpha = ALPHA.of(m.call(elu).node());
        Ok(Selu.emit([m[x].into()]).with("alpha", alpha).with("gamma", factor as f32).named_like(m.root()))
    })
}
