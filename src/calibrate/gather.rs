//! Runs a model on samples and sees what its tensors hold, one batch at a time.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator};
use rustc_hash::FxHashMap;

use crate::calibrate::statistics::Statistics;
use crate::exec::{Cannot, DataError, Executor, Session};
use crate::ir::{DType, Graph, ScopeId, Tensor, ValueId};
use crate::model::Model;

/// One tensor per input.
pub type Feed = Vec<(String, Tensor)>;

/// What the tensors of a model held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// By name, every float tensor of the main graph that is no constant.
    pub tensors: BTreeMap<String, Statistics>,
    /// Runs that were made.
    pub runs: u64,
}

/// Why nothing is known of a model's tensors.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// The samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine cannot run the model on a sample.
    #[error("sample {sample}: {reason}")]
    Run {
        /// Which, from 0.
        sample: u64,
        /// What the engine says.
        reason: Cannot,
    },
    /// A sample is no number.
    #[error("sample {sample}: input \"{input}\" holds {what}")]
    NotFinite {
        /// Which, from 0.
        sample: u64,
        /// The input.
        input: String,
        /// NaN or infinity.
        what: &'static str,
    },
    /// There are no samples.
    #[error("there are no samples")]
    Empty,
}

/// Run `model` on `feeds` and see every float tensor that is no constant. `tell` hears how many runs are done.
///
/// As many runs are made at a time as there are threads in rayon's pool; their tensors are seen in the order of the
/// feeds, so the result does not depend on the number. Each run's tensors are held until they were seen.
///
/// # Errors
/// For samples that cannot be read or are not finite, and for an engine that cannot run the model on them.
pub fn gather(
    model: &Model,
    feeds: &mut dyn Iterator<Item = Result<Feed, DataError>>,
    engine: &dyn Executor,
    tell: &dyn Fn(u64),
) -> Result<Gathered, GatherError> {
    let (shown, names) = showing(model);
    let mut gathered = Gathered::default();
    let mut sessions: Vec<Box<dyn Session>> = Vec::new();
    let statistics: Vec<Mutex<Statistics>> = names.iter().map(|_| Mutex::default()).collect();
    loop {
        let mut wave = Vec::new();
        while wave.len() < rayon::current_num_threads() {
            let Some(feed) = feeds.next() else { break };
            let feed = feed?;
            finite(&feed, gathered.runs + wave.len() as u64)?;
            wave.push(feed);
        }
        if wave.is_empty() {
            break;
        }
        while sessions.len() < wave.len() {
            sessions.push(engine.load(&shown).map_err(|reason| GatherError::Run { sample: gathered.runs, reason })?);
        }
        let first = gathered.runs;
        let runs: Result<Vec<Vec<Tensor>>, GatherError> = sessions
            .par_iter_mut()
            .zip(&wave)
            .enumerate()
            .map(|(i, (session, feed))| {
                session.run(feed).map_err(|reason| GatherError::Run { sample: first + i as u64, reason })
            })
            .collect();
        let runs = runs?;
        statistics.par_iter().enumerate().for_each(|(slot, statistics)| {
            let mut statistics = statistics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for outputs in &runs {
                if let Some(elements) = outputs.get(slot).and_then(floats) {
                    statistics.add(&elements);
                }
            }
        });
        gathered.runs += wave.len() as u64;
        tell(gathered.runs);
    }
    if gathered.runs == 0 {
        return Err(GatherError::Empty);
    }
    let seen = statistics.into_iter().map(|s| s.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    gathered.tensors = names.into_iter().zip(seen).filter(|(_, s)| s.samples > 0 || s.not_finite > 0).collect();
    Ok(gathered)
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
    // A name is a label: two values may share one, and those that rewrites make have none.
    let mut taken = FxHashMap::<String, usize>::default();
    let mut name = |label: String| {
        let times = taken.entry(label.clone()).or_default();
        *times += 1;
        if *times == 1 && !label.is_empty() { label } else { format!("{label}#{times}") }
    };
    values.into_iter().map(|v| (v, name(g.value_label(v)))).collect()
}

/// `model` with every float tensor as an output and no others, and their names.
fn showing(model: &Model) -> (Model, Vec<String>) {
    let mut shown = model.clone();
    let g = &mut shown.graph;
    let values = observed(g);
    while let Some(last) = g.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
        g.remove_output(ScopeId::MAIN, last);
    }
    for (value, name) in &values {
        let ty = g.value(*value).ty.clone();
        g.add_output(ScopeId::MAIN, name, *value, ty);
    }
    let names = values.into_iter().map(|(_, name)| name).collect();
    (shown, names)
}

/// Samples may be anything but no numbers.
fn finite(feed: &Feed, sample: u64) -> Result<(), GatherError> {
    for (input, tensor) in feed {
        let Some(elements) = floats(tensor) else { continue };
        let what = match elements.iter().find(|x| !x.is_finite()) {
            None => continue,
            Some(x) if x.is_nan() => "NaN",
            Some(_) => "infinity",
        };
        return Err(GatherError::NotFinite { sample, input: input.clone(), what });
    }
    Ok(())
}

/// The elements of a float tensor.
fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    match tensor.dtype() {
        DType::F32 => {
            let bytes = tensor.bytes()?;
            Some(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
        }
        DType::F16 | DType::BF16 | DType::F64 => Some(tensor.reals()?.into_iter().map(|x| x as f32).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Data;
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

    fn feeds(samples: &[[f32; 2]]) -> Vec<Result<Feed, DataError>> {
        samples.iter().map(|s| Ok(vec![("x".to_string(), Tensor::f32s(&[1, 2], s).unwrap())])).collect()
    }

    fn gathered(samples: &[[f32; 2]]) -> Result<Gathered, GatherError> {
        gather(&model(), &mut feeds(samples).into_iter(), &Tract, &|_| ())
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
    fn samples_come_from_files() {
        use npyz::WriterBuilder;
        let folder = tempfile::tempdir().unwrap();
        for (name, elements) in [("a.npy", [1.0f32, 2.0, 3.0, 4.0]), ("b.npy", [-5.0, 0.0, 0.5, 6.0])] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let mut array = npyz::WriteOptions::new().default_dtype().shape(&[2, 2]).writer(file).begin_nd().unwrap();
            array.extend(elements).unwrap();
            array.finish().unwrap();
        }
        let mut samples = Data::open(folder.path()).unwrap().samples(&model()).unwrap();
        let g = gather(&model(), &mut samples, &Tract, &|_| ()).unwrap();
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
    fn what_is_no_sample_is_named() {
        let of = |samples: &[[f32; 2]]| gathered(samples).unwrap_err().to_string();
        assert_eq!(of(&[]), "there are no samples");
        assert_eq!(of(&[[0.0, 1.0], [f32::NAN, 1.0]]), "sample 1: input \"x\" holds NaN");
        assert_eq!(of(&[[0.0, f32::NEG_INFINITY]]), "sample 0: input \"x\" holds infinity");
        let wrong = vec![Ok(vec![("z".to_string(), Tensor::f32s(&[1], &[0.0]).unwrap())])];
        let refused = gather(&model(), &mut wrong.into_iter(), &Tract, &|_| ()).unwrap_err().to_string();
        assert!(refused.starts_with("sample 0: tract cannot run the model"), "{refused}");
    }
}
