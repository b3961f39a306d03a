//! Attention, its positions, and the recurrent layers that stand in for it.

use smallvec::SmallVec;

use crate::ir::{DType, Int, Key, Shape, Type};
use crate::ops::dims::product;
use crate::ops::elementwise::{UNARY, like_first};
use crate::ops::{CallView, End, Infer, OpDef, Outcome, Quant, Tie, Ties};

/// Scaled dot-product attention: `[batch, heads, length, size]`, or `[batch, length, heads · size]`.
pub static ATTENTION: OpDef = OpDef {
    infer: Some(attention),
    macs: |c| {
        // Every query element meets every key, and every result element every value.
        let elements = product(c.dims(0)?)?.checked_add(&product(c.result_dims(0)?)?)?;
        elements.checked_mul(&total_length(c)?)
    },
    ties: whole_heads,
    ..OpDef::PURE
};

/// Queries and keys turned by their position.
pub static ROTARY_EMBEDDING: OpDef = OpDef { infer: Some(like_first), ties: turned_heads, ..OpDef::PURE };

/// Attention as a recurrence over a state `[batch, heads, key size, value size]`.
pub static LINEAR_ATTENTION: OpDef = OpDef { infer: Some(linear), macs: linear_macs, ..OpDef::PURE };

/// A depthwise convolution that looks back only, `[batch, channels, length]`, and carries its last inputs on.
pub static CAUSAL_CONV_WITH_STATE: OpDef =
    OpDef { infer: Some(causal_conv), macs: |c| product(c.dims(0)?)?.checked_mul(c.dims(1)?.last()?), ..OpDef::PURE };

/// `swish(a) · b`, of one shape.
pub static SWIGLU: OpDef = OpDef {
    infer: Some(|c| {
        let mut ty = c.ty(0)?.clone();
        ty.refine(c.ty(1)?);
        c.set_type(0, ty);
        Some(())
    }),
    quant: |_| Quant::Float,
    ..UNARY
};

/// Heads stand or fall as a whole, with the queries that share a head of keys; each size of a value is its own.
///
/// The size of a key is no part of it: where `scale` is left out, it follows from that.
fn whole_heads(call: &CallView<'_>) -> Ties {
    let (Some(rank @ 3..=4), Some(heads)) = (call.rank(0), Heads::of(call).keys) else { return Ties::new() };
    let Some(count @ 1..) = heads.known().and_then(|n| usize::try_from(n).ok()) else { return Ties::new() };
    let axis = if rank == 4 { 1 } else { 2 };
    let mut ends: SmallVec<[End; 4]> = (0..3).map(|slot| End::operand(slot, axis)).collect();
    // Masks may have one head for all.
    if call.dims(3).is_some_and(|dims| dims.len() == 4 && dims[1].known() != Some(1)) {
        ends.push(End::operand(3, 1));
    }
    ends.extend([4, 5].map(|slot| End::operand(slot, 1)));
    ends.push(End::result(0, axis));
    ends.extend([1, 2, 3].map(|slot| End::result(slot, 1)));
    let mut ties = vec![Tie::Runs { ends, count }];
    if rank == 4 {
        ties.extend(
            [End::operand(5, 3), End::result(0, 3), End::result(2, 3)].map(|v| Tie::Same(End::operand(2, 3), v)),
        );
    }
    ties
}

/// Heads turned by the same angles.
fn turned_heads(call: &CallView<'_>) -> Ties {
    match call.rank(0) {
        Some(4) => vec![Tie::Same(End::operand(0, 1), End::result(0, 1))],
        Some(3) => match heads(call, "num_heads").and_then(|h| usize::try_from(h.known()?).ok()) {
            Some(count) => {
                let ends = SmallVec::from_slice(&[End::operand(0, 2), End::result(0, 2)]);
                vec![Tie::Runs { ends, count }]
            }
            None => Ties::new(),
        },
        _ => Ties::new(),
    }
}

/// A positive number of heads.
fn heads(call: &CallView<'_>, name: &'static str) -> Option<Int> {
    Some(Key::new(name, 0i64).of(call.node())).filter(|&h| h >= 1).map(Int::from)
}

/// The size of one of `heads` heads that are packed in `packed`; known to divide it.
fn unpacked(packed: &Int, heads: &Int) -> Option<Int> {
    if packed.known().is_some() { packed.exact_div(heads) } else { packed.floor_div(heads) }
}

/// What attention reads and makes, on the four axes of unpacked heads.
struct Heads {
    batch: Option<Int>,
    queries: Option<Int>,
    keys: Option<Int>,
    length: Option<Int>,
    key_size: Option<Int>,
    value_size: Option<Int>,
}

