//! Of two reshapes around a `MatMul` by a known matrix, and the `Add` of a bias behind it, one is enough: rows are
//! multiplied one by one, whatever axes they are counted along.
//!
//! Either the first gives the axes that the second would restore, or the second parts what the first would have joined.

use crate::ir::OpKind::{Add, MatMul, Reshape};
use crate::ir::{Int, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::readers::only_read_by;
use crate::rules::support::views::{VIEWS, is_view, target, view_of};

pub fn rule() -> Rule {
    let outer = call("outer");
    Rule::new("merge-views-around-matmul", Exactness::Rounding, any_of(VIEWS).bind(outer), move |m| {
        let (graph, outer) = (m.graph(), m.call(outer));
        applies(is_view(&outer))?;
        let made = |value| graph.producer(value).map(|(node, _)| CallView::new(graph, node)).ok_or(Skip::NotThis);
        let mut between = outer.operand(0).ok_or(Skip::NotThis)?;
        let mut shared = !only_read_by(graph, between, outer.id());
        let mut product = made(between)?;
        let mut sum = None;
        if product.node().op == Add {
            let slot = usize::from(product.constant(0).is_some());
            let bias = product.operand(1 - slot).filter(|_| product.constant(1 - slot).is_some_and(is_row));
            sum = Some((product, bias.ok_or(Skip::NotThis)?));
            between = product.operand(slot).ok_or(Skip::NotThis)?;
            shared |= !only_read_by(graph, between, product.id());
            product = made(between)?;
        }
        applies(product.node().op == MatMul && product.rank(0).is_some_and(|rank| rank > 2))?;
        let weight = product.constant(1).filter(|w| w.rank() == 2).ok_or(Skip::NotThis)?;
        let rows = product.operand(0).ok_or(Skip::NotThis)?;
        let inner = view_of(graph, rows).ok_or(Skip::NotThis)?;
        let [inputs, outputs] = [weight.dims()[0], weight.dims()[1]].map(Int::from);
        let (from, to) = (inner.dims(0).ok_or(Skip::NotThis)?, m.root_shape().dims().ok_or(Skip::NotThis)?);
        let multiplied = |x: Expr| {
            let product = MatMul.emit([x, product.operand(1).into()]).named_like(product);
            match sum {
                Some((sum, bias)) => Add.emit([product, bias.into()]).named_like(sum),
                None => product,
            }
        };
        let x: Expr = inner.operand(0).into();
        let result = match (from.split_last(), to.split_last()) {
            (_, Some((last, lead))) if *last == outputs && !lead.is_empty() => {
                let before: Vec<Int> = lead.iter().cloned().chain([inputs]).collect();
                let x = match from == before {
                    true => x,
                    false => Reshape.emit([x, target(Some(from), &before).ok_or(Skip::NotThis)?.into()]).named_like(inner),
                };
                multiplied(x)
            }
            (Some((last, lead)), _) if *last == inputs && !lead.is_empty() => {
                let after: Vec<Int> = lead.iter().cloned().chain([outputs]).collect();
                let target = target(Some(&after), to).ok_or(Skip::NotThis)?;
                Reshape.emit([multiplied(x), target.into()]).named_like(outer)
            }
            _ => return Err(Skip::NotThis),
        };
        // Said only of what would have been merged, had nobody else read it.
        if shared || !only_read_by(graph, rows, product.id()) { Err(Skip::InnerResultShared) } else { Ok(result) }
    })
}

/// Whether a bias is added to each row alike.
fn is_row(bias: &Tensor) -> bool {
    bias.rank() <= 1
}
