//! Ops that pick elements by indices, and ops that place them.

use crate::ir::{Int, Key};
use crate::ops::slice::{MOVES, axis_of, like_first};
use crate::ops::{CallView, Channels, End, Infer, MAX_RANK, OpDef, Outcome, Quant, Tie, Ties, normalize_axis, ties};

/// `GatherND`: how many leading axes index and data share.
pub const BATCH_DIMS: Key<i64> = Key::new("batch_dims", 0);
/// `ScatterElements` and `ScatterND`: how an update meets what is there.
pub const REDUCTION: Key<&'static str> = Key::new("reduction", "none");

/// `Gather`.
pub static GATHER: OpDef = OpDef { infer: Some(gather), channels: gathered, ties: picked, ..MOVES };
/// `GatherElements`.
pub static GATHER_ELEMENTS: OpDef = OpDef { infer: Some(gather_elements), ..MOVES };
/// `GatherND`.
pub static GATHER_ND: OpDef = OpDef { infer: Some(gather_nd), ..MOVES };
/// `ScatterElements` and the older `Scatter`.
pub static SCATTER_ELEMENTS: OpDef = OpDef { infer: Some(scatter_elements), quant: scattered, ..OpDef::PURE };
/// `ScatterND`.
pub static SCATTER_ND: OpDef = OpDef { infer: Some(scatter_nd), ..SCATTER_ELEMENTS };

/// Elements `at` of `content`; indices count from the back when negative. `None` when one is outside.
fn pick(content: &[Int], at: &[i64]) -> Option<Vec<Int>> {
    at.iter().map(|&i| normalize_axis(i, content.len()).map(|i| content[i].clone())).collect()
}

fn gather(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let (dims, indices) = (call.dims(0)?, call.dims(1)?);
    let axis = axis_of(call, dims.len())?;
    if dims.len() + indices.len() > MAX_RANK {
        return None;
    }
    let sizes: Vec<Int> = dims[..axis].iter().chain(indices).chain(&dims[axis + 1..]).cloned().collect();
    call.set(0, dtype, sizes);
    let picked = pick(&call.elements(0)?, &call.known_ints(1)?)?;
    call.set_content(0, picked);
    Some(())
}

fn gathered(call: &CallView<'_>) -> Channels {
    let (Some(rank), Some(indices)) = (call.rank(0), call.rank(1)) else { return Channels::Barrier };
    let Some(axis) = axis_of(call, rank) else { return Channels::Barrier };
    let before = (0..axis).map(Some);
    Channels::Moved(before.chain((0..indices).map(|_| None)).chain((axis + 1..rank).map(Some)).collect())
}

/// A list of constant indices picks from the axis.
fn picked(call: &CallView<'_>) -> Ties {
    let mut ties = ties::of_channels(call);
    let found = || {
        let axis = axis_of(call, call.rank(0)?)?;
        let size = ties::size(call, End::operand(0, axis))?;
        if call.rank(1)? != 1 {
            return None;
        }
        let indices = call.constant(1)?.integers()?.into_iter();
        let indices = indices.map(|i| normalize_axis(i, size)).collect::<Option<Vec<_>>>()?;
        Some(Tie::Picked { from: End::operand(0, axis), to: End::result(0, axis), indices })
    };
    ties.extend(found());
    ties
}

fn gather_elements(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let sizes = call.dims(1)?.to_vec();
    call.set(0, dtype, sizes);
    let picked = pick(&call.elements(0)?, &call.known_ints(1)?)?;
    call.set_content(0, picked);
    Some(())
}

fn gather_nd(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let (dims, indices) = (call.dims(0)?, call.dims(1)?);
    let (depth, front) = indices.split_last()?;
    let batch = usize::try_from(BATCH_DIMS.of(call.node())).ok()?;
    let depth = usize::try_from(depth.known()?).ok()?;
    let back = dims.get(batch.checked_add(depth)?..)?;
    if front.len() + back.len() > MAX_RANK || front.len() < batch {
        return None;
    }
    let sizes: Vec<Int> = front.iter().chain(back).cloned().collect();
    call.set(0, dtype, sizes);
    if batch == 0 && depth == 1 {
        let picked = pick(&call.elements(0)?, &call.known_ints(1)?)?;
        call.set_content(0, picked);
    }
    Some(())
}

