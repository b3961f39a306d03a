//! Choose a target, say what you want, run.
//!
//! ```no_run
//! use onnx_slim::model::Model;
//! use onnx_slim::optimizer::Optimizer;
//! use onnx_slim::target;
//!
//! let model = Model::read("resnet50.onnx")?;
//! let done = Optimizer::for_target(&target::TENSORRT).input("x", [1, 3, 224, 224]).run(model)?;
//! done.model.write("resnet50.slim.onnx")?;
//! # Ok::<(), onnx_slim::error::Error>(())
//! ```

mod allowed;
mod blame;
mod edit;
mod staging;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::assign::Assigner;
use crate::calibrate::Fingerprint;
use crate::census;
use crate::edit::Edits;
use crate::error::Error;
#[cfg(feature = "tract")]
use crate::exec::tract::Tract;
use crate::exec::{Executor, Plan};
use crate::interface::{Interface, Size};
use crate::ir::Graph;
use crate::lowbit::Packer;
use crate::model::Model;
use crate::passes::pipeline::{self, Observer, Silent};
use crate::passes::{Context, Fault, InferShapes, Pass, Pipeline, WidenTypes, Widens, infer_declared};
use crate::precision::Halver;
use crate::proof::{self, Proof, Reason};
use crate::prune::Pruner;
use crate::quantize::{Dynamic, Quantizer};
use crate::report::Report;
use crate::rewrite::{CONTRIB, Exactness, Fuel, Rule, Step, apply};
use crate::sparsify::Sparsifier;
use crate::stages::Stage;
use crate::survey::{self, survey};
use crate::target::Profile;

/// Says what is wanted of a model; [`Optimizer::run`] does it.
pub struct Optimizer {
    target: &'static Profile,
    pipeline: Pipeline,
    edits: Edits,
    opset: Option<i64>,
    without: BTreeSet<String>,
    only: BTreeSet<String>,
    check: Result<Check, Reason>,
    allows_unsupported: bool,
    only_onnx: bool,
    widens: Widens,
    /// What changes what the model computes, in order.
    stages: Vec<Box<dyn Stage>>,
}

/// How results are compared with their originals.
#[derive(Clone)]
struct Check {
    engine: Arc<dyn Executor>,
    plan: Plan,
}

/// An optimized model, and an account of how it came about.
#[derive(Debug)]
pub struct Outcome {
    /// The model.
    pub model: Model,
    /// What was done to it.
    pub report: Report,
}

impl Optimizer {
    /// An optimizer for models that `target` will run.
    pub fn for_target(target: &'static Profile) -> Optimizer {
        Optimizer {
            target,
            pipeline: pipeline::standard(),
            edits: Edits::default(),
            opset: None,
            without: BTreeSet::new(),
            only: BTreeSet::new(),
            check: default_check(),
            allows_unsupported: false,
            only_onnx: false,
            widens: Widens::Nothing,
            stages: Vec::new(),
        }
    }

    /// Give input `name` this shape: numbers fix sizes, names name them.
    #[must_use]
    pub fn input<S: Into<Size>>(mut self, name: &str, shape: impl IntoIterator<Item = S>) -> Optimizer {
        self.edits.shapes.push((name.to_string(), shape.into_iter().map(Into::into).collect()));
        self
    }

    /// Edit the model this way before it is optimized. Shapes of inputs that were asked for stay asked for.
    #[must_use]
    pub fn edited(mut self, edits: Edits) -> Optimizer {
        let mut shapes = std::mem::take(&mut self.edits.shapes);
        self.edits = edits;
        shapes.append(&mut self.edits.shapes);
        self.edits.shapes = shapes;
        self
    }

    /// Do nothing but what [`Optimizer::edited`] asks for.
    #[must_use]
    pub fn only_edits(mut self) -> Optimizer {
        self.pipeline = Pipeline::default();
        self
    }

