//! A `Where` within a `Where` of the same condition, or of the opposite one, is decided with it:
//! `Where(c, a, Where(¬c, b, x))` is `Where(c, a, b)`.
//!
//! Declines where the operand that goes may broadcast the result to a larger shape.

use crate::ir::OpKind::{Not, Where};
use crate::ir::{Graph, ValueId};
use crate::rewrite::{Exactness, Rule, Skip, require, var};
use crate::rules::support::broadcast::absorbs;

pub fn rule() -> Rule {
    let [c, a, d, b, x] = ["c", "a", "d", "b", "x"].map(var);
    let inner = || Where.of((d, b, x));
    let pattern = Where.of((c, a, inner())).or(Where.of((c, inner(), a)));
    Rule::new("merge-wheres", Exactness::Bitwise, pattern, move |m| {
        let graph = m.graph();
        let first = m.root().operand(1) != Some(m[a]);
        let same = match (m[c] == m[d], opposite(graph, m[c], m[d])) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => return Err(Skip::NotThis),
        };
        // Where the outer condition picks the inner choice, it holds, or it does not.
        let (kept, gone) = if same == first { (b, x) } else { (x, b) };
        let stays = |v: ValueId| graph.value(v).ty.shape();
        let absorbed = |v: ValueId| {
            let dims = stays(v).dims();
            dims.is_some_and(|dims| [m[c], m[a], m[kept]].into_iter().any(|other| absorbs(stays(other), dims)))
        };
        require(absorbed(m[gone]) && absorbed(m[d]), "an operand that goes may broadcast the result to a larger shape")?;
        let operands = if first { [m[c], m[kept], m[a]] } else { [m[c], m[a], m[kept]] };
        Ok(Where.emit(operands.map(Into::into)).like(m.root()))
    })
}

/// Whether one of two conditions surely holds wherever the other does not.
fn opposite(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let negates = |a: ValueId, b: ValueId| {
        graph.producer(a).is_some_and(|(n, _)| graph.node(n).op == Not && graph.operand(n, 0) == Some(b))
    };
    let known = || {
        let (a, b) = (graph.constant(a)?, graph.constant(b)?);
        let (x, y) = (a.bytes()?, b.bytes()?);
        Some(a.dims() == b.dims() && a.dtype() == b.dtype() && x.iter().zip(&y[..]).all(|(x, y)| (*x == 0) != (*y == 0)))
    };
    negates(a, b) || negates(b, a) || known() == Some(true)
}
