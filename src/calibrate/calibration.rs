//! Where it is known from what a model's tensors hold: samples to run it on, or statistics that were saved.

use std::path::PathBuf;

use crate::calibrate::pool::{MOST_BYTES, Pool};
use crate::calibrate::{Fingerprint, GatherError, Gathered, Sample, Saved, SavedError, Source, Split, Wanted, gather};
use crate::exec::{DataError, Executor};
use crate::model::Model;

/// Samples, statistics of them, or both.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// Where samples come from.
    pub source: Option<Source>,
    /// Samples that are taken at most.
    pub samples: Option<usize>,
    /// Files of statistics, which are added up. Then the model is not run to gather any.
    pub stats: Vec<PathBuf>,
    /// Where to write what was gathered.
    pub save: Option<PathBuf>,
    /// Hold out as many samples as statistics are gathered of: something is searched for that has to keep a bound.
    pub verifies: bool,
    /// Where samples are once they were read, for others that read the same ones.
    pub pool: Option<Pool>,
}

/// A few samples: some to try things on, and others to measure what came of it.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// To try things on.
    pub tried: Vec<Sample>,
    /// To measure on.
    pub held_out: Vec<Sample>,
    /// What there is to say of the samples.
    pub notes: Vec<String>,
}

/// Why nothing is known of a model's tensors.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// Samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be run on them.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// Statistics cannot be read or written.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// There is neither.
    #[error("there is nothing to calibrate from: name samples or statistics")]
    Nothing,
}

impl Calibration {
    /// Whether it has to be told apart which model statistics are of.
    pub fn has_files(&self) -> bool {
        !self.stats.is_empty() || self.save.is_some()
    }

    /// A few samples for `model`: to try things on as many as `tried` says of the first, and those that are held out. None of either where
    /// there are statistics only.
    ///
    /// # Errors
    /// For samples that cannot be read.
    pub fn probe(
        &self,
        model: &Model,
        engine: &dyn Executor,
        tried: &dyn Fn(&Sample) -> usize,
    ) -> Result<Probe, CalibrationError> {
        if let (Some(pool), Some(source)) = (&self.pool, &self.source) {
            let read =
                pool.read(source, (self.samples, self.verifies), model, || self.split_of(source, model, engine))?;
            let most = read.first.first().map_or(0, |sample| tried(sample).max(1)).min(read.first.len());
            let (held_out, notes) = (read.held_out.clone(), read.notes.clone());
            return Ok(Probe { tried: read.first[..most].to_vec(), held_out, notes });
        }
        let Some(mut split) = self.split(model, engine)? else { return Ok(Probe::default()) };
        let (mut first, mut bytes) = (Vec::new(), 0usize);
        // One is read to see what they are like.
        let mut most = 1;
        while first.len() < most && bytes < MOST_BYTES {
            let Some(sample) = split.next() else { break };
            let sample = sample?;
            if first.is_empty() {
                most = tried(&sample);
            }
            bytes = bytes.saturating_add(sample.bytes());
            first.push(sample);
        }
        let held = split.finish()?;
        Ok(Probe { tried: first, held_out: held.samples, notes: held.notes })
    }

    /// What the statistics in files say together; nothing where there are none. They are of the model with this
    /// fingerprint.
    ///
    /// # Errors
    /// For files that cannot be read, or that are of another model.
    pub fn saved(&self, given: &Fingerprint) -> Result<Option<Gathered>, CalibrationError> {
        let mut all: Option<Gathered> = None;
        for file in &self.stats {
            let read = Saved::read(file, given)?;
            match &mut all {
                None => all = Some(read),
                Some(all) => all.merge(&read),
            }
        }
        Ok(all)
    }

