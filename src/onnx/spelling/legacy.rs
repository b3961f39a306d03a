//! Opsets below 9: operands are broadcast only on request, inference is asked for, element types go by name.

use super::{Operand, Verbatim, Words};
use crate::ir::{Attr, DType, Dims, Graph, Int, NodeId, OpKind, Shape, Tensor};
use crate::ops::{CallView, normalize_axis};

/// Operators whose second operand is broadcast where the attribute `broadcast` says so, before opset 7.
fn broadcasts_on_request(op: OpKind) -> bool {
    use OpKind::{Add, And, Div, Equal, Greater, Less, Mul, Or, Pow, Sub, Xor};
    matches!(op, Add | Sub | Mul | Div | Pow | And | Or | Xor | Equal | Greater | Less)
}

pub(super) fn upgrade(graph: &mut Graph, id: NodeId, opset: u32) -> Result<(), Verbatim> {
    let op = graph.node(id).op;
    match op {
        op if broadcasts_on_request(op) && opset < 7 => broadcast(graph, id)?,
        OpKind::PRelu if opset < 7 => slope(graph, id)?,
        OpKind::Gemm if opset < 7 => graph.remove_attr(id, "broadcast"),
        OpKind::BatchNormalization => {
            for (name, until) in [("spatial", 9), ("is_test", 7)] {
                if opset < until {
                    graph.remove_attr(id, name);
                }
            }
        }
        OpKind::Dropout if opset < 7 => graph.remove_attr(id, "is_test"),
        OpKind::Cast if opset < 6 => {
            let Some(Attr::Str(name)) = graph.node(id).attr("to") else { return Err(Verbatim) };
            let code = type_code(name).ok_or(Verbatim)?;
            graph.set_attr(id, "to", i64::from(code).into());
        }
        OpKind::Concat if opset < 4 && graph.node(id).attr("axis").is_none() => graph.set_attr(id, "axis", 1.into()),
        OpKind::Selu if opset < 6 => {
            for (name, value) in [("alpha", 1.6732f32), ("gamma", 1.0507f32)] {
                if graph.node(id).attr(name).is_none() {
                    graph.set_attr(id, name, value.into());
                }
            }
        }
        OpKind::LpPool | OpKind::GlobalLpPool if opset < 2 => {
            if let Some(Attr::Float(p)) = graph.node(id).attr("p") {
                let order = [1i64, 2].into_iter().find(|&n| *p == if n == 1 { 1.0 } else { 2.0 }).ok_or(Verbatim)?;
                graph.set_attr(id, "p", order.into());
            }
        }
        _ => {}
    }
    if opset < 6 {
        graph.remove_attr(id, "consumed_inputs");
    }
    Ok(())
}

/// Arrange the second operand so that it broadcasts as it does today.
fn broadcast(graph: &mut Graph, id: NodeId) -> Result<(), Verbatim> {
    let int = |name: &str| match graph.node(id).attr(name) {
        Some(Attr::Int(i)) => Some(*i),
        _ => None,
    };
    let (asked, axis) = (int("broadcast").unwrap_or(0) != 0, int("axis"));
    if asked {
        let call = CallView::new(graph, id);
        let (a, b) = (call.dims(0).ok_or(Verbatim)?, call.dims(1).ok_or(Verbatim)?);
        let spare = a.len().checked_sub(b.len()).ok_or(Verbatim)?;
        let first = match axis {
            None => spare,
            Some(axis) => normalize_axis(axis, a.len()).ok_or(Verbatim)?,
        };
        let trailing = spare.checked_sub(first).ok_or(Verbatim)?;
        let aligned: Vec<Int> = b.iter().cloned().chain(std::iter::repeat_n(Int::from(1), trailing)).collect();
        // The same must be found again when the node is written.
        request(a, &aligned, call.constant(1)).ok_or(Verbatim)?;
        if trailing > 0 {
            let dims: Vec<usize> = Shape::of(aligned).sizes().ok_or(Verbatim)?;
            reshape(graph, id, &dims)?;
        }
    } else {
        let call = CallView::new(graph, id);
        if let (Some(a), Some(b)) = (call.dims(0), call.dims(1))
            && surely_differ(a, b)
        {
            return Err(Verbatim);
        }
    }
    graph.remove_attr(id, "broadcast");
    graph.remove_attr(id, "axis");
    Ok(())
}

/// Before opset 7 a slope that is not one number is one per channel.
fn slope(graph: &mut Graph, id: NodeId) -> Result<(), Verbatim> {
    let call = CallView::new(graph, id);
    let (rank, slope) = (call.rank(0).ok_or(Verbatim)?, call.constant(1).ok_or(Verbatim)?);
    if slope.len() == 1 || rank == 2 {
        return Ok(());
    }
    if slope.rank() != 1 || rank < 2 {
        return Err(Verbatim);
    }
    let mut dims = vec![1; rank - 1];
    dims[0] = slope.len();
    reshape(graph, id, &dims)
}

/// Make the second operand, a constant, one of these dimensions.
fn reshape(graph: &mut Graph, id: NodeId, dims: &[usize]) -> Result<(), Verbatim> {
    let old = graph.operand(id, 1).ok_or(Verbatim)?;
    let tensor = graph.constant(old).and_then(|t| t.reshaped(dims).ok()).ok_or(Verbatim)?;
    let scope = graph.node(id).scope();
    let new = graph.add_constant(scope, "", tensor);
    graph.set_operand(id, 1, Some(new));
    graph.prune_constant(old);
    Ok(())
}

