//! How far two tensors are apart, and how far they may be.
//!
//! A float may differ by `share · (|x| + scale)`, `x` being the original's element and `scale` the largest magnitude of
//! the output that the two disagree on, masks (ten thousand and more) left out. The share is a multiple of the unit
//! roundoff of the coarsest float type in the model: engines themselves add up terms in an order that depends on what
//! surrounds an operator, which over a few thousand terms moves the last digits of every intermediate by some tens of
//! roundoffs; a rewrite that rounds elsewhere moves some hundreds.
//!
//! NaN equals NaN, an infinity equals itself. Integers, booleans and strings have to be equal, but for those that were
//! cut out of floats on the way: where the two may round apart, an index or a quantized step may fall to either side.

use serde::Serialize;

use crate::ir::{DType, Graph, OpKind, Tensor};
use crate::rewrite::Exactness;

/// How far results may be apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// The share of an element's magnitude, and of its output's, by which a float may differ.
    pub share: f64,
    /// The share of an output's integers that may differ.
    pub integers: f64,
}

impl Tolerance {
    /// The tolerance for a rewrite of this exactness between these two graphs.
    pub fn of(exactness: Exactness, graphs: [&Graph; 2]) -> Tolerance {
        let roundoff = graphs.into_iter().flat_map(float_types).map(roundoff).fold(2f64.powi(-53), f64::max);
        let factor = match exactness {
            Exactness::Bitwise => 64.0,
            Exactness::Rounding => 1024.0,
            Exactness::Approximate => 16384.0,
        };
        // Half precision has no hundreds of roundoffs to give: beyond an eighth nothing would be compared any more.
        let share = (factor * roundoff).min(match exactness {
            Exactness::Bitwise => 1.0 / 64.0,
            Exactness::Rounding => 1.0 / 32.0,
            Exactness::Approximate => 1.0 / 8.0,
        });
        let quantizes = graphs.into_iter().any(quantizes_results);
        // A step that falls to the other side is one part in 127 or so of its tensor's range.
        let share = if quantizes { share.max(1.0 / 32.0) } else { share };
        let integers = match exactness {
            Exactness::Bitwise => 0.001,
            Exactness::Rounding => 0.002,
            Exactness::Approximate => 0.02,
        };
        Tolerance { share, integers }
    }
}

fn float_types(graph: &Graph) -> impl Iterator<Item = DType> {
    graph.values().filter_map(|v| graph.value(v).ty.dtype()).filter(|d| d.is_float())
}

/// Half the distance of neighbours at 1. Types narrower than 16 bits are only stored in, never computed in.
fn roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// Whether results of the run are quantized on the way.
fn quantizes_results(graph: &Graph) -> bool {
    graph.nodes().any(|n| {
        matches!(
            graph.node(n).op,
            OpKind::QuantizeLinear | OpKind::DynamicQuantizeLinear | OpKind::QLinearConv | OpKind::QLinearMatMul
        )
    })
}

/// How far an output is from the original's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The output.
    pub output: String,
    /// Whether that is within the tolerance.
    pub within: bool,
    /// The largest difference of two elements.
    pub max_abs: f64,
    /// The largest difference in shares of the element's magnitude and the output's scale: what the tolerance bounds.
    pub max_share: f64,
    /// How many elements are not the same.
    pub differing: usize,
    /// How many elements there are.
    pub elements: usize,
    /// What is wrong, where elements cannot be compared or are too far apart.
    pub reason: Option<String>,
}

/// From this magnitude on, values are masks: large enough to win, whatever they are added to.
const MASK: f64 = 1e4;

/// Compare two tensors shown as one output.
pub fn difference(output: &str, original: &Tensor, result: &Tensor, tolerance: Tolerance) -> Difference {
    let mut found = Difference {
        output: output.to_string(),
        within: true,
        max_abs: 0.0,
        max_share: 0.0,
        differing: 0,
        elements: original.len(),
        reason: None,
    };
    if original.dtype() != result.dtype() || original.dims() != result.dims() {
        found.fail(format!("it is {result}, not {original}"));
        return found;
    }
    if original == result {
        return found;
    }
    if original.dtype().is_float()
        && let (Some(a), Some(b)) = (original.reals(), result.reals())
    {
        found.compare_floats(&a, &b, tolerance);
        return found;
    }
    found.compare_exactly(original, result, tolerance);
    found
}

impl Difference {
    fn fail(&mut self, reason: String) {
        self.within = false;
        self.reason = Some(reason);
    }

    fn compare_floats(&mut self, original: &[f64], result: &[f64], tolerance: Tolerance) {
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        let pairs =
            || original.iter().zip(result).map(|(&a, &b)| (a, b)).enumerate().filter(|(_, (a, b))| !same(*a, *b));
        let magnitudes = pairs().flat_map(|(_, (a, b))| [a.abs(), b.abs()]);
        let scale = magnitudes.filter(|m| *m < MASK).fold(0.0, f64::max);
        let mut worst = None;
        for (i, (a, b)) in pairs() {
            self.differing += 1;
            let distance = (a - b).abs();
            // A NaN or an infinity on one side alone is beyond every tolerance.
            let share = if distance.is_finite() { distance / (a.abs() + scale) } else { f64::INFINITY };
            if distance.is_finite() {
                self.max_abs = self.max_abs.max(distance);
            } else {
                self.max_abs = f64::INFINITY;
            }
            if share > self.max_share {
                self.max_share = share;
                worst = Some((i, a, b));
            }
        }
        if let Some((i, a, b)) = worst
            && self.max_share > tolerance.share
        {
            self.fail(format!("element {i} is {b}, not {a}"));
        }
    }

