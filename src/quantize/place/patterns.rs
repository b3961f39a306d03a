//! Calls that together compute something, and lose by integers in between.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, Key, NodeId, OpKind, User, ValueId};
use crate::ops::normalize_axis;
use crate::target::Policy;
use crate::target::policy::{Never, Pattern};

/// The calls that are part of a pattern of `policy`, each with the row that says so.
pub(super) fn find<'p>(graph: &Graph, policy: &'p Policy, order: &[NodeId]) -> FxHashMap<NodeId, &'p Never> {
    let mut found = FxHashMap::default();
    for never in &policy.nevers {
        let Some(pattern) = never.pattern else { continue };
        for &node in order {
            for part in parts(graph, pattern, node) {
                found.entry(part).or_insert(never);
            }
        }
    }
    found
}

/// What belongs to a pattern that `node` is the anchor of; nothing where it is none.
fn parts(graph: &Graph, pattern: Pattern, node: NodeId) -> Vec<NodeId> {
    let seen = Seen { graph };
    let op = graph.node(node).op;
    let found = match (pattern, op) {
        (Pattern::Gelu, OpKind::Erf) => seen.gelu(node),
        (Pattern::Swish, OpKind::Mul) => seen.gated(node, |_, op| op == OpKind::Sigmoid),
        (Pattern::HardSwish, OpKind::Mul) => seen.hard_swish(node),
        (Pattern::LayerNorm, OpKind::Sqrt) => seen.layer_norm(node),
        (Pattern::ChannelGate, OpKind::Mul) => seen.channel_gate(node),
        (Pattern::SoftmaxProduct, OpKind::MatMul) => seen.weighing(node).map(|_| vec![node]),
        (Pattern::MaskedSoftmax, OpKind::Softmax) => seen.masked(node),
        (Pattern::JoinedRows, OpKind::MatMul | OpKind::Gemm) => seen.joined_rows(node).then(|| vec![node]),
        (Pattern::CrossProduct, OpKind::MatMul) => seen.crosses(node).then(|| vec![node]),
        (Pattern::Attention, OpKind::MatMul) => {
            seen.weighing(node).map(|softmax| seen.scores(softmax).into_iter().chain([node]).collect())
        }
        _ => None,
    };
    found.unwrap_or_default()
}

/// How many calls before a product are looked at.
const FAR: usize = 256;

#[derive(Clone, Copy)]
struct Seen<'g> {
    graph: &'g Graph,
}

