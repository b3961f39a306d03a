//! Samples that all that is done to one model shares, so that they are read once.

use std::sync::{Arc, Mutex, PoisonError};

use crate::calibrate::{Sample, Source, Split};
use crate::exec::DataError;
use crate::ir::{ScopeId, Type};
use crate::model::Model;

/// Bytes of samples to try things on that are in memory at a time, the last one aside.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// What was read of samples for one model and its descendants; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pool(Arc<Mutex<Vec<(Asked, Arc<Read>)>>>);

/// What tells one set of samples from another.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    source: Source,
    most: Option<usize>,
    /// Whether as many are held out as are not.
    verifies: bool,
    /// What the samples are made to fit.
    inputs: Vec<(String, Type)>,
}

/// Samples in memory.
#[derive(Debug)]
pub(super) struct Read {
    /// The first of those that are not held out, as many as fit 64 MiB.
    pub first: Vec<Sample>,
    /// Whether these are all that are not held out.
    pub is_all: bool,
    /// Those that are.
    pub held_out: Vec<Sample>,
    /// What there is to say of them.
    pub notes: Vec<String>,
}

impl Pool {
    /// At most `most` samples of `source` for `model`, as many held out as not where results are verified: from memory
    /// where they were read before, else by `split`.
    ///
    /// # Errors
    /// For samples that cannot be read.
    pub(super) fn read(
        &self,
        source: &Source,
        (most, verifies): (Option<usize>, bool),
        model: &Model,
        split: impl FnOnce() -> Result<Split, DataError>,
    ) -> Result<Arc<Read>, DataError> {
        let value = |&id| model.graph.value(id);
        let inputs = model.graph.scope(ScopeId::MAIN).inputs();
        let inputs = inputs.iter().map(value).map(|v| (v.name.to_string(), v.ty.clone())).collect();
        let asked = Asked { source: source.clone(), most, verifies, inputs };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = known.iter().find(|(before, _)| *before == asked) {
            return Ok(read.clone());
        }
        let read = Arc::new(Read::of(split()?)?);
        known.push((asked, read.clone()));
        Ok(read)
    }
}

impl Read {
    fn of(mut split: Split) -> Result<Read, DataError> {
        let (mut first, mut bytes, mut is_all) = (Vec::new(), 0usize, false);
        while bytes < MOST_BYTES && !is_all {
            match split.next() {
                None => is_all = true,
                Some(sample) => {
                    let sample = sample?;
                    bytes = bytes.saturating_add(sample.bytes());
                    first.push(sample);
                }
            }
        }
        let held = split.finish()?;
        Ok(Read { first, is_all, held_out: held.samples, notes: held.notes })
    }
}
