//! The layers of a model: what multiplies by weights, or two computed tensors with each other, and what looks up rows of
//! a table of weights.

use smallvec::SmallVec;

use crate::exec::demand::run_of;
use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor};
use crate::model::Model;
use crate::ops::slice::AXIS;
use crate::ops::{CallView, Port, Quant, Tie, row_of};

/// A layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The node that multiplies, or looks up.
    pub node: NodeId,
    /// Its name, or its first result's.
    pub name: String,
    /// Its operator.
    pub op: OpKind,
    /// Multiply-accumulates of a run; 0 where sizes are not known.
    pub macs: u64,
    /// Operands that are constants which are multiplied with: slot, axis of the channels that have a scale each, elements.
    pub weights: SmallVec<[Weight; 2]>,
    /// Operands that a run computes and that are multiplied.
    pub operands: SmallVec<[usize; 2]>,
}

/// A weight of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// The operand.
    pub slot: usize,
    /// The axis of output channels.
    pub axis: usize,
    /// Its elements.
    pub elements: u64,
    /// How many channels there are.
    pub channels: u64,
}

impl Layer {
    /// Elements of all weights.
    pub(crate) fn elements(&self) -> u64 {
        self.weights.iter().map(|weight| weight.elements).sum()
    }
}

/// The axis of a recurrent layer's weights that counts the rows of its gates.
const GATES: usize = 1;

fn is_recurrent(op: OpKind) -> bool {
    matches!(op, OpKind::LSTM | OpKind::GRU | OpKind::RNN)
}

/// A table of fewer elements is not worth its scales.
const TABLE: u64 = 1024;

/// The operands that `op` multiplies, or looks up.
fn multiplied(op: OpKind) -> &'static [usize] {
    match op {
        OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul => &[0, 1],
        OpKind::Gather => &[0],
        _ if is_recurrent(op) => &[0, 1, 2],
        _ => &[],
    }
}

/// The layers of the main graph, operands first, with the sizes of a run on `sample`.
pub(crate) fn layers(model: &Model, sample: Option<&[(String, Tensor)]>) -> Vec<Layer> {
    let graph = &model.graph;
    let run = sample.map(|sample| run_of(model, sample));
    let sized = run.as_ref().unwrap_or(graph);
    graph.schedule(ScopeId::MAIN).into_iter().filter_map(|node| layer(graph, sized, node)).collect()
}

fn layer(graph: &Graph, sized: &Graph, node: NodeId) -> Option<Layer> {
    let n = graph.node(node);
    let slots = multiplied(n.op);
    if slots.is_empty() {
        return None;
    }
    let call = CallView::new(graph, node);
    let mut found = Layer {
        node,
        name: graph.label(node),
        op: n.op,
        macs: (row_of(n).macs)(&CallView::new(sized, node))
            .and_then(|n| n.known())
            .unwrap_or(0)
            .try_into()
            .unwrap_or(0),
        weights: SmallVec::new(),
        operands: SmallVec::new(),
    };
    for &slot in slots {
        let value = call.operand(slot)?;
        match graph.constant(value) {
            Some(tensor) if tensor.dtype() == DType::F32 && tensor.rank() >= 2 => {
                let axis = axis(&call, slot);
                let channels = tensor.dims()[axis] as u64;
                found.weights.push(Weight { slot, axis, elements: tensor.len() as u64, channels });
            }
            Some(_) => return None,
            // What is read, and is no float32, is nothing to make narrower.
            None if call.dtype(slot) == Some(DType::F32) => found.operands.push(slot),
            None => return None,
        }
    }
    let is_constant = |slot: usize| call.operand(slot).is_none_or(|value| graph.constant(value).is_some());
    match n.op {
        // Of what a run computes it is no layer, and what is looked up at one place is a constant in all but name.
        OpKind::Gather => {
            let is_table = !found.weights.is_empty() && found.weights[0].elements >= TABLE && AXIS.of(n) == 0;
            (is_table && !is_constant(1)).then_some(found)
        }
        // Nothing that a run computes: it is a constant in all but name.
        _ => (!found.operands.is_empty()).then_some(found),
    }
}

/// The axis of a weight that counts output channels.
fn axis(call: &CallView<'_>, slot: usize) -> usize {
    let row = row_of(call.node());
    // Each row that is looked up has its own.
    if call.node().op == OpKind::Gather {
        return 0;
    }
    if let Quant::Kernel { weight, axis } = (row.quant)(call)
        && weight == slot
    {
        return axis;
    }
    if is_recurrent(call.node().op) {
        return GATES;
    }
    // A weight for which there is no integer kernel, as that on the left of a Gemm: the axis that the result has, too.
    let kept = (row.ties)(call).into_iter().find_map(|tie| match tie {
        Tie::Same(of, result) if of.port == Port::Operand(slot) && result.port == Port::Result(0) => Some(of.axis),
        _ => None,
    });
    kept.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn what_multiplies_is_a_layer() {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,2,4,4] x, float[2,3] a, int64[5] i)
                => (float y, float z, float q, float r, float e, float s, float c)
            <float[6,2,1,1] w, float[4,3] u, float[3,3] v, float[5,2] s0, float[256,4] table, int64[1] one = {1}>
            { [conv] y = Conv(x, w)
              [gemm] z = Gemm <transB = 1> (a, u)
              t = Transpose(z)
              [pair] p = MatMul(z, t)
              [fixed] k = MatMul(v, v)
              [left] q = MatMul(a, k)
              [first] r = Gemm(s0, a)
              [table] e = Gather(table, i)
              [little] s = Gather(u, i)
              [fixed_row] c = Gather(table, one) }"#,
        )
        .unwrap();
        crate::passes::infer_declared(&mut model.graph);
        let found = layers(&model, None);
        let told: Vec<_> = found.iter().map(|l| (&*l.name, l.macs, l.weights.to_vec(), l.operands.to_vec())).collect();
        let weight = |axis, elements, channels| vec![Weight { slot: 1, axis, elements, channels }];
        let weight_of = |axis, elements, channels| vec![Weight { slot: 0, axis, elements, channels }];
        assert_eq!(
            told,
            [
                ("conv", 192, weight(0, 12, 6), vec![0]),
                ("gemm", 24, weight(0, 12, 4), vec![0]),
                ("pair", 16, vec![], vec![0, 1]),
                ("left", 18, vec![], vec![0, 1]),
                ("first", 30, vec![Weight { slot: 0, axis: 0, elements: 10, channels: 5 }], vec![1]),
                ("table", 0, weight_of(0, 1024, 256), vec![]),
            ]
        );
    }
}
