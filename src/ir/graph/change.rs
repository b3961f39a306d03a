//! The verbs that change a graph.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{CompactOrigin, Node, Operand, Output, Scope, User, Value, id};
use crate::ir::{Attr, Carried, DType, Graph, NodeId, OpKind, ScopeId, Tensor, Type, ValueId};

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

    /// `value` in another type, right behind what makes it.
    pub fn add_cast(&mut self, value: ValueId, to: DType) -> ValueId {
        let scope = self.value(value).scope();
        let order = self.producer(value).map_or(0, |(node, _)| self.node(node).order());
        let node = self.add_node(scope, OpKind::Cast, &[Some(value)], 1, order);
        self.set_attr(node, "to", i64::from(to.code()).into());
        let name = to.tagged(&self.value_label(value));
        self.node_mut(node).name = Arc::from(name.as_str());
        let shape = self.value(value).ty.shape().clone();
        let result = self.result(node, 0).expect("a node that was made with a result has one");
        let new = self.value_mut(result);
        (new.ty, new.name) = (Type::tensor(to, shape), Arc::from(name.as_str()));
        result
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
