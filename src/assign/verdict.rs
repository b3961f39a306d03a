//! How good a model is beside the one that it was made of, and how sure of it so many samples make.
//!
//! Bounds are kept on samples that nobody has seen, so what is measured on a few hundred is given room: see the module
//! `likely`. What was counted has to keep the bound, too.

use crate::assign::likely::{Gaps, distances, likely_sqnr};
use crate::calibrate::Sample;
use crate::exec::{Cannot, Executor, Stepper};
use crate::ir::{ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::quality::loss::{Heads, mean};
use crate::quality::{Bounds, OutOfBounds, Quality, compare_outputs};

/// One of so many of the other samples tells the noise: those that are nearest to another class.
const NEAREST: usize = 4;

/// How good a model is.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// What outputs lose, as sensitivities count it.
    pub loss: f64,
    /// Each output, on the samples that it was run on.
    pub outputs: Vec<Quality>,
    /// The least signal over noise of an output that is likely, in dB.
    pub sqnr: f64,
    /// The largest share of samples with another class that is likely, in percent. `None` where no output has classes.
    pub drop: Option<f64>,
    /// The share of samples held out that have another class, as counted, in percent.
    pub counted: Option<f64>,
}

impl Verdict {
    /// How much is lost beside what bounds allow, in what losses add up in: up to one they are likely to be kept.
    pub(super) fn excess(&self, bounds: &Bounds) -> f64 {
        // Noise grows as losses do, and shares of samples as its root.
        let noise = bounds.min_sqnr.map(|least| {
            let counted = self.outputs.iter().filter(|q| q.cosine.is_some()).map(|q| q.sqnr);
            10f64.powf((least - counted.fold(self.sqnr, f64::min)) / 10.0)
        });
        let share = bounds.max_drop.and_then(|most| {
            let share = self.drop?.max(self.counted.unwrap_or(0.0));
            Some(if share <= 0.0 { 0.0 } else { (share / most).powi(2) })
        });
        let excess = [noise, share].into_iter().flatten().fold(0.0, f64::max);
        if excess.is_nan() { f64::INFINITY } else { excess }
    }

    /// Whether it is likely that bounds are kept.
    pub(super) fn meets(&self, bounds: &Bounds) -> bool {
        self.excess(bounds) <= 1.0
    }
}

/// Compares models with one, on all samples held out or on some of these.
pub(super) struct Verifier<'e> {
    float: Model,
    samples: Vec<Sample>,
    /// Of other samples those nearest to another class: they tell the noise there, too.
    others: Vec<Sample>,
    engine: &'e dyn Executor,
    heads: Heads,
    /// Of the float model: each output's tensors, and each head's.
    reference: [Vec<Vec<Tensor>>; 2],
    /// The same on the other samples.
    of_others: [Vec<Vec<Tensor>>; 2],
    /// How far samples are from another class, by each output and by each head.
    gaps: [Vec<Option<Gaps>>; 2],
    /// How far each sample is, by all of them.
    distances: Option<Vec<f64>>,
}

