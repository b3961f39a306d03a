//! Gaussian error linear units as exporters spell them. Runtimes look for that spelling when they load a model, and have
//! one kernel for it.

use crate::ir::OpKind::{Add, Erf, Mul, Tanh};
use crate::ir::{Graph, Tensor, ValueId};
use crate::ops::CallView;

/// Whether `x · k` ends such a unit: k is ½, and x is `y · (1 + Erf(…))` or `y · (1 + Tanh(…))`.
pub fn is_halved(graph: &Graph, x: ValueId, k: &Tensor) -> bool {
    let made_by = |value: Option<ValueId>| Some(CallView::new(graph, graph.producer(value?)?.0));
    let is_gate = |value: Option<ValueId>| {
        let Some(sum) = made_by(value).filter(|c| c.node().op == Add) else { return false };
        (0..2).any(|slot| {
            let is_one = sum.constant(slot).is_some_and(|t| t.uniform_real() == Some(1.0));
            is_one && made_by(sum.operand(1 - slot)).is_some_and(|c| matches!(c.node().op, Erf | Tanh))
        })
    };
    k.uniform_real() == Some(0.5)
        && made_by(Some(x)).is_some_and(|c| c.node().op == Mul && (0..2).any(|slot| is_gate(c.operand(slot))))
}
