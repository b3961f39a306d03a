//! Bytes of activations that a run holds at a time: told from shapes and from who reads what last.
//!
//! A tensor takes memory from the call that makes it to the last one that reads it, in the order in which the file has
//! its calls. As runtimes do, an element-by-element call writes over an operand that nobody else reads, a `Reshape` and
//! its kin take nothing, and integers are made where their real numbers are: `QuantizeLinear` takes the place of what only
//! it reads, and `DequantizeLinear` of nothing. What follows from constants alone counts with the weights.

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::exec::demand::of_type;
use crate::ir::{Graph, NodeId, OpKind, Origin, ScopeId, User, ValueId};
use crate::ops::{CallView, Channels, row_of};

/// Where a run holds most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// Bytes of all activations that are held there.
    pub bytes: u64,
    /// The call, by its node's name or its first result's; empty for a graph without calls.
    pub at: String,
}

/// Where a run of `graph`, whose shapes have been inferred, holds most. `None` where a size on the way is not a number.
pub fn peak(graph: &Graph) -> Option<Peak> {
    // Bodies come after the graphs around them, so from the back every node's bodies are known before it.
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    let mut peaks: FxHashMap<ScopeId, Option<(u128, Option<NodeId>)>> = FxHashMap::default();
    for &scope in scopes.iter().rev() {
        let found = Run::of(graph, scope).peak(&peaks);
        peaks.insert(scope, found);
    }
    let (bytes, at) = peaks.remove(&ScopeId::MAIN)??;
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Some(Peak { bytes, at: at.map_or_else(String::new, |node| graph.label(node)) })
}

/// One run of the calls of a scope.
struct Run<'g> {
    graph: &'g Graph,
    scope: ScopeId,
    nodes: Vec<NodeId>,
    /// Values that follow from constants.
    fixed: FxHashSet<ValueId>,
    /// The value whose memory another one takes.
    place: FxHashMap<ValueId, ValueId>,
    /// Places that several values look at.
    viewed: FxHashSet<ValueId>,
}

/// Which calls give what they read another shape and nothing else.
fn is_view(op: OpKind) -> bool {
    use OpKind::{DequantizeLinear, Flatten, Identity, Reshape, Squeeze, Unsqueeze};
    matches!(op, Reshape | Squeeze | Unsqueeze | Flatten | Identity | DequantizeLinear)
}

