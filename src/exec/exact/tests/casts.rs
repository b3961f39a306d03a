//! Casts, where the specification says what they give.

use half::{bf16, f16};

use super::*;

fn cast(t: &Tensor, to: DType) -> Result<Tensor, Unable> {
    cast_with(t, to, &[])
}

fn cast_with(t: &Tensor, to: DType, attrs: Attrs<'_>) -> Result<Tensor, Unable> {
    let attrs: Vec<_> = [("to", Attr::Int(to.code().into()))].into_iter().chain(attrs.iter().cloned()).collect();
    fold(OpKind::Cast, &attrs, std::slice::from_ref(t))
}

#[test]
fn floats_become_integers_only_within_range() {
    let x = tensor(&[3], &[-1.9f32, 2.9, 255.0]);
    assert_eq!(cast(&x, DType::I32).unwrap().integers().unwrap(), [-1, 2, 255]);
    assert!(matches!(cast(&x, DType::U8), Err(Unable::Undefined(_))));
    assert!(matches!(cast(&x, DType::I8), Err(Unable::Undefined(_))));
    assert!(matches!(cast(&tensor(&[], &[f64::NAN]), DType::I64), Err(Unable::Undefined(_))));
    assert_eq!(cast(&tensor(&[], &[i64::MIN as f64]), DType::I64).unwrap().integer(), Some(i64::MIN));
}

#[test]
fn integers_keep_their_low_bits() {
    let x = tensor(&[3], &[200i16, -1, 300]);
    assert_eq!(cast(&x, DType::I8).unwrap().integers().unwrap(), [-56, -1, 44]);
    assert_eq!(cast(&x, DType::U8).unwrap().integers().unwrap(), [200, 255, 44]);
    assert_eq!(cast(&x, DType::U64).unwrap(), tensor(&[3], &[200u64, u64::MAX, 300]));
    assert_eq!(cast(&tensor(&[3], &[7i8, -8, 9]), DType::I4).unwrap().bytes().unwrap()[..], [0x87, 0x09]);
}

#[test]
fn anything_but_zero_is_true() {
    let x = tensor(&[4], &[0.0f32, -0.0, f32::NAN, 0.1]);
    assert_eq!(cast(&x, DType::Bool).unwrap(), bools(&[4], &[0, 0, 1, 1]));
    assert_eq!(cast(&tensor(&[2], &[0i64, 256]), DType::Bool).unwrap(), bools(&[2], &[0, 1]));
    assert_eq!(cast(&bools(&[2], &[0, 1]), DType::F16).unwrap(), tensor(&[2], &[f16::ZERO, f16::ONE]));
}

#[test]
fn floats_narrow_to_the_nearest_or_to_infinity() {
    let x = tensor(&[3], &[65520.0f64, -1e300, 1.0 + 2f64.powi(-11) + 2f64.powi(-40)]);
    let y = cast(&x, DType::F16).unwrap();
    assert_eq!(y, tensor(&[3], &[f16::INFINITY, f16::NEG_INFINITY, f16::from_bits(f16::ONE.to_bits() + 1)]));
    let tie = tensor(&[], &[1.0f32 + 2f32.powi(-8)]);
    assert_eq!(cast(&tie, DType::BF16).unwrap(), tensor(&[], &[bf16::ONE]));
    assert_eq!(cast(&tensor(&[], &[(1i64 << 24) + 1]), DType::F32).unwrap().item(), Some(16_777_216.0));
    assert_eq!(cast(&tensor(&[], &[i64::MAX]), DType::F16).unwrap().item(), Some(f64::INFINITY));
}

#[test]
fn packed_types_are_read_with_their_sign() {
    let i4 = packed(DType::I4, &[3], &[0x87, 0x0f]);
    assert_eq!(cast(&i4, DType::F32).unwrap().reals().unwrap(), [7.0, -8.0, -1.0]);
    let u2 = packed(DType::U2, &[4], &[0b11_10_01_00]);
    assert_eq!(cast(&u2, DType::U8).unwrap().integers().unwrap(), [0, 1, 2, 3]);
    let f4 = packed(DType::F4E2M1, &[4], &[0x71, 0xf2]);
    assert_eq!(cast(&f4, DType::F32).unwrap().reals().unwrap(), [0.5, 6.0, 1.0, -6.0]);
}

#[test]
fn float8_saturates_unless_told_not_to() {
    let x = tensor(&[4], &[1e6f32, f32::NEG_INFINITY, 0.3, -0.0]);
    let e4m3 = cast(&x, DType::F8E4M3FN).unwrap();
    assert_eq!(e4m3.bytes().unwrap()[..], [0x7e, 0xfe, 0x2a, 0x80]);
    let escaped = cast_with(&x, DType::F8E5M2, &[("saturate", Attr::Int(0))]).unwrap();
    assert_eq!(escaped.bytes().unwrap()[..], [0x7c, 0xfc, 0x35, 0x80]);
    let back = cast(&e4m3, DType::F32).unwrap();
    assert_eq!(back.reals().unwrap(), [448.0, -448.0, 0.3125, 0.0]);
    let powers = cast_with(&tensor(&[2], &[3f32, 4.0]), DType::F8E8M0, &[("round_mode", Attr::from("down"))]).unwrap();
    assert_eq!(powers.bytes().unwrap()[..], [128, 129]);
    assert!(matches!(cast(&tensor(&[], &[-1f32]), DType::F8E8M0), Err(Unable::Undefined(_))));
    assert!(matches!(cast(&tensor(&[], &[f32::NAN]), DType::F4E2M1), Err(Unable::Undefined(_))));
}

#[test]
fn strings_are_literals() {
    let words = strings(&[4], &["2.5", "-INF", "NaN", "1E8"]);
    let y = cast(&words, DType::F32).unwrap().reals().unwrap();
    assert!(y[0] == 2.5 && y[1] == f64::NEG_INFINITY && y[2].is_nan() && y[3] == 1e8);
    assert_eq!(cast(&strings(&[2], &["-7", "12"]), DType::I8).unwrap().integers().unwrap(), [-7, 12]);
    assert!(matches!(cast(&strings(&[], &["2.7"]), DType::I32), Err(Unable::Undefined(_))));
    assert!(matches!(cast(&strings(&[], &["hello"]), DType::F32), Err(Unable::Undefined(_))));
    assert_eq!(cast(&tensor(&[2], &[-1i64, 40]), DType::String).unwrap().as_strings().unwrap(), ["-1", "40"]);
    assert!(matches!(cast(&tensor(&[], &[1f32]), DType::String), Err(Unable::Undefined(_))));
}

#[test]
fn cast_like_takes_the_type_alone() {
    let like = strings(&[1], &["x"]);
    assert_eq!(fold(OpKind::CastLike, &[], &[tensor(&[], &[5i32]), like]).unwrap().as_strings().unwrap(), ["5"]);
}
