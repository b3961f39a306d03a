//! Which tensors get integers.

use crate::ir::{Graph, OpKind, ScopeId};
use crate::ops::CallView;
use crate::quantize::{Grid, Plan, Readers, Site, WeightSite};

/// Integers for the operands of every weighted operator.
pub fn place(graph: &Graph) -> Plan {
    let mut plan = Plan::default();
    for node in graph.schedule(ScopeId::MAIN) {
        let op = graph.node(node).op;
        let call = CallView::new(graph, node);
        if !matches!(op, OpKind::Conv | OpKind::Gemm | OpKind::MatMul) || call.constant(1).is_none() {
            continue;
        }
        let Some(x) = call.operand(0).filter(|&x| graph.constant(x).is_none()) else { continue };
        let transposed = crate::ir::Key::new("transB", 0i64).of(call.node()) != 0;
        let axis = match op {
            OpKind::Conv => Some(0),
            OpKind::Gemm if transposed => Some(0),
            _ => call.rank(1).and_then(|r| r.checked_sub(1)),
        };
        plan.weights.push(WeightSite { node, slot: 1, axis, grid: Grid::I8, rule: "weights".into() });
        match plan.sites.iter_mut().find(|s| s.value == x) {
            Some(Site { readers: Readers::Some(readers), .. }) => readers.push((node, 0)),
            _ => plan.sites.push(Site {
                value: x,
                readers: Readers::Some(vec![(node, 0)]),
                grid: Grid::U8,
                group: plan.sites.len(),
                rule: "operands".into(),
            }),
        }
    }
    plan
}
