//! The stages behind the pipeline, one after another.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::calibrate::{Fingerprint, Pool};
use crate::error::Error;
use crate::model::Model;
use crate::optimizer::allowed::Allowed;
use crate::optimizer::{Optimizer, exactness};
use crate::passes::pipeline::Observer;
use crate::passes::{Pass, WidenTypes, Widens, infer_declared};
use crate::report::Report;
use crate::rewrite::{Fuel, Step};
use crate::stages::{Around, Course, Place, Restore, Stage};

impl Optimizer {
    /// Take `model`, which the pipeline made of the file's, through `stages`. The file's may be `given` by its fingerprint.
    pub(super) fn run_stages(
        &self,
        stages: &[&dyn Stage],
        (file, given): (Model, Option<&Fingerprint>),
        model: &mut Model,
        enabled: &BTreeSet<&str>,
        report: &mut Report,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let pool = Pool::default();
        let from = file.opset();
        let mut course = Course::new(&file, model, stages, &pool);
        drop(file);
        let mut rehearsal: Option<Model> = None;
        for (i, &stage) in stages.iter().enumerate() {
            observer.started(stage.place().name());
            let telling = RefCell::new(&mut *observer);
            let tell = |done, total| telling.borrow_mut().sampled(done, total);
            let around = Around { given, rehearsal: rehearsal.as_ref(), pool: &pool, tell: &tell };
            let done = stage.run(model, &around)?;
            if stage.leaves_work() {
                let may = self.before_stage(i + 1, enabled);
                report.steps.extend(self.optimize_again(model, &may, observer)?);
            }
            self.refuse_unsupported(model, from, report)?;
            course.passed(stage, &done, model, &pool)?;
            report.accounts.add(done.account);
            rehearsal = done.rehearsal;
        }
        (report.stages, report.notes) = course.finish();
        Ok(())
    }

    /// Run the pipeline on what a stage left, and prove that it changes nothing of what that computes.
    fn optimize_again(
        &self,
        model: &mut Model,
        may: &Allowed<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Step>, Error> {
        let left = self.check.as_ref().ok().map(|check| (check, model.clone()));
        let fuel = Fuel::unlimited();
        let opset = model.opset();
        let steps = self.edit(model, opset, may, &fuel, observer)?;
        infer_declared(&mut model.graph);
        if let Some((check, left)) = left.filter(|_| steps.iter().any(Step::changed)) {
            observer.started("check");
            self.prove(check, &left, model, may, &fuel, exactness(&steps))?;
        }
        Ok(steps)
    }

    /// What says again in halves what the stages leave of a model that has some, where they are given it in float32; no
    /// stage says anything of halves by itself then.
    pub(super) fn restored(&self, model: &Model) -> Option<Restore> {
        let widens = self.stages.iter().any(|stage| stage.needs().widens != Widens::Nothing);
        let halves = self.stages.iter().any(|stage| stage.place() == Place::Halve);
        let last = self.stages.last().filter(|_| widens && !halves)?;
        Restore::of(model, self.target, &last.basis())
    }
}

/// What was said in single precision for a stage, or why it was not.
pub(super) fn widened(steps: &[Step]) -> Option<String> {
    let name = WidenTypes.name();
    let times: usize = steps.iter().filter_map(|s| s.applied.get(name)).sum();
    let held_back = || steps.iter().filter_map(|s| s.declined.get(name)?.keys().next()).next();
    match times {
        0 => held_back().map(|why| format!("what is in half precision was left as it is: {why}")),
        _ => Some(format!("{times} values were in half precision, and were taken in single precision first")),
    }
}
