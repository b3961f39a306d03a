//! Which samples do what: weights are made from most, a few decide, and others tell how good the result is.

use crate::calibrate::{Probe, Sample};

/// Of the samples that weights may be made from, one of so many decides at the most.
const ONE_OF: usize = 8;

/// Samples that decide, at the most.
const MOST: usize = 32;

/// Of samples to learn from, one of so many tells whether that helps, and so many at the most: one that is hard may lose
/// as much as all others.
const ONE_OF_LESSON: usize = 4;
const MOST_OF_LESSON: usize = 64;

/// Samples by what they do. Those that tell are the ones that are held out of everything that is done to the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    /// What weights are made from that nothing is decided by any more.
    pub all: Vec<Sample>,
    /// The same without those that decide: what importance is told by, and what is made for trial is made from.
    pub fitted: Vec<Sample>,
    /// Decide how much of each group goes, and how much of all where that is searched for.
    pub deciding: Vec<Sample>,
    /// Tell how good the result is, and decide nothing.
    pub telling: Vec<Sample>,
    /// What there is to say of the samples.
    pub notes: Vec<String>,
}

impl Roles {
    /// The roles of samples, some of which decide where it is `decided` by samples at all: every eighth of those that are
    /// not held out, or thirty-two, evenly from all. Of fewer than eight none can be spared: then those that are held out
    /// decide and tell, and a note says it.
    pub(super) fn of(probe: Probe, decided: bool) -> Roles {
        let Probe { tried: all, held_out: telling, mut notes } = probe;
        let all = if all.is_empty() { telling.clone() } else { all };
        let count = if decided { (all.len() / ONE_OF).min(MOST) } else { 0 };
        if count == 0 {
            let deciding = if decided { telling.clone() } else { Vec::new() };
            if decided && !all.is_empty() {
                notes.push(format!(
                    "there are only {} samples to make weights from: those that quality is measured on have decided how \
                     much of each group goes, too",
                    all.len()
                ));
            }
            return Roles { fitted: all.clone(), all, deciding, telling, notes };
        }
        let (fitted, deciding) = parted(&all, count);
        Roles { all, fitted, deciding, telling, notes }
    }

    /// Samples to learn from, and others that tell whether that is any good.
    pub(super) fn lesson(&self) -> (Vec<Sample>, Vec<Sample>) {
        parted(&self.all, (self.all.len() / ONE_OF_LESSON).min(MOST_OF_LESSON))
    }
}

/// All but `count` of the samples, and these, from the middle of as many equal parts.
fn parted(all: &[Sample], count: usize) -> (Vec<Sample>, Vec<Sample>) {
    let places: Vec<usize> = (0..count).map(|i| (2 * i + 1) * all.len() / (2 * count)).collect();
    let (mut most, mut few) = (Vec::with_capacity(all.len() - count), Vec::with_capacity(count));
    for (place, sample) in all.iter().enumerate() {
        let part = if places.binary_search(&place).is_ok() { &mut few } else { &mut most };
        part.push(sample.clone());
    }
    (most, few)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Origin;
    use crate::ir::Tensor;

    fn samples(indices: std::ops::Range<u64>) -> Vec<Sample> {
        let one = |index: u64| {
            let feed = vec![("x".to_string(), Tensor::f32s(&[1], &[index as f32]).unwrap())];
            Sample::new(feed, Origin::MadeUp { index }).unwrap()
        };
        indices.map(one).collect()
    }

    fn of(tried: u64, decided: bool) -> Roles {
        let probe = Probe { tried: samples(0..tried), held_out: samples(tried..tried + 3), notes: Vec::new() };
        Roles::of(probe, decided)
    }

    #[test]
    fn a_few_of_all_decide_and_those_held_out_only_tell() {
        for (tried, count) in [(8, 1), (15, 1), (16, 2), (112, 14), (240, 30), (1000, 32)] {
            let roles = of(tried, true);
            assert_eq!((roles.all.len() as u64, roles.deciding.len(), roles.telling.len()), (tried, count, 3));
            assert_eq!(roles.fitted.len() + count, roles.all.len());
            let is_fitted = |sample: &Sample| roles.fitted.contains(sample);
            assert!(roles.deciding.iter().all(|sample| !is_fitted(sample) && roles.all.contains(sample)));
            assert!(roles.telling.iter().all(|sample| !roles.all.contains(sample) && roles.notes.is_empty()));
        }
        assert_eq!(of(16, true).deciding, [&samples(4..5)[..], &samples(12..13)].concat());
        let undecided = of(16, false);
        assert_eq!((undecided.fitted, undecided.deciding), (undecided.all, Vec::new()));
    }

    #[test]
    fn of_few_those_that_tell_decide_and_it_is_said() {
        let roles = of(7, true);
        assert_eq!((&roles.fitted, &roles.deciding), (&roles.all, &roles.telling));
        assert!(roles.notes[0].contains("only 7 samples"), "{:?}", roles.notes);
        assert!(of(7, false).notes.is_empty());
        let none = Roles::of(Probe::default(), true);
        assert!(none.all.is_empty() && none.deciding.is_empty() && none.notes.is_empty());
    }
}
