//! Every value gets the type, shape and content that follow from the graph's inputs and constants.
//!
//! What follows from the operators wins. A file also declares types, and it may be wrong: tools change an input's
//! batch size and leave what was declared behind it as it was. So of what a file declares
//!
//! * graph inputs are trusted, and one name is one size among them;
//! * of results, the element type, rank and numbers count where the operators leave them open; names do not;
//! * once a declared number contradicts what follows, no declared number of the file counts.
//!
//! In a body that runs many times a fact must hold in every run. A carried value starts with the type of its initial
//! value; where the body gives on another size, the size is open and the body is inferred again.

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ir::{Atom, Graph, Int, NodeId, Origin, ScopeId, Shape, Type, ValueId};
use crate::ops::control::{BodyInput, body_inputs};
use crate::ops::join::{either, replaced};
use crate::ops::{CallView, infer_node};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

/// Work out types, shapes and content of all values of a model that was just read. What the file declares of results
/// is weighed as the module says.
pub fn infer_declared(graph: &mut Graph) {
    let base: Vec<Known> = snapshot(graph);
    let mut pass = Inference::new(graph, base, Trust::Numbers);
    pass.scope(ScopeId::MAIN, 0);
    if pass.contradicted {
        let base = std::mem::take(&mut pass.base);
        Inference::new(graph, base, Trust::Ranks).scope(ScopeId::MAIN, 0);
    }
}

/// Work out types, shapes and content of all values again. What is known of them already was inferred, and stays.
pub fn infer_shapes(graph: &mut Graph) {
    let base = snapshot(graph);
    Inference::new(graph, base, Trust::All).scope(ScopeId::MAIN, 0);
}

/// [`infer_shapes`] as a step of a pipeline.
pub struct InferShapes;

impl Pass for InferShapes {
    fn name(&self) -> &'static str {
        "infer-shapes"
    }

    fn doc(&self) -> &'static str {
        include_str!("infer_shapes.rs")
    }

    fn run(&self, graph: &mut Graph, _: &Context<'_>) -> Result<Step, Fault> {
        infer_shapes(graph);
        Ok(Step::default())
    }
}

/// What is known of a value before inference.
#[derive(Clone, Default)]
struct Known {
    ty: Type,
    content: Option<Arc<[Int]>>,
}

fn snapshot(graph: &Graph) -> Vec<Known> {
    let mut base = vec![Known::default(); graph.value_bound()];
    for value in graph.values() {
        let v = graph.value(value);
        base[value.index()] = Known { ty: v.ty.clone(), content: v.content.clone() };
    }
    base
}

/// How far what is known before inference counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It was inferred.
    All,
    /// A file declares it, and nothing speaks against its numbers.
    Numbers,
    /// A file declares it, and something else in it is wrong.
    Ranks,
}

struct Inference<'g> {
    graph: &'g mut Graph,
    base: Vec<Known>,
    trust: Trust,
    /// A declared number is not what follows from the operators.
    contradicted: bool,
    schedules: FxHashMap<ScopeId, Rc<[NodeId]>>,
    /// Calls that may still be inferred again because a carried size turned out to change.
    again: usize,
}

/// Deeper bodies are not looked into; the reader refuses them.
const MAX_DEPTH: usize = 64;

/// How often carried types are widened by what a body gives on before their shapes are given up.
const MAX_ROUNDS: usize = 4;

