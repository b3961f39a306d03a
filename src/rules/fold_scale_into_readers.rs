//! `Mul` or `Div` by a constant whose result is read by several linear operators with known weights, and by nobody
//! else, moves into all of the weights: `W·(k·x)` and `V·(k·x)` are `(W·k)·x` and `(V·k)·x`.
//!
//! k has one element or one per input channel. Declines where k may make `k·x` larger than `x`, where a weight of more
//! than 64 KB is also read elsewhere and would be stored twice, and where a folded weight would overflow its type. The half that ends a Gaussian
//! error unit stays: runtimes know it by that, and are faster then.

use crate::ir::OpKind::{Conv, Div, Gemm, MatMul, Mul};
use crate::ir::User;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Replacement, Rule, Skip, applies, constant, require, var};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::gaussian::is_halved;
use crate::rules::support::linear::{Affine, Linear};

/// How many readers are looked at.
const MOST: usize = 8;

pub fn rule() -> Rule {
    let (x, k) = (var("x"), constant("k"));
    let pattern = Mul.of((x, k)).or(Div.of((x, k)));
    let name = "fold-scale-into-readers";
    Rule::new(name, Exactness::Rounding, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, root) = (m.graph(), m.root());
        let scaled = graph.result(root.id(), 0).ok_or(Skip::NotThis)?;
        let users = graph.value(scaled).users();
        applies((2..=MOST).contains(&users.len()))?;
        let mut pairs = Vec::with_capacity(users.len());
        for user in users {
            let &User::Node(node, 0) = user else { return Err(Skip::NotThis) };
            let reader = CallView::new(graph, node);
            let here = reader.node().scope() == root.node().scope();
            applies(here && [Conv, Gemm, MatMul].contains(&reader.node().op))?;
            let linear = Linear::read(reader)?;
            require(!is_halved(m.graph(), m[x], &m[k]), "runtimes know a Gaussian error unit by its half")?;
            require(absorbs_constant(m.shape(x), &m[k]), "the constant may broadcast x to a larger shape")?;
            let factors = linear.per_input_channel(&m[k]).ok_or(Skip::NotThis)?;
            let folded = linear.before(m, m[x], &Affine::of_product(root, factors)?)?;
            pairs.push((graph.result(node, 0).ok_or(Skip::NotThis)?, folded));
        }
        Ok(Replacement::of_values(pairs))
    })
}
