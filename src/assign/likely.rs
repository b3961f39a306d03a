//! What share of samples changes its class, beyond those that were run.
//!
//! Counting says little: of a hundred samples one or none changes, and a bound is one in two hundred. So the share is
//! told by two things that many samples speak of. One is how near samples are to another class, which the float model
//! alone says: of all samples there are, near zero as many per unit of score as among the nearest eighth. The other is
//! the noise between a sample's two best classes, measured where it matters, on the quarter of the samples that is nearest
//! to another class: a model is less certain there, and its noise is often twice that of all. Samples that something was
//! tried on tell it as well as those held out, unless weights were found on them. A sample whose best class is `g` above
//! the next then changes with probability Φ(−g/σ).
//!
//! Both are known as well as so many samples tell: a rate that rests on `k` near samples and `m` noises has the relative
//! variance 1/k + Var(σ²)/4mσ⁴ (the share is proportional to σ). That is as much as a gamma distribution of that variance
//! knows, and changes that were counted are added to it, as changes are when they are rare (Poisson). A bound is kept on
//! a set of samples that somebody evaluates on, and what changes there is a matter of chance, too: what is said is how
//! many of [`EVALUATED`] other samples change at the most, in [`SURE`] of such sets (a negative binomial distribution). The
//! more samples there are, the nearer that is to the share itself. And samples to calibrate with are often some that a
//! network was trained on, of which it is surer than of others: see [`UNSEEN`].
//!
//! What else was tried tells no more: noise that depends on the distance, noise as it was instead of a normal
//! distribution's, a sixteenth or a quarter in the place of the eighth. On nine networks and 14 ways to narrow each,
//! samples drawn again and again, bounds of the same size were missed as often or more.
//!
//! Source: Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), sections 2.6 and 2.7: gamma and Poisson, and what they
//! predict.

use crate::ir::Tensor;

/// The end of a normal distribution below which nineteen of twenty are.
const CONFIDENCE: f64 = 1.645;

/// One of so many samples, the nearest to another class, tells how many there are near zero, but no fewer than so many.
const NEAR: (usize, usize) = (8, 8);

/// One of so many, the nearest, tells the noise there, but no fewer than so many.
const NOISY: (usize, usize) = (4, 8);

/// So many times as many samples that nobody trained on change their class, by how near they are and by the noise there.
/// Measured on ten networks, narrowed in up to 14 ways each: 0.5 to 2.4 times, 1.1 by the mean of logarithms.
const UNSEEN: f64 = 5.0 / 4.0;

/// Samples of a set to evaluate on.
const EVALUATED: f64 = 1000.0;

/// In so many of such sets no more changes than is said.
const SURE: f64 = 0.99;

/// How far samples are from another class, by what the float model says.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    /// Of all samples that there are, the nearest first.
    gaps: Vec<f64>,
    /// Rows of samples held out.
    rows: usize,
    /// Noise is measured on those held out that are no further than this.
    far: f64,
}

/// A row's two largest elements.
fn best(row: &[f64]) -> (usize, usize) {
    let mut found = (0, 1);
    if row[1] > row[0] {
        found = (1, 0);
    }
    for index in 2..row.len() {
        if row[index] > row[found.0] {
            found = (index, found.0);
        } else if row[index] > row[found.1] {
            found.1 = index;
        }
    }
    found
}

/// How many scores a row of `tensor` has; `None` of what has no classes.
fn classes(tensor: &Tensor) -> Option<usize> {
    tensor.dims().last().copied().filter(|&row| tensor.rank() == 2 && row > 1 && tensor.dtype().is_float())
}

/// The distance of each tensor's nearest row to another class; `None` of what has no classes.
pub(super) fn distances(tensors: &[Tensor]) -> Option<Vec<f64>> {
    let nearest = |tensor: &Tensor| Some(gaps_of(tensor)?.into_iter().fold(f64::INFINITY, f64::min));
    tensors.iter().map(nearest).collect()
}

fn gaps_of(tensor: &Tensor) -> Option<Vec<f64>> {
    let row = classes(tensor)?;
    let gap = |row: &[f64]| {
        let (first, second) = best(row);
        // What is no number is not certain of anything.
        let gap = row[first] - row[second];
        if gap.is_nan() { 0.0 } else { gap }
    };
    Some(tensor.reals()?.chunks(row).map(gap).collect())
}

