//! Ops that run other graphs: branches and loops.
//!
//! A row tells of results what the bodies' inputs and outputs tell. [`body_inputs`] says how the inputs come about;
//! whoever sets their types makes sure that these hold in every iteration.

use crate::ir::DType;
use crate::ir::{Attr, Int, Key, Node, ScopeId, Shape, Type, ValueId};
use crate::ops::join::{either, outward, speaks_of_inside, taken_out};
use crate::ops::{CallView, Infer, OpDef, Outcome, normalize_axis, row_of};

/// `Scan`: how many of the operands are scanned.
pub const NUM_SCAN_INPUTS: Key<i64> = Key::new("num_scan_inputs", 0);

/// A row of something that is as deterministic as the nodes it runs.
const RUNS: OpDef =
    OpDef { deterministic: bodies_are_deterministic, macs: |call| runs_macs(call, 0), ..OpDef::UNKNOWN };

/// `If`.
pub static IF: OpDef = OpDef { infer: Some(branch), ..RUNS };
/// `Loop`.
pub static LOOP: OpDef = OpDef { infer: Some(repeat), ..RUNS };
/// `Scan`.
pub static SCAN: OpDef = OpDef { infer: Some(scan), ..RUNS };
/// `SequenceMap`.
pub static SEQUENCE_MAP: OpDef = OpDef { infer: Some(map), ..RUNS };

fn bodies_are_deterministic(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let mut scopes: Vec<ScopeId> = call.node().bodies().collect();
    while let Some(scope) = scopes.pop() {
        for node in graph.nodes_of(scope) {
            let mut bodies = graph.node(node).bodies().peekable();
            if bodies.peek().is_some() && runs_bodies(graph.node(node)) {
                scopes.extend(bodies);
            } else if !crate::ops::is_deterministic(graph, node) {
                return false;
            }
        }
    }
    true
}

fn runs_bodies(node: &Node) -> bool {
    use crate::ir::OpKind::{If, Loop, Scan, SequenceMap};
    matches!(node.op, If | Loop | Scan | SequenceMap)
}

/// The body that attribute `name` holds.
pub fn body(node: &Node, name: &str) -> Option<ScopeId> {
    match node.attr(name)? {
        Attr::Graph(scope) => Some(*scope),
        _ => None,
    }
}

/// The value that output `index` of a body shows.
fn shown(call: &CallView<'_>, body: ScopeId, index: usize) -> Option<ValueId> {
    call.graph().scope(body).outputs().get(index).map(|o| o.value())
}

/// The type of what output `index` of a body shows, as the body knows it.
fn shown_type<'g>(call: &CallView<'g>, body: ScopeId, index: usize) -> Option<&'g Type> {
    shown(call, body, index).map(|v| &call.graph().value(v).ty)
}

/// How the inputs of a body follow from the call's operands and from an iteration before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyInput {
    /// What is known of the input in the first iteration, or in all of them when nothing is carried into it.
    pub first: Type,
    /// The output of the body that this input shows in the next iteration.
    pub next: Option<usize>,
}

/// How each input of `body` comes about. Inputs that the call leaves without an operand, and those of operators that
/// are not known, are of unknown type.
pub fn body_inputs(call: &CallView<'_>, body: ScopeId) -> Vec<BodyInput> {
    let inputs = call.graph().scope(body).inputs();
    let fixed = |first: Type| BodyInput { first, next: None };
    let operand = |slot: usize| call.ty(slot).cloned().unwrap_or_default();
    let each = inputs.iter().enumerate();
    match call.node().op {
        crate::ir::OpKind::Loop => each
            .map(|(i, &input)| match i {
                0 => fixed(scalar(call, input, DType::I64)),
                1 => fixed(scalar(call, input, DType::Bool)),
                _ => BodyInput { first: operand(i), next: Some(i - 1) },
            })
            .collect(),
        crate::ir::OpKind::Scan => {
            let states = scan_states(call);
            each.map(|(i, _)| match states {
                Some(states) if i < states => BodyInput { first: operand(i), next: Some(i) },
                Some(states) => fixed(scan_slice(call, i, states)),
                None => fixed(Type::Unknown),
            })
            .collect()
        }
        crate::ir::OpKind::SequenceMap => each
            .map(|(i, input)| match operand(i) {
                Type::Sequence(element) => fixed(taken_out(&element, &|axis| input.measured(axis))),
                // Operands after the first may be tensors, the same for every element.
                ty if i > 0 => fixed(ty),
                _ => fixed(Type::Unknown),
            })
            .collect(),
        _ => each.map(|_| fixed(Type::Unknown)).collect(),
    }
}

