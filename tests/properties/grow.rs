//! Grows a graph from numbers, call by call. A call that cannot be computed, or whose results would make comparing
//! pointless, is taken back.

use std::collections::{HashMap, HashSet};

use onnx_slim::ir::{Attr, DType, Graph, Int, NodeId, OpKind, ScopeId, Shape, Tensor, Type, ValueId};
use onnx_slim::model::{Model, OpsetImport};
use onnx_slim::ops::infer_node;

use crate::interpret::{Feed, call, check_type, largest};
use crate::random::Random;

/// A model and inputs that it runs on.
pub struct Grown {
    pub model: Model,
    pub feeds: Vec<Feed>,
}

/// Numbers that choices are made from; 0 when they are used up.
pub struct Dice<'a> {
    numbers: std::slice::Iter<'a, u16>,
}

impl Dice<'_> {
    fn of(numbers: &[u16]) -> Dice<'_> {
        Dice { numbers: numbers.iter() }
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.numbers.next().copied().unwrap_or(0)) % n.max(1)
    }

    pub fn one<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }

    pub fn int(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(usize::try_from(to - from + 1).expect("a range"))).expect("small")
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == one_in - 1
    }
}

/// A value with what it is on each set of inputs.
#[derive(Clone)]
pub struct Known {
    pub id: ValueId,
    pub tensors: [Tensor; 2],
    /// No edit can make it round differently: it is an input, or moved or chosen from exact values.
    pub exact: bool,
}

impl Known {
    pub fn dtype(&self) -> DType {
        self.tensors[0].dtype()
    }

    pub fn rank(&self) -> usize {
        self.tensors[0].rank()
    }

    /// Each size, where it is the same on both sets of inputs.
    pub fn dims(&self) -> Vec<Option<usize>> {
        let [a, b] = &self.tensors;
        a.dims().iter().zip(b.dims()).map(|(a, b)| (a == b).then_some(*a)).collect()
    }

    pub fn all(&self, holds: impl Fn(f64) -> bool) -> bool {
        self.tensors.iter().all(|t| t.reals().is_some_and(|r| r.into_iter().all(&holds)))
    }
}

/// What a call of a kind needs to be made.
pub struct Plan {
    pub op: OpKind,
    pub operands: Vec<Option<ValueId>>,
    pub attrs: Vec<(&'static str, Attr)>,
    pub results: usize,
}

/// A call of `op` with one result.
pub fn plan(op: OpKind, operands: impl IntoIterator<Item = ValueId>) -> Plan {
    Plan { op, operands: operands.into_iter().map(Some).collect(), attrs: Vec::new(), results: 1 }
}

impl Plan {
    pub fn with(mut self, name: &'static str, attr: Attr) -> Plan {
        self.attrs.push((name, attr));
        self
    }

    pub fn results(mut self, results: usize) -> Plan {
        self.results = results;
        self
    }
}

pub struct Grower {
    graph: Graph,
    pool: Vec<Known>,
    /// Constants to share.
    weights: Vec<ValueId>,
    random: Random,
}

/// Elements that a tensor may have.
const MAX_ELEMENTS: usize = 3000;

/// Magnitude that a float may have: beyond, what cancels keeps too large an error.
const MAX_MAGNITUDE: f64 = 200.0;

/// The graph of these numbers.
pub fn grow(start: &[u16], steps: &[[u16; 10]]) -> Grown {
    let mut dice = Dice::of(start);
    let opset = *dice.one(&[21, 13, 17, 18, 22]).expect("opsets");
    let mut grower = Grower { graph: Graph::default(), pool: Vec::new(), weights: Vec::new(), random: Random(1) };
    let feeds = grower.inputs(&mut dice);
    for numbers in steps {
        grower.step(&mut Dice::of(numbers));
    }
    grower.outputs(&mut dice);
    let import = OpsetImport { domain: String::new(), version: opset };
    let model = Model { graph: grower.graph, ir_version: 8, opset_imports: vec![import], ..Model::default() };
    Grown { model, feeds }
}

impl Grower {
    fn inputs(&mut self, dice: &mut Dice<'_>) -> Vec<Feed> {
        let open = dice.chance(2);
        let image: &[usize] = dice.one(&[[1, 4, 5, 5].as_slice(), &[4, 4, 6], &[3, 4], &[2, 3, 4]]).expect("shapes");
        let second = dice.below(4);
        let mut shapes = vec![("x", DType::F32, image.to_vec())];
        match second {
            0 => {}
            1 => shapes.push(("v", DType::F32, vec![image[0], 6])),
            2 => shapes.push(("i", DType::I64, vec![image[0], 4])),
            _ => shapes.push(("h", DType::F16, image.to_vec())),
        }
        if dice.chance(3) {
            shapes.push(("c", DType::Bool, vec![image[0], 1]));
        }
        let mut feeds = vec![Feed::new(), Feed::new()];
        for (name, dtype, dims) in shapes {
            let mut declared: Vec<Int> = dims.iter().map(|&d| Int::from(d)).collect();
            if open {
                declared[0] = Int::named("n");
            }
            let id = self.graph.add_input(ScopeId::MAIN, name, Type::tensor(dtype, Shape::of(declared)));
            let tensors = [1, 3].map(|n| {
                let mut dims = dims.clone();
                if open {
                    dims[0] = n;
                }
                self.random(dtype, &dims)
            });
            for (feed, tensor) in feeds.iter_mut().zip(&tensors) {
                feed.insert(name.into(), tensor.clone());
            }
            self.pool.push(Known { id, tensors, exact: true });
        }
        feeds
    }