impl Seen<'_> {
    fn maker(self, node: NodeId, slot: usize) -> Option<NodeId> {
        self.graph.producer(self.graph.operand(node, slot)?).map(|(node, _)| node)
    }

    fn op(self, node: NodeId) -> OpKind {
        self.graph.node(node).op
    }

    fn is_constant(self, node: NodeId, slot: usize) -> bool {
        self.graph.operand(node, slot).is_some_and(|v| self.graph.constant(v).is_some())
    }

    fn has_constant(self, node: NodeId) -> bool {
        self.is_constant(node, 0) || self.is_constant(node, 1)
    }

    /// The nodes that read result 0 of `node`.
    fn readers(self, node: NodeId) -> Vec<NodeId> {
        let users = self.graph.result(node, 0).map(|v| self.graph.value(v).users()).unwrap_or_default();
        users.iter().filter_map(|u| if let User::Node(n, _) = *u { Some(n) } else { None }).collect()
    }

    /// What makes the operand that is computed, of two.
    fn computed(self, node: NodeId) -> Option<NodeId> {
        let slot = if self.is_constant(node, 0) { 1 } else { 0 };
        self.maker(node, slot)
    }

    /// `x · ½ · (1 + erf(x / √2))`, from its `Erf`, however the factors are grouped.
    fn gelu(self, erf: NodeId) -> Option<Vec<NodeId>> {
        let mut found = vec![erf];
        if let Some(scaled) = self.maker(erf, 0).filter(|&n| matches!(self.op(n), OpKind::Div | OpKind::Mul)) {
            found.push(scaled);
        }
        let is_sum = |&n: &NodeId| self.op(n) == OpKind::Add && self.has_constant(n);
        let sum = self.readers(erf).into_iter().find(is_sum)?;
        found.push(sum);
        let mut at = sum;
        for _ in 0..2 {
            let Some(product) = self.readers(at).into_iter().find(|&n| self.op(n) == OpKind::Mul) else { break };
            found.push(product);
            // `x · ½` may be computed before.
            for slot in 0..2 {
                if let Some(half) = self.maker(product, slot)
                    && self.op(half) == OpKind::Mul
                    && self.has_constant(half)
                {
                    found.push(half);
                }
            }
            at = product;
        }
        Some(found)
    }

    /// The product of some tensor with what `is_gate` makes of it.
    fn gated(self, product: NodeId, is_gate: impl Fn(NodeId, OpKind) -> bool) -> Option<Vec<NodeId>> {
        (0..2).find_map(|slot| {
            let gate = self.maker(product, slot).filter(|&n| is_gate(n, self.op(n)))?;
            let gated = self.graph.operand(gate, 0)?;
            (self.graph.operand(product, 1 - slot)? == gated).then(|| vec![product, gate])
        })
    }

    /// `x · hardsigmoid(x)`, or `x · clip(x + 3, 0, 6)` with a sixth before or behind.
    fn hard_swish(self, product: NodeId) -> Option<Vec<NodeId>> {
        if let Some(found) = self.gated(product, |_, op| op == OpKind::HardSigmoid) {
            return Some(found);
        }
        (0..2).find_map(|slot| {
            let x = self.graph.operand(product, 1 - slot)?;
            let mut found = vec![product];
            let mut at = self.maker(product, slot)?;
            if matches!(self.op(at), OpKind::Div | OpKind::Mul) && self.has_constant(at) {
                found.push(at);
                at = self.computed(at)?;
            }
            let clip = Some(at).filter(|&n| self.op(n) == OpKind::Clip)?;
            let sum = self.maker(clip, 0).filter(|&n| self.op(n) == OpKind::Add && self.has_constant(n))?;
            found.extend([clip, sum]);
            let is_it = (0..2).any(|slot| self.graph.operand(sum, slot) == Some(x));
            let sixth = |&n: &NodeId| matches!(self.op(n), OpKind::Div | OpKind::Mul) && self.has_constant(n);
            found.extend(self.readers(product).into_iter().filter(sixth));
            is_it.then_some(found)
        })
    }

    /// Whether a weight meets what a `Concat` put together. Behind a `Transpose` and the like, any axis counts.
    fn joined_rows(self, product: NodeId) -> bool {
        const FORMS: [OpKind; 7] = [
            OpKind::Transpose,
            OpKind::Reshape,
            OpKind::Flatten,
            OpKind::Squeeze,
            OpKind::Unsqueeze,
            OpKind::Relu,
            OpKind::Identity,
        ];
        if !self.is_constant(product, 1) {
            return false;
        }
        let mut at = self.maker(product, 0);
        let mut moved = false;
        while let Some(form) = at.filter(|&n| FORMS.contains(&self.op(n))) {
            moved = true;
            at = self.maker(form, 0);
        }
        let Some(joined) = at.filter(|&n| self.op(n) == OpKind::Concat) else { return false };
        let rank = self.graph.result(joined, 0).and_then(|v| self.graph.value(v).ty.shape().rank());
        let axis = Key::<i64>::new("axis", 0).of(self.graph.node(joined));
        moved || rank.is_none_or(|rank| normalize_axis(axis, rank) != rank.checked_sub(1))
    }

    /// Whether both factors are computed, from projections of tensors none of which is the same.
    fn crosses(self, product: NodeId) -> bool {
        let [a, b] = [0, 1].map(|slot| self.graph.operand(product, slot).map(|factor| self.projected(factor)));
        match (a, b) {
            (Some(a), Some(b)) => !a.is_empty() && !b.is_empty() && a.is_disjoint(&b),
            _ => false,
        }
    }

    /// What the projections next before `value` are made of: what known matrices are multiplied with.
    fn projected(self, value: ValueId) -> FxHashSet<ValueId> {
        let (mut sources, mut seen) = (FxHashSet::default(), FxHashSet::default());
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            let maker = self.graph.producer(value).filter(|_| seen.len() < FAR);
            let Some((node, _)) = maker.filter(|&(node, _)| seen.insert(node)) else { continue };
            match matches!(self.op(node), OpKind::MatMul | OpKind::Gemm) && self.is_constant(node, 1) {
                true => sources.extend(self.graph.operand(node, 0)),
                false => left.extend(self.graph.operands(node).flatten()),
            }
        }
        sources
    }

    /// `(x − mean) / √(variance + ε)`, from its `Sqrt`, with scale and shift.
    fn layer_norm(self, root: NodeId) -> Option<Vec<NodeId>> {
        let sum = self.maker(root, 0).filter(|&n| self.op(n) == OpKind::Add && self.has_constant(n))?;
        let variance = self.computed(sum).filter(|&n| self.op(n) == OpKind::ReduceMean)?;
        let square = self.maker(variance, 0)?;
        let centred = self.maker(square, 0).filter(|&n| self.op(n) == OpKind::Sub)?;
        let mut found = vec![root, sum, variance, square, centred];
        found.extend(self.maker(centred, 1).filter(|&n| self.op(n) == OpKind::ReduceMean));
        let mut at = root;
        for _ in 0..4 {
            let next = self.readers(at).into_iter().find(|&n| {
                let op = self.op(n);
                op == OpKind::Div
                    || op == OpKind::Reciprocal
                    || matches!(op, OpKind::Mul | OpKind::Add) && {
                        self.has_constant(n) || found.contains(&centred) && self.op(at) == OpKind::Reciprocal
                    }
            });
            let Some(next) = next else { break };
            found.push(next);
            at = next;
        }
        Some(found)
    }

    /// A product with a gate that is computed from a pooled tensor, one number for each channel, and what computes it.
    fn channel_gate(self, product: NodeId) -> Option<Vec<NodeId>> {
        use OpKind::{
            Add, AveragePool, Clip, Conv, Div, Flatten, Gemm, GlobalAveragePool, HardSigmoid, HardSwish, LeakyRelu,
            MatMul, Mul, PRelu, ReduceMean, Relu, Reshape, Sigmoid, Squeeze, Unsqueeze,
        };
        (0..2).find_map(|slot| {
            let mut found = vec![product];
            let mut at = self.maker(product, slot)?;
            let mut bounded = false;
            for _ in 0..16 {
                match self.op(at) {
                    GlobalAveragePool | ReduceMean | AveragePool => {
                        return (bounded && found.len() > 2).then_some(found);
                    }
                    Sigmoid | HardSigmoid | Clip => bounded = true,
                    Relu | LeakyRelu | PRelu | HardSwish | Conv | Gemm | MatMul | Reshape | Flatten | Squeeze
                    | Unsqueeze | Div | Add | Mul => {}
                    _ => return None,
                }
                found.push(at);
                at = match self.op(at) {
                    Add | Mul | Div if !self.has_constant(at) => {
                        // x · sigmoid(x) within the gate: the way goes on at x.
                        let x: ValueId = self.graph.operand(at, 0)?;
                        self.graph.producer(x)?.0
                    }
                    Add | Mul | Div => self.computed(at)?,
                    _ => self.maker(at, 0)?,
                };
            }
            None
        })
    }

    /// The `Softmax` whose result `product` weighs its second operand by.
    fn weighing(self, product: NodeId) -> Option<NodeId> {
        let mut at = self.maker(product, 0)?;
        for _ in 0..4 {
            match self.op(at) {
                OpKind::Softmax => return Some(at),
                OpKind::Reshape | OpKind::Transpose | OpKind::Dropout | OpKind::Cast | OpKind::Where => {
                    let slot = if self.op(at) == OpKind::Where { 2 } else { 0 };
                    at = self.maker(at, slot)?;
                }
                _ => return None,
            }
        }
        None
    }

    /// A `Softmax`, and what masks what it is taken of.
    fn masked(self, softmax: NodeId) -> Option<Vec<NodeId>> {
        let mask = self.maker(softmax, 0)?;
        matches!(self.op(mask), OpKind::Add | OpKind::Where | OpKind::Sub | OpKind::Min).then(|| vec![softmax, mask])
    }

    /// What computes the numbers that `softmax` is taken of, back to the product of queries and keys.
    fn scores(self, softmax: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut at = self.maker(softmax, 0);
        for _ in 0..8 {
            let Some(node) = at else { break };
            found.push(node);
            at = match self.op(node) {
                OpKind::MatMul => return found,
                OpKind::Add | OpKind::Mul | OpKind::Div | OpKind::Reshape | OpKind::Transpose => self.computed(node),
                OpKind::Where => self.maker(node, 2).or_else(|| self.maker(node, 1)),
                _ => None,
            };
        }
        Vec::new()
    }
}
