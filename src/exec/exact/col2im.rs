//! `Col2Im`: blocks put back where they were taken from; where they overlap, they are added.

use crate::exec::exact::args::{Args, count};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Attr, DType, Tensor};

/// One number per axis: an attribute of integers, or `default` for each.
fn per_axis(args: &Args<'_>, name: &str, n: usize, default: i64) -> Result<Vec<i64>, Unable> {
    match args.node().attr(name) {
        None => Ok(vec![default; n]),
        Some(Attr::Ints(list)) if list.len() == n => Ok(list.clone()),
        _ => Err(Unable::malformed(format!("{name} has to be {n} integers"))),
    }
}

pub(super) fn col2im(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    let (image, block) = (args.dims(&args.ints(1)?)?, args.dims(&args.ints(2)?)?);
    let n = image.len();
    let (&[samples, rows, blocks], true) = (x.dims(), n > 0 && block.len() == n) else {
        return Err(Unable::malformed("blocks have three axes, and images as many sizes as blocks"));
    };
    let [dilations, strides] = ["dilations", "strides"].map(|name| per_axis(args, name, n, 1));
    let (dilations, strides, pads) = (dilations?, strides?, per_axis(args, "pads", 2 * n, 0)?);
    let misfit = || Unable::malformed("the blocks do not make this image");
    // Where each block starts along each axis.
    let mut places = Vec::with_capacity(n);
    for axis in 0..n {
        let whole = |i: usize| i64::try_from(i).map_err(|_| misfit());
        let (size, block) = (whole(image[axis])?, whole(block[axis])?);
        let padded = size.checked_add(pads[axis]).and_then(|s| s.checked_add(pads[n + axis]));
        let span = block.checked_sub(1).and_then(|b| b.checked_mul(dilations[axis])?.checked_add(1));
        let slack = padded.zip(span).and_then(|(padded, span)| padded.checked_sub(span)).ok_or_else(misfit)?;
        let sound = slack >= 0 && strides[axis] >= 1 && dilations[axis] >= 1 && pads[axis] >= 0 && block >= 1;
        let number = if sound { usize::try_from(slack / strides[axis] + 1) } else { return Err(misfit()) };
        places.push(number.map_err(|_| misfit())?);
    }
    let (area, size) = (count(&image).ok_or_else(misfit)?, count(&block).ok_or_else(misfit)?);
    if count(&places) != Some(blocks) || size == 0 || rows % size != 0 {
        return Err(misfit());
    }
    let channels = rows / size;
    let dims = [&[samples, channels], &image[..]].concat();
    let total = args.room_for(DType::F64, &dims)?;
    let elements = args.floats(0)?;
    let mut sums = vec![0.0; total];
    if total == 0 || elements.is_empty() {
        return finish(x, &dims, &sums);
    }
    for (row, elements) in elements.chunks_exact(blocks).enumerate() {
        let plane = &mut sums[row / size * area..][..area];
        let inside = apart(row % size, &block);
        for (place, element) in elements.iter().enumerate() {
            let target = apart(place, &places).zip(inside.clone()).enumerate().try_fold(0, |at, (axis, (p, i))| {
                // Within the padded image, which fits an i64.
                let back = (p as i64) * strides[axis] + (i as i64) * dilations[axis] - pads[axis];
                let position = usize::try_from(back).ok().filter(|&b| b < image[axis])?;
                Some(at * image[axis] + position)
            });
            if let Some(target) = target {
                plane[target] += element;
            }
        }
    }
    finish(x, &dims, &sums)
}

fn finish(x: &Tensor, dims: &[usize], sums: &[f64]) -> Result<Folded, Unable> {
    Tensor::rounded(x.dtype(), dims, sums).map(Folded::rounding).map_err(|_| Unable::NoKernel)
}

/// The position along each axis of the element at `index`, the last axis running fastest.
fn apart(index: usize, dims: &[usize]) -> impl Iterator<Item = usize> + Clone {
    (0..dims.len()).map(move |axis| {
        let inner: usize = dims[axis + 1..].iter().product();
        index / inner % dims[axis]
    })
}