/// The iteration number or condition of a loop: a scalar, or a vector of one where the body declares that.
fn scalar(call: &CallView<'_>, input: ValueId, dtype: DType) -> Type {
    let vector = call.graph().value(input).ty.shape().rank() == Some(1);
    Type::tensor(dtype, if vector { Shape::known(&[1]) } else { Shape::known(&[]) })
}

fn branch(call: &mut Infer<'_>) -> Outcome {
    let (yes, no) = (body(call.node(), "then_branch")?, body(call.node(), "else_branch")?);
    let scope = call.node().scope();
    for slot in 0..call.result_count() {
        let (Some(a), Some(b)) = (shown(call, yes, slot), shown(call, no, slot)) else { continue };
        let graph = call.graph();
        let open = |axis: usize| call.fresh(slot, axis);
        let ty = either(&graph.value(a).ty, &graph.value(b).ty, &open);
        let ty = outward(graph, scope, &ty, &open);
        let (a, b) = (crate::ops::call::content(graph, a), crate::ops::call::content(graph, b));
        let same = a.filter(|a| Some(a) == b.as_ref() && !a.iter().any(|e| speaks_of_inside(graph, scope, e)));
        call.set_type(slot, ty);
        call.set_content(slot, same);
    }
    Some(())
}

/// How often a `Loop` runs its body, where that does not depend on what the body computes.
pub fn trips(call: &CallView<'_>) -> Option<Int> {
    let inside = body(call.node(), "body")?;
    let graph = call.graph();
    let is_true = |value: ValueId| graph.constant(value).and_then(crate::ir::Tensor::integer) == Some(1);
    if call.operand(1).is_some_and(|v| !is_true(v)) {
        return None;
    }
    // The condition that the body gives on is the one it was given, or constantly true.
    let mut next = shown(call, inside, 0)?;
    while let Some((node, 0)) = graph.producer(next)
        && graph.node(node).op == crate::ir::OpKind::Identity
    {
        next = graph.operand(node, 0)?;
    }
    if graph.scope(inside).inputs().get(1) != Some(&next) && !is_true(next) {
        return None;
    }
    Some(call.int(0)?.greater(&Int::from(0)))
}

fn repeat(call: &mut Infer<'_>) -> Outcome {
    let inside = body(call.node(), "body")?;
    let carried = call.operand_count().saturating_sub(2);
    let trips = trips(call);
    let runs = trips.as_ref().is_some_and(|n| n.surely_at_least(&Int::from(1)));
    let scope = call.node().scope();
    for slot in 0..call.result_count() {
        let open = |axis: usize| call.fresh(slot, axis);
        let graph = call.graph();
        let ty = if slot < carried {
            // The input is the initial value or what an iteration left: so is the result.
            let Some(&input) = graph.scope(inside).inputs().get(slot + 2) else { continue };
            outward(graph, scope, &graph.value(input).ty, &open)
        } else {
            let Some(output) = graph.scope(inside).outputs().get(slot + 1) else { continue };
            let Type::Tensor { dtype, shape } = &graph.value(output.value()).ty else { continue };
            // What a loop without iterations leaves has no element. Its other sizes are no run's: runtimes take what
            // the body declares, even the rank.
            let declared = output.declared.shape().dims();
            let told = |axis: usize, d: &Int| match declared {
                _ if speaks_of_inside(graph, scope, d) => false,
                _ if runs => true,
                Some(declared) => d.known().is_some() && declared.get(axis) == Some(d),
                None => false,
            };
            let dims = shape.dims().filter(|dims| runs || declared.is_some_and(|d| d.len() == dims.len()));
            let dims = dims.map(|dims| {
                let length = trips.clone().filter(|n| !speaks_of_inside(graph, scope, n)).unwrap_or_else(|| open(0));
                let sizes = dims.iter().enumerate();
                let sizes = sizes.map(|(axis, d)| if told(axis, d) { d.clone() } else { open(axis + 1) });
                std::iter::once(length).chain(sizes).collect()
            });
            Type::Tensor { dtype: *dtype, shape: Shape(dims) }
        };
        call.set_type(slot, ty);
    }
    Some(())
}

