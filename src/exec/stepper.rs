//! Runs a model on all samples piece by piece: what is asked for is computed, the rest waits.
//!
//! Who changes a model layer by layer wants to see what a layer reads before it runs, on every sample, change its
//! weights, and go on from there. A [`Stepper`] holds the tensors that are computed and still read by something that is
//! not: asking for values runs the nodes that they need, as one small model in the engine, all samples at once. The
//! model is the caller's: constants of nodes that have not run may change between two pieces, and nodes may be
//! taken or given constants, but what is wired to what stays.
//!
//! A clone of a stepper shares its tensors: from it a model can be run to its end with other weights than the
//! original will have.

use std::ops::Deref;
use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::exec::demand::{of_type, run_of};
use crate::exec::executor::{Cannot, Executor, Session};
use crate::ir::{Graph, Int, NodeId, Origin, ScopeId, Shape, Tensor, Type, User, ValueId};
use crate::model::Model;
use crate::ops::infer_node;

/// How far a model has run on some samples.
#[derive(Clone)]
pub struct Stepper<'e> {
    engine: &'e dyn Executor,
    samples: usize,
    done: FxHashSet<NodeId>,
    /// The tensors that are there, one per sample.
    live: FxHashMap<ValueId, Arc<[Tensor]>>,
    /// What was asked for last: it stays whoever reads it.
    asked: Vec<ValueId>,
}

impl<'e> Stepper<'e> {
    /// Nothing has run yet. `samples` have a tensor for each input of `model` that has no default.
    ///
    /// # Errors
    /// When a sample lacks an input.
    pub fn new<S: Deref<Target = [(String, Tensor)]>>(
        model: &Model,
        samples: &[S],
        engine: &'e dyn Executor,
    ) -> Result<Stepper<'e>, Cannot> {
        let mut live: FxHashMap<ValueId, Arc<[Tensor]>> = FxHashMap::default();
        let graph = &model.graph;
        for &input in graph.scope(ScopeId::MAIN).inputs() {
            let v = graph.value(input);
            let given = |sample: &S| {
                let found = sample.iter().find(|(name, _)| *name == *v.name).map(|(_, tensor)| tensor);
                let missing = || Cannot::new(engine.name(), format!("there is no tensor for input \"{}\"", v.name));
                found.or(v.default()).cloned().ok_or_else(missing)
            };
            if v.users().is_empty() {
                continue;
            }
            live.insert(input, samples.iter().map(given).collect::<Result<_, _>>()?);
        }
        Ok(Stepper { engine, samples: samples.len(), done: FxHashSet::default(), live, asked: Vec::new() })
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Whether the node has run.
    pub fn has_run(&self, node: NodeId) -> bool {
        self.done.contains(&node)
    }

    /// A tensor per sample; `None` where it was not asked for, and where nobody reads it any more.
    pub fn of(&self, value: ValueId) -> Option<&[Tensor]> {
        self.live.get(&value).map(|tensors| &**tensors)
    }

    /// Operand `slot` of a node that was advanced to, as [`Stepper::of`].
    pub fn operand(&self, model: &Model, node: NodeId, slot: usize) -> Option<&[Tensor]> {
        self.of(model.graph.operand(node, slot)?)
    }

