//! Integer and IEEE arithmetic, comparisons, reductions and order.

use half::{bf16, f16};

use super::*;
use crate::exec::exact::number::Float;
use crate::rewrite::Exactness;

#[test]
fn integers_wrap() {
    let a = tensor(&[2], &[i8::MAX, i8::MIN]);
    let one = tensor(&[], &[1i8]);
    assert_eq!(fold(OpKind::Add, &[], &[a.clone(), one.clone()]).unwrap().integers().unwrap(), [-128, -127]);
    assert_eq!(fold(OpKind::Sub, &[], &[a.clone(), one]).unwrap().integers().unwrap(), [126, 127]);
    assert_eq!(fold(OpKind::Mul, &[], &[a.clone(), a.clone()]).unwrap().integers().unwrap(), [1, 0]);
    assert_eq!(fold(OpKind::Neg, &[], &[a.clone()]).unwrap().integers().unwrap(), [-127, -128]);
    assert_eq!(fold(OpKind::Abs, &[], &[a]).unwrap().integers().unwrap(), [127, -128]);
}

#[test]
fn integers_divide_towards_zero_or_not_at_all() {
    let by = |b: i32| fold(OpKind::Div, &[], &[tensor(&[2], &[-7i32, i32::MIN]), tensor(&[], &[b])]);
    assert_eq!(by(2).unwrap().integers().unwrap(), [-3, i64::from(i32::MIN) / 2]);
    assert!(matches!(by(0), Err(Unable::Undefined(_))));
    assert!(matches!(by(-1), Err(Unable::Undefined(_))), "the quotient overflows");
    let nothing = tensor::<i32>(&[0], &[]);
    assert_eq!(fold(OpKind::Div, &[], &[nothing, tensor(&[], &[0i32])]).unwrap().len(), 0);
}

#[test]
fn powers_keep_the_type_of_the_base() {
    let x = tensor(&[3], &[-2i32, 3, 0]);
    assert_eq!(fold(OpKind::Pow, &[], &[x.clone(), tensor(&[], &[3.0f32])]).unwrap().integers().unwrap(), [-8, 27, 0]);
    assert!(fold(OpKind::Pow, &[], &[x.clone(), tensor(&[], &[-1i64])]).is_err());
    assert!(fold(OpKind::Pow, &[], &[x, tensor(&[], &[64u8])]).is_err(), "3⁶⁴ overflows");
    let y = fold(OpKind::Pow, &[], &[tensor(&[2], &[2.0f32, 9.0]), tensor(&[2], &[2i64, 3])]).unwrap();
    assert_eq!(y, tensor(&[2], &[4.0f32, 729.0]));
}

#[test]
fn modulo_in_both_kinds() {
    let (a, b) = (tensor(&[2], &[-7i64, 7]), tensor(&[2], &[3i64, -3]));
    assert_eq!(fold(OpKind::Mod, &[], &[a.clone(), b.clone()]).unwrap().integers().unwrap(), [2, -2]);
    assert_eq!(fold(OpKind::Mod, &[("fmod", Attr::Int(1))], &[a, b]).unwrap().integers().unwrap(), [-1, 1]);
}

#[test]
fn half_types_are_rounded_once() {
    let (a, b) = (f16::from_f32(0.1), f16::from_f32(0.2));
    let sum = fold(OpKind::Add, &[], &[tensor(&[], &[a]), tensor(&[], &[b])]).unwrap();
    assert_eq!(sum, tensor(&[], &[<f16 as Float>::nearest(a.to_f64() + b.to_f64())]));
    let third = fold(OpKind::Div, &[], &[tensor(&[], &[bf16::ONE]), tensor(&[], &[bf16::from_f32(3.0)])]).unwrap();
    assert_eq!(third, tensor(&[], &[<bf16 as Float>::nearest(1.0 / 3.0)]));
    let root = fold(OpKind::Sqrt, &[], &[tensor(&[], &[f16::from_f32(2.0)])]).unwrap();
    assert_eq!(root, tensor(&[], &[<f16 as Float>::nearest(2f64.sqrt())]));
}