    fn next(&mut self) -> u64 {
        self.random.next()
    }

    /// Between -3 and 3, none near a whole number, so that what is cut out of a float does not hang on rounding.
    fn random(&mut self, dtype: DType, dims: &[usize]) -> Tensor {
        let elements: Vec<f64> = (0..dims.iter().product())
            .map(|_| {
                let whole = (self.next() % 6) as f64 - 3.0;
                let part = (self.next() % 700) as f64 / 1000.0 + 0.15;
                match dtype {
                    DType::Bool => (self.next() % 2) as f64,
                    DType::F32 | DType::F16 => whole + part,
                    _ => whole,
                }
            })
            .collect();
        tensor(dtype, dims, &elements)
    }

    /// A value of the pool that `is` holds for; recent ones more often.
    pub fn pick(&self, dice: &mut Dice<'_>, is: impl Fn(&Known) -> bool) -> Option<Known> {
        let fitting: Vec<&Known> = self.pool.iter().rev().filter(|k| is(k)).collect();
        let among = if dice.chance(3) { fitting.len() } else { fitting.len().min(3) };
        dice.one(fitting.get(..among)?).map(|k| (*k).clone())
    }

    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("w{}", self.graph.value_bound());
        let id = self.graph.add_constant(ScopeId::MAIN, &name, tensor);
        self.weights.push(id);
        id
    }

    pub fn ints(&mut self, elements: &[i64]) -> ValueId {
        self.constant(Tensor::vector(elements))
    }

    /// A weight of these dimensions, sometimes one that is there already.
    pub fn weight(&mut self, dice: &mut Dice<'_>, dtype: DType, dims: &[usize]) -> ValueId {
        let there = self.weights.iter().rev().copied().find(|&w| {
            self.graph.has_value(w)
                && self.graph.constant(w).is_some_and(|t| t.dtype() == dtype && t.dims() == dims && t.len() > 1)
        });
        match there {
            Some(there) if dice.chance(2) => there,
            _ => {
                let tensor = self.filled(dice, dtype, dims);
                self.constant(tensor)
            }
        }
    }

    /// Zeros, ones and other units, or anything.
    pub fn filled(&mut self, dice: &mut Dice<'_>, dtype: DType, dims: &[usize]) -> Tensor {
        let all = |x: f64| tensor(dtype, dims, &vec![x; dims.iter().product()]);
        match dice.below(8) {
            0 => all(0.0),
            1 => all(1.0),
            2 => all(-1.0),
            3 => all(if dtype.is_float() { 0.5 } else { 2.0 }),
            _ => self.random(dtype, dims),
        }
    }

    /// Another operand for something elementwise with `x`: another value, or a constant that broadcasts.
    pub fn other(&mut self, dice: &mut Dice<'_>, x: &Known) -> ValueId {
        match dice.below(6) {
            0 | 1 => {
                let dtype = x.dtype();
                let broadcasts = |y: &Known| y.dtype() == dtype && broadcast(x, y);
                self.pick(dice, broadcasts).map_or(x.id, |y| y.id)
            }
            2 => self.weight(dice, x.dtype(), &[]),
            3 => {
                // One element per channel, or for the last axis.
                let axis = if dice.chance(2) { x.rank().saturating_sub(1) } else { x.rank().min(2).saturating_sub(1) };
                let Some(Some(size)) = x.dims().get(axis).copied() else { return self.weight(dice, x.dtype(), &[1]) };
                let mut dims = vec![1; x.rank() - axis];
                dims[0] = size;
                self.weight(dice, x.dtype(), &dims)
            }
            _ => {
                let dims: Vec<usize> = x.dims().into_iter().map(|d| d.unwrap_or(1)).collect();
                let ones = vec![1; dims.len()];
                let dims = if dice.chance(3) { ones } else { dims };
                self.weight(dice, x.dtype(), &dims)
            }
        }
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let before = self.graph.value_bound();
        if let Some((plan, exact)) = self.propose(dice) {
            self.add(plan, exact);
        }
        // Constants of what was not added.
        let unread: Vec<ValueId> = self.graph.values().filter(|v| v.index() >= before).collect();
        for value in unread {
            self.graph.prune_constant(value);
        }
        self.weights.retain(|&w| self.graph.has_value(w));
    }

