//! An `LSTM`, `GRU` or `RNN` whose layout is batch first is one whose layout is sequence first between `Transpose`s.

use crate::ir::OpKind::{GRU, LSTM, RNN, Transpose};
use crate::ir::{Key, OpKind};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, any_of, applies};

const LAYOUT: Key<i64> = Key::new("layout", 0);

pub fn rule() -> Rule {
    Rule::new("lower-batch-first", Exactness::Bitwise, any_of(&[LSTM, GRU, RNN]), |m| {
        let root = m.root();
        applies(LAYOUT.of(root.node()) == 1)?;
        let swapped = |x: Expr| Transpose.emit([x]).with("perm", vec![1, 0, 2]);
        let is_batched = |slot: usize| slot == 0 || slot == 5 || slot == 6 && root.node().op == LSTM;
        let operands = (0..root.operand_count()).map(|slot| match root.operand(slot) {
            Some(value) if is_batched(slot) => swapped(value.into()),
            operand => operand.into(),
        });
        let count = m.graph().results(root.id()).len();
        let op: OpKind = root.node().op;
        let results = op.emit(operands).like(root).without("layout").results(count);
        let results = results.into_iter().enumerate().map(|(slot, result)| match slot {
            0 => (slot, Transpose.emit([result]).with("perm", vec![2, 0, 1, 3])),
            _ => (slot, swapped(result)),
        });
        let given = |slot: &usize| m.graph().result(root.id(), *slot).is_some();
        Ok(results.filter(|(slot, _)| given(slot)).collect::<Replacement>())
    })
}