#[test]
fn rounding_goes_to_even() {
    let x = tensor(&[6], &[0.5f32, 1.5, 2.5, -0.5, -2.5, 1e9]);
    let y = fold(OpKind::Round, &[], &[x]).unwrap();
    assert_eq!(y, tensor(&[6], &[0.0f32, 2.0, 2.0, -0.0, -2.0, 1e9]));
}

#[test]
fn extremes_and_relu_keep_a_nan() {
    let x = tensor(&[3], &[-1.0f32, f32::NAN, 2.0]);
    for (op, operands) in [
        (OpKind::Max, vec![x.clone(), tensor(&[], &[0f32])]),
        (OpKind::Relu, vec![x.clone()]),
        (OpKind::Clip, vec![x, tensor(&[], &[0f32])]),
    ] {
        let y = fold(op, &[], &operands).unwrap().reals().unwrap();
        assert!(y[0] == 0.0 && y[1].is_nan() && y[2] == 2.0, "{op} {y:?}");
    }
}

#[test]
fn clip_with_crossed_bounds_gives_the_upper() {
    let x = Some(tensor(&[3], &[1u8, 5, 9]));
    let clip = |least: Option<u8>, greatest: Option<u8>| {
        let bound = |b: Option<u8>| b.map(|b| tensor(&[], &[b]));
        fold_all(OpKind::Clip, &[], &[x.clone(), bound(least), bound(greatest)], 1).unwrap().results[0]
            .integers()
            .unwrap()
    };
    assert_eq!(clip(Some(3), Some(6)), [3, 5, 6]);
    assert_eq!(clip(None, Some(6)), [1, 5, 6]);
    assert_eq!(clip(Some(6), Some(3)), [3, 3, 3]);
}

#[test]
fn sums_of_many_operands_are_marked() {
    let x = tensor(&[2], &[1f32, 2.0]);
    let operands: Vec<_> = vec![Some(x.clone()); 3];
    let mean = fold_all(OpKind::Mean, &[], &operands, 1).unwrap();
    assert_eq!((mean.results[0].clone(), mean.exactness), (x.clone(), Exactness::Rounding));
    assert_eq!(fold_all(OpKind::Sum, &[], &operands[..2], 1).unwrap().exactness, Exactness::Bitwise);
    assert_eq!(fold(OpKind::Sum, &[], &[x.clone()]).unwrap(), x);
}

#[test]
fn bits_and_booleans() {
    let (a, b) = (tensor(&[2], &[0b1100u8, 0xff]), tensor(&[2], &[0b1010u8, 1]));
    assert_eq!(fold(OpKind::BitwiseXor, &[], &[a.clone(), b.clone()]).unwrap().integers().unwrap(), [0b0110, 0xfe]);
    assert_eq!(fold(OpKind::BitwiseNot, &[], &[b.clone()]).unwrap().integers().unwrap(), [0xf5, 0xfe]);
    let shift = |d: &str| fold(OpKind::BitShift, &[("direction", Attr::from(d))], &[a.clone(), b.clone()]);
    assert_eq!(shift("LEFT").unwrap().integers().unwrap(), [0, 0xfe], "a shift by ten leaves nothing");
    assert_eq!(shift("RIGHT").unwrap().integers().unwrap(), [0, 0x7f]);
    assert!(shift("UP").is_err());
    let (t, f) = (bools(&[2], &[1, 1]), bools(&[2], &[1, 0]));
    assert_eq!(fold(OpKind::And, &[], &[t.clone(), f.clone()]).unwrap(), f);
    assert_eq!(fold(OpKind::Xor, &[], &[t.clone(), f.clone()]).unwrap(), bools(&[2], &[0, 1]));
    assert_eq!(fold(OpKind::Not, &[], &[f]).unwrap(), bools(&[2], &[0, 1]));
    assert!(fold(OpKind::Or, &[], &[t, a]).is_err());
}

