//! `Split` into parts that all go through the same operator is that operator and then `Split`: `f(xᵢ)` for every part
//! `xᵢ` is one `f(x)`, parted.
//!
//! For element-wise operators of one operand with the same attributes, where each part is read once.

use crate::ir::OpKind::{Custom, Split};
use crate::ir::{User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call};
use crate::rules::support::elementwise::carrier;

pub fn rule() -> Rule {
    let split = call("split");
    let name = "move-split-behind";
    Rule::new(name, Exactness::Bitwise, Split.any().bind(split), move |m| -> Result<Replacement, Skip> {
        let (graph, split) = (m.graph(), m.call(split));
        let parts: Option<Vec<ValueId>> = graph.results(split.id()).iter().copied().collect();
        let parts = parts.filter(|p| p.len() > 1).ok_or(Skip::NotThis)?;
        let mut readers = Vec::with_capacity(parts.len());
        for &part in &parts {
            let &[User::Node(node, 0)] = graph.value(part).users() else { return Err(Skip::NotThis) };
            readers.push(CallView::new(graph, node));
        }
        let first = readers[0];
        let attrs = |call: &CallView<'_>| {
            let mut attrs = call.node().attrs().to_vec();
            attrs.sort_by(|a, b| a.0.cmp(&b.0));
            attrs
        };
        let alike = |call: &CallView<'_>| {
            let same = call.node().op == first.node().op && attrs(call) == attrs(&first);
            let here = call.node().scope() == split.node().scope();
            same && here && call.operand_count() == 1 && carrier(call, |_| false) == Some(0)
        };
        applies(first.node().op != Custom && readers.iter().all(alike))?;
        let f = first.node().op.emit([split.operand(0).into()]).like(first);
        let rest = (1..split.operand_count()).map(|slot| split.operand(slot).into());
        let parted = Split.emit(std::iter::once(f).chain(rest)).like(split).results(parts.len());
        let results: Option<Vec<ValueId>> = readers.iter().map(|call| graph.result(call.id(), 0)).collect();
        let pairs: Vec<(ValueId, Expr)> = results.ok_or(Skip::NotThis)?.into_iter().zip(parted).collect();
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}
