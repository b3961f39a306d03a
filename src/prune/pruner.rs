//! What a caller says of how a model is pruned.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::{Calibration, CalibrationError};
use crate::distill::Distillation;
use crate::exec::{Executor, Plan};
use crate::ir::{Graph, NodeId, ValueId};
use crate::model::Model;
use crate::prune::budget::{Budget, Rules};
use crate::prune::colour::{Axis, Factor, Grouped};
use crate::prune::groups::Groups;
use crate::prune::importance::Criterion;
use crate::prune::roles::Roles;
use crate::quality::Bounds;
use crate::selecting::{NoMatch, matching};

/// Says how a model loses structure; [`Pruner::run`] does it.
#[derive(Clone)]
pub struct Pruner {
    /// How much goes.
    pub budget: Budget,
    /// What tells what goes first; `None` takes the best that there is without samples or with them.
    pub criterion: Option<Criterion>,
    /// What holds for every group.
    pub rules: Rules,
    /// How convolutions in groups lose channels.
    pub grouped: Grouped,
    /// What attention loses: heads or parts of each.
    pub factor: Factor,
    /// The share of the channels that layers with these names lose, by pattern; the last that matches counts.
    pub ratios: Vec<(String, f64)>,
    /// Nodes whose results keep all of their channels, by pattern.
    pub protect: Vec<String>,
    /// Whether what is left is repaired, where there are samples.
    pub recovers: bool,
    /// How it is brought nearer to the original by its outputs, where it is repaired.
    pub distillation: Distillation,
    /// In how many stages the budget is spent.
    pub stages: usize,
    /// Samples.
    pub calibration: Calibration,
    /// What runs models.
    pub engine: Arc<dyn Executor>,
    /// How the structure is compared with the masked original; `None` does not.
    pub check: Option<Plan>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

impl Pruner {
    /// A pruner without samples that leaves nothing out.
    pub fn new(budget: Budget, engine: Arc<dyn Executor>) -> Pruner {
        Pruner {
            budget,
            criterion: None,
            rules: Rules::default(),
            grouped: Grouped::default(),
            factor: Factor::default(),
            ratios: Vec::new(),
            protect: Vec::new(),
            recovers: true,
            distillation: Distillation::default(),
            stages: 1,
            calibration: Calibration::default(),
            engine,
            check: Some(Plan::default()),
            bounds: Bounds::default(),
        }
    }

    /// Results of the nodes that are protected.
    pub(super) fn protected(&self, graph: &Graph) -> Result<FxHashSet<ValueId>, NoMatch> {
        let mut protected = FxHashSet::default();
        for pattern in &self.protect {
            for node in matching(graph, pattern)? {
                protected.extend(graph.results(node).iter().flatten().copied());
            }
        }
        Ok(protected)
    }

    /// The ratio of each group that one of the patterns names a layer of.
    pub(super) fn ratios(&self, graph: &Graph, groups: &Groups) -> Result<FxHashMap<usize, f64>, NoMatch> {
        let mut ratios = FxHashMap::default();
        for (pattern, ratio) in &self.ratios {
            let nodes: FxHashSet<NodeId> = matching(graph, pattern)?.into_iter().collect();
            for (i, group) in groups.groups.iter().enumerate() {
                let is_made = nodes.iter().any(|&node| {
                    graph.results(node).iter().flatten().any(|&value| {
                        groups.colouring.axes(value).iter().any(|axis| match axis {
                            Axis::Of(classes) => classes.contains(&group.classes[0]),
                            Axis::Fixed => false,
                        })
                    })
                });
                if is_made {
                    ratios.insert(i, *ratio);
                }
            }
        }
        Ok(ratios)
    }

    /// Samples, where there are any, and what they do. A ratio leaves nothing to decide.
    pub(super) fn roles(&self, model: &Model) -> Result<Roles, CalibrationError> {
        let probe = self.calibration.probe(model, &*self.engine, &|_| MOST_SAMPLES)?;
        let is_decided = match self.budget {
            Budget::Ratio(_) => false,
            Budget::Keep(..) => self.criterion.is_none_or(|criterion| criterion == Criterion::Obs),
            Budget::Auto => true,
        };
        Ok(Roles::of(probe, is_decided))
    }
}

/// Samples that importance and recovery are told by at the most.
const MOST_SAMPLES: usize = 1024;

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::calibrate::Source;
    use crate::exec::Verdict;
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::passes::infer_declared;
    use crate::prune::{PruneError, Summary};
    use crate::quality::OutOfBounds;
    use crate::random::Random;
    use crate::text::parse;

