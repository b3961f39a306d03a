//! Where it is known from what a model's tensors hold: samples to run it on, or statistics that were saved.

use std::path::PathBuf;

use crate::calibrate::gather::Gathering;
use crate::calibrate::pool::{MOST_BYTES, Pool};
use crate::calibrate::settling::Settling;
use crate::calibrate::{Fingerprint, GatherError, Gathered, Sample, Saved, SavedError, Source, Split, Wanted};
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
    /// Whether samples are left once ranges and means have settled.
    pub settles: Settles,
    /// Where samples are once they were read, for others that read the same ones.
    pub pool: Option<Pool>,
}

/// Whether a model is run on no more samples than it takes for ranges and the means of channels to settle. Ranges are
/// still a little better known from more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settles {
    /// Where all samples together take more than [`LONG`] multiply-accumulates.
    #[default]
    Auto,
    /// However little all of them take.
    Always,
    /// All samples are run.
    Never,
}

/// Multiply-accumulates of all runs beyond which samples are left: some seconds of processor time. What takes less is
/// no reason to know ranges less well.
pub const LONG: u64 = 100_000_000_000;

/// Samples that are run at the least before any of them is left without being asked for: that fewer agree with half of
/// them says little.
const LEAST: usize = 24;

/// When it is asked whether samples may be left.
#[derive(Clone, Copy, Debug)]
pub struct Early {
    /// After so many samples for the first time.
    pub first: usize,
    /// Multiply-accumulates of a run on one of them.
    pub macs: u64,
}

impl Settles {
    /// Whether any of so many samples may be left.
    fn leaves(self, early: Early, samples: u64) -> bool {
        match self {
            Settles::Auto => early.macs.saturating_mul(samples) > LONG,
            Settles::Always => true,
            Settles::Never => false,
        }
    }

    /// After how many samples it is asked for the first time; the second time they may be left.
    fn asks(self, early: Early) -> usize {
        if self == Settles::Always { early.first } else { early.first.max(LEAST / 2) }
    }
}

/// What runs of a model on samples came to.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// What its tensors held.
    pub gathered: Gathered,
    /// Samples that there are; the model was run on no more of them than ranges and means took to settle.
    pub samples: u64,
}

