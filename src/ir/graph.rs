//! Nodes, values and their wiring, changed only by the verbs here.
//!
//! One arena holds the main graph and every body (the branches of an `If`, the body of a `Loop`), told apart by
//! [`ScopeId`]. A body that reads a value of an outer scope is a use like any other, so nothing that is captured can
//! be removed by mistake. A node holds its operands and results by slot; a value holds its origin and all its uses;
//! each operand remembers its place in that list, so rewiring costs the same however many uses a value has.

use std::borrow::Cow;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::ir::{Attr, Carried, Int, OpKind, Tensor, Type};

/// Names a node of one [`Graph`]. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// Names a value of one [`Graph`]. Never reused.
///
/// One more than the index, so that an absent value takes no more room than one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(NonZeroU32);

/// Names the main graph or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub(super) u32);

impl ScopeId {
    /// The main graph.
    pub const MAIN: ScopeId = ScopeId(0);
}

impl NodeId {
    /// A dense index, for side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    pub(super) fn at(index: u32) -> ValueId {
        ValueId(NonZeroU32::MIN.saturating_add(index))
    }

    fn number(self) -> u32 {
        self.0.get() - 1
    }

    /// A dense index, for side tables.
    pub fn index(self) -> usize {
        self.number() as usize
    }

    /// The size of axis `index` of this value, where only a run can tell.
    pub fn measured(self, index: usize) -> Int {
        Int::measured(self.number(), u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Element `index` of this value, where only a run can tell.
    pub fn element(self, index: usize) -> Int {
        Int::element(self.number(), u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// One call of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Which operator.
    pub op: OpKind,
    /// Domain and name of an operator that is not in the table; set exactly when `op` is `Custom`.
    pub custom: Option<Arc<(String, String)>>,
    /// The file's name for the node; may be empty.
    pub name: Arc<str>,
    /// What else the file says of the node (documentation, metadata, device), in its own encoding.
    pub carried: Carried,
    pub(super) attrs: Vec<(Cow<'static, str>, Attr)>,
    pub(super) operands: SmallVec<[Option<Operand>; 3]>,
    pub(super) results: SmallVec<[Option<ValueId>; 4]>,
    pub(super) scope: ScopeId,
    /// Where the node stood in the file; a node made by a rewrite stands where what it replaces stood.
    pub(super) order: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) value: ValueId,
    /// Index in the value's use list.
    place: u32,
}

impl Node {
    /// The attribute `name`, when present.
    pub fn attr(&self, name: &str) -> Option<&Attr> {
        self.attrs.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    /// Every attribute, in file order.
    pub fn attrs(&self) -> &[(Cow<'static, str>, Attr)] {
        &self.attrs
    }

    /// The operator's name as the file spells it.
    pub fn op_name(&self) -> &str {
        self.custom.as_ref().map_or_else(|| self.op.name(), |c| &c.1)
    }

    /// The operator's domain; empty for ai.onnx.
    pub fn domain(&self) -> &str {
        self.custom.as_ref().map_or("", |c| &c.0)
    }

    /// The graph that the node is in.
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// Where the node stood in the file.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// The graphs that the node runs.
    pub fn bodies(&self) -> impl Iterator<Item = ScopeId> {
        self.attrs
            .iter()
            .flat_map(|(_, a)| match a {
                Attr::Graph(s) => std::slice::from_ref(s),
                Attr::Graphs(s) => s.as_slice(),
                _ => &[],
            })
            .copied()
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Result `slot` of a node.
    Node(NodeId, usize),
    /// An input of its scope.
    Input,
    /// Known before the run.
    Constant,
}

/// An [`Origin`] in half the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompactOrigin {
    Node(NodeId, u32),
    Input,
    Constant,
}

/// Who reads a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// Operand `slot` of a node.
    Node(NodeId, usize),
    /// Output `index` of a scope.
    Output(ScopeId, usize),
}

/// Something that nodes read and at most one node makes.
#[derive(Clone, Debug)]
pub struct Value {
    /// A label for files and people; never a key. Empty for values made by rewrites.
    pub name: Arc<str>,
    /// What is known of its type.
    pub ty: Type,
    /// The elements of a small integer tensor of rank 0 or 1, as far as shape arithmetic tells them.
    pub content: Option<Arc<[Int]>>,
    /// What else the file says of the value, in its own encoding.
    pub carried: Carried,
    pub(super) origin: CompactOrigin,
    pub(super) scope: ScopeId,
    constant: Option<Box<Tensor>>,
    pub(super) uses: SmallVec<[User; 1]>,
}

impl Value {
    /// Where the value comes from.
    pub fn origin(&self) -> Origin {
        match self.origin {
            CompactOrigin::Node(node, slot) => Origin::Node(node, slot as usize),
            CompactOrigin::Input => Origin::Input,
            CompactOrigin::Constant => Origin::Constant,
        }
    }

    /// The graph that the value is in.
    pub fn scope(&self) -> ScopeId {
        self.scope
    }

    /// The tensor, for a value known before the run. `None` for an input with a default that callers may override.
    pub fn constant(&self) -> Option<&Tensor> {
        match self.origin {
            CompactOrigin::Constant => self.constant.as_deref(),
            CompactOrigin::Input | CompactOrigin::Node(..) => None,
        }
    }

    /// The tensor that an input takes when the caller gives none.
    pub fn default(&self) -> Option<&Tensor> {
        match self.origin {
            CompactOrigin::Input => self.constant.as_deref(),
            CompactOrigin::Constant | CompactOrigin::Node(..) => None,
        }
    }

    /// Everyone who reads the value, in no particular order.
    pub fn users(&self) -> &[User] {
        &self.uses
    }
}

/// An output of a scope. Its name belongs to the interface and stays, whatever value it shows.
#[derive(Clone, Debug)]
pub struct Output {
    /// The interface's name.
    pub name: Arc<str>,
    /// The type that the file declares.
    pub declared: Type,
    /// What else the file says of it, in its own encoding.
    pub carried: Carried,
    pub(super) value: ValueId,
    place: u32,
}

impl Output {
    /// The value that the output shows.
    pub fn value(&self) -> ValueId {
        self.value
    }
}

/// The main graph or a body.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The file's name for the graph.
    pub name: Arc<str>,
    /// What else the file says of the graph, in its own encoding.
    pub carried: Carried,
    pub(super) parent: Option<NodeId>,
    pub(super) inputs: Vec<ValueId>,
    pub(super) outputs: Vec<Output>,
    pub(super) nodes: Vec<NodeId>,
}

impl Scope {
    /// The node that runs this body; `None` for the main graph.
    pub fn parent(&self) -> Option<NodeId> {
        self.parent
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}

/// A model's computation.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) values: Vec<Option<Value>>,
    pub(super) scopes: Vec<Option<Scope>>,
    pub(super) live_nodes: usize,
}

impl Default for Graph {
    fn default() -> Graph {
        Graph { nodes: Vec::new(), values: Vec::new(), scopes: vec![Some(Scope::default())], live_nodes: 0 }
    }
}

pub(super) fn id(index: usize) -> u32 {
    u32::try_from(index).expect("a graph has fewer than 2³² nodes and values")
}

/// A count for each of some nodes: a table for most nodes of a graph, a map for few.
enum Counts {
    Table(Vec<u32>),
    Map(FxHashMap<NodeId, u32>),
}

impl Counts {
    fn new(members: usize, all: usize) -> Counts {
        if members >= all / 16 { Counts::Table(vec![0; all]) } else { Counts::Map(FxHashMap::default()) }
    }

    fn at(&mut self, node: NodeId) -> &mut u32 {
        match self {
            Counts::Table(table) => &mut table[node.index()],
            Counts::Map(map) => map.entry(node).or_default(),
        }
    }

    fn add(&mut self, node: NodeId) {
        *self.at(node) += 1;
    }

    /// Whether the count is zero now.
    fn subtract(&mut self, node: NodeId) -> bool {
        let count = self.at(node);
        *count -= 1;
        *count == 0
    }

    fn is_zero(&self, node: NodeId) -> bool {
        match self {
            Counts::Table(table) => table[node.index()] == 0,
            Counts::Map(map) => map.get(&node).is_none_or(|&count| count == 0),
        }
    }
}

/// Reading.
impl Graph {
    /// The node. Panics for a removed one: ids are handed out by this graph only.
    pub fn node(&self, node: NodeId) -> &Node {
        self.nodes[node.index()].as_ref().expect("the node has not been removed")
    }

    /// The value. Panics for a removed one.
    pub fn value(&self, value: ValueId) -> &Value {
        self.values[value.index()].as_ref().expect("the value has not been removed")
    }

    /// The scope. Panics for a removed one.
    pub fn scope(&self, scope: ScopeId) -> &Scope {
        self.scopes[scope.0 as usize].as_ref().expect("the scope has not been removed")
    }

    /// Whether the node is still there.
    pub fn has_node(&self, node: NodeId) -> bool {
        self.nodes.get(node.index()).is_some_and(Option::is_some)
    }

    /// Whether the value is still there.
    pub fn has_value(&self, value: ValueId) -> bool {
        self.values.get(value.index()).is_some_and(Option::is_some)
    }

    /// Whether the scope is still there.
    pub fn has_scope(&self, scope: ScopeId) -> bool {
        self.scopes.get(scope.0 as usize).is_some_and(Option::is_some)
    }

    /// Nodes in the main graph and every body.
    pub fn node_count(&self) -> usize {
        self.live_nodes
    }

    /// The value that an [`Atom`](crate::ir::Atom) measures, while it is there.
    pub fn value_at(&self, index: u32) -> Option<ValueId> {
        Some(ValueId::at(index)).filter(|&value| self.has_value(value))
    }

    /// One more than the largest node index.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// One more than the largest value index.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// Every node, oldest first.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().enumerate().filter(|(_, n)| n.is_some()).map(|(i, _)| NodeId(id(i)))
    }

    /// Every value, oldest first.
    pub fn values(&self) -> impl Iterator<Item = ValueId> {
        self.values.iter().enumerate().filter(|(_, v)| v.is_some()).map(|(i, _)| ValueId::at(id(i)))
    }

    /// The main graph and every body, outer before inner.
    pub fn scopes(&self) -> impl Iterator<Item = ScopeId> {
        self.scopes.iter().enumerate().filter(|(_, s)| s.is_some()).map(|(i, _)| ScopeId(id(i)))
    }

    /// The nodes of one scope, in the order they were added.
    pub fn nodes_of(&self, scope: ScopeId) -> impl Iterator<Item = NodeId> {
        self.scope(scope).nodes.iter().copied().filter(move |&n| self.has_node(n) && self.node(n).scope == scope)
    }

    /// Operands in slot order; `None` where an optional one is left out.
    pub fn operands(&self, node: NodeId) -> impl ExactSizeIterator<Item = Option<ValueId>> + DoubleEndedIterator {
        self.node(node).operands.iter().map(|o| o.map(|o| o.value))
    }

    /// Operand `slot`; `None` when left out.
    pub fn operand(&self, node: NodeId, slot: usize) -> Option<ValueId> {
        self.node(node).operands.get(slot).copied().flatten().map(|o| o.value)
    }

    /// How many operand slots the node has, left-out ones included.
    pub fn operand_count(&self, node: NodeId) -> usize {
        self.node(node).operands.len()
    }

    /// Results in slot order; `None` where the file leaves one unnamed.
    pub fn results(&self, node: NodeId) -> &[Option<ValueId>] {
        &self.node(node).results
    }

    /// Result `slot`, when the node has it.
    pub fn result(&self, node: NodeId, slot: usize) -> Option<ValueId> {
        self.node(node).results.get(slot).copied().flatten()
    }

    /// The node that makes `value`, and which of its results it is.
    pub fn producer(&self, value: ValueId) -> Option<(NodeId, usize)> {
        match self.value(value).origin() {
            Origin::Node(node, slot) => Some((node, slot)),
            Origin::Input | Origin::Constant => None,
        }
    }

    /// The tensor that `value` always is, if it is known before the run.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.value(value).constant()
    }

    /// Whether `value` is an output of its own or another scope.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.value(value).uses.iter().any(|u| matches!(u, User::Output(..)))
    }

    /// Whether a node of `scope` may read `value`: it is made there or in a scope around it.
    pub fn is_visible(&self, value: ValueId, scope: ScopeId) -> bool {
        let home = self.value(value).scope;
        self.around(scope).any(|at| at == home)
    }

    /// `scope`, and those around it, outwards.
    pub fn around(&self, scope: ScopeId) -> impl Iterator<Item = ScopeId> {
        std::iter::successors(Some(scope), |&at| self.scope(at).parent.map(|parent| self.node(parent).scope))
    }

    /// Values of outer scopes that the node's bodies read, each once, in the order they are met.
    pub fn captures(&self, node: NodeId) -> Vec<ValueId> {
        let mut inside: Vec<ScopeId> = self.node(node).bodies().collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < inside.len() {
            let scope = inside[at];
            at += 1;
            for n in self.nodes_of(scope) {
                found.extend(self.operands(n).flatten());
                inside.extend(self.node(n).bodies());
            }
            found.extend(self.scope(scope).outputs.iter().map(|o| o.value));
        }
        let inside: FxHashSet<ScopeId> = inside.into_iter().collect();
        let mut seen = FxHashSet::default();
        found.retain(|&v| !inside.contains(&self.value(v).scope) && seen.insert(v));
        found
    }

    /// The nodes of `scope`, operands before users; ties in file order. Nodes on a cycle are left out (the verifier
    /// reports them).
    pub fn schedule(&self, scope: ScopeId) -> Vec<NodeId> {
        let members: Vec<NodeId> = self.nodes_of(scope).collect();
        // A wire counts once for each use, here and when its producer is done, so the two sides agree.
        let mut waiting = Counts::new(members.len(), self.nodes.len());
        for &p in &members {
            self.each_reader(p, scope, |reader| waiting.add(reader));
        }
        let key = |n: NodeId| std::cmp::Reverse((self.node(n).order, n));
        let mut ready: BinaryHeap<_> = members.iter().copied().filter(|&n| waiting.is_zero(n)).map(key).collect();
        let mut order = Vec::with_capacity(members.len());
        while let Some(std::cmp::Reverse((_, n))) = ready.pop() {
            order.push(n);
            self.each_reader(n, scope, |reader| {
                if waiting.subtract(reader) {
                    ready.push(key(reader));
                }
            });
        }
        order
    }

    /// Call `f` with the node of `scope` that waits for each use of a result of `node`: the user, or the node whose
    /// body the user is in.
    fn each_reader(&self, node: NodeId, scope: ScopeId, mut f: impl FnMut(NodeId)) {
        for &value in self.node(node).results.iter().flatten() {
            for user in &self.value(value).uses {
                let (mut at, mut reader) = match *user {
                    User::Node(n, _) => (self.node(n).scope, Some(n)),
                    User::Output(s, _) => (s, None),
                };
                while at != scope {
                    let Some(parent) = self.scope(at).parent else { break };
                    (at, reader) = (self.node(parent).scope, Some(parent));
                }
                if let (true, Some(reader)) = (at == scope, reader) {
                    f(reader);
                }
            }
        }
    }

    /// How messages call the node: its name, else its first result, else its operator.
    pub fn label(&self, node: NodeId) -> String {
        let n = self.node(node);
        if !n.name.is_empty() {
            return n.name.to_string();
        }
        let result = n.results.iter().flatten().map(|&v| self.value_label(v)).find(|l| !l.is_empty());
        result.unwrap_or_else(|| n.op_name().to_string())
    }

    /// How messages call the value: the output it shows, else its own name; may be empty.
    ///
    /// Outputs that are added to look at a tensor begin with a control character; nobody knows them by that.
    pub fn value_label(&self, value: ValueId) -> String {
        let v = self.value(value);
        for user in &v.uses {
            if let User::Output(scope, index) = *user
                && let name = &self.scope(scope).outputs[index].name
                && !name.starts_with('\u{1}')
            {
                return name.to_string();
            }
        }
        v.name.to_string()
    }
}

