//! What every operator is: one row per op, one file per family.
//!
//! A row holds facts that are true whichever pass asks: whether operands commute, what type and content the results
//! have, how channels pass through, what a quantizer may do, what it costs. Passes read rows; rows never mention a
//! pass. Names, attributes and their defaults, per version, stand in [`schema`].

pub mod arith;
pub mod attention;
pub mod call;
pub mod contrib;
pub mod control;
pub mod conv;
pub mod cumulative;
pub mod dims;
pub mod elementwise;
pub mod gather;
pub mod image;
mod infer;
pub mod join;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod opaque;
pub mod pool;
pub mod quant;
pub mod random;
pub mod reduce;
pub mod rnn;
pub mod schema;
pub mod select;
pub mod sequence;
pub mod shape;
pub mod signal;
pub mod slice;
mod table;
pub mod target;
#[cfg(test)]
mod testing;
pub mod text;
pub mod ties;
pub mod window;

pub use call::CallView;
pub use infer::{Infer, MAX_RANK, Outcome, infer_node};
pub use ties::{End, Port, Tie, Ties};

use smallvec::SmallVec;

use crate::ir::{Graph, Int, Node, NodeId, OpKind};

/// Everything the tool knows about one operator of the default domain, in its canonical (newest) spelling.
#[derive(Clone, Copy)]
pub struct OpDef {
    /// Swapping the first two operands changes no number. (Which of two NaNs or signed zeros `Max` and `Min` give,
    /// ONNX leaves open in either order.)
    pub commutes: bool,
    /// Equal operands give equal results, run after run.
    pub deterministic: fn(&CallView<'_>) -> bool,
    /// Types, shapes and known content of the results.
    pub infer: Option<InferRule>,
    /// How output channels depend on input channels.
    pub channels: fn(&CallView<'_>) -> Channels,
    /// Which indices of which axes stand or fall together, by default as follows from `channels`. Read by structured
    /// pruning.
    pub ties: fn(&CallView<'_>) -> Ties,
    /// What a quantizer may do with the call. Read by QDQ insertion.
    pub quant: fn(&CallView<'_>) -> Quant,
    /// Multiply-accumulates of one run, where shapes tell; `None` when they do not. Reads the results' shapes: infer
    /// first.
    pub macs: fn(&CallView<'_>) -> Option<Int>,
}

/// Derives what is known of a call's results. Returns `None` where nothing more can be said; what was set before
/// that stays.
pub type InferRule = fn(&mut Infer<'_>) -> Outcome;

impl OpDef {
    /// A row that claims nothing: no type, no pruning across it, never quantized, never folded or merged.
    pub const UNKNOWN: OpDef = OpDef {
        commutes: false,
        deterministic: |_| false,
        infer: None,
        channels: |_| Channels::Barrier,
        ties: ties::of_channels,
        quant: |_| Quant::Float,
        macs: |_| None,
    };

    /// A deterministic operator that costs no multiplication.
    pub const PURE: OpDef = OpDef { deterministic: |_| true, macs: |_| Some(Int::from(0)), ..OpDef::UNKNOWN };
}

/// How a call's output channels depend on its input channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Nothing is claimed; pruning stops here.
    Barrier,
    /// Element by element: every axis of the result is the same axis of each operand (numpy-aligned where ranks
    /// differ; an axis of size 1 serves every index).
    Tied,
    /// Each output channel is one slice of a weight along `out_axis`, and reads slices along `in_axis`.
    ///
    /// With more than one group, group `g` of the outputs reads group `g` of the inputs only, and the weight holds one
    /// group's worth of the side that it does not lay out in full (inputs for `Conv`, outputs for `ConvTranspose`).
    Mixed {
        /// The weight's operand slot.
        weight: usize,
        /// The weight axis of output channels.
        out_axis: usize,
        /// The weight axis of input channels.
        in_axis: usize,
        /// How many independent groups of channels there are.
        groups: usize,
        /// The operand slot and axis where the input channels are.
        input: (usize, usize),
        /// The axis of result 0 where the output channels are.
        output: usize,
        /// The operand slot that holds one element per output channel on its last axis, when given.
        bias: Option<usize>,
    },
    /// Each channel of operand 0's `axis` becomes the same channel of result 0, with parameters of its own and
    /// untouched by other channels.
    PerChannel {
        /// The channel axis of operand 0 and result 0.
        axis: usize,
        /// Operand slots that hold one element (or slice along axis 0) per channel.
        parameters: SmallVec<[usize; 4]>,
    },
    /// Each element of operand 0 becomes the same element of result 0, scaled by statistics over `axes`: taking a
    /// channel of these axes away changes what the others become.
    Normalized {
        /// The axes that the statistics span.
        axes: SmallVec<[usize; 4]>,
        /// Into how many equal runs the first of `axes` falls, each with statistics of its own.
        groups: usize,
        /// Operand slots of parameters, numpy-aligned with `axes` (one element per channel of the first of them when
        /// `groups` is more than 1).
        parameters: SmallVec<[usize; 2]>,
    },
    /// Axis `i` of each result is axis `axes[i]` of operand 0, index for index; `None` where the result's axis is
    /// none of the operand's (reduced, resized, pooled). Every result reads all of the axes that are not named.
    Moved(SmallVec<[Option<usize>; 6]>),
    /// Operands stand one after another along `axis`.
    Joined {
        /// The axis.
        axis: usize,
    },
    /// Results are consecutive parts along `axis`.
    Parted {
        /// The axis.
        axis: usize,
    },
}

/// What a quantizer may do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// Stays in floating point.
    Float,
    /// Input and output share one scale (data movement, ReLU, max pooling).
    SharesScale,
    /// Has an integer kernel; the weight is quantized per slice along `axis`.
    Kernel {
        /// The weight's operand slot.
        weight: usize,
        /// The weight axis of output channels.
        axis: usize,
    },
    /// Has an integer kernel on activations alone (elementwise sums and products, average pooling).
    Activation,
}

/// The row of an operator.
pub fn def(op: OpKind) -> &'static OpDef {
    table::row(op)
}

/// The row of the operator that `node` calls, also where it is one of another domain.
pub fn row_of(node: &Node) -> &'static OpDef {
    match &node.custom {
        Some(custom) => opaque::row(&custom.0, &custom.1),
        None => def(node.op),
    }
}

/// The attributes of reductions and the like that name axes may count from the back: bring `axis` into `0..rank`.
///
/// `None` when it is out of range.
pub fn normalize_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}

/// Whether one run of `node` gives the same results as the next on equal operands. A `Dropout` in training mode does
/// not, nor does an operator that is not in the table.
pub fn is_deterministic(graph: &Graph, node: NodeId) -> bool {
    (row_of(graph.node(node)).deterministic)(&CallView::new(graph, node))
}

/// Whether ONNX lets result `slot` of `node` be left out, so that leaving it out changes nothing else.
pub fn optional_result(node: &Node, slot: usize) -> bool {
    match schema::newest("", node.op.name()) {
        Some(row) => row.outputs.get(slot).is_some_and(|p| p.kind == schema::ParamKind::Optional),
        None => false,
    }
}

/// Whether ONNX has this operator with one result or with all of them: a `BatchNormalization` gives both of its running
/// statistics or neither, which no table of optional results says.
pub fn side_results_stand_together(op: OpKind) -> bool {
    op == OpKind::BatchNormalization
}
