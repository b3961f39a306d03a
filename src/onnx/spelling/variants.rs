//! What one version or another changed about single operators.

use super::{Operand, Verbatim, Words};
use crate::ir::{Attr, Graph, Int, NodeId, OpKind, Tensor};
use crate::ops::{CallView, normalize_axis};

/// Whether the newest opset can say what the node says. It cannot where the operator had another meaning then.
pub(super) fn upgrade_is_faithful(graph: &Graph, id: NodeId, opset: u32) -> Result<(), Verbatim> {
    let call = CallView::new(graph, id);
    let node = call.node();
    let int = |name: &str, default: i64| match node.attr(name) {
        None => Some(default),
        Some(Attr::Int(i)) => Some(*i),
        Some(_) => None,
    };
    let only_result = || graph.results(id).iter().skip(1).all(Option::is_none);
    let only_one_read = || graph.results(id).iter().skip(1).flatten().all(|&v| graph.value(v).users().is_empty());
    let faithful = match node.op {
        // Sequences could be left out of the results; the direction had a misspelled default.
        OpKind::RNN | OpKind::GRU | OpKind::LSTM => opset >= 7,
        // Axes were said in another way.
        OpKind::MeanVarianceNormalization => opset >= 9,
        // The batch was an axis of its own.
        OpKind::Scan => opset >= 9,
        // One axis was tiled.
        OpKind::Tile => opset >= 6,
        // Scale and bias were per group.
        OpKind::GroupNormalization => opset >= 21,
        OpKind::Split => opset >= 2 || !call.has(1),
        // All axes from `axis` on were one.
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::Hardmax => {
            opset >= 13 || int("axis", 1).is_some_and(|axis| is_alone(&call, axis))
        }
        OpKind::BatchNormalization => {
            (opset >= 14 || only_result())
                && (opset >= 9 || int("spatial", 1) == Some(1))
                && (opset >= 7 || int("is_test", 0) == Some(1))
        }
        // The mask had the type of the data, and nothing was said of it where nothing is dropped: who reads it gets
        // what that version gave. Old exporters write it everywhere, and nobody reads it.
        OpKind::Dropout => (opset >= 12 || only_one_read()) && (opset >= 7 || int("is_test", 0) == Some(1)),
        OpKind::Resize => match node.attr("coordinate_transformation_mode") {
            Some(Attr::Str(mode)) => &**mode != b"tf_half_pixel_for_nn",
            _ => true,
        },
        _ => true,
    };
    if faithful { Ok(()) } else { Err(Verbatim) }
}

/// Whether `axis` of the first operand is its last, or has only axes of one element after it.
fn is_alone(call: &CallView<'_>, axis: i64) -> bool {
    let after = |rank| normalize_axis(axis, rank).map(|a| a + 1);
    let last = rank(call).is_some_and(|rank| after(rank) == Some(rank));
    let ones = |dims: &[Int]| {
        let rest = after(dims.len()).and_then(|a| dims.get(a..));
        rest.is_some_and(|rest| rest.iter().all(|d| d.known() == Some(1)))
    };
    axis == -1 || last || call.dims(0).is_some_and(ones)
}

/// The rank that operand and result share.
fn rank(call: &CallView<'_>) -> Option<usize> {
    call.rank(0).or_else(|| call.result_dims(0).map(<[_]>::len))
}

pub(super) fn upgrade(graph: &mut Graph, id: NodeId, opset: u32) {
    match graph.node(id).op {
        // What is left out is the second axis here and the last there.
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::Hardmax
            if opset < 13 && graph.node(id).attr("axis").is_none() && rank(&CallView::new(graph, id)) != Some(2) =>
        {
            graph.set_attr(id, "axis", 1.into());
        }
        OpKind::Split if opset < 18 && graph.operand(id, 1).is_none() => {
            let count = i64::try_from(graph.results(id).len()).unwrap_or(i64::MAX);
            graph.set_attr(id, "num_outputs", count.into());
        }
        OpKind::RoiAlign if opset < 16 => {
            graph.set_attr(id, "coordinate_transformation_mode", "output_half_pixel".into());
        }
        OpKind::GridSample if opset < 20 => {
            if let Some(mode) =
                grid_mode(graph.node(id).attr("mode"), &[(b"bilinear", "linear"), (b"bicubic", "cubic")])
            {
                graph.set_attr(id, "mode", mode.into());
            }
        }
        OpKind::Dropout if opset < 12 => {
            for slot in 1..graph.results(id).len() {
                if graph.result(id, slot).is_some() {
                    graph.drop_result(id, slot);
                }
            }
        }
        OpKind::Scatter => graph.node_mut(id).op = OpKind::ScatterElements,
        _ => {}
    }
}

