//! `Mul` or `Div` by a constant moves through `Transpose`, reshapes, the addition of a known bias and the product of two
//! computed matrices into the weight of a linear operator before them.
//!
//! `k·Tᵖ(x·W + b)` is `Tᵖ(x·(W·k′) + k′·b)`, where k′ is k with its axes where they come from. Through a `Reshape`,
//! `Flatten`, `Squeeze` or `Unsqueeze`, and into either factor of a `MatMul`, only one number moves: so the scale of
//! attention's scores becomes part of the weight that makes its queries or keys.
//!
//! Declines where k may make `k·x` larger than `x`, where a result on the way is also read elsewhere, where a weight of
//! more than 64 KB is and would be stored twice, and where a folded weight would overflow its type.

use crate::ir::OpKind::{Add, Div, MatMul, Mul, Transpose};
use crate::ir::{Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Match, Rule, Skip, applies, constant, require, var};
use crate::rules::support::axes::permutation;
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::layout::{innermost, outermost, transposed};
use crate::rules::support::linear::{Affine, LINEAR, Linear};
use crate::rules::support::numbers::{combine, is_foldable_float};
use crate::rules::support::readers::only_read_by;
use crate::rules::support::views::is_view;

/// How many moves are followed.
const LONGEST: usize = 8;

pub fn rule() -> Rule {
    let (x, k) = (var("x"), constant("k"));
    let pattern = Mul.of((x, k)).or(Div.of((x, k)));
    Rule::new("fold-scale-through-moves", Exactness::Rounding, pattern, move |m| {
        let root = m.root();
        applies(is_foldable_float(m[k].dtype()))?;
        require(keeps_shape(m, x, &m[k]), "the constant may broadcast x to a larger shape")?;
        // An operator that takes the factor up directly is the business of fold-scale.
        applies(Linear::read(producer(m, m[x])?).is_err())?;
        into(m, root, m[x], &m[k], LONGEST)
    })
}

fn producer<'g>(m: &Match<'g>, value: ValueId) -> Result<CallView<'g>, Skip> {
    let (node, slot) = m.graph().producer(value).ok_or(Skip::NotThis)?;
    applies(slot == 0)?;
    Ok(CallView::new(m.graph(), node))
}

/// `value`, which `reader` reads, with the root's factor `k` moved into it.
fn into(m: &Match<'_>, reader: CallView<'_>, value: ValueId, k: &Tensor, left: usize) -> Result<Expr, Skip> {
    let call = producer(m, value)?;
    let on = |slot: usize, new: Expr| {
        let operands = (0..call.operand_count()).map(|s| if s == slot { new.clone() } else { call.operand(s).into() });
        call.node().op.emit(operands).like(call)
    };
    let further = |slot: usize, k: &Tensor| {
        let value = call.operand(slot).ok_or(Skip::NotThis)?;
        into(m, call, value, k, left.checked_sub(1).ok_or(Skip::NotThis)?)
    };
    let found = match call.node().op {
        op if LINEAR.contains(&op) && (op != MatMul || Linear::read(call).is_ok()) => {
            let linear = Linear::read(call)?;
            let factors = linear.per_channel(k).ok_or(Skip::NotThis)?;
            linear.then(m, &Affine::of_product(m.root(), factors)?)?
        }
        MatMul => {
            applies(k.len() == 1 && call.operand(0) != call.operand(1))?;
            let k = k.reshaped(&[]).map_err(|_| Skip::NotThis)?;
            // Where neither factor takes it up, the more telling reason is given.
            let (left, right) = (further(0, &k).map(|a| on(0, a)), || further(1, &k).map(|b| on(1, b)));
            match left {
                Ok(found) => found,
                Err(Skip::NotThis) => right()?,
                Err(why) => right().map_err(|_| why)?,
            }
        }
        Transpose if k.len() == 1 => on(0, further(0, k)?),
        Transpose => {
            let perm = permutation(&call).ok_or(Skip::NotThis)?;
            let mut back = vec![0; perm.len()];
            for (to, &from) in perm.iter().enumerate() {
                back[from] = to;
            }
            let k = outermost(k, perm.len()).and_then(|k| transposed(&k, &back)).ok_or(Skip::NotThis)?;
            on(0, further(0, &k)?)
        }
        Add => {
            let slot = usize::from(call.constant(0).is_some());
            let bias = call.constant(1 - slot).ok_or(Skip::NotThis)?;
            let limit = bias.len().max(k.len());
            let divides = m.root().node().op == Div;
            let f = |b: f64, k: f64| if divides { b / k } else { b * k };
            let bias = combine(bias, k, limit, f).ok_or(Skip::NotThis)?;
            let bias = innermost(&bias);
            let sum = [further(slot, k)?, bias.into()];
            Add.emit(sum).like(call)
        }
        _ if is_view(&call) => {
            applies(k.len() == 1)?;
            let k = k.reshaped(&[]).map_err(|_| Skip::NotThis)?;
            on(0, further(0, &k)?)
        }
        _ => return Err(Skip::NotThis),
    };
    // Said only of what would have been found, had nobody else read it.
    if only_read_by(m.graph(), value, reader.id()) { Ok(found) } else { Err(Skip::InnerResultShared) }
}
