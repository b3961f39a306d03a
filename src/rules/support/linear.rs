//! Linear calls with known weights, and how a factor and an offset per channel move into them.
//!
//! `Conv`, `ConvTranspose`, `Gemm`, `MatMul` by a constant and normalizations with known parameters all compute
//! `W·x + b`, where one slice of `W` and one element of `b` belong to each output channel. So
//! `k·(W·x + b) + s` is `(k·W)·x + (k·b + s)`, and `W·(k·x + s) + b` is `(W·k)·x + (b + W·s)`.

mod chain;
mod parallel;

use crate::ir::OpKind::{self, Add, BatchNormalization, Conv, ConvTranspose, Gemm, InstanceNormalization, MatMul};
use crate::ir::{Data, Key, Tensor, ValueId};
use crate::ops::CallView;
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};
use crate::ops::norm::{EPSILON, TRAINING_MODE};
use crate::ops::window::{AUTO_PAD, GROUP};
use crate::rewrite::{Expr, Match, Skip, applies, require};
use crate::rules::support::numbers::{self, SMALL, is_finite, is_foldable_float};
use crate::rules::support::readers::only_read_by;

/// The operators that [`Linear`] reads.
pub const LINEAR: &[OpKind] = &[Conv, ConvTranspose, Gemm, MatMul, BatchNormalization, InstanceNormalization];

/// One factor and one offset per channel: `scale · x + shift`.
pub struct Affine {
    /// The factors.
    pub scale: Vec<f64>,
    /// The offsets; `None` where all are zero.
    pub shift: Option<Vec<f64>>,
}

impl Affine {
    /// What a `Mul` or `Div` by these constants computes.
    pub fn of_product(product: CallView<'_>, k: Vec<f64>) -> Result<Affine, Skip> {
        let scale = if product.node().op == OpKind::Div { k.into_iter().map(f64::recip).collect() } else { k };
        require(scale.iter().all(|k| k.is_finite()), "a factor is not finite")?;
        Ok(Affine { scale, shift: None })
    }

    /// What an `Add` or `Sub` computes whose operand `constant` has these elements.
    pub fn of_sum(sum: CallView<'_>, constant: ValueId, s: Vec<f64>) -> Result<Affine, Skip> {
        require(s.iter().all(|s| s.is_finite()), "an offset is not finite")?;
        let ones = |sign: f64| vec![sign; s.len()];
        Ok(match sum.node().op {
            OpKind::Sub if sum.operand(0) == Some(constant) => Affine { scale: ones(-1.0), shift: Some(s) },
            OpKind::Sub => Affine { scale: ones(1.0), shift: Some(s.into_iter().map(|s| -s).collect()) },
            _ => Affine { scale: ones(1.0), shift: Some(s) },
        })
    }

    /// What a `BatchNormalization` with known statistics computes, per channel of axis 1: k·x + (shift − k·mean) with
    /// k = scale / √(variance + ε).
    pub fn of_batchnorm(norm: CallView<'_>) -> Result<Affine, Skip> {
        require(!TRAINING_MODE.of(norm.node()), "the normalization is in training mode")?;
        let parameter = |slot| norm.constant(slot)?.reals();
        let parameters = || Some([parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?]);
        let [scale, shift, mean, variance] = parameters().ok_or(Skip::NotThis)?;
        let n = scale.len();
        applies([&shift, &mean, &variance].iter().all(|p| p.len() == n))?;
        let epsilon = f64::from(EPSILON.of(norm.node()));
        let k: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let shift: Vec<f64> = (0..n).map(|c| shift[c] - k[c] * mean[c]).collect();
        require(k.iter().chain(&shift).all(|x| x.is_finite()), "a factor of the normalization is not finite")?;
        Ok(Affine { scale: k, shift: Some(shift) })
    }
}

/// A linear call with a known weight.
pub struct Linear<'g> {
    call: CallView<'g>,
    weight: &'g Tensor,
    bias: Option<&'g Tensor>,
    /// Output channels.
    channels: usize,
    /// Axes of the result behind the channel axis, and all of them; unknown where the operand's rank is.
    behind: Option<usize>,
    rank: Option<usize>,
}

