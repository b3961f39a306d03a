//! Ops that ask for, make or change a shape, and leave every element as it is.

use crate::ir::{Atom, Attr, DType, Int, Key, NodeId, OpKind, Type, User};
use crate::ops::call::MAX_CONTENT;
use crate::ops::dims::{product, quotient, slice_len};
use crate::ops::elementwise::broadcast;
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, normalize_axis};

/// `Reshape`: a 0 in the target is a size of 0, not a copy of the operand's.
pub const ALLOWZERO: Key<bool> = Key::new("allowzero", false);
/// `Flatten`: the first axis of the second group.
pub const AXIS: Key<i64> = Key::new("axis", 1);
/// `Shape`: the first axis that is told.
pub const START: Key<i64> = Key::new("start", 0);
/// `Shape`: the axis before which telling ends; absent for all.
pub const END: Key<i64> = Key::new("end", i64::MAX);
/// `Cast`, `BitCast`: the element type, by ONNX's number.
pub const TO: Key<i64> = Key::new("to", 0);
/// `EyeLike`: the element type, by ONNX's number; absent for the operand's.
pub const DTYPE: Key<i64> = Key::new("dtype", 0);

/// A row of something that moves whole elements: an integer kernel needs no arithmetic, only one common scale.
const MOVES: OpDef = OpDef { quant: |_| Quant::SharesScale, ..OpDef::PURE };

/// `Shape`.
pub static SHAPE: OpDef = OpDef { infer: Some(shape), ties: untold, ..OpDef::PURE };
/// `Size`.
pub static SIZE: OpDef = OpDef { infer: Some(size), ..OpDef::PURE };
/// `Reshape`.
pub static RESHAPE: OpDef = OpDef { infer: Some(reshape), channels: regrouped, ties: |_| vec![Tie::View], ..MOVES };
/// `Flatten`.
pub static FLATTEN: OpDef = OpDef { infer: Some(flatten), channels: regrouped, ties: |_| vec![Tie::View], ..MOVES };
/// `Squeeze`.
pub static SQUEEZE: OpDef = OpDef { infer: Some(squeeze), channels: regrouped, ties: |_| vec![Tie::View], ..MOVES };
/// `Unsqueeze`.
pub static UNSQUEEZE: OpDef = OpDef { infer: Some(unsqueeze), channels: regrouped, ties: |_| vec![Tie::View], ..MOVES };
/// `Expand`.
pub static EXPAND: OpDef = OpDef { infer: Some(expand), channels: expanded, ..MOVES };
/// `ConstantOfShape`.
pub static CONSTANT_OF_SHAPE: OpDef = OpDef { infer: Some(constant_of_shape), ..OpDef::PURE };
/// `Constant`.
pub static CONSTANT: OpDef = OpDef { infer: Some(constant), ..OpDef::PURE };
/// `Range`.
pub static RANGE: OpDef = OpDef { infer: Some(range), ..OpDef::PURE };
/// `EyeLike`.
pub static EYE_LIKE: OpDef = OpDef { infer: Some(eye_like), ..OpDef::PURE };
/// `NonZero`.
pub static NON_ZERO: OpDef = OpDef { infer: Some(non_zero), ..OpDef::PURE };
/// `Identity`, of any type.
pub static IDENTITY: OpDef = OpDef { infer: Some(identity), channels: |_| Channels::Tied, ..MOVES };
/// `Cast` and `BitCast`.
pub static CAST: OpDef = OpDef { infer: Some(cast), channels: |_| Channels::Tied, ..OpDef::PURE };
/// `BitCast`.
pub static BIT_CAST: OpDef = OpDef { infer: Some(bit_cast), ..CAST };
/// `CastLike`. Of the second operand only the type is read.
pub static CAST_LIKE: OpDef = OpDef { infer: Some(cast_like), channels: |_| Channels::Barrier, ..CAST };