    /// The same run with other tensors in the place of what the nodes `ran` make, several ways: of each value that they
    /// make and others read, `values` has a tensor per sample for the first way, then for the second, and so on. So many
    /// samples the result has; what else is there is the same in all ways.
    ///
    /// # Panics
    /// When the numbers of tensors are not one multiple of that of the samples.
    #[must_use]
    pub fn branched(&self, ran: &[NodeId], values: Vec<(ValueId, Vec<Tensor>)>) -> Stepper<'e> {
        let samples = values.first().map_or(self.samples, |(_, tensors)| tensors.len());
        let ways = samples.checked_div(self.samples).unwrap_or(0);
        assert!(values.iter().all(|(_, tensors)| tensors.len() == ways * self.samples), "a tensor per sample and way");
        let mut branched = self.clone();
        for tensors in branched.live.values_mut() {
            *tensors = std::iter::repeat_n(&**tensors, ways).flatten().cloned().collect();
        }
        branched.samples = samples;
        branched.done.extend(ran);
        branched.live.extend(values.into_iter().map(|(value, tensors)| (value, Arc::from(tensors))));
        branched
    }

    /// Run until every operand of `node` is there, the node itself not.
    ///
    /// # Errors
    /// As [`Stepper::reach`].
    pub fn advance_to(&mut self, model: &Model, node: NodeId) -> Result<(), Cannot> {
        let operands: Vec<ValueId> = model.graph.operands(node).flatten().collect();
        self.reach(model, &operands)
    }

    /// Run until these are there. Constants are there without.
    ///
    /// What was asked for before and is not read by anything that has yet to run goes.
    ///
    /// # Errors
    /// When the engine cannot run what is needed, and for a value that is gone: everything that reads it has run.
    pub fn reach(&mut self, model: &Model, values: &[ValueId]) -> Result<(), Cannot> {
        let graph = &model.graph;
        self.asked = values.iter().copied().filter(|&v| graph.constant(v).is_none()).collect();
        let needed = self.needed(graph)?;
        if !needed.is_empty() {
            self.run(model, &needed)?;
        }
        self.drop_unread(graph);
        Ok(())
    }

    /// The nodes that have to run for what is asked for, in any order.
    fn needed(&self, graph: &Graph) -> Result<FxHashSet<NodeId>, Cannot> {
        let mut needed = FxHashSet::default();
        let mut stack = self.asked.clone();
        while let Some(value) = stack.pop() {
            if self.live.contains_key(&value) || graph.constant(value).is_some() {
                continue;
            }
            let gone = || Cannot::new(self.engine.name(), format!("\"{}\" is gone", graph.value_label(value)));
            let (node, _) = graph.producer(value).ok_or_else(gone)?;
            if self.done.contains(&node) {
                return Err(gone());
            }
            if needed.insert(node) {
                stack.extend(reads(graph, node));
            }
        }
        Ok(needed)
    }

    fn run(&mut self, model: &Model, nodes: &FxHashSet<NodeId>) -> Result<(), Cannot> {
        let Piece { model: piece, inputs, outputs } = self.piece(model, nodes);
        let mut sessions: Vec<Box<dyn Session>> = vec![self.engine.load(&piece)?];
        let threads = rayon::current_num_threads().min(self.samples).max(1);
        while sessions.len() < threads {
            let Some(fork) = sessions[0].fork() else { break };
            sessions.push(fork);
        }
        let share = self.samples.div_ceil(sessions.len()).max(1);
        let feed = |sample: usize| -> Vec<(String, Tensor)> {
            inputs.iter().map(|(value, name)| (name.clone(), self.live[value][sample].clone())).collect()
        };
        let runs = sessions.into_par_iter().enumerate().map(|(thread, mut session)| {
            let samples = (thread * share).min(self.samples)..((thread + 1) * share).min(self.samples);
            session.run_each(&samples.map(feed).collect::<Vec<_>>())
        });
        let runs: Vec<Vec<Vec<Tensor>>> = runs.collect::<Result<_, _>>()?;
        let mut columns: Vec<Vec<Tensor>> = outputs.iter().map(|_| Vec::with_capacity(self.samples)).collect();
        for run in runs.into_iter().flatten() {
            for (column, tensor) in columns.iter_mut().zip(run) {
                column.push(tensor);
            }
        }
        self.live.extend(outputs.into_iter().zip(columns.into_iter().map(Arc::from)));
        self.done.extend(nodes);
        Ok(())
    }

    /// The model of these nodes alone. Its outputs are what is asked for, and what others read that have not run.
    fn piece(&self, model: &Model, nodes: &FxHashSet<NodeId>) -> Piece {
        let mut piece = model.clone();
        let graph = &mut piece.graph;
        // In the order of ids: what an engine is given does not depend on hashing.
        let mut inside: Vec<NodeId> = nodes.iter().copied().collect();
        inside.sort_unstable();
        let mut outputs: Vec<ValueId> = Vec::new();
        let mut inputs: Vec<ValueId> = Vec::new();
        for &node in &inside {
            let results = graph.results(node).iter().flatten();
            outputs.extend(results.filter(|&&v| {
                let waits = |reader: NodeId| !nodes.contains(&reader);
                self.asked.contains(&v) || readers(graph, v).any(|reader| reader.is_none_or(waits))
            }));
            inputs.extend(reads(graph, node).into_iter().filter(|v| self.live.contains_key(v)));
        }
        inputs.sort_unstable();
        inputs.dedup();
        while let Some(last) = graph.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
            graph.remove_output(ScopeId::MAIN, last);
        }
        for (index, &value) in outputs.iter().enumerate() {
            let ty = graph.value(value).ty.dtype().map_or(Type::Unknown, |dtype| Type::tensor(dtype, Shape(None)));
            graph.add_output(ScopeId::MAIN, &format!("\u{1}out {index}"), value, ty);
        }
        let mut named = Vec::new();
        for (index, &old) in inputs.iter().enumerate() {
            let tensors = &self.live[&old];
            let new = match constant(tensors) {
                Some(tensor) => graph.add_constant(ScopeId::MAIN, "", tensor.clone()),
                None => {
                    let name = format!("\u{1}in {index}");
                    let ty = common_type(tensors, &graph.value(old).ty);
                    let new = graph.add_input(ScopeId::MAIN, &name, ty);
                    named.push((old, name));
                    new
                }
            };
            while let Some(&user) = graph.value(old).users().last() {
                graph.replace_use(user, new);
            }
        }
        graph.remove_dead();
        // Sizes of inputs are numbers now, and names where they vary: so are those that follow from them.
        for node in graph.schedule(ScopeId::MAIN) {
            infer_node(graph, node);
        }
        for index in (0..graph.scope(ScopeId::MAIN).inputs().len()).rev() {
            if graph.value(graph.scope(ScopeId::MAIN).inputs()[index]).users().is_empty() {
                graph.remove_input(ScopeId::MAIN, index);
            }
        }
        let kept: FxHashSet<&str> =
            graph.scope(ScopeId::MAIN).inputs().iter().map(|&v| &*graph.value(v).name).collect();
        named.retain(|(_, name)| kept.contains(&**name));
        Piece { model: piece, inputs: named, outputs }
    }

    /// Let go of what nothing will read.
    fn drop_unread(&mut self, graph: &Graph) {
        let (done, asked) = (&self.done, &self.asked);
        self.live.retain(|&value, _| {
            let is_read = || readers(graph, value).any(|reader| reader.is_none_or(|node| !done.contains(&node)));
            asked.contains(&value) || graph.has_value(value) && is_read()
        });
    }
}

