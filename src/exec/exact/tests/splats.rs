//! Tensors of equal elements stay small, however many elements they have.

use super::*;
use crate::ir::Data;

const HUGE: [usize; 3] = [1 << 20, 1 << 10, 3];

fn huge(x: f32) -> Tensor {
    Tensor::splat(DType::F32, &HUGE, &x.to_le_bytes()).unwrap()
}

fn element(t: &Tensor) -> f32 {
    match t.data() {
        Data::Splat(e) => f32::from_le_bytes(e[..].try_into().unwrap()),
        _ => panic!("{t} is spelled out"),
    }
}

#[test]
fn movement_keeps_a_splat() {
    let v = Tensor::vector;
    let x = huge(2.5);
    let cases: [(OpKind, Vec<(&'static str, Attr)>, Vec<Tensor>); 11] = [
        (OpKind::Transpose, vec![], vec![x.clone()]),
        (OpKind::Reshape, vec![], vec![x.clone(), v(&[-1])]),
        (OpKind::Slice, vec![], vec![x.clone(), v(&[0]), v(&[i64::MAX]), v(&[2]), v(&[2])]),
        (OpKind::Expand, vec![], vec![x.clone(), v(&[7, 1, 1, 1])]),
        (OpKind::Tile, vec![], vec![x.clone(), v(&[2, 2, 2])]),
        (OpKind::Concat, vec![("axis", Attr::Int(0))], vec![x.clone(), x.clone()]),
        (OpKind::Pad, vec![("mode", Attr::from("edge"))], vec![x.clone(), v(&[0, 0, 1, 0, 0, 1])]),
        (OpKind::Pad, vec![], vec![x.clone(), v(&[0, 0, 1, 0, 0, 1]), tensor(&[], &[2.5f32])]),
        (OpKind::Gather, vec![], vec![x.clone(), v(&[5, 3])]),
        (OpKind::Where, vec![], vec![Tensor::splat(DType::Bool, &HUGE, &[1]).unwrap(), x.clone(), huge(0.0)]),
        (OpKind::ReduceMean, vec![], vec![x.clone(), v(&[2])]),
    ];
    for (op, attrs, operands) in cases {
        assert_eq!(element(&fold(op, &attrs, &operands).unwrap()), 2.5, "{op}");
    }
}

#[test]
fn arithmetic_keeps_a_splat() {
    let (x, y) = (huge(2.5), huge(2.0));
    for (op, expected) in [(OpKind::Add, 4.5), (OpKind::Mul, 5.0), (OpKind::Max, 2.5), (OpKind::Sub, 0.5)] {
        assert_eq!(element(&fold(op, &[], &[x.clone(), y.clone()]).unwrap()), expected, "{op}");
    }
    assert_eq!(element(&fold(OpKind::Neg, &[], &[x.clone()]).unwrap()), -2.5);
    let cast = fold(OpKind::Cast, &[("to", Attr::Int(7))], &[x.clone()]).unwrap();
    assert!(matches!(cast.data(), Data::Splat(e) if e[0] == 2));
    let equal = fold(OpKind::Equal, &[], &[x, y]).unwrap();
    assert!(matches!(equal.data(), Data::Splat(e) if e[0] == 0));
}

#[test]
fn a_splat_meets_a_spelled_out_operand_without_being_spelled_out() {
    let ones = Tensor::splat(DType::I64, &[100, 4], &1i64.to_le_bytes()).unwrap();
    let sum = fold(OpKind::Add, &[], &[ones, iota(&[4])]).unwrap();
    assert_eq!(sum.integers().unwrap()[..6], [1, 2, 3, 4, 1, 2]);
}

#[test]
fn small_results_are_spelled_out() {
    let filled = fold(OpKind::ConstantOfShape, &[], &[Tensor::vector(&[2, 2])]).unwrap();
    assert!(matches!(filled.data(), Data::Raw(_)));
    let filled = fold(OpKind::ConstantOfShape, &[], &[Tensor::vector(&[1 << 30, 1 << 20])]).unwrap();
    assert_eq!(element(&filled), 0.0);
}

#[test]
fn what_must_be_spelled_out_is_bounded_first() {
    let x = huge(1.0);
    let mixed = [x.clone(), tensor(&[3], &[1f32, 2.0, 3.0])];
    assert_eq!(fold(OpKind::Add, &[], &mixed).unwrap_err(), Unable::TooLarge { limit: LIMIT });
    assert_eq!(
        fold(OpKind::Pad, &[], &[x.clone(), Tensor::vector(&[1, 0, 0, 0, 0, 0])]).unwrap_err(),
        Unable::TooLarge { limit: LIMIT }
    );
    assert_eq!(fold(OpKind::NonZero, &[], &[x.clone()]).unwrap_err(), Unable::TooLarge { limit: LIMIT });
    let far = Tensor::vector(&[1 << 40]);
    assert!(matches!(fold(OpKind::Expand, &[], &[iota(&[2, 1]), far]), Err(Unable::TooLarge { .. })));
    assert!(matches!(fold(OpKind::Tile, &[], &[iota(&[2]), Tensor::vector(&[1 << 60])]), Err(Unable::TooLarge { .. })));
    assert!(fold(OpKind::ConstantOfShape, &[], &[Tensor::vector(&[1 << 40, 1 << 40])]).is_err());
}
