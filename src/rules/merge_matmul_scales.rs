//! Both factors of a `MatMul` scaled by one number each is one factor scaled by both: `(a·x)·(b·y)` is `((a·b)·x)·y`.
//!
//! Attention is exported so, with the root of its scale on either side. Declines where the product of the two numbers
//! overflows or vanishes.

use crate::ir::OpKind::{Div, MatMul, Mul};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, require, var};
use crate::rules::support::numbers::{finite, is_foldable_float, smallest};

pub fn rule() -> Rule {
    let (x, a, y, b) = (var("x"), constant("a"), var("y"), constant("b"));
    let (left, right, product) = (call("left"), call("right"), call("product"));
    let first = Mul.of((x, a)).bind(left).or(Div.of((x, a)).bind(left));
    let second = Mul.of((y, b)).bind(right).or(Div.of((y, b)).bind(right));
    let pattern = MatMul.of((first, second)).bind(product);
    Rule::new("merge-matmul-scales", Exactness::Rounding, pattern, move |m| {
        let (left, right, dtype) = (m.call(left), m.call(right), m[a].dtype());
        applies(is_foldable_float(dtype))?;
        // A number does not widen the axes of what it scales.
        let narrow = |rank: Option<usize>, t: usize| t == 0 || rank.is_some_and(|rank| t <= rank);
        applies(narrow(m.shape(x).rank(), m[a].rank()) && narrow(m.shape(y).rank(), m[b].rank()))?;
        let factor = |op, k: f64| if op == Div { 1.0 / k } else { k };
        let (a, b) = (m[a].item().ok_or(Skip::NotThis)?, m[b].item().ok_or(Skip::NotThis)?);
        let scale = factor(left.node().op, a) * factor(right.node().op, b);
        let held = finite(dtype, &[], &[scale]).filter(|_| scale.abs() >= smallest(dtype));
        require(held.is_some(), "the product of the two numbers overflows or vanishes")?;
        let scaled = Mul.emit([m[x].into(), held.ok_or(Skip::NotThis)?.into()]).named_like(left);
        Ok(MatMul.emit([scaled, m[y].into()]).named_like(m.call(product)))
    })
}