fn shape(call: &mut Infer<'_>) -> Outcome {
    call.set_rank(0, DType::I64, 1);
    let dims = call.dims(0)?;
    let rank = Int::from(dims.len());
    let (start, end) = (START.of(call.node()), END.of(call.node()));
    let len = slice_len(&rank, &Int::from(start), &Int::from(end), 1)?.known()?;
    let start = if start < 0 { start.saturating_add(rank.known()?) } else { start }.max(0);
    let told = dims.iter().skip(usize::try_from(start).ok()?).take(usize::try_from(len).ok()?);
    let content: Vec<Int> = told.cloned().collect();
    call.set(0, DType::I64, [Int::from(len)]);
    call.set_content(0, content);
    Some(())
}

/// The axes whose sizes nobody asks for may lose indices: they are outside of the range that is told, or all who read
/// the sizes pick those of others.
fn untold(call: &CallView<'_>) -> Ties {
    let Some(rank) = call.rank(0) else { return Ties::new() };
    let (start, end) = (within(START.of(call.node()), rank), within(END.of(call.node()), rank));
    let picked = |node, slot| {
        let reader = CallView::new(call.graph(), node);
        let told = end.checked_sub(start)?;
        match reader.node().op {
            OpKind::Gather if slot == 0 => {
                let indices = reader.known_ints(1)?.into_iter();
                indices.map(|i| Some(start + normalize_axis(i, told)?)).collect::<Option<Vec<_>>>()
            }
            OpKind::Slice if slot == 0 && start == 0 && keeps_sizes(call, node) => Some(Vec::new()),
            OpKind::Slice if slot == 0 => {
                let of = |slot: usize, absent: i64| match reader.has(slot) {
                    true => reader.known_ints(slot)?.first().copied(),
                    false => Some(absent),
                };
                let (first, last, step) = (of(1, 0)?, of(2, i64::MAX)?, of(4, 1)?);
                // Backward, or some of a stretch: whatever there is.
                let all = if step == 1 { within(first, told)..within(last, told) } else { 0..told };
                Some(all.map(|i| start + i).collect())
            }
            _ => None,
        }
    };
    let mut asked = Some(Vec::new());
    for result in call.graph().results(call.id()).iter().flatten() {
        for user in call.graph().value(*result).users() {
            let more = match *user {
                User::Node(node, slot) => picked(node, slot),
                _ => None,
            };
            asked = asked.zip(more).map(|(mut all, more): (Vec<usize>, _)| {
                all.extend(more);
                all
            });
        }
    }
    let is_asked = |axis: &usize| match &asked {
        Some(asked) => asked.contains(axis),
        None => (start..end).contains(axis),
    };
    let free = (0..rank).filter(|axis| !is_asked(axis));
    free.map(|axis| Tie::Same(End::operand(0, axis), End::operand(0, axis))).collect()
}

/// Whether `slice`, which picks the first of the sizes that `shape` tells, does so for a `Resize` of the same value by
/// sizes, which then keeps those, whatever they are.
fn keeps_sizes(shape: &CallView<'_>, slice: NodeId) -> bool {
    let graph = shape.graph();
    let readers = |node: NodeId| {
        let results = graph.results(node).iter().flatten();
        results.flat_map(|&v| graph.value(v).users().iter().copied()).collect::<Vec<User>>()
    };
    let resizes = |user: User| match user {
        User::Node(node, 3) => {
            let resize = graph.node(node);
            resize.op == OpKind::Resize && resize.attr("axes").is_none() && graph.operand(node, 0) == shape.operand(0)
        }
        _ => false,
    };
    let joins = |user: User| match user {
        User::Node(node, 0) => graph.node(node).op == OpKind::Concat && readers(node).into_iter().all(resizes),
        _ => false,
    };
    let from_first = CallView::new(graph, slice).known_ints(1).is_some_and(|starts| starts[..] == [0]);
    let step = CallView::new(graph, slice).known_ints(4).is_none_or(|steps| steps[..] == [1]);
    from_first && step && readers(slice).into_iter().all(joins)
}

