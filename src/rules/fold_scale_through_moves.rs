//! `Mul` or `Div` by a constant moves through `Transpose`, `Gather`, reshapes, the addition of a known bias and the
//! product of two computed matrices into the weight of a linear operator before them.
//!
//! `k·Tᵖ(x·W + b)` is `Tᵖ(x·(W·k′) + k′·b)`, where k′ is k with its axes where they come from. Into either factor of a
//! `MatMul`, only one number moves, and so it is through a `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze`, unless that
//! parts the last axis. Through a `Split`, k′ is 1 for the other parts. Through a rotary embedding, what is the same
//! along the last axis moves. So the scale of attention's scores becomes part of the weight that makes its queries or
//! keys.
//!
//! Declines where k may make `k·x` larger than `x`, where a result on the way is also read elsewhere, where a weight of
//! more than 64 KB is and would be stored twice, and where a folded weight would overflow its type.

use crate::ir::OpKind::{Add, Div, Gather, MatMul, Mul, Split, Transpose};
use crate::ir::{NodeId, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Match, Replacement, Rule, Skip, applies, constant, require, var};
use crate::rules::support::axes::permutation;
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::layout::{innermost, outermost, transposed};
use crate::rules::support::linear::{Affine, LINEAR, Linear};
use crate::rules::support::numbers::{combine, is_foldable_float};
use crate::rules::support::parts;
use crate::rules::support::rotary::Rotary;
use crate::rules::support::views::is_view;

/// How many moves are followed.
const LONGEST: usize = 8;

pub fn rule() -> Rule {
    let (x, k) = (var("x"), constant("k"));
    let pattern = Mul.of((x, k)).or(Div.of((x, k)));
    let name = "fold-scale-through-moves";
    Rule::new(name, Exactness::Rounding, pattern, move |m| -> Result<Replacement, Skip> {
        let root = m.root();
        applies(is_foldable_float(m[k].dtype()))?;
        require(keeps_shape(m, x, &m[k]), "the constant may broadcast x to a larger shape")?;
        // An operator that takes the factor up directly is the business of fold-scale.
        applies(Linear::read(producer(m, m[x])?).is_err())?;
        let mut parts = Vec::new();
        let scaled = into(m, &[root.id()], m[x], &m[k], LONGEST, &mut parts)?;
        let result = m.graph().result(root.id(), 0).ok_or(Skip::NotThis)?;
        Ok(Replacement::of_values(std::iter::once((result, scaled)).chain(parts)))
    })
}

/// The call that makes `value`, as its first result or as a part.
fn producer<'g>(m: &Match<'g>, value: ValueId) -> Result<CallView<'g>, Skip> {
    let (node, slot) = m.graph().producer(value).ok_or(Skip::NotThis)?;
    let call = CallView::new(m.graph(), node);
    applies(slot == 0 || call.node().op == Split)?;
    Ok(call)
}

