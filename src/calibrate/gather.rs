//! Runs a model on samples and sees what its tensors hold, one batch at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::channels::Channels;
use crate::calibrate::samples::Sample;
use crate::calibrate::statistics::Statistics;
use crate::exec::{Cannot, DataError, Executor, Origin, Session};
use crate::ir::{DType, Graph, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::similar::similar;

/// What the tensors of a model held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// By name, as [`observed`] has them.
    pub tensors: BTreeMap<String, Statistics>,
    /// Runs that were made.
    pub runs: u64,
    /// Some of them on made-up samples: the ranges that follow are not real.
    pub made_up: bool,
}

/// Nothing is known of a tensor that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no statistics of tensor \"{tensor}\"{}; gather them again with --calib", near(.similar))]
pub struct Unknown {
    /// The tensor.
    pub tensor: String,
    /// Tensors of similar names that there are statistics of.
    pub similar: Vec<String>,
}

fn near(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!(" (there are of \"{}\")", similar.join("\", \"")) }
}

impl Gathered {
    /// What a tensor held.
    ///
    /// # Errors
    /// When that is not known.
    pub fn of(&self, tensor: &str) -> Result<&Statistics, Unknown> {
        self.tensors.get(tensor).ok_or_else(|| Unknown {
            tensor: tensor.to_string(),
            similar: similar(tensor, self.tensors.keys().map(String::as_str)),
        })
    }
}

/// Of which tensors statistics are gathered.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// These and no others.
    only: Option<FxHashSet<ValueId>>,
    channels: FxHashMap<ValueId, i64>,
}

impl Wanted {
    /// Of every float tensor of the main graph that is no constant.
    pub fn all() -> Wanted {
        Wanted::default()
    }

    /// Of these, as far as they are such tensors. A run holds no others longer than it needs them.
    pub fn only(values: impl IntoIterator<Item = ValueId>) -> Wanted {
        Wanted { only: Some(values.into_iter().collect()), ..Wanted::default() }
    }

    /// Of this one too.
    #[must_use]
    pub fn with(mut self, value: ValueId) -> Wanted {
        if let Some(only) = &mut self.only {
            only.insert(value);
        }
        self
    }

    /// Of this one too, and of each of its slices along `axis`, which counts from the last where it is negative.
    #[must_use]
    pub fn with_channels(mut self, value: ValueId, axis: i64) -> Wanted {
        if let Some(only) = &mut self.only {
            only.insert(value);
        }
        self.channels.insert(value, axis);
        self
    }
}

/// Why nothing is known of a model's tensors.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine has no way to run the model.
    #[error(transparent)]
    Load(Cannot),
    /// The engine cannot run the model on a sample.
    #[error("{origin}: {reason}")]
    Run {
        /// Which.
        origin: Origin,
        /// What the engine says.
        reason: Cannot,
    },
    /// There are no samples.
    #[error("there are no samples")]
    Empty,
}

/// Bytes of tensors that runs hold at a time, unless a single one holds more.
const MOST_BYTES: usize = 1 << 30;

/// Run `model` on `samples` and see the `wanted` tensors, on top of what was seen of them in runs before. `tell` hears
/// how many runs are done, all together.
///
/// As many runs are made at a time as there are threads in rayon's pool, and as hold no more than a gibibyte together;
/// the first is made alone. Their tensors are seen in the order of the samples, so the result does not depend on the
/// number. Sessions share what the engine has loaded where it can.
///
/// # Errors
/// For samples that cannot be read, and for an engine that cannot run the model on them.
pub fn gather(
    model: &Model,
    wanted: &Wanted,
    samples: &mut dyn Iterator<Item = Result<Sample, DataError>>,
    engine: &dyn Executor,
    tell: &dyn Fn(u64),
    before: Gathered,
) -> Result<Gathered, GatherError> {
    let mut gathering = Gathering::new(model, wanted, &[], engine, before)?;
    gathering.add(samples, tell)?;
    gathering.finish()
}

