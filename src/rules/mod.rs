//! The rules, one per file. The order of the list is the order in which they are tried at a node.

use crate::rewrite::Rule;

mod support;

/// A rule with the manual page that `explain` prints: the doc comment of its file.
pub struct Entry {
    /// The rule.
    pub rule: Rule,
    /// Its file's own text.
    pub source: &'static str,
}

macro_rules! rules {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// Every rule, in order.
        pub fn all() -> Vec<Entry> {
            vec![$(Entry { rule: $module::rule(), source: include_str!(concat!(stringify!($module), ".rs")) }),*]
        }
    };
}

rules! {
    drop_identity,
    drop_dropout,
    drop_cast,
    merge_casts,
    resolve_cast_like,
    drop_add_zero,
    drop_sub_zero,
    drop_mul_one,
    drop_div_one,
    drop_pow_one,
    drop_views,
    merge_views,
    drop_transpose,
    merge_transposes,
    fold_batchnorm,
    fold_batchnorm_forward,
    fold_scale,
    fold_scale_through_bias,
    fold_scale_forward,
    fold_shift,
    fold_shift_forward,
    matmul_add_to_gemm,
}
