//! Data movement.

use super::*;
use crate::ir::Data;

#[test]
fn reshape_copies_and_infers_sizes() {
    let x = iota(&[2, 3, 4]);
    let to = |shape: &[i64]| fold(OpKind::Reshape, &[], &[x.clone(), Tensor::vector(shape)]).map(|t| t.dims().to_vec());
    assert_eq!(to(&[0, -1]), Ok(vec![2, 12]));
    assert_eq!(to(&[4, 0, 2]), Ok(vec![4, 3, 2]));
    assert_eq!(to(&[-1]), Ok(vec![24]));
    assert!(matches!(to(&[5, -1]), Err(Unable::Malformed(_))));
    assert!(matches!(to(&[-1, -1]), Err(Unable::Malformed(_))));
    assert!(matches!(to(&[i64::MAX, i64::MAX]), Err(Unable::Malformed(_))));
    let empty = tensor::<i64>(&[0, 3], &[]);
    let shape = Tensor::vector(&[3, 0]);
    let allow = [("allowzero", Attr::Int(1))];
    assert_eq!(fold(OpKind::Reshape, &allow, &[empty, shape]).unwrap().dims(), [3, 0]);
}

#[test]
fn views_share_their_bytes() {
    let x = iota(&[4, 2]);
    let address = |t: &Tensor| match t.data() {
        Data::Raw(b) => b.as_ptr() as usize,
        _ => 0,
    };
    let half = fold(OpKind::Slice, &[], &[x.clone(), Tensor::vector(&[2]), Tensor::vector(&[4])]).unwrap();
    assert_eq!(half.integers().unwrap(), [4, 5, 6, 7]);
    assert_eq!(address(&half), address(&x) + 4 * 8);
    let row = fold(OpKind::Gather, &[], &[x.clone(), Tensor::scalar(-1)]).unwrap();
    assert_eq!((row.dims(), row.integers().unwrap()), (&[2usize][..], vec![6, 7]));
    assert_eq!(address(&row), address(&x) + 6 * 8);
}

#[test]
fn squeeze_and_unsqueeze_count_axes_from_the_back() {
    let x = iota(&[1, 3, 1]);
    assert_eq!(fold(OpKind::Squeeze, &[], &[x.clone()]).unwrap().dims(), [3]);
    assert_eq!(fold(OpKind::Squeeze, &[], &[x.clone(), Tensor::vector(&[-1])]).unwrap().dims(), [1, 3]);
    assert!(fold(OpKind::Squeeze, &[], &[x.clone(), Tensor::vector(&[1])]).is_err());
    assert_eq!(fold(OpKind::Unsqueeze, &[], &[x.clone(), Tensor::vector(&[-1, 0])]).unwrap().dims(), [1, 1, 3, 1, 1]);
    assert!(fold(OpKind::Unsqueeze, &[], &[x, Tensor::vector(&[0, -5])]).is_err(), "the same axis twice");
}

#[test]
fn transpose_moves_elements_of_every_width() {
    let perm = [("perm", Attr::Ints(vec![1, 0]))];
    let u4 = fold(OpKind::Transpose, &perm, &[packed(DType::U4, &[2, 3], &[0x10, 0x32, 0x54])]).unwrap();
    assert_eq!(u4.bytes().unwrap()[..], [0x30, 0x41, 0x52]);
    let i2 = fold(OpKind::Transpose, &perm, &[packed(DType::I2, &[2, 3], &[0b11_10_01_00, 0b00_01])]).unwrap();
    assert_eq!(i2.bytes().unwrap()[..], [0b01_01_11_00, 0b00_10]);
    let text = fold(OpKind::Transpose, &perm, &[strings(&[2, 2], &["a", "b", "c", "d"])]).unwrap();
    assert_eq!(text.as_strings().unwrap(), ["a", "c", "b", "d"]);
    let c128: Vec<u8> = (0..64).collect();
    let complex = fold(OpKind::Transpose, &perm, &[packed(DType::C128, &[2, 2], &c128)]).unwrap();
    assert_eq!(complex.bytes().unwrap()[16..32], c128[32..48]);
    let x = fold(OpKind::Transpose, &[], &[iota(&[2, 1, 3])]).unwrap();
    assert_eq!((x.dims(), x.integers().unwrap()), (&[3, 1, 2][..], vec![0, 3, 1, 4, 2, 5]));
    assert!(fold(OpKind::Transpose, &[("perm", Attr::Ints(vec![0, 0]))], &[iota(&[2, 2])]).is_err());
}

