//! The best within a budget.

use crate::assign::search::{Picks, Search};
use crate::assign::{Amount, AssignError, Assigner, Budget, Cost};
use crate::knapsack::Front;
use crate::sensitivity::Precision;

impl Assigner {
    /// The best within a budget: of `plain` sums over layers, or on the `front` that has what lies between layers, too,
    /// where the budget is of what that takes.
    ///
    /// # Errors
    /// When there is nothing that costs so little.
    pub(super) fn within(
        &self,
        search: &Search<'_>,
        front: &Front,
        plain: &Front,
        budget: Budget,
    ) -> Result<Picks, AssignError> {
        let float = vec![Precision::Fp32; search.measured.layers.len()];
        let all = search.costs.all(&float, budget.cost);
        let rest = search.costs.beside(budget.cost);
        let elements = search.costs.all(&float, Cost::Bits) / 32;
        let most = match (budget.cost, budget.most) {
            (Cost::Bits, Amount::Number(bits)) => bits * elements as f64,
            (_, Amount::Number(number)) => number,
            (_, Amount::Share(share)) => share * all as f64,
        };
        let fits = |picks: &Picks| search.costs.all(&search.precisions(picks), budget.cost) as f64 <= most;
        let front = if budget.cost == Cost::Latency { front } else { plain };
        let least = front.points().first().map_or(0, |point| point.cost.saturating_add(rest));
        let too_little = || AssignError::TooLittle {
            most: in_words(budget.cost, most, all),
            least: in_words(budget.cost, least as f64, all),
        };
        let room = (most - rest as f64).max(0.0) as u64;
        let ways = [front, plain].map(|front| Some(front.picks(front.within(room)?)).filter(fits));
        let best = ways.into_iter().flatten().min_by(|a, b| search.predicted(a).total_cmp(&search.predicted(b)));
        let picks = best.filter(|_| most >= rest as f64).ok_or_else(too_little)?;
        Ok(search.merged(picks, fits))
    }
}

/// An amount as people read it.
fn in_words(cost: Cost, amount: f64, all: u64) -> String {
    match cost {
        Cost::Bytes => format!("{amount:.0} bytes"),
        Cost::Bits => format!("{:.2} bits a weight", 32.0 * amount / all.max(1) as f64),
        Cost::Bitops | Cost::Latency | Cost::Balance => {
            format!("{:.1} % of float32's", 100.0 * amount / all.max(1) as f64)
        }
    }
}