#[test]
fn comparisons() {
    let (a, b) = (tensor(&[3], &[1.0f32, f32::NAN, -0.0]), tensor(&[3], &[1.0f32, f32::NAN, 0.0]));
    assert_eq!(fold(OpKind::Equal, &[], &[a.clone(), b.clone()]).unwrap(), bools(&[3], &[1, 0, 1]));
    assert_eq!(fold(OpKind::LessOrEqual, &[], &[a.clone(), b]).unwrap(), bools(&[3], &[1, 0, 1]));
    let words = strings(&[2], &["a", "b"]);
    assert_eq!(fold(OpKind::Equal, &[], &[words, strings(&[], &["b"])]).unwrap(), bools(&[2], &[0, 1]));
    assert_eq!(fold(OpKind::IsNaN, &[], &[a]).unwrap(), bools(&[3], &[0, 1, 0]));
    let large = tensor(&[2], &[u64::MAX, 1]);
    assert_eq!(fold(OpKind::Greater, &[], &[large, tensor(&[], &[1u64 << 63])]).unwrap(), bools(&[2], &[1, 0]));
    let e5m2 = packed(DType::F8E5M2, &[3], &[0x7c, 0xfc, 0x7f]);
    assert_eq!(
        fold(OpKind::IsInf, &[("detect_negative", Attr::Int(0))], &[e5m2.clone()]).unwrap(),
        bools(&[3], &[1, 0, 0])
    );
    assert_eq!(fold(OpKind::IsNaN, &[], &[e5m2]).unwrap(), bools(&[3], &[0, 0, 1]));
}

#[test]
fn reductions_of_integers() {
    let x = iota(&[2, 3]);
    let over = |op, axes: &[i64]| fold(op, &[("keepdims", Attr::Int(0))], &[x.clone(), Tensor::vector(axes)]);
    assert_eq!(over(OpKind::ReduceSum, &[0]).unwrap().integers().unwrap(), [3, 5, 7]);
    assert_eq!(over(OpKind::ReduceSum, &[-1]).unwrap().integers().unwrap(), [3, 12]);
    assert_eq!(over(OpKind::ReduceProd, &[]).unwrap().integer(), Some(0));
    assert_eq!(over(OpKind::ReduceMax, &[1]).unwrap().integers().unwrap(), [2, 5]);
    assert_eq!(over(OpKind::ReduceMean, &[1]).unwrap().integers().unwrap(), [1, 4]);
    assert_eq!(over(OpKind::ReduceSumSquare, &[0, 1]).unwrap().integer(), Some(55));
    assert!(over(OpKind::ReduceSum, &[2]).is_err());
    let noop = [("noop_with_empty_axes", Attr::Int(1))];
    assert_eq!(fold(OpKind::ReduceSumSquare, &noop, &[x]).unwrap().integers().unwrap(), [0, 1, 4, 9, 16, 25]);
    let flags = bools(&[2, 2], &[1, 0, 0, 0]);
    let any = fold(OpKind::ReduceMax, &[], &[flags, Tensor::vector(&[1])]).unwrap();
    assert_eq!(any, bools(&[2, 1], &[1, 0]));
}

#[test]
fn reductions_of_floats_and_of_nothing() {
    let x = tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
    let all = |op| fold(op, &[], &[x.clone()]).unwrap().item().unwrap();
    assert_eq!(all(OpKind::ReduceSum), 10.0);
    assert_eq!(all(OpKind::ReduceMean), 2.5);
    assert_eq!(all(OpKind::ReduceL2), f64::from(30f32.sqrt()));
    assert!((all(OpKind::ReduceLogSumExp) - 4.440_19).abs() < 1e-5);
    let none = tensor::<f32>(&[2, 0], &[]);
    let empty = |op| fold(op, &[], &[none.clone(), Tensor::vector(&[1])]).map(|t| t.reals().unwrap());
    assert_eq!(empty(OpKind::ReduceSum), Ok(vec![0.0, 0.0]));
    assert_eq!(empty(OpKind::ReduceMax), Ok(vec![f64::NEG_INFINITY; 2]));
    assert_eq!(empty(OpKind::ReduceLogSumExp), Ok(vec![f64::NEG_INFINITY; 2]));
    assert!(matches!(empty(OpKind::ReduceMean), Err(Unable::Undefined(_))));
    let infinite = tensor(&[3], &[f32::INFINITY, 1.0, f32::INFINITY]);
    assert_eq!(fold(OpKind::ReduceLogSumExp, &[], &[infinite]).unwrap().item(), Some(f64::INFINITY));
}