/// The elements of a vector after `updates` are put at constant `indices`.
fn placed(call: &Infer<'_>, updates: usize) -> Option<Vec<Int>> {
    if REDUCTION.of(call.node()) != "none" || call.rank(0)? != 1 {
        return None;
    }
    let mut content = call.elements(0)?;
    let (indices, updates) = (call.known_ints(1)?, call.elements(updates)?);
    if indices.len() != updates.len() {
        return None;
    }
    let mut written = Vec::with_capacity(indices.len());
    for (index, update) in indices.into_iter().zip(updates) {
        let index = normalize_axis(index, content.len())?;
        // Which of two updates of one element stays is not defined.
        if written.contains(&index) && content[index] != update {
            return None;
        }
        written.push(index);
        content[index] = update;
    }
    Some(content)
}

fn scatter_elements(call: &mut Infer<'_>) -> Outcome {
    like_first(call)?;
    let content = placed(call, 2)?;
    call.set_content(0, content);
    Some(())
}

fn scatter_nd(call: &mut Infer<'_>) -> Outcome {
    like_first(call)?;
    // One index into a vector is a list of one number, whatever is around it.
    if call.dims(1)?.last()?.known() != Some(1) {
        return None;
    }
    let content = placed(call, 2)?;
    call.set_content(0, content);
    Some(())
}

fn scattered(call: &CallView<'_>) -> Quant {
    if REDUCTION.of(call.node()) == "none" { Quant::SharesScale } else { Quant::Float }
}

#[cfg(test)]
mod tests {
    use crate::ir::{OpKind::*, Tensor};
    use crate::ops::testing::{Case, infer};
    use crate::ops::{Channels, def};

    #[test]
    fn gathers_pick() {
        let gather = |operands: &str| infer(Gather, operands, &[]);
        assert_eq!(gather("int64:[b,s,256] int64=1"), "int64:s");
        assert_eq!(gather("int64:[b,s,256] int64=[-1,0]"), "int64:[256,b]");
        assert_eq!(gather("int64:[b,s,256] int64=[3]"), "int64[1]", "out of range");
        assert_eq!(gather("float[v,768] int64[b,s]"), "float[b,s,768]");
        let case = Case::new(Gather, "float[v,768] int64[b,s]", &[], 1);
        let kept = Channels::Moved([None, None, Some(1)].into_iter().collect());
        assert_eq!((def(Gather).channels)(&case.view()), kept);
        let nd = |operands: &str, batch: i64| infer(GatherND, operands, &[("batch_dims", batch.into())]);
        assert_eq!(nd("float[a,b,c] int64[n,2]", 0), "float[n,c]");
        assert_eq!(nd("float[a,b,c] int64[a,n,1]", 1), "float[a,n,c]");
        assert_eq!(nd("float[a,b,c] int64[n,4]", 0), "float[..]");
        assert_eq!(nd("float[a,b,c] int64[n,k]", 0), "float[..]");
        assert_eq!(infer(GatherElements, "float[a,b] int64[c,d]", &[]), "float[c,d]");
    }

    #[test]
    fn gathering_cannot_double_a_rank_without_end() {
        let dims = ["2"; 60].join(",");
        assert_eq!(infer(Gather, &format!("float[{dims}] int64[{dims}]"), &[]), "float[..]");
    }

    #[test]
    fn scatters_place_what_is_constant() {
        let at = |indices: &str| infer(ScatterElements, &format!("int64:[a,b,c] {indices} int64:[x,7]"), &[]);
        assert_eq!(at("int64=[0,-1]"), "int64:[x,b,7]");
        assert_eq!(at("int64=[1,1]"), "int64[3]", "which update stays is not defined");
        let mut case = Case::new(ScatterND, "int64:[a,b,c] int64[2,1] int64:[x,7]", &[], 1);
        assert_eq!(case.results(), "int64[3]");
        let indices = Tensor::vector(&[0, 2]).reshaped(&[2, 1]).unwrap();
        let indices = case.graph.add_constant(crate::ir::ScopeId::MAIN, "", indices);
        case.graph.set_operand(case.node, 1, Some(indices));
        crate::ops::infer_node(&mut case.graph, case.node);
        assert_eq!(case.results(), "int64:[x,b,7]");
    }
}
