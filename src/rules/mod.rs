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
    // What computes nothing.
    drop_identity,
    drop_dropout,
    drop_cast,
    drop_add_zero,
    drop_sub_zero,
    drop_mul_one,
    drop_div_one,
    drop_pow_one,
    drop_logic,
    drop_same,
    drop_double_negation,
    drop_idempotent,
    drop_relu,
    drop_clip,
    drop_where,
    drop_views,
    drop_expand,
    drop_transpose,
    drop_slice,
    drop_pad,
    drop_single,
    drop_resize,
    drop_reduce,
    drop_unit_pool,
    drop_zero_state,
    // One spelling of each thing.
    resolve_cast_like,
    turn_sum_into_add,
    turn_clip_into_relu,
    turn_resize_sizes_into_scales,
    shrink_uniform_constant,
    drop_expand_before_broadcast,
    // Two of a kind, or one that undoes the other.
    merge_casts,
    merge_expands,
    merge_transposes,
    cancel_transposes,
    unflatten_transpose,
    merge_views,
    cancel_views,
    merge_slices,
    turn_slices_into_split,
    turn_repeated_into_gather,
    drop_gather_of_grid,
    merge_split_into_heads,
    merge_heads_of_parts,
    turn_parts_together,
    move_split_behind,
    merge_pads,
    merge_clips,
    merge_concats,
    turn_concat_into_pad,
    drop_concat_of_split,
    drop_split_of_concat,
    drop_slice_of_concat,
    merge_reduces,
    fold_view_into_reduce,
    fold_transpose_into_reduce,
    fold_negation,
    // What one operator says.
    fuse_layer_norm,
    fuse_rms_norm,
    fuse_rotary_embedding,
    fold_rest_into_rotary,
    shorten_rms_norm,
    fuse_softplus,
    fuse_mish,
    fuse_hard_sigmoid,
    fuse_hard_swish,
    fuse_gelu,
    fuse_swish,
    // Into linear operators.
    fold_batchnorm,
    fold_batchnorm_forward,
    fold_scale,
    fold_scale_through_bias,
    fold_scale_through_moves,
    fold_scale_into_gemm,
    fold_scale_forward,
    fold_scale_into_readers,
    fold_scale_into_norm,
    reuse_scaled,
    fold_shift,
    fold_shift_forward,
    fold_pad_into_conv,
    fold_pad_into_pool,
    merge_matmuls,
    merge_convs,
    merge_parallel_convs,
    merge_parallel_matmuls,
    fuse_matmul_add,
    fold_transpose_into_gemm,
    unflatten_matmul,
    // One operator for what is spelled out.
    fuse_attention,
    fold_scale_into_attention,
    drop_repeated_heads,
    fold_cache_into_attention,
    fold_heads_into_rotary,
    fold_heads_into_attention,
    // What was not taken up by one.
    merge_scales,
    merge_matmul_scales,
    merge_shifts,
}
