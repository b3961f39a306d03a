//! What the table asks of a model.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::census;
use crate::ir::{Graph, NodeId, OpKind, ScopeId, ValueId};
use crate::model::Model;
use crate::ops::quant::is_integer;
use crate::ops::window::GROUP;
use crate::ops::{CallView, row_of};

/// What a model is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traits {
    /// Elements of constants.
    pub parameters: u64,
    /// Bytes of constants.
    pub parameter_bytes: u64,
    /// Multiply-accumulates of one run, where every size is a number.
    pub macs: Option<u64>,
    /// Multiply-accumulates per byte of constants: few, and a run waits for memory.
    pub macs_per_byte: Option<f64>,
    /// The share of convolutions in the work; where sizes are open, in the elements of weights.
    pub convolutions: f64,
    /// The share of convolutions that have a channel each.
    pub depthwise: f64,
    /// The share of elements of constants that are weights of two axes of products and look-ups.
    pub matrices: f64,
    /// Calls of `Softmax` or `Attention`.
    pub attention: usize,
    /// Calls of `LSTM`, `GRU` and `RNN`.
    pub recurrent: usize,
    /// Inputs with a size that is open.
    pub open: Vec<String>,
    /// Some of it is computed in integers already.
    pub is_reduced: bool,
    /// There are samples of what it will see.
    pub samples: bool,
}

impl Traits {
    /// What is seen of `model`, of which shapes have been inferred.
    pub fn of(model: &Model, samples: bool) -> Traits {
        let graph = &model.graph;
        let census = census::take(model);
        let (mut convolving, mut all) = (0.0, 0.0);
        let (mut weights, mut convolved, mut matrices) = (0.0, 0.0, 0.0);
        let (mut convolutions, mut depthwise) = (0usize, 0usize);
        let mut seen = Traits::default();
        for node in graph.nodes() {
            let call = CallView::new(graph, node);
            let op = graph.node(node).op;
            let cost = (row_of(graph.node(node)).macs)(&call).and_then(|macs| macs.known());
            let cost = cost.map_or(0.0, |macs| macs as f64);
            all += cost;
            let elements = weight(graph, node).map_or(0.0, |weight| weight.0 as f64);
            weights += elements;
            match op {
                OpKind::Conv | OpKind::ConvTranspose => {
                    convolutions += 1;
                    depthwise += usize::from(is_depthwise(graph, node));
                    convolving += cost;
                    convolved += elements;
                }
                OpKind::Softmax | OpKind::Attention => seen.attention += 1,
                OpKind::LSTM | OpKind::GRU | OpKind::RNN => seen.recurrent += 1,
                _ => {}
            }
            seen.is_reduced |= is_integer(graph.node(node));
            if matches!(op, OpKind::MatMul | OpKind::Gemm | OpKind::Gather)
                && weight(graph, node).is_some_and(|weight| weight.1 == 2)
            {
                matrices += elements;
            }
        }
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let is_open = |v: &&ValueId| {
            let ty = &graph.value(**v).ty;
            ty.shape().dims().is_none_or(|dims| dims.iter().any(|size| size.known().is_none()))
        };
        let open = graph.scope(ScopeId::MAIN).inputs().iter().filter(is_open);
        Traits {
            parameters: census.parameters,
            parameter_bytes: census.parameter_bytes,
            macs: census.macs,
            macs_per_byte: census.macs.map(|macs| share(macs as f64, census.parameter_bytes as f64)),
            convolutions: if census.macs.is_some() { share(convolving, all) } else { share(convolved, weights) },
            depthwise: share(depthwise as f64, convolutions as f64),
            matrices: share(matrices, census.parameters as f64),
            open: open.map(|&v| graph.value(v).name.to_string()).collect(),
            samples,
            ..seen
        }
    }
}

/// Elements and axes of a call's weight: the larger of the constants that it takes first and second.
fn weight(graph: &Graph, node: NodeId) -> Option<(usize, usize)> {
    let constants = (0..2).filter_map(|slot| graph.constant(graph.operand(node, slot)?));
    constants.map(|tensor| (tensor.len(), tensor.rank())).max()
}

/// Whether a convolution has as many groups as channels, and more than one.
fn is_depthwise(graph: &Graph, node: NodeId) -> bool {
    let Some(weight) = graph.operand(node, 1).and_then(|w| graph.constant(w)) else { return false };
    GROUP.of(graph.node(node)) > 1 && weight.dims().get(1) == Some(&1)
}

impl Display for Traits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let million = |n: u64| format!("{:.1} M", n as f64 / 1e6);
        write!(f, "{} parameters, {:.1} MB", million(self.parameters), self.parameter_bytes as f64 / 1e6)?;
        match (self.macs, self.macs_per_byte) {
            (Some(macs), Some(each)) => {
                write!(f, ", {} multiply-accumulates, {each:.1} for each byte of weights", million(macs))?;
            }
            _ => f.write_str(", work that depends on sizes that are open")?,
        }
        let percent = |share: f64| 100.0 * share;
        write!(
            f,
            ", {:.0} % of it convolutions ({:.0} % of them depthwise), {:.0} % of the parameters in matrices",
            percent(self.convolutions),
            percent(self.depthwise),
            percent(self.matrices)
        )?;
        for (count, what) in [(self.attention, "Softmax or Attention"), (self.recurrent, "recurrent layers")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if !self.open.is_empty() {
            write!(f, ", open sizes in {}", self.open.join(", "))?;
        }
        if self.is_reduced {
            f.write_str(", integers already")?;
        }
        f.write_str(if self.samples { ", with samples" } else { ", without samples" })
    }
}
