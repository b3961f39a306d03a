//! Weights alone in halves, but for those that bring in too much noise.

use rustc_hash::FxHashSet;

use crate::calibrate::Sample;
use crate::ir::ValueId;
use crate::model::Model;
use crate::precision::attempt::Kepts;
use crate::precision::culprits::{Hunt, over_signal, worst};
use crate::precision::halver::{HELPS, HUNTS, MOST_KEPT};
use crate::precision::store::store;
use crate::precision::told::{everywhere, prevents};
use crate::precision::{HalveError, Halver, Summary};
use crate::quality::Measured;

impl Halver {
    /// Have the weights of `model` alone be halves.
    pub(super) fn stored(
        &self,
        model: &mut Model,
        feeds: &[Sample],
        notes: &mut Vec<String>,
    ) -> Result<Summary, HalveError> {
        let float = model.clone();
        let with = |stay: &FxHashSet<ValueId>| {
            let mut half = float.clone();
            let done = store(&mut half.graph, stay);
            (half, done)
        };
        let mut stay: FxHashSet<ValueId> = FxHashSet::default();
        let (mut half, mut done) = with(&stay);
        let mut outputs = self.measured(&float, &half, feeds, notes)?;
        let all = done.stored.clone();
        let bytes = |weight: ValueId| float.graph.constant(weight).map_or(0.0, |t| t.stored_bytes() as f64);
        let sum = |weights: &mut dyn Iterator<Item = ValueId>| weights.map(bytes).sum::<f64>();
        let first = worst(&outputs);
        let (mut needed, mut all_stored, mut blamed) = (0.0, None, Vec::new());
        for part in HUNTS {
            let ratio = worst(&outputs);
            if ratio >= self.aimed_at() || outputs.is_empty() || self.blind(&float, feeds, ratio, notes) {
                break;
            }
            let rounded = |stored: &[ValueId]| {
                let stored: FxHashSet<ValueId> = stored.iter().copied().collect();
                with(&all.iter().copied().filter(|weight| !stored.contains(weight)).collect()).0
            };
            let found = Hunt::new(&float, &half, feeds, &*self.engine)
                .and_then(|hunt| hunt.culprits(&done.stored, part * over_signal(self.floor()), bytes, rounded));
            let Some(found) = found.ok().filter(|found| !found.is_empty()) else { break };
            blamed.extend(found.iter().map(|&weight| format!("\"{}\"", float.graph.value_label(weight))));
            let next: FxHashSet<ValueId> = stay.iter().copied().chain(found).collect();
            needed = sum(&mut next.iter().copied()) / sum(&mut all.iter().copied());
            if needed > MOST_KEPT && self.bounds.min_sqnr.is_none() {
                break;
            }
            let (model, stored) = with(&next);
            let before = std::mem::replace(&mut outputs, self.measured(&float, &model, feeds, notes)?);
            (stay, half, done) = (next, model, stored);
            all_stored.get_or_insert(before);
        }
        let last = worst(&outputs);
        if last < self.floor() && needed > 0.0 {
            if let Some(before) = all_stored.filter(|_| last < first + HELPS) {
                (stay, outputs) = (FxHashSet::default(), before);
                (half, done) = with(&stay);
            }
            notes.push(everywhere(worst(&outputs), self.floor(), needed, &blamed));
        }
        self.bounds.check(&outputs).map_err(HalveError::Bounds)?;
        let mut kept = Kepts::default();
        let why = |weight: &ValueId| (*weight, prevents(first));
        for (value, why) in done.left.into_iter().chain(all.iter().filter(|weight| stay.contains(weight)).map(why)) {
            let Some(tensor) = float.graph.constant(value) else { continue };
            kept.add(tensor.to_string(), why, float.graph.value_label(value));
        }
        *model = half;
        Ok(Summary {
            half: self.half,
            halves: done.stored.len(),
            floats: kept.count(),
            casts: done.stored.len(),
            kept: kept.list(),
            made_up: false,
            measured: Measured::of(feeds.len(), outputs),
            notes: Vec::new(),
        })
    }
}
