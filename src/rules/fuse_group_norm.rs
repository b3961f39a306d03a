//! A normalization over groups of channels, spelled with reshapes, is `GroupNormalization` (opset 21):
//! `reshape(normalize(reshape(x, [N, groups, …])), [N, C, …]) · scale + shift`, with a constant scale and shift per
//! channel.
//!
//! The inner normalization is an `InstanceNormalization`, which may have a constant scale and shift per group, a
//! `LayerNormalization` that has none, or either one spelled out; scale and shift may be missing. Before opset 21 the
//! operator's scale and shift belonged to groups, so it is not brought in there.
//!
//! Declines where something on the way is also read elsewhere, and for double precision, for which the operator's
//! statistics are not precise enough.

use smallvec::SmallVec;

use crate::ops::norm::EPSILON;
use crate::ir::OpKind::{
    Add, GroupNormalization, InstanceNormalization, LayerNormalization, Mul, Reshape, Squeeze, Unsqueeze,
};
use crate::ir::{DType, Graph, Int, Key, NodeId, OpKind, Tensor, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, require};
use crate::rules::support::formula::only_read_within;
use crate::rules::support::norm::{Norm, Statistic, along, outermost};
use crate::rules::support::numbers::{finite, is_all, is_foldable_float};

const AXIS: Key<i64> = Key::new("axis", -1);

/// The first opset in which scale and shift belong to channels.
const SINCE: i64 = 21;

