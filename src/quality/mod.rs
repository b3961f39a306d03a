//! How far a model that was made smaller is from the one it was made of: of its outputs, of each layer, and whether that
//! is good enough.

mod bounds;
mod layers;
pub(crate) mod loss;

use serde::{Serialize, Serializer};

pub use bounds::{Bounds, OutOfBounds};
pub(crate) use layers::{Given, given_with_layers};
pub use layers::{Layer, WORST, layers};

use crate::calibrate::Sample;
use crate::exec::{Cannot, Executor};
use crate::ir::{DType, ScopeId, Tensor};
use crate::model::Model;

/// What became of one output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// The output.
    pub output: String,
    /// Signal to quantization noise ratio in dB: the power of the output over the power of its error, of all samples
    /// together. Infinite where nothing differs, and of an output that is no float; no number in JSON then.
    #[serde(serialize_with = "decibels")]
    pub sqnr: f64,
    /// Cosine of the angle between the output and what it was, mean of the samples. Of float outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// How often the largest of a row of scores is the same one, from 0 to 1. Of float outputs of two axes, the last of
    /// more than one element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Share of the elements that are equal, from 0 to 1. Of outputs that are no floats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equal: Option<f64>,
}

/// What became of the outputs of a model, and how that is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Samples that both models were run on.
    pub held_out: usize,
    /// How far outputs are from what they were; none where nothing was run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Quality>,
}

impl Measured {
    /// Outputs that were compared on so many samples; nothing where none was.
    pub fn of(held_out: usize, outputs: Vec<Quality>) -> Measured {
        if outputs.is_empty() { Measured::default() } else { Measured { held_out, outputs } }
    }
}

fn decibels<S: Serializer>(ratio: &f64, to: S) -> Result<S::Ok, S::Error> {
    ratio.is_finite().then_some(ratio).serialize(to)
}

/// A ratio as people read it.
pub fn in_decibels(ratio: f64) -> String {
    match ratio {
        f64::INFINITY => "exact".into(),
        f64::NEG_INFINITY => "lost".into(),
        ratio => format!("{ratio:.1} dB"),
    }
}

/// Run both on `feeds` and compare each output.
///
/// A sample for which an output has another shape than it had is lost: its error counts as much as the output.
///
/// # Errors
/// When the engine cannot run one of them.
pub fn compare(float: &Model, other: &Model, feeds: &[Sample], engine: &dyn Executor) -> Result<Vec<Quality>, Cannot> {
    Ok(named(float, compared(float, other, feeds, engine)?))
}

/// As [`compare`], where it is known what `float` gives for each of `feeds`.
///
/// # Errors
/// When the engine cannot run `other`.
pub fn compare_known(
    float: &Model,
    known: &[Vec<Tensor>],
    other: &Model,
    feeds: &[Sample],
    engine: &dyn Executor,
) -> Result<Vec<Quality>, Cannot> {
    let mut session = engine.load(other)?;
    let mut seen = vec![Seen::default(); float.graph.scope(ScopeId::MAIN).outputs().len()];
    for (feed, want) in feeds.iter().zip(known) {
        for ((want, got), seen) in want.iter().zip(session.run(feed)?).zip(&mut seen) {
            seen.add(want, &got);
        }
    }
    Ok(named(float, seen))
}

/// As [`compare`], where it is known what `float` and another model give for each of some samples.
pub(crate) fn compare_outputs(float: &Model, known: &[Vec<Tensor>], got: &[Vec<Tensor>]) -> Vec<Quality> {
    let mut seen = vec![Seen::default(); float.graph.scope(ScopeId::MAIN).outputs().len()];
    for (known, got) in known.iter().zip(got) {
        for ((want, got), seen) in known.iter().zip(got).zip(&mut seen) {
            seen.add(want, got);
        }
    }
    named(float, seen)
}

