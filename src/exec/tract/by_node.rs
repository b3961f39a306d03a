//! A model run one node at a time, with branches and loops as they come.
//!
//! Each node goes to tract alone, its small operands as constants: so nothing has to be known ahead. What tract lacks,
//! or has not for a type, an exact kernel computes. tract comes first, because a proof that runs on the kernels that
//! folded the model would not find their mistakes.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tract_onnx::Onnx;

use super::draw::{draw, draws};
use super::{Loaded, NAME, in_order, knows, onnx, whole};
use crate::exec::demand;
use crate::exec::exact::{self, Unable};
use crate::exec::executor::{At, Cannot, caught};
use crate::ir::{Attr, DType, Graph, NodeId, OpKind, ScopeId, Tensor, Type, ValueId};
use crate::model::{Model, OpsetImport};
use crate::ops::{CallView, infer_node, is_deterministic, schema};

/// Bytes that one tensor may take.
const LIMIT: usize = 4 << 30;

/// Turns of one loop.
const MAX_TURNS: usize = 100_000;

/// Operands of at most this many elements are constants of a call: they may be sizes.
const SMALL: usize = 64;

/// Bytes of the weights of calls that stay loaded.
const MOST_KEPT: usize = 256 << 20;

/// What computes a call that both can.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Engine,
    Kernels,
}

pub(super) struct ByNode {
    model: Model,
    first: First,
    inputs: Vec<String>,
    defaults: Vec<(String, Tensor)>,
    schedule: Vec<NodeId>,
    /// For each node of the main graph, the values that nobody reads after it.
    spent: Vec<Vec<ValueId>>,
    kept: Mutex<Kept>,
}

/// Calls as tract has them: to make one takes far longer than most take to run.
#[derive(Default)]
struct Kept {
    calls: FxHashMap<NodeId, (Vec<Operand>, Arc<Loaded>)>,
    /// Of all weights in them.
    bytes: usize,
}

/// What a call was loaded with, in one slot.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// Nothing, or what is the same in every run.
    Same,
    /// This, which may be sizes.
    Small(Tensor),
    /// A tensor of this type and these sizes.
    Given(DType, Vec<usize>),
}

impl ByNode {
    /// Refuses models with nodes that neither tract nor a kernel computes.
    pub(super) fn new(model: &Model, first: First) -> Result<ByNode, Cannot> {
        let graph = &model.graph;
        let onnx = onnx();
        for id in graph.nodes() {
            let op = graph.node(id).op;
            let runs = matches!(op, OpKind::If | OpKind::Loop)
                || exact::supports(op)
                || draws(op)
                || (knows(&onnx, graph, id) && graph.node(id).bodies().next().is_none());
            if !runs {
                return Err(Cannot::new(NAME, "it has no such operator").at(At::of(graph, id)));
            }
            if !is_deterministic(graph, id) && !draws(op) {
                let why =
                    if op == OpKind::Custom { "its form is none that is known" } else { "its results are random" };
                return Err(Cannot::new(NAME, why).at(At::of(graph, id)));
            }
        }
        let main = graph.scope(ScopeId::MAIN);
        let inputs = main.inputs().iter().map(|&v| graph.value(v).name.to_string()).collect();
        let defaults = main.inputs().iter().filter_map(|&v| {
            let v = graph.value(v);
            Some((v.name.to_string(), v.default()?.clone()))
        });
        let schedule = graph.schedule(ScopeId::MAIN);
        let mut last: FxHashMap<ValueId, usize> = FxHashMap::default();
        for (i, &node) in schedule.iter().enumerate() {
            for value in graph.operands(node).flatten().chain(graph.captures(node)) {
                last.insert(value, i);
            }
        }
        for output in main.outputs() {
            last.remove(&output.value());
        }
        let mut spent = vec![Vec::new(); schedule.len()];
        for (value, i) in last {
            spent[i].push(value);
        }
        let (defaults, kept) = (defaults.collect(), Mutex::default());
        Ok(ByNode { first, inputs, defaults, schedule, spent, model: model.clone(), kept })
    }

