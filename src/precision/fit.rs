//! Which tensors fit a half: what their elements are, or were on samples.

use rustc_hash::FxHashMap;

use crate::calibrate::{Gathered, observed};
use crate::ir::{DType, Graph, Tensor, ValueId};

/// What is known of the tensors that runs compute.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The type that they are to have.
    pub half: DType,
    largest: FxHashMap<ValueId, f64>,
}

/// What was seen on samples may be exceeded by so much.
const ROOM: f64 = 2.0;

/// More than this share of a constant's elements that are not zero may not become zero.
const LOST: f64 = 0.5;

impl Fit {
    /// Nothing is known but constants.
    pub fn unknown(half: DType) -> Fit {
        Fit { half, largest: FxHashMap::default() }
    }

    /// What was gathered of `graph`'s tensors.
    pub fn of(half: DType, graph: &Graph, gathered: &Gathered) -> Fit {
        let known = observed(graph).into_iter().filter_map(|(value, name)| {
            let seen = gathered.tensors.get(&name).filter(|seen| seen.samples > 0)?;
            Some((value, f64::from(seen.min.abs().max(seen.max.abs()))))
        });
        Fit { half, largest: known.collect() }
    }

    /// The largest magnitude of a tensor's elements on samples.
    pub fn largest(&self, value: ValueId) -> Option<f64> {
        self.largest.get(&value).copied()
    }

    /// The largest number that a half holds.
    pub fn most(&self) -> f64 {
        match self.half {
            DType::F16 => 65504.0,
            _ => f64::from(half::bf16::MAX.to_f32()),
        }
    }

    /// All whole numbers up to this are halves.
    pub fn exact(&self) -> f64 {
        match self.half {
            DType::F16 => 2048.0,
            _ => 256.0,
        }
    }

    /// The least that is more than zero.
    pub fn least(&self) -> f64 {
        match self.half {
            DType::F16 => 2f64.powi(-24),
            _ => 2f64.powi(-133),
        }
    }

    /// The least with all digits.
    fn least_normal(&self) -> f64 {
        match self.half {
            DType::F16 => 2f64.powi(-14),
            _ => 2f64.powi(-126),
        }
    }

    /// Why a tensor that a run computes does not fit.
    pub fn exceeds(&self, value: ValueId) -> Option<String> {
        let largest = self.largest(value)?;
        (largest * ROOM > self.most()).then(|| format!("it has to do with {largest:.3e}, and a half ends at 65504"))
    }

    /// Why a constant does not fit.
    pub fn refuses(&self, constant: &Tensor, is_guard: bool) -> Option<String> {
        let reals = match constant.uniform_real() {
            Some(element) => vec![element],
            None => constant.reals()?,
        };
        let finite = || reals.iter().map(|x| x.abs()).filter(|x| x.is_finite());
        let largest = finite().fold(0.0, f64::max);
        if largest > self.most() {
            return Some(format!("its constant has {largest:.3e}, and a half ends at {}", self.most()));
        }
        if largest == 0.0 || is_guard {
            return None;
        }
        if largest < self.least_normal() {
            return Some(format!("its constant has nothing larger than {largest:.3e}, where a half has few digits"));
        }
        let some = finite().filter(|x| *x > 0.0).count();
        let lost = finite().filter(|x| *x > 0.0 && *x <= self.least() / 2.0).count();
        let share = lost as f64 / some as f64;
        (share > LOST).then(|| format!("{:.0} % of its constant would become zero", 100.0 * share))
    }

    /// A constant as halves. A guard does not become zero.
    pub fn halved(&self, constant: &Tensor, is_guard: bool) -> Option<Tensor> {
        let least = self.least();
        let number = |x: f64| if is_guard && x != 0.0 && x.abs() < least { least.copysign(x) } else { x };
        if let (true, Some(element)) = (constant.is_repeated(), constant.uniform_real()) {
            let one = Tensor::rounded(self.half, &[], &[number(element)]).ok()?;
            return Tensor::splat(self.half, constant.dims(), &one.element(0)?).ok();
        }
        let reals: Vec<f64> = constant.reals()?.into_iter().map(number).collect();
        Tensor::rounded(self.half, constant.dims(), &reals).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(elements: &[f32], is_guard: bool) -> Option<String> {
        Fit::unknown(DType::F16).refuses(&Tensor::f32s(&[elements.len()], elements).unwrap(), is_guard)
    }

    #[test]
    fn constants_fit_or_it_is_said_why_not() {
        assert_eq!(refuses(&[0.0, 1.0, -65504.0], false), None);
        assert_eq!(refuses(&[0.0, f32::NEG_INFINITY], false), None);
        assert!(refuses(&[1.0, -1e9], false).unwrap().contains("1.000e9"));
        assert!(refuses(&[1e-12], false).unwrap().contains("few digits"));
        assert_eq!(refuses(&[1e-12], true), None);
        assert!(refuses(&[1.0, 1e-9, 1e-9, 1e-9], false).unwrap().starts_with("75 %"));
        assert_eq!(refuses(&[1.0, 2.0, 1e-9, 1e-9], false), None);
    }

    #[test]
    fn a_guard_stays_more_than_zero() {
        let fit = Fit::unknown(DType::F16);
        let tiny = Tensor::f32s(&[], &[1e-12]).unwrap();
        assert_eq!(fit.halved(&tiny, true).unwrap().item(), Some(2f64.powi(-24)));
        assert_eq!(fit.halved(&tiny, false).unwrap().item(), Some(0.0));
        let brain = Fit::unknown(DType::BF16).halved(&tiny, true).unwrap().item().unwrap();
        assert!((brain - 1e-12).abs() < 1e-14);
    }
}
