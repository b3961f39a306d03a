//! `Mul` by a constant after an `RMSNormalization` or `LayerNormalization` with known parameters goes into these:
//! `k·(norm(x)·s + b)` is `norm(x)·(k·s) + k·b`, where k has one element or one per element of s.

use crate::ir::OpKind::{LayerNormalization, Mul, RMSNormalization};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call, constant};
use crate::rules::support::layout::innermost;
use crate::rules::support::numbers::combine;

pub fn rule() -> Rule {
    let (norm, k) = (call("norm"), constant("k"));
    let pattern = Mul.of((any_of(&[LayerNormalization, RMSNormalization]).bind(norm), k));
    Rule::new("fold-scale-into-norm", Exactness::Rounding, pattern, move |m| {
        let (graph, norm) = (m.graph(), m.call(norm));
        applies(graph.results(norm.id()).iter().skip(1).flatten().all(|&v| graph.value(v).users().is_empty()))?;
        let k = innermost(&m[k]);
        let scale = norm.constant(1).filter(|s| k.dims() == s.dims() || k.len() == 1).ok_or(Skip::NotThis)?;
        applies(m.root_shape().rank().is_some_and(|rank| m.root_shape().rank() == norm.rank(0) && k.rank() <= rank))?;
        let scaled = |parameter| combine(parameter, &k, scale.len(), |p, k| p * k).ok_or(Skip::NotThis);
        let mut operands: Vec<Expr> = vec![norm.operand(0).into(), scaled(scale)?.into()];
        if norm.has(2) {
            operands.push(scaled(norm.constant(2).ok_or(Skip::NotThis)?)?.into());
        }
        Ok(norm.node().op.emit(operands).like(norm))
    })
}