/// What was seen of each output of `float`, with its name.
fn named(float: &Model, seen: Vec<Seen>) -> Vec<Quality> {
    let outputs = float.graph.scope(ScopeId::MAIN).outputs();
    outputs.iter().zip(seen).map(|(o, seen)| seen.quality(float.graph.value_label(o.value()))).collect()
}

/// What was seen of one output on all samples.
#[derive(Clone, Debug, Default)]
struct Seen {
    is_float: bool,
    signal: f64,
    noise: f64,
    cosines: f64,
    samples: usize,
    /// Rows of scores, and those whose largest is the same.
    rows: usize,
    agreeing: usize,
    elements: usize,
    equal: usize,
}

/// Run both and compare their outputs, one sample at a time.
fn compared(float: &Model, other: &Model, feeds: &[Sample], engine: &dyn Executor) -> Result<Vec<Seen>, Cannot> {
    let (mut a, mut b) = (engine.load(float)?, engine.load(other)?);
    let mut seen = vec![Seen::default(); float.graph.scope(ScopeId::MAIN).outputs().len()];
    for feed in feeds {
        let (want, got) = rayon::join(|| a.run(feed), || b.run(feed));
        for ((want, got), seen) in want?.iter().zip(got?).zip(&mut seen) {
            seen.add(want, &got);
        }
    }
    Ok(seen)
}

impl Seen {
    fn add(&mut self, want: &Tensor, got: &Tensor) {
        self.samples += 1;
        if !matches!(want.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return self.add_equal(want, got);
        }
        self.is_float = true;
        let Some(x) = want.reals() else { return };
        let same_shape = want.dims() == got.dims();
        let y = got.reals().filter(|_| same_shape).unwrap_or_else(|| vec![0.0; x.len()]);
        let (mut signal, mut noise, mut power, mut dot) = (0.0, 0.0, 0.0, 0.0);
        for (&x, &y) in x.iter().zip(&y) {
            // Infinity that stays and NaN that stays are no error, and no signal.
            if x == y && !x.is_finite() || x.is_nan() && y.is_nan() {
                continue;
            }
            signal += x * x;
            power += y * y;
            dot += x * y;
            noise += (x - y) * (x - y);
        }
        self.signal += signal;
        self.noise += if noise.is_nan() { f64::INFINITY } else { noise };
        let cosine = dot / (signal * power).sqrt();
        let none = if signal == 0.0 && power == 0.0 && same_shape { 1.0 } else { 0.0 };
        self.cosines += if cosine.is_finite() { cosine } else { none };
        let row = want.dims().last().copied().filter(|&row| want.rank() == 2 && row > 1);
        if let Some(row) = row {
            for (x, y) in x.chunks(row).zip(y.chunks(row)) {
                self.rows += 1;
                self.agreeing += usize::from(same_shape && largest(x) == largest(y));
            }
        }
    }

    fn add_equal(&mut self, want: &Tensor, got: &Tensor) {
        self.elements += want.len();
        if want.dims() != got.dims() || want.dtype() != got.dtype() {
            return;
        }
        self.equal += match (want.as_strings(), got.as_strings(), want.bytes(), got.bytes()) {
            (Some(x), Some(y), ..) => x.iter().zip(y).filter(|(x, y)| x == y).count(),
            (_, _, Some(x), Some(y)) if want.dtype().bits() >= 8 => {
                let size = want.dtype().bits() / 8;
                x.chunks(size).zip(y.chunks(size)).filter(|(x, y)| x == y).count()
            }
            _ => (0..want.len()).filter(|&i| want.element(i) == got.element(i)).count(),
        };
    }

    fn sqnr(&self) -> f64 {
        match (self.signal, self.noise) {
            (_, 0.0) => f64::INFINITY,
            (signal, noise) if signal > 0.0 && noise.is_finite() => 10.0 * (signal / noise).log10(),
            _ => f64::NEG_INFINITY,
        }
    }

