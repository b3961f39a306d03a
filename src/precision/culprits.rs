//! Which of many roundings an output's noise comes from, as it is seen at the outputs.
//!
//! Roundings hardly know of each other, so the noise that each brings to an output adds up. Stretches of what is rounded
//! are run alone, each of the others as it was: first a few long ones, then the halves of those that would have to stay as
//! they were, until these are single ones or enough was run. What stays is what takes the most noise away for what it
//! costs, and no more of it than a run without says that it takes.

use std::ops::Range;

use crate::calibrate::Sample;
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;
use crate::quality::{Quality, compare_known, compare_outputs};

/// Samples that a noise is measured on: the worst of [`LOOKED_AT`].
const SAMPLES: usize = 2;

/// Samples of which the worst are taken.
const LOOKED_AT: usize = 8;

/// Stretches at first.
const STRETCHES: usize = 8;

/// Stretches that are run at the most.
const RUN: usize = 32;

/// The part of the noise allowed that is aimed at by sums: what is left is more together than alone now and then.
const AIM: f64 = 0.5;

/// What stands for noise that is no number.
const LOST: f64 = 1e30;

/// What outputs were before anything was rounded, and how much of their noise there may be.
pub(super) struct Hunt<'a> {
    float: &'a Model,
    samples: Vec<Sample>,
    known: Vec<Vec<Tensor>>,
    engine: &'a dyn Executor,
}

/// Items that were run alone, and the noise over the signal of each output with them.
#[derive(Clone, Debug)]
struct Part {
    items: Range<usize>,
    noise: Vec<f64>,
    cost: f64,
}

/// The least ratio of the float outputs, in dB.
pub(super) fn worst(outputs: &[Quality]) -> f64 {
    outputs.iter().filter(|q| q.cosine.is_some()).map(|q| q.sqnr).fold(f64::INFINITY, f64::min)
}

impl<'a> Hunt<'a> {
    /// In `rounded`, which was made of `float`, on those of `feeds` on which it is worst.
    ///
    /// # Errors
    /// When the engine cannot run one of them.
    pub(super) fn new(
        float: &'a Model,
        rounded: &Model,
        feeds: &[Sample],
        engine: &'a dyn Executor,
    ) -> Result<Hunt<'a>, Cannot> {
        let (mut before, mut after) = (engine.load(float)?, engine.load(rounded)?);
        let mut found: Vec<(f64, &Sample, Vec<Tensor>)> = Vec::new();
        for feed in feeds.iter().take(LOOKED_AT) {
            let want = vec![before.run(feed)?];
            let ratio = worst(&compare_outputs(float, &want, &[after.run(feed)?]));
            found.extend(want.into_iter().map(|want| (ratio, feed, want)));
            found.sort_by(|a, b| a.0.total_cmp(&b.0));
            found.truncate(SAMPLES);
        }
        let (samples, known) = found.into_iter().map(|(_, feed, want)| (feed.clone(), want)).unzip();
        Ok(Hunt { float, samples, known, engine })
    }

    /// Which of `items` stay as they were, so that no output has more noise over its signal than `allowed` on these
    /// samples, or all that can be told to bring any beyond that; nothing where none has more. `rounded` is the model in which these items alone are rounded, and `cost`
    /// what it costs that one stays.
    ///
    /// # Errors
    /// When the engine cannot run a model.
    pub(super) fn culprits<T: Copy>(
        &self,
        items: &[T],
        allowed: f64,
        cost: impl Fn(T) -> f64,
        rounded: impl Fn(&[T]) -> Model,
    ) -> Result<Vec<T>, Cannot> {
        let part = |range: Range<usize>| -> Result<Part, Cannot> {
            let noise = self.noise(&rounded(&items[range.clone()]))?;
            let cost = items[range.clone()].iter().map(|&item| cost(item)).sum();
            Ok(Part { items: range, noise, cost })
        };
        let all = self.noise(&rounded(items))?;
        let mut parts = Vec::new();
        for range in stretches(0..items.len(), STRETCHES) {
            parts.push(part(range)?);
        }
        let mut run = parts.len();
        loop {
            let kept = kept(&parts, &all, AIM * allowed);
            let widest = kept.iter().copied().filter(|&at| parts[at].items.len() > 1);
            match widest.max_by_key(|&at| (parts[at].items.len(), std::cmp::Reverse(at))) {
                Some(at) if run + 2 <= RUN => {
                    let whole = parts.swap_remove(at);
                    for range in stretches(whole.items, 2) {
                        parts.push(part(range)?);
                    }
                    run += 2;
                }
                _ => {
                    let kept: Vec<Range<usize>> = kept.into_iter().map(|at| parts[at].items.clone()).collect();
                    return self.fewest(items, &kept, allowed, rounded);
                }
            }
        }
    }

    /// As few of `kept` items, the first ones, as bring noise down to what is allowed.
    fn fewest<T: Copy>(
        &self,
        items: &[T],
        kept: &[Range<usize>],
        allowed: f64,
        rounded: impl Fn(&[T]) -> Model,
    ) -> Result<Vec<T>, Cannot> {
        let (mut low, mut high) = (0, kept.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let stays = |place: usize| kept[..middle].iter().any(|range| range.contains(&place));
            let others: Vec<T> = (0..items.len()).filter(|&place| !stays(place)).map(|place| items[place]).collect();
            match self.noise(&rounded(&others))?.iter().all(|&noise| noise <= allowed) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(kept[..high].iter().flat_map(|range| items[range.clone()].to_vec()).collect())
    }

    /// Noise over signal of each output.
    fn noise(&self, model: &Model) -> Result<Vec<f64>, Cannot> {
        let outputs = compare_known(self.float, &self.known, model, &self.samples, self.engine)?;
        Ok(outputs.iter().map(|q| if q.cosine.is_some() { over_signal(q.sqnr) } else { 0.0 }).collect())
    }
}