/// How many operands of a `Scan` are states; the others are scanned.
pub fn scan_states(call: &CallView<'_>) -> Option<usize> {
    call.operand_count().checked_sub(usize::try_from(NUM_SCAN_INPUTS.get(call.node())?).ok()?)
}

/// Entry `i` of a list of axes that is 0 where it is left out.
fn scan_axis(call: &CallView<'_>, name: &str, i: usize, rank: usize) -> Option<usize> {
    match call.node().attr(name) {
        None => normalize_axis(0, rank),
        Some(Attr::Ints(axes)) => normalize_axis(*axes.get(i)?, rank),
        Some(_) => None,
    }
}

/// One slice of scanned operand `slot`.
fn scan_slice(call: &CallView<'_>, slot: usize, states: usize) -> Type {
    let Some(Type::Tensor { dtype, shape }) = call.ty(slot) else { return Type::Unknown };
    let sliced = shape.dims().and_then(|dims| {
        let at = scan_axis(call, "scan_input_axes", slot - states, dims.len())?;
        let rest = dims.iter().enumerate().filter(|(axis, _)| *axis != at);
        Some(Shape::of(rest.map(|(_, d)| d.clone())))
    });
    Type::Tensor { dtype: *dtype, shape: sliced.unwrap_or_default() }
}

/// How many slices a `Scan` visits.
fn scan_length(call: &CallView<'_>) -> Option<Int> {
    let states = scan_states(call)?;
    let sizes = (states..call.operand_count()).filter_map(|slot| {
        let dims = call.dims(slot)?;
        dims.get(scan_axis(call, "scan_input_axes", slot - states, dims.len())?)
    });
    crate::ops::dims::clearest(sizes).cloned()
}

fn scan(call: &mut Infer<'_>) -> Outcome {
    let inside = body(call.node(), "body")?;
    let states = scan_states(call)?;
    let length = scan_length(call);
    let scope = call.node().scope();
    for slot in 0..call.result_count() {
        let open = |axis: usize| call.fresh(slot, axis);
        let graph = call.graph();
        let ty = if slot < states {
            let Some(&input) = graph.scope(inside).inputs().get(slot) else { continue };
            outward(graph, scope, &graph.value(input).ty, &open)
        } else {
            let Some(Type::Tensor { dtype, shape }) = shown_type(call, inside, slot) else { continue };
            let stacked = shape.dims().and_then(|dims| {
                let at = scan_axis(call, "scan_output_axes", slot - states, dims.len() + 1)?;
                let mut sizes: Vec<Option<Int>> = dims.iter().cloned().map(Some).collect();
                sizes.insert(at, length.clone());
                let told = |d: &Int| !speaks_of_inside(graph, scope, d);
                let sizes = sizes.into_iter().enumerate();
                Some(Shape::of(sizes.map(|(axis, d)| d.filter(told).unwrap_or_else(|| open(axis)))))
            });
            Type::Tensor { dtype: *dtype, shape: stacked.unwrap_or_default() }
        };
        call.set_type(slot, ty);
    }
    Some(())
}

fn map(call: &mut Infer<'_>) -> Outcome {
    let inside = body(call.node(), "body")?;
    let scope = call.node().scope();
    for slot in 0..call.result_count() {
        let Some(ty) = shown_type(call, inside, slot) else { continue };
        let element = outward(call.graph(), scope, ty, &|_| crate::ops::join::varying());
        call.set_type(slot, Type::Sequence(element.into()));
    }
    Some(())
}

