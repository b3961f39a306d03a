//! Quantization.

use half::f16;

use super::*;

#[test]
fn ties_go_to_even_and_ends_saturate() {
    let x = tensor(&[6], &[0.5f32, 1.5, 2.5, 1000.0, -1000.0, -3.5]);
    let scale = tensor(&[], &[1f32]);
    let i8s = fold(OpKind::QuantizeLinear, &[], &[x.clone(), scale.clone(), tensor(&[], &[0i8])]).unwrap();
    assert_eq!(i8s.integers().unwrap(), [0, 2, 2, 127, -128, -4]);
    let u8s = fold(OpKind::QuantizeLinear, &[], &[x.clone(), scale.clone()]).unwrap();
    assert_eq!(u8s, tensor(&[6], &[0u8, 2, 2, 255, 0, 0]));
    let zero = fold(OpKind::QuantizeLinear, &[], &[x.clone(), scale.clone(), tensor(&[], &[10u8])]).unwrap();
    assert_eq!(zero.integers().unwrap(), [10, 12, 12, 255, 0, 6]);
    let i4s = fold(OpKind::QuantizeLinear, &[("output_dtype", Attr::Int(22))], &[x, scale]).unwrap();
    assert_eq!(i4s.bytes().unwrap()[..], [0x20, 0x72, 0xc8]);
}

#[test]
fn each_slice_has_its_scale() {
    let x = tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]);
    let scale = tensor(&[2], &[1f32, 2.0]);
    let zero = tensor(&[2], &[0i8, 1]);
    let quantized = |axis| {
        let operands = [x.clone(), scale.clone(), zero.clone()];
        fold(OpKind::QuantizeLinear, &[("axis", Attr::Int(axis))], &operands).unwrap().integers().unwrap()
    };
    assert_eq!(quantized(0), [1, 2, 3, 3]);
    assert_eq!(quantized(-1), [1, 2, 3, 3]);
    let q = tensor(&[2, 2], &[1i8, 2, 3, 3]);
    let back = fold(OpKind::DequantizeLinear, &[("axis", Attr::Int(0))], &[q, scale, zero]).unwrap();
    assert_eq!(back.reals().unwrap(), [1.0, 2.0, 4.0, 4.0]);
}

#[test]
fn blocks_may_end_short() {
    let q = tensor(&[1, 3], &[1u8, 1, 1]);
    let scale = tensor(&[1, 2], &[1f32, 10.0]);
    let attrs = [("block_size", Attr::Int(2)), ("axis", Attr::Int(1))];
    let x = fold(OpKind::DequantizeLinear, &attrs, &[q.clone(), scale.clone()]).unwrap();
    assert_eq!(x.reals().unwrap(), [1.0, 1.0, 10.0]);
    assert_eq!(fold(OpKind::QuantizeLinear, &attrs, &[x, scale.clone()]).unwrap(), q);
    assert!(fold(OpKind::DequantizeLinear, &[("block_size", Attr::Int(1))], &[q, scale]).is_err());
}

#[test]
fn small_floats_quantize_too() {
    let x = tensor(&[2], &[1000f32, 0.3]);
    let attrs = [("output_dtype", Attr::Int(17))];
    let q = fold(OpKind::QuantizeLinear, &attrs, &[x, tensor(&[], &[1f32])]).unwrap();
    assert_eq!(q, packed(DType::F8E4M3FN, &[2], &[0x7e, 0x2a]));
    let back = fold(OpKind::DequantizeLinear, &[], &[q, tensor(&[], &[f16::from_f32(2.0)])]).unwrap();
    assert_eq!(back, tensor(&[2], &[f16::from_f32(896.0), f16::from_f32(0.625)]));
}

#[test]
fn what_has_no_answer_is_declined() {
    let zero_scale = [tensor(&[1], &[0f32]), tensor(&[], &[0f32])];
    assert!(matches!(fold(OpKind::QuantizeLinear, &[], &zero_scale), Err(Unable::Undefined(_))));
    let mixed = [tensor(&[1], &[1f32]), tensor(&[], &[f16::ONE])];
    assert!(matches!(fold(OpKind::QuantizeLinear, &[], &mixed), Err(Unable::Undefined(_))));
    let wrong = [tensor(&[3], &[1f32; 3]), tensor(&[2], &[1f32; 2])];
    assert!(matches!(fold(OpKind::QuantizeLinear, &[], &wrong), Err(Unable::Malformed(_))));
}
