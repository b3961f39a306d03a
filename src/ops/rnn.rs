//! Recurrent layers: one cell run along a sequence, forwards, backwards or both.

use crate::ir::{DType, Int, Key};
use crate::ops::dims::{clearest, product};
use crate::ops::{CallView, End, Infer, OpDef, Outcome, Tie, Ties, ties};

const HIDDEN_SIZE: Key<i64> = Key::new("hidden_size", 0);
const DIRECTION: Key<&'static str> = Key::new("direction", "forward");
/// The batch comes first in operands and results, not the sequence.
const LAYOUT: Key<bool> = Key::new("layout", false);

/// `LSTM`, `GRU` and `RNN`: operands `[X, W, R, …]`, results `[Y, Y_h]` and, of an LSTM, `Y_c`.
pub static RECURRENT: OpDef = OpDef { infer: Some(|call| recur(call, 2)), ties: units, macs, ..OpDef::PURE };
/// com.microsoft's `DynamicQuantizeLSTM`: weights of integers, transposed.
pub static DYNAMIC_QUANTIZE_LSTM: OpDef = OpDef { infer: Some(|call| recur(call, 1)), macs, ..OpDef::PURE };

/// Sizes of a call.
struct Sizes {
    sequence: Int,
    batch: Int,
    directions: Int,
    hidden: Int,
}

/// `inner` is the axis of the recurrence weight that the state meets.
fn sizes(call: &Infer<'_>, inner: usize) -> Option<Sizes> {
    let x = call.dims(0);
    if x.is_some_and(|x| x.len() != 3) {
        return None;
    }
    let batch_first = LAYOUT.of(call.node());
    let of_x = |axis: usize| x.map(|x| x[axis].clone());
    let of = |slot: usize, axis: usize| call.dims(slot).and_then(|dims| dims.get(axis));
    let hidden = HIDDEN_SIZE.get(call.node()).filter(|&h| h > 0).map(Int::from);
    let hidden = clearest(hidden.iter().chain(of(2, inner))).cloned();
    let directions = if DIRECTION.of(call.node()) == "bidirectional" { 2 } else { 1 };
    // Results tell what operands do not: each measures its own axes where a size is open.
    let (sequence_axis, batch_axis) = if batch_first { (1, 0) } else { (0, 2) };
    Some(Sizes {
        sequence: of_x(usize::from(batch_first)).unwrap_or_else(|| call.fresh(0, sequence_axis)),
        batch: of_x(usize::from(!batch_first)).unwrap_or_else(|| call.fresh(0, batch_axis)),
        directions: Int::from(directions),
        hidden: hidden.unwrap_or_else(|| call.fresh(0, 3)),
    })
}

fn recur(call: &mut Infer<'_>, inner: usize) -> Outcome {
    let real = |dtype: &DType| !matches!(dtype, DType::I8 | DType::U8);
    let dtype = (0..3).find_map(|slot| call.dtype(slot).filter(real));
    (0..3).for_each(|slot| call.set_dtype(slot, dtype));
    let Sizes { sequence, batch, directions, hidden } = sizes(call, inner)?;
    let (y, last) = if LAYOUT.of(call.node()) {
        let y = [batch.clone(), sequence, directions.clone(), hidden.clone()];
        (y, [batch, directions, hidden])
    } else {
        let y = [sequence, directions.clone(), batch.clone(), hidden.clone()];
        (y, [directions, batch, hidden])
    };
    call.set(0, dtype, y);
    call.set(1, dtype, last.clone());
    call.set(2, dtype, last);
    Some(())
}

/// A unit of the state is a row of every gate in both weights, in biases and peepholes, and a column of `R`; both
/// directions have the same.
fn units(call: &CallView<'_>) -> Ties {
    let unit = End::operand(2, 2);
    let Some(hidden @ 1..) = ties::size(call, unit) else { return Ties::new() };
    // Clipping and activations act on every unit alike.
    let mut found = vec![Tie::Contracted(End::operand(0, 2), End::operand(1, 2)), Tie::Summed(unit)];
    for (slot, axis) in [(1, 1), (2, 1), (3, 1), (7, 1)] {
        let rows = End::operand(slot, axis);
        if let Some(size) = ties::size(call, rows) {
            found.push(Tie::Picked { from: unit, to: rows, indices: (0..size).map(|i| i % hidden).collect() });
        }
    }
    found.extend([5, 6].map(|slot| Tie::Same(End::operand(slot, 2), unit)));
    found.extend([(0, 3), (1, 2), (2, 2)].map(|(slot, axis)| Tie::Same(unit, End::result(slot, axis))));
    found
}

/// Each step of each sequence multiplies by both weights, all gates and directions of which they hold.
fn macs(call: &CallView<'_>) -> Option<Int> {
    let weights = product(call.dims(1)?)?.checked_add(&product(call.dims(2)?)?)?;
    product(call.dims(0)?.get(..2)?)?.checked_mul(&weights)
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::{GRU, LSTM};
    use crate::ops::testing::{infer_all, macs};

    #[test]
    fn sizes_follow_layout_and_direction() {
        let lstm = |x: &str, attrs: &[(&'static str, crate::ir::Attr)]| {
            infer_all(LSTM, &format!("{x} float[1,32,4] float[1,32,8]"), attrs, 3)
        };
        assert_eq!(lstm("float[s,b,4]", &[]), "float[s,1,b,8]  float[1,b,8]  float[1,b,8]");
        assert_eq!(lstm("float[b,s,4]", &[("layout", 1.into())]), "float[b,s,1,8]  float[b,1,8]  float[b,1,8]");
        let both = [("direction", "bidirectional".into()), ("hidden_size", 8.into())];
        assert_eq!(infer_all(GRU, "float[s,b,4] ? ?", &both, 2), "float[s,2,b,8]  float[2,b,8]");
        assert_eq!(infer_all(GRU, "?", &both, 2), "?[?,2,?,8]  ?[2,?,8]");
        assert_eq!(lstm("float[s,b]", &[]), "float[..]  float[..]  float[..]");
    }

    #[test]
    fn every_step_reads_both_weights() {
        assert_eq!(
            macs(LSTM, "float[10,2,4] float[1,32,4] float[1,32,8]", &[]),
            (10 * 2 * (32 * 4 + 32 * 8)).to_string()
        );
    }
}
