//! Layers: calls that are linear in a constant weight.
//!
//! Each element of a layer's result is the product of a row of its weight and a row of a matrix of patches of what it
//! reads, plus a bias. The patches' columns are in the weight's own order: the channels of a group, and in each of them
//! the kernel's elements.

use ndarray::{Array2, ArrayView2};

use crate::gram::places::{Places, Sliding};
use crate::ir::{DType, Graph, NodeId, OpKind, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};
use crate::ops::window::GROUP;

/// A `Conv`, `ConvTranspose`, `Gemm` or `MatMul` with a constant weight.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The call.
    pub node: NodeId,
    /// Outputs, of all groups.
    pub outputs: usize,
    /// Groups of channels that do not read each other.
    pub groups: usize,
    /// Channels of what is read, of all groups.
    pub channels: usize,
    /// Elements of the kernel: columns that each channel has.
    pub taps: usize,
    /// The axis of what is read that channels are on.
    pub input_axis: usize,
    /// The axis of the result that outputs are on.
    pub output_axis: usize,
    /// Where a bias is or can be put.
    pub bias: Option<Bias>,
    kind: Kind,
    /// The weight's sizes.
    dims: Vec<usize>,
    dtype: DType,
}

/// Where the bias of a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bias {
    /// The layer, or the sum behind it.
    pub node: NodeId,
    /// The operand slot, which may be left out so far.
    pub slot: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Windows(Box<Sliding>),
    /// A product of matrices, what is read transposed or not.
    Product {
        trans_a: bool,
        trans_b: bool,
        alpha: f32,
        beta: f32,
    },
}

/// The operand slot of weights, for every operator that is a layer.
pub const WEIGHT: usize = 1;

