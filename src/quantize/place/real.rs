//! Results that no integers are made of.

use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, OpKind, ValueId};
use crate::ops::CallView;
use crate::target::Policy;
use crate::target::policy::Real;

/// Tensors that stay real by `policy`, each with the row that says so.
pub(super) fn find<'p>(
    graph: &Graph,
    policy: &'p Policy,
    opset: i64,
    order: &[NodeId],
) -> FxHashMap<ValueId, &'p Real> {
    let mut found: FxHashMap<ValueId, &'p Real> = FxHashMap::default();
    for real in policy.reals.iter().filter(|real| !real.sized || asks_for_sizes(graph)) {
        for &node in order {
            let call = CallView::new(graph, node);
            let op = call.node().op;
            let is_one = || real.ops.contains(&op) && real.when.fails(&call, opset).is_none();
            // Operands stand before what reads them: whole chains are walked in one go.
            let is_made_of_one = || real.through.contains(&op) && has_one_operand(&call, |v| found.contains_key(&v));
            if is_one() || is_made_of_one() {
                for &result in graph.results(node).iter().flatten() {
                    found.entry(result).or_insert(real);
                }
            }
        }
    }
    found
}

/// Whether one operand is computed, and `is_such`.
fn has_one_operand(call: &CallView<'_>, is_such: impl Fn(ValueId) -> bool) -> bool {
    let graph = call.graph();
    let mut computed = graph.operands(call.id()).flatten().filter(|&v| graph.constant(v).is_none());
    computed.next().is_some_and(is_such) && computed.next().is_none()
}

/// Whether a `Shape` or `Size` is left whose result only a run tells.
fn asks_for_sizes(graph: &Graph) -> bool {
    graph.nodes().any(|node| matches!(graph.node(node).op, OpKind::Shape | OpKind::Size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;
    use crate::passes::infer_declared;
    use crate::quantize::place::place;
    use crate::text;

    #[test]
    fn results_that_stay_real_get_no_integers_even_where_the_target_asks_for_them() {
        let mut model = text::parse(
            r#"<ir_version: 8, opset_import: ["": 17]>
            g (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[8,3,1,1] w, float[4,8,1,1] v> {
              [first] a = Conv(x, w)
              [cut] b = Relu(a)
              [last] y = Conv(b, v)
            }"#,
        )
        .unwrap();
        infer_declared(&mut model.graph);
        let own = r#"
            name = "npu"
            extends = "tflite"
            [[real]]
            rule = "NPU-1"
            ops = ["Conv"]
            when = { first_layer = true }
            through = ["Relu"]
            why = "it writes 16 bits"
        "#;
        let policy = Policy::parse("npu.toml", own).unwrap().policy;
        let plan = place(&model.graph, &policy, 17, &Choice::default()).unwrap();
        let named = |node| model.graph.node(node).name.to_string();
        assert_eq!(plan.weights.iter().map(|site| named(site.node)).collect::<Vec<_>>(), ["first"]);
        let kept: Vec<_> = plan.kept.iter().map(|k| (named(k.node), k.rule.clone(), k.why.clone())).collect();
        assert_eq!(kept, [("last".into(), "NPU-1".into(), "it writes 16 bits".into())]);
        let of = |site: &crate::quantize::Site| model.graph.value(site.value).name.to_string();
        assert_eq!(plan.sites.iter().map(of).collect::<Vec<_>>(), ["x"]);
    }
}
