//! What a runtime cannot run or runs badly, a row each.

use crate::ir::{DType, Node, OpKind};
use crate::ops::{CallView, schema};

/// One thing that a runtime cannot do, or does badly.
#[derive(Clone, Copy)]
pub struct Limit {
    /// What the report calls it: `TRT-T12`.
    pub rule: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// It holds of models of this opset or a newer one,
    pub from_opset: i64,
    /// up to this one.
    pub to_opset: i64,
    /// Of which of these calls it holds.
    pub when: fn(&CallView<'_>) -> bool,
    /// What becomes of them.
    pub effect: Effect,
    /// The reason, as a sentence about the operator or the value.
    pub why: &'static str,
    /// What to do, in the imperative.
    pub advice: &'static str,
}

/// What a [`Limit`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Calls of these operators of the default domain.
    Calls(&'static [OpKind]),
    /// Calls of operators of other domains than the default one and these.
    Foreign(&'static [&'static str]),
    /// Calls of the default domain that no version of ONNX has an operator for, but for these, which the runtime has.
    NoSuch(&'static [&'static str]),
    /// Calls that read or make a value of one of these element types, and inputs of such a type.
    Types(&'static [DType]),
    /// Calls that read or make a value of one of these element types.
    Inner(&'static [DType]),
    /// Inputs of the model with a size that only a run tells.
    OpenInputs,
}

/// What becomes of a call that a [`Limit`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The runtime refuses the model, or computes something else.
    Unsupported,
    /// It runs, but slower or with more to set up than another form.
    Warning,
}

impl Limit {
    /// No call of `ops` can be run.
    pub const fn lacks(rule: &'static str, ops: &'static [OpKind], why: &'static str, advice: &'static str) -> Limit {
        Limit::about(rule, Subject::Calls(ops), why, advice)
    }

    /// Nothing that `subject` names can be run.
    pub const fn about(rule: &'static str, subject: Subject, why: &'static str, advice: &'static str) -> Limit {
        Limit {
            rule,
            subject,
            from_opset: 0,
            to_opset: i64::MAX,
            when: |_| true,
            effect: Effect::Unsupported,
            why,
            advice,
        }
    }

