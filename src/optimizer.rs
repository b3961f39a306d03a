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

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::calibrate::Fingerprint;
use crate::census;
use crate::edit::Edits;
use crate::error::{Error, Guilty};
use crate::exec::{Executor, Plan, Verdict};
#[cfg(feature = "tract")]
use crate::exec::{fold_with_engine, tract::Tract};
use crate::interface::{Interface, Size};
use crate::ir::Graph;
use crate::model::Model;
use crate::ops::CallView;
use crate::passes::pipeline::{self, Observer, Silent};
use crate::passes::{Context, Engine, Fault, InferShapes, MergeDuplicates, Pass, Pipeline, RemoveDead, infer_declared};
use crate::precision::Halver;
use crate::proof::{self, Proof, Reason, Referee};
use crate::prune::{Criterion, Pruner};
use crate::quantize::{Dynamic, Quantizer};
use crate::report::{Report, Step};
use crate::rewrite::{CONTRIB, Exactness, Fuel, Growth, Limits, Rule, apply};
use crate::similar::similar;
use crate::sparsify::Sparsifier;
use crate::survey::{self, lacks_words, survey};
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
    pruner: Option<Pruner>,
    sparsifier: Option<Sparsifier>,
    quantizer: Option<Quantizer>,
    dynamic: Option<Dynamic>,
    halver: Option<Halver>,
}

/// What a run of the pipeline may do.
#[derive(Clone)]
struct Allowed<'n> {
    /// Rules and passes, by name.
    enabled: BTreeSet<&'n str>,
    /// Operators of com.microsoft that may be brought in.
    contrib: &'static [&'static str],
}

impl Allowed<'_> {
    /// What may run before channels go: what importance is told by must still be there, and nothing is known of the
    /// channels of a runtime's own operators.
    fn before_pruning(&self, pruner: &Pruner) -> Self {
        let mut first = Allowed { contrib: &[], ..self.clone() };
        if pruner.criterion == Some(Criterion::BatchNorm) {
            first.enabled.retain(|name| !name.starts_with("fold-batchnorm"));
        }
        first
    }
}

