//! Nodes, values and their wiring, changed only by the verbs in `change`.
//!
//! One arena holds the main graph and every body (the branches of an `If`, the body of a `Loop`), told apart by
//! [`ScopeId`]. A body that reads a value of an outer scope is a use like any other, so nothing that is captured can
//! be removed by mistake. A node holds its operands and results by slot; a value holds its origin and all its uses;
//! each operand remembers its place in that list, so rewiring costs the same however many uses a value has.

mod change;
mod schedule;

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::FxHashSet;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_nodes_take_little_room() {
        let sizes = [size_of::<Option<Node>>(), size_of::<Option<Value>>(), size_of::<(Cow<'static, str>, Attr)>()];
        assert!(sizes.iter().all(|&size| size <= 128), "{sizes:?}");
    }
}