    /// Write the model in this opset of the default domain. A newer one has more operators to fuse into; operators that
    /// an older one lacks are said in others.
    #[must_use]
    pub fn opset(mut self, opset: i64) -> Optimizer {
        self.opset = Some(opset);
        self
    }

    /// Give the model back also where the target cannot run all of it; the report says what.
    #[must_use]
    pub fn allow_unsupported(mut self) -> Optimizer {
        self.allows_unsupported = true;
        self
    }

    /// Bring in no operators but those of ONNX: what comes next knows little of others.
    #[must_use]
    pub fn only_onnx(mut self) -> Optimizer {
        self.only_onnx = true;
        self
    }

    /// Compute in single precision what the model does in half precision; inputs and outputs stay as they are.
    #[must_use]
    pub fn widened(mut self) -> Optimizer {
        self.widens = Widens::All;
        self
    }

    /// Have the model go through `stage`, too, in the order of [`Place`](crate::stages::Place). Of two for one place, the
    /// last counts.
    #[must_use]
    pub fn staged(mut self, stage: impl Stage + 'static) -> Optimizer {
        self.stages.retain(|other| other.place() != stage.place());
        self.stages.push(Box::new(stage));
        self.stages.sort_by_key(|stage| stage.place());
        self
    }

    /// Have the result lose channels.
    #[must_use]
    pub fn pruned(self, pruner: Pruner) -> Optimizer {
        self.staged(pruner)
    }

    /// Have weights of the result be zeros.
    #[must_use]
    pub fn sparse(self, sparsifier: Sparsifier) -> Optimizer {
        self.staged(sparsifier)
    }

    /// Have the result compute in integers.
    #[must_use]
    pub fn quantized(self, quantizer: Quantizer) -> Optimizer {
        self.staged(quantizer)
    }

    /// Have the result compute in integers whose ranges it finds while it runs.
    #[must_use]
    pub fn quantized_dynamically(self, dynamic: Dynamic) -> Optimizer {
        self.staged(dynamic)
    }

    /// Have the result compute in half the bits, or keep its weights in them.
    #[must_use]
    pub fn halved(self, halver: Halver) -> Optimizer {
        self.staged(halver)
    }

    /// Have each layer of the result compute in a precision of its own.
    #[must_use]
    pub fn assigned(self, assigner: Assigner) -> Optimizer {
        self.staged(assigner)
    }

    /// Have the weights of the result be integers of few bits.
    #[must_use]
    pub fn packed(self, packer: Packer) -> Optimizer {
        self.staged(packer)
    }

