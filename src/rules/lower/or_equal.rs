//! `GreaterOrEqual(a, b)` is `Greater(a, b)` or `Equal(a, b)`; likewise `LessOrEqual`.

use crate::ir::OpKind::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or};
use crate::rewrite::{Exactness, Expr, Rule, any_of};

pub fn rule() -> Rule {
    Rule::new("lower-or-equal", Exactness::Bitwise, any_of(&[GreaterOrEqual, LessOrEqual]), |m| {
        let root = m.root();
        let strict = if root.node().op == GreaterOrEqual { Greater } else { Less };
        let operands = || [Expr::from(root.operand(0)), Expr::from(root.operand(1))];
        Ok(Or.emit([strict.emit(operands()), Equal.emit(operands())]).named_like(root))
    })
}