/// Where a bound lies among so many, counted from the end where it is negative.
fn within(at: i64, count: usize) -> usize {
    let length = i64::try_from(count).unwrap_or(i64::MAX);
    usize::try_from(if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length)).unwrap_or(count)
}

fn size(call: &mut Infer<'_>) -> Outcome {
    call.set(0, DType::I64, []);
    let count = product(call.dims(0)?)?;
    call.set_content(0, vec![count]);
    Some(())
}

fn reshape(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let rank = usize::try_from(call.dims(1)?.first()?.known()?).ok()?;
    call.set_rank(0, dtype, rank);
    let dims = reshaped(call.dims(0), &call.elements(1)?, ALLOWZERO.of(call.node()), |axis| call.fresh(0, axis))?;
    call.set(0, dtype, dims);
    same_content(call)
}

/// The dimensions that `target` makes of `dims`: 0 copies the operand's size unless `allow_zero`, −1 is what the
/// others leave.
///
/// A symbolic size is taken as it stands: where it is 0 at run time, the tensor is empty either way. One element of
/// unknown sign is whatever the others leave, −1 or not. `None` when the target is malformed.
fn reshaped(dims: Option<&[Int]>, target: &[Int], allow_zero: bool, fresh: impl Fn(usize) -> Int) -> Option<Vec<Int>> {
    let mut sizes: Vec<Option<Int>> = Vec::with_capacity(target.len());
    for (axis, size) in target.iter().enumerate() {
        sizes.push(match size.known() {
            Some(0) if !allow_zero => Some(match dims {
                Some(dims) => dims.get(axis)?.clone(),
                None => fresh(axis),
            }),
            Some(-1) => None,
            Some(n) if n < 0 => return None,
            Some(_) => Some(size.clone()),
            None => size.surely_non_negative().then(|| size.clone()),
        });
    }
    let open: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis].is_none()).collect();
    if let ([axis], Some(dims)) = (&open[..], dims) {
        let others: Vec<Int> = sizes.iter().flatten().cloned().collect();
        sizes[*axis] = quotient(dims, &others);
    }
    Some(sizes.into_iter().enumerate().map(|(axis, size)| size.unwrap_or_else(|| fresh(axis))).collect())
}

/// Each axis of the result that has the same size as an operand's, and as many elements before it, is that axis.
fn regrouped(call: &CallView<'_>) -> Channels {
    let (Some(dims), Some(sizes)) = (call.dims(0), call.result_dims(0)) else { return Channels::Barrier };
    let (Some(before), Some(before_result)) = (products(dims), products(sizes)) else { return Channels::Barrier };
    let same = |to: usize| (0..dims.len()).find(|&from| dims[from] == sizes[to] && before[from] == before_result[to]);
    Channels::Moved((0..sizes.len()).map(same).collect())
}

/// How many elements each index of the axes before an axis counts, per axis.
fn products(dims: &[Int]) -> Option<Vec<Int>> {
    (0..dims.len()).map(|axis| product(&dims[..axis])).collect()
}

/// The result has the elements of operand 0 in the same order: pass on what is known of them.
fn same_content(call: &mut Infer<'_>) -> Outcome {
    let content = call.elements(0)?;
    call.set_content(0, content);
    Some(())
}

fn flatten(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_rank(0, dtype, 2);
    let dims = call.dims(0)?;
    let rank = i64::try_from(dims.len()).ok()?;
    let axis = AXIS.of(call.node());
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    let (front, back) = dims.split_at_checked(usize::try_from(axis).ok()?)?;
    let pair = [front, back].into_iter().enumerate();
    let sizes: Vec<Int> = pair.map(|(i, d)| product(d).unwrap_or_else(|| call.fresh(0, i))).collect();
    call.set(0, dtype, sizes);
    Some(())
}