/// `value`, which `readers` read, with the root's factor `k` moved into it. Of what is split on the way, the other
/// parts are among `others`.
fn into(
    m: &Match<'_>,
    readers: &[NodeId],
    value: ValueId,
    k: &Tensor,
    left: usize,
    others: &mut Vec<(ValueId, Expr)>,
) -> Result<Expr, Skip> {
    let call = producer(m, value)?;
    let on = |slot: usize, new: Expr| {
        let operands = (0..call.operand_count()).map(|s| if s == slot { new.clone() } else { call.operand(s).into() });
        call.node().op.emit(operands).like(call)
    };
    let mut beyond = |readers: &[NodeId], value: ValueId, k: &Tensor| {
        let before = others.len();
        let found = into(m, readers, value, k, left.checked_sub(1).ok_or(Skip::NotThis)?, others);
        others.truncate(if found.is_ok() { others.len() } else { before });
        found
    };
    let mut further = |slot: usize, k: &Tensor| beyond(&[call.id()], call.operand(slot).ok_or(Skip::NotThis)?, k);
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
            match further(0, &k) {
                Ok(found) => on(0, found),
                Err(Skip::NotThis) => on(1, further(1, &k)?),
                Err(why) => on(1, further(1, &k).map_err(|_| why)?),
            }
        }
        Split => {
            let k = of_parts(&call, value, k).ok_or(Skip::NotThis)?;
            let whole = further(0, &k)?;
            let rest = (1..call.operand_count()).map(|slot| call.operand(slot).into());
            let results = m.graph().results(call.id());
            let split = Split.emit(std::iter::once(whole).chain(rest)).like(call);
            let mut found = Err(Skip::NotThis);
            for (part, new) in results.iter().zip(split.results(results.len())) {
                match *part {
                    Some(part) if part == value => found = Ok(new),
                    Some(part) => others.push((part, new)),
                    None => {}
                }
            }
            found?
        }
        // What is picked is scaled as what is left, which nobody reads.
        Gather if k.len() == 1 => on(0, further(0, &k.reshaped(&[]).map_err(|_| Skip::NotThis)?)?),
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
        Add if call.constant(0).or(call.constant(1)).is_none() => {
            let rotary = Rotary::of(&call)?;
            applies(k.dims().last().is_none_or(|&last| last == 1))?;
            let size = m.graph().value(rotary.x).ty.shape().dims().and_then(|d| d.last()?.known());
            let x = beyond(&rotary.readers, rotary.x, k)?;
            rotary.of_another(m.graph(), x, size.ok_or(Skip::NotThis)?, false).ok_or(Skip::NotThis)?
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
            let k = match k.len() {
                1 => k.reshaped(&[]).ok(),
                _ => along_last(&call, k),
            };
            on(0, further(0, &k.ok_or(Skip::NotThis)?)?)
        }
        _ => return Err(Skip::NotThis),
    };
    // Said only of what would have been found, had nobody else read it.
    let reads = |user: &User| matches!(user, User::Node(n, _) if readers.contains(n));
    let here = readers.iter().all(|&n| m.graph().node(n).scope() == call.node().scope());
    let alone = here && m.graph().value(value).users().iter().all(reads);
    if alone { Ok(found) } else { Err(Skip::InnerResultShared) }
}

/// `k` for what `split` parts, where `value` is the part that `k` is for: 1 for the others. It may differ along the
/// axis.
fn of_parts(split: &CallView<'_>, value: ValueId, k: &Tensor) -> Option<Tensor> {
    let (axis, rank) = (parts::axis(split)?, split.rank(0)?);
    let k = if k.len() == 1 { k.reshaped(&[]).ok()? } else { k.clone() };
    let along = outermost(&k, rank)?;
    if along.dims().iter().enumerate().any(|(at, &d)| d != 1 && at != axis) {
        return None;
    }
    let numbers = along.reals()?;
    let mut factors = Vec::new();
    for (slot, part) in split.graph().results(split.id()).iter().enumerate() {
        let size = usize::try_from(split.result_dims(slot)?.get(axis)?.known()?).ok()?;
        if factors.len() + size > MOST {
            return None;
        }
        match &numbers[..] {
            _ if *part != Some(value) => factors.resize(factors.len() + size, 1.0),
            [one] => factors.resize(factors.len() + size, *one),
            each if each.len() == size => factors.extend(each),
            _ => return None,
        }
    }
    let behind = rank.checked_sub(axis + 1)?;
    let dims: Vec<usize> = std::iter::once(factors.len()).chain(std::iter::repeat_n(1, behind)).collect();
    Tensor::rounded(k.dtype(), &dims, &factors).ok()
}

/// `k` for the operand of a view that parts its last axis, whatever it makes of the others.
fn along_last(view: &CallView<'_>, k: &Tensor) -> Option<Tensor> {
    let (from, to) = (view.dims(0)?, view.result_dims(0)?);
    let width = usize::try_from(from.last()?.known()?).ok().filter(|&width| width <= MOST)?;
    // The last axes of the result that the operand's last one became.
    let mut sizes: Vec<usize> = Vec::new();
    let mut product = 1usize;
    for dim in to.iter().rev() {
        if product == width {
            break;
        }
        let size = usize::try_from(dim.known()?).ok()?;
        product = product.checked_mul(size)?;
        sizes.insert(0, size);
    }
    let k = innermost(k);
    let fits = k.rank() <= sizes.len() && product == width;
    let ones = Tensor::rounded(k.dtype(), &sizes, &vec![1.0; width]).ok().filter(|_| fits)?;
    combine(&k, &ones, width, |k, one| k * one)?.reshaped(&[width]).ok()
}

/// How many factors are written down.
const MOST: usize = 1 << 16;