fn grid_mode(attr: Option<&Attr>, pairs: &[(&[u8], &'static str)]) -> Option<&'static str> {
    let Some(Attr::Str(mode)) = attr else { return None };
    pairs.iter().find(|(from, _)| *from == &**mode).map(|(_, to)| *to)
}

pub(super) fn spell(call: &CallView<'_>, words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    let begins = |version: u32| match opset >= version {
        true => Ok(()),
        false => Err(format!("its form is that of opset {version}")),
    };
    match call.node().op {
        OpKind::RNN | OpKind::GRU | OpKind::LSTM => begins(7),
        OpKind::MeanVarianceNormalization | OpKind::Scan => begins(9),
        OpKind::Tile => begins(6),
        OpKind::GroupNormalization => begins(21),
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::Hardmax if opset < 13 => softmax(call, words),
        OpKind::Split if opset < 18 => split(call, words, opset),
        OpKind::RoiAlign if opset < 16 => match words.attr("coordinate_transformation_mode") {
            Some(Attr::Str(mode)) if &**mode == b"output_half_pixel" => {
                words.drop("coordinate_transformation_mode");
                Ok(())
            }
            _ => begins(16),
        },
        OpKind::GridSample if opset < 20 => {
            if let Some(mode) = grid_mode(words.attr("mode"), &[(b"linear", "bilinear"), (b"cubic", "bicubic")]) {
                words.set("mode", mode.into());
            }
            Ok(())
        }
        OpKind::ScatterElements if opset < 11 => {
            words.op_type = "Scatter".into();
            Ok(())
        }
        OpKind::Pad if opset < 18 && words.has_operand(3) => pad(call, words),
        OpKind::Dropout if opset < 12 => {
            let trains = call.constant(2).map(Tensor::integer);
            if words.has_operand(2) && trains != Some(Some(0)) {
                return begins(12);
            }
            words.truncate(2);
            if call.graph().result(call.id(), 1).is_some() { begins(12) } else { Ok(()) }
        }
        OpKind::Gemm if opset < 11 && !words.has_operand(2) => {
            let zero = call.dtype(0).and_then(|t| Tensor::rounded(t, &[1], &[0.0]).ok());
            if let Some(zero) = zero {
                words.truncate(2);
                words.operands.push(Operand::New(zero));
            }
            Ok(())
        }
        op if op.name().starts_with("Reduce") => {
            // With axes, what their absence means does not matter.
            if call.known_ints(1).is_some_and(|axes| !axes.is_empty()) {
                words.drop("noop_with_empty_axes");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn softmax(call: &CallView<'_>, words: &mut Words<'_>) -> Result<(), String> {
    let axis = match words.attr("axis") {
        Some(Attr::Int(axis)) => Some(*axis),
        _ => None,
    };
    match (axis, rank(call)) {
        // Without one the axis is the last here and the second there.
        (None, Some(2)) => Ok(()),
        (None, Some(rank)) => {
            let last = i64::try_from(rank).unwrap_or(i64::MAX) - 1;
            words.set("axis", last.into());
            Ok(())
        }
        (None, None) => {
            words.set("axis", (-1).into());
            Ok(())
        }
        (Some(axis), _) if is_alone(call, axis) => Ok(()),
        (Some(axis), _) => Err(format!("axis {axis} is not known to be the last, which begins with opset 13")),
    }
}

/// Before opset 18 parts without sizes are equal parts.
fn split(call: &CallView<'_>, words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    let Some(Attr::Int(count)) = words.attr("num_outputs").cloned() else { return Ok(()) };
    let axis = match words.attr("axis") {
        Some(Attr::Int(axis)) => *axis,
        _ => 0,
    };
    words.drop("num_outputs");
    if words.has_operand(1) {
        return Ok(());
    }
    let size = call
        .rank(0)
        .and_then(|rank| normalize_axis(axis, rank))
        .and_then(|axis| call.dims(0)?.get(axis)?.known())
        .filter(|size| count > 0 && size % count != 0);
    if let Some(size) = size {
        // As many parts as there are results, whatever a file says beside sizes of its own.
        let results = i64::try_from(call.graph().results(call.id()).len()).unwrap_or(i64::MAX);
        if count > results {
            return Err("num_outputs begins with opset 18".into());
        }
        let part = size / count + i64::from(size % count != 0);
        let sizes: Vec<i64> =
            (0..count).map(|i| part.min(size.saturating_sub(i.saturating_mul(part))).max(0)).collect();
        words.truncate(1);
        words.operands.push(Operand::New(Tensor::vector(&sizes)));
        if opset < 2 {
            return Err("unequal parts begin with opset 2".into());
        }
    }
    Ok(())
}

/// Before opset 18 every axis is padded: the others get zeros.
fn pad(call: &CallView<'_>, words: &mut Words<'_>) -> Result<(), String> {
    let all = || -> Option<Vec<i64>> {
        let (pads, axes, rank) = (call.known_ints(1)?, call.known_ints(3)?, call.rank(0)?);
        let mut all = vec![0; rank.checked_mul(2)?];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = normalize_axis(axis, rank)?;
            all[axis] = *pads.get(i)?;
            all[rank + axis] = *pads.get(axes.len() + i)?;
        }
        Some(all)
    };
    let pads = all().ok_or("axes begins with opset 18")?;
    words.operands[1] = Operand::New(Tensor::vector(&pads));
    words.truncate(3);
    Ok(())
}