impl Heads {
    fn of(call: &CallView<'_>) -> Heads {
        let (q_heads, kv_heads) = (heads(call, "q_num_heads"), heads(call, "kv_num_heads"));
        let (mut batch, mut queries, mut keys, mut length, mut key_size, mut value_size) =
            (None, q_heads.clone(), kv_heads.clone(), None, None, None);
        match call.dims(0) {
            Some([b, h, l, size]) => (batch, queries, length, key_size) = some4(b, h, l, size),
            Some([b, l, packed]) => {
                (batch, length) = (Some(b.clone()), Some(l.clone()));
                key_size = q_heads.as_ref().and_then(|h| unpacked(packed, h));
            }
            _ => {}
        }
        match call.dims(1) {
            Some([_, h, _, size]) => {
                keys = Some(h.clone());
                key_size = key_size.or_else(|| Some(size.clone()));
            }
            Some([_, _, packed]) => {
                key_size = key_size.or_else(|| kv_heads.as_ref().and_then(|h| unpacked(packed, h)));
            }
            _ => {}
        }
        match call.dims(2) {
            Some([_, _, _, size]) => value_size = Some(size.clone()),
            Some([_, _, packed]) => value_size = kv_heads.as_ref().and_then(|h| unpacked(packed, h)),
            _ => {}
        }
        Heads { batch, queries, keys, length, key_size, value_size }
    }
}

fn some4(a: &Int, b: &Int, c: &Int, d: &Int) -> (Option<Int>, Option<Int>, Option<Int>, Option<Int>) {
    (Some(a.clone()), Some(b.clone()), Some(c.clone()), Some(d.clone()))
}

/// Past and new keys together.
fn total_length(call: &CallView<'_>) -> Option<Int> {
    let new = match call.dims(1)? {
        [_, _, length, _] | [_, length, _] => length,
        _ => return None,
    };
    if !call.has(4) {
        return Some(new.clone());
    }
    match call.dims(4)? {
        [_, _, past, _] => past.checked_add(new),
        _ => None,
    }
}

fn attention(call: &mut Infer<'_>) -> Outcome {
    let (key_type, value_type) = (call.dtype(0).or(call.dtype(1)), call.dtype(2).or(call.dtype(5)));
    for (slot, dtype) in [(0, key_type), (1, key_type), (2, value_type), (3, key_type)] {
        call.set_dtype(slot, dtype);
    }
    let Heads { batch, queries, keys, length, key_size, value_size } = Heads::of(call);
    let total = total_length(call);
    let axes = |call: &Infer<'_>, slot: usize, sizes: &[&Option<Int>]| -> Vec<Int> {
        let sizes = sizes.iter().enumerate();
        sizes.map(|(axis, size)| (*size).clone().unwrap_or_else(|| call.fresh(slot, axis))).collect()
    };
    for (slot, dtype, sizes) in [
        (1, key_type, [&batch, &keys, &total, &key_size]),
        (2, value_type, [&batch, &keys, &total, &value_size]),
        (3, key_type, [&batch, &queries, &length, &total]),
    ] {
        let dims = axes(call, slot, &sizes);
        call.set_type(slot, Type::Tensor { dtype, shape: Shape::of(dims) });
    }
    let dims = match call.rank(0)? {
        4 => axes(call, 0, &[&batch, &queries, &length, &value_size]),
        3 => {
            let packed = queries.and_then(|h| h.checked_mul(&value_size?));
            axes(call, 0, &[&batch, &length, &packed])
        }
        _ => return None,
    };
    call.set_type(0, Type::Tensor { dtype: key_type, shape: Shape::of(dims) });
    Some(())
}

/// The sizes of one head's keys and values.
fn linear_sizes(call: &CallView<'_>) -> (Option<Int>, Option<Int>) {
    let kv_heads = heads(call, "kv_num_heads");
    let size = |slot: usize, state_axis: usize| {
        if let (Some([_, _, packed]), Some(heads)) = (call.dims(slot), &kv_heads) {
            return unpacked(packed, heads);
        }
        match call.dims(3)? {
            state @ [_, _, _, _] => state.get(state_axis).cloned(),
            _ => None,
        }
    };
    (size(1, 2), size(2, 3))
}