/// Multiply-accumulates of one run of a body, where they are the same in every run.
fn body_macs(call: &CallView<'_>, body: ScopeId, depth: usize) -> Option<Int> {
    // Bodies nest as deep as the reader lets them; further down nothing is claimed.
    if depth > MAX_COSTED_DEPTH {
        return None;
    }
    let graph = call.graph();
    let mut sum = Int::from(0);
    for node in graph.nodes_of(body) {
        let inner = CallView::new(graph, node);
        let cost = if runs_bodies(graph.node(node)) {
            runs_macs(&inner, depth + 1)?
        } else {
            (row_of(inner.node()).macs)(&inner)?
        };
        sum = sum.checked_add(&cost)?;
    }
    (!speaks_of_inside(graph, call.node().scope(), &sum)).then_some(sum)
}

const MAX_COSTED_DEPTH: usize = 8;

fn runs_macs(call: &CallView<'_>, depth: usize) -> Option<Int> {
    use crate::ir::OpKind;
    let zero = Int::from(0);
    let inside = |name: &str| body_macs(call, body(call.node(), name)?, depth);
    match call.node().op {
        OpKind::If => {
            let cost = inside("then_branch")?;
            (inside("else_branch")? == cost).then_some(cost)
        }
        OpKind::Loop => match inside("body")? {
            cost if cost == zero => Some(zero),
            cost => cost.checked_mul(&trips(call)?),
        },
        OpKind::Scan => match inside("body")? {
            cost if cost == zero => Some(zero),
            cost => cost.checked_mul(&scan_length(call)?),
        },
        // How long a sequence is, no type tells.
        _ => inside("body").filter(|cost| *cost == zero),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Graph, OpKind, Tensor};
    use crate::ops::{infer_node, is_deterministic};

    /// A `Loop` of `trips` iterations whose body multiplies a carried `[2,3]` by a `[3,3]` weight; the product's node.
    fn repeated_product(trips: i64) -> (Graph, crate::ir::NodeId, crate::ir::NodeId) {
        let mut g = Graph::default();
        let float = |dims: &[usize]| Type::tensor(DType::F32, Shape::known(dims));
        let x = g.add_input(ScopeId::MAIN, "x", float(&[2, 3]));
        let w = g.add_input(ScopeId::MAIN, "w", float(&[3, 3]));
        let trips = g.add_constant(ScopeId::MAIN, "", Tensor::scalar(trips));
        let node = g.add_node(ScopeId::MAIN, OpKind::Loop, &[Some(trips), None, Some(x)], 1, 0);
        let inside = g.add_body(node, "body");
        g.set_attr(node, "body", Attr::Graph(inside));
        g.add_input(inside, "i", Type::tensor(DType::I64, Shape::known(&[])));
        let go = g.add_input(inside, "go", Type::tensor(DType::Bool, Shape::known(&[])));
        let carried = g.add_input(inside, "a", float(&[2, 3]));
        let product = g.add_node(inside, OpKind::MatMul, &[Some(carried), Some(w)], 1, 0);
        infer_node(&mut g, product);
        g.add_output(inside, "go", go, Type::Unknown);
        let shown = g.result(product, 0).unwrap();
        g.add_output(inside, "b", shown, Type::Unknown);
        (g, node, product)
    }

    #[test]
    fn a_loop_costs_its_body_times_its_trips() {
        let (g, node, _) = repeated_product(5);
        let call = CallView::new(&g, node);
        assert_eq!(trips(&call), Some(Int::from(5)));
        assert_eq!((LOOP.macs)(&call), Some(Int::from(5 * 2 * 3 * 3)));
        let (g, node, _) = repeated_product(-1);
        assert_eq!(trips(&CallView::new(&g, node)), Some(Int::from(0)));
    }

    #[test]
    fn a_condition_that_the_body_computes_leaves_trips_open() {
        let (mut g, node, _) = repeated_product(5);
        let inside = body(g.node(node), "body").unwrap();
        let go = g.scope(inside).inputs()[1];
        let not = g.add_node(inside, OpKind::Not, &[Some(go)], 1, 1);
        let stop = g.result(not, 0).unwrap();
        g.set_output(inside, 0, stop);
        assert_eq!(trips(&CallView::new(&g, node)), None);
    }

    #[test]
    fn a_loop_is_as_deterministic_as_what_it_runs() {
        let (mut g, node, product) = repeated_product(5);
        assert!(is_deterministic(&g, node));
        g.node_mut(product).op = OpKind::RandomNormalLike;
        assert!(!is_deterministic(&g, node));
    }
}