/// Editing.
impl Graph {
    /// The node, to change its name, what is carried, or its operator. Attributes: [`Graph::set_attr`].
    pub fn node_mut(&mut self, node: NodeId) -> &mut Node {
        self.nodes[node.index()].as_mut().expect("the node has not been removed")
    }

    /// The value, to change its name or what is known of its type.
    pub fn value_mut(&mut self, value: ValueId) -> &mut Value {
        self.values[value.index()].as_mut().expect("the value has not been removed")
    }

    /// The scope, to change its name or what is carried.
    pub fn scope_mut(&mut self, scope: ScopeId) -> &mut Scope {
        self.scopes[scope.0 as usize].as_mut().expect("the scope has not been removed")
    }

    /// The output, to change its name or declared type.
    pub fn output_mut(&mut self, scope: ScopeId, index: usize) -> &mut Output {
        &mut self.scope_mut(scope).outputs[index]
    }

    /// A body that `parent` runs. Also set the attribute that names it: [`Graph::set_attr`].
    pub fn add_body(&mut self, parent: NodeId, name: &str) -> ScopeId {
        let scope = ScopeId(id(self.scopes.len()));
        self.scopes.push(Some(Scope { name: name.into(), parent: Some(parent), ..Scope::default() }));
        scope
    }

    fn add_value(
        &mut self,
        scope: ScopeId,
        name: Arc<str>,
        ty: Type,
        origin: CompactOrigin,
        constant: Option<Tensor>,
    ) -> ValueId {
        let value = ValueId::at(id(self.values.len()));
        self.values.push(Some(Value {
            name,
            ty,
            content: None,
            carried: Carried::default(),
            origin,
            scope,
            constant: constant.map(Box::new),
            uses: SmallVec::new(),
        }));
        value
    }

