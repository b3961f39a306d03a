//! `(x - mean(x)) / √(mean((x - mean(x))²) + ε) · scale + shift`, with means over all axes behind the channels and a
//! constant scale and shift per channel, is `InstanceNormalization`.
//!
//! Spelled as for `fuse-layer-norm`; scale and shift may be missing. Over the last axis of three alone it takes a scale
//! or shift per channel to tell it from a layer's normalization.
//!
//! Declines where something on the way is also read elsewhere, where the number of channels is not known, and for double
//! precision, for which runtimes' statistics are not precise enough.

use crate::ir::OpKind::{Add, Div, Mul};
use crate::rewrite::{Exactness, Rule, any_of, applies};
use crate::rules::support::norm::{instance_norm, layer_norm, outermost, reader_ends};

pub fn rule() -> Rule {
    Rule::new("fuse-instance-norm", Exactness::Rounding, any_of(&[Div, Mul, Add]), |m| {
        let (graph, root) = (m.graph(), m.root().id());
        applies(!reader_ends(graph, root, layer_norm))?;
        outermost(graph, root, instance_norm)
    })
    .even_if_shared()
}