pub fn rule() -> Rule {
    let pattern = any_of(&[Add, Mul, Reshape, Squeeze, Unsqueeze]);
    Rule::new("fuse-group-norm", Exactness::Rounding, pattern, |m| {
        let call = outermost(m.graph(), m.root().id(), fused)?;
        if m.opset() < SINCE { Err(Skip::NeedsOpset(21)) } else { Ok(call) }
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
fn fused(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    read(graph, root).ok_or(Skip::NotThis)?.fused(graph, root)
}

/// What was found.
struct Found {
    x: ValueId,
    groups: usize,
    epsilon: f32,
    /// One element per channel.
    scale: Vec<f64>,
    shift: Vec<f64>,
    nodes: SmallVec<[NodeId; 16]>,
}

impl Found {
    fn fused(self, graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
        let dtype = graph.value(self.x).ty.dtype().ok_or(Skip::NotThis)?;
        applies(is_foldable_float(dtype))?;
        require(dtype != DType::F64, "the statistics would be taken in single precision")?;
        only_read_within(graph, root, &self.nodes)?;
        let parameter = |elements: &[f64]| {
            finite(dtype, &[elements.len()], elements).map(Expr::from).ok_or(Skip::Unsuitable(OVERFLOW))
        };
        let groups = i64::try_from(self.groups).map_err(|_| Skip::NotThis)?;
        let operands = [self.x.into(), parameter(&self.scale)?, parameter(&self.shift)?];
        let call = GroupNormalization.emit(operands).named_like(CallView::new(graph, root));
        Ok(call.with("num_groups", groups).with("epsilon", self.epsilon))
    }
}

const OVERFLOW: &str = "a folded scale or shift would overflow its type";

fn read(graph: &Graph, root: NodeId) -> Option<Found> {
    let scope = graph.node(root).scope();
    let mut nodes = SmallVec::new();
    let mut made_by = |value: ValueId| {
        let (node, slot) = graph.producer(value)?;
        let here = slot == 0 && graph.node(node).scope() == scope;
        here.then(|| {
            nodes.push(node);
            CallView::new(graph, node)
        })
    };
    let mut at = made_by(graph.result(root, 0)?)?;
    let mut constants: [Option<&Tensor>; 2] = [None, None];
    for (op, place) in [(Add, 1), (Mul, 0)] {
        if at.node().op == op {
            let slot = usize::from(at.constant(0).is_some());
            constants[place] = Some(at.constant(1 - slot)?);
            at = made_by(at.operand(slot)?)?;
        }
    }
    // Back from groups to channels.
    applies_view(&at)?;
    let dims = at.result_dims(0)?;
    let unit = Unit::of(graph, made_by(at.operand(0)?)?)?;
    let split = made_by(unit.x)?;
    applies_view(&split)?;
    let x = split.operand(0)?;
    if graph.value(x).ty.shape().dims()? != dims || graph.value(graph.result(root, 0)?).ty.shape().dims()? != dims {
        return None;
    }
    let grouped = split.result_dims(0)?;
    let groups = groups(dims, grouped)?;
    let channels = usize::try_from(dims.get(1)?.known()?).ok()?;
    let per_group = |t: Option<&Tensor>, otherwise: f64| match t {
        Some(t) => t.reals().filter(|e| e.len() == groups),
        None => Some(vec![otherwise; groups]),
    };
    let per_channel = |t: Option<&Tensor>, otherwise: f64| match t {
        Some(t) => along(t, dims, 1),
        None if channels <= MOST => Some(vec![otherwise; channels]),
        None => None,
    };
    let (inner_scale, inner_shift) = (per_group(unit.scale, 1.0)?, per_group(unit.shift, 0.0)?);
    let (scale, shift) = (per_channel(constants[0], 1.0)?, per_channel(constants[1], 0.0)?);
    let group = |channel: usize| channel / (channels / groups);
    nodes.extend(unit.nodes);
    Some(Found {
        x,
        groups,
        epsilon: unit.epsilon,
        shift: (0..channels).map(|c| scale[c] * inner_shift[group(c)] + shift[c]).collect(),
        scale: (0..channels).map(|c| scale[c] * inner_scale[group(c)]).collect(),
        nodes,
    })
}

/// Parameters are written down for at most this many channels.
const MOST: usize = 1 << 16;

fn applies_view(call: &CallView<'_>) -> Option<()> {
    matches!(call.node().op, Reshape | Squeeze | Unsqueeze).then_some(())
}

/// How many groups there are where `grouped` are the dimensions of a value of dimensions `[N, C, …]` with each group of
/// channels, and what is behind them, apart.
fn groups(dims: &[Int], grouped: &[Int]) -> Option<usize> {
    let (groups, channels) = (grouped.get(1)?.known()?, dims.get(1)?.known()?);
    let fits = dims.len() > 2 && grouped.len() > 2 && dims[0] == grouped[0] && groups > 0 && channels > 0;
    (fits && channels % groups == 0).then(|| usize::try_from(groups).ok())?
}

/// A normalized value of `[N, groups, …]`, scaled per group at most.
struct Unit<'g> {
    x: ValueId,
    epsilon: f32,
    scale: Option<&'g Tensor>,
    shift: Option<&'g Tensor>,
    nodes: Vec<NodeId>,
}

impl<'g> Unit<'g> {
    fn of(graph: &'g Graph, call: CallView<'g>) -> Option<Unit<'g>> {
        let epsilon = EPSILON.of(call.node());
        match call.node().op {
            InstanceNormalization => Some(Unit {
                x: call.operand(0)?,
                epsilon,
                scale: Some(call.constant(1)?),
                shift: Some(call.constant(2)?),
                nodes: Vec::new(),
            }),
            LayerNormalization => {
                let plain = is_all(call.constant(1)?, 1.0) && (!call.has(2) || is_all(call.constant(2)?, 0.0));
                let from_groups = normalize_axis(AXIS.of(call.node()), call.rank(0)?)? == 2;
                (plain && from_groups && only_first(&call)).then_some(Unit {
                    x: call.operand(0)?,
                    epsilon,
                    scale: None,
                    shift: None,
                    nodes: Vec::new(),
                })
            }
            OpKind::Div | OpKind::Mul => {
                let norm = Norm::of(graph, call.id())?;
                let plain = norm.scale.is_none() && norm.shift.is_none() && norm.statistic == Statistic::Deviation;
                let from_groups = norm.axes.iter().copied().eq(2..norm.dims(graph).len());
                (plain && from_groups).then(|| Unit {
                    x: norm.x,
                    epsilon: norm.epsilon,
                    scale: None,
                    shift: None,
                    nodes: norm.nodes().to_vec(),
                })
            }
            _ => None,
        }
    }
}

/// Whether nobody reads the statistics.
fn only_first(call: &CallView<'_>) -> bool {
    let results = call.graph().results(call.id());
    results.iter().skip(1).flatten().all(|&v| call.graph().value(v).users().is_empty())
}
