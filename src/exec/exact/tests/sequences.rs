//! Recurrent layers.

use super::*;

/// Two sequences of one number per step, and a state of one number.
fn run(op: OpKind, attrs: Attrs<'_>, lengths: &[i32], gates: &[f32]) -> Vec<Vec<f64>> {
    let x = tensor(&[3, 2, 1], &[1f32, 1.0, 2.0, 2.0, 3.0, 3.0]);
    let directions = if attrs.iter().any(|(_, a)| *a == Attr::from("bidirectional")) { 2 } else { 1 };
    let n = gates.len();
    let w = tensor(&[directions, n, 1], &gates.repeat(directions));
    let r = tensor(&[directions, n, 1], &vec![1f32; n * directions]);
    let lengths = tensor(&[2], lengths);
    let folded = fold_all(op, attrs, &[Some(x), Some(w), Some(r), None, Some(lengths)], 2).unwrap();
    folded.results.iter().map(|t| t.reals().unwrap()).collect()
}

fn relu(directions: usize) -> (&'static str, Attr) {
    ("activations", Attr::Strs(vec![Bytes::from_static(b"Relu"); directions]))
}

#[test]
fn each_sequence_ends_where_it_says() {
    let found = run(OpKind::RNN, &[relu(1)], &[3, 2], &[1.0]);
    // Sums so far, and zeros behind the end.
    assert_eq!(found, [vec![1.0, 1.0, 3.0, 3.0, 6.0, 0.0], vec![6.0, 3.0]]);
}

#[test]
fn backwards_begins_at_each_end() {
    let found = run(OpKind::RNN, &[relu(1), ("direction", "reverse".into())], &[3, 2], &[1.0]);
    assert_eq!(found, [vec![6.0, 3.0, 5.0, 2.0, 3.0, 0.0], vec![6.0, 3.0]]);
    let both = run(OpKind::RNN, &[relu(2), ("direction", "bidirectional".into())], &[3, 2], &[1.0]);
    assert_eq!(both[0], [1.0, 1.0, 6.0, 3.0, 3.0, 3.0, 5.0, 2.0, 6.0, 0.0, 3.0, 0.0]);
    assert_eq!(both[1], [6.0, 3.0, 6.0, 3.0]);
}

#[test]
fn gates_are_where_onnx_puts_them() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    // One step: the state before it is 0.
    let lstm = run(OpKind::LSTM, &[], &[1, 1], &[1.0, 2.0, 3.0, 4.0]);
    near(lstm[1][0], sigmoid(2.0) * (sigmoid(1.0) * 4f64.tanh()).tanh());
    let gru = run(OpKind::GRU, &[], &[1, 1], &[1.0, 2.0, 3.0]);
    near(gru[1][0], (1.0 - sigmoid(1.0)) * 3f64.tanh());
    // Two: what is recalled is reset before the recurrence, or after it; of one unit without bias that is the same.
    let late = run(OpKind::GRU, &[("linear_before_reset", 1.into())], &[2, 2], &[1.0, 2.0, 3.0]);
    assert_eq!(late, run(OpKind::GRU, &[], &[2, 2], &[1.0, 2.0, 3.0]));
}

#[test]
fn a_sequence_of_nothing_has_no_last_state() {
    let (x, w) = (tensor(&[1, 1, 1], &[1f32]), tensor(&[1, 1, 1], &[1f32]));
    let call = |length: i32| {
        let lengths = Some(tensor(&[1], &[length]));
        fold_all(OpKind::RNN, &[], &[Some(x.clone()), Some(w.clone()), Some(w.clone()), None, lengths], 2)
    };
    assert!(call(1).is_ok());
    assert!(matches!(call(0), Err(Unable::Undefined(_))));
    assert!(matches!(call(2), Err(Unable::Malformed(_))));
}