impl<'e> Verifier<'e> {
    /// Of models that `float` was made into, on `held_out`; what it says of `others` tells how near samples are to
    /// another class, and where it is about classes the nearest of them are run with each model. Also gives the places
    /// of these, the nearest first, where there are classes.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(super) fn new(
        float: &Model,
        held_out: &[Sample],
        others: &[Sample],
        engine: &'e dyn Executor,
        heads: &Heads,
        by_class: bool,
    ) -> Result<(Verifier<'e>, Option<Vec<usize>>), Cannot> {
        let own = run(float, heads, held_out, engine)?.0;
        let more = match others.is_empty() {
            true => own.clone().map(|columns| columns.iter().map(|_| Vec::new()).collect()),
            false => run(float, heads, others, engine)?.0,
        };
        let gaps = [0, 1].map(|of| own[of].iter().zip(&more[of]).map(|(own, more)| Gaps::of(own, more)).collect());
        let far = distance(&own[1], held_out.len());
        let order = distance(&more[1], others.len()).map(|far| nearest(&far));
        let near: &[usize] = match &order {
            Some(order) if by_class => &order[..others.len().div_ceil(NEAREST)],
            _ => &[],
        };
        let verifier = Verifier {
            float: float.clone(),
            samples: held_out.to_vec(),
            others: near.iter().map(|&place| others[place].clone()).collect(),
            engine,
            heads: heads.clone(),
            of_others: picked(&more, near),
            reference: own,
            gaps,
            distances: far,
        };
        Ok((verifier, order))
    }

    /// The same on `count` of the samples: on those nearest to another class where it is about classes, else evenly.
    pub(super) fn of_few(&self, count: usize, by_class: bool) -> Verifier<'e> {
        let all = self.samples.len();
        let count = count.min(all);
        let mut places: Vec<usize> = match &self.distances {
            Some(distances) if by_class => nearest(distances).into_iter().take(count).collect(),
            _ => (0..count).map(|place| place * all / count).collect(),
        };
        places.sort_unstable();
        Verifier {
            float: self.float.clone(),
            samples: places.iter().map(|&place| self.samples[place].clone()).collect(),
            others: Vec::new(),
            engine: self.engine,
            heads: self.heads.clone(),
            reference: picked(&self.reference, &places),
            of_others: picked(&self.of_others, &[]),
            gaps: self.gaps.clone(),
            distances: self.distances.as_ref().map(|far| places.iter().map(|&place| far[place]).collect()),
        }
    }

    /// Why `bounds` cannot be kept whatever is done.
    ///
    /// # Errors
    /// For a bound on classes where there are none.
    pub(super) fn can_tell(&self, bounds: &Bounds) -> Result<(), OutOfBounds> {
        match bounds.max_drop.is_some() && self.gaps[0].iter().all(Option::is_none) {
            true => Err(OutOfBounds::NoScores),
            false => Ok(()),
        }
    }

    /// How many samples are held out.
    pub(super) fn samples(&self) -> usize {
        self.samples.len()
    }

    /// The others that tell of models whose weights were `found` on samples: none.
    fn others(&self, found: bool) -> &[Sample] {
        if found { &[] } else { &self.others }
    }

    /// How many runs a verdict takes.
    pub(super) fn runs(&self, found: bool) -> usize {
        self.samples.len() + self.others(found).len()
    }

    /// How good `model` is, whose values have the ids of the float model's. Whether its weights were `found` on samples:
    /// those that are not held out say nothing then.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(super) fn judge(&self, model: &Model, found: bool) -> Result<Verdict, Cannot> {
        let all = [&self.samples[..], self.others(found)].concat();
        let (mut shown, has_heads) = run(model, &self.heads, &all, self.engine)?;
        let of_others = shown.each_mut().map(|columns| -> Vec<Vec<Tensor>> {
            columns.iter_mut().map(|column| column.split_off(self.samples.len())).collect()
        });
        let [outputs, heads] = shown;
        let by_sample = |columns: &[Vec<Tensor>]| -> Vec<Vec<Tensor>> {
            (0..self.samples.len()).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect()
        };
        let qualities = compare_outputs(&self.float, &by_sample(&self.reference[0]), &by_sample(&outputs));
        let loss = match has_heads {
            true => {
                let want: Vec<&[Tensor]> = self.reference[1].iter().map(Vec::as_slice).collect();
                let got: Vec<&[Tensor]> = heads.iter().map(Vec::as_slice).collect();
                mean(&self.heads.losses(&want, &got))
            }
            false => f64::INFINITY,
        };
        let pairs = self.reference[0].iter().zip(&outputs);
        let sqnr = pairs.filter_map(|(want, got)| likely_sqnr(want, got)).fold(f64::INFINITY, f64::min);
        // Before a softmax noise is alike for samples that are certain and those that are not.
        let (of, shown) = if has_heads { (1, &heads) } else { (0, &outputs) };
        let columns = self.gaps[of].iter().zip(&self.reference[of]).zip(shown);
        let others = self.of_others[of].iter().zip(&of_others[of]);
        let drops = columns
            .zip(others)
            .filter_map(|(((gaps, want), got), (like, seen))| gaps.as_ref()?.drop([want, got], [like, seen]));
        let worst = drops.reduce(|[a, b], [c, d]| [a.max(c), b.max(d)]);
        Ok(Verdict { loss, outputs: qualities, sqnr, drop: worst.map(|w| w[0]), counted: worst.map(|w| w[1]) })
    }
}

/// The tensors of these samples, of each column.
fn picked(columns: &[Vec<Vec<Tensor>>; 2], places: &[usize]) -> [Vec<Vec<Tensor>>; 2] {
    let of = |tensors: &Vec<Tensor>| places.iter().map(|&place| tensors[place].clone()).collect();
    columns.each_ref().map(|columns| columns.iter().map(of).collect())
}

/// Places of the numbers, the smallest first.
fn nearest(distances: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..distances.len()).collect();
    places.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));
    places
}

/// How far each sample is from another class, by the nearest of these columns that have classes.
fn distance(columns: &[Vec<Tensor>], samples: usize) -> Option<Vec<f64>> {
    let each: Vec<Vec<f64>> = columns.iter().filter_map(|column| distances(column)).collect();
    let least = |sample: usize| each.iter().map(|far| far[sample]).fold(f64::INFINITY, f64::min);
    (!each.is_empty()).then(|| (0..samples).map(least).collect())
}

/// The tensors of outputs and of heads; whether there are heads at all.
fn run(
    model: &Model,
    heads: &Heads,
    samples: &[Sample],
    engine: &dyn Executor,
) -> Result<([Vec<Vec<Tensor>>; 2], bool), Cannot> {
    let outputs: Vec<ValueId> =
        model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value).collect();
    let heads = heads.values();
    let has_heads = heads.iter().all(|&v| model.graph.has_value(v));
    let mut asked = outputs.clone();
    if has_heads {
        asked.extend(&heads);
    }
    let mut stepper = Stepper::new(model, samples, engine)?;
    stepper.reach(model, &asked)?;
    let column = |&value: &ValueId| match (stepper.of(value), model.graph.constant(value)) {
        (Some(tensors), _) => tensors.to_vec(),
        (None, Some(constant)) => vec![constant.clone(); samples.len()],
        // Of what is gone nothing is as it was.
        (None, None) => vec![Tensor::vector(&[]); samples.len()],
    };
    Ok(([outputs.iter().map(column).collect(), heads.iter().map(column).collect()], has_heads))
}