/// The axes that a `Squeeze` takes away, in order. `None` where they are not known.
pub fn squeezed_axes(call: &CallView<'_>) -> Option<Vec<usize>> {
    let dims = call.dims(0)?;
    let mut axes: Vec<usize> = if call.has(1) {
        call.known_ints(1)?.into_iter().map(|a| normalize_axis(a, dims.len())).collect::<Option<_>>()?
    } else {
        let known = dims.iter().map(Int::known).enumerate();
        let ones: Option<Vec<_>> = known.map(|(axis, d)| d.map(|d| (axis, d == 1))).collect();
        ones?.into_iter().filter(|(_, one)| *one).map(|(axis, _)| axis).collect()
    };
    axes.sort_unstable();
    axes.dedup();
    Some(axes)
}

fn squeeze(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let Some(axes) = squeezed_axes(call) else {
        // How many axes go is known where the list has a length.
        let count = usize::try_from(call.dims(1)?.first()?.known()?).ok()?;
        let rank = call.rank(0)?.checked_sub(count)?;
        call.set_rank(0, dtype, rank);
        return same_content(call);
    };
    let dims = call.dims(0)?.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, d)| d.clone());
    let dims: Vec<Int> = dims.collect();
    call.set(0, dtype, dims);
    same_content(call)
}

fn unsqueeze(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let dims = call.dims(0)?;
    let Some(axes) = call.known_ints(1) else {
        let count = usize::try_from(call.dims(1)?.first()?.known()?).ok()?;
        let rank = dims.len().checked_add(count)?;
        call.set_rank(0, dtype, rank);
        return Some(());
    };
    let rank = dims.len().checked_add(axes.len())?;
    let mut sizes = vec![None; rank];
    for axis in axes {
        let slot = sizes.get_mut(normalize_axis(axis, rank)?)?;
        if slot.replace(Int::from(1)).is_some() {
            return None;
        }
    }
    let mut rest = dims.iter();
    let sizes: Option<Vec<Int>> = sizes.into_iter().map(|s| s.or_else(|| rest.next().cloned())).collect();
    call.set(0, dtype, sizes?);
    if rank <= 1 { same_content(call) } else { Some(()) }
}

fn expand(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let Some(target) = call.elements(1) else {
        let rank = usize::try_from(call.dims(1)?.first()?.known()?).ok()?;
        let rank = rank.max(call.rank(0)?);
        call.set_rank(0, dtype, rank);
        return Some(());
    };
    if target.iter().any(|t| t.known().is_some_and(|t| t < 0)) {
        return None;
    }
    let dims = broadcast(&[call.dims(0)?, &target], |axis| call.fresh(0, axis))?;
    let content = call.elements(0).and_then(|c| match &dims[..] {
        [] => Some(c),
        [len] => repeated(&c, len),
        _ => None,
    });
    call.set(0, dtype, dims);
    call.set_content(0, content);
    Some(())
}

fn expanded(call: &CallView<'_>) -> Channels {
    let (Some(dims), Some(sizes)) = (call.dims(0), call.result_dims(0)) else { return Channels::Barrier };
    let Some(new) = sizes.len().checked_sub(dims.len()) else { return Channels::Barrier };
    let kept = |axis: usize| axis.checked_sub(new).filter(|&from| dims[from] == sizes[axis]);
    Channels::Moved((0..sizes.len()).map(kept).collect())
}

/// `content`, which is one element or already `len` of them, spelled out `len` times.
fn repeated(content: &[Int], len: &Int) -> Option<Vec<Int>> {
    let len = usize::try_from(len.known()?).ok().filter(|&len| len <= MAX_CONTENT)?;
    match content {
        [one] => Some(vec![one.clone(); len]),
        _ => (content.len() == len).then(|| content.to_vec()),
    }
}