    /// An input, after the ones there are.
    pub fn add_input(&mut self, scope: ScopeId, name: &str, ty: Type) -> ValueId {
        let value = self.add_value(scope, name.into(), ty, CompactOrigin::Input, None);
        self.scope_mut(scope).inputs.push(value);
        value
    }

    /// Give an input the tensor that it takes when the caller passes none.
    pub fn set_default(&mut self, input: ValueId, default: Tensor) {
        debug_assert!(self.value(input).origin == CompactOrigin::Input, "only inputs have defaults");
        self.value_mut(input).constant = Some(Box::new(default));
    }

    /// A value known before the run.
    pub fn add_constant(&mut self, scope: ScopeId, name: &str, tensor: Tensor) -> ValueId {
        let ty = Type::tensor(tensor.dtype(), crate::ir::Shape::known(tensor.dims()));
        self.add_value(scope, name.into(), ty, CompactOrigin::Constant, Some(tensor))
    }

    /// Other data for a constant. Everyone who reads it sees the new tensor.
    pub fn set_constant(&mut self, value: ValueId, tensor: Tensor) {
        let v = self.value_mut(value);
        debug_assert!(v.origin == CompactOrigin::Constant, "only constants hold data");
        v.ty = Type::tensor(tensor.dtype(), crate::ir::Shape::known(tensor.dims()));
        v.constant = Some(Box::new(tensor));
    }