impl<'g> Inference<'g> {
    fn new(graph: &'g mut Graph, base: Vec<Known>, trust: Trust) -> Inference<'g> {
        let again = graph.node_count().saturating_mul(32).saturating_add(4096);
        Inference { graph, base, trust, contradicted: false, schedules: FxHashMap::default(), again }
    }

    fn scope(&mut self, scope: ScopeId, depth: usize) {
        let order = match self.schedules.get(&scope) {
            Some(order) => Rc::clone(order),
            None => {
                let order: Rc<[NodeId]> = self.graph.schedule(scope).into();
                self.schedules.insert(scope, Rc::clone(&order));
                order
            }
        };
        for &node in order.iter() {
            let bodies: Vec<ScopeId> = self.graph.node(node).bodies().collect();
            for body in bodies {
                if depth < MAX_DEPTH {
                    self.body(node, body, depth + 1);
                }
            }
            self.node(node);
        }
    }

    /// Infer one call from nothing but its operands and bodies, then add what was known before.
    fn node(&mut self, node: NodeId) {
        let results: Vec<ValueId> = self.graph.results(node).iter().copied().flatten().collect();
        for &value in &results {
            let v = self.graph.value_mut(value);
            (v.ty, v.content) = (Type::Unknown, None);
        }
        infer_node(self.graph, node);
        for value in results {
            self.add_known(value);
        }
        self.again = self.again.saturating_sub(1);
    }

    fn add_known(&mut self, value: ValueId) {
        let Some(known) = self.base.get(value.index()) else { return };
        if known.ty == Type::Unknown && known.content.is_none() {
            return;
        }
        if self.trust == Trust::Numbers && contradict(self.graph, &self.graph.value(value).ty, &known.ty) {
            self.contradicted = true;
        }
        let before = match self.trust {
            Trust::All => known.ty.clone(),
            Trust::Numbers => without_names(&known.ty, value),
            Trust::Ranks => without_sizes(&known.ty, value),
        };
        let content = known.content.clone().filter(|_| self.trust == Trust::All);
        let v = self.graph.value_mut(value);
        v.ty.refine(&before);
        if v.content.is_none() {
            v.content = content;
        }
    }

    /// Infer a body so that what is known inside holds in every run.
    fn body(&mut self, node: NodeId, body: ScopeId, depth: usize) {
        let plan = body_inputs(&CallView::new(self.graph, node), body);
        let inputs: Vec<ValueId> = self.graph.scope(body).inputs().to_vec();
        let carries = plan.iter().any(|input| input.next.is_some());
        let mut types: Vec<Type> = plan.iter().map(|input| input.first.clone()).collect();
        for round in 0.. {
            // With no work left to spend, nested loops are inferred once each, from nothing.
            let spent = self.again == 0;
            if carries && (round == MAX_ROUNDS || spent) {
                for (_, ty) in plan.iter().zip(&mut types).filter(|(input, _)| input.next.is_some()) {
                    *ty = if spent { Type::Unknown } else { without_shape(ty) };
                }
            }
            for ((&value, input), ty) in inputs.iter().zip(&plan).zip(&types) {
                self.set_input(value, input, ty.clone());
            }
            self.scope(body, depth);
            if !carries || spent || round == MAX_ROUNDS || !self.widen(body, &inputs, &plan, &mut types) {
                return;
            }
        }
    }

    fn set_input(&mut self, value: ValueId, input: &BodyInput, ty: Type) {
        let v = self.graph.value_mut(value);
        (v.ty, v.content) = (ty, None);
        let declared = self.base.get(value.index()).map(|known| known.ty.clone()).unwrap_or_default();
        match input.next {
            None => self.add_known(value),
            // Shapes that a body declares of what is carried into it are those of one run.
            Some(_) => self.graph.value_mut(value).ty.refine(&without_shape(&declared)),
        }
    }

    /// Take what `body` gives on into the types of its carried inputs. Returns whether one of them changed.
    ///
    /// Only sizes that are provably those of the iteration before stay, so nothing that the body measures enters.
    fn widen(&self, body: ScopeId, inputs: &[ValueId], plan: &[BodyInput], types: &mut [Type]) -> bool {
        let outputs = self.graph.scope(body).outputs();
        let mut changed = false;
        for ((&value, input), ty) in inputs.iter().zip(plan).zip(types) {
            let Some(next) = input.next else { continue };
            let given_on = outputs.get(next).map(|o| &self.graph.value(o.value()).ty);
            let wide = either(ty, given_on.unwrap_or(&Type::Unknown), &|axis| value.measured(axis));
            changed |= wide != *ty;
            *ty = wide;
        }
        changed
    }
}

/// Whether a declared type cannot be that of a value whose type follows from the operators.
fn contradict(graph: &Graph, inferred: &Type, declared: &Type) -> bool {
    let (Some(inferred), Some(declared)) = (inferred.shape().dims(), declared.shape().dims()) else { return false };
    inferred.len() != declared.len()
        || inferred.iter().zip(declared).any(|(i, d)| d.known().is_some() && i != d && follows_from_inputs(graph, i))
}

/// Whether a size is a number or depends on sizes of the graph's inputs alone: no file can know it better.
fn follows_from_inputs(graph: &Graph, size: &Int) -> bool {
    !size.mentions(&|atom| match atom {
        Atom::Named(_) | Atom::FloorDiv(_) | Atom::Min(_) | Atom::Max(_) => false,
        Atom::Element { .. } | Atom::Opaque(_) => true,
        Atom::Measured { value, .. } => {
            let value = graph.value_at(*value);
            !value.is_some_and(|v| graph.value(v).origin() == Origin::Input && graph.value(v).scope() == ScopeId::MAIN)
        }
    })
}

/// `ty` with every size that is not a number measured of `value`.
fn without_names(ty: &Type, value: ValueId) -> Type {
    replaced(ty, &|d| d.known().is_none(), &|axis| value.measured(axis))
}

/// `ty` with every size measured of `value`.
fn without_sizes(ty: &Type, value: ValueId) -> Type {
    replaced(ty, &|_| true, &|axis| value.measured(axis))
}

/// The element type alone.
fn without_shape(ty: &Type) -> Type {
    match ty {
        Type::Tensor { dtype, .. } => Type::Tensor { dtype: *dtype, shape: Shape::UNKNOWN },
        Type::Sequence(e) => Type::Sequence(Arc::new(without_shape(e))),
        Type::Optional(e) => Type::Optional(Arc::new(without_shape(e))),
        Type::Unknown | Type::Carried(_) => ty.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, OpKind, Tensor};

    fn ty(dims: &[&str]) -> Type {
        let int = |d: &&str| d.parse::<i64>().map_or_else(|_| Int::named(*d), Int::from);
        Type::tensor(DType::F32, Shape::of(dims.iter().map(int)))
    }

    fn call(g: &mut Graph, scope: ScopeId, op: OpKind, operands: &[ValueId]) -> ValueId {
        let operands: Vec<_> = operands.iter().copied().map(Some).collect();
        let order = u32::try_from(g.node_count()).unwrap();
        let node = g.add_node(scope, op, &operands, 1, order);
        if op == OpKind::Concat {
            g.set_attr(node, "axis", 0i64.into());
        }
        g.result(node, 0).unwrap()
    }

    /// `float[b,?]`, with `?` for what only a run tells.
    fn dims(g: &Graph, value: ValueId) -> String {
        let shape = g.value(value).ty.shape();
        let show = |d: &Int| if d.vagueness() < 3 { d.to_string() } else { "?".into() };
        shape.dims().map_or("..".into(), |d| d.iter().map(show).collect::<Vec<_>>().join(","))
    }

    /// A `Loop` over these initial values, with an unset trip count; the body's carried inputs.
    fn add_loop(g: &mut Graph, scope: ScopeId, initial: &[ValueId], results: usize) -> (NodeId, ScopeId, Vec<ValueId>) {
        let trips = g.add_input(ScopeId::MAIN, "trips", Type::tensor(DType::I64, Shape::known(&[])));
        let operands: Vec<_> = [Some(trips), None].into_iter().chain(initial.iter().copied().map(Some)).collect();
        let order = u32::try_from(g.node_count()).unwrap();
        let node = g.add_node(scope, OpKind::Loop, &operands, results, order);
        let body = g.add_body(node, "body");
        g.set_attr(node, "body", crate::ir::Attr::Graph(body));
        g.add_input(body, "i", Type::Unknown);
        let go = g.add_input(body, "go", Type::Unknown);
        g.add_output(body, "go_on", go, Type::Unknown);
        let inputs = initial.iter().map(|_| g.add_input(body, "", Type::Unknown)).collect();
        (node, body, inputs)
    }

    #[test]
    fn a_size_that_a_loop_keeps_is_kept() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["b", "3"]));
        let (node, body, inside) = add_loop(&mut g, ScopeId::MAIN, &[x, x], 3);
        let relu = call(&mut g, body, OpKind::Relu, &[inside[0]]);
        let grown = call(&mut g, body, OpKind::Concat, &[inside[1], inside[0]]);
        g.add_output(body, "", relu, Type::Unknown);
        g.add_output(body, "", grown, Type::Unknown);
        g.add_output(body, "", relu, Type::Unknown);
        infer_declared(&mut g);
        assert_eq!(dims(&g, inside[0]), "b,3");
        assert_eq!(dims(&g, inside[1]), "?,3");
        let results: Vec<String> = g.results(node).iter().map(|v| dims(&g, v.unwrap())).collect();
        // A loop without iterations leaves an empty stack whose sizes are the runtime's business.
        assert_eq!(results, ["b,3", "?,3", ".."]);
        g.output_mut(body, 3).declared = ty(&["b", "3"]);
        infer_shapes(&mut g);
        assert_eq!(dims(&g, g.result(node, 2).unwrap()), "?,?,3");
        infer_shapes(&mut g);
        assert_eq!(dims(&g, inside[1]), "?,3");
    }

    #[test]
    fn carried_values_may_trade_places_and_ranks() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["2", "3"]));
        let y = g.add_input(ScopeId::MAIN, "y", ty(&["2", "4"]));
        let (node, body, inside) = add_loop(&mut g, ScopeId::MAIN, &[x, y, x], 3);
        let axis = g.add_constant(ScopeId::MAIN, "", Tensor::vector(&[0]));
        let deeper = call(&mut g, body, OpKind::Unsqueeze, &[inside[2], axis]);
        g.add_output(body, "", inside[1], Type::Unknown);
        g.add_output(body, "", inside[0], Type::Unknown);
        g.add_output(body, "", deeper, Type::Unknown);
        infer_declared(&mut g);
        let results: Vec<String> = g.results(node).iter().map(|v| dims(&g, v.unwrap())).collect();
        assert_eq!(results, ["2,?", "2,?", ".."]);
        assert_eq!(dims(&g, deeper), "..");
        assert_eq!(g.value(deeper).ty.dtype(), Some(DType::F32));
    }

    #[test]
    fn a_loop_that_surely_runs_tells_its_stack() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["b", "3"]));
        let (node, body, inside) = add_loop(&mut g, ScopeId::MAIN, &[x], 2);
        let five = g.add_constant(ScopeId::MAIN, "", Tensor::scalar(5));
        g.set_operand(node, 0, Some(five));
        g.add_output(body, "", inside[0], Type::Unknown);
        g.add_output(body, "", inside[0], Type::Unknown);
        infer_declared(&mut g);
        assert_eq!(dims(&g, g.result(node, 1).unwrap()), "5,b,3");
    }

    #[test]
    fn branches_meet() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["b", "3"]));
        let which = g.add_input(ScopeId::MAIN, "c", Type::tensor(DType::Bool, Shape::known(&[])));
        let node = g.add_node(ScopeId::MAIN, OpKind::If, &[Some(which)], 2, 0);
        for (name, op) in [("then_branch", OpKind::Relu), ("else_branch", OpKind::Transpose)] {
            let body = g.add_body(node, name);
            g.set_attr(node, name, crate::ir::Attr::Graph(body));
            let y = call(&mut g, body, op, &[x]);
            g.add_output(body, "", y, Type::Unknown);
            let found = call(&mut g, body, OpKind::NonZero, &[y]);
            g.add_output(body, "", found, Type::Unknown);
        }
        infer_declared(&mut g);
        let results: Vec<String> = g.results(node).iter().map(|v| dims(&g, v.unwrap())).collect();
        assert_eq!(results, ["?,?", "2,?"]);
        let seen = g.value(g.result(node, 1).unwrap()).ty.shape().dims().unwrap()[1].clone();
        assert_eq!(seen, g.result(node, 1).unwrap().measured(1));
    }

    #[test]
    fn scans_slice_and_stack() {
        let mut g = Graph::default();
        let state = g.add_input(ScopeId::MAIN, "s", ty(&["b", "8"]));
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["b", "t", "4"]));
        let node = g.add_node(ScopeId::MAIN, OpKind::Scan, &[Some(state), Some(x)], 2, 0);
        let body = g.add_body(node, "body");
        g.set_attr(node, "body", crate::ir::Attr::Graph(body));
        g.set_attr(node, "num_scan_inputs", 1i64.into());
        g.set_attr(node, "scan_input_axes", vec![1].into());
        g.set_attr(node, "scan_output_axes", vec![-1].into());
        let carried = g.add_input(body, "", Type::Unknown);
        let slice = g.add_input(body, "", Type::Unknown);
        let relu = call(&mut g, body, OpKind::Relu, &[carried]);
        g.add_output(body, "", relu, Type::Unknown);
        g.add_output(body, "", slice, Type::Unknown);
        infer_declared(&mut g);
        assert_eq!(dims(&g, slice), "b,4");
        let results: Vec<String> = g.results(node).iter().map(|v| dims(&g, v.unwrap())).collect();
        assert_eq!(results, ["b,8", "b,4,t"]);
    }

    #[test]
    fn elements_of_a_mapped_sequence_are_measured_one_by_one() {
        let mut g = Graph::default();
        let list = Type::Sequence(ty(&["2", "3"]).into());
        let list = g.add_input(ScopeId::MAIN, "list", list);
        let node = g.add_node(ScopeId::MAIN, OpKind::SequenceMap, &[Some(list)], 1, 0);
        let body = g.add_body(node, "body");
        g.set_attr(node, "body", crate::ir::Attr::Graph(body));
        let element = g.add_input(body, "", Type::Unknown);
        let found = call(&mut g, body, OpKind::NonZero, &[element]);
        g.add_output(body, "", found, Type::Unknown);
        infer_declared(&mut g);
        assert_eq!(dims(&g, element), "2,3");
        let Type::Sequence(made) = &g.value(g.result(node, 0).unwrap()).ty else { panic!("a sequence") };
        assert_eq!(made.shape().dims().unwrap(), [Int::from(2), crate::ops::join::varying()]);
    }

    #[test]
    fn declared_numbers_count_where_nothing_follows() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["b", "3"]));
        let found = call(&mut g, ScopeId::MAIN, OpKind::NonZero, &[x]);
        g.value_mut(found).ty = Type::tensor(DType::I64, Shape::of([2.into(), 7.into()]));
        let odd = call(&mut g, ScopeId::MAIN, OpKind::Custom, &[x]);
        g.value_mut(odd).ty = ty(&["b", "5"]);
        let y = call(&mut g, ScopeId::MAIN, OpKind::Relu, &[x]);
        g.value_mut(y).ty = ty(&["other", "3"]);
        let mut stale = g.clone();
        infer_declared(&mut g);
        assert_eq!((dims(&g, found), dims(&g, odd), dims(&g, y)), ("2,7".into(), "?,5".into(), "b,3".into()));
        // The batch size was made free, and one number was left behind: then no number counts.
        stale.value_mut(y).ty = ty(&["1", "3"]);
        infer_declared(&mut stale);
        let seen = (dims(&stale, found), dims(&stale, odd), dims(&stale, y));
        assert_eq!(seen, ("2,?".into(), "?,?".into(), "b,3".into()));
    }

    #[test]
    fn nested_loops_take_bounded_work() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", ty(&["2", "3", "4", "5"]));
        let (mut scope, mut carried) = (ScopeId::MAIN, x);
        let mut outer: Vec<(NodeId, ScopeId)> = Vec::new();
        for _ in 0..48 {
            let (node, body, inside) = add_loop(&mut g, scope, &[carried], 1);
            (scope, carried) = (body, inside[0]);
            outer.push((node, body));
        }
        let mut result = call(&mut g, scope, OpKind::Concat, &[carried, carried]);
        result = call(&mut g, scope, OpKind::Transpose, &[result]);
        for (node, body) in outer.into_iter().rev() {
            g.add_output(body, "", result, Type::Unknown);
            result = g.result(node, 0).unwrap();
        }
        infer_declared(&mut g);
        assert_eq!(dims(&g, result), "..");
    }
}
