//! Where a fit starts: what the lost channels brought, brought by those that remain.
//!
//! Each lost channel of what a layer reads is the best combination of the remaining ones, as they were in the dense
//! model; their weights take on the lost channel's weight times its part in that. A fit that is drawn towards this is
//! safe with much damping.

use ndarray::{Array2, Axis};

use crate::exec::Stepper;
use crate::gram::layer::WEIGHT;
use crate::gram::linalg::product;
use crate::gram::{Cholesky, Layer, Patches, Sums};
use crate::model::Model;
use crate::prune::Cut;
use crate::prune::recover::Recovery;
use crate::prune::recover::target::{Target, kept};

/// Layers that read more channels start from what remains of their weight.
const MOST_CHANNELS: usize = 4096;

/// Damping, in parts of the mean variance of the remaining channels.
const DAMPING: f64 = 1e-3;

/// The weight to start from; `None` where nothing that the layer reads is lost, and where that is not so simple.
#[expect(clippy::too_many_arguments, reason = "both models and both layers take part")]
pub(super) fn merged(
    dense: &Model,
    cut: &Cut,
    of_dense: &Layer,
    of_pruned: &Layer,
    target: &Target,
    weight: &Array2<f32>,
    stepper: &Stepper<'_>,
    fitted: usize,
    recovery: &Recovery,
) -> Option<Array2<f32>> {
    let channels = of_dense.channels;
    cut.kept(target.dense_input, of_dense.input_axis)?;
    let kept = kept(cut, target.dense_input, of_dense.input_axis, channels);
    let fits = kept.len() == of_pruned.channels && kept.last().is_some_and(|&c| c < channels);
    if !fits || of_dense.groups != 1 || of_pruned.groups != 1 || channels > MOST_CHANNELS || kept.len() == channels {
        return None;
    }
    let mut is_kept = vec![false; channels];
    kept.iter().for_each(|&c| is_kept[c] = true);
    let lost: Vec<usize> = (0..channels).filter(|&c| !is_kept[c]).collect();
    // Combinations of channels.
    let single = of_dense.of_channels();
    let patches = Patches::of(&single, &stepper.of(target.dense_input)?[..fitted], recovery.rows, recovery.seed)?;
    let mut sums = Sums::new(channels, 0);
    for rows in patches.blocks() {
        let x = patches.block(rows, 0);
        let beside = Array2::zeros((x.nrows(), 0));
        sums.add(x, beside.view());
    }
    let covariance = sums.moments().square;
    let among = covariance.select(Axis(0), &kept).select(Axis(1), &kept);
    let mut parts = covariance.select(Axis(0), &lost).select(Axis(1), &kept);
    Cholesky::damped(&among, DAMPING)?.solve(parts.view_mut());
    let parts = parts.mapv(|p| p as f32);
    // What lost channels' weights become.
    let value = dense.graph.operand(of_dense.node, WEIGHT)?;
    let whole = of_dense.matrix(dense.graph.constant(value)?)?.select(Axis(0), &target.kept);
    let taps = of_dense.taps;
    let mut start = weight.clone();
    for tap in 0..taps {
        let columns: Vec<usize> = lost.iter().map(|&c| c * taps + tap).collect();
        let of_lost = whole.select(Axis(1), &columns);
        let mut taken = Array2::zeros((of_lost.nrows(), kept.len()));
        product(1.0, of_lost.view(), parts.view(), 0.0, taken.view_mut());
        for (channel, taken) in taken.columns().into_iter().enumerate() {
            let mut column = start.column_mut(channel * taps + tap);
            column += &taken;
        }
    }
    Some(start)
}