/// Some nodes as a model.
struct Piece {
    model: Model,
    /// What each input is.
    inputs: Vec<(ValueId, String)>,
    /// What each output is.
    outputs: Vec<ValueId>,
}

/// Small tensors of whole numbers are told to the engine beforehand: shapes follow from them.
const TOLD_BYTES: usize = 1024;

/// The tensor that every sample has, where it is one that shapes may follow from.
fn constant(tensors: &[Tensor]) -> Option<&Tensor> {
    let first = tensors.first()?;
    let is_small = first.dtype().is_integer() && first.stored_bytes() <= TOLD_BYTES;
    (is_small && tensors.iter().all(|t| t == first)).then_some(first)
}

/// The type of all `tensors` of a value of type `told`: sizes that vary have the names that they have there.
fn common_type(tensors: &[Tensor], told: &Type) -> Type {
    let Some(first) = tensors.first() else { return Type::Unknown };
    if tensors.iter().any(|t| t.rank() != first.rank()) {
        return Type::tensor(first.dtype(), Shape(None));
    }
    let told = told.shape().dims().filter(|dims| dims.len() == first.rank());
    let size = |axis: usize| match tensors.iter().all(|t| t.dims()[axis] == first.dims()[axis]) {
        true => Some(Int::from(first.dims()[axis])),
        false => told.map(|dims| dims[axis].clone()).filter(|dim| dim.name().is_some()),
    };
    let dims: Option<Vec<Int>> = (0..first.rank()).map(size).collect();
    Type::tensor(first.dtype(), dims.map_or(Shape(None), Shape::of))
}

/// The values that a node and its bodies read, constants aside.
fn reads(graph: &Graph, node: NodeId) -> Vec<ValueId> {
    let mut read: Vec<ValueId> = graph.operands(node).flatten().collect();
    if graph.node(node).bodies().next().is_some() {
        read.extend(graph.captures(node));
    }
    read.retain(|&v| graph.constant(v).is_none());
    read
}

/// The nodes of the main graph that read a value, themselves or in their bodies; `None` for an output.
fn readers(graph: &Graph, value: ValueId) -> impl Iterator<Item = Option<NodeId>> {
    graph.value(value).users().iter().map(|user| {
        let (mut at, mut reader) = match *user {
            User::Node(node, _) => (graph.node(node).scope(), Some(node)),
            User::Output(scope, _) => (scope, None),
        };
        while at != ScopeId::MAIN {
            let Some(parent) = graph.scope(at).parent() else { break };
            (at, reader) = (graph.node(parent).scope(), Some(parent));
        }
        reader
    })
}

