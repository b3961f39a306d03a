//! `Upsample` and the `Resize` of opset 10 are the newest `Resize` with its older defaults spelled out.
//!
//! Both sample at `x_out / scale`, and take the element before that point where they take the nearest; so they are
//! the `asymmetric` mode with `floor`. Runtimes disagree with that where the old `Resize` takes the nearest and makes
//! the tensor smaller, so that case stays as it is, and so do scales that are not known.

use super::{Operand, Verbatim, Words};
use crate::ir::{Attr, Graph, NodeId, OpKind, Tensor};
use crate::ops::CallView;

/// The first opset whose `Resize` has the newest operands.
const NEW_RESIZE: u32 = 11;

pub(super) fn upgrade(graph: &mut Graph, id: NodeId, opset: u32) -> Result<(), Verbatim> {
    match graph.node(id).op {
        OpKind::Upsample | OpKind::Resize if opset < NEW_RESIZE => {}
        OpKind::Resize => {
            // An empty region or list of scales is how opset 11 leaves it out.
            for slot in [1, 2, 3] {
                let Some(value) = graph.operand(id, slot) else { continue };
                if graph.constant(value).is_some_and(|t| t.len() == 0) {
                    graph.set_operand(id, slot, None);
                    graph.prune_constant(value);
                }
            }
            return Ok(());
        }
        _ => return Ok(()),
    }
    let node = graph.node(id);
    let nearest = match node.attr("mode") {
        None => true,
        Some(Attr::Str(mode)) if &**mode == b"nearest" => true,
        Some(Attr::Str(mode)) if &**mode == b"linear" => false,
        Some(_) => return Err(Verbatim),
    };
    let from_attr = match node.attr("scales") {
        Some(Attr::Floats(scales)) => Tensor::f32s(&[scales.len()], scales).ok(),
        _ => None,
    };
    let given = graph.operand(id, 1);
    let scales = from_attr.clone().or_else(|| given.and_then(|v| graph.constant(v)).cloned());
    let enlarges = scales.and_then(|t| t.reals()).is_some_and(|s| s.iter().all(|&s| s >= 1.0));
    if !enlarges {
        return Err(Verbatim);
    }
    let scope = node.scope();
    let scales = match from_attr {
        Some(tensor) => Some(graph.add_constant(scope, "", tensor)),
        None => given,
    };
    graph.remove_attr(id, "scales");
    graph.set_operand(id, 1, None);
    graph.set_operand(id, 2, scales);
    graph.set_attr(id, "coordinate_transformation_mode", "asymmetric".into());
    if nearest {
        graph.set_attr(id, "nearest_mode", "floor".into());
    }
    graph.node_mut(id).op = OpKind::Resize;
    Ok(())
}

pub(super) fn spell(call: &CallView<'_>, words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    if call.node().op != OpKind::Resize {
        return Ok(());
    }
    if (NEW_RESIZE..13).contains(&opset) {
        // These two may not be left out yet; empty they say nothing.
        let empty = || Tensor::f32s(&[0], &[]).map(Operand::New).unwrap_or(Operand::Absent);
        for slot in [1, 2] {
            while words.operands.len() <= slot {
                words.operands.push(Operand::Absent);
            }
            if !words.has_operand(slot) {
                words.operands[slot] = empty();
            }
        }
        return Ok(());
    }
    if opset >= NEW_RESIZE {
        return Ok(());
    }
    let text = |name: &str, default: &'static str| match words.attr(name) {
        Some(Attr::Str(s)) => String::from_utf8_lossy(s).into_owned(),
        _ => default.to_string(),
    };
    let mode = text("mode", "nearest");
    let old_sampling = text("coordinate_transformation_mode", "half_pixel") == "asymmetric"
        && (mode == "linear" || (mode == "nearest" && text("nearest_mode", "round_prefer_floor") == "floor"));
    let enlarges = call.constant(2).and_then(Tensor::reals).is_some_and(|s| s.iter().all(|&s| s >= 1.0));
    if !old_sampling || !enlarges || words.has_operand(1) || words.has_operand(3) {
        return Err(format!("this way of sampling begins with opset {NEW_RESIZE}"));
    }
    words.drop("coordinate_transformation_mode");
    words.drop("nearest_mode");
    words.operands.remove(1);
    words.truncate(2);
    if opset < 10 {
        words.op_type = "Upsample".into();
    }
    if opset < 9 {
        let Some(scales) = call.constant(2).and_then(Tensor::reals) else { return Ok(()) };
        #[expect(clippy::cast_possible_truncation, reason = "scales are float32")]
        words.set("scales", Attr::Floats(scales.into_iter().map(|s| s as f32).collect()));
        words.truncate(1);
    }
    Ok(())
}
