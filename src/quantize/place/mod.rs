//! Which tensors get integers: what a target's [policy](crate::target::Policy) makes of a graph.
//!
//! Operators that gain by integers lead: their operands are asked for. Operators between such follow, where neighbours
//! have integers anyway. What was asked for walks up through operators that only move numbers, as far as every reader
//! agrees, and readers of one tensor that take the same type share one pair of `QuantizeLinear` and
//! `DequantizeLinear`. Each step looks at every node and use a fixed number of times.

mod call;
mod demand;
mod follow;
mod patterns;
mod quantized;
mod real;
mod residual;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::{Gathered, observed};
use crate::choice::{Choice, ChoiceError, EXCLUDED, NOT_CHOSEN};
use crate::ir::{Graph, NodeId, OpKind, ScopeId, User, ValueId};
use crate::quantize::place::call::{Call, Verdict};
use crate::quantize::place::demand::Demand;
use crate::quantize::place::quantized::Quantized;
use crate::quantize::{ConstantSite, Grid, Kept, Plan, WeightSite};
use crate::target::Policy;
use crate::target::policy::Role;

/// What `policy` makes of the main graph of a model of `opset`, as far as `choice` lets it.
///
/// Bodies of control flow stay in real numbers, and so do operators that have integers already, with their operands.
///
/// # Errors
/// For a pattern of `choice` that nothing matches.
pub fn place(graph: &Graph, policy: &Policy, opset: i64, choice: &Choice) -> Result<Plan, ChoiceError> {
    place_fit(graph, policy, opset, choice, &FxHashSet::default())
}

/// As [`place`]; tensors that are `unfit` get no integers.
///
/// # Errors
/// As [`place`].
pub fn place_fit(
    graph: &Graph,
    policy: &Policy,
    opset: i64,
    choice: &Choice,
    unfit: &FxHashSet<ValueId>,
) -> Result<Plan, ChoiceError> {
    place_without(graph, policy, opset, choice, unfit, &TakenOut::default())
}

/// Nodes that stay in real numbers whatever the policy says, each with a rule and the reason.
pub type TakenOut = FxHashMap<NodeId, (String, String)>;

/// As [`place_fit`]; what was taken `out` stays in real numbers.
///
/// # Errors
/// As [`place`].
pub fn place_without(
    graph: &Graph,
    policy: &Policy,
    opset: i64,
    choice: &Choice,
    unfit: &FxHashSet<ValueId>,
    out: &TakenOut,
) -> Result<Plan, ChoiceError> {
    let excluded = choice.excluded(graph)?;
    let mut placing = Placing::new(graph, policy, opset, &excluded, unfit, out);
    placing.fuse();
    placing.follow();
    let demand = Demand::walk(&mut placing);
    Ok(placing.plan(demand))
}

/// Tensors that no integers stand for: those that held infinities, NaN, or numbers of a size that only masks have.
pub fn unfit(graph: &Graph, gathered: &Gathered) -> FxHashSet<ValueId> {
    let names = observed(graph).into_iter();
    let is_unfit = |name: &str| match gathered.tensors.get(name) {
        Some(seen) => seen.not_finite > 0 || seen.max.abs().max(seen.min.abs()) > LARGEST,
        None => false,
    };
    names.filter(|(_, name)| is_unfit(name)).map(|(value, _)| value).collect()
}

/// Numbers beyond this are there to hide others.
const LARGEST: f32 = 1e8;

/// What is known of each node while a policy is applied.
struct Placing<'a> {
    graph: &'a Graph,
    policy: &'a Policy,
    opset: i64,
    /// Nodes of the main graph, operands first.
    order: Vec<NodeId>,
    /// What integers mean for each node, by its index.
    calls: Vec<Option<Call<'a>>>,
    /// Why a node stays in real numbers, by its index: rule and reason.
    floats: Vec<Option<(String, String)>>,
    /// Into which node a node is taken, by its index.
    absorbed: Vec<Option<NodeId>>,
    quantized: Quantized<'a>,
}

