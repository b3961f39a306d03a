//! Running sums and products along an axis.

use crate::ir::Int;
use crate::ops::{CallView, Channels, Infer, OpDef, Outcome, normalize_axis};

/// `CumSum` and `CumProd`.
pub static CUMULATIVE: OpDef = OpDef { infer: Some(like_first), channels: along, ..OpDef::PURE };

fn like_first(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    Some(())
}

/// Every axis stays, but an element of the axis that is run along depends on those before it.
fn along(call: &CallView<'_>) -> Channels {
    let axis = call.rank(0).zip(call.int(1).as_ref().and_then(Int::known)).and_then(|(r, a)| normalize_axis(a, r));
    match (axis, call.rank(0)) {
        (Some(axis), Some(rank)) => Channels::Moved((0..rank).map(|at| (at != axis).then_some(at)).collect()),
        _ => Channels::Barrier,
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::CumSum;
    use crate::ops::testing::{Case, infer};
    use crate::ops::{Channels, def};

    #[test]
    fn the_axis_that_is_run_along_mixes() {
        assert_eq!(infer(CumSum, "float[b,3] int64=1", &[]), "float[b,3]");
        let case = Case::new(CumSum, "float[b,3] int64=-1", &[], 1);
        let channels = (def(CumSum).channels)(&case.view());
        assert_eq!(channels, Channels::Moved([Some(0), None].into_iter().collect()));
    }
}
