//! Biases take back what integers add to the mean of each layer's outputs, layer by layer in the order of the graph
//! (Nagel et al. 2019, section 4.2 and appendix D, the empirical way).
//!
//! The model runs on samples with and without integers, and at every layer the mean difference of each output channel
//! goes to the bias, before what follows runs: so it is of a model whose layers before this one are corrected, and
//! rounding activations counts, and so do elements that pad. A mean of few elements that differ a lot says little; it
//! counts for the share that is not chance.

use std::collections::BTreeMap;

use crate::calibrate::Sample;
use crate::exec::Executor;
use crate::exec::stepper::Stepper;
use crate::ir::{NodeId, ScopeId, Tensor};
use crate::model::Model;
use crate::ops::{CallView, Channels, def};
use crate::quantize::correct::biases::add;
use crate::quantize::correct::factors::f32s;
use crate::quantize::correct::simulation::{Scales, with_integers};
use crate::quantize::{Plan, QuantizeError, WeightSite};

/// `float` with the biases that it needs for integers of these scales; and how many changed.
pub(super) fn correct_in_order(
    float: &Model,
    plan: &Plan,
    scales: &Scales,
    feeds: &[Sample],
    engine: &dyn Executor,
) -> Result<(Model, usize), QuantizeError> {
    let (mut integer, _) = with_integers(float, plan, scales)?;
    let mut corrected = float.clone();
    let sites: BTreeMap<NodeId, &WeightSite> = plan.weights.iter().map(|site| (site.node, site)).collect();
    let mut reals = Stepper::new(float, feeds, engine)?;
    let mut integers = Stepper::new(&integer, feeds, engine)?;
    let mut changed = 0;
    for node in float.graph.schedule(ScopeId::MAIN) {
        let Some(site) = sites.get(&node) else { continue };
        let (Some(axis), Some(value)) = (output_axis(float, site), float.graph.result(node, 0)) else { continue };
        reals.reach(float, &[value])?;
        integers.advance_to(&integer, node)?;
        let mut ahead = integers.clone();
        ahead.reach(&integer, &[value])?;
        let (Some(want), Some(got)) = (reals.of(value), ahead.of(value)) else { continue };
        let Some(shift) = mean_error(want, got, axis).filter(|shift| shift.iter().any(|x| *x != 0.0)) else { continue };
        if add(&mut integer.graph, site, &shift).is_some() && add(&mut corrected.graph, site, &shift).is_some() {
            changed += 1;
        }
    }
    Ok((corrected, changed))
}

/// The axis of the channels that a layer makes.
fn output_axis(float: &Model, site: &WeightSite) -> Option<usize> {
    let call = CallView::new(&float.graph, site.node);
    match (def(call.node().op).channels)(&call) {
        Channels::Mixed { weight, output, .. } if weight == site.slot => Some(output),
        _ => None,
    }
}

/// What each channel has too little on the average, less what may be chance. `None` of tensors that are not alike, and
/// where that is no number.
fn mean_error(want: &[Tensor], got: &[Tensor], axis: usize) -> Option<Vec<f64>> {
    let size = *want.first()?.dims().get(axis)?;
    let mut sums = vec![[0f64; 2]; size];
    let mut count = 0usize;
    for (want, got) in want.iter().zip(got) {
        if want.dims() != got.dims() || want.dims().get(axis) != Some(&size) {
            return None;
        }
        let inner = want.dims()[axis + 1..].iter().product::<usize>().max(1);
        let (want, got) = (f32s(want)?, f32s(got)?);
        for (block, (want, got)) in want.chunks(inner).zip(got.chunks(inner)).enumerate() {
            let [sum, squares] = &mut sums[block % size];
            for (x, y) in want.iter().zip(got) {
                let error = f64::from(*x) - f64::from(*y);
                (*sum, *squares) = (*sum + error, *squares + error * error);
            }
        }
        count += want.len() / size;
    }
    let count = count.max(1) as f64;
    let shift = |[sum, squares]: [f64; 2]| {
        let mean = sum / count;
        let chance = (squares / count - mean * mean).max(0.0) / count;
        let power = mean * mean + chance;
        if power == 0.0 { 0.0 } else { mean * mean * mean / power }
    };
    let shift: Vec<f64> = sums.into_iter().map(shift).collect();
    shift.iter().all(|x| x.is_finite()).then_some(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], elements: &[f32]) -> Tensor {
        Tensor::f32s(dims, elements).unwrap()
    }

    #[test]
    fn a_mean_counts_for_what_is_not_chance() {
        let want = [tensor(&[1, 2, 2], &[1.0, 1.0, 3.0, -3.0]), tensor(&[1, 2, 2], &[1.0, 1.0, 1.0, -1.0])];
        let got = [tensor(&[1, 2, 2], &[0.5; 4]), tensor(&[1, 2, 2], &[0.5; 4])];
        let shift = mean_error(&want, &got, 1).unwrap();
        // The second channel is off by -0.5 on the average, and by 2.24 at a time.
        assert!(shift[0] == 0.5 && shift[1] < 0.0 && shift[1] > -0.1, "{shift:?}");
        assert_eq!(mean_error(&want, &[tensor(&[1], &[0.0]), tensor(&[1], &[0.0])], 1), None);
        assert_eq!(mean_error(&[tensor(&[1, 1], &[f32::NAN])], &[tensor(&[1, 1], &[0.0])], 1), None);
        assert_eq!(mean_error(&[], &[], 1), None);
    }
}