/// Bytes of tensors that one sample holds at most while `model` runs node by node, as far as shapes tell.
pub fn held_bytes(model: &Model, sample: &[(String, Tensor)]) -> u128 {
    let graph = run_of(model, sample);
    let bytes = |value: ValueId| of_type(&graph.value(value).ty).unwrap_or(0);
    let mut left: FxHashMap<ValueId, usize> = FxHashMap::default();
    for value in graph.values().filter(|&v| graph.value(v).origin() != Origin::Constant) {
        left.insert(value, readers(&graph, value).count());
    }
    let mut held: u128 = graph.scope(ScopeId::MAIN).inputs().iter().map(|&v| bytes(v)).sum();
    let mut most = held;
    for node in graph.schedule(ScopeId::MAIN) {
        let results: u128 = graph.results(node).iter().flatten().map(|&v| bytes(v)).sum();
        held = held.saturating_add(results);
        most = most.max(held);
        let mut read: Vec<ValueId> = graph.operands(node).flatten().collect();
        if graph.node(node).bodies().next().is_some() {
            read.extend(graph.captures(node));
        }
        for value in read {
            if let Some(left) = left.get_mut(&value) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    held = held.saturating_sub(bytes(value));
                }
            }
        }
    }
    most
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::ir::OpKind;
    use crate::random::Random;
    use crate::text::parse;

    const NET: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[n,2,5,5] x) => (float[n,3] y, float[n,3,5,5] s)
        <float[3,2,3,3] w, float[3,3,1,1] v, float[3,3] u, int64[2] shape = {0, 3}>
        { a = Conv <pads = [1, 1, 1, 1]> (x, w)
          r = Relu(a)
          b = Conv(r, v)
          s = Add(b, r)
          p = GlobalAveragePool(s)
          f = Reshape(p, shape)
          y = MatMul(f, u) }"#;

    fn net() -> (Model, Vec<Vec<(String, Tensor)>>) {
        let mut model = parse(NET).unwrap();
        let mut random = Random::new(1, "stepper");
        let mut normal = |dims: &[usize]| {
            let elements: Vec<f32> = (0..dims.iter().product()).map(|_| random.normal() as f32).collect();
            Tensor::f32s(dims, &elements).unwrap()
        };
        let constants: Vec<ValueId> =
            model.graph.values().filter(|&v| model.graph.constant(v).is_some_and(|t| t.dtype().is_float())).collect();
        for value in constants {
            let dims = model.graph.constant(value).unwrap().dims().to_vec();
            model.graph.set_constant(value, normal(&dims));
        }
        crate::passes::infer_declared(&mut model.graph);
        let samples = (0..5).map(|i| vec![("x".to_string(), normal(&[1 + i % 2, 2, 5, 5]))]).collect();
        (model, samples)
    }

    fn value(model: &Model, name: &str) -> ValueId {
        model.graph.values().find(|&v| model.graph.value_label(v) == name).unwrap()
    }

    fn outputs(model: &Model) -> Vec<ValueId> {
        model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value).collect()
    }

    fn layers(model: &Model) -> Vec<NodeId> {
        let is_layer = |&n: &NodeId| matches!(model.graph.node(n).op, OpKind::Conv | OpKind::MatMul);
        model.graph.schedule(ScopeId::MAIN).into_iter().filter(is_layer).collect()
    }

    fn whole(model: &Model, samples: &[Vec<(String, Tensor)>]) -> Vec<Vec<Tensor>> {
        let mut session = Tract.load(model).unwrap();
        samples.iter().map(|sample| session.run(sample).unwrap()).collect()
    }

    fn close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (a.reals().unwrap(), b.reals().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
    }

    fn same_ends(stepper: &Stepper<'_>, model: &Model, samples: &[Vec<(String, Tensor)>]) {
        for (sample, all) in whole(model, samples).iter().enumerate() {
            for (value, tensor) in outputs(model).into_iter().zip(all) {
                close(&stepper.of(value).unwrap()[sample], tensor);
            }
        }
    }

    #[test]
    fn pieces_compute_what_the_whole_does() {
        let (model, samples) = net();
        let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
        for node in layers(&model) {
            stepper.advance_to(&model, node).unwrap();
            assert!(!stepper.has_run(node));
            assert_eq!(stepper.operand(&model, node, 0).unwrap().len(), 5);
        }
        stepper.reach(&model, &outputs(&model)).unwrap();
        same_ends(&stepper, &model, &samples);
    }

    #[test]
    fn sizes_of_pieces_are_those_of_what_they_read() {
        let mut model = parse(
            r#"<ir_version: 11, opset_import: ["" : 24]>
            g (float[N,2,S,4] x, float[N,1,1,S] bars) => (float[N,2,S,4] y)
            { mask = Neg(bars)
              q = Relu(x)
              y = Attention(q, q, q, mask) }"#,
        )
        .unwrap();
        crate::passes::infer_declared(&mut model.graph);
        let tensor = |dims: &[usize]| Tensor::f32s(dims, &vec![0.5; dims.iter().product()]).unwrap();
        let sample = |n: usize, s: usize| {
            vec![("x".to_string(), tensor(&[n, 2, s, 4])), ("bars".to_string(), tensor(&[n, 1, 1, s]))]
        };
        for samples in [[sample(1, 3), sample(1, 3)], [sample(2, 3), sample(2, 5)]] {
            let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
            stepper.reach(&model, &[value(&model, "mask")]).unwrap();
            stepper.reach(&model, &outputs(&model)).unwrap();
            same_ends(&stepper, &model, &samples);
        }
    }

    #[test]
    fn weights_may_change_until_their_node_runs() {
        let (mut model, samples) = net();
        let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
        for node in layers(&model) {
            stepper.advance_to(&model, node).unwrap();
            let weight = model.graph.operand(node, 1).unwrap();
            let halved: Vec<f32> =
                model.graph.constant(weight).unwrap().reals().unwrap().iter().map(|x| *x as f32 / 2.0).collect();
            let dims = model.graph.constant(weight).unwrap().dims().to_vec();
            model.graph.set_constant(weight, Tensor::f32s(&dims, &halved).unwrap());
        }
        stepper.reach(&model, &outputs(&model)).unwrap();
        same_ends(&stepper, &model, &samples);
    }

    #[test]
    fn what_is_read_no_more_goes() {
        let (model, samples) = net();
        let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
        let [first, second, third] = layers(&model)[..] else { panic!("three layers") };
        stepper.advance_to(&model, second).unwrap();
        assert!(stepper.of(value(&model, "x")).is_none() && stepper.of(value(&model, "a")).is_none());
        assert!(stepper.has_run(first) && stepper.of(value(&model, "r")).is_some());
        stepper.advance_to(&model, third).unwrap();
        // s is an output, f is asked for.
        let live: FxHashSet<ValueId> = stepper.live.keys().copied().collect();
        assert_eq!(live, [value(&model, "s"), value(&model, "f")].into_iter().collect());
        let refused = stepper.reach(&model, &[value(&model, "r")]).unwrap_err().to_string();
        assert_eq!(refused, "tract cannot run the model: \"r\" is gone");
    }

    #[test]
    fn a_clone_goes_its_own_way() {
        let (model, samples) = net();
        let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
        let second = layers(&model)[1];
        stepper.advance_to(&model, second).unwrap();
        let mut other = model.clone();
        let weight = other.graph.operand(second, 1).unwrap();
        other.graph.set_constant(weight, Tensor::f32s(&[3, 3, 1, 1], &[0.5; 9]).unwrap());
        let mut branch = stepper.clone();
        branch.reach(&other, &outputs(&other)).unwrap();
        stepper.reach(&model, &outputs(&model)).unwrap();
        same_ends(&branch, &other, &samples);
        same_ends(&stepper, &model, &samples);
    }

    #[test]
    fn bodies_read_what_is_outside() {
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (bool c, float[2] x) => (float[2] y)
            { h = Neg(x)
              k = Abs(h)
              y = If <then_branch = t () => (float[2] p) { p = Add(h, k) },
                      else_branch = e () => (float[2] q) { q = Neg(h) }> (c) }"#,
        )
        .unwrap();
        let flag = |b: u8| Tensor::raw(crate::ir::DType::Bool, &[], vec![b].into()).unwrap();
        let x = Tensor::f32s(&[2], &[1.0, -3.0]).unwrap();
        let samples: Vec<Vec<(String, Tensor)>> =
            [0, 1].map(|b| vec![("c".to_string(), flag(b)), ("x".to_string(), x.clone())]).to_vec();
        let mut stepper = Stepper::new(&model, &samples, &Tract).unwrap();
        stepper.reach(&model, &[value(&model, "k")]).unwrap();
        assert!(stepper.of(value(&model, "h")).is_some(), "a body will read it");
        stepper.reach(&model, &outputs(&model)).unwrap();
        same_ends(&stepper, &model, &samples);
    }

    #[test]
    fn a_sample_without_an_input_is_refused() {
        let (model, _) = net();
        let none: Vec<Vec<(String, Tensor)>> = vec![vec![]];
        let refused = Stepper::new(&model, &none, &Tract).err().unwrap();
        assert_eq!(refused.reason, "there is no tensor for input \"x\"");
    }

    #[test]
    fn the_tensors_of_a_sample_are_counted_where_they_are_most() {
        let (model, samples) = net();
        // x and a; a and r; r and b; r, b and s.
        assert_eq!(held_bytes(&model, &samples[0]), 4 * 25 * 9);
    }
}
