//! How many places a sliding window takes along each spatial axis, as convolution and pooling count them.
//!
//! Of symbolic sizes it is taken for granted that one window fits. Where none does ONNX says nothing, and runtimes
//! refuse, or give a size of 0 or 1.

use smallvec::SmallVec;

use crate::ir::{Int, Key};
use crate::ops::{CallView, Infer};

/// Groups that the channels of a convolution are parted in.
pub const GROUP: Key<i64> = Key::new("group", 1);

/// How many independent groups of channels a convolution has.
pub fn groups(call: &CallView<'_>) -> Option<usize> {
    usize::try_from(GROUP.of(call.node())).ok().filter(|&groups| groups >= 1)
}

/// Who says how much padding there is.
pub const AUTO_PAD: Key<&'static str> = Key::new("auto_pad", "NOTSET");

/// Where padding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As the `pads` attribute says, or none.
    Explicit,
    /// As much as makes the result `⌈size / stride⌉` long.
    Same,
    /// None.
    Valid,
}

/// What becomes of the last window when it does not fit whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// It is left out.
    Floor,
    /// It hangs over the end; left out when it would start in the padding after the end.
    Ceil,
    /// It hangs over the end, wherever it starts.
    CeilAll,
}

/// The attributes that say how windows slide along `n` spatial axes.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Where padding comes from.
    pub padding: Padding,
    /// Steps between windows, each at least 1.
    pub strides: SmallVec<[i64; 8]>,
    /// Steps between elements of a window, each at least 1.
    pub dilations: SmallVec<[i64; 8]>,
    /// Padding before each axis, then after each; zeros unless [`Padding::Explicit`].
    pub pads: SmallVec<[i64; 8]>,
}

impl Windows {
    /// The attributes of `call`; `None` where they are malformed.
    pub fn of(call: &CallView<'_>, n: usize) -> Option<Windows> {
        let padding = match AUTO_PAD.of(call.node()).as_ref() {
            "NOTSET" | "" => Padding::Explicit,
            "SAME_UPPER" | "SAME_LOWER" => Padding::Same,
            "VALID" => Padding::Valid,
            _ => return None,
        };
        let positive = |list: &SmallVec<[i64; 8]>| list.iter().all(|&s| s >= 1);
        let strides = call.per_axis("strides", n, 1).filter(positive)?;
        let dilations = call.per_axis("dilations", n, 1).filter(positive)?;
        let pads = match padding {
            Padding::Explicit => call.per_axis("pads", n.checked_mul(2)?, 0)?,
            Padding::Same | Padding::Valid => SmallVec::from_elem(0, n.checked_mul(2)?),
        };
        Some(Windows { padding, strides, dilations, pads })
    }

    /// How many elements a window of `kernel` elements spans along `axis`.
    pub fn span(&self, axis: usize, kernel: &Int) -> Option<Int> {
        let dilation = Int::from(*self.dilations.get(axis)?);
        kernel.checked_sub(&Int::from(1))?.checked_mul(&dilation)?.checked_add(&Int::from(1))
    }

    /// The padding before and after `axis`.
    pub fn pads(&self, axis: usize) -> Option<(i64, i64)> {
        Some((*self.pads.get(axis)?, *self.pads.get(axis + self.strides.len())?))
    }

    /// How many windows of `kernel` elements there are on `axis` of `size`; `None` where that is open.
    pub fn places(&self, axis: usize, size: &Int, kernel: &Int, rounding: Rounding) -> Option<Int> {
        let stride = *self.strides.get(axis)?;
        let step = Int::from(stride);
        if self.padding == Padding::Same {
            return size.ceil_div(&step);
        }
        let (before, after) = self.pads(axis)?;
        let span = self.span(axis, kernel)?;
        let padded = size.checked_add(&Int::from(before))?.checked_add(&Int::from(after))?;
        let slack = padded.checked_sub(&span)?;
        if slack.known().is_some_and(|s| s < 0) {
            return None;
        }
        let one = Int::from(1);
        let whole = slack.floor_div(&step)?.checked_add(&one)?;
        if rounding == Rounding::Floor {
            return Some(whole);
        }
        let hanging = slack.ceil_div(&step)?.checked_add(&one)?;
        if self.padding == Padding::Valid {
            // The formula for VALID leaves the last window out; implementations keep it.
            return (whole == hanging).then_some(whole);
        }
        let span = span.known()?;
        if before < 0 || after < 0 || after >= span {
            // More than the last window may start in the padding: implementations leave out one.
            return None;
        }
        if rounding == Rounding::CeilAll || span >= stride.checked_add(after)? {
            return Some(hanging);
        }
        // Window i starts at i · stride, which must lie before the end of the data.
        let last = size.checked_add(&Int::from(before))?.checked_sub(&one)?.floor_div(&step)?;
        Some(hanging.lesser(&last.checked_add(&one)?))
    }
}

