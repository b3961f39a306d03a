//! More to repair from than there are samples: mixtures of two.
//!
//! A few hundred samples say little of the directions in which a layer's inputs vary least, and weights that are fitted to
//! these alone are worse on others. What the dense model makes of an input is right whatever the input is, so a repair
//! needs no real ones, only such as go through the layers like real ones. A sample with a part of another one in it does
//! (Zhang et al. 2018, mixup; Beyer et al. 2022, Knowledge distillation, where a teacher says what mixtures are).
//!
//! Nothing is measured on mixtures: whether a repair is one is told by samples.

use std::ops::Deref;

use crate::calibrate::Feed;
use crate::ir::Tensor;
use crate::random::Random;

/// The part of the other one is below this.
const MOST: f64 = 0.5;

/// `count` mixtures, of every sample as many; which others `seed` says. Fewer where samples do not fit each other: they
/// have to be of the same sizes, and what is no float has to be the same in both.
pub(super) fn mixtures<S: Deref<Target = [(String, Tensor)]>>(samples: &[S], count: usize, seed: u64) -> Vec<Feed> {
    let mut random = Random::new(seed, "mixtures");
    let others = samples.len().saturating_sub(1);
    if others == 0 {
        return Vec::new();
    }
    let one = |i: usize| {
        let first = i % samples.len();
        let second = (first + 1 + random.below(others as u64) as usize) % samples.len();
        mixture(&samples[first], &samples[second], MOST * random.unit())
    };
    (0..count).filter_map(one).collect()
}

/// `share` of `other` and else `sample`; `None` where they do not fit, and where there is nothing to mix.
fn mixture(sample: &[(String, Tensor)], other: &[(String, Tensor)], share: f64) -> Option<Feed> {
    let mut is_mixed = false;
    let mut mixed = |a: &Tensor, b: &Tensor| {
        if (a.dtype(), a.dims()) != (b.dtype(), b.dims()) {
            return None;
        }
        if !a.dtype().is_float() {
            return (a == b).then(|| a.clone());
        }
        is_mixed = true;
        let elements: Vec<f64> =
            a.reals()?.iter().zip(b.reals()?).map(|(a, b)| (1.0 - share) * a + share * b).collect();
        Tensor::rounded(a.dtype(), a.dims(), &elements).ok()
    };
    let feed = sample.iter().map(|(name, tensor)| {
        let (_, other) = other.iter().find(|(other, _)| other == name)?;
        Some((name.clone(), mixed(tensor, other)?))
    });
    let feed: Feed = feed.collect::<Option<_>>()?;
    is_mixed.then_some(feed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    fn sample(x: &[f32], size: i64) -> Feed {
        vec![("x".into(), Tensor::f32s(&[x.len()], x).unwrap()), ("size".into(), Tensor::vector(&[size]))]
    }

    #[test]
    fn mixtures_lie_between_their_samples() {
        let samples = [sample(&[0.0, 10.0], 3), sample(&[1.0, 20.0], 3)];
        let mixed = mixtures(&samples, 64, 1);
        assert_eq!(mixed.len(), 64);
        for (i, mixed) in mixed.iter().enumerate() {
            let x = mixed[0].1.reals().unwrap();
            let share = if i % 2 == 0 { x[0] } else { 1.0 - x[0] };
            assert!((0.0..=MOST).contains(&share), "{share} of the other");
            assert!((x[1] - 10.0 - 10.0 * x[0]).abs() < 1e-5, "both elements have the same share");
            assert_eq!(mixed[1].1, Tensor::vector(&[3]));
        }
        let shares: Vec<f64> = mixed.iter().map(|m| m[0].1.real(0).unwrap()).collect();
        assert!(shares.iter().any(|s| (0.3..0.7).contains(s)) && shares.iter().any(|s| *s < 0.2));
        assert_eq!(mixed, mixtures(&samples, 64, 1));
    }

    #[test]
    fn what_does_not_fit_is_not_mixed() {
        let whole = [sample(&[0.0], 3), sample(&[1.0], 4)];
        assert!(mixtures(&whole, 8, 1).is_empty(), "integers differ");
        let sizes = [sample(&[0.0], 3), sample(&[1.0, 2.0], 3)];
        assert!(mixtures(&sizes, 8, 1).is_empty(), "sizes differ");
        assert!(mixtures(&whole[..1], 8, 1).is_empty() && mixtures::<Feed>(&[], 8, 1).is_empty());
        let half = |x: f64| -> Feed { vec![("x".into(), Tensor::rounded(DType::F16, &[1], &[x]).unwrap())] };
        // Halves at the ends of their range stay finite.
        let ends = mixtures(&[half(65504.0), half(-65504.0)], 8, 1);
        assert!(ends.len() == 8 && ends.iter().all(|m| m[0].1.real(0).is_some_and(f64::is_finite)));
        let tokens = || -> Feed { vec![("ids".into(), Tensor::vector(&[1]))] };
        assert!(mixtures(&[tokens(), tokens()], 8, 1).is_empty(), "nothing to mix");
    }
}