    /// Leave out the rule or pass called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Optimizer {
        self.without.insert(name.to_string());
        self
    }

    /// Apply nothing but the rules and passes that are named this way.
    #[must_use]
    pub fn only(mut self, name: &str) -> Optimizer {
        self.only.insert(name.to_string());
        self
    }

    /// Apply these rules too, after the tool's own.
    #[must_use]
    pub fn with_rules(mut self, rules: Vec<Rule>) -> Optimizer {
        self.pipeline = self.pipeline.then(OwnRules(rules));
        self
    }

    /// Have original and result run in `engine` as `plan` says, and compared.
    ///
    /// Without a word about it, the embedded engine does that for [`proof::BUDGET`].
    #[must_use]
    pub fn checked(mut self, engine: Arc<dyn Executor>, plan: Plan) -> Optimizer {
        self.check = Ok(Check { engine, plan });
        self
    }

    /// Do not run original and result to compare them.
    #[must_use]
    pub fn unchecked(mut self) -> Optimizer {
        self.check = Err(Reason::NotAsked);
        self
    }

    /// What [`Optimizer::run`] does, in order.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Optimize `model`.
    ///
    /// # Errors
    /// When an edit that was asked for cannot be made or does not keep its promise, when the target runs no model of the
    /// opset that was asked for, when it cannot run something of the result, when a rule or pass is named that does not
    /// exist, or when a pass has a defect.
    pub fn run(&self, model: Model) -> Result<Outcome, Error> {
        self.run_observed(model, &mut Silent)
    }

    /// As [`Optimizer::run`]; `observer` is told of each step.
    ///
    /// # Errors
    /// As [`Optimizer::run`].
    pub fn run_observed(&self, mut model: Model, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let enabled = self.enabled()?;
        let opset = self.opset_for(model.opset())?;
        let mut report = Report { target: self.target.name.into(), ..Report::default() };
        report.before = census::quick(&model);
        let has_files = self.stages.iter().any(|stage| stage.basis().calibration.has_files());
        let given = has_files.then(|| Fingerprint::of(&model));
        // From here on the graph is not what the file spells.
        model.ops.clear();
        let edits = self.edits.apply(&mut model)?;
        for edited in edits {
            if edited.claim.is_some() {
                observer.started("check");
            }
            let check = self.check.as_ref().map(|check| (&check.engine, &check.plan)).map_err(|why| *why);
            report.edits.push(edited.confirmed(check)?);
        }
        infer_declared(&mut model.graph);
        let back = self.restored(&model);
        let is_needed = self.check.is_ok() || !self.stages.is_empty();
        let original = is_needed.then(|| model.clone());
        let from = model.opset();
        model.set_opset(opset);
        report.opset = model.opset();
        let domains = model.opset_imports.len();
        let fuel = Fuel::unlimited();
        let mut watch = Watch { inner: observer, macs_before: None };
        let may = self.before_stage(0, &enabled);
        report.steps = self.edit(&mut model, from, &may, &fuel, &mut watch)?;
        self.refuse_unsupported(&model, from, &mut report)?;
        report.before.macs = watch.macs_before.flatten();
        report.exactness = exactness(&report.steps);
        // What is known of sizes by the word of nodes that are gone, a reader of the file could not tell: it would write
        // another file.
        infer_declared(&mut model.graph);
        report.proof = match (&self.check, &original) {
            (Err(why), _) => Proof::Without(*why),
            (Ok(_), _) if !report.changed() && report.opset == from => {
                Proof::Without(if self.edits.is_empty() { Reason::Unchanged } else { Reason::Edited })
            }
            (Ok(_), None) => Proof::Without(Reason::NotAsked),
            (Ok(check), Some(original)) => {
                observer.started("check");
                Proof::Run(self.prove(check, original, &model, &may, &fuel, report.exactness)?)
            }
        };
        if let Some(original) = original.filter(|_| !self.stages.is_empty()) {
            let is_widened = report.steps.iter().any(|step| step.applied.contains_key(WidenTypes.name()));
            let back = back.as_ref().filter(|_| is_widened).map(|back| back as &dyn Stage);
            let stages: Vec<&dyn Stage> = self.stages.iter().map(|stage| &**stage).chain(back).collect();
            let file = (original, given.as_ref());
            self.run_stages(&stages, file, &mut model, &enabled, &mut report, observer)?;
        }
        report.after = census::take(&model);
        report.interface = Interface::of(&model.graph);
        let mut notes = std::mem::take(&mut model.notes);
        notes.append(&mut report.notes);
        report.notes = notes;
        report.notes.extend(self.newer_opset(&report.steps));
        report.notes.extend(narrowed(&report.steps));
        report.notes.extend(staging::widened(&report.steps));
        if model.opset_imports.len() > domains {
            report
                .notes
                .push(format!("only {} has operators of {CONTRIB}: --target onnx does without", self.target.name));
        }
        Ok(Outcome { model, report })
    }

    /// Look for what the target cannot run of `model`, which was read in opset `from`.
    fn refuse_unsupported(&self, model: &Model, from: i64, report: &mut Report) -> Result<(), Error> {
        report.findings = survey(model, self.target, model.opset(), from);
        if !self.allows_unsupported && survey::counts(&report.findings).0 > 0 {
            let held_back = held_back(&report.steps);
            let findings = std::mem::take(&mut report.findings);
            return Err(Error::Unsupported { target: self.target.name, findings, held_back });
        }
        Ok(())
    }

    /// The opset in which a model of opset `from` is written.
    fn opset_for(&self, from: i64) -> Result<i64, Error> {
        let from = self.stages.iter().fold(from, |from, stage| stage.opset_for(from));
        let newest = self.target.newest_opset;
        match self.opset {
            None => Ok(self.target.opset_for(from)),
            Some(opset) if opset < self.target.oldest_opset => {
                Err(Error::OlderOpset { opset, oldest: self.target.oldest_opset, target: self.target.name })
            }
            Some(opset) if opset > newest => Err(Error::NewerOpset { opset, newest, target: self.target.name }),
            Some(opset) => Ok(opset),
        }
    }

    /// What a newer opset that the target runs would have fused.
    fn newer_opset(&self, steps: &[Step]) -> Option<String> {
        let newest = u32::try_from(self.target.newest_opset).unwrap_or(0);
        let wanting = steps.iter().flat_map(|s| &s.wanting_opset).filter(|(opset, _)| **opset <= newest);
        let (opset, times) = wanting.fold((0, 0), |(newest, sum), (opset, times)| (newest.max(*opset), sum + times));
        let often = if times == 1 { "once".to_string() } else { format!("{times} times") };
        (times > 0).then(|| format!("opset {opset} would let more be fused, {often}: --opset {opset}"))
    }
}

