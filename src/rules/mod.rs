//! The rules, one per file, in groups. The order of each list is the order in which they are tried at a node; within a
//! group it makes no difference to what is left in the end.

use crate::rewrite::Rule;

/// Modules of one rule each, and a function that lists them.
macro_rules! rules {
    ($(#[$doc:meta])* $list:ident { $($group:literal: $($module:ident,)*)* }) => {
        $($(mod $module;)*)*

        $(#[$doc])*
        pub fn $list() -> Vec<Entry> {
            vec![$($(Entry {
                rule: $module::rule(),
                source: include_str!(concat!(stringify!($module), ".rs")),
                group: $group,
            },)*)*]
        }
    };
}

pub mod expand;
pub mod lower;
pub(crate) mod support;

/// A rule with the manual page that `explain` prints: the doc comment of its file.
pub struct Entry {
    /// The rule.
    pub rule: Rule,
    /// Its file's own text.
    pub source: &'static str,
    /// What the rules that stand together are about.
    pub group: &'static str,
}

/// The rules that take tensors out of sequences.
pub fn sequences() -> [Rule; 4] {
    [
        merge_sequence_inserts::rule(),
        drop_sequence::rule(),
        turn_sequence_into_concat::rule(),
        turn_sequence_into_slice::rule(),
    ]
}

/// Every rule, in order.
pub fn all() -> Vec<Entry> {
    simplify().into_iter().chain(specialize()).collect()
}

rules! {
    /// What makes a model smaller and faster wherever it runs.
    simplify {
    "What computes nothing":
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
    drop_empty_part,
    drop_idempotent,
    drop_relu,
    drop_clip,
    drop_where,
    drop_not_before_where,
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
    "One spelling of each thing":
    resolve_cast_like,
    turn_sum_into_add,
    fuse_leaky_relu,
    turn_max_into_clip,
    turn_clip_into_relu,
    turn_einsum_into_product,
    simplify_pow,
    fold_reciprocal,
    turn_resize_sizes_into_scales,
    turn_gather_nd_into_compress,
    turn_reduce_into_min,
    shrink_uniform_constant,
    drop_expand_before_broadcast,
    "Sequences of tensors, which few runtimes have":
    merge_sequence_inserts,
    drop_sequence,
    turn_sequence_into_concat,
    turn_sequence_into_slice,
    "Two of a kind, or one that undoes the other":
    merge_casts,
    merge_expands,
    merge_transposes,
    cancel_transposes,
    unflatten_transpose,
    merge_views,
    merge_view_into_transpose,
    cancel_views,
    cancel_views_around_pad,
    merge_wheres,
    merge_slices,
    turn_slices_into_split,
    turn_slices_into_transpose,
    turn_gathers_into_split,
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
    turn_parts_into_gather,
    drop_split_of_concat,
    drop_slice_of_concat,
    merge_reduces,
    fold_view_into_reduce,
    fold_transpose_into_reduce,
    fold_negation,
    "What one operator says of a group of axes, which LayerNormalization would say with more around it":
    fuse_group_norm,
    fuse_instance_norm,
    "What one operator says":
    fuse_layer_norm,
    fuse_layer_norm_across,
    fuse_rms_norm,
    fuse_rotary_embedding,
    fold_rest_into_rotary,
    fuse_reduce_mean,
    fuse_reduce_l1,
    fuse_reduce_sum_square,
    fuse_reduce_l2,
    fuse_lp_norm,
    fuse_softmax,
    fuse_log_softmax,
    fuse_reduce_log_sum_exp,
    fuse_reduce_log_sum,
    fuse_depth_to_space,
    fuse_space_to_depth,
    turn_strided_slices_into_views,
    fuse_compress,
    merge_directions,
    turn_last_step_into_state,
    fuse_prelu,
    fuse_elu,
    fuse_selu,
    fuse_thresholded_relu,
    fuse_softsign,
    fuse_softplus,
    fuse_mish,
    fuse_hard_sigmoid,
    fuse_hard_swish,
    fuse_gelu,
    fuse_early_gelu,
    fuse_swish,
    "Into linear operators":
    fold_batchnorm,
    fold_batchnorm_forward,
    fold_scale,
    fold_scale_through_bias,
    fold_scale_through_moves,
    fold_scale_into_gemm,
    fold_scale_forward,
    fold_scale_into_readers,
    fold_scale_into_norm,
    fold_shift,
    fold_shift_forward,
    fold_space_to_depth_into_conv,
    fold_pad_into_conv,
    fold_pad_into_pool,
    merge_matmuls,
    merge_convs,
    merge_parallel_convs,
    merge_parallel_matmuls,
    fuse_matmul_add,
    fold_transpose_into_gemm,
    unflatten_matmul,
    merge_views_around_matmul,
    "One operator for what is spelled out":
    fuse_attention,
    fuse_multi_head_attention,
    fold_scale_into_attention,
    drop_repeated_heads,
    fold_cache_into_attention,
    fold_heads_into_rotary,
    fold_heads_into_attention,
    "What was not taken up by one":
    merge_scales,
    merge_matmul_scales,
    merge_shifts,
    }
}

rules! {
    /// What only some targets have an operator for.
    specialize {
    "None of the others knows these operators, so they come last":
    fuse_conv_activation,
    fuse_conv_sum_activation,
    fuse_gemm_activation,
    fuse_quick_gelu,
    fuse_transpose_into_matmul,
    fuse_scale_into_matmul,
    }
}