    /// Add a call if it can be computed and its results are fit to be compared.
    pub fn add(&mut self, plan: Plan, exact: bool) -> Vec<Known> {
        let order = u32::try_from(self.graph.node_bound()).expect("a small graph");
        let node = self.graph.add_node(ScopeId::MAIN, plan.op, &plan.operands, plan.results, order);
        for (name, attr) in plan.attrs {
            self.graph.set_attr(node, name, attr);
        }
        for slot in 0..plan.results {
            if let Some(value) = self.graph.result(node, slot) {
                self.graph.value_mut(value).name = format!("{}{order}_{slot}", plan.op).to_lowercase().into();
            }
        }
        let Some(known) = self.computed(node, exact) else {
            self.graph.remove_node(node);
            return Vec::new();
        };
        infer_node(&mut self.graph, node);
        for value in &known {
            for tensor in &value.tensors {
                if let Err(why) = check_type(&self.graph, node, value.id, tensor) {
                    panic!("inference says what is not so: {why}\n{:?}", self.graph.node(node));
                }
            }
        }
        self.pool.extend(known.iter().cloned());
        known
    }

    fn computed(&self, node: NodeId, exact: bool) -> Option<Vec<Known>> {
        let mut sets = Vec::new();
        for set in 0..2 {
            let known = |v: ValueId| {
                let made = self.pool.iter().find(|k| k.id == v).map(|k| k.tensors[set].clone());
                made.or_else(|| self.graph.constant(v).cloned())
            };
            let results = call(&self.graph, node, &known).ok()?;
            if results.iter().any(|t| t.len() == 0 || t.len() > MAX_ELEMENTS || largest(t) > MAX_MAGNITUDE) {
                return None;
            }
            sets.push(results);
        }
        let exact = exact
            && self
                .graph
                .operands(node)
                .flatten()
                .all(|v| self.graph.constant(v).is_some() || self.pool.iter().any(|k| k.id == v && k.exact));
        let second = sets.pop()?;
        let pairs = sets.pop()?.into_iter().zip(second).enumerate();
        pairs
            .map(|(slot, (a, b))| {
                let exact = exact || !a.dtype().is_float();
                Some(Known { id: self.graph.result(node, slot)?, tensors: [a, b], exact })
            })
            .collect()
    }

    pub fn is_far_from_zero(&self, value: ValueId) -> bool {
        let far = |t: &Tensor| t.reals().is_some_and(|r| r.into_iter().all(|x| x.abs() >= 0.25));
        match self.pool.iter().find(|k| k.id == value) {
            Some(known) => known.tensors.iter().all(far),
            None => self.graph.constant(value).is_some_and(far),
        }
    }

    /// What nobody reads is shown, and some of what is read too.
    fn outputs(&mut self, dice: &mut Dice<'_>) {
        let read = |id: ValueId, graph: &Graph| !graph.value(id).users().is_empty();
        let mut shown: Vec<Known> = self.pool.iter().filter(|k| !read(k.id, &self.graph)).cloned().collect();
        shown.reverse();
        shown.truncate(4);
        for _ in 0..1 + dice.below(2) {
            if let Some(inner) = dice.one(&self.pool) {
                shown.push(inner.clone());
            }
        }
        let inputs: HashSet<ValueId> = self.graph.scope(ScopeId::MAIN).inputs().iter().copied().collect();
        let mut seen: HashMap<ValueId, usize> = HashMap::new();
        for (index, known) in shown.iter().enumerate() {
            // A value has one name, and an input is its own output nowhere.
            if inputs.contains(&known.id) || seen.insert(known.id, index).is_some() {
                continue;
            }
            let ty = self.graph.value(known.id).ty.clone();
            let sizes = ty.shape().dims().map(|d| d.iter().all(|d| d.known().is_some() || d.name().is_some()));
            let declared = if sizes == Some(true) { ty } else { Type::tensor(known.dtype(), Shape::UNKNOWN) };
            self.graph.value_mut(known.id).name = format!("y{index}").into();
            self.graph.add_output(ScopeId::MAIN, &format!("y{index}"), known.id, declared);
        }
        if seen.is_empty() {
            let Some(x) = self.pool.first().cloned() else { return };
            let made = self.add(plan(OpKind::Identity, [x.id]), true);
            if let Some(y) = made.first() {
                let ty = self.graph.value(y.id).ty.clone();
                self.graph.add_output(ScopeId::MAIN, "y", y.id, ty);
            }
        }
    }
}

/// Whether the two broadcast on both sets of inputs.
pub fn broadcast(a: &Known, b: &Known) -> bool {
    a.tensors
        .iter()
        .zip(&b.tensors)
        .all(|(a, b)| a.dims().iter().rev().zip(b.dims().iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1))
}

/// A tensor of these elements.
pub fn tensor(dtype: DType, dims: &[usize], elements: &[f64]) -> Tensor {
    if dtype.is_float() {
        return Tensor::rounded(dtype, dims, elements).expect("a float type");
    }
    let width = dtype.bits() / 8;
    let bytes: Vec<u8> = elements.iter().flat_map(|&x| (x as i64).to_le_bytes()[..width].to_vec()).collect();
    let bytes = if dtype == DType::Bool { bytes.into_iter().map(|b| u8::from(b != 0)).collect() } else { bytes };
    Tensor::raw(dtype, dims, bytes.into()).expect("as many elements as the dimensions say")
}
