//! Where integers pay, by measuring: the target's runtime runs the model in real numbers, with integers where costs say
//! that they pay, and with integers everywhere. The fastest is kept, unless a simpler one is as fast but for noise.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::calibrate::{Method, Probe};
use crate::exec::race::Race;
use crate::ir::ValueId;
use crate::model::Model;
use crate::quantize::correct::seen;
use crate::quantize::{Estimate, Plan, QuantizeError, Ranges, Scaling, emit, scales, unfit};

/// Where a model gets integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// Nowhere.
    Nowhere,
    /// Where costs say that they pay.
    WherePaying,
    /// Wherever the target can run them.
    Everywhere,
}

impl Extent {
    /// As people read it.
    fn words(self) -> &'static str {
        match self {
            Extent::Nowhere => "real numbers",
            Extent::WherePaying => "integers where costs say that they pay",
            Extent::Everywhere => "integers everywhere",
        }
    }
}

/// How long a model took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turn {
    /// Where it has integers.
    pub integers: Extent,
    /// Microseconds of processor time for a run: the median of all rounds.
    pub median_us: f64,
    /// In shares of what real numbers took in the same round: the first quartile of all rounds, the median and the third.
    pub share: [f64; 3],
}

/// What measuring found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// The runtime, and its release.
    pub runtime: String,
    /// How often each model had its turn.
    pub rounds: usize,
    /// Every model, those with fewer integers first.
    pub turns: Vec<Turn>,
    /// The one that was kept.
    pub kept: Extent,
}

impl Measurement {
    /// In words.
    pub fn told(&self) -> String {
        let turn = |turn: &Turn| {
            let [low, median, high] = turn.share;
            let share = match turn.integers {
                Extent::Nowhere => String::new(),
                _ => format!(", {median:.2} of that ({low:.2} to {high:.2})"),
            };
            format!("{} {:.0} µs{share}", turn.integers.words(), turn.median_us)
        };
        let turns: Vec<String> = self.turns.iter().map(turn).collect();
        format!(
            "measured in {}, one thread, the median of {} rounds and the quartiles: {}; kept: {}",
            self.runtime,
            self.rounds,
            turns.join("; "),
            self.kept.words()
        )
    }
}

/// A model takes this share of another one's time at the most where it counts as faster.
const FASTER: f64 = 0.98;

/// Where models get integers, when `rounds` has the times of each, the simplest model first: the last that is faster than
/// the one kept before, in the median and in three of four rounds.
fn fastest(rounds: &[Vec<f64>]) -> usize {
    let mut best = 0;
    for other in 1..rounds.len() {
        let [_, median, high] = quartiles(shares(&rounds[other], &rounds[best]));
        if median <= FASTER && high < 1.0 {
            best = other;
        }
    }
    best
}

/// What `times` are in shares of others, round by round.
fn shares(times: &[f64], of: &[f64]) -> Vec<f64> {
    times.iter().zip(of).map(|(time, of)| if *of > 0.0 { time / of } else { 1.0 }).collect()
}

/// The first quartile, the median and the third.
fn quartiles(mut numbers: Vec<f64>) -> [f64; 3] {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| numbers.get((last * quarter + 2) / 4).copied().unwrap_or(1.0))
}

