//! `LSTM`, `GRU` and `RNN` start from zero when no initial state is given, so a state that is all zeros need not be.

use crate::ir::OpKind::{GRU, LSTM, RNN};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, any_of, applies, call};
use crate::rules::support::numbers::is_all;
use crate::rules::support::uniform::element;

pub fn rule() -> Rule {
    let network = call("network");
    let pattern = any_of(&[GRU, LSTM, RNN]).bind(network);
    Rule::new("drop-zero-state", Exactness::Bitwise, pattern, move |m| -> Result<Replacement, Skip> {
        let call = m.call(network);
        // Operand 5 is the hidden state, operand 6 the cell state of an LSTM.
        let zero = |slot: usize| {
            let state = call.operand(slot).filter(|_| slot == 5 || slot == 6 && call.node().op == LSTM);
            state.and_then(|state| element(m.graph(), state)).is_some_and(|t| is_all(&t, 0.0))
        };
        let operands: Vec<Expr> = (0..call.operand_count())
            .map(|slot| if zero(slot) { Expr::Absent } else { call.operand(slot).into() })
            .collect();
        let absent = operands.iter().filter(|e| matches!(e, Expr::Absent)).count();
        applies(absent > (0..call.operand_count()).filter(|&slot| !call.has(slot)).count())?;
        let results = m.graph().results(call.id());
        let made = call.node().op.emit(operands).like(call).results(results.len());
        Ok(made.into_iter().enumerate().filter(|(slot, _)| results[*slot].is_some()).collect())
    })
}