#[test]
fn running_sums() {
    let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
    let sum = |attrs: Attrs<'_>, axis: i64| {
        fold(OpKind::CumSum, attrs, &[x.clone(), Tensor::scalar(axis)]).unwrap().integers().unwrap()
    };
    assert_eq!(sum(&[], 1), [1, 3, 6, 4, 9, 15]);
    assert_eq!(sum(&[], 0), [1, 2, 3, 5, 7, 9]);
    assert_eq!(sum(&[("exclusive", Attr::Int(1))], -1), [0, 1, 3, 0, 4, 9]);
    assert_eq!(sum(&[("reverse", Attr::Int(1))], 1), [6, 5, 3, 15, 11, 6]);
    assert_eq!(sum(&[("reverse", Attr::Int(1)), ("exclusive", Attr::Int(1))], 1), [5, 3, 0, 11, 6, 0]);
    let product = fold(OpKind::CumProd, &[], &[x, tensor(&[], &[1i32])]).unwrap();
    assert_eq!(product.integers().unwrap(), [1, 2, 6, 4, 20, 120]);
}

#[test]
fn positions_of_extremes() {
    let x = tensor(&[2, 3], &[2f32, 7.0, 7.0, 1.0, 1.0, 0.0]);
    let arg = |op, attrs: Attrs<'_>| fold(op, attrs, &[x.clone()]).unwrap();
    let axis = ("axis", Attr::Int(1));
    assert_eq!(arg(OpKind::ArgMax, &[axis.clone()]).integers().unwrap(), [1, 0]);
    assert_eq!(arg(OpKind::ArgMax, &[axis.clone(), ("select_last_index", Attr::Int(1))]).integers().unwrap(), [2, 1]);
    let down = arg(OpKind::ArgMin, &[("keepdims", Attr::Int(0))]);
    assert_eq!((down.dims(), down.integers().unwrap()), (&[3][..], vec![1, 1, 1]));
    let nan = tensor(&[2], &[f32::NAN, 1.0]);
    assert!(matches!(fold(OpKind::ArgMax, &[], &[nan]), Err(Unable::Undefined(_))));
}

#[test]
fn the_largest_k_and_of_equals_the_first() {
    let x = Some(tensor(&[2, 4], &[1i16, 3, 3, 2, 9, 8, 7, 9]));
    let top = fold_all(OpKind::TopK, &[], &[x.clone(), Some(Tensor::vector(&[2]))], 2).unwrap().results;
    assert_eq!(top[0], tensor(&[2, 2], &[3i16, 3, 9, 9]));
    assert_eq!(top[1].integers().unwrap(), [1, 2, 0, 3]);
    let attrs = [("largest", Attr::Int(0)), ("axis", Attr::Int(0))];
    let least = fold_all(OpKind::TopK, &attrs, &[x.clone(), Some(Tensor::vector(&[1]))], 2).unwrap().results;
    assert_eq!((least[0].clone(), least[1].integers().unwrap()), (tensor(&[1, 4], &[1i16, 3, 3, 2]), vec![0, 0, 0, 0]));
    assert!(fold_all(OpKind::TopK, &[], &[x, Some(Tensor::vector(&[5]))], 2).is_err());
}

#[test]
fn functions_are_rounded_once() {
    let x = tensor(&[3], &[-1.0f32, 0.0, 2.0]);
    let of = |op| fold(op, &[], &[x.clone()]).unwrap().reals().unwrap();
    assert_eq!(of(OpKind::Exp)[2], f64::from(2f64.exp() as f32));
    assert_eq!(of(OpKind::HardSwish), [f64::from((-1.0 / 3.0) as f32), 0.0, f64::from((5.0 / 3.0) as f32)]);
    assert_eq!(of(OpKind::Elu)[0], f64::from((-1f64).exp_m1() as f32));
    assert_eq!(of(OpKind::ThresholdedRelu), [0.0, 0.0, 2.0]);
    let nan = tensor(&[], &[f32::NAN]);
    for op in [OpKind::HardSigmoid, OpKind::LeakyRelu, OpKind::Selu, OpKind::Shrink, OpKind::Gelu] {
        assert!(fold(op, &[], &[nan.clone()]).unwrap().item().unwrap().is_nan(), "{op}");
    }
}