fn constant_of_shape(call: &mut Infer<'_>) -> Outcome {
    let value = match call.node().attr("value") {
        Some(Attr::Tensor(t)) => Some(&**t),
        _ => None,
    };
    let dtype = value.map_or(DType::F32, crate::ir::Tensor::dtype);
    let element = value.and_then(crate::ir::Tensor::integer).map(Int::from);
    call.set_dtype(0, Some(dtype));
    let Some(dims) = call.elements(0) else {
        let rank = usize::try_from(call.dims(0)?.first()?.known()?).ok()?;
        call.set_rank(0, dtype, rank);
        return Some(());
    };
    if dims.iter().any(|d| d.known().is_some_and(|d| d < 0)) {
        return None;
    }
    let content = match &dims[..] {
        [] => repeated(&[element?], &Int::from(1)),
        [len] => element.and_then(|e| repeated(&[e], len)),
        _ => None,
    };
    call.set(0, dtype, dims);
    call.set_content(0, content);
    Some(())
}

fn constant(call: &mut Infer<'_>) -> Outcome {
    // One of these attributes holds the value; which one says the type.
    let (_, attr) = call.node().attrs().iter().find(|(name, _)| name.starts_with("value"))?;
    let vector = |len: usize| [Int::from(len)];
    match attr {
        Attr::Tensor(t) => {
            let (dtype, dims): (_, Vec<Int>) = (t.dtype(), t.dims().iter().map(|&d| Int::from(d)).collect());
            let small = t.rank() <= 1 && t.len() <= MAX_CONTENT;
            let content = small.then(|| t.integers()).flatten();
            let content: Option<Vec<Int>> = content.map(|c| c.into_iter().map(Int::from).collect());
            call.set(0, dtype, dims);
            call.set_content(0, content);
        }
        Attr::Int(i) => {
            let content = vec![Int::from(*i)];
            call.set(0, DType::I64, []);
            call.set_content(0, content);
        }
        Attr::Ints(i) => {
            let small = i.len() <= MAX_CONTENT;
            let content: Option<Vec<Int>> = small.then(|| i.iter().map(|&i| Int::from(i)).collect());
            let len = i.len();
            call.set(0, DType::I64, vector(len));
            call.set_content(0, content);
        }
        Attr::Float(_) => call.set(0, DType::F32, []),
        Attr::Floats(f) => {
            let len = f.len();
            call.set(0, DType::F32, vector(len));
        }
        Attr::Str(_) => call.set(0, DType::String, []),
        Attr::Strs(s) => {
            let len = s.len();
            call.set(0, DType::String, vector(len));
        }
        Attr::Graph(_) | Attr::Tensors(_) | Attr::Graphs(_) | Attr::Type(_) | Attr::Carried(_) => return None,
    }
    Some(())
}

fn range(call: &mut Infer<'_>) -> Outcome {
    let dtype = (0..3).find_map(|slot| call.dtype(slot));
    call.set_rank(0, dtype, 1);
    let one = |slot| call.elements(slot)?.into_iter().next();
    let (start, limit, delta) = (one(0)?, one(1)?, one(2)?.known()?);
    let span = if delta > 0 { limit.checked_sub(&start)? } else { start.checked_sub(&limit)? };
    let step = delta.checked_abs().filter(|&d| d > 0)?;
    let len = span.greater(&Int::from(0)).ceil_div(&Int::from(step))?;
    let known = len.known().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MAX_CONTENT);
    let element = |i: usize| start.checked_add(&Int::from(i).checked_mul(&Int::from(delta))?);
    let content: Option<Vec<Int>> = known.and_then(|n| (0..n).map(element).collect());
    call.set(0, dtype, [len]);
    call.set_content(0, content);
    Some(())
}

fn eye_like(call: &mut Infer<'_>) -> Outcome {
    let dtype = match DTYPE.get(call.node()) {
        Some(code) => dtype_of(code),
        None => call.dtype(0),
    };
    call.set_rank(0, dtype, 2);
    let dims = call.dims(0)?.to_vec();
    call.set(0, dtype, dims);
    Some(())
}

fn non_zero(call: &mut Infer<'_>) -> Outcome {
    call.set_rank(0, DType::I64, 2);
    // Of a scalar, runtimes disagree.
    let rank = call.rank(0).filter(|&r| r > 0)?;
    let dims = [Int::from(rank), call.fresh(0, 1)];
    call.set(0, DType::I64, dims);
    Some(())
}