/// Why what would have been said in other words for the target was not.
fn held_back(steps: &[Step]) -> Vec<String> {
    let lowering = steps.iter().filter(|s| ["lower", "narrow-types"].contains(&&*s.pass));
    let reasons = lowering
        .flat_map(|s| s.declined.iter())
        .flat_map(|(rule, reasons)| reasons.keys().map(move |why| format!("{rule} holds back: {why}")));
    reasons.collect()
}

/// What was made narrower for the target.
fn narrowed(steps: &[Step]) -> Option<String> {
    let times: usize = steps.iter().filter_map(|s| s.applied.get("narrow-types")).sum();
    (times > 0).then(|| format!("{times} values of double precision are computed in single precision"))
}

/// The embedded engine, where one is built in.
fn default_check() -> Result<Check, Reason> {
    #[cfg(feature = "tract")]
    return Ok(Check { engine: Arc::new(Tract), plan: Plan { budget: proof::BUDGET, ..Plan::default() } });
    #[cfg(not(feature = "tract"))]
    Err(Reason::NoEngine)
}

/// The loosest exactness among what fired.
fn exactness(steps: &[Step]) -> Exactness {
    steps.iter().map(|s| s.exactness).max().unwrap_or_default()
}

/// Rules that the caller brings.
struct OwnRules(Vec<Rule>);

impl Pass for OwnRules {
    fn name(&self) -> &'static str {
        "own-rules"
    }

    fn doc(&self) -> &'static str {
        "//! Rules that the caller brings."
    }

    fn parts(&self) -> Vec<&'static str> {
        self.0.iter().map(Rule::name).collect()
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let enabled: Vec<&Rule> = self.0.iter().filter(|r| (cx.enabled)(r.name())).collect();
        Ok(apply(graph, &enabled, cx.settings())?)
    }
}

/// Counts multiply-accumulates as soon as shapes are known, before anything is changed that costs any.
struct Watch<'a> {
    inner: &'a mut dyn Observer,
    macs_before: Option<Option<u64>>,
}

impl Observer for Watch<'_> {
    fn started(&mut self, pass: &'static str) {
        self.inner.started(pass);
    }

    fn finished(&mut self, pass: &'static str, graph: &Graph) {
        if pass == InferShapes.name() {
            self.macs_before.get_or_insert_with(|| census::macs(graph));
        }
        self.inner.finished(pass, graph);
    }
}

#[cfg(test)]
mod tests;
