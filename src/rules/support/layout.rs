//! Constants with their axes in another order.

use crate::ir::Tensor;
use crate::rules::support::axes::is_permutation;

/// `tensor` with axis `perm[i]` at place `i`; `None` for strings and elements of less than a byte, or when `perm` is no
/// permutation of its axes.
pub fn transposed(tensor: &Tensor, perm: &[usize]) -> Option<Tensor> {
    let (dims, width) = (tensor.dims(), tensor.dtype().bits() / 8);
    if width == 0 || perm.len() != dims.len() || !is_permutation(perm) {
        return None;
    }
    let turned: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    if tensor.len() == 0 {
        // Products of the other sizes may overflow.
        return tensor.reshaped(&turned).ok();
    }
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    // Axes of size 1 may go anywhere: when the others stay in order, so do the elements.
    let wide: Vec<usize> = perm.iter().copied().filter(|&axis| dims[axis] != 1).collect();
    if wide.is_sorted() {
        return tensor.reshaped(&turned).ok();
    }
    let bytes = tensor.bytes()?;
    let mut out = Vec::with_capacity(bytes.len());
    let (mut index, mut at) = (vec![0; dims.len()], 0);
    for _ in 0..tensor.len() {
        out.extend_from_slice(bytes.get(at * width..(at + 1) * width)?);
        for place in (0..perm.len()).rev() {
            let stride = strides[perm[place]];
            index[place] += 1;
            at += stride;
            if index[place] < turned[place] {
                break;
            }
            at -= stride * turned[place];
            index[place] = 0;
        }
    }
    Tensor::raw(tensor.dtype(), &turned, out.into()).ok()
}

/// Vectors one after another, or matrices of as many rows side by side; `None` for others, and for elements of less
/// than a byte.
pub fn side_by_side(tensors: &[&Tensor]) -> Option<Tensor> {
    let first = tensors.first()?;
    let width = first.dtype().bits() / 8;
    let rows = match first.dims() {
        [_] => 1,
        [rows, _] => *rows,
        _ => return None,
    };
    let alike = |t: &&Tensor| {
        t.dtype() == first.dtype() && t.rank() == first.rank() && t.len() == rows * t.dims()[t.rank() - 1]
    };
    if width == 0 || !tensors.iter().all(alike) {
        return None;
    }
    let columns = tensors.iter().try_fold(0usize, |sum, t| sum.checked_add(*t.dims().last()?))?;
    let parts: Vec<_> = tensors.iter().map(|t| t.bytes()).collect::<Option<_>>()?;
    let mut out = Vec::with_capacity(rows.checked_mul(columns)?.checked_mul(width)?);
    for row in 0..rows {
        for (t, bytes) in tensors.iter().zip(&parts) {
            let length = t.dims()[t.rank() - 1] * width;
            out.extend_from_slice(bytes.get(row * length..(row + 1) * length)?);
        }
    }
    let dims = if first.rank() == 1 { vec![columns] } else { vec![rows, columns] };
    Tensor::raw(first.dtype(), &dims, out.into()).ok()
}

/// The two halves of `tensor` along its last axis; `None` where its size is odd, and for elements of less than a byte.
pub fn parted_last(tensor: &Tensor) -> Option<(Tensor, Tensor)> {
    let (&last, lead) = tensor.dims().split_last()?;
    let width = tensor.dtype().bits() / 8;
    let half = (last / 2).checked_mul(width).filter(|&half| half > 0 && last % 2 == 0)?;
    let bytes = tensor.bytes()?;
    let (mut first, mut second) = (Vec::with_capacity(bytes.len() / 2), Vec::with_capacity(bytes.len() / 2));
    for row in bytes.chunks_exact(2 * half) {
        first.extend_from_slice(&row[..half]);
        second.extend_from_slice(&row[half..]);
    }
    let dims: Vec<usize> = lead.iter().copied().chain([last / 2]).collect();
    let part = |elements: Vec<u8>| Tensor::raw(tensor.dtype(), &dims, elements.into()).ok();
    Some((part(first)?, part(second)?))
}

/// `tensor` with axes of size 1 before its own, `rank` axes in all.
pub fn outermost(tensor: &Tensor, rank: usize) -> Option<Tensor> {
    let missing = rank.checked_sub(tensor.rank())?;
    let dims: Vec<usize> = std::iter::repeat_n(1, missing).chain(tensor.dims().iter().copied()).collect();
    tensor.reshaped(&dims).ok()
}

/// `tensor` without the axes of size 1 before the first larger one.
pub fn innermost(tensor: &Tensor) -> Tensor {
    let ones = tensor.dims().iter().take_while(|&&d| d == 1).count();
    tensor.reshaped(&tensor.dims()[ones..]).unwrap_or_else(|_| tensor.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_their_axes() {
        let t = Tensor::f32s(&[2, 3, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let turned = transposed(&t, &[2, 1, 0]).unwrap();
        assert_eq!((turned.dims(), turned.reals().unwrap()), (&[1, 3, 2][..], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(transposed(&t, &[0, 2, 1]).unwrap().reals(), t.reals());
        assert!(transposed(&t, &[0, 0, 1]).is_none() && transposed(&t, &[0, 1]).is_none());
    }

    #[test]
    fn a_last_axis_has_two_halves() {
        let t = Tensor::f32s(&[2, 2], &[0.0, 1.0, 2.0, 3.0]).unwrap();
        let (first, second) = parted_last(&t).unwrap();
        assert_eq!(
            (first.dims(), first.reals(), second.reals()),
            (&[2, 1][..], Some(vec![0.0, 2.0]), Some(vec![1.0, 3.0]))
        );
        assert!(parted_last(&Tensor::vector(&[1, 2, 3])).is_none());
    }

    #[test]
    fn columns_stand_side_by_side() {
        let a = Tensor::f32s(&[2, 1], &[0.0, 3.0]).unwrap();
        let b = Tensor::f32s(&[2, 2], &[1.0, 2.0, 4.0, 5.0]).unwrap();
        let both = side_by_side(&[&a, &b]).unwrap();
        assert_eq!((both.dims(), both.reals().unwrap()), (&[2, 3][..], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!(side_by_side(&[&a, &a.reshaped(&[2]).unwrap()]).is_none() && side_by_side(&[]).is_none());
    }
}