impl Runs {
    /// What there is to say where samples were left.
    pub fn note(&self) -> Option<String> {
        (self.gathered.runs < self.samples).then(|| {
            format!(
                "ranges follow from {} of {} samples: with the means of channels they had settled, being those of half as many but \
                 for a few percent; --until-settled never takes all",
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
    /// Where samples may be left `early`, it is asked time and again whether ranges have settled. Those
    /// behind the first are picked from all of them by chance, as samples that lie beside one another may be of one kind;
    /// samples that are not in memory are read anew each time. All samples are run where statistics are saved for others.
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
        early: Option<Early>,
    ) -> Result<Runs, CalibrationError> {
        if self.source.is_none() {
            return Err(CalibrationError::Nothing);
        }
        let gathering = Gathering::new(model, wanted, &[], engine, before.unwrap_or_default())?;
        self.gathered_on(gathering, model, engine, tell, early)
    }

    /// As [`Calibration::gathered`], going on with what was begun for `model`.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn gathered_on(
        &self,
        mut gathering: Gathering<'_>,
        model: &Model,
        engine: &dyn Executor,
        tell: &dyn Fn(u64, u64),
        early: Option<Early>,
    ) -> Result<Runs, CalibrationError> {
        let source = self.source.as_ref().ok_or(CalibrationError::Nothing)?;
        let split = || self.split_of(source, model, engine);
        let read = match &self.pool {
            Some(pool) => Some(pool.read(source, (self.samples, self.verifies), model, split)?),
            None => None,
        };
        let kept = read.as_ref().filter(|read| read.is_all).map(|read| &read.first[..]);
        let mut stream = None;
        let samples = match kept {
            Some(kept) => kept.len() as u64,
            None => stream.insert(split()?).total(),
        };
        tell(gathering.runs(), samples);
        let told = |done| tell(done, samples);
        let early = early.filter(|&early| self.save.is_none() && self.settles.leaves(early, samples));
        let count = usize::try_from(samples).unwrap_or(usize::MAX);
        let order = order(count, early.map_or(count, |early| early.first));
        let mut settling = early.map(|early| Settling::from(self.settles.asks(early) as u64));
        loop {
            let runs = gathering.runs();
            if settling.as_mut().is_some_and(|settling| settling.is_done(runs, gathering.seen())) {
                break;
            }
            let ahead = settling.as_ref().map_or(samples, |settling| settling.ahead(runs));
            let place = |runs: u64| usize::try_from(runs).unwrap_or(usize::MAX).min(count);
            let mut places = order[place(runs)..place(runs.saturating_add(ahead))].to_vec();
            if places.is_empty() {
                break;
            }
            places.sort_unstable();
            match kept {
                Some(kept) => gathering.add(&mut places.iter().map(|&place| Ok(kept[place].clone())), &told)?,
                None => {
                    let stream = match stream.take() {
                        Some(stream) => stream,
                        None => split()?,
                    };
                    let is_it = |place: usize| places.binary_search(&place).is_ok();
                    let mut left = stream.enumerate().filter(|(place, sample)| sample.is_err() || is_it(*place));
                    gathering.add(&mut left.by_ref().map(|(_, sample)| sample), &told)?;
                }
            }
            if gathering.runs() == runs {
                break;
            }
        }
        Ok(Runs { gathered: gathering.finish()?, samples })
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
    use crate::calibrate::gather;
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
        let all = |before| {
            let tell = |_, total| assert_eq!(total, 8);
            calibration.gathered(&model, &Wanted::all(), &Tract, &tell, before, None).unwrap().gathered
        };
        let gathered = all(None);
        assert!(gathered.runs == 8 && gathered.made_up && gathered.of("y").unwrap().max > 1.0);
        let mut tried = probe.tried.into_iter().map(Ok);
        let first = gather(&model, &Wanted::all(), &mut tried, &Tract, &|_| {}, Gathered::default()).unwrap();
        assert_eq!(all(Some(first)), gathered);
    }

    #[test]
    fn few_samples_are_left_when_asked_for_only() {
        let asks = |settles: Settles, first| settles.asks(Early { first, macs: LONG });
        assert_eq!((asks(Settles::Auto, 9), asks(Settles::Auto, 64)), (LEAST / 2, 64));
        assert_eq!(asks(Settles::Always, 9), 9);
    }

    #[test]
    fn samples_are_left_once_ranges_have_settled() {
        let pooled = Calibration { pool: Some(Pool::default()), settles: Settles::Always, ..random(400) };
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,48] x) => (float[n,48] y) { y = Tanh(x) }"#;
        let model = parse(text).unwrap();
        let wanted = Wanted::only(model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value));
        let until = |calibration: &Calibration, macs: u64| {
            let early = Some(Early { first: 64, macs });
            calibration.gathered(&model, &wanted, &Tract, &|_, _| {}, None, early).unwrap()
        };
        let fewer = until(&pooled, 0);
        assert!(fewer.gathered.runs >= 128 && fewer.gathered.runs < fewer.samples, "{}", fewer.gathered.runs);
        assert!(fewer.note().unwrap().starts_with(&format!("ranges follow from {} of", fewer.gathered.runs)));
        // Whether they are kept or read anew.
        assert_eq!(until(&Calibration { pool: None, ..pooled.clone() }, 0).gathered, fewer.gathered);
        // Where all of them are much.
        let auto = Calibration { settles: Settles::Auto, ..pooled.clone() };
        assert_eq!(until(&auto, LONG / fewer.samples + 1).gathered, fewer.gathered);
        let folder = tempfile::tempdir().unwrap();
        let all = [
            (auto, LONG / fewer.samples),
            (Calibration { settles: Settles::Never, ..pooled.clone() }, LONG),
            (Calibration { save: Some(folder.path().join("a.json")), ..pooled }, LONG),
        ];
        for (calibration, macs) in all {
            let runs = until(&calibration, macs);
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
        let once = saving.gathered(&model, &Wanted::all(), &Tract, &|_, _| {}, None, None).unwrap().gathered;
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
        let nothing = reading(&[]).gathered(&model, &Wanted::all(), &Tract, &|_, _| {}, None, None);
        assert!(matches!(nothing, Err(CalibrationError::Nothing)));
        assert!(reading(&[]).probe(&model, &Tract, &|_| 3).unwrap().held_out.is_empty());
    }
}