fn identity(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    same_content(call)
}

/// The element type with ONNX's number `code`, as attributes give it.
pub fn dtype_of(code: i64) -> Option<DType> {
    DType::from_code(i32::try_from(code).ok()?)
}

fn retyped(call: &mut Infer<'_>, dtype: Option<DType>) -> Outcome {
    call.set_dtype(0, dtype);
    let shape = call.ty(0)?.shape().clone();
    call.set_type(0, Type::Tensor { dtype, shape });
    Some(())
}

fn cast(call: &mut Infer<'_>) -> Outcome {
    let to = dtype_of(TO.of(call.node()));
    retyped(call, to)?;
    cast_content(call, to?)
}

fn cast_like(call: &mut Infer<'_>) -> Outcome {
    let to = call.dtype(1);
    retyped(call, to)?;
    cast_content(call, to?)
}

fn bit_cast(call: &mut Infer<'_>) -> Outcome {
    retyped(call, dtype_of(TO.of(call.node())))
}

/// Follow integers into another type that holds them.
///
/// Sizes, and what is computed of them, are taken to fit (see [`content`](crate::ops::call::content)): a model that
/// casts a larger one has no meaning. Elements that a run decides may be any number, and wrap.
fn cast_content(call: &mut Infer<'_>, to: DType) -> Outcome {
    let from = call.dtype(0)?;
    let content = call.elements(0)?.into_iter().map(|e| cast_element(e, from, to));
    let content: Option<Vec<Int>> = content.collect();
    call.set_content(0, content);
    Some(())
}

fn cast_element(e: Int, from: DType, to: DType) -> Option<Int> {
    if to == DType::Bool {
        return Some(Int::from(i64::from(e.known()? != 0)));
    }
    let is_size = !e.mentions(&|a| matches!(a, Atom::Element { .. } | Atom::Opaque(_)));
    (is_size || from == to || to == DType::I64 && from == DType::I32).then_some(e)
}

#[cfg(test)]
mod tests {
    use crate::ir::{Attr, DType, Int, OpKind, OpKind::*, Tensor};
    use crate::ops::testing::{Case, infer};
    use crate::ops::{Channels, def};

    fn channels(op: OpKind, operands: &str) -> Channels {
        (def(op).channels)(&Case::new(op, operands, &[], 1).view())
    }

    #[test]
    fn shapes_are_told() {
        assert_eq!(infer(Shape, "float[b,s,256]", &[]), "int64:[b,s,256]");
        assert_eq!(infer(Shape, "float[b,s,256]", &[("start", 1.into()), ("end", (-1).into())]), "int64:[s]");
        assert_eq!(infer(Shape, "float[b,s,256]", &[("start", (-1).into())]), "int64:[256]");
        assert_eq!(infer(Shape, "float[b,s,256]", &[("start", 5.into())]), "int64:[]");
        assert_eq!(infer(Shape, "?", &[]), "int64[?]");
        assert_eq!(infer(Size, "float[b,s,256]", &[]), "int64:256*b*s");
        assert_eq!(infer(Size, "float[..]", &[]), "int64[]");
    }

    #[test]
    fn reshape_divides_exactly() {
        let to = |dims: &str, target: &str| infer(Reshape, &format!("float[{dims}] {target}"), &[]);
        assert_eq!(to("b,s,256", "int64=[0,0,4,64]"), "float[b,s,4,64]");
        assert_eq!(to("b,s,256", "int64=[0,-1,4,64]"), "float[b,s,4,64]");
        assert_eq!(to("b,s,256", "int64=[-1,64]"), "float[4*b*s,64]");
        assert_eq!(to("b,s,256", "int64:[b,s,-1]"), "float[b,s,256]");
        assert_eq!(to("b,s,256", "int64=[-1,7]"), "float[36*b*s + (4*b*s)/(7),7]");
        assert_eq!(to("b,s,256", "int64[3]"), "float[?,?,?]");
        assert_eq!(to("b,s,256", "int64[?]"), "float[..]");
        assert_eq!(to("..", "int64=[0,-1,64]"), "float[?,?,64]");
        assert_eq!(to("0,3", "int64=[0,-1]"), "float[0,?]");
        assert_eq!(infer(Reshape, "float[0,b] int64=[3,0]", &[("allowzero", 1.into())]), "float[3,0]");
        // Malformed: a 0 past the rank, two sizes to infer, a negative size.
        assert_eq!(to("b,s,256", "int64=[0,0,0,0]"), "float[?,?,?,?]");
        assert_eq!(to("2,3", "int64=[-1,-1]"), "float[?,?]");
        assert_eq!(to("2,3", "int64=[-2]"), "float[?]");
        assert_eq!(to("2,3", ""), "float[..]");
    }

