//! `Attention` is the product of queries and keys, scaled, a mask added, a `Softmax`, and the product with the values.
//!
//! What was kept of earlier runs is put before keys and values. Heads that share keys read repeated ones. A mask of
//! booleans chooses between the scores and negative infinity; a causal one is a constant where the lengths are known.
//!
//! Declines where the scores themselves are asked for or capped, where only some keys count or a window of them, where
//! the lengths of a causal mask are not known, where a mask may be shorter than the keys, and where heads or their size
//! are not known.

use crate::ir::OpKind::{Add, And, Attention, Concat, Gather, MatMul, Mul, Reshape, Softmax, Transpose, Where};
use crate::ir::{DType, Int, Key, Tensor, Type};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, require};
use crate::rules::support::spelled_out::{Numbers, cast, ints};

const Q_HEADS: Key<i64> = Key::new("q_num_heads", 0);
const KV_HEADS: Key<i64> = Key::new("kv_num_heads", 0);
const SCALE: Key<f32> = Key::new("scale", 0.0);
const SOFTCAP: Key<f32> = Key::new("softcap", 0.0);
const CAUSAL: Key<bool> = Key::new("is_causal", false);
const PRECISION: Key<i64> = Key::new("softmax_precision", 0);

/// Attributes that are followed; what others ask for is not.
const KNOWN: &[&str] =
    &["q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal", "softmax_precision", "qk_matmul_output_mode"];

/// Elements of a causal mask, at most.
const LARGEST_MASK: i64 = 1 << 20;

pub fn rule() -> Rule {
    Rule::new("lower-attention", Exactness::Rounding, Attention.any(), |m| spelled(&m.root()))
}

fn spelled(call: &CallView<'_>) -> Result<Replacement, Skip> {
    let node = call.node();
    let graph = call.graph();
    let asks = |slot: usize| graph.result(call.id(), slot).is_some_and(|v| !graph.value(v).users().is_empty());
    let plain = node.attrs().iter().all(|(name, _)| KNOWN.contains(&name.as_ref()));
    require(plain && !call.has(6), "only some of the keys count")?;
    require(!asks(3) && SOFTCAP.of(node) == 0.0, "the scores are asked for or capped")?;
    let n = Numbers::like(call.ty(0).unwrap_or(&Type::Unknown))?;
    let heads = Heads::of(call).ok_or(Skip::Unsuitable("its heads or their size are not known"))?;
    let [q, k, v] = [0, 1, 2].map(|slot| Expr::from(call.operand(slot)));
    let [mut q, mut k, mut v] = match heads.packed {
        true => [unpacked(q, heads.queries), unpacked(k, heads.keys), unpacked(v, heads.keys)],
        false => [q, k, v],
    };
    let kept = [4, 5].map(|slot| call.operand(slot));
    if let [Some(keys), Some(values)] = kept {
        k = Concat.emit([keys.into(), k]).with("axis", 2);
        v = Concat.emit([values.into(), v]).with("axis", 2);
    }
    let present = [k.clone(), v.clone()];
    if heads.queries != heads.keys {
        let times = heads.queries / heads.keys;
        let indices: Vec<i64> = (0..heads.queries).map(|head| head / times).collect();
        [k, v] = [k, v].map(|x| Gather.emit([x, ints(&indices)]).with("axis", 1));
    }
    // Half of the scale on either side, as the operator does it.
    let root = n.of(heads.scale.sqrt())?;
    q = Mul.emit([q, root.clone()]);
    k = Mul.emit([Transpose.emit([k]).with("perm", vec![0, 1, 3, 2]), root]);
    let mut scores = MatMul.emit([q, k]);
    let chooses = call.has(3) && call.dtype(3) == Some(DType::Bool);
    let mut allowed = None;
    if chooses {
        allowed = Some(mask(call, &kept)?);
    } else if call.has(3) {
        scores = Add.emit([scores, mask(call, &kept)?]);
    }
    if CAUSAL.of(node) {
        let below = causal(call, kept[0].is_some())?;
        match allowed {
            Some(mask) => allowed = Some(And.emit([mask, constant(&below, DType::Bool, |_| 0.0)?])),
            None => {
                let added = constant(&below, n.dtype, |is| if is { 0.0 } else { f64::NEG_INFINITY })?;
                scores = Add.emit([scores, added]);
            }
        }
    }
    if let Some(allowed) = &allowed {
        let low = Tensor::rounded(n.dtype, &[], &[f64::NEG_INFINITY]).map_err(|_| Skip::NotThis)?;
        scores = Where.emit([allowed.clone(), scores, low.into()]);
    }
    let precise = i32::try_from(PRECISION.of(node)).ok().and_then(DType::from_code).filter(|&d| d != n.dtype);
    let shares = match precise {
        Some(dtype) => cast(Softmax.emit([cast(scores, dtype)]).with("axis", -1), n.dtype),
        None => Softmax.emit([scores]).with("axis", -1),
    };
    let shares = match allowed {
        // Where nothing is allowed the softmax is not a number, and the share is zero.
        Some(allowed) => Where.emit([allowed, shares, n.of(0.0)?]),
        None => shares,
    };
    let mut y = MatMul.emit([shares, v]);
    if heads.packed {
        y = Reshape.emit([Transpose.emit([y]).with("perm", vec![0, 2, 1, 3]), ints(&[0, 0, -1])]);
    }
    let [keys, values] = present;
    let results = [(0, y.named_like(*call)), (1, keys), (2, values)];
    Ok(results.into_iter().filter(|(slot, _)| graph.result(call.id(), *slot).is_some()).collect())
}

