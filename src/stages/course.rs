//! How a model stands behind each stage, in one list: its size, its work, and how far it is from the original.
//!
//! The original is the model as it comes from the pipeline, which computes what the file does: that is proved. What it
//! gives for the samples held out is computed once.

use serde::Serialize;

use crate::calibrate::{Calibration, Pool, Sample};
use crate::census;
use crate::error::Error;
use crate::exec::Cannot;
use crate::exec::demand::run_of;
use crate::ir::Tensor;
use crate::liveness::{Peak, peak};
use crate::model::Model;
use crate::quality::{Bounds, Measured, compare_known};
use crate::stages::{Basis, Done, Stage};

/// What stands for a stage before the first: the model as it is in the file, and edited.
const FILE: &str = "original";

/// How a model stands behind a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stand {
    /// The stage: `original` for the file, `optimize` for the pipeline.
    pub stage: &'static str,
    /// Nodes, bodies included.
    pub nodes: usize,
    /// Bytes that the file has or would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Bytes of constants.
    pub parameter_bytes: u64,
    /// Multiply-accumulates of one run, with the sizes of the first sample where there is one.
    pub macs: Option<u64>,
    /// Where a run holds most activations, with the same sizes.
    pub activations: Option<Peak>,
    /// How far its outputs are from the original's; nothing where that was not measured.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Samples, and what the original gives for each.
type Known = (Vec<Sample>, Vec<Vec<Tensor>>);

/// Follows a model through its stages.
pub struct Course {
    /// What stages are told against; kept where there is more than one.
    original: Option<Model>,
    /// Samples that the original was run on, and what it gave.
    known: Option<Known>,
    /// What is known of sizes beside what the model says.
    sizes: Option<Sample>,
    stands: Vec<Stand>,
    notes: Vec<String>,
}

impl Course {
    /// From the file's model to `original`, which the pipeline left and which the first of `stages` is given.
    pub fn new(file: &Model, original: &Model, stages: &[&dyn Stage], pool: &Pool) -> Course {
        let sizes = stages.iter().find_map(|stage| held_out(&stage.basis(), original, pool)?.into_iter().next());
        let kept = (stages.len() > 1).then(|| original.clone());
        let mut course = Course { original: kept, known: None, sizes, stands: Vec::new(), notes: Vec::new() };
        for (stage, model) in [(FILE, file), ("optimize", original)] {
            let stand = course.stand(stage, model, Measured::default());
            course.stands.push(stand);
        }
        course
    }

    /// `model` is what `stage` left, which says of it what `done` holds.
    ///
    /// # Errors
    /// When it is further from the original than the stage's bounds allow.
    pub fn passed(&mut self, stage: &dyn Stage, done: &Done, model: &Model, pool: &Pool) -> Result<(), Error> {
        let is_first = self.stands.len() == 2;
        let measured = match is_first {
            // It was given the original.
            true => done.account.measured().clone(),
            false => self.measured(stage, done.rehearsal.as_ref().unwrap_or(model), pool)?,
        };
        let stand = self.stand(stage.place().name(), model, measured);
        self.stands.push(stand);
        Ok(())
    }

    /// How the model stood, and what there is to say of that.
    pub fn finish(self) -> (Vec<Stand>, Vec<String>) {
        (self.stands, self.notes)
    }

    /// How far `model` is from the original.
    fn measured(&mut self, stage: &dyn Stage, model: &Model, pool: &Pool) -> Result<Measured, Error> {
        let (basis, name) = (stage.basis(), stage.place().name());
        let Some(original) = &self.original else { return Ok(Measured::default()) };
        let Some(feeds) = held_out(&basis, original, pool).filter(|feeds| !feeds.is_empty()) else {
            return Ok(Measured::default());
        };
        let compared = outputs(original, &mut self.known, &feeds, &basis)
            .and_then(|known| compare_known(original, known, model, &feeds, &*basis.engine));
        match compared {
            Ok(outputs) => {
                basis.bounds.check(&outputs).map_err(|why| Error::Together { stage: name, why })?;
                Ok(Measured { held_out: feeds.len(), outputs })
            }
            Err(why) if basis.bounds == Bounds::default() => {
                self.notes.push(format!("behind {name} not compared with the original: {why}"));
                Ok(Measured::default())
            }
            Err(why) => Err(Error::NotCompared { stage: name, why }),
        }
    }

    fn stand(&self, stage: &'static str, model: &Model, measured: Measured) -> Stand {
        let is_file = stage == FILE;
        let census = census::quick(model);
        let run = self.sizes.as_ref().map(|sample| run_of(model, sample));
        let graph = run.as_ref().unwrap_or(&model.graph);
        let file_bytes = match is_file {
            true => Some(model.file_bytes).filter(|bytes| *bytes > 0),
            false => model.foretell().ok().map(|(bytes, _)| bytes),
        };
        Stand {
            stage,
            nodes: census.nodes,
            file_bytes,
            parameter_bytes: census.parameter_bytes,
            macs: census::macs(graph),
            activations: peak(graph),
            measured,
        }
    }
}

/// The samples that a stage's result is measured on; none where there are none, or where they cannot be read: the stage
/// itself says so.
fn held_out(basis: &Basis<'_>, model: &Model, pool: &Pool) -> Option<Vec<Sample>> {
    let calibration = Calibration { pool: Some(pool.clone()), ..basis.calibration.clone() };
    calibration.source.as_ref()?;
    Some(calibration.probe(model, &*basis.engine, &|_| 0).ok()?.held_out)
}

/// What `original` gives for `feeds`: as it is known, or by running it.
fn outputs<'k>(
    original: &Model,
    known: &'k mut Option<Known>,
    feeds: &[Sample],
    basis: &Basis<'_>,
) -> Result<&'k [Vec<Tensor>], Cannot> {
    let known = match known.take() {
        Some(before) if before.0 == feeds => known.insert(before),
        _ => {
            let mut session = basis.engine.load(original)?;
            let outputs = feeds.iter().map(|feed| session.run(feed)).collect::<Result<_, Cannot>>()?;
            known.insert((feeds.to_vec(), outputs))
        }
    };
    Ok(&known.1)
}