#[test]
fn slice_steps_backwards_and_over_axes() {
    let v = Tensor::vector;
    let x = iota(&[3, 4]);
    let got = fold(OpKind::Slice, &[], &[x.clone(), v(&[-1, 1]), v(&[i64::MIN, 4]), v(&[0, 1]), v(&[-2, 2])]).unwrap();
    assert_eq!((got.dims(), got.integers().unwrap()), (&[2, 2][..], vec![9, 11, 1, 3]));
    let none = fold(OpKind::Slice, &[], &[x, v(&[3]), v(&[1]), v(&[1])]).unwrap();
    assert_eq!(none.dims(), [3, 0]);
    let bits = packed(DType::I4, &[5], &[0x21, 0x43, 0x05]);
    let odd = fold(OpKind::Slice, &[], &[bits.clone(), v(&[1]), v(&[4])]).unwrap();
    assert_eq!(odd.bytes().unwrap()[..], [0x32, 0x04]);
    let even = fold(OpKind::Slice, &[], &[bits, v(&[2]), v(&[5])]).unwrap();
    assert_eq!(even.bytes().unwrap()[..], [0x43, 0x05]);
}

#[test]
fn split_makes_the_last_part_smaller() {
    let x = Some(iota(&[7]));
    let parts = fold_all(OpKind::Split, &[("num_outputs", Attr::Int(3))], &[x.clone()], 3).unwrap().results;
    assert_eq!(
        parts.iter().map(|p| p.integers().unwrap()).collect::<Vec<_>>(),
        [vec![0, 1, 2], vec![3, 4, 5], vec![6]]
    );
    let sizes = Some(Tensor::vector(&[0, 7]));
    let parts = fold_all(OpKind::Split, &[], &[x.clone(), sizes], 2).unwrap().results;
    assert_eq!(parts.iter().map(Tensor::len).collect::<Vec<_>>(), [0, 7]);
    assert!(fold_all(OpKind::Split, &[], &[x, Some(Tensor::vector(&[3, 3]))], 2).is_err());
}

#[test]
fn concat_joins_along_any_axis() {
    let (a, b) = (iota(&[2, 2]), iota(&[2, 1]));
    let joined = fold(OpKind::Concat, &[("axis", Attr::Int(-1))], &[a.clone(), b.clone()]).unwrap();
    assert_eq!((joined.dims(), joined.integers().unwrap()), (&[2, 3][..], vec![0, 1, 0, 2, 3, 1]));
    assert!(fold(OpKind::Concat, &[("axis", Attr::Int(0))], &[a, b]).is_err());
    let nibbles = packed(DType::U4, &[3], &[0x21, 0x03]);
    let joined = fold(OpKind::Concat, &[("axis", Attr::Int(0))], &[nibbles.clone(), nibbles]).unwrap();
    assert_eq!(joined.bytes().unwrap()[..], [0x21, 0x13, 0x32]);
}

#[test]
fn pad_in_every_mode() {
    let x = iota(&[3]);
    let pad = |mode: &str, pads: &[i64]| {
        fold(OpKind::Pad, &[("mode", Attr::from(mode))], &[x.clone(), Tensor::vector(pads)])
            .map(|t| t.integers().unwrap())
    };
    assert_eq!(pad("constant", &[1, 2]), Ok(vec![0, 0, 1, 2, 0, 0]));
    assert_eq!(pad("constant", &[-1, 1]), Ok(vec![1, 2, 0]));
    assert_eq!(pad("edge", &[1, 2]), Ok(vec![0, 0, 1, 2, 2, 2]));
    assert_eq!(pad("reflect", &[2, 1]), Ok(vec![2, 1, 0, 1, 2, 1]));
    assert_eq!(pad("wrap", &[2, 4]), Ok(vec![1, 2, 0, 1, 2, 0, 1, 2, 0]));
    assert!(matches!(pad("reflect", &[3, 0]), Err(Unable::Undefined(_))));
    assert!(matches!(pad("constant", &[-2, -2]), Err(Unable::Malformed(_))));
    assert!(matches!(pad("constant", &[-i64::MAX, i64::MAX]), Ok(v) if v == [0, 0, 0]));
    let fill = strings(&[], &["-"]);
    let text = fold(OpKind::Pad, &[], &[strings(&[2], &["a", "b"]), Tensor::vector(&[1, 0]), fill]).unwrap();
    assert_eq!(text.as_strings().unwrap(), ["-", "a", "b"]);
    let rows = fold(OpKind::Pad, &[], &[iota(&[1, 2]), Tensor::vector(&[1, 0, 0, 0])]).unwrap();
    assert_eq!((rows.dims(), rows.integers().unwrap()), (&[2, 2][..], vec![0, 0, 0, 1]));
}