/// The result of sliding windows over operand 0 (`[N, C, spatial…]`): `places` along each spatial axis, and a
/// measurement where that is open.
pub(super) fn spatial(
    call: &Infer<'_>,
    n: usize,
    places: impl Fn(&Windows, usize) -> Option<Int>,
) -> impl Iterator<Item = Int> {
    let windows = Windows::of(call, n);
    (0..n).map(move |axis| windows.as_ref().and_then(|w| places(w, axis)).unwrap_or_else(|| call.fresh(0, axis + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Atom;

    fn windows(padding: Padding, stride: i64, dilation: i64, pads: [i64; 2]) -> Windows {
        Windows {
            padding,
            strides: SmallVec::from_slice(&[stride]),
            dilations: SmallVec::from_slice(&[dilation]),
            pads: SmallVec::from_slice(&pads),
        }
    }

    /// Counts windows one by one.
    fn count(w: &Windows, size: i64, kernel: i64, rounding: Rounding) -> i64 {
        let (before, after) = w.pads(0).unwrap();
        let span = w.dilations[0] * (kernel - 1) + 1;
        (0..)
            .take_while(|i| {
                let start = i * w.strides[0];
                let fits = start + span <= size + before + after;
                // In ceil mode the last window may hang over by less than a stride.
                let hangs = start + span < size + before + after + w.strides[0] && start < size + before;
                fits || rounding == Rounding::Ceil && hangs
            })
            .count() as i64
    }

    #[test]
    fn formulas_agree_with_counting() {
        let mut answered = 0;
        for size in 1..12 {
            for (kernel, dilation) in [(1, 1), (2, 1), (3, 1), (2, 3), (5, 1)] {
                for stride in 1..5 {
                    for pads in [[0, 0], [1, 0], [0, 1], [1, 1], [2, 1]] {
                        let w = windows(Padding::Explicit, stride, dilation, pads);
                        for rounding in [Rounding::Floor, Rounding::Ceil] {
                            let places = w.places(0, &Int::from(size), &Int::from(kernel), rounding);
                            let Some(places) = places else { continue };
                            answered += 1;
                            assert_eq!(
                                places.known(),
                                Some(count(&w, size, kernel, rounding)),
                                "{size} by {kernel}, {w:?}, {rounding:?}"
                            );
                            // The same through symbols.
                            let h = Int::named("h");
                            let symbolic = w.places(0, &h, &Int::from(kernel), rounding).unwrap();
                            let at = |a: &Atom| (*a == Atom::Named("h".into())).then(|| Int::from(size));
                            assert_eq!(symbolic.substitute(&at), Some(places));
                        }
                    }
                }
            }
        }
        assert!(answered > 1000);
    }

    #[test]
    fn same_padding_divides_and_rounds_up() {
        let w = windows(Padding::Same, 2, 1, [0, 0]);
        let places = |size: Int| w.places(0, &size, &Int::from(3), Rounding::Floor);
        assert_eq!(places(Int::from(7)), Some(Int::from(4)));
        assert_eq!(places(&Int::named("h") * 2), Some(Int::named("h")));
    }

    #[test]
    fn nothing_is_said_where_onnx_and_its_implementations_differ() {
        let w = windows(Padding::Valid, 2, 1, [0, 0]);
        assert_eq!(w.places(0, &Int::from(8), &Int::from(3), Rounding::Ceil), None);
        assert_eq!(w.places(0, &Int::from(7), &Int::from(3), Rounding::Ceil), Some(Int::from(3)));
        let w = windows(Padding::Explicit, 1, 1, [0, 0]);
        assert_eq!(w.places(0, &Int::from(2), &Int::from(3), Rounding::Floor), None);
    }
}