    pub(super) fn run(&self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        let graph = &self.model.graph;
        let given = in_order(&self.inputs, inputs, &self.defaults)?;
        let mut run = Run { graph, first: self.first, onnx: onnx(), values: FxHashMap::default(), kept: &self.kept };
        for (&value, tensor) in graph.scope(ScopeId::MAIN).inputs().iter().zip(given) {
            run.values.insert(value, tensor);
        }
        for (&node, spent) in self.schedule.iter().zip(&self.spent) {
            run.node(node)?;
            for value in spent {
                run.values.remove(value);
            }
        }
        run.outputs(ScopeId::MAIN)
    }
}

struct Run<'a> {
    graph: &'a Graph,
    first: First,
    onnx: Onnx,
    values: FxHashMap<ValueId, Tensor>,
    kept: &'a Mutex<Kept>,
}

impl Run<'_> {
    fn value(&self, value: ValueId) -> Result<Tensor, Cannot> {
        let known = self.graph.constant(value).or_else(|| self.values.get(&value));
        known
            .cloned()
            .ok_or_else(|| Cannot::new(NAME, format!("\"{}\" has no value yet", self.graph.value_label(value))))
    }

    fn outputs(&self, scope: ScopeId) -> Result<Vec<Tensor>, Cannot> {
        self.graph.scope(scope).outputs().iter().map(|o| self.value(o.value())).collect()
    }

    fn body(&mut self, body: ScopeId) -> Result<Vec<Tensor>, Cannot> {
        for node in self.graph.schedule(body) {
            self.node(node)?;
        }
        self.outputs(body)
    }

    fn node(&mut self, node: NodeId) -> Result<(), Cannot> {
        let operands: Vec<Option<Tensor>> =
            self.graph.operands(node).map(|v| v.map(|v| self.value(v)).transpose()).collect::<Result<_, _>>()?;
        let at = |cannot: Cannot| if cannot.at.is_none() { cannot.at(At::of(self.graph, node)) } else { cannot };
        let results = match self.graph.node(node).op {
            OpKind::If => self.branch(node, &operands),
            OpKind::Loop => self.turns(node, &operands),
            op if draws(op) => {
                draw(self.graph.node(node), &operands, LIMIT).map(|t| vec![t]).map_err(|why| self.unfit(node, why))
            }
            _ => self.call(node, &operands).map_err(at),
        }?;
        for (value, tensor) in self.graph.results(node).iter().zip(results) {
            if let Some(value) = value {
                self.values.insert(*value, tensor);
            }
        }
        Ok(())
    }

    fn branch(&mut self, node: NodeId, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, Cannot> {
        let condition = operands.first().and_then(|c| c.as_ref()?.integer());
        let name = match condition {
            Some(0) => "else_branch",
            Some(_) => "then_branch",
            None => return Err(self.unfit(node, "the condition is no single boolean")),
        };
        match self.graph.node(node).attr(name) {
            Some(Attr::Graph(body)) => self.body(*body),
            _ => Err(self.unfit(node, "a branch is missing")),
        }
    }

    fn turns(&mut self, node: NodeId, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, Cannot> {
        let Some(&Attr::Graph(body)) = self.graph.node(node).attr("body") else {
            return Err(self.unfit(node, "the body is missing"));
        };
        let flag = |on: bool| Tensor::raw(DType::Bool, &[], vec![u8::from(on)].into());
        let flag = |on: bool| flag(on).map_err(|e| Cannot::new(NAME, e.to_string()));
        let most = operands.first().and_then(Option::as_ref).map_or(Some(i64::MAX), Tensor::integer);
        let most = most.ok_or_else(|| self.unfit(node, "the trip count is no single number"))?;
        let mut goes_on = operands.get(1).and_then(Option::as_ref).is_none_or(|c| c.integer() != Some(0));
        let mut carried: Vec<Tensor> = operands.iter().skip(2).flatten().cloned().collect();
        let inputs = self.graph.scope(body).inputs().to_vec();
        let scanned = self.graph.results(node).len().saturating_sub(carried.len());
        let mut scans: Vec<Vec<Tensor>> = vec![Vec::new(); scanned];
        let mut turn = 0;
        while goes_on && turn < most {
            if usize::try_from(turn).is_ok_and(|t| t >= MAX_TURNS) {
                return Err(self.unfit(node, "it takes too many turns"));
            }
            let arguments = [Tensor::scalar(turn), flag(true)?].into_iter().chain(carried);
            for (&input, tensor) in inputs.iter().zip(arguments) {
                self.values.insert(input, tensor);
            }
            let mut outputs = self.body(body)?.into_iter();
            goes_on = outputs.next().is_some_and(|c| c.integer() != Some(0));
            carried = outputs.by_ref().take(inputs.len().saturating_sub(2)).collect();
            for (scan, tensor) in scans.iter_mut().zip(outputs) {
                scan.push(tensor);
            }
            turn += 1;
        }
        let stacked = scans.iter().map(|s| stack(s).ok_or_else(|| self.unfit(node, "its turns do not stack")));
        let stacked: Vec<Tensor> = stacked.collect::<Result<_, _>>()?;
        Ok(carried.into_iter().chain(stacked).collect())
    }

    fn unfit(&self, node: NodeId, reason: &str) -> Cannot {
        Cannot::new(NAME, reason).at(At::of(self.graph, node))
    }

    fn call(&self, node: NodeId, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, Cannot> {
        let by_kernel = || exact::evaluate(&CallView::new(self.graph, node), operands, LIMIT).map(|f| f.results);
        let by_engine = || match knows(&self.onnx, self.graph, node) {
            true => self.alone(node, operands),
            false => Err(self.unfit(node, "it has no such operator")),
        };
        match self.first {
            // What the specification leaves open, the engine decides.
            First::Kernels => by_kernel().or_else(|_| by_engine()),
            First::Engine => by_engine().or_else(|refused| {
                by_kernel().map_err(|unable| match unable {
                    Unable::NoKernel => refused,
                    _ => self.unfit(node, &unable.to_string()),
                })
            }),
        }
    }

    /// Run one call as a model of its own.
    fn alone(&self, node: NodeId, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>, Cannot> {
        let is_weight = |slot: usize| self.graph.operand(node, slot).is_some_and(|v| self.graph.constant(v).is_some());
        let seen: Vec<Operand> = operands
            .iter()
            .enumerate()
            .map(|(slot, operand)| match operand {
                Some(tensor) if !is_weight(slot) && tensor.len() <= SMALL => Operand::Small(tensor.clone()),
                Some(tensor) if !is_weight(slot) => Operand::Given(tensor.dtype(), tensor.dims().to_vec()),
                _ => Operand::Same,
            })
            .collect();
        let given: Vec<(String, Tensor)> = operands
            .iter()
            .enumerate()
            .filter(|(slot, _)| matches!(seen[*slot], Operand::Given(..)))
            .filter_map(|(slot, tensor)| Some((name_of(slot), tensor.clone()?)))
            .collect();
        let run = |call: &Loaded| call.run(&in_order(&call.inputs, &given, &[])?);
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().calls.get(&node).filter(|(as_seen, _)| *as_seen == seen).map(|(_, call)| Arc::clone(call));
        if let Some(call) = known {
            return caught(NAME, || run(&call));
        }
        let (mut model, since) = self.model_of(node, operands, &seen)?;
        let loaded_and_run = |model: &Model| {
            caught(NAME, || {
                let call = whole(model)?;
                let results = run(&call)?;
                Ok((call, results))
            })
        };
        let mut found = loaded_and_run(&model);
        if found.is_err() && since > 18 {
            model.set_opset(since);
            found = loaded_and_run(&model);
        }
        let (call, results) = found?;
        let weights = operands.iter().enumerate().filter(|(slot, _)| is_weight(*slot)).filter_map(|(_, t)| t.as_ref());
        let bytes: usize = weights.map(Tensor::stored_bytes).sum();
        let mut kept = kept();
        let is_new = !kept.calls.contains_key(&node);
        let all = kept.bytes.saturating_add(if is_new { bytes } else { 0 });
        if all <= MOST_KEPT {
            kept.bytes = all;
            kept.calls.insert(node, (seen, Arc::new(call)));
        }
        Ok(results)
    }

    /// One call as a model, whose inputs are the operands that are given, and the opset that its operator is of.
    fn model_of(&self, node: NodeId, operands: &[Option<Tensor>], seen: &[Operand]) -> Result<(Model, i64), Cannot> {
        let call = self.graph.node(node);
        let mut graph = Graph::default();
        let mut values = Vec::with_capacity(operands.len());
        for (slot, (operand, seen)) in operands.iter().zip(seen).enumerate() {
            values.push(operand.as_ref().map(|tensor| match seen {
                Operand::Given(dtype, dims) => {
                    let ty = Type::tensor(*dtype, crate::ir::Shape::known(dims));
                    graph.add_input(ScopeId::MAIN, &name_of(slot), ty)
                }
                _ => graph.add_constant(ScopeId::MAIN, "", tensor.clone()),
            }));
        }
        let count = self.graph.results(node).len();
        let copy = graph.add_node(ScopeId::MAIN, call.op, &values, count, 0);
        graph.node_mut(copy).custom.clone_from(&call.custom);
        for (name, attr) in call.attrs() {
            graph.set_attr(copy, name.clone(), attr.clone());
        }
        infer_node(&mut graph, copy);
        if demand::of_call(&graph, copy) > LIMIT as u128 {
            return Err(self.unfit(node, "it takes too much memory"));
        }
        for slot in 0..count {
            let missing = || self.unfit(node, "a result is missing");
            let result = graph.result(copy, slot).ok_or_else(missing)?;
            let ty = self.graph.result(node, slot).map_or(Type::Unknown, |v| self.graph.value(v).ty.clone());
            // Only the element type: sizes are told by the operands.
            let ty = ty.dtype().map_or(Type::Unknown, |d| Type::tensor(d, crate::ir::Shape::UNKNOWN));
            graph.add_output(ScopeId::MAIN, &format!("y{slot}"), result, ty);
        }
        let since = schema::newest("", call.op_name()).map_or(0, |s| i64::from(s.since));
        let import = |domain: &str, version| OpsetImport { domain: domain.into(), version };
        let mut model = Model { graph, ir_version: 8, ..Model::default() };
        model.opset_imports = vec![import("", 18)];
        if !call.domain().is_empty() {
            model.opset_imports.push(import(call.domain(), 1));
        }
        Ok((model, since))
    }
}

/// What an operand is called that is given.
fn name_of(slot: usize) -> String {
    format!("x{slot}")
}

/// Tensors of one type one after another along a new first axis.
fn stack(parts: &[Tensor]) -> Option<Tensor> {
    let first = parts.first()?;
    // Packed elements would not meet at byte boundaries.
    if parts.iter().any(|p| p.dims() != first.dims() || p.dtype() != first.dtype() || p.dtype().bits() % 8 != 0) {
        return None;
    }
    let dims = [&[parts.len()], first.dims()].concat();
    if first.dtype() == DType::String {
        let strings = parts.iter().filter_map(Tensor::as_strings).flatten().cloned().collect();
        return Tensor::strings(&dims, strings).ok();
    }
    let bytes: Vec<u8> = parts.iter().filter_map(Tensor::bytes).flatten().collect();
    Tensor::raw(first.dtype(), &dims, bytes.into()).ok()
}

#[cfg(test)]
mod tests {
    use crate::exec::executor::{Cannot, Executor};
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::text::parse;

    fn run(text: &str, inputs: &[(&str, Tensor)]) -> Result<(Vec<Tensor>, Option<String>), Cannot> {
        let header = r#"<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> "#;
        let mut session = Tract.load(&parse(&format!("{header}{text}")).unwrap())?;
        let inputs: Vec<_> = inputs.iter().map(|(n, t)| ((*n).to_string(), t.clone())).collect();
        let outputs = session.run(&inputs)?;
        Ok((outputs, session.remark().map(str::to_string)))
    }

    fn f32s(dims: &[usize], elements: &[f32]) -> Tensor {
        Tensor::f32s(dims, elements).unwrap()
    }

    #[test]
    fn a_loop_is_run_turn_by_turn() {
        let (outputs, remark) = run(
            r#"g (float[2] x, int64 n) => (float[2] last, float[k,2] all)
            { last, all = Loop (n, , x) <body = b (int64 i, bool c, float[2] a) => (bool d, float[2] s, float[2] t)
              { d = Identity(c)
                s = Add(a, x)
                t = Neg(s) }> }"#,
            &[("x", f32s(&[2], &[1.0, 2.0])), ("n", Tensor::scalar(3))],
        )
        .unwrap();
        assert_eq!(outputs[0], f32s(&[2], &[4.0, 8.0]));
        assert_eq!(outputs[1], f32s(&[3, 2], &[-2.0, -4.0, -3.0, -6.0, -4.0, -8.0]));
        assert!(remark.unwrap().starts_with("run node by node: tract cannot run Loop"));
    }

    #[test]
    fn a_call_is_run_with_what_it_is_given_each_time() {
        // Sizes, and tensors of other sizes, of a call that was loaded before.
        let header = r#"<ir_version: 8, opset_import: ["" : 17]> "#;
        let text = "g (float[n] x, int64[k] dims, bool c) => (float[p,q] y)
            { r = Reshape(x, dims)
              y = If (c) <then_branch = t () => (float[p,q] a) { a = Neg(r) },
                          else_branch = e () => (float[p,q] b) { b = Relu(r) }> }";
        let mut session = Tract.load(&parse(&format!("{header}{text}")).unwrap()).unwrap();
        for (count, dims, flag) in
            [(6, [2, 3], 1u8), (6, [3, 2], 1), (200, [2, 100], 1), (200, [100, 2], 0), (6, [2, 3], 1)]
        {
            let x: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let flag_tensor = Tensor::raw(crate::ir::DType::Bool, &[], vec![flag].into()).unwrap();
            let given =
                [("x".into(), f32s(&[count], &x)), ("dims".into(), Tensor::vector(&dims)), ("c".into(), flag_tensor)];
            let known: Vec<f32> = x.iter().map(|x| if flag == 1 { -x } else { *x }).collect();
            let dims = dims.map(|d| d as usize);
            assert_eq!(session.run(&given).unwrap(), [f32s(&dims, &known)]);
        }
        assert!(session.remark().unwrap().starts_with("run node by node"));
    }

    #[test]
    fn only_the_branch_that_is_taken_has_to_run() {
        let text = r#"g (bool c, bfloat16[2] x) => (bfloat16[2] y)
            { y = If (c) <
                then_branch = t () => (bfloat16[2] a) { a = Neg(x) },
                else_branch = e () => (bfloat16[2] b) { b = Softmax(x) }> }"#;
        let x = Tensor::rounded(crate::ir::DType::BF16, &[2], &[1.0, 2.0]).unwrap();
        let flag = |on: u8| Tensor::raw(crate::ir::DType::Bool, &[], vec![on].into()).unwrap();
        let (outputs, _) = run(text, &[("c", flag(1)), ("x", x.clone())]).unwrap();
        assert_eq!(outputs[0].reals(), Some(vec![-1.0, -2.0]));
        let cannot = run(text, &[("c", flag(0)), ("x", x)]).unwrap_err();
        assert_eq!(cannot.at.map(|at| at.op).as_deref(), Some("Softmax"));
    }

    #[test]
    fn fused_convolutions_are_parted() {
        let (outputs, remark) = run(
            r#"g (float[1,1,2] x, float[1,1,2] z) => (float[1,1,2] y) <float[1,1,1] w = {-1}>
            { y = com.microsoft.FusedConv <activation = "Relu"> (x, w, , z) }"#,
            &[("x", f32s(&[1, 1, 2], &[1.0, 5.0])), ("z", f32s(&[1, 1, 2], &[3.0, 3.0]))],
        )
        .unwrap();
        assert_eq!((outputs[0].clone(), remark), (f32s(&[1, 1, 2], &[2.0, 0.0]), None));
    }

    #[test]
    fn a_filled_tensor_is_float32_unless_it_says_otherwise() {
        let (outputs, remark) = run(
            r#"g (int64[n] x) => (float[n] y) <float one = {1}>
            { n = Shape(x)
              zeros = ConstantOfShape(n)
              y = Add(zeros, one) }"#,
            &[("x", Tensor::vector(&[7, 8]))],
        )
        .unwrap();
        assert_eq!((outputs[0].clone(), remark), (f32s(&[2], &[1.0, 1.0]), None));
    }

    #[test]
    fn a_dropout_that_trains_is_not_run() {
        let text = r#"g (float[2] x) => (float[2] y) <float r = {0.5}, bool t = {1}> { y = Dropout (x, r, t) }"#;
        assert!(run(text, &[("x", f32s(&[2], &[1.0, 2.0]))]).is_err());
    }
}