#[test]
fn center_crop_pad_puts_the_odd_element_right() {
    let x = iota(&[5, 2]);
    let got = fold(OpKind::CenterCropPad, &[], &[x, Tensor::vector(&[2, 5])]).unwrap();
    assert_eq!((got.dims(), got.integers().unwrap()), (&[2, 5][..], vec![0, 2, 3, 0, 0, 0, 4, 5, 0, 0]));
}

#[test]
fn gathers() {
    let x = iota(&[2, 3]);
    let got = fold(OpKind::Gather, &[("axis", Attr::Int(1))], &[x.clone(), tensor(&[2, 1], &[-1i32, 0])]).unwrap();
    assert_eq!((got.dims(), got.integers().unwrap()), (&[2, 2, 1][..], vec![2, 0, 5, 3]));
    assert!(matches!(fold(OpKind::Gather, &[], &[x.clone(), Tensor::scalar(2)]), Err(Unable::Malformed(_))));
    assert!(fold(OpKind::Gather, &[], &[x.clone(), Tensor::scalar(i64::MIN)]).is_err());
    let picked =
        fold(OpKind::GatherElements, &[("axis", Attr::Int(1))], &[x.clone(), tensor(&[2, 2], &[0i64, -1, 1, 1])]);
    assert_eq!(picked.unwrap().integers().unwrap(), [0, 2, 4, 4]);
    let down = fold(OpKind::GatherElements, &[], &[x.clone(), tensor(&[1, 3], &[1i64, 0, 1])]).unwrap();
    assert_eq!(down.integers().unwrap(), [3, 1, 5]);
    let nd = fold(OpKind::GatherND, &[], &[x.clone(), tensor(&[2, 2], &[0i64, 1, 1, -1])]).unwrap();
    assert_eq!((nd.dims(), nd.integers().unwrap()), (&[2][..], vec![1, 5]));
    let rows = fold(OpKind::GatherND, &[], &[x.clone(), tensor(&[1, 1], &[1i64])]).unwrap();
    assert_eq!((rows.dims(), rows.integers().unwrap()), (&[1, 3][..], vec![3, 4, 5]));
    let batched = fold(OpKind::GatherND, &[("batch_dims", Attr::Int(1))], &[x, tensor(&[2, 1], &[2i64, 0])]).unwrap();
    assert_eq!(batched.integers().unwrap(), [2, 3]);
}

#[test]
fn compress_takes_a_short_condition() {
    let x = iota(&[3, 2]);
    let some = bools(&[2], &[0, 1]);
    let rows = fold(OpKind::Compress, &[("axis", Attr::Int(0))], &[x.clone(), some]).unwrap();
    assert_eq!((rows.dims(), rows.integers().unwrap()), (&[1, 2][..], vec![2, 3]));
    let flat = fold(OpKind::Compress, &[], &[x, bools(&[6], &[1, 0, 0, 1, 0, 1])]).unwrap();
    assert_eq!(flat.integers().unwrap(), [0, 3, 5]);
}

#[test]
fn scatters() {
    let zeros = tensor(&[3, 3], &[0f32; 9]);
    let at = tensor(&[2, 3], &[1i64, 0, 2, 0, 2, 1]);
    let values = tensor(&[2, 3], &[1f32, 1.1, 1.2, 2.0, 2.1, 2.2]);
    let got = fold(OpKind::ScatterElements, &[], &[zeros.clone(), at.clone(), values.clone()]).unwrap();
    assert_eq!(got, tensor(&[3, 3], &[2.0f32, 1.1, 0.0, 1.0, 0.0, 2.2, 0.0, 2.1, 1.2]));
    let ones = tensor(&[4], &[1i32; 4]);
    let twice = tensor(&[2, 1], &[1i64, 1]);
    let updates = tensor(&[2], &[5i32, 7]);
    let with = |r: &str| {
        fold(OpKind::ScatterND, &[("reduction", Attr::from(r))], &[ones.clone(), twice.clone(), updates.clone()])
    };
    assert_eq!(with("add").unwrap().integers().unwrap(), [1, 13, 1, 1]);
    assert_eq!(with("mul").unwrap().integers().unwrap(), [1, 35, 1, 1]);
    assert_eq!(with("max").unwrap().integers().unwrap(), [1, 7, 1, 1]);
    assert_eq!(with("min").unwrap().integers().unwrap(), [1, 1, 1, 1]);
    assert!(matches!(with("none"), Err(Unable::Undefined(_))), "two updates of one element");
    let rows = fold(OpKind::ScatterND, &[], &[iota(&[2, 2]), tensor(&[1, 1], &[-1i64]), tensor(&[1, 2], &[8i64, 9])]);
    assert_eq!(rows.unwrap().integers().unwrap(), [0, 1, 8, 9]);
}

