//! What is computed in half precision is computed in single precision, where a stage behind the pipeline needs that:
//! integers, pruned channels and precisions of layers are chosen of float32.
//!
//! float32 holds every float16 and bfloat16, so constants are what they were, but for √2 and other numbers of formulas,
//! which are what they were before they were rounded; and results are nearer to what the model was trained to give.
//! Inputs and outputs of the model keep their types, with a `Cast` behind or before them. Where a half is held by
//! something that is no tensor, or read by an operator that may take nothing else, nothing is done.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{DType, Graph, NodeId, OpKind, Origin, Output, ScopeId, Tensor, Type, User, ValueId};
use crate::ops::contrib::OF_ONE_FLOAT;
use crate::ops::quant::is_integer;
use crate::ops::shape::TO;
use crate::passes::retype::retype;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{CONTRIB, Exactness, Step};

/// See the module.
pub struct WidenTypes;

/// What of half precision is computed in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Widens {
    /// Nothing.
    #[default]
    Nothing,
    /// Constants that are only stored in halves: all that reads them is a `Cast` to float32.
    Stored,
    /// That, and everything in another half than this one.
    Others(DType),
    /// Everything, where nothing computes with integers already: such a model is left as it is.
    Floats,
    /// Everything.
    All,
}

/// The types of half precision.
const HALVES: [DType; 2] = [DType::F16, DType::BF16];

/// Numbers of formulas that activations are written with: what rounds to the same half stands for them, and runtimes know
/// these formulas by their numbers in float32.
const OF_FORMULAS: &[f64] = &[
    std::f64::consts::SQRT_2,
    std::f64::consts::FRAC_1_SQRT_2,
    // √(2/π) and what goes with it in Gelu by Tanh, and the factor of its fast form.
    0.797_884_560_802_865_4,
    0.044_715,
    1.702,
    // Of HardSigmoid and HardSwish.
    1.0 / 6.0,
];

impl Pass for WidenTypes {
    fn name(&self) -> &'static str {
        "widen-types"
    }

    fn doc(&self) -> &'static str {
        include_str!("widen_types.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        for from in HALVES {
            let widens = match cx.widens {
                Widens::Others(half) if half == from => Widens::Stored,
                Widens::Others(_) => Widens::All,
                Widens::Floats if graph.nodes().any(|node| is_integer(graph.node(node))) => Widens::Nothing,
                Widens::Floats => Widens::All,
                widens => widens,
            };
            let mut values: Vec<ValueId> = match widens {
                Widens::Nothing => Vec::new(),
                Widens::Stored => graph.values().filter(|&value| is_stored(graph, value, from)).collect(),
                _ => graph.values().filter(|&value| is_inner(graph, value, from)).collect(),
            };
            if values.is_empty() || cx.fuel.is_empty() {
                continue;
            }
            let first = values[0];
            if widens == Widens::All {
                if let Err(why) = may_widen(graph, from) {
                    step.held_back(self.name(), why);
                    continue;
                }
                values.retain(|&value| !is_main_input(graph, value));
                widen_inputs(graph, from);
            }
            cx.fuel.spend(self.name(), || graph.value_label(first));
            retype(graph, &values, from, DType::F32);
            values.iter().for_each(|&value| spell_exactly(graph, value, from));
            round_outputs(graph, &values, from);
            step.fired_times(self.name(), values.len());
            step.exactness = Exactness::Approximate;
        }
        Ok(step)
    }
}

/// A constant of one element that was `half` the number of a formula is that number.
fn spell_exactly(graph: &mut Graph, value: ValueId, half: DType) {
    let Some(tensor) = graph.constant(value).filter(|tensor| tensor.len() == 1) else { return };
    let rounded = |&number: &f64| Tensor::rounded(half, &[], &[number]).ok().and_then(|half| half.item());
    let was = tensor.real(0);
    let Some(&number) = OF_FORMULAS.iter().find(|number| rounded(number) == was) else { return };
    if let Ok(exact) = Tensor::rounded(DType::F32, tensor.dims(), &[number]) {
        graph.set_constant(value, exact);
    }
}

fn is(graph: &Graph, value: ValueId, dtype: DType) -> bool {
    graph.value(value).ty.dtype() == Some(dtype)
}

/// Whether it is a `Cast` to float32.
fn is_cast(graph: &Graph, user: &User) -> bool {
    let User::Node(node, _) = *user else { return false };
    graph.node(node).op == OpKind::Cast && TO.get(graph.node(node)) == Some(i64::from(DType::F32.code()))
}

fn is_main_output(user: &User) -> bool {
    matches!(user, User::Output(ScopeId::MAIN, _))
}