/// Measure what the plans that `place` gives, everywhere or where it pays, make of `model`. Ranges are of a single
/// sample, the one that is run: no range changes how long integers take.
///
/// # Errors
/// When a model cannot be run, here or in the runtime.
pub(super) fn measure(
    race: &Race,
    model: &Model,
    probe: &Probe,
    engine: &dyn crate::exec::Executor,
    place: &dyn Fn(&FxHashSet<ValueId>, bool) -> Result<(Plan, Option<Estimate>), QuantizeError>,
) -> Result<Measurement, QuantizeError> {
    let Some(sample) = probe.tried.first() else { return Err(crate::calibrate::CalibrationError::Nothing.into()) };
    let one = Probe { tried: vec![sample.clone()], ..Probe::default() };
    let mut models: Vec<(Extent, Model)> = vec![(Extent::Nowhere, model.clone())];
    let mut before = Vec::new();
    for extent in [Extent::WherePaying, Extent::Everywhere] {
        let is_everywhere = extent == Extent::Everywhere;
        let (mut plan, _) = place(&FxHashSet::default(), is_everywhere)?;
        let mut gathered = seen(model, &plan, &one, engine)?;
        let unfit = unfit(&model.graph, &gathered);
        if !unfit.is_empty() {
            plan = place(&unfit, is_everywhere)?.0;
            gathered = seen(model, &plan, &one, engine)?;
        }
        if plan.is_empty() || plan.integer == before {
            continue;
        }
        let scales: BTreeMap<_, Scaling> = scales(&model.graph, &plan, &gathered, Ranges::Method(Method::MinMax))?;
        let mut written = model.clone();
        emit(&mut written.graph, &plan, &scales)?;
        models.push((extent, written));
        before.clone_from(&plan.integer);
    }
    let named: Vec<(&str, &Model)> = models.iter().map(|(extent, model)| (extent.words(), model)).collect();
    let times = race.run(&named, sample.feed())?;
    let turns = models.iter().zip(&times.rounds).map(|((extent, _), rounds)| Turn {
        integers: *extent,
        median_us: quartiles(rounds.clone())[1] * 1e6,
        share: quartiles(shares(rounds, &times.rounds[0])),
    });
    Ok(Measurement {
        runtime: format!("{} {}", race.runtime(), times.version),
        rounds: times.rounds[0].len(),
        turns: turns.collect(),
        kept: models[fastest(&times.rounds)].0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simpler_model_is_kept_unless_another_is_faster_than_noise() {
        let around = |time: f64, noise: f64| -> Vec<f64> {
            (0..20).map(|round| time * (1.0 + noise * (f64::from(round % 5) - 2.0) / 2.0)).collect()
        };
        let steady = around(1.0, 0.0);
        assert_eq!(fastest(&[steady.clone()]), 0);
        assert_eq!(fastest(&[steady.clone(), around(0.8, 0.01), around(0.6, 0.01)]), 2);
        assert_eq!(fastest(&[steady.clone(), around(0.8, 0.01), around(0.79, 0.01)]), 1);
        assert_eq!(fastest(&[steady.clone(), around(1.3, 0.01), around(1.1, 0.01)]), 0);
        assert_eq!(fastest(&[steady.clone(), around(1.3, 0.01), around(0.7, 0.01)]), 2);
        // A tenth faster by the median, and slower in every fourth round.
        assert_eq!(fastest(&[steady, around(0.9, 0.5)]), 0);
        // Of times that rise and fall together only the share counts.
        let wild = around(1.0, 0.9);
        let half: Vec<f64> = wild.iter().map(|time| time / 2.0).collect();
        assert_eq!(fastest(&[wild, half]), 1);
    }

    #[test]
    fn quartiles_are_of_what_there_is() {
        assert_eq!(quartiles(vec![5.0, 1.0, 2.0, 3.0, 4.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(vec![2.0]), [2.0; 3]);
        assert_eq!(shares(&[1.0, 1.0], &[2.0, 0.0]), [0.5, 1.0]);
    }

    #[test]
    fn what_was_found_is_told() {
        let turn = |integers, median_us, share| Turn { integers, median_us, share };
        let measurement = Measurement {
            runtime: "onnxruntime 1.31.1".into(),
            rounds: 40,
            turns: vec![turn(Extent::Nowhere, 812.4, [1.0; 3]), turn(Extent::Everywhere, 1024.0, [1.24, 1.26, 1.3])],
            kept: Extent::Nowhere,
        };
        assert_eq!(
            measurement.told(),
            "measured in onnxruntime 1.31.1, one thread, the median of 40 rounds and the quartiles: real numbers 812 µs; \
             integers everywhere 1024 µs, 1.26 of that (1.24 to 1.30); kept: real numbers"
        );
    }
}
