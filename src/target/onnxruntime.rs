//! ONNX Runtime. Opsets as accepted by release 1.31: 26 loads, 27 is refused; old ones are accepted back to 1, and
//! guaranteed from 7.

use crate::ir::OpKind::{
    self, Elu, GroupNormalization, LpNormalization, PRelu, ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp,
    ReduceSumSquare, Selu,
};
use crate::target::Profile;

/// Operators whose kernels release 1.31 does not vectorize, or spells out itself: on one core they take from 1.2 times
/// (`Selu`) to 14 times (`ReduceLogSumExp`) as long as what they stand for.
const SLOWER: &[OpKind] = &[
    Elu,
    GroupNormalization,
    LpNormalization,
    PRelu,
    ReduceL1,
    ReduceL2,
    ReduceLogSum,
    ReduceLogSumExp,
    ReduceSumSquare,
    Selu,
];

/// ONNX Runtime, any of its execution providers.
pub static ONNXRUNTIME: Profile =
    Profile { name: "onnxruntime", oldest_opset: 1, newest_opset: 26, avoids: SLOWER, notes: &[] };