/// What is being gathered: [`gather()`] in several goes. What it has loaded runs other samples, too.
pub(crate) struct Gathering<'e> {
    engine: &'e dyn Executor,
    /// The model, giving the tensors that are wanted.
    shown: Model,
    /// Which of its outputs are those that were asked for beside these.
    beside: Vec<usize>,
    names: Vec<String>,
    statistics: Vec<Mutex<Statistics>>,
    sessions: Vec<Box<dyn Session>>,
    /// Runs so far, and of tensors what was seen before of those that are not wanted.
    gathered: Gathered,
}

impl<'e> Gathering<'e> {
    /// On top of what was seen `before`; `beside` the tensors that statistics are of, runs may give these values.
    ///
    /// # Errors
    /// For an engine that cannot run the model.
    pub(crate) fn new(
        model: &Model,
        wanted: &Wanted,
        beside: &[ValueId],
        engine: &'e dyn Executor,
        before: Gathered,
    ) -> Result<Gathering<'e>, GatherError> {
        let (shown, beside, tensors) = showing(model, wanted, beside);
        let mut gathered = before;
        let (mut names, mut statistics) = (Vec::with_capacity(tensors.len()), Vec::with_capacity(tensors.len()));
        for (name, empty) in tensors {
            statistics.push(Mutex::new(gathered.tensors.remove(&name).unwrap_or(empty)));
            names.push(name);
        }
        let sessions = match names.is_empty() && beside.is_empty() {
            true => Vec::new(),
            false => vec![engine.load(&shown).map_err(GatherError::Load)?],
        };
        Ok(Gathering { engine, shown, beside, names, statistics, sessions, gathered })
    }

    /// The values that were asked for beside, of one more sample; no statistics are of it.
    ///
    /// # Errors
    /// For an engine that cannot run the model on it.
    pub(crate) fn beside(&mut self, sample: &Sample) -> Result<Vec<Tensor>, Cannot> {
        let Some(session) = self.sessions.first_mut() else { return Ok(Vec::new()) };
        let given = session.run(sample.feed())?;
        Ok(self.beside.iter().filter_map(|&place| given.get(place).cloned()).collect())
    }

    /// What is known so far.
    pub(crate) fn so_far(&mut self) -> Gathered {
        let seen = self.statistics.iter_mut().map(|s| s.get_mut().unwrap_or_else(PoisonError::into_inner).clone());
        let tensors = self.names.iter().cloned().zip(seen).filter(|(_, seen)| is_known(seen));
        Gathered { tensors: self.gathered.tensors.clone().into_iter().chain(tensors).collect(), ..self.gathered }
    }

    /// Runs that were made, before and since.
    pub(super) fn runs(&self) -> u64 {
        self.gathered.runs
    }

    /// What was seen of each tensor.
    pub(super) fn seen(&mut self) -> impl Iterator<Item = &Statistics> {
        self.statistics.iter_mut().map(|s| &*s.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Run all of `samples`, and see what they make; `tell` hears how many runs are done, all together.
    ///
    /// # Errors
    /// For samples that cannot be read, and for an engine that cannot run the model on them.
    pub(crate) fn add(
        &mut self,
        samples: &mut dyn Iterator<Item = Result<Sample, DataError>>,
        tell: &dyn Fn(u64),
    ) -> Result<(), GatherError> {
        while !self.names.is_empty() {
            let wave: Vec<Sample> = samples.take(self.sessions.len()).collect::<Result<_, DataError>>()?;
            if wave.is_empty() {
                break;
            }
            let runs = self.sessions.par_iter_mut().zip(&wave).map(|(session, sample)| {
                let failed = |reason| GatherError::Run { origin: sample.origin().clone(), reason };
                session.run(sample.feed()).map_err(failed)
            });
            // Of several that fail, the first is told of, however many are run at a time.
            let runs: Vec<Result<Vec<Tensor>, GatherError>> = runs.collect();
            let runs: Vec<Vec<Tensor>> = runs.into_iter().collect::<Result<_, GatherError>>()?;
            self.statistics.par_iter().enumerate().for_each(|(slot, statistics)| {
                let mut statistics = statistics.lock().unwrap_or_else(PoisonError::into_inner);
                for tensor in runs.iter().filter_map(|outputs| outputs.get(slot)) {
                    statistics.add_tensor(tensor);
                }
            });
            self.gathered.runs += wave.len() as u64;
            self.gathered.made_up |= wave.iter().any(|sample| matches!(sample.origin(), Origin::MadeUp { .. }));
            tell(self.gathered.runs);
            let held = runs.iter().map(|outputs| outputs.iter().map(Tensor::stored_bytes).sum::<usize>()).max();
            let most = (MOST_BYTES / held.unwrap_or(1).max(1)).clamp(1, rayon::current_num_threads());
            drop(runs);
            self.sessions.truncate(most);
            while self.sessions.len() < most {
                let session = match self.sessions.first().and_then(|first| first.fork()) {
                    Some(fork) => fork,
                    None => self.engine.load(&self.shown).map_err(GatherError::Load)?,
                };
                self.sessions.push(session);
            }
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// When nothing was run.
    pub(super) fn finish(self) -> Result<Gathered, GatherError> {
        let mut gathered = self.gathered;
        if self.names.is_empty() {
            return Ok(Gathered::default());
        }
        if gathered.runs == 0 {
            return Err(GatherError::Empty);
        }
        let seen = self.statistics.into_iter().map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner));
        gathered.tensors = self.names.into_iter().zip(seen).filter(|(_, seen)| is_known(seen)).collect();
        Ok(gathered)
    }
}

/// Whether any element was seen.
fn is_known(statistics: &Statistics) -> bool {
    statistics.samples > 0 || statistics.not_finite > 0
}

/// Every float tensor of the main graph that is no constant, with the name that its statistics go by: its own, or a
/// number where it has none or another has the same.
pub fn observed(g: &Graph) -> Vec<(ValueId, String)> {
    let mut values: Vec<ValueId> = g.scope(ScopeId::MAIN).inputs().to_vec();
    for node in g.schedule(ScopeId::MAIN) {
        values.extend(g.results(node).iter().copied().flatten());
    }
    values.retain(|&v| {
        let dtype = g.value(v).ty.dtype();
        matches!(dtype, Some(DType::F16 | DType::BF16 | DType::F32 | DType::F64)) && g.constant(v).is_none()
    });
    // A name is a label: two values may share one, a third may be called what the second then is, and those that
    // rewrites make have none.
    let mut taken = FxHashMap::<String, u64>::default();
    let mut name = |label: String| {
        let mut name = label.clone();
        let mut times = taken.get(&label).copied().unwrap_or(0);
        while name.is_empty() || taken.contains_key(&name) {
            times += 1;
            name = format!("{label}#{times}");
        }
        taken.insert(label, times.max(1));
        taken.insert(name.clone(), 1);
        name
    };
    values.into_iter().map(|v| (v, name(g.value_label(v)))).collect()
}

/// `model` with the wanted tensors and those `beside` as outputs and no others; which outputs the latter are; and of the
/// former their names, and statistics that have seen nothing.
fn showing(model: &Model, wanted: &Wanted, beside: &[ValueId]) -> (Model, Vec<usize>, Vec<(String, Statistics)>) {
    let mut showing = model.clone();
    let g = &mut showing.graph;
    let mut tensors = observed(g);
    tensors.retain(|(value, _)| wanted.only.as_ref().is_none_or(|only| only.contains(value)));
    while let Some(last) = g.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
        g.remove_output(ScopeId::MAIN, last);
    }
    for (value, name) in &tensors {
        let ty = g.value(*value).ty.clone();
        g.add_output(ScopeId::MAIN, name, *value, ty);
    }
    let mut shown: Vec<ValueId> = tensors.iter().map(|(value, _)| *value).collect();
    let mut place = |&value: &ValueId| {
        shown.iter().position(|other| *other == value).unwrap_or_else(|| {
            let ty = g.value(value).ty.clone();
            g.add_output(ScopeId::MAIN, &format!("\u{1}beside {}", shown.len()), value, ty);
            shown.push(value);
            shown.len() - 1
        })
    };
    let beside = beside.iter().map(&mut place).collect();
    g.remove_dead();
    let statistics = |value: ValueId| Statistics {
        channels: wanted.channels.get(&value).map(|&axis| Channels::along(axis)),
        ..Statistics::default()
    };
    (showing, beside, tensors.into_iter().map(|(value, name)| (name, statistics(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::samples::Source;
    use crate::exec::Imaging;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    fn model() -> Model {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,2] x) => (float[n,2] y) <float[2] w = {1, -2}>
            { scaled = Mul(x, w)
              y = Relu(scaled) }"#,
        )
        .unwrap();
        crate::passes::infer_declared(&mut model.graph);
        model
    }

    fn sample(name: &str, elements: &[f32], index: usize) -> Result<Sample, DataError> {
        let feed = vec![(name.to_string(), Tensor::f32s(&[1, elements.len()], elements).unwrap())];
        Sample::new(feed, Origin::File { file: "s.npz".into(), index: Some(index) })
    }

    fn gathered_of(wanted: &Wanted, samples: &[[f32; 2]]) -> Result<Gathered, GatherError> {
        let mut samples = samples.iter().enumerate().map(|(i, s)| sample("x", s, i));
        gather(&model(), wanted, &mut samples, &Tract, &|_| (), Gathered::default())
    }

    fn gathered(samples: &[[f32; 2]]) -> Result<Gathered, GatherError> {
        gathered_of(&Wanted::all(), samples)
    }

    #[test]
    fn every_tensor_is_seen_on_every_sample() {
        let g = gathered(&[[1.0, 2.0], [3.0, -1.0], [0.0, 5.0]]).unwrap();
        assert_eq!(g.runs, 3);
        assert_eq!(g.tensors.keys().collect::<Vec<_>>(), ["scaled", "x", "y"]);
        let range = |name: &str| (g.tensors[name].min, g.tensors[name].max, g.tensors[name].samples);
        assert_eq!(range("x"), (-1.0, 5.0, 3));
        assert_eq!(range("scaled"), (-10.0, 3.0, 3));
        assert_eq!(range("y"), (0.0, 3.0, 3));
    }

    #[test]
    fn runs_go_on_where_others_ended() {
        let samples = [[1.0, 2.0], [3.0, -1.0], [0.0, 5.0]];
        let mut rest = samples[1..].iter().enumerate().map(|(i, s)| sample("x", s, i + 1));
        let first = gathered(&samples[..1]).unwrap();
        let whole = gather(&model(), &Wanted::all(), &mut rest, &Tract, &|_| (), first).unwrap();
        assert_eq!(whole, gathered(&samples).unwrap());
    }

    #[test]
    fn others_are_run_on_what_is_loaded() {
        let samples = [[1.0, 2.0], [3.0, -1.0]];
        let model = model();
        let (x, y) =
            (model.graph.scope(ScopeId::MAIN).inputs()[0], model.graph.scope(ScopeId::MAIN).outputs()[0].value());
        for wanted in [Wanted::all(), Wanted::only([])] {
            let mut gathering = Gathering::new(&model, &wanted, &[y, x, y], &Tract, Gathered::default()).unwrap();
            gathering.add(&mut samples.iter().enumerate().map(|(i, s)| sample("x", s, i)), &|_| ()).unwrap();
            let given = gathering.beside(&sample("x", &[7.0, -7.0], 2).unwrap()).unwrap();
            let tensor = |elements: &[f32]| Tensor::f32s(&[1, 2], elements).unwrap();
            assert_eq!(given, [tensor(&[7.0, 14.0]), tensor(&[7.0, -7.0]), tensor(&[7.0, 14.0])]);
            // Nothing was seen of it.
            let known = gathered_of(&wanted, &samples).unwrap();
            assert_eq!((gathering.so_far().tensors, gathering.finish().unwrap()), (known.tensors.clone(), known));
        }
    }

    #[test]
    fn samples_come_from_files() {
        use npyz::WriterBuilder;
        let folder = tempfile::tempdir().unwrap();
        for (name, elements) in [("a.npy", [1.0f32, 2.0, 3.0, 4.0]), ("b.npy", [-5.0, 0.0, 0.5, 6.0])] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let mut array = npyz::WriteOptions::new().default_dtype().shape(&[2, 2]).writer(file).begin_nd().unwrap();
            array.extend(elements).unwrap();
            array.finish().unwrap();
        }
        let source = Source::open(folder.path(), Imaging::default()).unwrap();
        let mut samples = source.samples(&model(), &Tract, None).unwrap();
        let g = gather(&model(), &Wanted::all(), &mut samples, &Tract, &|_| (), Gathered::default()).unwrap();
        assert_eq!((g.runs, g.tensors["x"].min, g.tensors["x"].max, g.tensors["x"].samples), (4, -5.0, 6.0, 4));
    }

    #[test]
    fn threads_change_nothing() {
        let samples: Vec<[f32; 2]> = (0..9).map(|i| [i as f32 * 0.7 - 2.0, 1.0 / (1.0 + i as f32)]).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gathered(&samples).unwrap())
        };
        assert_eq!(with(1), with(4));
    }

    #[test]
    fn several_goes_are_one() {
        let samples: Vec<[f32; 2]> = (0..9).map(|i| [i as f32, 1.0]).collect();
        let mut gathering = Gathering::new(&model(), &Wanted::all(), &[], &Tract, Gathered::default()).unwrap();
        for (go, runs) in [(0..2, 2), (2..2, 2), (2..9, 9)] {
            gathering.add(&mut go.map(|i| sample("x", &samples[i], i)), &|_| ()).unwrap();
            assert_eq!(gathering.runs(), runs);
            assert!(gathering.seen().all(|statistics| statistics.samples == runs));
        }
        assert_eq!(gathering.finish().unwrap(), gathered(&samples).unwrap());
    }

    #[test]
    fn what_is_no_sample_is_named() {
        let of = |samples: &[[f32; 2]]| gathered(samples).unwrap_err().to_string();
        assert_eq!(of(&[]), "there are no samples");
        assert_eq!(of(&[[0.0, 1.0], [f32::NAN, 1.0]]), "s.npz, sample 1 for input \"x\" holds NaN");
        assert_eq!(of(&[[0.0, f32::NEG_INFINITY]]), "s.npz, sample 0 for input \"x\" holds infinity");
        let mut wrong = std::iter::once(sample("z", &[0.0], 0));
        let refused =
            gather(&model(), &Wanted::all(), &mut wrong, &Tract, &|_| (), Gathered::default()).unwrap_err().to_string();
        assert!(refused.starts_with("s.npz, sample 0: tract cannot run the model"), "{refused}");
    }

    #[test]
    fn nothing_but_what_is_wanted_is_seen() {
        let value = |name: &str| observed(&model().graph).into_iter().find(|(_, n)| n == name).unwrap().0;
        let samples = [[1.0, 2.0], [3.0, -1.0]];
        let wanted = Wanted::only([value("x")]).with_channels(value("scaled"), -1);
        let g = gathered_of(&wanted, &samples).unwrap();
        assert_eq!(g.tensors.keys().collect::<Vec<_>>(), ["scaled", "x"]);
        let channels = g.of("scaled").unwrap().channels.as_ref().unwrap();
        assert_eq!(
            (&channels.min[..], &channels.max[..], &channels.mean[..]),
            (&[1.0, -4.0][..], &[3.0, 2.0][..], &[2.0, -1.0][..])
        );
        assert_eq!((&g.tensors["x"].channels, g.tensors["x"].max), (&None, 3.0));
        assert_eq!(g.tensors["scaled"].histogram, gathered(&samples).unwrap().tensors["scaled"].histogram);
        let unknown = g.of("scaledd").unwrap_err().to_string();
        assert!(unknown.contains("no statistics of tensor \"scaledd\" (there are of \"scaled\")"), "{unknown}");
        assert_eq!(gathered_of(&Wanted::only([]), &samples).unwrap(), Gathered::default());
    }

    #[test]
    fn no_two_tensors_share_a_name() {
        let text = r#"g (float[n] x) => (float[n] y) { p = Relu(x)  q = Abs(p)  y = Neg(q) }"#;
        let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
        crate::passes::infer_declared(&mut model.graph);
        let values: Vec<ValueId> = observed(&model.graph).into_iter().map(|(v, _)| v).collect();
        for (value, name) in values.iter().zip(["a", "a#2", "a"]) {
            model.graph.value_mut(*value).name = name.into();
        }
        let found: Vec<String> = observed(&model.graph).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, ["a", "a#2", "a#3", "y"]);
    }
}