    fn quality(&self, output: String) -> Quality {
        let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        Quality {
            output,
            sqnr: self.sqnr(),
            cosine: (self.is_float && self.samples > 0).then(|| self.cosines / self.samples as f64),
            agreement: share(self.agreeing, self.rows),
            equal: share(self.equal, self.elements),
        }
    }
}

/// Where the largest of a row stands, the first of several.
fn largest(row: &[f64]) -> usize {
    let first = |best: usize, i: usize| if row[i] > row[best] || row[best].is_nan() { i } else { best };
    (0..row.len()).fold(0, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pairs: &[(&[f32], &[f32])]) -> Quality {
        let mut seen = Seen::default();
        for (x, y) in pairs {
            let tensor = |e: &[f32]| Tensor::f32s(&[1, e.len()], e).unwrap();
            seen.add(&tensor(x), &tensor(y));
        }
        seen.quality("y".into())
    }

    #[test]
    fn ratios_are_of_all_samples_together() {
        // 100 of signal, 1 of noise.
        let q = seen(&[(&[6.0, 0.0], &[6.0, 0.0]), (&[0.0, 8.0], &[1.0, 8.0])]);
        assert!((q.sqnr - 20.0).abs() < 1e-9, "{}", q.sqnr);
        assert_eq!(q.agreement, Some(1.0));
        assert!((q.cosine.unwrap() - (1.0 + 8.0 / 65f64.sqrt()) / 2.0).abs() < 1e-9);
        assert_eq!(seen(&[(&[1.0, 2.0], &[2.0, 1.0]), (&[1.0, 2.0], &[0.0, 9.0])]).agreement, Some(0.5));
        assert_eq!(seen(&[(&[1.0], &[1.0])]).agreement, None, "one score is no choice");
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let q = seen(&[(&[0.0, 0.0], &[0.0, 0.0])]);
        assert_eq!((q.sqnr, q.cosine), (f64::INFINITY, Some(1.0)));
        assert_eq!(in_decibels(q.sqnr), "exact");
        let q = seen(&[(&[0.0, 0.0], &[1.0, 0.0])]);
        assert_eq!((q.sqnr, q.cosine), (f64::NEG_INFINITY, Some(0.0)));
        assert_eq!(in_decibels(q.sqnr), "lost");
        let infinite = [f32::NEG_INFINITY, 1.0];
        assert_eq!(seen(&[(&infinite, &infinite)]).sqnr, f64::INFINITY);
        assert_eq!(seen(&[(&[1.0, 2.0], &[f32::NAN, 2.0])]).sqnr, f64::NEG_INFINITY);
        let json = serde_json::to_value(seen(&[(&[0.0, 1.0], &[0.0, 1.0])])).unwrap();
        assert!(json["sqnr"].is_null());
    }

    #[test]
    fn another_shape_is_an_error_as_large_as_the_output() {
        let mut all = Seen::default();
        all.add(&Tensor::f32s(&[1, 2], &[3.0, 4.0]).unwrap(), &Tensor::f32s(&[1, 3], &[3.0, 4.0, 5.0]).unwrap());
        let q = all.quality("y".into());
        assert_eq!((q.sqnr, q.cosine, q.agreement), (0.0, Some(0.0), Some(0.0)));
    }

    #[test]
    fn other_elements_are_counted() {
        let mut all = Seen::default();
        all.add(&Tensor::vector(&[1, 2, 3, 4]), &Tensor::vector(&[1, 2, 0, 4]));
        let q = all.quality("y".into());
        assert_eq!((q.equal, q.cosine, q.agreement), (Some(0.75), None, None));
        let words = |w: &[&'static str]| Tensor::strings(&[2], w.iter().map(|s| (*s).into()).collect()).unwrap();
        let mut all = Seen::default();
        all.add(&words(&["a", "b"]), &words(&["a", "c"]));
        assert_eq!(all.quality("y".into()).equal, Some(0.5));
    }
}