    #[test]
    fn a_target_element_that_only_a_run_tells_is_what_the_others_leave() {
        let mut case = Case::new(Reshape, "float[b,6] int64:[e,3]", &[], 1);
        let target = case.graph.operand(case.node, 1).unwrap();
        case.graph.value_mut(target).content = Some([target.element(0), Int::from(3)].into());
        let result = case.graph.result(case.node, 0).unwrap();
        case.graph.value_mut(result).ty = crate::ir::Type::Unknown;
        crate::ops::infer_node(&mut case.graph, case.node);
        assert_eq!(case.results(), "float[2*b,3]");
    }

    #[test]
    fn elements_pass_between_vector_and_scalar() {
        assert_eq!(infer(Reshape, "int64:b int64=[1]", &[]), "int64:[b]");
        assert_eq!(infer(Squeeze, "int64:[b] int64=[0]", &[]), "int64:b");
        assert_eq!(infer(Unsqueeze, "int64:b int64=[0]", &[]), "int64:[b]");
        assert_eq!(infer(Identity, "int64:[b,2]", &[]), "int64:[b,2]");
        assert_eq!(infer(Reshape, "int64:[b] int64=[1,1]", &[]), "int64[1,1]");
    }

    #[test]
    fn axes_come_and_go() {
        assert_eq!(infer(Squeeze, "float[1,b,1] int64=[0,-1]", &[]), "float[b]");
        assert_eq!(infer(Squeeze, "float[1,b,1] int64[2]", &[]), "float[?]");
        assert_eq!(infer(Squeeze, "float[1,b,1] int64=[7]", &[]), "float[?,?]");
        assert_eq!(infer(Squeeze, "float[1,3,1]", &[]), "float[3]");
        assert_eq!(infer(Squeeze, "float[1,b,1]", &[]), "float[..]");
        assert_eq!(infer(Unsqueeze, "float[b] int64=[0,-1]", &[]), "float[1,b,1]");
        assert_eq!(infer(Unsqueeze, "float[b] int64=[0,0]", &[]), "float[..]");
        assert_eq!(infer(Flatten, "float[b,3,4]", &[]), "float[b,12]");
        assert_eq!(infer(Flatten, "float[b,3,4]", &[("axis", 0.into())]), "float[1,12*b]");
        assert_eq!(infer(Flatten, "float[b,3,4]", &[("axis", (-1).into())]), "float[3*b,4]");
        assert_eq!(infer(Flatten, "float[b,3,4]", &[("axis", 9.into())]), "float[?,?]");
    }

    #[test]
    fn axes_that_stay_are_named() {
        let moved = |axes: &[Option<usize>]| Channels::Moved(axes.iter().copied().collect());
        assert_eq!(channels(Reshape, "float[b,c,h,w] int64=[0,0,-1]"), moved(&[Some(0), Some(1), None]));
        assert_eq!(channels(Reshape, "float[b,s,256] int64=[0,0,4,64]"), moved(&[Some(0), Some(1), None, None]));
        assert_eq!(channels(Unsqueeze, "float[b,c] int64=[1]"), moved(&[Some(0), None, Some(1)]));
        assert_eq!(channels(Squeeze, "float[b,1,c] int64=[1]"), moved(&[Some(0), Some(2)]));
        assert_eq!(channels(Expand, "float[1,c] int64:[b,1,1]"), moved(&[None, Some(0), Some(1)]));
        assert_eq!(channels(Reshape, "float[..] int64=[0,0,-1]"), Channels::Barrier);
    }

