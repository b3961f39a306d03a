//! What a cut leaves of a constant, whatever its elements.

use bytes::Bytes;

use crate::ir::{DType, Data, Dims, Tensor, count, packed};

/// `tensor` at the kept indices of each axis; `None` as in a whole axis. `None` when a tensor of one repeated element
/// is too large for any.
pub(super) fn remaining(tensor: &Tensor, kept: &[Option<&[usize]>]) -> Option<Tensor> {
    let sizes = tensor.dims().iter().zip(kept).map(|(&size, kept)| kept.map_or(size, <[usize]>::len));
    let dims: Dims = sizes.collect();
    // Sizes beside a 0 may be anything.
    if count(&dims) == Some(0) && tensor.dtype() != DType::String {
        return Tensor::raw(tensor.dtype(), &dims, Bytes::new()).ok();
    }
    let walk = Walk::new(tensor.dims(), kept);
    match tensor.data() {
        Data::Splat(element) => Tensor::splat(tensor.dtype(), &dims, element).ok(),
        Data::Strings(strings) => Tensor::strings(&dims, walk.pick(strings, 1)).ok(),
        Data::Raw(bytes) => {
            let rest = match tensor.dtype().bits() {
                bits @ 1..8 => packed::pack(bits, walk.pick(&packed::unpack(bits, bytes, tensor.len()), 1)),
                bits => walk.pick(bytes, bits / 8),
            };
            Tensor::raw(tensor.dtype(), &dims, rest.into()).ok()
        }
    }
}

/// The way through a tensor's kept elements, in order: indices of the axes up to the last that is cut, and a run of
/// elements behind them.
struct Walk<'a> {
    sizes: &'a [usize],
    kept: &'a [Option<&'a [usize]>],
    run: usize,
}

impl<'a> Walk<'a> {
    fn new(dims: &'a [usize], kept: &'a [Option<&'a [usize]>]) -> Walk<'a> {
        let depth = kept.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let (sizes, behind) = dims.split_at(depth);
        Walk { sizes, kept: &kept[..depth], run: count(behind).unwrap_or(0) }
    }

    /// The kept elements of `source`, which has `width` items for each.
    fn pick<T: Clone>(&self, source: &[T], width: usize) -> Vec<T> {
        let mut picked = Vec::new();
        self.from(0, 0, &mut |place| {
            let run = self.run * width;
            picked.extend_from_slice(&source[place * run..][..run]);
        });
        picked
    }

    /// Visit each run behind `place`, the index of a run of axis `depth` and what is behind it.
    fn from(&self, depth: usize, place: usize, visit: &mut impl FnMut(usize)) {
        let Some(&size) = self.sizes.get(depth) else { return visit(place) };
        let mut go = |index: usize| self.from(depth + 1, place * size + index, visit);
        match self.kept[depth] {
            Some(kept) => kept.iter().for_each(|&index| go(index)),
            None => (0..size).for_each(go),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_go_at_once() {
        let tensor = Tensor::f32s(&[3, 2, 2], &(0..12u8).map(f32::from).collect::<Vec<_>>()).unwrap();
        let rest = remaining(&tensor, &[Some(&[0, 2]), None, Some(&[1])]).unwrap();
        assert_eq!(rest.dims(), [2, 2, 1]);
        assert_eq!(rest.reals().unwrap(), [1.0, 3.0, 9.0, 11.0]);
        let rows = remaining(&tensor, &[Some(&[1]), None, None]).unwrap();
        assert_eq!(rows.reals().unwrap(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(remaining(&tensor, &[None, None, None]).unwrap(), tensor);
    }

    #[test]
    fn every_element_type_is_cut() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::String) {
            let bytes: Vec<u8> = (1..=255).cycle().take(dtype.byte_len(15).unwrap()).collect();
            let tensor = Tensor::raw(dtype, &[5, 3], bytes.into()).unwrap();
            let rest = remaining(&tensor, &[Some(&[1, 4]), Some(&[0, 2])]).unwrap();
            assert_eq!(rest.dims(), [2, 2]);
            for (at, from) in [3, 5, 12, 14].into_iter().enumerate() {
                assert_eq!(rest.element(at), tensor.element(from), "{dtype}");
            }
        }
        let strings = Tensor::strings(&[3], ["a", "b", "c"].map(Into::into).into()).unwrap();
        let rest = remaining(&strings, &[Some(&[0, 2])]).unwrap();
        assert_eq!(rest.as_strings().unwrap(), ["a", "c"]);
        let splat = Tensor::splat(DType::I4, &[1 << 20, 1 << 10], &[3]).unwrap();
        let rest = remaining(&splat, &[Some(&[7]), None]).unwrap();
        assert_eq!((rest.dims(), rest.uniform_real()), (&[1, 1 << 10][..], Some(3.0)));
    }
}
