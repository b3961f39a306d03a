//! Ops that select elements by a condition or by what they are, and say which.

use crate::ir::{DType, Int, Key};
use crate::ops::dims::product;
use crate::ops::slice::{AXIS, MOVES, kept, same_rank};
use crate::ops::{CallView, Channels, Infer, OpDef, Outcome, normalize_axis};

/// The axis of `TopK` and `OneHot`.
pub const LAST_AXIS: Key<i64> = Key::new("axis", -1);

/// `Compress`.
pub static COMPRESS: OpDef = OpDef { infer: Some(compress), ..MOVES };
/// `OneHot`.
pub static ONE_HOT: OpDef = OpDef { infer: Some(one_hot), ..OpDef::PURE };
/// `TopK`.
pub static TOP_K: OpDef = OpDef { infer: Some(top_k), channels: ranked, ..MOVES };
/// `Unique`.
pub static UNIQUE: OpDef = OpDef { infer: Some(unique), ..OpDef::PURE };

fn compress(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    let Some(axis) = AXIS.get(call.node()) else {
        call.set_rank(0, dtype, 1);
        return Some(());
    };
    let mut dims = same_rank(call)?;
    let axis = normalize_axis(axis, dims.len())?;
    // A condition may be shorter than the axis, never longer.
    let kept =
        call.known_ints(1).filter(|c| dims[axis].known().is_some_and(|d| i64::try_from(c.len()).is_ok_and(|n| n <= d)));
    dims[axis] = match kept {
        Some(condition) => Int::from(condition.iter().filter(|&&c| c != 0).count()),
        None => call.fresh(0, axis),
    };
    call.set(0, dtype, dims);
    Some(())
}

fn one_hot(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(2);
    call.set_dtype(0, dtype);
    let mut dims = call.dims(0)?.to_vec();
    let axis = normalize_axis(LAST_AXIS.of(call.node()), dims.len() + 1)?;
    let depth = call.elements(1).and_then(|depth| match &depth[..] {
        [depth] if depth.known().is_none_or(|n| n >= 0) => Some(depth.clone()),
        _ => None,
    });
    let depth = depth.unwrap_or_else(|| call.fresh(0, axis));
    dims.insert(axis, depth);
    call.set(0, dtype, dims);
    Some(())
}

fn top_k(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    call.set_dtype(1, Some(DType::I64));
    let mut dims = call.dims(0)?.to_vec();
    let axis = normalize_axis(LAST_AXIS.of(call.node()), dims.len())?;
    let k = call.elements(1).and_then(|k| match &k[..] {
        [k] if k.known().is_none_or(|n| n >= 0) => Some(k.clone()),
        _ => None,
    });
    // Both results have one size: that of the first, where a run alone tells it.
    dims[axis] = k.unwrap_or_else(|| call.fresh(0, axis));
    let again = dims.clone();
    call.set(0, dtype, dims);
    call.set(1, DType::I64, again);
    Some(())
}

fn ranked(call: &CallView<'_>) -> Channels {
    let Some(rank) = call.rank(0) else { return Channels::Barrier };
    let axis = normalize_axis(LAST_AXIS.of(call.node()), rank);
    axis.map_or(Channels::Barrier, |axis| kept(rank, |at| at == axis))
}

fn unique(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    (1..4).for_each(|slot| call.set_rank(slot, DType::I64, 1));
    let dims = call.dims(0).map(<[Int]>::to_vec);
    let (all, found) = match AXIS.get(call.node()) {
        None => {
            call.set_rank(0, dtype, 1);
            (dims.as_deref().and_then(product), call.fresh(0, 0))
        }
        Some(axis) => {
            let mut dims = dims?;
            let axis = normalize_axis(axis, dims.len())?;
            let (all, found) = (dims[axis].clone(), call.fresh(0, axis));
            dims[axis] = found.clone();
            call.set(0, dtype, dims);
            (Some(all), found)
        }
    };
    call.set(1, DType::I64, [found.clone()]);
    call.set(3, DType::I64, [found]);
    call.set(2, DType::I64, [all?]);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::{infer, infer_all};

    #[test]
    fn picks_and_orders() {
        assert_eq!(infer_all(TopK, "float[b,9] int64=[3]", &[], 2), "float[b,3]  int64[b,3]");
        assert_eq!(infer(OneHot, "int64[b,s] int64=[5] float[2]", &[]), "float[b,s,5]");
        assert_eq!(infer(OneHot, "int64[b,s] int64=5 float[2]", &[("axis", 0.into())]), "float[5,b,s]");
        assert_eq!(infer_all(Unique, "float[a,b]", &[], 4), "float[?]  int64[?]  int64[a*b]  int64[?]");
        let by_axis = infer_all(Unique, "float[a,b]", &[("axis", 1.into())], 4);
        assert_eq!(by_axis, "float[a,?]  int64[?]  int64[b]  int64[?]");
        let compress = |operands: &str| infer(Compress, operands, &[("axis", 0.into())]);
        assert_eq!(compress("float[4,b] bool=[1,0,1]"), "float[2,b]");
        assert_eq!(compress("float[2,b] bool=[1,0,1]"), "float[?,b]");
    }
}
