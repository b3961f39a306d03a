//! Which tensors fit a half: what their elements are, or were on samples.

use rustc_hash::FxHashMap;

use crate::calibrate::{Gathered, observed};
use crate::ir::{DType, Graph, Tensor, User, ValueId};
use crate::precision::keep::is_guard;
use crate::precision::masks::Masks;

/// What a constant is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// For what it is.
    Number,
    /// So that something is not zero: it does not become zero.
    Guard,
    /// So that a `Softmax` gives nothing to what it is added to: it need not be as large as it is.
    Mask,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Number, Role::Guard, Role::Mask];
}

/// What is known of the tensors that runs compute.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The type that they are to have.
    pub half: DType,
    largest: FxHashMap<ValueId, f64>,
    masks: Masks,
}

/// What was seen on samples may be exceeded by so much.
const ROOM: f64 = 2.0;

/// A constant has so much signal over the noise of its rounding at the least, in dB. float16 gives some 73, bfloat16 55;
/// what is all smaller than the least float16 with all digits has less.
const DIGITS: f64 = 30.0;

impl Fit {
    /// Nothing is known of `graph`'s tensors but constants.
    pub fn unknown(half: DType, graph: &Graph) -> Fit {
        let mut fit = Fit { half, largest: FxHashMap::default(), masks: Masks::default() };
        fit.masks = Masks::of(graph, fit.most() / ROOM);
        fit
    }

    /// What was gathered of `graph`'s tensors.
    pub fn of(half: DType, graph: &Graph, gathered: &Gathered) -> Fit {
        let known = observed(graph).into_iter().filter_map(|(value, name)| {
            let seen = gathered.tensors.get(&name).filter(|seen| seen.samples > 0)?;
            Some((value, f64::from(seen.min.abs().max(seen.max.abs()))))
        });
        Fit { largest: known.collect(), ..Fit::unknown(half, graph) }
    }

    /// What the constant `value` is there for where `user` reads it.
    pub fn role(&self, graph: &Graph, value: ValueId, user: User) -> Role {
        let Some(tensor) = graph.constant(value) else { return Role::Number };
        match user {
            _ if self.masks.is_mask(value) => Role::Mask,
            User::Node(node, _) if is_guard(graph.node(node).op, tensor) => Role::Guard,
            User::Node(..) | User::Output(..) => Role::Number,
        }
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

    /// Why a tensor that a run computes does not fit.
    pub fn exceeds(&self, value: ValueId) -> Option<String> {
        let largest = self.largest(value).filter(|_| !self.masks.is_masked(value))?;
        (largest * ROOM > self.most()).then(|| format!("it has to do with {largest:.3e}, and a half ends at 65504"))
    }

    /// Why a constant does not fit.
    pub fn refuses(&self, constant: &Tensor, role: Role) -> Option<String> {
        if role == Role::Mask {
            return None;
        }
        let reals = match constant.uniform_real() {
            Some(element) => vec![element],
            None => constant.reals()?,
        };
        let finite = || reals.iter().map(|x| x.abs()).filter(|x| x.is_finite());
        let largest = finite().fold(0.0, f64::max);
        if largest > self.most() {
            return Some(format!("its constant has {largest:.3e}, and a half ends at {}", self.most()));
        }
        if largest == 0.0 || role == Role::Guard {
            return None;
        }
        let halves = Tensor::rounded(self.half, &[reals.len()], &reals).ok()?.reals()?;
        let finite = || reals.iter().zip(&halves).filter(|(x, _)| x.is_finite());
        let signal: f64 = finite().map(|(x, _)| x * x).sum();
        let noise: f64 = finite().map(|(x, y)| (x - y) * (x - y)).sum();
        let ratio = 10.0 * (signal / noise).log10();
        (ratio < DIGITS)
            .then(|| format!("its constant is {ratio:.0} dB beside its rounding, and at most {largest:.3e}"))
    }

    /// A constant as halves.
    pub fn halved(&self, constant: &Tensor, role: Role) -> Option<Tensor> {
        let (least, most) = (self.least(), self.most() / ROOM);
        let number = |x: f64| match role {
            Role::Guard if x != 0.0 && x.abs() < least => least.copysign(x),
            Role::Mask if x.is_finite() => x.clamp(-most, most),
            _ => x,
        };
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

    fn refuses(elements: &[f32], role: Role) -> Option<String> {
        let none = Graph::default();
        Fit::unknown(DType::F16, &none).refuses(&Tensor::f32s(&[elements.len()], elements).unwrap(), role)
    }

    #[test]
    fn constants_fit_or_it_is_said_why_not() {
        assert_eq!(refuses(&[0.0, 1.0, -65504.0], Role::Number), None);
        assert_eq!(refuses(&[0.0, f32::NEG_INFINITY], Role::Number), None);
        assert!(refuses(&[1.0, -1e9], Role::Number).unwrap().contains("1.000e9"));
        assert_eq!(refuses(&[1.0, -1e9], Role::Mask), None);
        assert!(refuses(&[1e-12], Role::Number).unwrap().contains("0 dB"));
        assert!(refuses(&[1e-7, 2e-7], Role::Number).unwrap().contains("2.000e-7"));
        assert_eq!(refuses(&[5e-5, -3e-5], Role::Number), None);
        assert_eq!(refuses(&[1e-12], Role::Guard), None);
        assert_eq!(refuses(&[1.0, 1e-9, 1e-9, 1e-9], Role::Number), None);
    }

    #[test]
    fn guards_and_masks_are_as_large_as_they_must() {
        let of = |half, x: f32, role| {
            let fit = Fit::unknown(half, &Graph::default());
            fit.halved(&Tensor::f32s(&[], &[x]).unwrap(), role).unwrap().item().unwrap()
        };
        assert_eq!(of(DType::F16, 1e-12, Role::Guard), 2f64.powi(-24));
        assert_eq!(of(DType::F16, -1e-12, Role::Guard), -2f64.powi(-24));
        assert_eq!(of(DType::F16, 1e-12, Role::Number), 0.0);
        assert!((of(DType::BF16, 1e-12, Role::Guard) - 1e-12).abs() < 1e-14);
        assert_eq!(of(DType::F16, f32::MIN, Role::Mask), -32752.0);
        assert!(of(DType::BF16, f32::MIN, Role::Mask) > -2e38);
        assert_eq!(of(DType::F16, f32::NEG_INFINITY, Role::Mask), f64::NEG_INFINITY);
    }
}