    /// Run `model` on the samples that are not held out, and see what its `wanted` tensors hold. What was seen of them
    /// on the first samples `before` is taken as it is. `tell` hears how many runs of how many are done.
    ///
    /// # Errors
    /// For samples that cannot be read, when there are none, and for an engine that cannot run the model.
    pub fn gathered(
        &self,
        model: &Model,
        wanted: &Wanted,
        engine: &dyn Executor,
        tell: &dyn Fn(u64, u64),
        before: Option<Gathered>,
    ) -> Result<Gathered, CalibrationError> {
        let before = before.unwrap_or_default();
        if let (Some(pool), Some(source)) = (&self.pool, &self.source) {
            let read =
                pool.read(source, (self.samples, self.verifies), model, || self.split_of(source, model, engine))?;
            if read.is_all {
                let total = read.first.len() as u64;
                tell(before.runs, total);
                let passed = usize::try_from(before.runs).unwrap_or(usize::MAX);
                let mut left = read.first.iter().skip(passed).cloned().map(Ok);
                return Ok(gather(model, wanted, &mut left, engine, &|done| tell(done, total), before)?);
            }
        }
        let mut split = self.split(model, engine)?.ok_or(CalibrationError::Nothing)?;
        let total = split.total();
        tell(before.runs, total);
        for _ in 0..before.runs {
            split.next().transpose()?;
        }
        Ok(gather(model, wanted, &mut split, engine, &|done| tell(done, total), before)?)
    }

    /// Write what was gathered of the model with this fingerprint, where that is asked for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, given: &Fingerprint, gathered: &Gathered) -> Result<(), CalibrationError> {
        match &self.save {
            Some(file) => Ok(Saved::new(given, gathered.clone()).write(file)?),
            None => Ok(()),
        }
    }

    fn split(&self, model: &Model, engine: &dyn Executor) -> Result<Option<Split>, CalibrationError> {
        let Some(source) = &self.source else { return Ok(None) };
        Ok(Some(self.split_of(source, model, engine)?))
    }

    fn split_of(&self, source: &Source, model: &Model, engine: &dyn Executor) -> Result<Split, DataError> {
        let samples = source.samples(model, engine, self.samples)?;
        Ok(if self.verifies { Split::verifying(samples) } else { Split::new(samples) })
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    fn model() -> Model {
        parse(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,4,4] x) => (float[n,3,4,4] y) { y = Relu(x) }"#)
            .unwrap()
    }

    fn random(samples: usize) -> Calibration {
        Calibration { source: Some(Source::Random(0)), samples: Some(samples), ..Calibration::default() }
    }

    #[test]
    fn samples_are_tried_measured_on_or_gathered_from() {
        let (calibration, model) = (random(9), model());
        let probe = calibration.probe(&model, &Tract, &|_| 3).unwrap();
        assert_eq!((probe.tried.len(), probe.held_out.len()), (3, 1));
        let gathered =
            calibration.gathered(&model, &Wanted::all(), &Tract, &|_, total| assert_eq!(total, 8), None).unwrap();
        assert!(gathered.runs == 8 && gathered.made_up && gathered.of("y").unwrap().max > 1.0);
        let mut tried = probe.tried.into_iter().map(Ok);
        let first = gather(&model, &Wanted::all(), &mut tried, &Tract, &|_| {}, Gathered::default()).unwrap();
        let both = calibration.gathered(&model, &Wanted::all(), &Tract, &|_, _| {}, Some(first)).unwrap();
        assert_eq!(both, gathered);
    }

    #[test]
    fn statistics_are_saved_and_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let (model, other) = (model(), Fingerprint::of(&Model::default()));
        let given = Fingerprint::of(&model);
        let saving = Calibration { save: Some(file.clone()), ..random(4) };
        let once = saving.gathered(&model, &Wanted::all(), &Tract, &|_, _| {}, None).unwrap();
        saving.save(&given, &once).unwrap();
        let reading = |files: &[&PathBuf]| Calibration {
            stats: files.iter().map(|file| (*file).clone()).collect(),
            ..Calibration::default()
        };
        let twice = reading(&[&file, &file]).saved(&given).unwrap().unwrap();
        assert!(twice.made_up && twice.runs == 2 * once.runs && twice.tensors["x"].samples == 8);
        assert_eq!(twice.tensors["x"].max, once.tensors["x"].max);
        assert!(reading(&[&file]).saved(&other).unwrap_err().to_string().contains("another model"));
        assert!(reading(&[&folder.path().join("none.json")]).saved(&given).is_err());
        assert_eq!(reading(&[]).saved(&given).unwrap(), None);
        let nothing = reading(&[]).gathered(&model, &Wanted::all(), &Tract, &|_, _| {}, None);
        assert!(matches!(nothing, Err(CalibrationError::Nothing)));
        assert!(reading(&[]).probe(&model, &Tract, &|_| 3).unwrap().held_out.is_empty());
    }
}
