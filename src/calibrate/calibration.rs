//! Where it is known from what a model's tensors hold: samples to run it on, or statistics that were saved.

use std::path::PathBuf;

use crate::calibrate::gather::gather_until;
use crate::calibrate::pool::{MOST_BYTES, Pool};
use crate::calibrate::settling::Settling;
use crate::calibrate::{Fingerprint, GatherError, Gathered, Sample, Saved, SavedError, Source, Split, Wanted, gather};
use crate::exec::{DataError, Executor};
use crate::model::Model;
use crate::random::Random;

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
    /// Run the model on no more samples than it takes for ranges to settle. What corrections see goes by the mean of all
    /// samples, and may be better known from more.
    pub settles: bool,
    /// Where samples are once they were read, for others that read the same ones.
    pub pool: Option<Pool>,
}

/// What runs of a model on samples came to.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// What its tensors held.
    pub gathered: Gathered,
    /// Samples that there are; the model was run on no more of them than ranges took to settle.
    pub samples: u64,
}

impl Runs {
    /// What there is to say where samples were left.
    pub fn note(&self) -> Option<String> {
        (self.gathered.runs < self.samples).then(|| {
            format!(
                "ranges follow from {} of {} samples: they had settled, being those of half as many but for a few percent",
                self.gathered.runs, self.samples
            )
        })
    }
}

/// What the order of samples is made from where it is not the one in which they are read.
const SEED: u64 = 0;

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
    #[error("there is nothing to calibrate from: --calib PLACE names samples, --stats FILE statistics")]
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

    /// As [`Calibration::gathered`], but on no more samples than it takes for ranges to settle. Whether they have is
    /// asked after the `first` samples and whenever there are twice as many. Those behind the first come in an order
    /// that is shuffled, as samples that lie beside one another may be of one kind.
    ///
    /// All samples are run where nothing else is asked for, where statistics are saved for others, and where samples take
    /// more memory than they are kept in, as they come in their own order then.
    ///
    /// # Errors
    /// As [`Calibration::gathered`].
    pub fn gathered_until_settled(
        &self,
        model: &Model,
        wanted: &Wanted,
        engine: &dyn Executor,
        tell: &dyn Fn(u64, u64),
        before: Option<Gathered>,
        first: usize,
    ) -> Result<Runs, CalibrationError> {
        if let (Some(pool), Some(source), false) = (&self.pool, &self.source, !self.settles || self.save.is_some()) {
            let read =
                pool.read(source, (self.samples, self.verifies), model, || self.split_of(source, model, engine))?;
            if read.is_all {
                let before = before.unwrap_or_default();
                let total = read.first.len() as u64;
                tell(before.runs, total);
                let passed = usize::try_from(before.runs).unwrap_or(usize::MAX);
                let order = order(read.first.len(), first);
                let mut left = order.into_iter().skip(passed).map(|place| Ok(read.first[place].clone()));
                let settling = Some(Settling::from(first as u64));
                let tell = |done| tell(done, total);
                let gathered = gather_until(model, wanted, &mut left, engine, &tell, before, settling)?;
                return Ok(Runs { gathered, samples: total });
            }
        }
        let gathered = self.gathered(model, wanted, engine, tell, before)?;
        Ok(Runs { samples: gathered.runs, gathered })
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

/// The places of so many samples: the first ones as they come, the others shuffled.
fn order(samples: usize, first: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples).collect();
    let mut random = Random::new(SEED, "samples");
    let rest = &mut order[first.min(samples)..];
    for last in (1..rest.len()).rev() {
        rest.swap(last, usize::try_from(random.below(last as u64 + 1)).unwrap_or(last));
    }
    order
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::ir::ScopeId;
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
    fn samples_are_left_once_ranges_have_settled() {
        let pooled = Calibration { pool: Some(Pool::default()), settles: true, ..random(400) };
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,48] x) => (float[n,48] y) { y = Tanh(x) }"#;
        let model = parse(text).unwrap();
        let wanted = Wanted::only(model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value));
        let until = |calibration: &Calibration| {
            calibration.gathered_until_settled(&model, &wanted, &Tract, &|_, _| {}, None, 64).unwrap()
        };
        let fewer = until(&pooled);
        assert!(fewer.gathered.runs >= 128 && fewer.gathered.runs < fewer.samples, "{}", fewer.gathered.runs);
        assert!(fewer.note().unwrap().starts_with(&format!("ranges follow from {} of", fewer.gathered.runs)));
        let folder = tempfile::tempdir().unwrap();
        let all = [
            Calibration { settles: false, ..pooled.clone() },
            Calibration { save: Some(folder.path().join("a.json")), ..pooled.clone() },
            Calibration { pool: None, ..pooled },
        ];
        for calibration in all {
            let runs = until(&calibration);
            assert_eq!((runs.gathered.runs, runs.note()), (fewer.samples, None));
        }
    }

    #[test]
    fn the_first_samples_stay_in_front() {
        let mut order = order(20, 5);
        assert_eq!(order[..5], [0, 1, 2, 3, 4]);
        assert_ne!(order[5..], (5..20).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
        assert_eq!(super::order(3, 9), [0, 1, 2]);
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
