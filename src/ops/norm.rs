//! Normalization: elements scaled by statistics, stored or taken over some axes.

use smallvec::{SmallVec, smallvec};

use crate::ir::{DType, Int, Key, Shape, Type};
use crate::ops::elementwise::like_first;
use crate::ops::ties::{broadcast, same_axes};
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, normalize_axis};

/// What a variance is raised by.
pub const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);

/// Whether statistics are taken of the batch.
pub const TRAINING_MODE: Key<bool> = Key::new("training_mode", false);

const AXIS: Key<i64> = Key::new("axis", -1);
const STASH_TYPE: Key<i64> = Key::new("stash_type", 1);

/// Statistics over one axis, named by an attribute that means the last when absent.
const ALONG_AXIS: OpDef = OpDef {
    infer: Some(like_first),
    channels: |c| match axis(c) {
        Some(axis) => over(smallvec![axis], smallvec![]),
        None => Channels::Barrier,
    },
    ..OpDef::PURE
};

/// Exponentials that sum to 1 along an axis.
pub static SOFTMAX: OpDef = OpDef { quant: |_| Quant::Activation, ..ALONG_AXIS };

/// The logarithm of [`SOFTMAX`].
pub static LOG_SOFTMAX: OpDef = ALONG_AXIS;

/// 1 at the first largest element along an axis, 0 elsewhere.
pub static HARDMAX: OpDef = ALONG_AXIS;

/// Division by the p-norm along an axis.
pub static LP_NORMALIZATION: OpDef = OpDef {
    // The norm is of a sum, to which zeros add nothing.
    ties: |c| match axis(c) {
        Some(axis) => {
            let mut ties = same_axes(c, |_| true);
            ties.push(Tie::Summed(End::operand(0, axis)));
            ties
        }
        None => Ties::new(),
    },
    ..ALONG_AXIS
};

/// Mean and variance per channel, stored, or those of the batch in training mode: results 1 and 2 carry them on.
pub static BATCH_NORMALIZATION: OpDef = OpDef {
    infer: Some(batch_normalization),
    channels: |c| {
        // A vector counts as one channel, and training tells of the batch in results of their own.
        if c.rank(0).is_none_or(|rank| rank < 2) || TRAINING_MODE.of(c.node()) {
            return Channels::Barrier;
        }
        Channels::PerChannel { axis: 1, parameters: smallvec![1, 2, 3, 4] }
    },
    ..OpDef::PURE
};

/// Statistics per sample and channel.
pub static INSTANCE_NORMALIZATION: OpDef = OpDef {
    infer: Some(like_first),
    channels: |_| Channels::PerChannel { axis: 1, parameters: smallvec![1, 2] },
    // Statistics span the axes behind the channels.
    ties: |c| {
        let mut ties = same_axes(c, |axis| axis < 2);
        ties.extend([1, 2].map(|slot| Tie::Same(End::result(0, 1), End::operand(slot, 0))));
        ties
    },
    ..OpDef::PURE
};

/// Statistics per sample and group of channels.
pub static GROUP_NORMALIZATION: OpDef = OpDef {
    infer: Some(like_first),
    channels: |c| {
        const NUM_GROUPS: Key<i64> = Key::new("num_groups", 0);
        match (c.rank(0), usize::try_from(NUM_GROUPS.of(c.node()))) {
            (Some(rank), Ok(groups @ 1..)) => {
                Channels::Normalized { axes: (1..rank).collect(), groups, parameters: smallvec![1, 2] }
            }
            _ => Channels::Barrier,
        }
    },
    ..OpDef::PURE
};

/// Mean and variance over the axes from `axis` on; results 1 and 2 show them.
pub static LAYER_NORMALIZATION: OpDef = OpDef {
    infer: Some(layer_normalization),
    channels: |c| from_axis(c, if c.has(2) { smallvec![1, 2] } else { smallvec![1] }),
    ..OpDef::PURE
};

/// The root mean square over the axes from `axis` on; the result is of the scale's type.
pub static RMS_NORMALIZATION: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(1);
        c.set_dtype(0, dtype);
        let shape = c.ty(0)?.shape().clone();
        c.set_type(0, Type::Tensor { dtype, shape });
        Some(())
    }),
    channels: |c| from_axis(c, smallvec![1]),
    // The mean of squares is a sum, divided by how many there were: a pruner sees to that number.
    ties: |c| {
        let Some(axis) = axis(c) else { return Ties::new() };
        let mut ties = same_axes(c, |_| true);
        ties.extend((axis..c.rank(0).unwrap_or(0)).map(|axis| Tie::Summed(End::operand(0, axis))));
        ties.extend(broadcast(c, [1], 0));
        ties
    },
    ..OpDef::PURE
};