    fn compare_exactly(&mut self, original: &Tensor, result: &Tensor, tolerance: Tolerance) {
        let same = |i: usize| match (original.as_strings(), result.as_strings()) {
            (Some(a), Some(b)) => a[i] == b[i],
            _ => original.element(i) == result.element(i),
        };
        let mut first = None;
        for i in (0..original.len()).filter(|&i| !same(i)) {
            self.differing += 1;
            first.get_or_insert(i);
            if let (Some(a), Some(b)) = (original.real(i), result.real(i)) {
                self.max_abs = self.max_abs.max((a - b).abs());
            }
        }
        let share = self.differing as f64 / self.elements.max(1) as f64;
        self.max_share = share;
        // Strings and small outputs are compared exactly.
        let allowed = if original.dtype() == DType::String { 0.0 } else { tolerance.integers };
        if let Some(i) = first
            && share > allowed
        {
            let shown = |t: &Tensor| match (t.real(i), t.as_strings()) {
                (Some(x), _) => x.to_string(),
                (None, Some(s)) => format!("\"{}\"", String::from_utf8_lossy(&s[i])),
                (None, None) => format!("{:02x?}", t.element(i).unwrap_or_default().as_slice()),
            };
            self.fail(format!("element {i} is {}, not {}", shown(result), shown(original)));
        }
    }

    /// The worse of two comparisons of one output.
    pub(super) fn merge(&mut self, other: Difference) {
        let other_is_worse = (self.within, other.within) == (true, false)
            || (self.within == other.within && other.max_share > self.max_share);
        if other_is_worse {
            *self = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: Tolerance = Tolerance { share: 1e-4, integers: 0.001 };

    fn f32s(elements: &[f32]) -> Tensor {
        Tensor::f32s(&[elements.len()], elements).unwrap()
    }

    fn within(a: &[f32], b: &[f32]) -> bool {
        difference("y", &f32s(a), &f32s(b), CLOSE).within
    }

    #[test]
    fn floats_may_differ_by_a_share_of_the_output() {
        assert!(within(&[1.0, 1e-6], &[1.00005, 1e-6]));
        assert!(within(&[1.0, 1e-6], &[1.00001, 2e-5]), "small beside what else differs");
        assert!(!within(&[1.0, 1e-6], &[1.0, 2e-5]), "alone it counts with its own size");
        assert!(!within(&[1.0], &[1.001]));
    }

    #[test]
    fn masks_do_not_hide_differences() {
        assert!(within(&[-1e9, 1.0], &[-1.000_01e9, 1.0]));
        assert!(!within(&[-1e9, 1.0], &[-1.000_01e9, 1.1]));
    }

    #[test]
    fn nan_and_infinity_equal_themselves_alone() {
        assert!(within(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]));
        assert!(!within(&[f32::NAN], &[0.0]));
        assert!(!within(&[f32::INFINITY], &[f32::MAX]));
        assert!(!within(&[f32::INFINITY], &[f32::NEG_INFINITY]));
    }

    #[test]
    fn types_and_shapes_have_to_agree() {
        let d = difference("y", &f32s(&[1.0]), &Tensor::scalar(1), CLOSE);
        assert_eq!(d.reason.as_deref(), Some("it is int64[], not float[1]"));
    }

    #[test]
    fn few_integers_may_fall_to_the_other_side() {
        let a = Tensor::vector(&vec![7; 2000]);
        let changed = |n: usize| Tensor::vector(&[vec![8; n], vec![7; 2000 - n]].concat());
        assert!(difference("y", &a, &changed(2), CLOSE).within);
        let d = difference("y", &a, &changed(3), CLOSE);
        assert_eq!((d.within, d.reason.as_deref()), (false, Some("element 0 is 8, not 7")));
        let d = difference("y", &Tensor::scalar(1), &Tensor::scalar(2), CLOSE);
        assert!(!d.within, "a single integer is exact");
    }

    #[test]
    fn the_coarsest_type_sets_the_share() {
        let graph = |ty: &str| {
            let text =
                format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({ty}[1] x) => ({ty}[1] y) {{ y = Relu(x) }}"#);
            crate::text::parse(&text).unwrap().graph
        };
        let share = |ty: &str, e| Tolerance::of(e, [&graph(ty), &graph("double")]).share;
        assert!((3e-6..5e-6).contains(&share("float", Exactness::Bitwise)));
        assert!((5e-5..1e-4).contains(&share("float", Exactness::Rounding)));
        assert!(share("double", Exactness::Rounding) < 1e-12);
        assert!((0.01..0.05).contains(&share("float16", Exactness::Rounding)));
    }
}
