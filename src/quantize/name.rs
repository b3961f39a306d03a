//! Names for tensors that have none: statistics, scales and reports are found by name.

use rustc_hash::FxHashSet;

use crate::ir::{Graph, Origin, ScopeId, ValueId};

/// Give every tensor of the main graph a name of its own. Those that files and people know keep theirs.
pub fn name_values(graph: &mut Graph) {
    let mut taken: FxHashSet<String> = FxHashSet::default();
    let values: Vec<ValueId> = graph.values().filter(|&v| graph.value(v).scope() == ScopeId::MAIN).collect();
    // An output's name and an input's are the interface.
    let (fixed, free): (Vec<ValueId>, Vec<ValueId>) =
        values.into_iter().partition(|&v| graph.value(v).origin() == Origin::Input || graph.is_output(v));
    for value in fixed {
        taken.insert(graph.value_label(value));
    }
    for value in free {
        let label = graph.value_label(value);
        if !label.is_empty() && taken.insert(label) {
            continue;
        }
        let stem = match graph.producer(value) {
            Some((node, slot)) => format!("{}_{}_{slot}", graph.node(node).op_name(), node.index()),
            None => format!("constant_{}", value.index()),
        };
        let name = (0..).map(|n| if n == 0 { stem.clone() } else { format!("{stem}_{n}") });
        let name = name.into_iter().find(|name| taken.insert(name.clone())).unwrap_or(stem);
        graph.value_mut(value).name = name.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn every_tensor_is_found_by_name() {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (float[2] y)
            { a = Relu(x)
              b = Neg(a)
              y = Add(a, b) }"#,
        )
        .unwrap();
        let g = &mut model.graph;
        let inner: Vec<ValueId> = g.values().filter(|&v| ["a", "b"].contains(&&*g.value_label(v))).collect();
        g.value_mut(inner[0]).name = "".into();
        g.value_mut(inner[1]).name = "x".into();
        name_values(g);
        let mut labels: Vec<String> = g.values().map(|v| g.value_label(v)).collect();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), g.values().count());
        assert!(labels.iter().all(|l| !l.is_empty()), "{labels:?}");
        assert!(["x", "y"].iter().all(|name| labels.iter().any(|l| l == name)));
    }
}
