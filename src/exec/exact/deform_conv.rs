//! `DeformConv`: a convolution of images whose taps lie where an operand says, between pixels.

use crate::exec::exact::args::Args;
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Attr, DType, Key, Tensor};

const GROUP: Key<i64> = Key::new("group", 1);
const OFFSET_GROUP: Key<i64> = Key::new("offset_group", 1);

fn list<const N: usize>(args: &Args<'_>, name: &str, default: i64) -> Result<[i64; N], Unable> {
    match args.node().attr(name) {
        None => Ok([default; N]),
        Some(Attr::Ints(list)) => list[..].try_into().map_err(|_| Unable::malformed(format!("{name} of {N} axes"))),
        Some(_) => Err(Unable::malformed(format!("{name} has to be integers"))),
    }
}

pub(super) fn deform_conv(args: &Args<'_>) -> Result<Folded, Unable> {
    let (x, weight, offset) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let misfit = || Unable::malformed("the operands do not fit each other");
    let (&[images, channels, height, width], &[filters, inner, rows, columns]) = (x.dims(), weight.dims()) else {
        // Sampling along other numbers of axes is not said in full.
        return Err(Unable::NoKernel);
    };
    let &[_, _, tall, wide] = offset.dims() else { return Err(misfit()) };
    let (strides, dilations) = (list::<2>(args, "strides", 1)?, list::<2>(args, "dilations", 1)?);
    let pads = list::<4>(args, "pads", 0)?;
    let groups = usize::try_from(GROUP.of(args.node())).unwrap_or(0);
    let fields = usize::try_from(OFFSET_GROUP.of(args.node())).unwrap_or(0);
    let taps = rows.checked_mul(columns).ok_or_else(misfit)?;
    let known = groups > 0 && fields > 0 && taps > 0 && channels % fields == 0 && filters % groups == 0;
    let two = fields.checked_mul(taps).and_then(|t| t.checked_mul(2)).ok_or_else(misfit)?;
    let mask_dims = [images, two / 2, tall, wide];
    if !known
        || inner.checked_mul(groups) != Some(channels)
        || offset.dims() != [images, two, tall, wide]
        || args.optional(4).is_some_and(|m| m.dims() != mask_dims)
        || args.optional(3).is_some_and(|b| b.dims() != [filters])
    {
        return Err(misfit());
    }
    let dims = [images, filters, tall, wide];
    let total = args.room_for(DType::F64, &dims)?;
    let depth = channels.checked_mul(taps).ok_or_else(misfit)?;
    args.room(DType::F64, depth)?;
    let (pixels, weights, offsets) = (args.floats(0)?, args.floats(1)?, args.floats(2)?);
    let optional = |slot: usize| args.optional(slot).map(|_| args.floats(slot)).transpose();
    let (bias, mask) = (optional(3)?, optional(4)?);
    let mut results = vec![0.0; total];
    if total == 0 || channels == 0 {
        return finish(x, &dims, &results);
    }
    let per_field = channels / fields;
    // What the taps see at one place: every channel, tap by tap.
    let mut seen = vec![0.0; depth];
    for (image, y, x) in places(images, tall, wide) {
        for (field, tap) in (0..fields).flat_map(|f| (0..taps).map(move |t| (f, t))) {
            let at = |plane: usize| (plane * tall + y) * wide + x;
            let along = |axis: usize, place: usize, step: usize| {
                let back = place as f64 * strides[axis] as f64 + step as f64 * dilations[axis] as f64;
                back - pads[axis] as f64 + offsets[at(image * two + (field * taps + tap) * 2 + axis)]
            };
            let (down, across) = (along(0, y, tap / columns), along(1, x, tap % columns));
            let share = mask.as_ref().map_or(1.0, |m| m[at(image * two / 2 + field * taps + tap)]);
            let around = around(down, across, height, width);
            for channel in field * per_field..(field + 1) * per_field {
                let plane = &pixels[(image * channels + channel) * height * width..][..height * width];
                let sum: f64 = around.iter().flatten().map(|&(i, part)| plane[i] * part).sum();
                seen[channel * taps + tap] = sum * share;
            }
        }
        let reach = inner * taps;
        for filter in 0..filters {
            let group = filter / (filters / groups);
            let products = weights[filter * reach..][..reach].iter().zip(&seen[group * reach..][..reach]);
            let sum: f64 = products.map(|(w, s)| w * s).sum();
            results[((image * filters + filter) * tall + y) * wide + x] =
                sum + bias.as_ref().map_or(0.0, |b| b[filter]);
        }
    }
    finish(x, &dims, &results)
}

fn finish(x: &Tensor, dims: &[usize], elements: &[f64]) -> Result<Folded, Unable> {
    Tensor::rounded(x.dtype(), dims, elements).map(Folded::rounding).map_err(|_| Unable::NoKernel)
}

fn places(images: usize, tall: usize, wide: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..images).flat_map(move |i| (0..tall).flat_map(move |y| (0..wide).map(move |x| (i, y, x))))
}

/// The pixels around a place, and the share of each; outside of the image there are zeros.
fn around(down: f64, across: f64, height: usize, width: usize) -> [Option<(usize, f64)>; 4] {
    let (top, left) = (down.floor(), across.floor());
    let within = |place: f64, size: usize| (place >= 0.0 && place < size as f64).then_some(place as usize);
    let pixel = |row: f64, column: f64| {
        let share = (1.0 - (down - row).abs()) * (1.0 - (across - column).abs());
        Some((within(row, height)? * width + within(column, width)?, share))
    };
    [pixel(top, left), pixel(top, left + 1.0), pixel(top + 1.0, left), pixel(top + 1.0, left + 1.0)]
}