    /// Two layers between which there are 16 channels, that are mixtures of four.
    fn model() -> Model {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,8] x) => (float[n,4] y) <float[8,16] a, float[16] b, float[16,4] c>
            { [wide] p = Gemm(x, a, b)  q = Relu(p)  [last] y = MatMul(q, c) }"#,
        )
        .unwrap();
        let mut random = Random::new(7, "pruner");
        let mut normal = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<f32>>();
        let (kinds, last) = (normal(8 * 4), normal(16 * 4));
        let wide: Vec<f32> = (0..8 * 16).map(|i| kinds[i / 16 * 4 + i % 4] * (1.0 + (i % 16 / 4) as f32)).collect();
        for (dims, elements) in [(vec![8, 16], wide), (vec![16, 4], last), (vec![16], vec![0.1; 16])] {
            let g = &mut model.graph;
            let value = g.values().find(|&v| g.constant(v).is_some_and(|t| t.dims() == dims)).unwrap();
            g.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
        }
        infer_declared(&mut model.graph);
        model
    }

    fn pruner(budget: Budget) -> Pruner {
        let calibration = Calibration { source: Some(Source::Random(0)), samples: Some(64), ..Calibration::default() };
        Pruner { calibration, ..Pruner::new(budget, Arc::new(Tract)) }
    }

    fn run(pruner: &Pruner) -> Result<(Model, Summary), PruneError> {
        let mut model = model();
        let summary = pruner.run(&mut model, &|_, _| ())?;
        Ok((model, summary))
    }

    #[test]
    fn channels_that_others_can_stand_for_cost_little() {
        for stages in [1, 3] {
            let (model, summary) = run(&Pruner { stages, ..pruner(Budget::Ratio(0.75)) }).unwrap();
            assert_eq!((summary.groups[0].before, summary.groups[0].after), (16, 4));
            assert!(summary.measured.outputs[0].sqnr > 40.0, "{stages}: {:?}", summary.measured);
            assert!(matches!(summary.structure, Some(Verdict::Same(_))));
            assert!(model.graph.values().any(|v| model.graph.constant(v).is_some_and(|t| t.dims() == [8, 4])));
        }
        let bare = run(&Pruner { recovers: false, ..pruner(Budget::Ratio(0.75)) }).unwrap().1;
        assert!(bare.measured.outputs[0].sqnr < 20.0, "{:?}", bare.measured);
    }

    #[test]
    fn a_bound_says_how_much_goes() {
        let bounds = Bounds { min_sqnr: Some(40.0), max_drop: None };
        let rules = Rules { max_ratio: 0.95, ..Rules::default() };
        let found = run(&Pruner { bounds, rules, ..pruner(Budget::Auto) }).unwrap().1;
        // Four kinds of channels are needed, and no more.
        assert_eq!(found.groups[0].after, 4, "{:?}", found.measured);
        let strict = Bounds { min_sqnr: Some(500.0), max_drop: None };
        let refused = run(&Pruner { bounds: strict, ..pruner(Budget::Auto) });
        assert!(matches!(refused, Err(PruneError::Bounds(OutOfBounds::Noisy { .. }))));
    }

    #[test]
    fn a_bound_needs_samples_to_be_kept_on() {
        let bounds = Bounds { min_sqnr: Some(1.0), max_drop: None };
        for budget in [Budget::Auto, Budget::Ratio(0.5)] {
            let refused = run(&Pruner { bounds, calibration: Calibration::default(), ..pruner(budget) });
            assert!(matches!(refused, Err(PruneError::Bounds(OutOfBounds::NothingToCompare))));
        }
    }

    #[test]
    fn weights_tell_where_samples_say_nothing() {
        let grouped = || {
            let mut model = parse(
                r#"<ir_version: 8, opset_import: ["" : 17]>
                g (float[n,4,6,6] x) => (float[n,4,6,6] y) <float[8,4,1,1] a, float[4,4,3,3] b>
                { t = Conv(x, a)  y = Conv <group = 2, pads = [1, 1, 1, 1]> (t, b) }"#,
            )
            .unwrap();
            infer_declared(&mut model.graph);
            model
        };
        let asked = Pruner { criterion: Some(Criterion::Obs), ..pruner(Budget::Ratio(0.5)) };
        let refused = asked.run(&mut grouped(), &|_, _| ());
        assert!(matches!(refused, Err(PruneError::NoScores(Criterion::Obs))));
        let summary = pruner(Budget::Ratio(0.5)).run(&mut grouped(), &|_, _| ()).unwrap();
        // The same channels of both groups go together.
        assert_eq!((&*summary.importance, summary.groups[0].before, summary.groups[0].after), ("l2", 4, 2));
        assert!(summary.notes.iter().any(|note| note.contains("weights (l2)")), "{:?}", summary.notes);
    }

    #[test]
    fn layers_are_spoken_of_by_name() {
        let with = |change: &dyn Fn(&mut Pruner)| {
            let mut pruner = Pruner { recovers: false, ..pruner(Budget::Ratio(0.5)) };
            change(&mut pruner);
            run(&pruner).map(|(_, summary)| summary.groups.first().map(|group| group.after))
        };
        assert_eq!(with(&|_| ()).unwrap(), Some(8));
        assert_eq!(with(&|p| p.ratios = vec![("wide".into(), 0.25)]).unwrap(), Some(12));
        assert_eq!(with(&|p| p.rules.align = 16).unwrap(), Some(16));
        assert!(matches!(with(&|p| p.protect = vec!["wide".into()]), Err(PruneError::Nothing(..))));
        let unknown = with(&|p| p.protect = vec!["wife".into()]).unwrap_err().to_string();
        assert!(unknown.contains("wide"), "{unknown}");
        let untold = Pruner { calibration: Calibration::default(), ..pruner(Budget::Ratio(0.5)) };
        let untold = run(&Pruner { criterion: Some(Criterion::Obs), ..untold });
        assert!(matches!(untold, Err(PruneError::NoSamples(Criterion::Obs))));
        let no_scales = run(&Pruner { criterion: Some(Criterion::BatchNorm), ..pruner(Budget::Ratio(0.5)) });
        assert!(matches!(no_scales, Err(PruneError::NoScores(Criterion::BatchNorm))));
    }
}
