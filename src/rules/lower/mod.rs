//! Operators said in others, for runtimes and opsets that lack them. Each rule is tried only at calls that cannot be
//! run as they are.

mod attention;
mod batch_first;
mod celu;
mod compress;
mod contrib_gelu;
mod contrib_quantized;
mod dynamic_quantization;
mod fused_conv;
mod gelu;
mod global_lp_pool;
mod group_normalization;
mod hard_swish;
mod hardmax;
mod layer_normalization;
mod matmul_integer;
mod mean_variance_normalization;
mod mish;
mod or_equal;
mod qlinear_conv;
mod qlinear_matmul;
mod rms_normalization;
mod rotary_embedding;
mod swiglu;
mod swish;
mod thresholded_relu;
mod unsigned_quantization;

use crate::rules::Entry;

/// Every lowering, in the order in which they are tried.
pub fn all() -> Vec<Entry> {
    macro_rules! entries {
        ($($module:ident),* $(,)?) => {
            vec![$(Entry { rule: $module::rule(), source: include_str!(concat!(stringify!($module), ".rs")) }),*]
        };
    }
    entries![
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
        global_lp_pool,
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
        contrib_gelu,
        fused_conv,
        dynamic_quantization,
        matmul_integer,
    ]
}
