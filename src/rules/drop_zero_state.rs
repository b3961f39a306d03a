//! An initial state of zeros of `LSTM`, `GRU` or `RNN` is left out: zeros are what ONNX takes then.
//!
//! Exporters compute the zeros from the batch size at run time; a whole chain of shape arithmetic dies with them.

use crate::ir::OpKind::{
    ConstantOfShape, Expand, GRU, Identity, LSTM, RNN, Reshape, Slice, Squeeze, Transpose, Unsqueeze,
};
use crate::ir::{Attr, Graph, ValueId};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, any_of, applies};

/// Operand slots of the initial hidden state, and of an LSTM's initial cell state.
const STATES: [usize; 2] = [5, 6];

pub fn rule() -> Rule {
    Rule::new("drop-zero-state", Exactness::Bitwise, any_of(&[LSTM, GRU, RNN]), |m| {
        let root = m.root();
        let zero = |slot: usize| {
            STATES.contains(&slot) && root.operand(slot).is_some_and(|v| is_zero(m.graph(), v))
        };
        applies((0..root.operand_count()).any(zero))?;
        let operands =
            (0..root.operand_count()).map(|slot| if zero(slot) { Expr::Absent } else { root.operand(slot).into() });
        let count = m.graph().results(root.id()).len();
        let results = root.node().op.emit(operands).like(root).results(count);
        Ok(results.into_iter().enumerate().collect::<Replacement>())
    })
}

/// Views and cuts on the way to the zeros.
const MAX_STEPS: usize = 8;

/// Whether every element of `value` is surely a positive zero, whatever its size.
fn is_zero(graph: &Graph, mut value: ValueId) -> bool {
    for _ in 0..MAX_STEPS {
        if let Some(tensor) = graph.constant(value) {
            return tensor.uniform().is_some_and(|e| e.iter().all(|&b| b == 0));
        }
        let Some((node, 0)) = graph.producer(value) else { return false };
        match graph.node(node).op {
            ConstantOfShape => {
                return match graph.node(node).attr("value") {
                    None => true,
                    Some(Attr::Tensor(t)) => t.uniform().is_some_and(|e| e.iter().all(|&b| b == 0)),
                    Some(_) => false,
                };
            }
            Slice | Expand | Reshape | Squeeze | Unsqueeze | Transpose | Identity => {
                let Some(operand) = graph.operand(node, 0) else { return false };
                value = operand;
            }
            _ => return false,
        }
    }
    false
}