/// Noise over signal, of a ratio in dB.
pub(super) fn over_signal(sqnr: f64) -> f64 {
    10f64.powf(-sqnr / 10.0).min(LOST)
}

/// `range` in so many stretches of nearly one length.
fn stretches(range: Range<usize>, count: usize) -> Vec<Range<usize>> {
    let count = count.min(range.len()).max(1);
    let at = |part: usize| range.start + part * range.len() / count;
    (0..count).map(|part| at(part)..at(part + 1)).filter(|range| !range.is_empty()).collect()
}

/// The places of those parts that stay: one after another that which takes most away, for what it costs, of what outputs
/// have beyond what is allowed.
fn kept(parts: &[Part], all: &[f64], allowed: f64) -> Vec<usize> {
    let sum = |output: usize, parts: &mut dyn Iterator<Item = &Part>| parts.map(|p| p.noise[output]).sum::<f64>();
    // What two stretches meet at is rounded in both, so that together they may have less than their sum. What stays is
    // rounded there all the same, by its neighbours: of that nothing is taken off.
    let scales: Vec<f64> = (0..all.len())
        .map(|output| {
            let scale = all[output] / sum(output, &mut parts.iter());
            if scale.is_finite() { scale.clamp(1.0, 10.0) } else { 1.0 }
        })
        .collect();
    let (mut kept, mut open): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..parts.len()).collect());
    loop {
        let left: Vec<f64> =
            (0..all.len()).map(|output| scales[output] * sum(output, &mut open.iter().map(|&at| &parts[at]))).collect();
        let gain = |at: usize| {
            let over = (0..all.len()).filter(|&output| left[output] > allowed);
            let taken: f64 = over.map(|output| scales[output] * parts[at].noise[output] / allowed).sum();
            taken / parts[at].cost.max(f64::MIN_POSITIVE)
        };
        let best = open.iter().copied().max_by(|&a, &b| gain(a).total_cmp(&gain(b)).then(b.cmp(&a)));
        match best.filter(|&at| gain(at) > 0.0) {
            Some(at) => {
                open.retain(|&other| other != at);
                kept.push(at);
            }
            None => return kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(at: usize, noise: &[f64], cost: f64) -> Part {
        Part { items: at..at + 1, noise: noise.to_vec(), cost }
    }

    #[test]
    fn what_stays_is_what_brings_most_for_what_it_costs() {
        let parts = [part(0, &[1.0], 1.0), part(1, &[8.0], 1.0), part(2, &[9.0], 100.0), part(3, &[0.5], 1.0)];
        assert!(kept(&parts, &[18.5], 20.0).is_empty());
        assert_eq!(kept(&parts, &[18.5], 11.0), [1]);
        assert_eq!(kept(&parts, &[18.5], 1.0), [1, 0, 3, 2]);
        // Of outputs that are good enough nothing is asked.
        let parts = [part(0, &[4.0, 0.0], 1.0), part(1, &[0.0, 2.0], 1.0)];
        assert_eq!(kept(&parts, &[4.0, 2.0], 3.0), [0]);
        // Parts that are worse together than alone.
        assert_eq!(kept(&[part(0, &[2.0], 1.0), part(1, &[1.0], 1.0)], &[6.0], 2.5), [0]);
        assert_eq!(kept(&[part(0, &[LOST], 9.0), part(1, &[2.0], 1.0)], &[LOST], 3.0), [0]);
    }

    #[test]
    fn stretches_are_all_there_is() {
        assert!(stretches(0..0, 8).is_empty());
        assert_eq!(stretches(2..5, 8), [2..3, 3..4, 4..5]);
        assert_eq!(stretches(0..9, 2), [0..4, 4..9]);
    }
}
