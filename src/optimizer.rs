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

use std::collections::BTreeSet;

use crate::census;
use crate::error::{Error, similar};
use crate::interface::{self, Interface, Size};
use crate::ir::Graph;
use crate::model::Model;
use crate::passes::pipeline::{self, Observer, Silent};
use crate::passes::{Context, Fault, InferShapes, Pass, Pipeline};
use crate::report::{Census, Report, Step};
use crate::rewrite::{Fuel, Growth, Rule, apply};
use crate::target::Profile;

/// Says what is wanted of a model; [`Optimizer::run`] does it.
pub struct Optimizer {
    target: &'static Profile,
    pipeline: Pipeline,
    shapes: Vec<(String, Vec<Size>)>,
    without: BTreeSet<String>,
    only: BTreeSet<String>,
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
            shapes: Vec::new(),
            without: BTreeSet::new(),
            only: BTreeSet::new(),
        }
    }

    /// Give input `name` this shape: numbers fix sizes, names name them.
    #[must_use]
    pub fn input<S: Into<Size>>(mut self, name: &str, shape: impl IntoIterator<Item = S>) -> Optimizer {
        self.shapes.push((name.to_string(), shape.into_iter().map(Into::into).collect()));
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

    /// What [`Optimizer::run`] does, in order.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Optimize `model`.
    ///
    /// # Errors
    /// When an input cannot have the shape that was asked for, when a rule or pass is named that does not exist, or
    /// when a pass has a defect.
    pub fn run(&self, model: Model) -> Result<Outcome, Error> {
        self.run_observed(model, &mut Silent)
    }

    /// As [`Optimizer::run`]; `observer` is told of each step.
    ///
    /// # Errors
    /// As [`Optimizer::run`].
    pub fn run_observed(&self, mut model: Model, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        let enabled = self.enabled()?;
        let mut report = Report { target: self.target.name.into(), ..Report::default() };
        report.before = Census { file_bytes: model.file_bytes, ..census::count(&model.graph) };
        if !model.ops.is_empty() {
            report.before.nodes = model.ops.values().sum();
            report.before.ops = std::mem::take(&mut model.ops);
        }
        interface::fix_shapes(&mut model.graph, &self.shapes)?;
        model.set_opset(self.target.opset_for(model.opset()));
        let fuel = Fuel::unlimited();
        let growth = Growth::of(growth(&model));
        let cx = Context {
            opset: model.opset(),
            fuel: &fuel,
            enabled: &|name| enabled.contains(name),
            growth: &growth,
            engine: None,
        };
        report.opset = model.opset();
        let mut watch = Watch { inner: observer, macs_before: None };
        report.steps = self.pipeline.run(&mut model.graph, &cx, &mut watch)?;
        report.before.macs = watch.macs_before.flatten();
        report.after = census::take(&model);
        report.interface = Interface::of(&model.graph);
        report.exactness = report.steps.iter().map(|s| s.exactness).max().unwrap_or_default();
        report.notes = std::mem::take(&mut model.notes);
        Ok(Outcome { model, report })
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