/// Mean and variance over the listed axes.
pub static MEAN_VARIANCE_NORMALIZATION: OpDef = OpDef {
    infer: Some(like_first),
    channels: |c| {
        const AXES: Key<&[i64]> = Key::new("axes", &[0, 2, 3]);
        let axes: Option<SmallVec<[usize; 4]>> =
            c.rank(0).and_then(|rank| AXES.of(c.node()).iter().map(|&a| normalize_axis(a, rank)).collect());
        axes.map_or(Channels::Barrier, |axes| over(axes, smallvec![]))
    },
    ..OpDef::PURE
};

/// Division by the squares of neighbouring channels.
pub static LRN: OpDef = OpDef { infer: Some(like_first), channels: |_| over(smallvec![1], smallvec![]), ..OpDef::PURE };

fn over(axes: SmallVec<[usize; 4]>, parameters: SmallVec<[usize; 2]>) -> Channels {
    Channels::Normalized { axes, groups: 1, parameters }
}

fn axis(call: &CallView<'_>) -> Option<usize> {
    normalize_axis(AXIS.of(call.node()), call.rank(0)?)
}

fn from_axis(call: &CallView<'_>, parameters: SmallVec<[usize; 2]>) -> Channels {
    match (axis(call), call.rank(0)) {
        (Some(axis), Some(rank)) => over((axis..rank).collect(), parameters),
        _ => Channels::Barrier,
    }
}

fn batch_normalization(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(3).or(call.dtype(4));
    let channels = (1..=4).find_map(|slot| match call.dims(slot) {
        Some([c]) => Some(c.clone()),
        _ => None,
    });
    for slot in [1, 2] {
        let channels = channels.clone().unwrap_or_else(|| call.fresh(1, 0));
        call.set_type(slot, Type::Tensor { dtype, shape: Shape::of([channels]) });
    }
    like_first(call)
}

fn layer_normalization(call: &mut Infer<'_>) -> Outcome {
    let stash = i32::try_from(STASH_TYPE.of(call.node())).ok().and_then(DType::from_code);
    for slot in [1, 2] {
        call.set_dtype(slot, stash);
    }
    like_first(call)?;
    let axis = axis(call)?;
    let one = Int::from(1);
    let x = call.dims(0)?;
    let dims: Vec<Int> = x.iter().enumerate().map(|(i, d)| if i < axis { d.clone() } else { one.clone() }).collect();
    let ty = Type::Tensor { dtype: stash, shape: Shape::of(dims) };
    call.set_type(1, ty.clone());
    call.set_type(2, ty);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind::*;
    use crate::ops::testing::{Case, infer, infer_all};

    #[test]
    fn statistics_have_their_own_shapes() {
        let operands = "float16[n,c,h] float[c] float[c] double[c] double[c]";
        assert_eq!(infer_all(BatchNormalization, operands, &[], 3), "float16[n,c,h]  double[c]  double[c]");
        assert_eq!(
            infer_all(LayerNormalization, "float16[n,s,8] float16[8]", &[("axis", 1.into())], 3),
            "float16[n,s,8]  float[n,1,1]  float[n,1,1]"
        );
        assert_eq!(
            infer_all(LayerNormalization, "float16[..] float16[8]", &[("stash_type", 16.into())], 2),
            "float16[..]  bfloat16[..]"
        );
        assert_eq!(infer(RMSNormalization, "float16[n,8] float[8]", &[]), "float[n,8]");
        assert_eq!(infer(Softmax, "float[n,?]", &[]), "float[n,?]");
    }

    #[test]
    fn a_normalization_couples_the_axes_it_spans() {
        let channels =
            |op, operands, attrs: &[_]| (crate::ops::def(op).channels)(&Case::new(op, operands, attrs, 1).view());
        assert_eq!(channels(Softmax, "float[n,4,5]", &[("axis", 1.into())]), over(smallvec![1], smallvec![]));
        assert_eq!(channels(Softmax, "float[n,4]", &[("axis", 5.into())]), Channels::Barrier);
        assert_eq!(
            channels(GroupNormalization, "float[n,8,5] float[8] float[8]", &[("num_groups", 4.into())]),
            Channels::Normalized { axes: smallvec![1, 2], groups: 4, parameters: smallvec![1, 2] }
        );
    }
}