impl Layer {
    /// The layer that `node` is.
    ///
    /// # Errors
    /// Why it is none.
    pub fn of(graph: &Graph, node: NodeId) -> Result<Layer, &'static str> {
        let call = CallView::new(graph, node);
        let op = call.node().op;
        if !matches!(op, OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul) {
            return Err("it is no convolution or matrix product");
        }
        let weight = call.constant(WEIGHT).ok_or("its weight is not constant")?;
        if !matches!(weight.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Err("its weight holds no floats");
        }
        if call.constant(0).is_some() || !call.has(0) {
            return Err("what it reads is constant");
        }
        let dims = weight.dims().to_vec();
        if dims.contains(&0) {
            return Err("its weight is empty");
        }
        let layer = match op {
            OpKind::Conv | OpKind::ConvTranspose => Layer::windows(&call, dims, weight.dtype())?,
            _ => Layer::product(&call, dims, weight.dtype())?,
        };
        let adds_else = matches!(op, OpKind::Conv | OpKind::ConvTranspose) && call.has(2) && layer.bias.is_none();
        if adds_else { Err("what it adds is not one constant number per output") } else { Ok(layer) }
    }

    fn windows(call: &CallView<'_>, dims: Vec<usize>, dtype: DType) -> Result<Layer, &'static str> {
        let n = dims.len().checked_sub(2).filter(|&n| n > 0).ok_or("its weight has no spatial axes")?;
        let groups = usize::try_from(GROUP.of(call.node())).ok().filter(|&g| g > 0);
        let groups = groups.ok_or("its group is malformed")?;
        let is_transposed = call.node().op == OpKind::ConvTranspose;
        let sliding = Sliding::of(call, n, is_transposed)?;
        let of_groups = |axis: usize| dims[axis].checked_mul(groups).ok_or("its group is malformed");
        let (outputs, channels) = if is_transposed { (of_groups(1)?, dims[0]) } else { (dims[0], of_groups(1)?) };
        if outputs % groups != 0 || channels % groups != 0 {
            return Err("its groups do not divide its channels");
        }
        let node = call.id();
        let bias = Layer::bias_of(call, Bias { node, slot: 2 }, outputs);
        let (taps, kind) = (dims[2..].iter().product(), Kind::Windows(Box::new(sliding)));
        Ok(Layer { node, outputs, groups, channels, taps, input_axis: 1, output_axis: 1, bias, kind, dims, dtype })
    }

    fn product(call: &CallView<'_>, dims: Vec<usize>, dtype: DType) -> Result<Layer, &'static str> {
        if dims.len() != 2 {
            return Err("its weight is no matrix");
        }
        let rank = call.rank(0).filter(|&rank| rank >= 2).ok_or("what it reads is no matrix")?;
        let (node, is_gemm) = (call.id(), call.node().op == OpKind::Gemm);
        let (trans_a, trans_b) =
            if is_gemm { (TRANS_A.of(call.node()), TRANS_B.of(call.node())) } else { (false, false) };
        let (alpha, beta) = if is_gemm { (ALPHA.of(call.node()), BETA.of(call.node())) } else { (1.0, 1.0) };
        if alpha == 0.0 {
            return Err("its factor is zero");
        }
        let (outputs, channels) = if trans_b { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
        let bias = match is_gemm {
            true if beta == 0.0 => None,
            true => Layer::bias_of(call, Bias { node, slot: 2 }, outputs),
            false => behind(call.graph(), node).and_then(|bias| Layer::bias_of(call, bias, outputs)),
        };
        let (input_axis, output_axis) = (if trans_a { 0 } else { rank - 1 }, rank - 1);
        let kind = Kind::Product { trans_a, trans_b, alpha, beta };
        Ok(Layer { node, outputs, groups: 1, channels, taps: 1, input_axis, output_axis, bias, kind, dims, dtype })
    }

    /// `bias`, where it is one number for each output, for all of them, or none so far.
    fn bias_of(layer: &CallView<'_>, bias: Bias, outputs: usize) -> Option<Bias> {
        let graph = layer.graph();
        let Some(value) = graph.operand(bias.node, bias.slot) else { return (bias.node == layer.id()).then_some(bias) };
        let tensor = graph.constant(value)?;
        let is_vector = tensor.len() == outputs && tensor.dims().last() == Some(&outputs);
        (tensor.len() == 1 || is_vector).then_some(bias)
    }

    /// A layer that reads what this one reads, each channel by itself.
    pub fn of_channels(&self) -> Layer {
        let kind = match &self.kind {
            Kind::Windows(sliding) => Kind::Windows(Box::new(sliding.of_single_elements())),
            Kind::Product { .. } => self.kind.clone(),
        };
        let mut dims = vec![1; self.dims.len()];
        dims[1] = self.channels;
        Layer { groups: 1, taps: 1, kind, dims, outputs: 1, bias: None, ..self.clone() }
    }

    /// Columns that a group's patches have.
    pub fn columns(&self) -> usize {
        self.channels / self.groups * self.taps
    }

    /// Outputs of one group.
    pub fn outputs_of_group(&self) -> usize {
        self.outputs / self.groups
    }

    /// A weight's elements with one row for each output.
    pub fn matrix(&self, weight: &Tensor) -> Option<Array2<f32>> {
        let elements = floats(weight)?;
        if weight.dims() != self.dims {
            return None;
        }
        let mut matrix = Array2::zeros((self.outputs, self.columns()));
        self.each_element(|element, output, column| matrix[[output, column]] = elements[element]);
        Some(matrix)
    }

    /// The weight with these elements; rounded to the element type that it has.
    pub fn tensor(&self, matrix: ArrayView2<'_, f32>) -> Option<Tensor> {
        let mut elements = vec![0f64; self.dims.iter().product()];
        self.each_element(|element, output, column| elements[element] = matrix[[output, column]].into());
        Tensor::rounded(self.dtype, &self.dims, &elements).ok()
    }

    /// Call `f` with each element of the weight, its output, and its column.
    fn each_element(&self, mut f: impl FnMut(usize, usize, usize)) {
        let columns = self.columns();
        match self.kind {
            Kind::Windows(ref sliding) if sliding.is_transposed => {
                let (each, of_group) = (self.outputs_of_group(), self.channels / self.groups);
                for channel in 0..self.channels {
                    let (group, within) = (channel / of_group, channel % of_group);
                    for output in 0..each {
                        for tap in 0..self.taps {
                            let element = (channel * each + output) * self.taps + tap;
                            f(element, group * each + output, within * self.taps + tap);
                        }
                    }
                }
            }
            Kind::Product { trans_b: false, .. } => {
                for column in 0..columns {
                    for output in 0..self.outputs {
                        f(column * self.outputs + output, output, column);
                    }
                }
            }
            Kind::Windows(_) | Kind::Product { .. } => {
                for output in 0..self.outputs {
                    for column in 0..columns {
                        f(output * columns + column, output, column);
                    }
                }
            }
        }
    }

    /// The bias of each output, as it is added to the result.
    pub fn biases(&self, graph: &Graph) -> Vec<f64> {
        let bias = self.bias.and_then(|bias| graph.constant(graph.operand(bias.node, bias.slot)?)?.reals());
        let beta = self.beta();
        match bias {
            Some(bias) if bias.len() == self.outputs => bias.iter().map(|b| b * beta).collect(),
            Some(bias) if bias.len() == 1 => vec![bias[0] * beta; self.outputs],
            _ => vec![0.0; self.outputs],
        }
    }

    /// Whether the bias is added in the call itself.
    pub fn adds_bias(&self) -> bool {
        self.bias.is_some_and(|bias| bias.node == self.node)
    }

    /// What the call itself adds to the product that is no bias, as the sum behind a layer, and its factor.
    pub fn added(&self, graph: &Graph) -> Option<(ValueId, f64)> {
        if self.bias.is_some() || self.beta() == 0.0 || graph.node(self.node).op != OpKind::Gemm {
            return None;
        }
        Some((graph.operand(self.node, 2)?, self.beta()))
    }

    fn beta(&self) -> f64 {
        match self.kind {
            Kind::Product { beta, .. } => beta.into(),
            Kind::Windows(_) => 1.0,
        }
    }

    /// Give the layer this weight and this bias, as constants of its own.
    pub fn put(&self, graph: &mut Graph, weight: ArrayView2<'_, f32>, biases: Option<&[f64]>) -> Option<()> {
        let weight = self.tensor(weight)?;
        let bias = match (self.bias, biases) {
            (Some(bias), Some(biases)) => Some((bias, self.bias_tensor(graph, bias, biases)?)),
            _ => None,
        };
        graph.own_constant(self.node, WEIGHT, weight);
        if let Some((bias, tensor)) = bias {
            graph.own_constant(bias.node, bias.slot, tensor);
        }
        Some(())
    }

    /// The operand that adds these, one for each output, to the result.
    pub fn bias_tensor(&self, graph: &Graph, bias: Bias, biases: &[f64]) -> Option<Tensor> {
        let old = graph.operand(bias.node, bias.slot).and_then(|v| graph.constant(v));
        let rank = old.map_or(1, |old| old.rank().max(1));
        let mut dims = vec![1; rank - 1];
        dims.push(self.outputs);
        let beta = self.beta();
        let elements: Vec<f64> = biases.iter().map(|b| b / beta).collect();
        Tensor::rounded(self.dtype, &dims, &elements).ok()
    }

    /// How the patches of an operand of these sizes lie. `None` where they do not fit the layer.
    pub fn places(&self, input: &[usize]) -> Option<Places> {
        if *input.get(self.input_axis)? != self.channels || input.contains(&0) {
            return None;
        }
        match &self.kind {
            Kind::Product { trans_a, alpha, .. } => {
                let stride = if *trans_a { *input.get(1)? } else { 1 };
                let rows = input.iter().product::<usize>() / self.channels;
                Some(Places::of_rows(rows, if *trans_a { 1 } else { self.channels }, stride, *alpha))
            }
            Kind::Windows(sliding) => Places::of_windows(sliding, input, &self.dims),
        }
    }
}

/// The sum behind a matrix product with a bias in it.
fn behind(graph: &Graph, node: NodeId) -> Option<Bias> {
    let [User::Node(next, _)] = graph.value(graph.result(node, 0)?).users() else { return None };
    let sum = CallView::new(graph, *next);
    let slot = (0..2).find(|&slot| sum.constant(slot).is_some())?;
    // Numbers that are added to other numbers of axes do not make the result larger.
    let fits = sum.rank(slot)? <= sum.rank(1 - slot)?;
    (sum.node().op == OpKind::Add && fits).then_some(Bias { node: *next, slot })
}

/// The elements of a float tensor, in single precision.
pub fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    if tensor.dtype() == DType::F32 {
        let bytes = tensor.bytes()?;
        return Some(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect());
    }
    if !tensor.dtype().is_float() {
        return None;
    }
    Some(tensor.reals()?.into_iter().map(|x| x as f32).collect())
}
