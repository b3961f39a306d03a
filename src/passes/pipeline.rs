//! A pipeline is an ordered list of passes, and what is done around each of them.

use std::time::Instant;

use crate::ir::{Graph, verify};
use crate::passes::{
    Context, Fault, FlattenRows, FoldConstants, FoldShapes, InferShapes, InlineControl, Lower, MergeDuplicates,
    NarrowTypes, Pass, PlaceTransposes, RemoveDead, Simplify, Specialize, SpellOut, WidenTypes,
};
use crate::rewrite::Step;
use crate::rules::{self, Entry};

/// Passes in order.
#[derive(Default)]
pub struct Pipeline {
    stages: Vec<Stage>,
}

enum Stage {
    Once(Box<dyn Pass>),
    UntilStable(Vec<Box<dyn Pass>>),
    /// As `UntilStable`, once the first has changed something.
    Following(Vec<Box<dyn Pass>>),
}

/// A pass that could not finish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pass}: {fault}")]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// What went wrong.
    pub fault: Fault,
}

/// Is told what happens during a run.
pub trait Observer {
    /// A pass starts.
    fn started(&mut self, _pass: &'static str) {}
    /// A pass is done; `graph` is what it left.
    fn finished(&mut self, _pass: &'static str, _graph: &Graph) {}
    /// The model was run on so many of `total` samples.
    fn sampled(&mut self, _done: u64, _total: u64) {}
}

/// Hears nothing.
pub struct Silent;

impl Observer for Silent {}

/// Rounds of a group of passes that no model comes near.
const MAX_ROUNDS: usize = 32;

/// The order in which a model is made small.
///
/// Shapes come first, as most rules ask for them. Folding comes before the rules, which see more constants then; what
/// the rules leave is looked at again, until nothing changes. What cannot be run as it is then is said in other words.
pub fn standard() -> Pipeline {
    with_rules(rules::simplify())
}

/// [`standard`] with `rules` for the tool's own, in this order.
pub fn with_rules(rules: Vec<Entry>) -> Pipeline {
    Pipeline::default()
        .then(RemoveDead)
        .until_stable(vec![
            Box::new(InferShapes),
            Box::new(InlineControl),
            Box::new(FoldConstants),
            Box::new(FoldShapes),
            Box::new(MergeDuplicates),
            Box::new(Simplify::with(rules)),
            Box::new(PlaceTransposes),
            Box::new(RemoveDead),
        ])
        .followed_up(WidenTypes)
        .followed_up(NarrowTypes)
        .followed_up(Lower::default())
        .followed_up(FlattenRows)
        .then(Specialize::default())
        .then(SpellOut)
}

impl Pipeline {
    /// Run `pass` next.
    #[must_use]
    pub fn then(mut self, pass: impl Pass + 'static) -> Pipeline {
        self.stages.push(Stage::Once(Box::new(pass)));
        self
    }

    /// Run these passes next, again and again until none of them changes anything.
    #[must_use]
    pub fn until_stable(mut self, passes: Vec<Box<dyn Pass>>) -> Pipeline {
        self.stages.push(Stage::UntilStable(passes));
        self
    }

    /// Run `pass` next; where it changes anything, have what it left made small, and so on until nothing changes.
    #[must_use]
    pub fn followed_up(mut self, pass: impl Pass + 'static) -> Pipeline {
        self.stages.push(Stage::Following(vec![
            Box::new(pass),
            Box::new(InferShapes),
            Box::new(FoldConstants),
            Box::new(FoldShapes),
            Box::new(MergeDuplicates),
            Box::new(Simplify::default()),
            Box::new(PlaceTransposes),
            Box::new(RemoveDead),
        ]));
        self
    }

    /// Every pass, in order.
    pub fn passes(&self) -> impl Iterator<Item = &dyn Pass> {
        self.stages
            .iter()
            .flat_map(|stage| match stage {
                Stage::Once(pass) => std::slice::from_ref(pass),
                Stage::UntilStable(passes) | Stage::Following(passes) => passes.as_slice(),
            })
            .map(|pass| &**pass)
    }

    /// Run every pass that `cx` enables. The graph is verified after each pass in debug builds, and once at the end
    /// always.
    ///
    /// # Errors
    /// For defects of a pass, naming it.
    pub fn run(
        &self,
        graph: &mut Graph,
        cx: &Context<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Step>, PassError> {
        let mut steps = Vec::new();
        for stage in &self.stages {
            match stage {
                Stage::Once(pass) => steps.extend(run_one(&**pass, graph, cx, observer)?),
                Stage::UntilStable(passes) => steps.extend(run_group(passes, false, graph, cx, observer)?),
                Stage::Following(passes) => steps.extend(run_group(passes, true, graph, cx, observer)?),
            }
        }
        check(graph, "the pipeline")?;
        Ok(steps)
    }
}

/// Run `passes` again and again until none of them changes anything; where the first `leads`, not at all unless it has
/// something to do.
fn run_group(
    passes: &[Box<dyn Pass>],
    leads: bool,
    graph: &mut Graph,
    cx: &Context<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<Step>, PassError> {
    let mut total: Vec<Option<Step>> = vec![None; passes.len()];
    for round in 0.. {
        let mut changed = false;
        for (place, pass) in passes.iter().enumerate().filter(|(_, pass)| round < pass.rounds()) {
            if let Some(step) = run_one(&**pass, graph, cx, observer)? {
                changed |= step.changed();
                match &mut total[place] {
                    // A leader that found nothing to do need not be told of.
                    None if leads && !changed && step.declined.is_empty() => {}
                    None => total[place] = Some(step),
                    Some(total) => merge(total, step),
                }
            }
            if leads && round == 0 && !changed {
                return Ok(total.into_iter().flatten().collect());
            }
        }
        if !changed || cx.fuel.is_empty() {
            break;
        }
        if round == MAX_ROUNDS {
            let fault = Fault::Unsettled(crate::rewrite::Unsettled { last: "the whole group".into() });
            return Err(PassError { pass: passes[0].name(), fault });
        }
    }
    Ok(total.into_iter().flatten().collect())
}

fn run_one(
    pass: &dyn Pass,
    graph: &mut Graph,
    cx: &Context<'_>,
    observer: &mut dyn Observer,
) -> Result<Option<Step>, PassError> {
    if !(cx.enabled)(pass.name()) {
        return Ok(None);
    }
    let _span = tracing::debug_span!("pass", name = pass.name(), nodes = graph.node_count()).entered();
    observer.started(pass.name());
    cx.growth.measure(graph);
    let (nodes_before, start) = (graph.node_count(), Instant::now());
    let step = pass.run(graph, cx).map_err(|fault| PassError { pass: pass.name(), fault })?;
    if cfg!(debug_assertions) {
        check(graph, pass.name())?;
    }
    observer.finished(pass.name(), graph);
    Ok(Some(Step {
        pass: pass.name().into(),
        nodes_before,
        nodes_after: graph.node_count(),
        seconds: start.elapsed().as_secs_f64(),
        ..step
    }))
}

fn check(graph: &Graph, pass: &'static str) -> Result<(), PassError> {
    let defects = verify(graph);
    if defects.is_empty() { Ok(()) } else { Err(PassError { pass, fault: Fault::Malformed(defects) }) }
}

/// One line for all rounds: counts add up, reasons are those of the last round. From nodes before to nodes after is
/// what this pass did in all rounds, without what others did in between.
fn merge(total: &mut Step, step: Step) {
    for (what, times) in step.applied {
        *total.applied.entry(what).or_default() += times;
    }
    total.declined = step.declined;
    total.wanting_opset = step.wanting_opset;
    total.nodes_after = (total.nodes_after + step.nodes_after).saturating_sub(step.nodes_before);
    total.seconds += step.seconds;
    total.exactness = total.exactness.max(step.exactness);
}