impl<'g> Run<'g> {
    fn of(graph: &'g Graph, scope: ScopeId) -> Run<'g> {
        let nodes = graph.schedule(scope);
        let (fixed, place, viewed) = Default::default();
        let mut run = Run { graph, scope, nodes, fixed, place, viewed };
        for i in 0..run.nodes.len() {
            run.visit(run.nodes[i]);
        }
        run
    }

    /// Decide where the results of `node` are.
    fn visit(&mut self, node: NodeId) {
        let n = self.graph.node(node);
        let call = CallView::new(self.graph, node);
        let mut operands = self.graph.operands(node).flatten().peekable();
        let has_any = operands.peek().is_some() && n.bodies().next().is_none();
        if has_any && operands.all(|v| self.is_fixed(v)) && (row_of(n).deterministic)(&call) {
            self.fixed.extend(self.graph.results(node).iter().flatten());
            return;
        }
        let &[Some(result)] = self.graph.results(node) else { return };
        if is_view(n.op) {
            if let Some(read) = call.operand(0).filter(|&v| self.is_held(v)) {
                let place = self.place_of(read);
                self.viewed.insert(place);
                self.place.insert(result, place);
            }
            return;
        }
        let is_quantized = n.op == OpKind::QuantizeLinear;
        if !is_quantized && (row_of(n).channels)(&call) != Channels::Tied {
            return;
        }
        let bytes = |v: ValueId| of_type(&self.graph.value(v).ty);
        let overwritten = self.graph.operands(node).flatten().find(|&v| {
            let value = self.graph.value(v);
            let is_alone = value.users().iter().all(|user| matches!(user, User::Node(reader, _) if *reader == node));
            let is_made = matches!(value.origin(), Origin::Node(..)) && self.is_held(v);
            let fits = is_quantized || bytes(v).is_some() && bytes(v) == bytes(result);
            is_made && is_alone && fits && !self.viewed.contains(&self.place_of(v))
        });
        if let Some(overwritten) = overwritten {
            let place = self.place_of(overwritten);
            self.place.insert(result, place);
        }
    }

    fn is_fixed(&self, value: ValueId) -> bool {
        self.fixed.contains(&value) || self.graph.constant(value).is_some()
    }

    /// Whether this scope holds memory for the value.
    fn is_held(&self, value: ValueId) -> bool {
        self.graph.value(value).scope() == self.scope && !self.is_fixed(value)
    }

    fn place_of(&self, value: ValueId) -> ValueId {
        self.place.get(&value).copied().unwrap_or(value)
    }

    /// Most bytes that are held at a time, and where.
    fn peak(&self, bodies: &FxHashMap<ScopeId, Option<(u128, Option<NodeId>)>>) -> Option<(u128, Option<NodeId>)> {
        let scope = self.graph.scope(self.scope);
        let mut bytes: FxHashMap<ValueId, u128> = FxHashMap::default();
        let mut last: FxHashMap<ValueId, usize> = FxHashMap::default();
        for (i, &node) in self.nodes.iter().enumerate() {
            let captures =
                if self.graph.node(node).bodies().next().is_some() { self.graph.captures(node) } else { Vec::new() };
            let touched = self.graph.operands(node).flatten().chain(captures);
            let touched = touched.chain(self.graph.results(node).iter().flatten().copied());
            for value in touched.filter(|&v| self.is_held(v)) {
                let (place, takes) = (self.place_of(value), of_type(&self.graph.value(value).ty)?);
                // Of real numbers and the integers that are made in their place, the integers are what is kept.
                bytes.entry(place).and_modify(|known| *known = takes.min(*known)).or_insert(takes);
                last.insert(place, i);
            }
        }
        for output in scope.outputs() {
            if self.is_held(output.value()) {
                let place = self.place_of(output.value());
                last.insert(place, self.nodes.len());
                bytes.entry(place).or_insert(of_type(&self.graph.value(output.value()).ty)?);
            }
        }
        let mut ending: FxHashMap<usize, Vec<ValueId>> = FxHashMap::default();
        for (&place, &end) in &last {
            ending.entry(end).or_default().push(place);
        }
        let mut live: FxHashSet<ValueId> = FxHashSet::default();
        let mut held = 0u128;
        let mut begin = |value: ValueId, held: &mut u128| {
            let place = self.place_of(value);
            if let Some(takes) = bytes.get(&place).filter(|_| live.insert(place)) {
                *held = held.saturating_add(*takes);
            }
        };
        for &input in scope.inputs() {
            begin(input, &mut held);
        }
        let mut most = (held, None);
        for (i, &node) in self.nodes.iter().enumerate() {
            for &result in self.graph.results(node).iter().flatten().filter(|&&v| self.is_held(v)) {
                begin(result, &mut held);
            }
            let mut within = 0;
            for body in self.graph.node(node).bodies() {
                within = within.max(bodies.get(&body).copied().flatten()?.0);
            }
            let now = held.saturating_add(within);
            if most.1.is_none() || now > most.0 {
                most = (now, Some(node));
            }
            for place in ending.get(&i).into_iter().flatten() {
                held = held.saturating_sub(bytes.get(place).copied().unwrap_or_default());
            }
        }
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::text::parse;

    /// Bytes and place of the peak of a graph with these operands and calls.
    fn of(signature: &str, body: &str) -> Option<(u64, String)> {
        let text = format!("<ir_version: 10, opset_import: [\"\" : 21]> g {signature} {{ {body} }}");
        let mut model = parse(&text).unwrap();
        infer_declared(&mut model.graph);
        peak(&model.graph).map(|peak| (peak.bytes, peak.at))
    }

    fn some(bytes: u64, at: &str) -> Option<(u64, String)> {
        Some((bytes, at.into()))
    }

    #[test]
    fn memory_is_given_back_after_the_last_reader() {
        // x takes 400, a 3200, b 1600, y 400.
        let chain = "a = MatMul(x, w) b = MatMul(a, v) y = MatMul(b, u)";
        let weights = "<float[1,8] w, float[8,4] v, float[4,1] u>";
        assert_eq!(of(&format!("(float[100,1] x) => (float[100,1] y) {weights}"), chain), some(4800, "b"));
        // With x read at the end, too, it is held all the time.
        let again = chain.replace("y = ", "z = ") + " y = Sub(x, z)";
        assert_eq!(of(&format!("(float[100,1] x) => (float[100,1] y) {weights}"), &again), some(5200, "b"));
        // An output stays.
        let two = format!("(float[100,1] x) => (float[100,1] y, float[100,8] a) {weights}");
        assert_eq!(of(&two, chain), some(4800 + 400, "y"));
    }

    #[test]
    fn what_is_open_is_not_told() {
        assert_eq!(of("(float[n,4] x) => (float[n,4] y)", "y = Relu(x)"), None);
        assert_eq!(of("(float[4] x) => (float[4] y)", "y = Relu(x)"), some(32, "y"));
        assert_eq!(of("(float[4] x) => (float[4] x)", ""), some(16, ""));
    }

    #[test]
    fn calls_write_over_what_nobody_else_reads() {
        let of = |body| of("(float[10,10] x) => (float[10,10] y)", body);
        assert_eq!(of("a = Softmax(x) b = Relu(a) c = Exp(b) y = Softmax(c)"), some(800, "a"));
        // What is read twice is not written over.
        assert_eq!(of("a = Softmax(x) b = Relu(a) y = Mul(a, b)"), some(800, "a"));
        assert_eq!(of("a = Softmax(x) b = Relu(a) y = MatMul(b, a)"), some(1200, "y"));
        // Neither is what another view looks at.
        let views = "a = Softmax(x) b = Identity(a) c = Relu(b) y = MatMul(a, c)";
        assert_eq!(of(views), some(1200, "y"));
    }

    #[test]
    fn integers_take_the_place_of_real_numbers() {
        let signature = "(float[10,10] x) => (float[10,10] y)
            <float s = {0.1}, uint8 z = {0}, int8 k = {0}, int8[10,10] w>";
        let body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, s, k)
            a = MatMul(d, v) b = Relu(a) r = QuantizeLinear(b, s, z) e = DequantizeLinear(r, s, z)
            y = MatMul(e, v)";
        // The input and its integers; then no more than two of 100 integers until the output of 400.
        assert_eq!(of(signature, body), some(500, "q"));
    }

    #[test]
    fn bodies_count_while_they_run() {
        let body = "y = If(c) <then_branch = t () => (float[10] p) { s = Softmax(x) p = MatMul(s, w) },
                    else_branch = e () => (float[10] r) { r = Relu(x) }> z = Relu(x)";
        let signature = "(bool c, float[10] x) => (float[10] y, float[10] z) <float[10,10] w>";
        // c, x and y; s and p within.
        assert_eq!(of(signature, body), some(1 + 40 + 40 + 80, "y"));
    }
}
