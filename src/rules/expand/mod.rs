//! Operators that ONNX Runtime adds to ONNX's, said in ONNX's own: for whoever does not know them, such as the engine
//! that proves results.
//!
//! Each file is one operator. What a call does beyond what its file says is left alone.

use crate::ir::OpKind::Custom;
use crate::ir::Tensor;
use crate::ops::CallView;
use crate::rewrite::{CONTRIB, Expr, Match, Pat, Skip, applies};
use crate::rules::Entry;

mod activation;

rules! {
    /// Every expansion.
    all {
    "Operators of com.microsoft, said in ONNX's own":
    attention,
    bias_gelu,
    embed_layer_norm,
    fast_gelu,
    fused_conv,
    fused_gemm,
    fused_matmul,
    gelu,
    multi_head_attention,
    quick_gelu,
    simplified_layer_norm,
    skip_layer_norm,
    skip_simplified_layer_norm,
    }
}

/// A pattern for what [`called`] looks into.
fn any() -> Pat {
    Custom.any()
}

/// The root, where it is a call of operator `name` of [`CONTRIB`].
fn called<'g>(m: &Match<'g>, name: &str) -> Result<CallView<'g>, Skip> {
    let root = m.root();
    applies(root.node().domain() == CONTRIB && root.node().op_name() == name)?;
    Ok(root)
}

/// Operand `slot`, which must be given.
fn operand(call: &CallView<'_>, slot: usize) -> Result<Expr, Skip> {
    call.operand(slot).map(Expr::from).ok_or(Skip::NotThis)
}

/// One number of the type of operand `like`.
fn number(call: &CallView<'_>, like: usize, number: f64) -> Result<Expr, Skip> {
    let dtype = call.dtype(like).ok_or(Skip::NotThis)?;
    Tensor::rounded(dtype, &[], &[number]).map(Expr::from).map_err(|_| Skip::NotThis)
}

/// Whether nobody reads result `slot`.
fn is_unread(call: &CallView<'_>, slot: usize) -> bool {
    let graph = call.graph();
    graph.result(call.id(), slot).is_none_or(|v| graph.value(v).users().is_empty())
}