/// How many heads there are, and what scores are multiplied by.
struct Heads {
    queries: i64,
    keys: i64,
    packed: bool,
    scale: f64,
}

impl Heads {
    fn of(call: &CallView<'_>) -> Option<Heads> {
        let (q, k) = (call.dims(0)?, call.dims(1)?);
        let packed = q.len() == 3;
        let [queries, keys] = match (q.len(), k.len()) {
            (3, 3) => [Q_HEADS.of(call.node()), KV_HEADS.of(call.node())],
            (4, 4) if q[1] == k[1] => [1, 1],
            (4, 4) => [q[1].known()?, k[1].known()?],
            _ => return None,
        };
        if queries <= 0 || keys <= 0 || queries % keys != 0 || queries > 1 << 16 {
            return None;
        }
        let scale = match SCALE.get(call.node()) {
            Some(scale) if scale != 0.0 => scale.into(),
            _ => {
                let size = q.last().and_then(Int::known)? / if packed { queries } else { 1 };
                (size as f64).sqrt().recip()
            }
        };
        (scale > 0.0).then_some(Heads { queries, keys, packed, scale })
    }
}

/// The heads of `x`, before its length.
fn unpacked(x: Expr, heads: i64) -> Expr {
    Transpose.emit([Reshape.emit([x, ints(&[0, 0, heads, -1])])]).with("perm", vec![0, 2, 1, 3])
}

/// Which keys each query may see: sizes, and each in turn.
struct Below {
    dims: [usize; 2],
    before: usize,
}

/// What a causal mask allows.
fn causal(call: &CallView<'_>, keeps: bool) -> Result<Below, Skip> {
    let length = |slot: usize| call.dims(slot).and_then(|d| d.get(d.len().checked_sub(2)?)?.known());
    let sizes = (length(0), length(1), if keeps { length(4) } else { Some(0) });
    let unknown = Skip::Unsuitable("the lengths that a causal mask is for are not known");
    let (Some(queries), Some(keys), Some(before)) = sizes else { return Err(unknown) };
    let keys = keys.checked_add(before).ok_or(Skip::NotThis)?;
    require(queries.checked_mul(keys).is_some_and(|n| n <= LARGEST_MASK), "a causal mask would be too large")?;
    let size = |n: i64| usize::try_from(n).map_err(|_| Skip::NotThis);
    Ok(Below { dims: [size(queries)?, size(keys)?], before: size(before)? })
}

/// A tensor with an element for each query and key.
fn constant(below: &Below, dtype: DType, element: impl Fn(bool) -> f64) -> Result<Expr, Skip> {
    let [queries, keys] = below.dims;
    let elements = (0..queries).flat_map(|i| (0..keys).map(move |j| j <= i + below.before));
    let tensor = match dtype {
        DType::Bool => Tensor::raw(dtype, &below.dims, elements.map(u8::from).collect()),
        _ => Tensor::rounded(dtype, &below.dims, &elements.map(element).collect::<Vec<f64>>()),
    };
    tensor.map(Expr::Constant).map_err(|_| Skip::NotThis)
}

/// The mask, where it has an element for every key or one for all.
fn mask(call: &CallView<'_>, kept: &[Option<crate::ir::ValueId>; 2]) -> Result<Expr, Skip> {
    let graph = call.graph();
    let length = |dims: Option<&[Int]>| dims.and_then(|d| Some(d.get(d.len().checked_sub(2)?)?.clone()));
    let mut keys = length(call.dims(1));
    if let Some(before) = kept[0] {
        let before = length(graph.value(before).ty.shape().dims());
        keys = keys.zip(before).map(|(keys, before)| &keys + &before);
    }
    let last = call.dims(3).and_then(|d| d.last().cloned());
    let whole = last.is_some() && last == keys || last.and_then(|n| n.known()) == Some(1);
    require(whole, "the mask may be shorter than the keys")?;
    Ok(call.operand(3).into())
}