    #[test]
    fn expansion_broadcasts_both_ways() {
        assert_eq!(infer(Expand, "float[b,1] int64=[1,4]", &[]), "float[b,4]");
        assert_eq!(infer(Expand, "float[3] int64:[b,1]", &[]), "float[b,3]");
        assert_eq!(infer(Expand, "float[b] int64:[s]", &[]), "float[?]");
        assert_eq!(infer(Expand, "float[3] int64[4]", &[]), "float[?,?,?,3]");
        assert_eq!(infer(Expand, "float[3] int64=[-1]", &[]), "float[..]");
        assert_eq!(infer(Expand, "int64:[n] int64=[3]", &[]), "int64:[n,n,n]");
        let seven = ("value", Attr::from(Tensor::vector(&[7])));
        assert_eq!(infer(ConstantOfShape, "int64=[3]", &[seven]), "int64:[7,7,7]");
        assert_eq!(infer(ConstantOfShape, "int64:[b,4]", &[]), "float[b,4]");
        assert_eq!(infer(ConstantOfShape, "int64=[-4]", &[]), "float[..]");
    }

    #[test]
    fn ranges_count() {
        assert_eq!(infer(Range, "int64=0 int64:n int64=1", &[]), "int64[n]");
        assert_eq!(infer(Range, "int64=1 int64=8 int64=3", &[]), "int64:[1,4,7]");
        assert_eq!(infer(Range, "int64=5 int64=0 int64=-2", &[]), "int64:[5,3,1]");
        assert_eq!(infer(Range, "int64=5 int64=0 int64=2", &[]), "int64:[]");
        assert_eq!(infer(Range, "int64=5 int64=0 int64=0", &[]), "int64[?]");
        assert_eq!(infer(Range, "float=0 float:n float=1", &[]), "float[n]");
        assert_eq!(infer(Range, "float=0 float=1 float=0.5", &[]), "float[?]");
    }

    #[test]
    fn casts_keep_what_fits() {
        let cast = |operand: &str, to: DType| infer(Cast, operand, &[("to", i64::from(to.code()).into())]);
        assert_eq!(cast("int64:[b,3]", DType::I32), "int32:[b,3]");
        assert_eq!(cast("int64:[b]", DType::F32), "float:[b]");
        assert_eq!(cast("int64=[300]", DType::U8), "uint8[1]");
        assert_eq!(cast("int64=[-1]", DType::U64), "uint64[1]");
        assert_eq!(cast("int64=[3,0]", DType::Bool), "bool:[1,0]");
        assert_eq!(cast("int64:[b]", DType::I8), "int8[1]");
        assert_eq!(cast("int64[1]", DType::I32), "int32[1]");
        assert_eq!(infer(CastLike, "int64:[b] int32[4]", &[]), "int32:[b]");
        assert_eq!(infer(Cast, "int64[b]", &[("to", Attr::from("float"))]), "?[b]");
        assert_eq!(infer(BitCast, "float[b]", &[("to", 6.into())]), "int32[b]");
    }

    #[test]
    fn constants_have_the_type_of_their_attribute() {
        assert_eq!(infer(Constant, "", &[("value_ints", vec![1, 2].into())]), "int64:[1,2]");
        assert_eq!(infer(Constant, "", &[("value_float", 1.5.into())]), "float[]");
        assert_eq!(infer(Constant, "", &[("value_string", "a".into())]), "string[]");
        assert_eq!(infer(EyeLike, "int64[3,b]", &[("dtype", 1.into())]), "float[3,b]");
        assert_eq!(infer(NonZero, "float[3,b]", &[]), "int64[2,?]");
    }
}