impl<'g> Linear<'g> {
    /// Read `call`, when its weight and bias are known floats and it is not a training-mode normalization.
    pub fn read(call: CallView<'g>) -> Result<Linear<'g>, Skip> {
        Linear::try_read(call).ok_or(Skip::NotThis)
    }

    fn try_read(call: CallView<'g>) -> Option<Linear<'g>> {
        // What repeats one element, and what has none, may claim any number of channels.
        let weight = call.constant(1).filter(|w| is_foldable_float(w.dtype()) && is_spelled(w))?;
        let bias = if call.has(2) { Some(call.constant(2)?) } else { None };
        let (dims, node) = (weight.dims(), call.node());
        let spatial = weight.rank().checked_sub(2);
        let (channels, behind, rank) = match node.op {
            Conv if weight.rank() > 2 && groups(call).is_some() => (dims[0], spatial, Some(weight.rank())),
            ConvTranspose if weight.rank() > 2 => (dims[1].checked_mul(groups(call)?)?, spatial, Some(weight.rank())),
            Gemm if weight.rank() == 2 => (dims[1 - usize::from(TRANS_B.of(node))], Some(0), Some(2)),
            MatMul if weight.rank() >= 2 => (*dims.last()?, Some(0), call.result_dims(0).map(<[_]>::len)),
            BatchNormalization | InstanceNormalization if weight.rank() == 1 && !TRAINING_MODE.of(node) => {
                bias?;
                (dims[0], call.rank(0).and_then(|r| r.checked_sub(2)), call.rank(0))
            }
            _ => return None,
        };
        let linear = Linear { call, weight, bias, channels, behind, rank };
        // A bias of another shape is none that one element per channel can replace.
        if let Some(bias) = bias {
            let per_channel = match node.op {
                Gemm => linear.per_channel(bias).is_some(),
                _ => bias.dims() == [channels],
            };
            if !per_channel {
                return None;
            }
        }
        Some(linear)
    }

    /// Which operator it is.
    pub fn op(&self) -> OpKind {
        self.call.node().op
    }

    /// The result's rank, where it is known.
    pub fn rank(&self) -> Option<usize> {
        self.rank
    }

    /// Elements of the weight.
    pub fn taps(&self) -> usize {
        self.weight.len()
    }

    /// A constant that broadcasts against the result with one element per output channel (or one for all), neither
    /// widening it nor varying along another axis.
    pub fn per_channel(&self, constant: &Tensor) -> Option<Vec<f64>> {
        per_channel(constant, self.channels, self.behind, self.rank)
    }

    /// `affine` after this call, moved into it.
    pub fn then(&self, m: &Match<'_>, affine: &Affine) -> Result<Expr, Skip> {
        let (k, call) = (&affine.scale, self.call);
        applies(k.len() == self.channels && affine.shift.as_ref().is_none_or(|s| s.len() == self.channels))?;
        let scales = k.iter().any(|&k| k != 1.0);
        let weight = if scales { Some(self.weight_by_output(m, k)?) } else { None };
        let beta = if call.node().op == Gemm { f64::from(BETA.of(call.node())) } else { 1.0 };
        let bias = match (self.bias, &affine.shift) {
            (None, None) => None,
            (bias, shift) => {
                let bias = match bias {
                    Some(b) => per_channel(b, self.channels, Some(0), Some(2)).ok_or(Skip::NotThis)?,
                    None => vec![0.0; self.channels],
                };
                let shift = |c: usize| shift.as_ref().map_or(0.0, |s| s[c]);
                Some((0..self.channels).map(|c| k[c] * beta * bias[c] + shift(c)).collect())
            }
        };
        self.rebuilt(self.call.operand(0), weight, bias)
    }

    /// This call on `x`, with another weight and bias where these are given.
    fn rebuilt(&self, x: Option<ValueId>, weight: Option<Tensor>, bias: Option<Vec<f64>>) -> Result<Expr, Skip> {
        let call = self.call;
        let x: Expr = x.into();
        let w: Expr = weight.map_or_else(|| call.operand(1).into(), Expr::from);
        let b: Expr = match bias {
            Some(b) => {
                numbers::finite(self.weight.dtype(), &[self.channels], &b).ok_or(Skip::Unsuitable(OVERFLOW))?.into()
            }
            None => call.operand(2).into(),
        };
        let replaced = matches!(b, Expr::Constant(_));
        Ok(match call.node().op {
            MatMul if !replaced => MatMul.emit([x, w]).named_like(call),
            MatMul if self.weight.rank() == 2 && call.rank(0) == Some(2) => Gemm.emit([x, w, b]).named_like(call),
            MatMul => Add.emit([MatMul.emit([x, w]).named_like(call), b]),
            // The new bias has beta in it.
            Gemm if replaced => Gemm.emit([x, w, b]).like(call).without("beta"),
            op => {
                let rest = (3..call.operand_count()).map(|slot| call.operand(slot).into());
                op.emit([x, w, b].into_iter().chain(rest)).like(call)
            }
        })
    }

    /// The weight with every slice of an output channel scaled.
    fn weight_by_output(&self, m: &Match<'_>, k: &[f64]) -> Result<Tensor, Skip> {
        self.may_replace_weight(m)?;
        let (weight, dims) = (self.weight, self.weight.dims());
        let scaled = match self.call.node().op {
            Conv => weight.scaled_along(0, k),
            Gemm => weight.scaled_along(1 - usize::from(TRANS_B.of(self.call.node())), k),
            ConvTranspose => {
                let groups = groups(self.call).ok_or(Skip::NotThis)?;
                let (inputs, outputs) = (dims[0], dims[1]);
                let inner: usize = dims[2..].iter().product();
                applies(groups > 0 && inputs % groups == 0 && inputs * outputs * inner == weight.len())?;
                match groups {
                    1 => weight.scaled_along(1, k),
                    _ => numbers::mapped(weight, |i, w| {
                        let (input, output) = (i / (outputs * inner), i / inner % outputs);
                        w * k[input / (inputs / groups) * outputs + output]
                    }),
                }
            }
            // The last axis of a MatMul's weight, the only one of a normalization's.
            _ => weight.scaled_along(dims.len() - 1, k),
        };
        scaled.filter(is_finite).ok_or(Skip::Unsuitable(OVERFLOW))
    }

    /// How many channels the operand has, where the weight tells.
    fn input_channels(&self) -> Option<usize> {
        let dims = self.weight.dims();
        match self.call.node().op {
            Conv => dims[1].checked_mul(groups(self.call)?),
            Gemm if !TRANS_A.of(self.call.node()) => Some(dims[usize::from(TRANS_B.of(self.call.node()))]),
            MatMul => Some(dims[dims.len() - 2]),
            _ => None,
        }
    }

    /// As [`Linear::per_channel`], of the operand.
    pub fn per_input_channel(&self, constant: &Tensor) -> Option<Vec<f64>> {
        per_channel(constant, self.input_channels()?, self.behind, self.call.rank(0))
    }

    /// `affine` before this call, moved into it, with `x` in the place of the operand.
    pub fn before(&self, m: &Match<'_>, x: ValueId, affine: &Affine) -> Result<Expr, Skip> {
        let n = self.input_channels().ok_or(Skip::NotThis)?;
        let k = &affine.scale;
        applies(k.len() == n && affine.shift.as_ref().is_none_or(|s| s.len() == n))?;
        let call = self.call;
        let bias = match affine.shift.as_ref().filter(|s| s.iter().any(|&s| s != 0.0)) {
            None => None,
            Some(shift) => {
                require(!pads(call), "the convolution pads its operand with zeros, not with the offset")?;
                Some(self.bias_with(shift).ok_or(Skip::NotThis)?)
            }
        };
        let weight = match k.iter().any(|&k| k != 1.0) {
            true => Some(self.weight_by_input(m, k)?),
            false => None,
        };
        self.rebuilt(Some(x), weight, bias)
    }

    /// The bias, plus what the weight makes of an operand that is `shift` everywhere.
    fn bias_with(&self, shift: &[f64]) -> Option<Vec<f64>> {
        // Any other MatMul would need an addition behind it in the place of the one before it.
        if self.op() == MatMul && (self.weight.rank() != 2 || self.call.rank(0) != Some(2)) {
            return None;
        }
        self.response(shift)
    }

    /// What is added per output channel; `None` where there is no bias.
    fn offsets(&self) -> Option<Vec<f64>> {
        let beta = if self.op() == Gemm { f64::from(BETA.of(self.call.node())) } else { 1.0 };
        let bias = per_channel(self.bias?, self.channels, Some(0), Some(2))?;
        Some(bias.into_iter().map(|b| beta * b).collect())
    }

    /// What the call makes of an operand that is `shift` everywhere, per output channel.
    fn response(&self, shift: &[f64]) -> Option<Vec<f64>> {
        let alpha = if self.op() == Gemm { f64::from(ALPHA.of(self.call.node())) } else { 1.0 };
        let mut bias = self.offsets().unwrap_or_else(|| vec![0.0; self.channels]);
        for (i, w) in self.weight.reals()?.into_iter().enumerate() {
            let (output, input) = self.channels_of(i);
            *bias.get_mut(output)? += alpha * w * shift.get(input)?;
        }
        Some(bias)
    }

    /// The weight with every slice of an input channel scaled.
    fn weight_by_input(&self, m: &Match<'_>, k: &[f64]) -> Result<Tensor, Skip> {
        self.may_replace_weight(m)?;
        let weight = self.weight;
        let scaled = match self.call.node().op {
            Conv if groups(self.call) == Some(1) => weight.scaled_along(1, k),
            Conv => numbers::mapped(weight, |i, w| w * k[self.channels_of(i).1]),
            Gemm => weight.scaled_along(usize::from(TRANS_B.of(self.call.node())), k),
            _ => weight.scaled_along(weight.rank() - 2, k),
        };
        scaled.filter(is_finite).ok_or(Skip::Unsuitable(OVERFLOW))
    }

    /// The output and the input channel that element `i` of the weight connects.
    fn channels_of(&self, i: usize) -> (usize, usize) {
        let dims = self.weight.dims();
        match self.call.node().op {
            Conv => {
                let inner: usize = dims[2..].iter().product();
                let (output, input) = (i / (dims[1] * inner), i / inner % dims[1]);
                let group = output / (dims[0] / groups(self.call).unwrap_or(1).max(1)).max(1);
                (output, group * dims[1] + input)
            }
            Gemm if TRANS_B.of(self.call.node()) => (i / dims[1], i % dims[1]),
            _ => (i % dims[dims.len() - 1], i / dims[dims.len() - 1]),
        }
    }

    /// Replacing a large weight that somebody else reads would store it twice.
    fn may_replace_weight(&self, m: &Match<'_>) -> Result<(), Skip> {
        let own = self.call.operand(1).is_some_and(|w| only_read_by(m.graph(), w, self.call.id()));
        require(own || self.weight.stored_bytes() <= SMALL, "the weight is shared with another node")
    }
}

/// Whether the tensor has elements, and could be spelled out.
fn is_spelled(tensor: &Tensor) -> bool {
    tensor.len() > 0 && (!matches!(tensor.data(), Data::Splat(_)) || tensor.len() <= Tensor::MAX_SPELLED)
}

const OVERFLOW: &str = "a folded weight would overflow its type";

/// The groups of a convolution; `None` unless they part its channels evenly.
fn groups(call: CallView<'_>) -> Option<usize> {
    let groups = usize::try_from(GROUP.of(call.node())).ok().filter(|&g| g > 0)?;
    let parted = call.constant(1)?.dims().first()?;
    (parted % groups == 0).then_some(groups)
}

/// Whether a call may read beyond its operand's edges.
fn pads(call: CallView<'_>) -> bool {
    const PADS: Key<&[i64]> = Key::new("pads", &[]);
    if call.node().op != Conv {
        return false;
    }
    match &*AUTO_PAD.of(call.node()) {
        "NOTSET" => PADS.of(call.node()).iter().any(|&p| p != 0),
        "VALID" => false,
        // A kernel of one element needs none.
        _ => call.constant(1).is_none_or(|w| w.dims().iter().skip(2).any(|&d| d != 1)),
    }
}

/// The elements of `constant`, one for each of `channels`, where it broadcasts against a value of `rank` axes, of which
/// `behind` are behind the channel axis, without widening it or varying along another axis.
fn per_channel(constant: &Tensor, channels: usize, behind: Option<usize>, rank: Option<usize>) -> Option<Vec<f64>> {
    if !is_foldable_float(constant.dtype()) {
        return None;
    }
    if constant.rank() > 0 && rank.is_none_or(|rank| constant.rank() > rank) {
        return None;
    }
    for (from_end, &size) in constant.dims().iter().rev().enumerate() {
        if size != 1 && (Some(from_end) != behind || size != channels) {
            return None;
        }
    }
    match constant.len() {
        1 => Some(vec![constant.real(0)?; channels]),
        _ => constant.reals(),
    }
}