pub(super) fn spell(call: &CallView<'_>, words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    match call.node().op {
        op if broadcasts_on_request(op) && opset < 7 => ask_to_broadcast(call, words)?,
        OpKind::Max | OpKind::Min | OpKind::Sum | OpKind::Mean if opset < 8 => {
            let first = call.dims(0);
            let differs = (1..call.operand_count()).any(|slot| match (first, call.dims(slot)) {
                (Some(a), Some(b)) => surely_differ(a, b),
                _ => false,
            });
            if differs {
                return Err("operands of different shapes begin with opset 8".into());
            }
        }
        OpKind::PRelu if opset < 7 => {
            if let Some(slope) = call.constant(1).filter(|t| t.len() > 1 && t.rank() > 1) {
                let flat = slope.reshaped(&[slope.len()]).map_err(|e| e.to_string())?;
                if slope.dims().first() != Some(&slope.len()) {
                    return Err("a slope that is not per channel begins with opset 7".into());
                }
                words.operands[1] = Operand::New(flat);
            }
        }
        OpKind::Gemm if opset < 7 => {
            let whole = call.dims(2).is_some_and(|c| c.len() == 2 && c.iter().all(|d| d.known() != Some(1)));
            if !whole {
                words.set("broadcast", 1.into());
            }
        }
        OpKind::BatchNormalization => {
            if opset < 7 {
                words.set("is_test", 1.into());
            }
            if opset < 6 {
                words.set("consumed_inputs", vec![0, 0, 0, 1, 1].into());
            }
        }
        OpKind::Dropout if opset < 7 => words.set("is_test", 1.into()),
        OpKind::Cast if opset < 6 => {
            let name = match words.attr("to") {
                Some(Attr::Int(code)) => i32::try_from(*code).ok().and_then(DType::from_code).map(DType::name),
                _ => None,
            };
            let name = name.ok_or("its type has no name")?.to_ascii_uppercase();
            words.set("to", name.as_str().into());
        }
        OpKind::LpPool | OpKind::GlobalLpPool if opset < 2 => match words.attr("p") {
            Some(Attr::Int(1)) => words.set("p", 1.0.into()),
            Some(Attr::Int(2)) => words.set("p", 2.0.into()),
            Some(_) => return Err("this norm begins with opset 2".into()),
            None => {}
        },
        OpKind::Pad if opset < 2 => {
            if let Some((name, _)) = words.attrs.iter_mut().find(|(name, _)| name == "pads") {
                *name = "paddings".into();
            }
        }
        _ => {}
    }
    Ok(())
}

/// What a node before opset 7 must ask for.
enum Request {
    /// Nothing: the shapes are the same.
    Nothing,
    /// To broadcast an operand that stands at the last axes.
    Last,
    /// To broadcast an operand, a constant of these sizes, that stands from an axis on.
    From(usize, Dims),
}

/// What makes `b` broadcast over `a` as it does today; `None` where that is not known, or cannot be asked for.
fn request(a: &[Int], b: &[Int], constant: Option<&Tensor>) -> Option<Request> {
    if a == b {
        return Some(Request::Nothing);
    }
    let one_element = constant.is_some_and(|t| t.len() == 1) && a.len() >= b.len();
    if one_element || a.ends_with(b) {
        return Some(Request::Last);
    }
    let sizes = Shape::of(b.iter().cloned()).sizes().filter(|_| constant.is_some())?;
    let leading = sizes.iter().take_while(|&&d| d == 1).count();
    let trailing = sizes.iter().rev().take_while(|&&d| d == 1).count();
    let middle = sizes.get(leading..sizes.len().checked_sub(trailing)?)?;
    let axis = (a.len() + leading).checked_sub(sizes.len())?;
    let same = a.get(axis..axis + middle.len())?.iter().zip(middle).all(|(a, &b)| *a == Int::from(b));
    same.then(|| Request::From(axis, middle.into()))
}

/// Say that the second operand is to be broadcast, where it is, and from which axis on.
fn ask_to_broadcast(call: &CallView<'_>, words: &mut Words<'_>) -> Result<(), String> {
    // Where shapes are not known the file did not ask, so they were the same.
    let (Some(a), Some(b)) = (call.dims(0), call.dims(1)) else { return Ok(()) };
    match (request(a, b, call.constant(1)), call.constant(1)) {
        (Some(Request::Nothing), _) => {}
        (Some(Request::Last), _) => words.set("broadcast", 1.into()),
        (Some(Request::From(axis, sizes)), Some(constant)) => {
            words.operands[1] = Operand::New(constant.reshaped(&sizes).map_err(|e| e.to_string())?);
            words.set("broadcast", 1.into());
            words.set("axis", i64::try_from(axis).unwrap_or(i64::MAX).into());
        }
        _ if surely_differ(a, b) => return Err("broadcasting these shapes begins with opset 7".into()),
        _ => {}
    }
    Ok(())
}

/// Whether two shapes are of different rank, or have two sizes that are different numbers.
fn surely_differ(a: &[Int], b: &[Int]) -> bool {
    a.len() != b.len() || a.iter().zip(b).any(|(a, b)| matches!((a.known(), b.known()), (Some(a), Some(b)) if a != b))
}

/// The number of an element type that goes by name.
fn type_code(name: &[u8]) -> Option<i32> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    DType::ALL.into_iter().find(|t| t.name() == name).map(DType::code)
}
