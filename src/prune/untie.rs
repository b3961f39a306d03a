//! Constants that only look shared.

use crate::ir::{Graph, ScopeId, User};

/// Give every reader of a constant of one axis a constant of its own.
///
/// Tools store equal constants once: the zero biases of many layers are then one tensor, which would tie the channels of
/// all of these layers. Weights that are read twice stay one: they may have been trained as one.
pub fn untie(graph: &mut Graph) {
    let shared: Vec<_> = graph
        .values()
        .filter(|&v| graph.value(v).scope() == ScopeId::MAIN && graph.value(v).users().len() > 1)
        .filter_map(|v| Some((v, graph.constant(v).filter(|t| t.rank() == 1 && t.len() > 1)?.clone())))
        .collect();
    for (value, tensor) in shared {
        let mut users = graph.value(value).users().to_vec();
        users.sort_unstable_by_key(|user| match *user {
            User::Node(node, slot) => (0, node.index(), slot),
            User::Output(scope, index) => (1, usize::MAX, index.saturating_add(usize::from(scope != ScopeId::MAIN))),
        });
        for user in users.into_iter().skip(1) {
            if let User::Node(node, _) = user
                && graph.node(node).scope() == ScopeId::MAIN
            {
                let name = graph.value(value).name.clone();
                let own = graph.add_constant(ScopeId::MAIN, &name, tensor.clone());
                graph.replace_use(user, own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn biases_that_are_equal_are_not_one() {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,2] x) => (float[1,2] y) <float[2] b = {0, 0}, float[2,2] w = {1, 2, 3, 4}>
            { p = MatMul(x, w)  q = Add(p, b)  r = MatMul(q, w)  y = Add(r, b) }"#,
        )
        .unwrap();
        untie(&mut model.graph);
        let constants = |rank| {
            let g = &model.graph;
            g.values().filter(|&v| g.constant(v).is_some_and(|t| t.rank() == rank)).count()
        };
        assert_eq!((constants(1), constants(2)), (2, 1));
    }
}