impl<'a> Placing<'a> {
    fn new(
        graph: &'a Graph,
        policy: &'a Policy,
        opset: i64,
        excluded: &FxHashMap<NodeId, String>,
        unfit: &FxHashSet<ValueId>,
        out: &TakenOut,
    ) -> Placing<'a> {
        let order = graph.schedule(ScopeId::MAIN);
        let mut quantized = Quantized::find(graph, &order);
        quantized.unfit = unfit.clone();
        quantized.real = real::find(graph, policy, opset, &order);
        let patterns = patterns::find(graph, policy, &order);
        let bound = graph.node_bound();
        let mut placing = Placing {
            graph,
            policy,
            opset,
            calls: (0..bound).map(|_| None).collect(),
            floats: vec![None; bound],
            absorbed: vec![None; bound],
            quantized,
            order,
        };
        for &node in &placing.order {
            let verdict = match (excluded.get(&node), patterns.get(&node)) {
                (Some(why), _) => Verdict::float("", why),
                (None, Some(never)) if !placing.quantized.has(node) => Verdict::float(&never.rule, &never.why),
                _ => match out.get(&node) {
                    Some((rule, why)) => Verdict::float(rule, why),
                    None => call::judge(graph, policy, opset, &placing.quantized, node),
                },
            };
            match verdict {
                Verdict::Integers(call) => placing.calls[node.index()] = Some(call),
                Verdict::Float { rule, why } => placing.floats[node.index()] = Some((rule, why)),
                Verdict::Nothing => {}
            }
        }
        placing
    }

    fn call(&self, node: NodeId) -> Option<&Call<'a>> {
        self.calls[node.index()].as_ref()
    }

    /// The call, where it computes in integers.
    fn integer(&self, node: NodeId) -> Option<&Call<'a>> {
        self.call(node).filter(|call| call.on)
    }

    /// Leave `node` in real numbers.
    fn give_up(&mut self, node: NodeId, why: &str) {
        if let Some(call) = self.calls[node.index()].take() {
            self.floats[node.index()] = Some((call.row.rule.clone(), why.to_string()));
        }
    }

    /// Find what is taken into the operator before it.
    fn fuse(&mut self) {
        for node in self.order.clone() {
            let Some(call) = self.call(node).filter(|call| call.row.role != Role::Passes) else { continue };
            let (mut tail, op) = (call.tail, self.graph.node(node).op);
            while let Some(next) = self.taken_in(tail, op) {
                self.absorbed[next.index()] = Some(node);
                self.calls[next.index()] = None;
                match self.graph.result(next, 0) {
                    Some(result) => tail = result,
                    None => break,
                }
            }
            if let Some(call) = &mut self.calls[node.index()] {
                call.tail = tail;
            }
        }
    }

    /// The only reader of `value`, where it is taken into the operator `behind` which it stands.
    fn taken_in(&self, value: ValueId, behind: OpKind) -> Option<NodeId> {
        let &[User::Node(next, 0)] = self.graph.value(value).users() else { return None };
        let node = self.graph.node(next);
        if node.scope() != ScopeId::MAIN || node.op == OpKind::Custom || self.quantized.has(next) {
            return None;
        }
        // What the user keeps out stays out; what has no row of its own may still be taken in.
        if self.floats[next.index()].as_ref().is_some_and(|(rule, _)| rule.is_empty()) && self.is_excluded(next) {
            return None;
        }
        let fuse = self.policy.fuse(node.op, behind)?;
        fuse.when.fails(&crate::ops::CallView::new(self.graph, next), self.opset).is_none().then_some(next)
    }

    fn is_excluded(&self, node: NodeId) -> bool {
        self.floats[node.index()].as_ref().is_some_and(|(_, why)| why == EXCLUDED || why == NOT_CHOSEN)
    }

    /// The plan, when it is known who computes in integers.
    fn plan(mut self, demand: Demand) -> Plan {
        let weights = &self.policy.weights;
        let mut plan = Plan { form: weights.form, repeated: weights.repeated, ..Plan::default() };
        let grid = Grid { dtype: weights.dtype, symmetric: true };
        for &node in &self.order {
            if self.quantized.is_integer(node) {
                plan.already += 1;
            }
            let Some(call) = self.integer(node) else { continue };
            plan.integer.push(node);
            let rule = &call.row.rule;
            if let Some((slot, axis)) = call.weight {
                let per_channel = call.row.per_channel.unwrap_or(weights.per_channel);
                plan.weights.push(WeightSite {
                    node,
                    slot,
                    axis: per_channel.then_some(axis),
                    grid,
                    bias: call.row.bias.unwrap_or(weights.bias),
                    scales: None,
                    rule: rule.clone(),
                });
            }
            for &slot in &call.constants {
                let grid = demand.grid_of(self.policy, call);
                plan.constants.push(ConstantSite { node, slot, grid, rule: rule.clone() });
            }
        }
        for node in self.order.clone() {
            if let Some(head) = self.absorbed[node.index()] {
                match self.integer(head).is_some() {
                    true => {
                        plan.integer.push(node);
                        plan.taken_in.push((node, head));
                        continue;
                    }
                    false => self.floats[node.index()] = Some((String::new(), "what it stands behind does".into())),
                }
            }
            if self.call(node).is_some_and(|call| !call.on) {
                self.give_up(node, "nobody next to it has integers that it could take or give");
            }
            if let Some((rule, why)) = self.floats[node.index()].take() {
                plan.kept.push(Kept { node, rule, why });
            }
        }
        plan.sites = demand.sites(&self);
        plan
    }
}
