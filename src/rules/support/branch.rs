//! Functions of two branches: one where a value is positive, another where it is not.

use crate::ir::OpKind::{Greater, GreaterOrEqual, Less, LessOrEqual, Neg, Relu, Where};
use crate::rewrite::{Const, IntoPat, Pat, Var, exactly};

/// `Where` that gives `above` where `x` is positive and `below` where it is negative; at zero, either, so they must be
/// equal there.
pub fn positive(x: Var, above: impl IntoPat, below: impl IntoPat) -> Pat {
    let (above, below) = (above.pat(), below.pat());
    let zero = || exactly(0.0);
    let greater = Greater.of((x, zero())).or(GreaterOrEqual.of((x, zero())));
    let greater = greater.or(Less.of((zero(), x))).or(LessOrEqual.of((zero(), x)));
    let less = Less.of((x, zero())).or(LessOrEqual.of((x, zero())));
    let less = less.or(Greater.of((zero(), x))).or(GreaterOrEqual.of((zero(), x)));
    Where.of((greater, above.clone(), below.clone())).or(Where.of((less, below, above)))
}

/// `Relu(x)` and a multiple of `Relu(-x)`, subtracted or, where the root is `Add`, added.
pub fn halves(x: Var, slope: Const) -> Pat {
    let negative = || Relu.of(Neg.of(x)).pat();
    let scaled = || crate::ir::OpKind::Mul.of((negative(), slope));
    (Relu.of(x) - scaled()).or(Relu.of(x) + scaled())
}
