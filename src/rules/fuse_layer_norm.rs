//! `(x - mean(x)) / √(mean((x - mean(x))²) + ε) · scale + shift`, with means over the last axes, is
//! `LayerNormalization` (opset 17).
//!
//! The square may be a power or a product, the mean a sum divided by the size, and the root divided by or its reciprocal
//! multiplied with; scale and shift may be missing, or multiplied out: `x · k + (shift - mean(x) · k)` with the scale
//! over the root for `k`, as TensorFlow spells it. With half precision that is cast to single for all this and back,
//! the operator does the same by itself.
//!
//! Declines where something on the way is also read elsewhere, where scale or shift are not of the shape of these axes,
//! where there is no scale and the size is not known, and for double precision, for which the operator's statistics are
//! not precise enough.

use crate::ir::OpKind::{Add, Cast, Div, Mul};
use crate::rewrite::{Exactness, Rule, any_of, applies};
use crate::rules::support::norm::{instance_norm, layer_norm, outermost, reader_ends};

pub fn rule() -> Rule {
    Rule::new("fuse-layer-norm", Exactness::Rounding, any_of(&[Div, Mul, Add, Cast]), |m| {
        let (graph, root) = (m.graph(), m.root().id());
        // Scaled per channel, it is the other normalization over the last axes.
        applies(!reader_ends(graph, root, instance_norm))?;
        outermost(graph, root, layer_norm)
    })
    .even_if_shared()
}
