//! Operators said in others, for runtimes and opsets that lack them. Each rule is tried only at calls that cannot be
//! run as they are.

use crate::rules::{Entry, expand};

/// Every lowering, in the order in which they are tried: those of ONNX's operators, and the expansions of others.
pub fn all() -> Vec<Entry> {
    own().into_iter().chain(expand::all()).collect()
}

rules! {
    /// Lowerings of ONNX's own operators, and of quantized ones.
    own {
    "Operators said in others":
    gelu,
    mish,
    swish,
    swiglu,
    hard_swish,
    celu,
    thresholded_relu,
    hardmax,
    or_equal,
    compress,
    gather,
    global_lp_pool,
    reduce_l1,
    reduce_log_sum,
    reduce_log_sum_exp,
    layer_normalization,
    rms_normalization,
    group_normalization,
    mean_variance_normalization,
    attention,
    rotary_embedding,
    batch_first,
    unsigned_quantization,
    qlinear_conv,
    qlinear_matmul,
    contrib_quantized,
    dynamic_quantization,
    matmul_integer,
    }
}
