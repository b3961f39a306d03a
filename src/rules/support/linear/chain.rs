//! Two linear calls in a row as one: `W·(V·x + a) + b` is `(W·V)·x + (W·a + b)`.

use super::{ALPHA, Linear, OVERFLOW, TRANS_A, TRANS_B, groups, pads};
use crate::ir::OpKind::{Conv, Gemm, MatMul};
use crate::ir::{Tensor, ValueId};
use crate::rewrite::{Expr, Match, Skip, applies, require};
use crate::rules::support::matrix::{Matrix, is_quick};
use crate::rules::support::numbers::{self, SMALL};
use crate::rules::support::readers::only_read_by;

impl Linear<'_> {
    /// This `MatMul` or `Gemm` of the result of `inner` and, where there is one, of a constant added `between`, as one
    /// product of what `inner` reads.
    pub fn after_matmul(&self, m: &Match<'_>, inner: &Linear<'_>, between: Option<&Tensor>) -> Result<Expr, Skip> {
        let flat = |l: &Linear<'_>| matches!(l.op(), MatMul | Gemm) && l.weight.rank() == 2;
        applies(flat(self) && flat(inner))?;
        applies([self, inner].iter().all(|l| l.op() == MatMul || !TRANS_A.of(l.call.node())))?;
        let (outputs, inputs) = (self.channels, inner.input_channels().ok_or(Skip::NotThis)?);
        self.may_merge(m, inner, outputs.checked_mul(inputs).ok_or(Skip::NotThis)?)?;
        let shift = match between {
            Some(t) => Some(inner.per_channel(t).ok_or(Skip::NotThis)?),
            None => inner.offsets(),
        };
        let bias = shift.map(|shift| self.response(&shift).ok_or(Skip::NotThis)).transpose()?;
        let product = by_output(self).zip(by_output(inner)).and_then(|(w, v)| w.times(&v));
        let product = product.ok_or(Skip::NotThis)?;
        let alpha = if inner.op() == Gemm { f64::from(ALPHA.of(inner.call.node())) } else { 1.0 };
        let turned = self.op() == Gemm && TRANS_B.of(self.call.node());
        let (dims, product) =
            if turned { ([outputs, inputs], product) } else { ([inputs, outputs], product.transposed()) };
        let weight: Vec<f64> = product.into_elements().into_iter().map(|w| alpha * w).collect();
        let weight = numbers::finite(self.weight.dtype(), &dims, &weight).ok_or(Skip::Unsuitable(OVERFLOW))?;
        self.rebuilt(inner.call.operand(0), Some(weight), bias)
    }

    /// This `Conv` of the result of `inner`, one of the two with a kernel of one element, as one `Conv` of what `inner`
    /// reads.
    pub fn after_conv(&self, m: &Match<'_>, inner: &Linear<'_>) -> Result<Expr, Skip> {
        applies(self.op() == Conv && inner.op() == Conv)?;
        applies(groups(self.call) == Some(1) && groups(inner.call) == Some(1))?;
        applies(self.weight.rank() == inner.weight.rank())?;
        // The larger kernel's call is the one that is kept.
        let kept = if self.is_pointwise() { inner } else { self };
        applies(self.is_pointwise() || inner.is_pointwise())?;
        let (outputs, inputs) = (self.channels, inner.weight.dims()[1]);
        let kernel = &kept.weight.dims()[2..];
        let taps: usize = kernel.iter().product();
        let size = outputs.checked_mul(inputs).and_then(|n| n.checked_mul(taps)).ok_or(Skip::NotThis)?;
        self.may_merge(m, inner, size)?;
        let shift = inner.offsets();
        let shifted = shift.as_ref().is_some_and(|s| s.iter().any(|&s| s != 0.0));
        require(!shifted || !pads(self.call), "the convolution pads its operand with zeros, not with the offset")?;
        let bias = match shift {
            Some(shift) => Some(self.response(&shift).ok_or(Skip::NotThis)?),
            None => self.offsets(),
        };
        let weight = if self.is_pointwise() {
            by_output(self).zip(by_output(inner)).and_then(|(w, v)| w.times(&v)).map(Matrix::into_elements)
        } else {
            self.taps_times(inner, taps)
        };
        let dims: Vec<usize> = [outputs, inputs].into_iter().chain(kernel.iter().copied()).collect();
        let weight = weight.ok_or(Skip::NotThis)?;
        let weight = numbers::finite(self.weight.dtype(), &dims, &weight).ok_or(Skip::Unsuitable(OVERFLOW))?;
        kept.rebuilt_with(inner.call.operand(0), weight, bias, outputs)
    }

    /// The weight of a convolution times that of one before it with one tap, tap by tap.
    fn taps_times(&self, inner: &Linear<'_>, taps: usize) -> Option<Vec<f64>> {
        let (outputs, between) = (self.channels, inner.channels);
        let w = self.weight.reals()?;
        let mut by_tap = Vec::with_capacity(w.len());
        for output in 0..outputs {
            for tap in 0..taps {
                by_tap.extend((0..between).map(|c| w.get((output * between + c) * taps + tap).copied()));
            }
        }
        let by_tap = Matrix::new(outputs.checked_mul(taps)?, between, by_tap.into_iter().collect::<Option<_>>()?)?;
        let product = by_tap.times(&by_output(inner)?)?.into_elements();
        let inputs = inner.weight.dims()[1];
        let mut out = vec![0.0; product.len()];
        for (i, p) in product.into_iter().enumerate() {
            let (output, tap, input) = (i / (taps * inputs), i / inputs % taps, i % inputs);
            *out.get_mut((output * inputs + input) * taps + tap)? = p;
        }
        Some(out)
    }

    /// Whether each element of the result is computed from one place of the operand, and all places have one.
    fn is_pointwise(&self) -> bool {
        let spatial = self.weight.rank().saturating_sub(2);
        let strides = self.call.per_axis("strides", spatial, 1);
        self.weight.dims()[2..].iter().all(|&d| d == 1)
            && strides.is_some_and(|s| s.iter().all(|&s| s == 1))
            && !pads(self.call)
    }

    /// One weight of `size` elements in the place of two: it must not be larger, nor may one of the two stay.
    fn may_merge(&self, m: &Match<'_>, inner: &Linear<'_>, size: usize) -> Result<(), Skip> {
        let (w, v) = (self.weight, inner.weight);
        applies(w.dtype() == v.dtype())?;
        let fits = w.len().checked_add(v.len()).is_some_and(|both| size <= both);
        require(fits, "the product would be larger than its factors")?;
        // Asked before any element is read: weights may be large.
        let columns = v.len().checked_div(inner.channels).ok_or(Skip::NotThis)?;
        require(is_quick(w.len(), columns), "the product would take too long")?;
        let tied = self.call.operand(1) == inner.call.operand(1);
        let own = |l: &Linear<'_>| {
            tied && l.call.operand(1).is_some_and(|w| m.owns_value(w))
                || l.call.operand(1).is_some_and(|w| only_read_by(m.graph(), w, l.call.id()))
        };
        let small = w.stored_bytes().saturating_add(v.stored_bytes()) <= SMALL;
        require(small || own(self) && own(inner), "the weight is shared with another node")
    }

    /// This call, which makes `channels` channels now.
    fn rebuilt_with(
        &self,
        x: Option<ValueId>,
        weight: Tensor,
        bias: Option<Vec<f64>>,
        channels: usize,
    ) -> Result<Expr, Skip> {
        let bias: Expr = match bias {
            Some(b) => numbers::finite(weight.dtype(), &[channels], &b).ok_or(Skip::Unsuitable(OVERFLOW))?.into(),
            None => Expr::Absent,
        };
        Ok(self.op().emit([x.into(), weight.into(), bias]).like(self.call))
    }
}

/// The weight with one row per output channel.
fn by_output(linear: &Linear<'_>) -> Option<Matrix> {
    let (dims, elements) = (linear.weight.dims(), linear.weight.reals()?);
    let columns = elements.len().checked_div(dims[0])?;
    let matrix = Matrix::new(dims[0], columns, elements)?;
    let by_input = match linear.op() {
        Gemm => !TRANS_B.of(linear.call.node()),
        MatMul => true,
        _ => false,
    };
    Some(if by_input { matrix.transposed() } else { matrix })
}
