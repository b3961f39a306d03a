//! Operators of onnxruntime's own domain whose attributes speak of how many heads or channels there are.

use super::edit::Edit;
use super::{conv, norm};
use crate::ir::{Attr, Key};
use crate::ops::{End, Port};
use crate::prune::Refused;
use crate::prune::call::Call;

pub(super) fn edits(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let Some(custom) = &call.view.node().custom else { return Ok(Vec::new()) };
    match (&*custom.0, &*custom.1) {
        ("com.microsoft", "Attention" | "QAttention" | "MultiHeadAttention" | "GroupQueryAttention") => Ok(heads(call)),
        ("com.microsoft", "FusedConv") => conv::edits(call),
        ("com.microsoft", "SkipSimplifiedLayerNormalization") => norm::root_mean_square(call, 2, 1e-12),
        ("", "SimplifiedLayerNormalization") => norm::root_mean_square(call, 1, 1e-5),
        _ => Ok(Vec::new()),
    }
}

/// As large a share of all heads is left as of the result's columns.
fn heads(call: &Call<'_>) -> Vec<Edit> {
    let end = End { port: Port::Result(0), axis: 2 };
    let (Some(kept), Some(size)) = (call.kept(end).map(<[usize]>::len), call.size(end)) else { return Vec::new() };
    let left = |count: i64| -> Option<i64> {
        i64::try_from(usize::try_from(count).ok()?.checked_mul(kept)?.checked_div(size)?).ok()
    };
    let node = call.view.node();
    let mut edits = Vec::new();
    for name in ["num_heads", "kv_num_heads"] {
        if let Some(count) = Key::new(name, 0i64).get(node).and_then(left) {
            edits.push(Edit::Set(call.view.id(), name, count.into()));
        }
    }
    if let Some(Attr::Ints(sizes)) = node.attr("qkv_hidden_sizes")
        && let Some(sizes) = sizes.iter().map(|&size| left(size)).collect::<Option<Vec<i64>>>()
    {
        edits.push(Edit::Set(call.view.id(), "qkv_hidden_sizes", sizes.into()));
    }
    edits
}