    /// Have operand `slot` of `node` be a constant that no other call reads. The one that it read goes when nobody else
    /// reads it; where none does and sizes stay, it is that one, with other data.
    pub fn own_constant(&mut self, node: NodeId, slot: usize, tensor: Tensor) {
        let old = self.operand(node, slot).filter(|&value| self.constant(value).is_some());
        if let Some(old) = old
            && self.value(old).users().len() == 1
            && self.constant(old).is_some_and(|before| before.dims() == tensor.dims())
        {
            self.set_constant(old, tensor);
            return;
        }
        let name = old.map(|value| self.value(value).name.clone()).unwrap_or_default();
        let value = self.add_constant(self.node(node).scope(), &name, tensor);
        self.set_operand(node, slot, Some(value));
        if let Some(old) = old {
            self.prune_constant(old);
        }
    }

    /// A call of `op` with `results` results, standing at `order` in the file.
    pub fn add_node(
        &mut self,
        scope: ScopeId,
        op: OpKind,
        operands: &[Option<ValueId>],
        results: usize,
        order: u32,
    ) -> NodeId {
        let node = NodeId(id(self.nodes.len()));
        self.nodes.push(Some(Node {
            op,
            custom: None,
            name: Arc::default(),
            carried: Carried::default(),
            attrs: Vec::new(),
            operands: SmallVec::new(),
            results: SmallVec::new(),
            scope,
            order,
        }));
        self.live_nodes += 1;
        self.scope_mut(scope).nodes.push(node);
        for slot in 0..results {
            let value = self.add_value(scope, Arc::default(), Type::Unknown, CompactOrigin::Node(node, id(slot)), None);
            self.node_mut(node).results.push(Some(value));
        }
        for (slot, operand) in operands.iter().enumerate() {
            self.set_operand(node, slot, *operand);
        }
        node
    }

