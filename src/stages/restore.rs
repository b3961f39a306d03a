//! What a model had in halves and was given to stages in float32 goes back, as far as they left it, as a stage.
//!
//! Weights that lay in halves lie in float16 again. What was computed in halves is computed so again where the target is
//! not slow in them; where it is, float16 in the file is what is left of them, and the file is no larger for it.

use std::sync::Arc;

use crate::calibrate::Calibration;
use crate::error::Error;
use crate::exec::Executor;
use crate::ir::{DType, OpKind};
use crate::model::Model;
use crate::precision::{Half, HalveError, Halver, Summary};
use crate::quality::Bounds;
use crate::stages::{Account, Around, Basis, Done, Place, Stage};
use crate::target::Profile;

/// With so many dB of signal over its noise everything goes back: it was in halves before. With less it is looked for what
/// brings the noise in, as for a model that never was.
const WAS_IN_HALVES: f64 = 40.0;

/// See the module.
pub(crate) struct Restore {
    half: Half,
    target: &'static Profile,
    calibration: Calibration,
    engine: Arc<dyn Executor>,
    bounds: Bounds,
}

impl Restore {
    /// For stages that end with one that is measured like this; nothing for a model without halves.
    pub(crate) fn of(model: &Model, target: &'static Profile, basis: &Basis<'_>) -> Option<Restore> {
        let graph = &model.graph;
        let is = |half: DType| move |value| graph.value(value).ty.dtype() == Some(half);
        let computes = |half: DType| {
            let calls = graph.nodes().filter(|&node| graph.node(node).op != OpKind::Cast);
            !target.is_slow_in(half)
                && calls.flat_map(|node| graph.results(node).iter().flatten().copied()).any(is(half))
        };
        let half = if computes(DType::F16) {
            Half::F16
        } else if computes(DType::BF16) {
            Half::BF16
        } else if graph.values().any(|value| is(DType::F16)(value) || is(DType::BF16)(value)) {
            Half::Weights
        } else {
            return None;
        };
        let Basis { calibration, engine, bounds } = basis.clone();
        Some(Restore { half, target, calibration: calibration.clone(), engine, bounds })
    }
}

impl Stage for Restore {
    fn place(&self) -> Place {
        Place::Restore
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let halver = Halver {
            target: self.target,
            calibration: around.shared(&self.calibration),
            bounds: self.bounds,
            ..Halver::new(self.half, self.engine.clone())
        };
        let least = self.bounds.min_sqnr.unwrap_or(WAS_IN_HALVES).max(WAS_IN_HALVES);
        let at_once = Halver { bounds: Bounds { min_sqnr: Some(least), max_drop: None }, ..halver.clone() };
        let done = match around.rehearsal {
            None => match at_once.rehearsed(model, around.tell) {
                Err(HalveError::Bounds(_) | HalveError::NotCompared(_)) => halver.rehearsed(model, around.tell),
                done => done,
            },
            // What no engine runs is not compared here, but behind the stage.
            Some(before) => halver.unseen(model).and_then(|(done, _)| {
                let mut after = before.clone();
                let (_, rehearsal) = halver.unseen(&mut after)?;
                Ok((done, Some(rehearsal.unwrap_or(after))))
            }),
        };
        match done {
            Ok((done, rehearsal)) => Ok(Done { account: Account::Precision(done), rehearsal }),
            // Integers are all that is left of it.
            Err(HalveError::Nothing { .. }) => Ok(Account::Precision(Summary::nothing(self.half)).into()),
            Err(why) => Err(why.into()),
        }
    }
}