fn linear(call: &mut Infer<'_>) -> Outcome {
    let dtype = (0..3).find_map(|slot| call.dtype(slot));
    // Without a past the state's type is the runtime's choice.
    let state_type: Option<DType> = call.dtype(3);
    call.set_dtype(0, dtype);
    call.set_dtype(1, state_type);
    let (key_size, value_size) = linear_sizes(call);
    let (batch, length) = match (0..3).find_map(|slot| call.dims(slot)) {
        Some([batch, length, _]) => (Some(batch.clone()), Some(length.clone())),
        Some(_) => return None,
        None => (None, None),
    };
    let packed = heads(call, "q_num_heads").and_then(|h| h.checked_mul(value_size.as_ref()?));
    let or_fresh = |slot: usize, sizes: Vec<Option<Int>>| -> Vec<Int> {
        sizes.into_iter().enumerate().map(|(axis, s)| s.unwrap_or_else(|| call.fresh(slot, axis))).collect()
    };
    let output = or_fresh(0, vec![batch.clone(), length, packed]);
    let state = or_fresh(1, vec![batch, heads(call, "kv_num_heads"), key_size, value_size]);
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(output) });
    call.set_type(1, Type::Tensor { dtype: state_type, shape: Shape::of(state) });
    Some(())
}

/// Each token adds to the state of every key head (asking it first, where the rule corrects it), and every query head
/// asks it.
fn linear_macs(call: &CallView<'_>) -> Option<Int> {
    const UPDATE_RULE: Key<&str> = Key::new("update_rule", "gated_delta");
    let times = match UPDATE_RULE.of(call.node()).as_ref() {
        "linear" | "gated" => 1,
        "delta" | "gated_delta" => 2,
        _ => return None,
    };
    let (key_size, value_size) = linear_sizes(call);
    let state = key_size?.checked_mul(&value_size?)?;
    let heads =
        heads(call, "kv_num_heads")?.checked_mul(&Int::from(times))?.checked_add(&heads(call, "q_num_heads")?)?;
    product(call.dims(0)?.get(..2)?)?.checked_mul(&state)?.checked_mul(&heads)
}

fn causal_conv(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(1, dtype);
    like_first(call)?;
    let one = Int::from(1);
    let carried = match (call.dims(1), call.dims(3)) {
        (Some([_, _, k]), _) => k.checked_sub(&one),
        (None, Some([_, _, carried])) => Some(carried.clone()),
        _ => None,
    };
    let (batch, channels) = match call.dims(0)? {
        [batch, channels, _] => (batch.clone(), channels.clone()),
        _ => return None,
    };
    let carried = carried.filter(|k| k.known().is_none_or(|k| k >= 0)).unwrap_or_else(|| call.fresh(1, 2));
    call.set_type(1, Type::Tensor { dtype, shape: Shape::of([batch, channels, carried]) });
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::{infer, infer_all, macs};

    #[test]
    fn attention_with_heads_apart() {
        let operands = "float[b,8,l,64] float[b,2,m,64] float16[b,2,m,32] - float[b,2,p,64] float16[b,2,p,32]";
        assert_eq!(
            infer_all(Attention, operands, &[], 4),
            "float[b,8,l,32]  float[b,2,m + p,64]  float16[b,2,m + p,32]  float[b,8,l,m + p]"
        );
    }

    #[test]
    fn attention_with_heads_packed() {
        let heads = [("q_num_heads", 8.into()), ("kv_num_heads", 2.into())];
        let operands = "float[b,l,512] float[b,m,128] float[b,m,64]";
        assert_eq!(infer_all(Attention, operands, &heads, 2), "float[b,l,256]  float[b,2,m,64]");
        assert_eq!(infer(Attention, operands, &[]), "float[b,l,?]");
        assert_eq!(macs(Attention, operands, &heads), "768*b*l*m");
    }

    #[test]
    fn a_state_is_carried_on() {
        let heads = [("q_num_heads", 4.into()), ("kv_num_heads", 2.into())];
        let operands = "float[b,t,32] float[b,t,16] float[b,t,24] float16[b,2,8,12] float[b,t,2] float[b,t,2]";
        assert_eq!(infer_all(LinearAttention, operands, &heads, 2), "float[b,t,48]  float16[b,2,8,12]");
        assert_eq!(macs(LinearAttention, operands, &heads), format!("{}*b*t", 8 * 12 * (2 * 2 + 4)));
        let operands = "float[b,c,l] float[c,1,4]";
        assert_eq!(infer_all(CausalConvWithState, operands, &[], 2), "float[b,c,l]  float[b,c,3]");
    }

    #[test]
    fn one_shape_for_gate_and_value() {
        assert_eq!(infer(SwiGLU, "float[..] float[n,8]", &[]), "float[n,8]");
        assert_eq!(infer(RotaryEmbedding, "float[n,l,8] float[9,4] float[9,4]", &[]), "float[n,l,8]");
    }
}
