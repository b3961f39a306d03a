//! Losses of training: `[N, C, …]` scores against `[N, …]` labels.

use crate::ir::{Int, Key, Shape, Type};
use crate::ops::{Infer, OpDef, Outcome};

/// The negative of the score of each label, then reduced.
pub static NEGATIVE_LOG_LIKELIHOOD: OpDef = OpDef { infer: Some(loss), ..OpDef::PURE };

/// As [`NEGATIVE_LOG_LIKELIHOOD`] of the log-softmax over classes, which result 1 shows.
pub static SOFTMAX_CROSS_ENTROPY: OpDef = OpDef {
    infer: Some(|c| {
        let scores = c.ty(0)?.clone();
        c.set_type(1, scores);
        loss(c)
    }),
    ..OpDef::PURE
};

fn loss(call: &mut Infer<'_>) -> Outcome {
    const REDUCTION: Key<&str> = Key::new("reduction", "mean");
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let dims: Vec<Int> = match REDUCTION.of(call.node()).as_ref() {
        "mean" | "sum" => Vec::new(),
        "none" => match (call.dims(1), call.dims(0)) {
            (Some(labels), _) => labels.to_vec(),
            (None, Some([batch, _, rest @ ..])) => std::iter::once(batch).chain(rest).cloned().collect(),
            (None, _) => return None,
        },
        _ => return None,
    };
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::{infer, infer_all};

    #[test]
    fn a_loss_is_one_number_unless_it_is_not_reduced() {
        let none = [("reduction", "none".into())];
        assert_eq!(infer(NegativeLogLikelihoodLoss, "float[n,c,d] int64[n,d]", &[]), "float[]");
        assert_eq!(infer(NegativeLogLikelihoodLoss, "float[n,c,d] int64[..]", &none), "float[n,d]");
        assert_eq!(infer_all(SoftmaxCrossEntropyLoss, "float16[n,c] int32[n]", &none, 2), "float16[n]  float16[n,c]");
        assert_eq!(infer(NegativeLogLikelihoodLoss, "float[n,c]", &[("reduction", "x".into())]), "float[..]");
    }
}