#[test]
fn a_cache_is_written_from_each_start_on() {
    let cache = iota(&[2, 3, 1]);
    let update = tensor(&[2, 2, 1], &[10i64, 11, 12, 13]);
    let starts = Tensor::vector(&[1, 2]);
    let mode = [("mode", Attr::from("circular"))];
    let got = fold(OpKind::TensorScatter, &mode, &[cache.clone(), update.clone(), starts.clone()]).unwrap();
    assert_eq!(got.integers().unwrap(), [0, 10, 11, 13, 4, 12]);
    assert!(fold(OpKind::TensorScatter, &[], &[cache, update, starts]).is_err(), "the second ends beyond");
}

#[test]
fn where_broadcasts_three_ways() {
    let c = bools(&[2, 1], &[1, 0]);
    let got = fold(OpKind::Where, &[], &[c, iota(&[2]), tensor(&[], &[9i64])]).unwrap();
    assert_eq!((got.dims(), got.integers().unwrap()), (&[2, 2][..], vec![0, 1, 9, 9]));
}

#[test]
fn trilu_keeps_a_triangle() {
    let x = tensor(&[3, 3], &[1u8; 9]);
    let tri = |upper: i64, k: i64| {
        let operands = [x.clone(), Tensor::scalar(k)];
        fold(OpKind::Trilu, &[("upper", Attr::Int(upper))], &operands).unwrap().bytes().unwrap().to_vec()
    };
    assert_eq!(tri(1, 0), [1, 1, 1, 0, 1, 1, 0, 0, 1]);
    assert_eq!(tri(1, 1), [0, 1, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(tri(0, 0), [1, 0, 0, 1, 1, 0, 1, 1, 1]);
    assert_eq!(tri(0, -1), [0, 0, 0, 1, 0, 0, 1, 1, 0]);
    assert_eq!(tri(1, i64::MIN), [1; 9]);
    assert_eq!(tri(0, i64::MAX), [1; 9]);
    assert_eq!(tri(1, i64::MAX), [0; 9]);
}

#[test]
fn depth_and_space() {
    let x = iota(&[1, 4, 1, 1]);
    let block = |mode: &str| vec![("blocksize", Attr::Int(2)), ("mode", Attr::from(mode))];
    let space = fold(OpKind::DepthToSpace, &block("DCR"), &[x.clone()]).unwrap();
    assert_eq!((space.dims(), space.integers().unwrap()), (&[1, 1, 2, 2][..], vec![0, 1, 2, 3]));
    let x = iota(&[1, 8, 1, 1]);
    let dcr = fold(OpKind::DepthToSpace, &block("DCR"), &[x.clone()]).unwrap();
    assert_eq!(dcr.integers().unwrap(), [0, 2, 4, 6, 1, 3, 5, 7]);
    let crd = fold(OpKind::DepthToSpace, &block("CRD"), &[x.clone()]).unwrap();
    assert_eq!(crd.integers().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    for mode in ["DCR", "CRD"] {
        let there = fold(OpKind::DepthToSpace, &block(mode), &[x.clone()]).unwrap();
        assert_eq!(fold(OpKind::SpaceToDepth, &block(mode), &[there]).unwrap(), x);
    }
    assert!(fold(OpKind::DepthToSpace, &[("blocksize", Attr::Int(i64::MAX))], &[x.clone()]).is_err());
    assert!(fold(OpKind::SpaceToDepth, &[("blocksize", Attr::Int(0))], &[x]).is_err());
}

#[test]
fn sequences_are_reversed_up_to_their_length() {
    let x = iota(&[4, 2]);
    let got = fold(OpKind::ReverseSequence, &[], &[x.clone(), Tensor::vector(&[3, 1])]).unwrap();
    assert_eq!(got.integers().unwrap(), [4, 1, 2, 3, 0, 5, 6, 7]);
    let attrs = [("batch_axis", Attr::Int(0)), ("time_axis", Attr::Int(1))];
    let got = fold(OpKind::ReverseSequence, &attrs, &[x.clone(), Tensor::vector(&[2, 1, 0, 2])]).unwrap();
    assert_eq!(got.integers().unwrap(), [1, 0, 2, 3, 4, 5, 7, 6]);
    assert!(fold(OpKind::ReverseSequence, &[], &[x, Tensor::vector(&[5, 1])]).is_err());
}

#[test]
fn one_hot_counts_classes_from_the_back() {
    let values = tensor(&[2], &[0f32, 1.0]);
    let got = fold(OpKind::OneHot, &[], &[Tensor::vector(&[0, -1, 7]), Tensor::scalar(3), values.clone()]).unwrap();
    assert_eq!(got, tensor(&[3, 3], &[1f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
    let depth = tensor(&[1], &[2.0f32]);
    let first =
        fold(OpKind::OneHot, &[("axis", Attr::Int(0))], &[tensor(&[2], &[1.0f64, 0.0]), depth, values]).unwrap();
    assert_eq!(first, tensor(&[2, 2], &[0f32, 1.0, 1.0, 0.0]));
}

#[test]
fn non_zero_lists_positions_by_axis() {
    let x = tensor(&[2, 2], &[1.0f32, -0.0, f32::NAN, 3.0]);
    let got = fold(OpKind::NonZero, &[], &[x]).unwrap();
    assert_eq!((got.dims(), got.integers().unwrap()), (&[2, 3][..], vec![0, 1, 1, 0, 0, 1]));
    let none = fold(OpKind::NonZero, &[], &[bools(&[2], &[0, 0])]).unwrap();
    assert_eq!(none.dims(), [1, 0]);
}

#[test]
fn unique_with_and_without_axis() {
    let x = Some(tensor(&[6], &[2f32, 1.0, 1.0, 3.0, 4.0, 3.0]));
    let ints = |f: &Folded| f.results[1..].iter().map(|t| t.integers().unwrap()).collect::<Vec<_>>();
    let sorted = fold_all(OpKind::Unique, &[], &[x.clone()], 4).unwrap();
    assert_eq!(sorted.results[0], tensor(&[4], &[1f32, 2.0, 3.0, 4.0]));
    assert_eq!(ints(&sorted), [vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]]);
    let unsorted = fold_all(OpKind::Unique, &[("sorted", Attr::Int(0))], &[x], 4).unwrap();
    assert_eq!(unsorted.results[0], tensor(&[4], &[2f32, 1.0, 3.0, 4.0]));
    assert_eq!(ints(&unsorted), [vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
    let y = Some(tensor(&[1, 4, 2], &[1u8, 1, 0, 1, 2, 1, 0, 1]));
    let along = fold_all(OpKind::Unique, &[("axis", Attr::Int(1))], &[y], 4).unwrap();
    assert_eq!(along.results[0], tensor(&[1, 3, 2], &[0u8, 1, 1, 1, 2, 1]));
    assert_eq!(ints(&along), [vec![1, 0, 2], vec![1, 0, 2, 0], vec![2, 1, 1]]);
    let words = fold(OpKind::Unique, &[], &[strings(&[3], &["b", "a", "b"])]).unwrap();
    assert_eq!(words.as_strings().unwrap(), ["a", "b"]);
}

#[test]
fn generators() {
    let range = fold(OpKind::Range, &[], &[Tensor::scalar(10), Tensor::scalar(4), Tensor::scalar(-4)]).unwrap();
    assert_eq!(range.integers().unwrap(), [10, 6]);
    let f = |x: f32| tensor(&[], &[x]);
    let halves = fold(OpKind::Range, &[], &[f(1.0), f(2.5), f(0.5)]).unwrap();
    assert_eq!(halves, tensor(&[3], &[1f32, 1.5, 2.0]));
    assert!(matches!(fold(OpKind::Range, &[], &[f(0.0), f(f32::INFINITY), f(1.0)]), Err(Unable::Undefined(_))));
    let scalar = |x: i64| Tensor::scalar(x);
    assert!(matches!(
        fold(OpKind::Range, &[], &[scalar(i64::MIN), scalar(i64::MAX), scalar(1)]),
        Err(Unable::TooLarge { .. })
    ));
    let eye =
        fold(OpKind::EyeLike, &[("k", Attr::Int(1)), ("dtype", Attr::Int(7))], &[tensor(&[2, 3], &[0u8; 6])]).unwrap();
    assert_eq!(eye.integers().unwrap(), [0, 1, 0, 0, 0, 1]);
    let shape = fold(OpKind::Shape, &[("start", Attr::Int(-2)), ("end", Attr::Int(9))], &[iota(&[2, 3, 4])]).unwrap();
    assert_eq!(shape.integers().unwrap(), [3, 4]);
    assert_eq!(fold(OpKind::Size, &[], &[iota(&[2, 3])]).unwrap().integer(), Some(6));
}
