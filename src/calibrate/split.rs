//! Samples that no statistics are gathered of, so that what follows from statistics is measured on others.

use crate::calibrate::samples::{Sample, Samples};
use crate::exec::DataError;

/// One sample of so many is held out at the most.
const ONE_OF: u64 = 8;

/// Samples that are held out at the most. They stay in memory.
const MOST: u64 = 16;

/// The same where results are verified that were searched for: every other sample, and up to so many.
const VERIFYING: (u64, u64) = (2, 256);

/// Bytes that samples held out take at the most, the first aside.
const MOST_BYTES: usize = 256 << 20;

/// A stream of samples without those that are held out: every eighth, or fewer, evenly from all, where that would be
/// more than 16 or more than fit 256 MiB. Of fewer than eight none is held out; they serve as both.
pub struct Split {
    samples: Samples,
    every: u64,
    most: u64,
    seen: u64,
    held: Vec<Sample>,
    bytes: usize,
    /// The first ones, until it is known that there are more.
    early: Vec<Sample>,
}

/// Samples to measure on.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// At least one, at most 16.
    pub samples: Vec<Sample>,
    /// Whether statistics were gathered of the same samples.
    pub is_shared: bool,
    /// What there is to say of the data.
    pub notes: Vec<String>,
}

impl Split {
    /// Of `samples`.
    pub fn new(samples: Samples) -> Split {
        Split::held(samples, ONE_OF, MOST)
    }

    /// Of `samples`, with as many held out as there are others, or 256: a share of a few percent is told of no less.
    pub fn verifying(samples: Samples) -> Split {
        let (one_of, most) = VERIFYING;
        Split::held(samples, one_of, most)
    }

    fn held(samples: Samples, one_of: u64, most: u64) -> Split {
        let every = samples.total().div_ceil(most).max(one_of);
        Split { samples, every, most, seen: 0, held: Vec::new(), bytes: 0, early: Vec::new() }
    }

    /// How many samples there are that are not held out.
    pub fn total(&self) -> u64 {
        let total = self.samples.total();
        total - if total < self.every.min(ONE_OF) { 0 } else { (total / self.every).max(1).min(self.most) }
    }

    /// The samples that were held out, those still to come among them: they are read, and nothing is kept of others.
    ///
    /// # Errors
    /// For samples that cannot be read, or when there are none.
    pub fn finish(mut self) -> Result<HeldOut, DataError> {
        while (self.held.len() as u64) < self.most
            && let Some(sample) = self.next()
        {
            sample?;
        }
        let mut notes = self.samples.notes();
        let is_shared = self.held.is_empty();
        if is_shared {
            notes.push(format!(
                "there are only {} samples: quality is measured on those that ranges follow from",
                self.seen
            ));
        }
        Ok(HeldOut { samples: if is_shared { self.early } else { self.held }, is_shared, notes })
    }
}

impl Iterator for Split {
    type Item = Result<Sample, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let sample = match self.samples.next()? {
                Ok(sample) => sample,
                Err(error) => return Some(Err(error)),
            };
            self.seen += 1;
            let fits = self.held.is_empty() || self.bytes.saturating_add(sample.bytes()) <= MOST_BYTES;
            if self.seen.is_multiple_of(self.every) && fits {
                self.bytes = self.bytes.saturating_add(sample.bytes());
                self.early.clear();
                self.held.push(sample);
                continue;
            }
            if self.held.is_empty() && self.seen < ONE_OF {
                self.early.push(sample.clone());
            }
            return Some(Ok(sample));
        }
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::calibrate::samples::Source;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    fn split(total: usize) -> Split {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }"#;
        Split::new(Source::Random(0).samples(&parse(text).unwrap(), &Tract, Some(total)).unwrap())
    }

    /// Of so many samples: those to gather from, and those held out.
    fn of(total: usize) -> (Vec<String>, HeldOut) {
        let mut split = split(total);
        let expected = split.total();
        let seen: Vec<String> = split.by_ref().map(|s| s.unwrap().origin().to_string()).collect();
        assert_eq!(seen.len() as u64, expected, "of {total}");
        (seen, split.finish().unwrap())
    }

    #[test]
    fn every_eighth_is_held_out_or_sixteen_of_all() {
        for (total, held) in [(8, 1), (16, 2), (23, 2), (128, 16), (130, 14), (1000, 15), (1008, 16)] {
            let (seen, out) = of(total);
            assert_eq!((seen.len() + out.samples.len(), out.samples.len(), out.is_shared), (total, held, false));
            assert!(out.samples.iter().all(|s| !seen.contains(&s.origin().to_string())));
        }
        assert_eq!(of(16).1.samples[0].origin().to_string(), "random sample 7");
    }

    #[test]
    fn few_serve_as_both() {
        let (seen, out) = of(7);
        assert_eq!((seen.len(), out.samples.len(), out.is_shared), (7, 7, true));
        assert!(out.notes[0].contains("only 7 samples"), "{:?}", out.notes);
    }

    #[test]
    fn none_need_be_read_before() {
        let out = split(40).finish().unwrap();
        assert_eq!((out.samples.len(), out.is_shared), (5, false));
    }
}