impl Gaps {
    /// Of the samples held out, and of others; `None` of what has no classes.
    pub(super) fn of(held_out: &[Tensor], others: &[Tensor]) -> Option<Gaps> {
        let all = |tensors: &[Tensor]| -> Option<Vec<f64>> {
            Some(tensors.iter().map(gaps_of).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let mut own = all(held_out)?;
        own.sort_by(f64::total_cmp);
        let mut gaps = [own.clone(), all(others)?].concat();
        gaps.sort_by(f64::total_cmp);
        let last = (own.len() / NOISY.0).max(NOISY.1).min(own.len()).checked_sub(1)?;
        Some(Gaps { far: own[last], rows: own.len(), gaps })
    }

    /// The share of samples that changes its class were the noise of this deviation.
    fn share(&self, near: usize, sigma: f64) -> f64 {
        let all = self.gaps.len() as f64;
        let end = self.gaps.get(near).or(self.gaps.last()).copied().unwrap_or(0.0) / sigma;
        // The mean of Φ(−t) for t between 0 and the end.
        let mean = if end > 1e-9 { below(-end) + (density(0.0) - density(end)) / end } else { 0.5 };
        let far: f64 = self.gaps.iter().skip(near).map(|gap| below(-gap / sigma)).sum();
        (near as f64 * mean + far) / all
    }

    /// The largest share of samples with another class that is likely, and the share that was counted, in percent.
    /// `held_out` has what the float model and the other one say of samples held out: of all of them, or of the nearest;
    /// `others` of the nearest of those that tell the noise, too.
    pub(super) fn drop(&self, held_out: [&[Tensor]; 2], others: [&[Tensor]; 2]) -> Option<[f64; 2]> {
        let (changed, mut noises) = self.noises(held_out)?;
        noises.extend(self.noises(others)?.1);
        let counted = 100.0 * changed as f64 / self.rows.max(1) as f64;
        let squares: Vec<f64> = noises.iter().map(|noise| noise * noise).collect();
        let count = squares.len() as f64;
        let power = squares.iter().sum::<f64>() / count.max(1.0);
        if !power.is_finite() {
            return Some([100.0, counted]);
        }
        let near = (self.gaps.len() / NEAR.0).max(NEAR.1).min(self.gaps.len());
        if power == 0.0 || near == 0 {
            return Some([counted, counted]);
        }
        let share = (UNSEEN * self.share(near, power.sqrt())).max(f64::MIN_POSITIVE);
        let spread = squares.iter().map(|s| (s - power) * (s - power)).sum::<f64>() / (count - 1.0).max(1.0);
        let known = 1.0 / (1.0 / near as f64 + spread / (4.0 * count * power * power));
        let most = most_of(EVALUATED, known + changed as f64, known / share + self.rows as f64);
        Some([100.0 * (most / EVALUATED).min(1.0), counted])
    }

    /// How many rows have another best class, and the noise between the two best ones of each row that is near to that.
    fn noises(&self, [want, got]: [&[Tensor]; 2]) -> Option<(usize, Vec<f64>)> {
        let (mut changed, mut near) = (0, Vec::new());
        for (x, y) in want.iter().zip(got) {
            let row = classes(x)?;
            if x.dims() != y.dims() {
                // There are no such classes any more.
                changed += x.len() / row;
                near.push(f64::INFINITY);
                continue;
            }
            let (x, y) = (x.reals()?, y.reals()?);
            for (x, y) in x.chunks(row).zip(y.chunks(row)) {
                let (first, second) = best(x);
                changed += usize::from(best(y).0 != first);
                if x[first] - x[second] <= self.far {
                    near.push((y[first] - x[first]) - (y[second] - x[second]));
                }
            }
        }
        Some((changed, near))
    }
}

/// How many of `samples` change in [`SURE`] of all sets at the most, where a gamma distribution of this shape and rate
/// says what share of all samples does: between whole numbers, by how much of the next one's chance it takes.
fn most_of(samples: f64, shape: f64, rate: f64) -> f64 {
    let chance = samples / (rate + samples);
    // The chance of none, and of each number from that of the one before.
    let mut next = (shape * (1.0 - chance).ln()).exp();
    let (mut count, mut below) = (0.0, 0.0);
    while below + next < SURE && count < samples {
        below += next;
        next *= chance * (shape + count) / (count + 1.0);
        count += 1.0;
    }
    if count == 0.0 { 0.0 } else { (count - 1.0 + (SURE - below) / next.max(f64::MIN_POSITIVE)).clamp(0.0, samples) }
}

/// The upper end of the mean's confidence interval.
pub(super) fn upper(numbers: &[f64]) -> f64 {
    let n = numbers.len() as f64;
    let mean = crate::quality::loss::mean(numbers);
    if numbers.len() < 2 || !mean.is_finite() {
        return mean;
    }
    let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    mean + CONFIDENCE * (variance / n).sqrt()
}

/// The least signal over noise that is likely, in dB; `None` of what is no float.
pub(super) fn likely_sqnr(want: &[Tensor], got: &[Tensor]) -> Option<f64> {
    let noises = crate::quality::loss::noises_of(want, got)?;
    Some(-10.0 * upper(&noises).log10())
}

/// φ: the normal distribution's density.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Φ: the share of a normal distribution below `x`, to 1e-7. Source: Abramowitz and Stegun, 7.1.26.
fn below(x: f64) -> f64 {
    if x.is_nan() {
        return 1.0;
    }
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * series * (-z * z).exp();
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const NONE: [&[Tensor]; 2] = [&[]; 2];

    #[test]
    fn the_normal_distribution_is_told() {
        for (x, share) in [(0.0, 0.5), (-1.0, 0.158_655_3), (1.644_853_6, 0.95), (-8.0, 0.0)] {
            assert!((below(x) - share).abs() < 1e-6, "{x}");
        }
        assert_eq!(below(f64::NAN), 1.0);
    }

    #[test]
    fn predictions_are_those_of_the_distribution() {
        // Of a share that is known the distribution is Poisson's: with a mean of 5 as many as 10 have 0.9863 and 11 have
        // 0.9945; with one of 1 as many as 3 have 0.9810 and 4 have 0.9963.
        for (mean, most) in [(5.0, 10.0 + (SURE - 0.986_305) / 0.008_242), (1.0, 3.0 + (SURE - 0.981_012) / 0.015_328)]
        {
            let found = most_of(1000.0, 1e7, 1e7 / (mean / 1000.0));
            assert!((found - most).abs() < 1e-2, "{mean}: {found}");
        }
        // What is known less exactly may be more.
        assert!(most_of(1000.0, 4.0, 4.0 / 0.005) > most_of(1000.0, 100.0, 100.0 / 0.005));
        assert_eq!(most_of(1000.0, 10.0, 10.0 / 1e-9), 0.0);
        assert_eq!(most_of(1000.0, 1e9, 1.0), 1000.0);
    }

    fn rows(gaps: &[f64]) -> Vec<Tensor> {
        gaps.iter().map(|&gap| Tensor::f32s(&[1, 3], &[gap as f32, 0.0, -9.0]).unwrap()).collect()
    }

    #[test]
    fn a_share_is_likely_by_how_near_classes_are() {
        let far = rows(&[9.0; 50]);
        let gaps = Gaps::of(&far, &[]).unwrap();
        let noisy = rows(&[9.1; 50]);
        assert_eq!(gaps.drop([&far, &far], NONE), Some([0.0, 0.0]));
        let [some, none] = gaps.drop([&far, &noisy], NONE).unwrap();
        assert!(some < 1.0 && none == 0.0, "{some}");
        let lost = rows(&[-1.0; 50]);
        assert_eq!(gaps.drop([&far, &lost], NONE).unwrap()[1], 100.0);
        assert!(Gaps::of(&[Tensor::f32s(&[2], &[1.0, 2.0]).unwrap()], &[]).is_none());
        let nan = rows(&[f64::NAN; 50]);
        assert_eq!(gaps.drop([&far, &nan], NONE).unwrap()[0], 100.0);
    }

    /// Of many small sets of samples of a known share, nearly all say no less than what changes in others, and more
    /// samples say it more nearly.
    #[test]
    fn what_is_likely_holds_nearly_always() {
        let mut random = Random(5);
        let (sigma, most) = (0.2, 8.0);
        // Of gaps that are alike up to `most`: the integral of Φ(−g/σ), σ·φ(0), over their width.
        let share = sigma * density(0.0) / most;
        let mut margins = Vec::new();
        for (count, others) in [(64, 0), (64, 64), (512, 0)] {
            let (mut held, mut sum) = (0, 0.0);
            for _ in 0..200 {
                let mut drawn = |count: usize| {
                    let own: Vec<f64> = (0..count).map(|_| most * random.unit()).collect();
                    let moved: Vec<f64> = own.iter().map(|gap| gap + sigma * random.normal()).collect();
                    [rows(&own), rows(&moved)]
                };
                let ([want, got], [like, seen]) = (drawn(count), drawn(others));
                let gaps = Gaps::of(&want, &like).unwrap();
                let [likely, _] = gaps.drop([&want, &got], [&like, &seen]).unwrap();
                let changed = (0..1000).filter(|_| most * random.unit() + sigma * random.normal() < 0.0).count();
                held += usize::from(likely / 100.0 >= changed as f64 / 1000.0);
                sum += likely / 100.0 / share;
            }
            assert!(held >= 190, "{count} {others}: {held}");
            margins.push(sum / 200.0);
        }
        assert!(margins[0] < 3.5 && margins.is_sorted_by(|a, b| a > b), "{margins:?}");
    }

    #[test]
    fn the_upper_end_is_above_the_mean_as_far_as_numbers_vary() {
        assert_eq!(upper(&[2.0, 2.0, 2.0]), 2.0);
        assert!((upper(&[1.0, 3.0]) - (2.0 + CONFIDENCE)).abs() < 1e-12);
        assert_eq!(upper(&[1.0, f64::INFINITY]), f64::INFINITY);
        assert_eq!(upper(&[3.0]), 3.0);
    }
}