    /// Leave result `slot` out. It must have no users.
    pub fn drop_result(&mut self, node: NodeId, slot: usize) {
        if let Some(value) = self.result(node, slot) {
            debug_assert!(self.value(value).uses.is_empty(), "a result that is read cannot be dropped");
            self.values[value.index()] = None;
            let results = &mut self.node_mut(node).results;
            results[slot] = None;
            while results.last() == Some(&None) {
                results.pop();
            }
        }
    }

    /// Set attribute `name`, in place if it is there.
    pub fn set_attr(&mut self, node: NodeId, name: impl Into<Cow<'static, str>>, attr: Attr) {
        let name = name.into();
        let attrs = &mut self.node_mut(node).attrs;
        match attrs.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = attr,
            None => {
                // Nodes have few attributes, and graphs many nodes.
                attrs.reserve_exact(1);
                attrs.push((name, attr));
            }
        }
    }

    /// Remove attribute `name`. A body that it held is removed by [`Graph::remove_dead`]'s caller, not here.
    pub fn remove_attr(&mut self, node: NodeId, name: &str) {
        self.node_mut(node).attrs.retain(|(n, _)| n != name);
    }

    /// Make operand `slot` read `value`. Slots before it that do not exist yet are left out.
    pub fn set_operand(&mut self, node: NodeId, slot: usize, value: Option<ValueId>) {
        while self.node(node).operands.len() <= slot {
            self.node_mut(node).operands.push(None);
        }
        if let Some(old) = self.node(node).operands[slot] {
            self.forget(old.value, old.place);
        }
        let operand = value.map(|value| Operand { value, place: self.remember(value, User::Node(node, slot)) });
        self.node_mut(node).operands[slot] = operand;
    }

    /// Cut operand slots from `count` on.
    pub fn truncate_operands(&mut self, node: NodeId, count: usize) {
        for slot in (count..self.operand_count(node)).rev() {
            self.set_operand(node, slot, None);
            self.node_mut(node).operands.pop();
        }
    }

    fn remember(&mut self, value: ValueId, user: User) -> u32 {
        let uses = &mut self.value_mut(value).uses;
        uses.push(user);
        id(uses.len() - 1)
    }

    fn forget(&mut self, value: ValueId, place: u32) {
        let uses = &mut self.value_mut(value).uses;
        uses.swap_remove(place as usize);
        // The use that filled the gap has a new place.
        match uses.get(place as usize).copied() {
            Some(User::Node(node, slot)) => {
                if let Some(operand) = &mut self.node_mut(node).operands[slot] {
                    operand.place = place;
                }
            }
            Some(User::Output(scope, index)) => self.scope_mut(scope).outputs[index].place = place,
            None => {}
        }
    }

    /// Show `value` as output `name`, after the outputs there are.
    pub fn add_output(&mut self, scope: ScopeId, name: &str, value: ValueId, declared: Type) {
        let index = self.scope(scope).outputs.len();
        let place = self.remember(value, User::Output(scope, index));
        let output = Output { name: name.into(), declared, carried: Carried::default(), value, place };
        self.scope_mut(scope).outputs.push(output);
    }

    /// Show another value as output `index`.
    pub fn set_output(&mut self, scope: ScopeId, index: usize, value: ValueId) {
        let old = self.scope(scope).outputs[index].clone();
        self.forget(old.value, old.place);
        let place = self.remember(value, User::Output(scope, index));
        let output = self.output_mut(scope, index);
        (output.value, output.place) = (value, place);
    }

    /// Take output `index` of a body away; the ones after it move up.
    pub fn remove_output(&mut self, scope: ScopeId, index: usize) {
        let old = self.scope_mut(scope).outputs.remove(index);
        self.forget(old.value, old.place);
        for i in index..self.scope(scope).outputs.len() {
            let (value, place) = (self.scope(scope).outputs[i].value, self.scope(scope).outputs[i].place);
            self.value_mut(value).uses[place as usize] = User::Output(scope, i);
        }
    }

    /// Take input `index` of a body away. It must have no users.
    pub fn remove_input(&mut self, scope: ScopeId, index: usize) {
        let value = self.scope_mut(scope).inputs.remove(index);
        debug_assert!(self.value(value).uses.is_empty(), "an input that is read cannot be removed");
        self.values[value.index()] = None;
    }

    /// Put the inputs of a scope in the order of `key`; those with equal keys stay as they stand.
    pub fn sort_inputs(&mut self, scope: ScopeId, key: impl FnMut(&ValueId) -> usize) {
        self.scope_mut(scope).inputs.sort_by_key(key);
    }

    /// Make one user read `new` instead of what it reads.
    pub fn replace_use(&mut self, user: User, new: ValueId) {
        match user {
            User::Node(node, slot) => self.set_operand(node, slot, Some(new)),
            User::Output(scope, index) => self.set_output(scope, index, new),
        }
    }

    /// Make everyone who reads `old` read `new`. What `old` knew of its type is kept.
    ///
    /// A new unnamed value takes a result's name and what is carried for it, so that names of surviving tensors stay.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        let ty = self.value(old).ty.clone();
        let is_result = |v: &Value| matches!(v.origin, CompactOrigin::Node(..));
        let named = is_result(self.value(old)) && self.value(new).name.is_empty();
        if named {
            let name = std::mem::take(&mut self.value_mut(old).name);
            let carried = std::mem::take(&mut self.value_mut(old).carried);
            let value = self.value_mut(new);
            value.name = name;
            // A constant carries what is said of a tensor, a result what is said of a value.
            if is_result(value) && value.carried.is_empty() {
                value.carried = carried;
            }
        }
        self.value_mut(new).ty.refine(&ty);
        while let Some(&user) = self.value(old).uses.last() {
            self.replace_use(user, new);
        }
    }

    /// Remove a node. Its results must have no users; its bodies go with it.
    pub fn remove_node(&mut self, node: NodeId) {
        let bodies: Vec<ScopeId> = self.node(node).bodies().collect();
        for body in bodies {
            self.remove_scope(body);
        }
        self.truncate_operands(node, 0);
        for value in std::mem::take(&mut self.node_mut(node).results).into_iter().flatten() {
            debug_assert!(self.value(value).uses.is_empty(), "a node whose results are read cannot be removed");
            self.values[value.index()] = None;
        }
        self.nodes[node.index()] = None;
        self.live_nodes -= 1;
    }

    /// Remove a body with everything in it.
    pub fn remove_scope(&mut self, scope: ScopeId) {
        let mut read: Vec<ValueId> = self.scope(scope).outputs.iter().map(|o| o.value).collect();
        while !self.scope(scope).outputs.is_empty() {
            self.remove_output(scope, self.scope(scope).outputs.len() - 1);
        }
        // Cut all wires first: then the order of removal does not matter.
        let nodes: Vec<NodeId> = self.nodes_of(scope).collect();
        for &n in &nodes {
            read.extend(self.operands(n).flatten());
            read.extend(self.captures(n));
            self.truncate_operands(n, 0);
            let bodies: Vec<ScopeId> = self.node(n).bodies().collect();
            for body in bodies {
                self.remove_scope(body);
            }
            self.node_mut(n).attrs.retain(|(_, a)| !matches!(a, Attr::Graph(_) | Attr::Graphs(_)));
        }
        for n in nodes {
            self.remove_node(n);
        }
        for input in std::mem::take(&mut self.scope_mut(scope).inputs) {
            self.values[input.index()] = None;
        }
        // A constant of an outer scope stays, even if nobody else reads it: the caller may still name it.
        for value in read {
            if self.has_value(value) && self.value(value).scope == scope {
                self.prune_constant(value);
            }
        }
        self.scopes[scope.0 as usize] = None;
    }

    /// Move every node of `body` into the scope of the node that runs it, each input of the body becoming the given
    /// value, and return the values that the body's outputs showed. The body is left empty.
    ///
    /// `arguments` are visible where the body's node stands, one per input.
    pub fn inline_body(&mut self, body: ScopeId, arguments: &[ValueId]) -> Vec<ValueId> {
        let parent = self.scope(body).parent.expect("the main graph is never inlined");
        let (into, order) = (self.node(parent).scope, self.node(parent).order);
        let inputs = self.scope(body).inputs.clone();
        debug_assert_eq!(inputs.len(), arguments.len(), "one argument per input");
        for (&input, &argument) in inputs.iter().zip(arguments) {
            while let Some(&user) = self.value(input).uses.last() {
                self.replace_use(user, argument);
            }
        }
        // Operands come before users within the body, and so among equal orders if ids follow: keep file order.
        for node in self.schedule(body) {
            let n = self.node_mut(node);
            (n.scope, n.order) = (into, order);
            self.scope_mut(into).nodes.push(node);
        }
        for v in &mut self.values {
            if let Some(v) = v
                && v.scope == body
                && v.origin != CompactOrigin::Input
            {
                v.scope = into;
            }
        }
        self.scope(body).outputs.iter().map(|o| o.value).collect()
    }

    /// Whether no result of the node is read.
    pub fn is_dead(&self, node: NodeId) -> bool {
        self.node(node).results.iter().flatten().all(|&v| self.value(v).uses.is_empty())
    }

    /// Remove `node` if none of its results is read, and then whatever fed only it. `feeder` is told of each node
    /// that fed a removed one and stays.
    pub fn prune_dead(&mut self, node: NodeId, mut feeder: impl FnMut(NodeId)) {
        let mut stack = vec![node];
        while let Some(n) = stack.pop() {
            if !self.has_node(n) || !self.is_dead(n) {
                continue;
            }
            let mut feeds: Vec<ValueId> = self.operands(n).flatten().collect();
            if self.node(n).bodies().next().is_some() {
                feeds.extend(self.captures(n));
            }
            self.remove_node(n);
            // A node with many results may feed all operands of one with many: it is looked at once.
            let mut seen = FxHashSet::default();
            for v in feeds {
                if !self.has_value(v) {
                    continue;
                }
                self.prune_constant(v);
                let Some((p, _)) = self.has_value(v).then(|| self.producer(v)).flatten() else { continue };
                if !seen.insert(p) {
                    continue;
                }
                if self.is_dead(p) { stack.push(p) } else { feeder(p) }
            }
        }
    }

    /// Remove `value` if it is a constant that nobody reads.
    pub fn prune_constant(&mut self, value: ValueId) {
        let v = self.value(value);
        if v.origin == CompactOrigin::Constant && v.uses.is_empty() {
            self.values[value.index()] = None;
        }
    }

    /// Remove every node none of whose results is read, and every constant that nobody reads. Returns how many nodes
    /// went. Inputs stay: they are the interface.
    pub fn remove_dead(&mut self) -> usize {
        let before = self.live_nodes;
        let dead: Vec<NodeId> = self.nodes().filter(|&n| self.is_dead(n)).collect();
        for node in dead {
            self.prune_dead(node, |_| {});
        }
        for v in &mut self.values {
            if v.as_ref().is_some_and(|v| v.origin == CompactOrigin::Constant && v.uses.is_empty()) {
                *v = None;
            }
        }
        for i in 0..self.scopes.len() {
            if let Some(scope) = &self.scopes[i]
                && scope.nodes.len() > 64
            {
                let kept: Vec<NodeId> = self.nodes_of(ScopeId(id(i))).collect();
                self.scope_mut(ScopeId(id(i))).nodes = kept;
            }
        }
        before - self.live_nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_nodes_take_little_room() {
        let sizes = [size_of::<Option<Node>>(), size_of::<Option<Value>>(), size_of::<(Cow<'static, str>, Attr)>()];
        assert!(sizes.iter().all(|&size| size <= 128), "{sizes:?}");
    }
}