/// Whether nothing but `Cast`s to float32 read the constant.
fn is_stored(graph: &Graph, value: ValueId, half: DType) -> bool {
    let users = graph.value(value).users();
    is(graph, value, half) && graph.constant(value).is_some() && users.iter().all(|user| is_cast(graph, user))
}

fn is_main_input(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).scope() == ScopeId::MAIN && graph.value(value).origin() == Origin::Input
}

/// Whether the value is a half that stands not at the interface: what a caller gives, and what is rounded for him.
fn is_inner(graph: &Graph, value: ValueId, half: DType) -> bool {
    let users = graph.value(value).users();
    if !is(graph, value, half) {
        return false;
    }
    if is_main_input(graph, value) {
        return !users.iter().all(|user| is_main_output(user) || is_cast(graph, user));
    }
    let is_rounded = |(node, _)| {
        graph.node(node).op == OpKind::Cast && graph.operand(node, 0).is_some_and(|from| is(graph, from, DType::F32))
    };
    !(users.iter().all(is_main_output) && graph.producer(value).is_some_and(is_rounded))
}

/// Whether everything of type `half` may become float32.
fn may_widen(graph: &Graph, half: DType) -> Result<(), &'static str> {
    // A sequence of them would have to be followed through everything that holds it.
    if graph.values().any(|v| matches!(graph.value(v).ty, Type::Sequence(_) | Type::Optional(_))) {
        return Err("there are values that are no tensors");
    }
    let values = |n: NodeId| graph.operands(n).flatten().chain(graph.results(n).iter().copied().flatten());
    let touching = || graph.nodes().filter(|&n| values(n).any(|v| is(graph, v, half)));
    let takes_no_other = |n: NodeId| {
        let node = graph.node(n);
        let is_known = matches!(node.domain(), "" | CONTRIB) && OF_ONE_FLOAT.contains(&node.op_name());
        node.custom.is_some() && !is_known
    };
    if touching().any(takes_no_other) {
        return Err("an operator of another domain reads or makes it");
    }
    if touching().any(|n| values(n).any(|v| graph.value(v).ty == Type::Unknown)) {
        return Err("what an operator makes of it is of a type that is not known");
    }
    Ok(())
}

/// Put a `Cast` behind each input of type `half`.
fn widen_inputs(graph: &mut Graph, half: DType) {
    for input in graph.scope(ScopeId::MAIN).inputs().to_vec() {
        if !is_inner(graph, input, half) {
            continue;
        }
        let reads = |user: &User| !is_main_output(user) && !is_cast(graph, user);
        let users: Vec<User> = graph.value(input).users().iter().filter(|user| reads(user)).copied().collect();
        let single = graph.add_cast(input, DType::F32);
        users.into_iter().for_each(|user| graph.replace_use(user, single));
    }
}

/// Put a `Cast` to `half` before each output that is one of `values`.
fn round_outputs(graph: &mut Graph, values: &[ValueId], half: DType) {
    let changed: FxHashSet<ValueId> = values.iter().copied().collect();
    let outputs: Vec<ValueId> = graph.scope(ScopeId::MAIN).outputs().iter().map(Output::value).collect();
    let mut rounded: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for (index, value) in outputs.into_iter().enumerate().filter(|(_, value)| changed.contains(value)) {
        let half = *rounded.entry(value).or_insert_with(|| graph.add_cast(value, half));
        graph.replace_use(User::Output(ScopeId::MAIN, index), half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::rewrite::{Fuel, Growth};
    use crate::text::parse;

    #[test]
    fn what_has_integers_already_keeps_its_halves() {
        let widened = |body: &str, widens: Widens| {
            let head = r#"<ir_version: 10, opset_import: ["" : 21]> g (float16[n,4] x) => (float16[n,4] y)"#;
            let mut model = parse(&format!("{head} <float16 s, int8 z> {{ {body} }}")).unwrap();
            infer_declared(&mut model.graph);
            let (fuel, growth) = (Fuel::unlimited(), Growth::of(0));
            let cx = Context { widens, ..Context::new(21, &fuel, &growth) };
            WidenTypes.run(&mut model.graph, &cx).unwrap().changed()
        };
        let (real, integer) = ("y = Mul(x, s)", "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)");
        assert!(widened(real, Widens::Floats) && widened(real, Widens::All) && widened(integer, Widens::All));
        assert!(!widened(integer, Widens::Floats) && !widened(real, Widens::Others(DType::F16)));
        assert!(widened(real, Widens::Others(DType::BF16)) && !widened(real, Widens::Stored));
    }
}