/// Whether the call is a product with an activation in one, which a runtime makes of integers itself.
fn is_fused_product(call: &CallView<'_>) -> bool {
    let node = call.node();
    node.domain() == CONTRIB && matches!(node.op_name(), "FusedConv" | "FusedGemm" | "FusedMatMul")
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
            pruner: None,
            sparsifier: None,
            quantizer: None,
            dynamic: None,
            halver: None,
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

    /// Have the result lose channels.
    #[must_use]
    pub fn pruned(mut self, pruner: Pruner) -> Optimizer {
        self.pruner = Some(pruner);
        self
    }

    /// Have weights of the result be zeros.
    #[must_use]
    pub fn sparse(mut self, sparsifier: Sparsifier) -> Optimizer {
        self.sparsifier = Some(sparsifier);
        self
    }

    /// Have the result compute in integers.
    #[must_use]
    pub fn quantized(mut self, quantizer: Quantizer) -> Optimizer {
        self.quantizer = Some(quantizer);
        self
    }

    /// Have the result compute in integers whose ranges it finds while it runs.
    #[must_use]
    pub fn quantized_dynamically(mut self, dynamic: Dynamic) -> Optimizer {
        self.dynamic = Some(dynamic);
        self
    }

    /// Have the result compute in half the bits, or keep its weights in them.
    #[must_use]
    pub fn halved(mut self, halver: Halver) -> Optimizer {
        self.halver = Some(halver);
        self
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
        let has_files = |quantizer: &&Quantizer| quantizer.calibration.has_files();
        let given = self.quantizer.as_ref().filter(has_files).map(|_| Fingerprint::of(&model));
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
        let original = self.check.as_ref().map(|check| (check, model.clone())).map_err(|why| *why);
        let from = model.opset();
        model.set_opset(opset);
        report.opset = model.opset();
        let domains = model.opset_imports.len();
        let fuel = Fuel::unlimited();
        let mut watch = Watch { inner: observer, macs_before: None };
        // Integers and channels are for operators of ONNX; a runtime fuses integers itself.
        let contrib = if self.gives_integers() || self.halver.is_some() { &[] } else { self.target.contrib };
        let may = Allowed { enabled, contrib };
        let first = self.pruner.as_ref().map_or_else(|| may.clone(), |pruner| may.before_pruning(pruner));
        report.steps = self.edit(&mut model, from, &first, &fuel, &mut watch)?;
        self.refuse_unsupported(&model, from, &mut report)?;
        report.before.macs = watch.macs_before.flatten();
        report.exactness = exactness(&report.steps);
        // What is known of sizes by the word of nodes that are gone, a reader of the file could not tell: it would write
        // another file.
        infer_declared(&mut model.graph);
        report.proof = match original {
            Err(why) => Proof::Without(why),
            Ok(_) if !report.changed() && report.opset == from => {
                Proof::Without(if self.edits.is_empty() { Reason::Unchanged } else { Reason::Edited })
            }
            Ok((check, original)) => {
                observer.started("check");
                Proof::Run(self.prove(check, &original, &model, &first, &fuel, report.exactness)?)
            }
        };
        if let Some(pruner) = &self.pruner {
            observer.started("prune");
            let telling = RefCell::new(&mut *observer);
            let tell = |done, total| telling.borrow_mut().sampled(done, total);
            report.pruning = Some(pruner.run(&mut model, &tell)?);
            // What is left is optimized once more: constants that were made private are equal again.
            let pruned = self.check.as_ref().map(|check| (check, model.clone())).map_err(|why| *why);
            let fuel = Fuel::unlimited();
            let mut watch = Watch { inner: observer, macs_before: None };
            let opset = model.opset();
            // Those first: what they take twice saves nothing that may be spent on anything.
            let tidy = Pipeline::default().then(MergeDuplicates).then(RemoveDead);
            self.edit_with(&tidy, &mut model, opset, &may, &fuel, &mut Silent)?;
            let steps = self.edit(&mut model, opset, &may, &fuel, &mut watch)?;
            infer_declared(&mut model.graph);
            if let (Ok((check, pruned)), true) = (pruned, steps.iter().any(Step::changed)) {
                observer.started("check");
                self.prove(check, &pruned, &model, &may, &fuel, exactness(&steps))?;
            }
            report.steps.extend(steps);
            self.refuse_unsupported(&model, from, &mut report)?;
        }
        if let Some(sparsifier) = &self.sparsifier {
            observer.started("sparsify");
            let telling = RefCell::new(&mut *observer);
            let tell = |done, total| telling.borrow_mut().sampled(done, total);
            report.sparsity = Some(sparsifier.run(&mut model, &tell)?);
        }
        if let Some(quantizer) = &self.quantizer {
            observer.started("quantize");
            let observer = RefCell::new(&mut *observer);
            let tell = |done, total| observer.borrow_mut().sampled(done, total);
            report.quantization = Some(quantizer.run(&mut model, given.as_ref(), &tell)?);
            self.refuse_unsupported(&model, from, &mut report)?;
        }
        if let Some(dynamic) = &self.dynamic {
            observer.started("quantize");
            report.quantization = Some(dynamic.run(&mut model)?);
            self.refuse_unsupported(&model, from, &mut report)?;
        }
        if let Some(halver) = &self.halver {
            observer.started("halve");
            let observer = RefCell::new(&mut *observer);
            let tell = |done, total| observer.borrow_mut().sampled(done, total);
            report.precision = Some(halver.run(&mut model, &tell)?);
            self.refuse_unsupported(&model, from, &mut report)?;
        }
        report.after = census::take(&model);
        report.interface = Interface::of(&model.graph);
        report.notes = std::mem::take(&mut model.notes);
        report.notes.extend(self.newer_opset(&report.steps));
        report.notes.extend(narrowed(&report.steps));
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
        // Scales per channel came with 13.
        let from = if self.gives_integers() { from.max(13) } else { from };
        let from = self.halver.as_ref().map_or(from, |halver| halver.opset_for(from));
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

    fn gives_integers(&self) -> bool {
        self.quantizer.is_some() || self.dynamic.is_some()
    }

    /// What a newer opset that the target runs would have fused.
    fn newer_opset(&self, steps: &[Step]) -> Option<String> {
        let newest = u32::try_from(self.target.newest_opset).unwrap_or(0);
        let wanting = steps.iter().flat_map(|s| &s.wanting_opset).filter(|(opset, _)| **opset <= newest);
        let (opset, times) = wanting.fold((0, 0), |(newest, sum), (opset, times)| (newest.max(*opset), sum + times));
        let often = if times == 1 { "once".to_string() } else { format!("{times} times") };
        (times > 0).then(|| format!("opset {opset} would let more be fused, {often}: --opset {opset}"))
    }

    /// Run the pipeline on a model that was read in opset `from`, as far as `fuel` lasts.
    fn edit(
        &self,
        model: &mut Model,
        from: i64,
        may: &Allowed<'_>,
        fuel: &Fuel,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Step>, Error> {
        self.edit_with(&self.pipeline, model, from, may, fuel, observer)
    }

    fn edit_with(
        &self,
        pipeline: &Pipeline,
        model: &mut Model,
        from: i64,
        may: &Allowed<'_>,
        fuel: &Fuel,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Step>, Error> {
        let growth = Growth::of(growth(model));
        let opset = model.opset();
        let lacks = |call: &CallView<'_>| {
            self.target.lacks(call, opset)
                || lacks_words(call, opset, from).is_some()
                || self.quantizer.is_some() && is_fused_product(call)
        };
        let cx = Context {
            opset,
            avoids: self.target.avoids,
            limits: Limits::new(&lacks),
            narrows: self.target.narrows,
            contrib: may.contrib,
            fuel,
            enabled: &|name| may.enabled.contains(name),
            growth: &growth,
            engine: embedded(),
        };
        let steps = pipeline.run(&mut model.graph, &cx, observer)?;
        model.import_domains();
        Ok(steps)
    }

    /// Compare `result` with `original`; name the edit at fault where they differ.
    fn prove(
        &self,
        check: &Check,
        original: &Model,
        result: &Model,
        may: &Allowed<'_>,
        fuel: &Fuel,
        exactness: Exactness,
    ) -> Result<Verdict, Error> {
        let referee = Referee::new(original.clone(), check.engine.clone(), check.plan.clone());
        let verdict = referee.compare(result.clone(), exactness);
        // An engine that runs the original and not the result says as much about itself as about the result.
        if matches!(verdict, Verdict::Different(_)) {
            let until = Instant::now() + check.plan.budget;
            let differs = |result: Model, exactness| {
                match referee.compare(result, exactness) {
                    Verdict::Different(_) => Some(true),
                    Verdict::Same(_) => Some(false),
                    // Where the engine cannot run what is between, nothing is known of it.
                    Verdict::Fails { .. } | Verdict::NotRun { .. } => None,
                }
            };
            let guilty = self.find_guilty(original, may, fuel.spent(), until, &differs);
            return Err(Error::Different { guilty, differences: proof::differences(&verdict) });
        }
        Ok(verdict)
    }

    /// The first of `total` edits with which the result differs, if it is found in time.
    fn find_guilty(
        &self,
        original: &Model,
        may: &Allowed<'_>,
        total: u64,
        until: Instant,
        differs: &dyn Fn(Model, Exactness) -> Option<bool>,
    ) -> Option<Guilty> {
        let with = |edits: u64| {
            let (mut model, fuel) = (original.clone(), Fuel::new(edits));
            model.set_opset(self.opset_for(model.opset()).ok()?);
            let steps = self.edit(&mut model, original.opset(), may, &fuel, &mut Silent).ok()?;
            Some((model, steps, fuel))
        };
        let first = proof::first_guilty(total, |edits| {
            if Instant::now() >= until {
                return None;
            }
            let (model, steps, _) = with(edits)?;
            differs(model, exactness(&steps))
        })?;
        let (_, steps, fuel) = with(first)?;
        let last = fuel.last();
        let (rule, at) = last.split_once(" at ")?;
        // What can be disabled is the rule or, for a pass that has no parts, the pass.
        let pass = steps.iter().rev().find(|s| s.applied.contains_key(rule)).map(|s| s.pass.clone());
        let disable =
            if may.enabled.contains(rule) { rule.to_string() } else { pass.unwrap_or_else(|| rule.to_string()) };
        Some(Guilty { rule: rule.into(), at: at.into(), disable })
    }

    /// Whether every rule and pass that was named exists.
    ///
    /// # Errors
    /// For the first that does not.
    pub fn check_names(&self) -> Result<(), Error> {
        self.enabled().map(drop)
    }

    /// Whether there is a pass called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn check_pass(&self, name: &str) -> Result<(), Error> {
        if self.pipeline.passes().any(|p| p.name() == name) {
            return Ok(());
        }
        let similar = similar(name, self.pipeline.passes().map(|p| p.name()));
        Err(Error::NoSuchPass { name: name.into(), similar })
    }

    /// The names of what may run.
    fn enabled(&self) -> Result<BTreeSet<&str>, Error> {
        let passes: Vec<(&str, Vec<&str>)> = self.pipeline.passes().map(|p| (p.name(), p.parts())).collect();
        let all: BTreeSet<&str> = passes.iter().flat_map(|(pass, parts)| parts.iter().chain([pass])).copied().collect();
        for name in self.without.iter().chain(&self.only) {
            if !all.contains(&**name) {
                return Err(Error::NoSuchRule { name: name.clone(), similar: similar(name, all.iter().copied()) });
            }
        }
        let mut enabled = all;
        if !self.only.is_empty() {
            enabled.clear();
            for (pass, parts) in passes {
                let named = |name: &str| self.only.contains(name);
                let chosen = parts.iter().copied().filter(|part| named(pass) || named(part));
                enabled.extend(chosen);
                // A pass runs when it is named or anything in it is; what others build on always does.
                if named(pass) || parts.iter().any(|part| named(part)) || pass == InferShapes.name() {
                    enabled.insert(pass);
                }
            }
        }
        enabled.retain(|name| !self.without.contains(*name));
        Ok(enabled)
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

/// What computes calls that the exact kernels lack: the embedded engine, where one is built in.
fn embedded() -> Option<&'static Engine> {
    #[cfg(feature = "tract")]
    return Some(&|call, operands, limit| fold_with_engine(&Tract, call, operands, limit).ok());
    #[cfg(not(feature = "tract"))]
    return None;
}

/// Bytes by which a file may grow: a small one a little, a large one not at all.
fn growth(model: &Model) -> usize {
    if model.file_bytes < 64 << 10 { 4 << 10 } else { 0 }
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exec::{Cannot, Session};
    use crate::ir::{DType, OpKind, ScopeId, Shape, Tensor, Type};
    use crate::model::OpsetImport;
    use crate::rewrite::var;
    use crate::target;

    /// A chain of these operators.
    fn chain(ops: &[OpKind]) -> Model {
        let mut model = Model::default();
        let g = &mut model.graph;
        let mut x = g.add_input(ScopeId::MAIN, "x", Type::tensor(DType::F32, Shape::known(&[2])));
        for (i, &op) in ops.iter().enumerate() {
            let node = g.add_node(ScopeId::MAIN, op, &[Some(x)], 1, u32::try_from(i).unwrap());
            g.node_mut(node).name = format!("{op}{i}").into();
            x = g.result(node, 0).unwrap();
        }
        g.add_output(ScopeId::MAIN, "y", x, Type::Unknown);
        model
    }

    /// "Runs" a model by counting its nodes of one operator.
    struct Counts(OpKind);

    struct Count(i64);

    impl Executor for Counts {
        fn name(&self) -> &'static str {
            "counts"
        }

        fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
            let count = model.graph.nodes().filter(|&n| model.graph.node(n).op == self.0).count();
            Ok(Box::new(Count(i64::try_from(count).unwrap())))
        }
    }

    impl Session for Count {
        fn run(&mut self, _: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
            Ok(vec![Tensor::scalar(self.0)])
        }
    }

    fn counting(rules: Vec<Rule>, budget: Duration) -> Optimizer {
        let plan = Plan { budget, ..Plan::default() };
        Optimizer::for_target(&target::ONNX).with_rules(rules).checked(Arc::new(Counts(OpKind::Erf)), plan)
    }

    /// A rule that is wrong: it drops every `Erf`.
    fn wrong() -> Vec<Rule> {
        let x = var("x");
        vec![Rule::new("drop-erf", Exactness::Bitwise, OpKind::Erf.of(x), move |m| Ok(m[x]))]
    }

    #[test]
    fn the_edit_at_fault_is_named() {
        let model = chain(&[OpKind::Identity, OpKind::Cosh, OpKind::Erf, OpKind::Identity, OpKind::Erf]);
        let optimizer = counting(wrong(), Duration::from_secs(60));
        let Err(Error::Different { guilty: Some(guilty), .. }) = optimizer.run(model) else {
            panic!("it is different")
        };
        assert_eq!((&*guilty.rule, &*guilty.at, &*guilty.disable), ("drop-erf", "Erf2", "drop-erf"));
    }

    #[test]
    fn without_time_the_difference_is_still_one() {
        let result = counting(wrong(), Duration::ZERO).run(chain(&[OpKind::Erf, OpKind::Erf, OpKind::Cosh]));
        assert!(matches!(result, Err(Error::Different { guilty: None, .. })));
    }

    #[test]
    fn a_result_that_is_right_is_proved() {
        let optimizer = counting(Vec::new(), Duration::from_secs(60));
        let done = optimizer.run(chain(&[OpKind::Identity, OpKind::Erf])).unwrap();
        assert!(matches!(done.report.proof, Proof::Run(Verdict::Same(_))));
        assert_eq!(done.model.graph.node_count(), 1);
        let done = optimizer.run(chain(&[OpKind::Erf])).unwrap();
        assert!(matches!(done.report.proof, Proof::Without(Reason::Unchanged)));
    }

    /// `x · tanh(softplus(x))`, which is `Mish` from opset 18 on.
    fn mish(opset: i64) -> Model {
        let mut model = chain(&[OpKind::Softplus, OpKind::Tanh]);
        model.opset_imports = vec![OpsetImport { domain: String::new(), version: opset }];
        gated(&mut model.graph);
        model
    }

    /// Multiply the output by the input.
    fn gated(g: &mut Graph) {
        let (x, gate) = (g.scope(ScopeId::MAIN).inputs()[0], g.scope(ScopeId::MAIN).outputs()[0].value());
        let product = g.add_node(ScopeId::MAIN, OpKind::Mul, &[Some(x), Some(gate)], 1, 9);
        let y = g.result(product, 0).unwrap();
        g.set_output(ScopeId::MAIN, 0, y);
    }

    #[test]
    fn a_newer_opset_lets_more_rules_fire() {
        let run = |optimizer: Optimizer| {
            let done = optimizer.unchecked().run(mish(17)).unwrap();
            (done.model.opset(), done.model.graph.node_count(), done.report.notes)
        };
        let new = || Optimizer::for_target(&target::ONNX);
        let note = "opset 18 would let more be fused, once: --opset 18".to_string();
        assert_eq!(run(new()), (17, 3, vec![note]));
        assert_eq!(run(new().opset(18)), (18, 1, vec![]));
        assert_eq!(run(new().opset(21)), (21, 1, vec![]));
        let at = |opset| new().opset(opset).unchecked().run(mish(17));
        assert!(matches!(at(0), Err(Error::OlderOpset { opset: 0, oldest: 1, .. })));
        let beyond = target::ONNX.newest_opset + 1;
        assert!(
            matches!(at(beyond), Err(Error::NewerOpset { opset, newest, .. }) if opset == beyond && newest < beyond)
        );
    }

    #[test]
    fn what_the_target_avoids_is_not_brought_in() {
        static WITHOUT_MISH: Profile = Profile { avoids: &[OpKind::Mish], ..target::ONNX };
        static OF_17: Profile = Profile { newest_opset: 17, ..target::ONNX };
        let done = Optimizer::for_target(&WITHOUT_MISH).unchecked().run(mish(18)).unwrap();
        assert_eq!(done.model.graph.node_count(), 3);
        let reasons: Vec<&String> =
            done.report.steps.iter().filter_map(|s| s.declined.get("fuse-mish")).flat_map(|d| d.keys()).collect();
        assert_eq!(reasons, ["the target does better without Mish"]);
        let done = Optimizer::for_target(&OF_17).unchecked().run(mish(17)).unwrap();
        assert!(done.report.notes.is_empty(), "a newer opset is of no use to it");
    }

    #[test]
    fn what_only_the_target_has_is_imported_and_said() {
        let silu = || {
            let mut model = chain(&[OpKind::Sigmoid]);
            model.opset_imports = vec![OpsetImport { domain: String::new(), version: 17 }];
            gated(&mut model.graph);
            model
        };
        let run = |target| {
            let done = Optimizer::for_target(target).unchecked().run(silu()).unwrap();
            let imports: Vec<String> = done.model.opset_imports.iter().map(|o| o.domain.clone()).collect();
            (done.model.graph.node_count(), imports, done.report.notes.len())
        };
        assert_eq!(run(&target::ONNXRUNTIME), (1, vec![String::new(), CONTRIB.to_string()], 1));
        assert_eq!(run(&target::TENSORRT).1, [String::new()]);
    }

    #[test]
    fn names_choose_what_runs() {
        let run = |optimizer: Optimizer| {
            let done = optimizer.unchecked().run(chain(&[OpKind::Identity, OpKind::Erf])).unwrap();
            done.model.graph.nodes().map(|n| done.model.graph.node(n).op).collect::<Vec<_>>()
        };
        let new = || Optimizer::for_target(&target::ONNX).with_rules(wrong());
        assert_eq!(run(new()), []);
        assert_eq!(run(new().without("drop-erf")), [OpKind::Erf]);
        assert_eq!(run(new().only("drop-erf")), [OpKind::Identity]);
        assert_eq!(run(new().only("simplify")), [OpKind::Erf]);
        assert_eq!(run(new().only("simplify").without("drop-identity")), [OpKind::Identity, OpKind::Erf]);
        assert!(
            matches!(new().only("drop-erv").check_names(), Err(Error::NoSuchRule { similar, .. }) if similar == ["drop-erf"])
        );
    }
}
