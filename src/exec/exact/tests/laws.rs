//! Laws that hold whatever the operands.

use proptest::prelude::*;

use super::*;

/// An int8 tensor of rank 1 to 4 with distinct neighbours.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    proptest::collection::vec(0usize..5, 1..5).prop_map(|dims| {
        let n = dims.iter().product::<usize>();
        tensor(&dims, &(0..n).map(|i| (i % 251) as u8 as i8).collect::<Vec<_>>())
    })
}

fn v(ints: &[i64]) -> Tensor {
    Tensor::vector(ints)
}

fn long(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}

proptest! {
    #[test]
    fn transposing_back_restores(x in any_tensor(), seed in any::<u64>()) {
        let mut perm: Vec<i64> = (0..long(x.rank())).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, usize::try_from(seed >> (8 * i)).unwrap() % (i + 1));
        }
        let mut inverse = vec![0; perm.len()];
        perm.iter().enumerate().for_each(|(i, &p)| inverse[usize::try_from(p).unwrap()] = long(i));
        let there = fold(OpKind::Transpose, &[("perm", Attr::Ints(perm))], &[x.clone()]).unwrap();
        let back = fold(OpKind::Transpose, &[("perm", Attr::Ints(inverse))], &[there]).unwrap();
        prop_assert_eq!(back, x);
    }

    #[test]
    fn slices_concatenate_to_the_whole(x in any_tensor(), cut in 0i64..6, axis in 0usize..4) {
        let axis = axis % x.rank();
        let at = [("axis", Attr::Int(long(axis)))];
        let part = |from: i64, to: i64| fold(OpKind::Slice, &[], &[x.clone(), v(&[from]), v(&[to]), v(&[long(axis)])]).unwrap();
        let whole = fold(OpKind::Concat, &at, &[part(0, cut), part(cut, i64::MAX)]).unwrap();
        prop_assert_eq!(&whole, &x);
        let cut = cut.min(long(x.dims()[axis]));
        let sizes = v(&[cut, long(x.dims()[axis]) - cut]);
        let parts = fold_all(OpKind::Split, &at, &[Some(x.clone()), Some(sizes)], 2).unwrap().results;
        prop_assert_eq!(fold(OpKind::Concat, &at, &parts).unwrap(), x);
    }

    #[test]
    fn slicing_undoes_padding(x in any_tensor(), begin in 0i64..3, end in 0i64..3, mode in 0usize..4) {
        let mode = ["constant", "edge", "reflect", "wrap"][mode];
        let rank = x.rank();
        let pads: Vec<i64> = [vec![begin; rank], vec![end; rank]].concat();
        match fold(OpKind::Pad, &[("mode", Attr::from(mode))], &[x.clone(), v(&pads)]) {
            Ok(padded) => {
                let ends: Vec<i64> = x.dims().iter().map(|d| begin + long(*d)).collect();
                prop_assert_eq!(fold(OpKind::Slice, &[], &[padded, v(&vec![begin; rank]), v(&ends)]).unwrap(), x);
            }
            Err(e) => prop_assert!(mode != "constant", "{}", e),
        }
    }

    #[test]
    fn reversing_twice_restores(x in any_tensor()) {
        let backwards = |x: Tensor| {
            let axes: Vec<i64> = (0..long(x.rank())).collect();
            let all = |i: i64| v(&vec![i; axes.len()]);
            fold(OpKind::Slice, &[], &[x.clone(), all(-1), all(i64::MIN), v(&axes), all(-1)]).unwrap()
        };
        prop_assert_eq!(backwards(backwards(x.clone())), x);
    }

    #[test]
    fn gathering_every_index_restores(x in any_tensor(), axis in 0usize..4) {
        let axis = axis % x.rank();
        let size = long(x.dims()[axis]);
        let at = [("axis", Attr::Int(long(axis)))];
        let forwards: Vec<i64> = (0..size).collect();
        prop_assert_eq!(&fold(OpKind::Gather, &at, &[x.clone(), v(&forwards)]).unwrap(), &x);
        let backwards: Vec<i64> = (1..=size).map(|i| -i).collect();
        let once = fold(OpKind::Gather, &at, &[x.clone(), v(&backwards)]).unwrap();
        prop_assert_eq!(fold(OpKind::Gather, &at, &[once, v(&backwards)]).unwrap(), x);
    }

    #[test]
    fn four_bit_movement_is_that_of_bytes(dims in proptest::collection::vec(1usize..5, 2..4), codes in proptest::collection::vec(0u8..16, 64)) {
        let n = dims.iter().product();
        let wide = tensor(&dims, &codes[..n]);
        let narrow = packed(DType::U4, &dims, &super::super::lanes::pack(DType::U4, &codes[..n]));
        let cast = |t: &Tensor| fold(OpKind::Cast, &[("to", Attr::Int(2))], &[t.clone()]).unwrap();
        prop_assert_eq!(&cast(&narrow), &wide);
        let moved = |t: &Tensor| fold(OpKind::Transpose, &[], &[t.clone()]).unwrap();
        prop_assert_eq!(cast(&moved(&narrow)), moved(&wide));
    }

    #[test]
    fn quantizing_what_was_dequantized_restores(codes in proptest::collection::vec(any::<i8>(), 1..20), zero in any::<i8>(), scale in 1e-3f32..1e3) {
        let q = tensor(&[codes.len()], &codes);
        let (scale, zero) = (tensor(&[], &[scale]), tensor(&[], &[zero]));
        let x = fold(OpKind::DequantizeLinear, &[], &[q.clone(), scale.clone(), zero.clone()]).unwrap();
        prop_assert_eq!(fold(OpKind::QuantizeLinear, &[], &[x, scale, zero]).unwrap(), q);
    }

    #[test]
    fn tiling_is_concatenation(x in any_tensor(), times in 1usize..4) {
        let mut repeats = vec![1; x.rank()];
        repeats[0] = long(times);
        let tiled = fold(OpKind::Tile, &[], &[x.clone(), v(&repeats)]).unwrap();
        prop_assert_eq!(tiled, fold(OpKind::Concat, &[("axis", Attr::Int(0))], &vec![x; times]).unwrap());
    }
}
