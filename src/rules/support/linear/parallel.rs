//! Convolutions of one value that are added, as one: `V∗x + W∗x` is `(V + W)∗x`.

use super::{Affine, Linear, OVERFLOW, groups};
use crate::ir::OpKind::Conv;
use crate::rewrite::{Expr, Match, Skip, applies, require};
use crate::rules::support::numbers;
use crate::rules::support::pads::own;

/// What a convolution reads along one axis.
struct Window {
    taps: i64,
    /// Places from one tap to the next.
    step: i64,
    before: i64,
    after: i64,
    stride: i64,
}

impl Window {
    /// Places from the first tap to the last.
    fn reach(&self) -> Option<i64> {
        (self.taps - 1).checked_mul(self.step)
    }

    /// Which tap of this one the first of `other` falls on, when every tap of `other` falls on one and both give
    /// results at the same places.
    fn place_of(&self, other: &Window) -> Option<i64> {
        let shift = self.before.checked_sub(other.before)?;
        let same_step = other.taps == 1 || other.step == self.step;
        let behind = self.reach()?.checked_sub(other.reach()?)?.checked_sub(shift)?;
        let lined_up = self.stride == other.stride && self.after.checked_sub(other.after)? == behind;
        let place = if self.taps == 1 { shift } else { shift.checked_div(self.step)? };
        let exact = self.taps == 1 || shift.checked_rem(self.step)? == 0;
        (same_step && lined_up && exact && place >= 0 && place.checked_add(other.taps)? <= self.taps).then_some(place)
    }
}

const MISALIGNED: &str = "the two kernels do not line up";

impl Linear<'_> {
    /// This `Conv` and `other`, whose kernel is no larger, of the same value, added.
    pub fn plus_conv(&self, m: &Match<'_>, other: &Linear<'_>) -> Result<Expr, Skip> {
        applies(self.op() == Conv && other.op() == Conv && self.weight.rank() == other.weight.rank())?;
        applies(self.channels == other.channels && self.weight.dtype() == other.weight.dtype())?;
        require(groups(self.call) == groups(other.call), "the two have different groups")?;
        applies(self.weight.dims()[1] == other.weight.dims()[1])?;
        let bias = match (self.offsets(), other.offsets()) {
            (Some(a), Some(b)) => Some(a.into_iter().zip(b).map(|(a, b)| a + b).collect()),
            (a, b) => a.or(b),
        };
        let (kernel, small) = (&self.weight.dims()[2..], &other.weight.dims()[2..]);
        let places = self.places(&other.windows()?)?;
        let added = other.weight.reals().ok_or(Skip::NotThis)?;
        let small_taps: usize = small.iter().product();
        let by_tap = |i: usize| {
            let (mut tap, mut at, mut stride) = (i % small_taps, 0, 1);
            for axis in (0..small.len()).rev() {
                at += (tap % small[axis] + places[axis]) * stride;
                tap /= small[axis];
                stride *= kernel[axis];
            }
            (i / small_taps, at)
        };
        self.with_added(m, bias, added.into_iter().enumerate().map(|(i, w)| (by_tap(i), w)))
    }

    /// This `Conv` and its own operand through `affine`, per channel, added.
    pub fn plus_operand(&self, m: &Match<'_>, affine: &Affine) -> Result<Expr, Skip> {
        applies(self.op() == Conv)?;
        let (inputs, n) = (self.input_channels().ok_or(Skip::NotThis)?, self.channels);
        applies(inputs == n && affine.scale.len() == n && affine.shift.as_ref().is_none_or(|s| s.len() == n))?;
        let bias = match (self.offsets(), &affine.shift) {
            (Some(a), Some(b)) => Some(a.into_iter().zip(b).map(|(a, b)| a + b).collect()),
            (a, b) => a.or_else(|| b.clone()),
        };
        let kernel = &self.weight.dims()[2..];
        let point = kernel.iter().map(|_| Window { taps: 1, step: 1, before: 0, after: 0, stride: 1 });
        let places = self.places(&point.collect::<Vec<_>>())?;
        let tap = places.iter().zip(kernel).fold(0, |at, (place, size)| at * size + place);
        let per_group = self.weight.dims()[1];
        let diagonal = (0..n).map(|c| ((c * per_group + c % per_group, tap), affine.scale[c]));
        self.with_added(m, bias, diagonal)
    }

    fn windows(&self) -> Result<Vec<Window>, Skip> {
        let kernel = &self.weight.dims()[2..];
        let per_axis = |name| self.call.per_axis(name, kernel.len(), 1).ok_or(Skip::NotThis);
        let (strides, dilations, pads) = (per_axis("strides")?, per_axis("dilations")?, own(&self.call, kernel.len())?);
        let window = |axis: usize| {
            let taps = i64::try_from(kernel[axis]).ok()?;
            let (before, after) = pads[axis];
            Some(Window { taps, step: dilations[axis], before, after, stride: strides[axis] })
        };
        (0..kernel.len()).map(window).collect::<Option<_>>().ok_or(Skip::NotThis)
    }

    /// Along each axis, the tap of this kernel that the first tap of the other falls on.
    fn places(&self, others: &[Window]) -> Result<Vec<usize>, Skip> {
        let places = self.windows()?.iter().zip(others).map(|(a, b)| usize::try_from(a.place_of(b)?).ok()).collect();
        Option::ok_or(places, Skip::Unsuitable(MISALIGNED))
    }

    /// This convolution with numbers added to some elements of its weight: to tap `.1` of the kernel `.0`.
    fn with_added(
        &self,
        m: &Match<'_>,
        bias: Option<Vec<f64>>,
        added: impl Iterator<Item = ((usize, usize), f64)>,
    ) -> Result<Expr, Skip> {
        self.may_replace_weight(m)?;
        let taps: usize = self.weight.dims()[2..].iter().product();
        let mut weight = self.weight.reals().ok_or(Skip::NotThis)?;
        for ((kernel, tap), w) in added {
            *weight.get_mut(kernel * taps + tap).ok_or(Skip::NotThis)? += w;
        }
        let weight = numbers::finite(self.weight.dtype(), self.weight.dims(), &weight);
        self.rebuilt(self.call.operand(0), Some(weight.ok_or(Skip::Unsuitable(OVERFLOW))?), bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(taps: i64, step: i64, before: i64, after: i64) -> Window {
        Window { taps, step, before, after, stride: 1 }
    }

    #[test]
    fn taps_fall_on_taps() {
        let place = |a: Window, b: Window| a.place_of(&b);
        assert_eq!(place(window(3, 1, 1, 1), window(1, 1, 0, 0)), Some(1));
        assert_eq!(place(window(3, 1, 0, 2), window(1, 1, 0, 0)), Some(0));
        assert_eq!(place(window(3, 2, 2, 2), window(1, 7, 0, 0)), Some(1));
        assert_eq!(place(window(3, 2, 1, 3), window(1, 1, 0, 0)), None);
        assert_eq!(place(window(5, 1, 2, 2), window(3, 1, 1, 1)), Some(1));
        assert_eq!(place(window(5, 2, 4, 4), window(3, 1, 1, 1)), None);
        assert_eq!(place(window(3, 1, 1, 1), window(1, 1, 1, 1)), None);
        assert_eq!(place(window(3, 1, 0, 0), window(1, 1, 0, 0)), None);
        assert_eq!(place(window(1, 1, 0, 0), window(3, 1, 1, 1)), None);
        assert_eq!(Window { stride: 2, ..window(3, 1, 1, 1) }.place_of(&window(1, 1, 0, 0)), None);
    }
}