    /// Only calls of which `when` holds.
    #[must_use]
    pub const fn when(self, when: fn(&CallView<'_>) -> bool) -> Limit {
        Limit { when, ..self }
    }

    /// Only in models of this opset or a newer one.
    #[must_use]
    pub const fn from(self, from_opset: i64) -> Limit {
        Limit { from_opset, ..self }
    }

    /// Only in models of this opset or an older one.
    #[must_use]
    pub const fn to(self, to_opset: i64) -> Limit {
        Limit { to_opset, ..self }
    }

    /// What it is about runs, but badly.
    #[must_use]
    pub const fn warns(self) -> Limit {
        Limit { effect: Effect::Warning, ..self }
    }

    /// Whether it holds of this call in a model of `opset`.
    pub fn holds(&self, call: &CallView<'_>, opset: i64) -> bool {
        let about = match self.subject {
            Subject::Calls(ops) => op_of(call.node()).is_some_and(|op| ops.contains(&op)),
            Subject::Foreign(known) => {
                let domain = call.node().domain();
                !is_default(domain) && !known.contains(&domain)
            }
            Subject::NoSuch(known) => {
                let (domain, name) = (call.node().domain(), call.node().op_name());
                is_default(domain) && schema::versions("", name).is_empty() && !known.contains(&name)
            }
            Subject::Types(types) | Subject::Inner(types) => touches(call, types),
            Subject::OpenInputs => false,
        };
        about && (self.from_opset..=self.to_opset).contains(&opset) && (self.when)(call)
    }

    /// Whether the call cannot be run in a model of `opset`, for the operator that it is and how it is called.
    pub fn lacks_call(&self, call: &CallView<'_>, opset: i64) -> bool {
        self.effect == Effect::Unsupported
            && !matches!(self.subject, Subject::Types(_) | Subject::Inner(_))
            && self.holds(call, opset)
    }
}

/// The operator of the default domain that a node calls, also in a spelling that the graph has no other form of.
fn op_of(node: &Node) -> Option<OpKind> {
    match node.op {
        OpKind::Custom if is_default(node.domain()) => OpKind::from_name(node.op_name()),
        OpKind::Custom => None,
        op => Some(op),
    }
}

fn is_default(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Whether the call reads or makes a value of one of these types.
fn touches(call: &CallView<'_>, types: &[DType]) -> bool {
    let is = |dtype: Option<DType>| dtype.is_some_and(|t| types.contains(&t));
    let results = call.graph().results(call.id()).len();
    (0..call.operand_count()).any(|slot| is(call.dtype(slot)))
        || (0..results).any(|slot| is(call.result_ty(slot).and_then(|ty| ty.dtype())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Graph, ScopeId, Shape, Type};

    fn holds(limit: Limit, op: OpKind, dtype: DType, opset: i64) -> bool {
        let mut graph = Graph::default();
        let x = graph.add_input(ScopeId::MAIN, "x", Type::tensor(dtype, Shape::known(&[2])));
        let node = graph.add_node(ScopeId::MAIN, op, &[Some(x)], 1, 0);
        limit.holds(&CallView::new(&graph, node), opset)
    }

    #[test]
    fn a_row_is_about_operators_types_and_opsets() {
        let row = Limit::lacks("X-1", &[OpKind::Erf], "it is not there", "do without");
        assert!(holds(row, OpKind::Erf, DType::F32, 1) && !holds(row, OpKind::Tanh, DType::F32, 1));
        assert!(!holds(row.from(22), OpKind::Erf, DType::F32, 21) && holds(row.from(22), OpKind::Erf, DType::F32, 22));
        let middle = row.from(13).to(17);
        let about = |opset| holds(middle, OpKind::Erf, DType::F32, opset);
        assert_eq!([12, 13, 17, 18].map(about), [false, true, true, false]);
        let double = row.when(|call| call.dtype(0) == Some(DType::F64));
        assert!(holds(double, OpKind::Erf, DType::F64, 1) && !holds(double, OpKind::Erf, DType::F32, 1));
        let types = Limit::about("X-2", Subject::Types(&[DType::F64]), "it is not there", "do without");
        assert!(holds(types, OpKind::Tanh, DType::F64, 1) && !holds(types, OpKind::Tanh, DType::F32, 1));
    }

    #[test]
    fn operators_of_other_domains_are_known_by_domain() {
        let mut graph = Graph::default();
        let custom = |graph: &mut Graph, domain: &str, name: &str| {
            let node = graph.add_node(ScopeId::MAIN, OpKind::Custom, &[], 1, 0);
            graph.node_mut(node).custom = Some(std::sync::Arc::new((domain.into(), name.into())));
            node
        };
        let [theirs, known, older] =
            [("a.b", "Op"), ("c.d", "Op"), ("", "Softmax")].map(|(domain, name)| custom(&mut graph, domain, name));
        let row = Limit::about("X-3", Subject::Foreign(&["c.d"]), "it is not there", "do without");
        let [unknown, added] = [("", "PartitionedCall"), ("", "Op")].map(|(d, name)| custom(&mut graph, d, name));
        let holds = |limit: &Limit, node| limit.lacks_call(&CallView::new(&graph, node), 1);
        assert!(holds(&row, theirs) && !holds(&row, known) && !holds(&row, older));
        let row = Limit::about("X-5", Subject::NoSuch(&["Op"]), "it is not there", "do without");
        assert!(holds(&row, unknown) && !holds(&row, added) && !holds(&row, older) && !holds(&row, theirs));
        // An older meaning of an operator is that operator.
        let softmax = Limit::lacks("X-4", &[OpKind::Softmax], "it is not there", "do without");
        assert!(holds(&softmax, older) && !holds(&softmax.warns(), older));
    }
}
