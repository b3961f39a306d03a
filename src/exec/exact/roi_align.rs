//! `RoiAlign`: regions of an image, each brought to one size by the mean of samples between its pixels.

use crate::exec::exact::args::Args;
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Key, Tensor};

const MODE: Key<&str> = Key::new("mode", "avg");
const PLACEMENT: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
const ROWS: Key<i64> = Key::new("output_height", 1);
const COLUMNS: Key<i64> = Key::new("output_width", 1);
/// Samples along each side of a bin; 0 for about one per pixel.
const SAMPLES: Key<i64> = Key::new("sampling_ratio", 0);
const SCALE: Key<f32> = Key::new("spatial_scale", 1.0);

/// Pixels that a sample lies between, and the share of each.
type Sample = [(usize, f64); 4];

/// `mode` `avg`; of `max`, runtimes take the largest of different things.
pub(super) fn roi_align(args: &Args<'_>) -> Result<Folded, Unable> {
    let node = args.node();
    let x = args.tensor(0)?;
    let (&[images, channels, height, width], &[regions, 4]) = (x.dims(), args.tensor(1)?.dims()) else {
        return Err(Unable::malformed("an image has four axes, and a region four numbers"));
    };
    if args.text(MODE) != "avg" {
        return Err(Unable::NoKernel);
    }
    let offset = match args.text(PLACEMENT).as_ref() {
        "half_pixel" => 0.5,
        "output_half_pixel" => 0.0,
        _ => return Err(Unable::NoKernel),
    };
    let [rows, columns] = args.dims(&[ROWS.of(node), COLUMNS.of(node)])?[..] else { return Err(Unable::NoKernel) };
    let dims = [regions, channels, rows, columns];
    let n = args.room_for(DType::F64, &dims)?;
    let (pixels, bounds, of) = (args.floats(0)?, args.floats(1)?, args.ints(2)?);
    if of.len() != regions {
        return Err(Unable::malformed(format!("{} indices of images for {regions} regions", of.len())));
    }
    let mut results = Vec::with_capacity(n);
    if n == 0 {
        return finish(x.dtype(), &dims, &results);
    }
    for (bounds, &image) in bounds.chunks_exact(4).zip(&of) {
        let image = usize::try_from(image).ok().filter(|&i| i < images);
        let image = image.ok_or_else(|| Unable::malformed("a region of an image that there is not"))?;
        let at = |i: usize| bounds[i] * f64::from(SCALE.of(node)) - offset;
        let side = |low: usize, high: usize| {
            let length = at(high) - at(low);
            if offset == 0.0 { length.max(1.0) } else { length }
        };
        let down = steps(args, at(1), side(1, 3), rows)?;
        let across = steps(args, at(0), side(0, 2), columns)?;
        let count = (down.len() / rows).saturating_mul(across.len() / columns);
        args.room(DType::F64, down.len().saturating_mul(across.len()).saturating_mul(8))?;
        let mut bins: Vec<Vec<Sample>> = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                let ys = || part(&down, row, rows);
                let samples = ys().iter().flat_map(|&y| part(&across, column, columns).iter().map(move |&x| (y, x)));
                bins.push(samples.filter_map(|(y, x)| between(y, x, height, width)).collect());
            }
        }
        for channel in 0..channels {
            let plane = &pixels[(image * channels + channel) * height * width..][..height * width];
            results.extend(bins.iter().map(|bin| {
                let sum: f64 = bin.iter().flatten().map(|&(i, share)| plane[i] * share).sum();
                sum / count.max(1) as f64
            }));
        }
    }
    finish(x.dtype(), &dims, &results)
}

fn finish(dtype: DType, dims: &[usize], elements: &[f64]) -> Result<Folded, Unable> {
    Tensor::rounded(dtype, dims, elements).map(Folded::rounding).map_err(|_| Unable::NoKernel)
}

/// Where samples lie along one side: as many in each of `bins`.
fn steps(args: &Args<'_>, start: f64, length: f64, bins: usize) -> Result<Vec<f64>, Unable> {
    let bin = length / bins as f64;
    let count = match SAMPLES.of(args.node()) {
        // What is no number, or negative, becomes 0.
        0 => bin.ceil() as usize,
        count => usize::try_from(count).map_err(|_| Unable::malformed("a negative sampling_ratio"))?,
    };
    args.room(DType::F64, bins.saturating_mul(count))?;
    let within = |i: usize| (i as f64 + 0.5) * bin / count as f64;
    Ok((0..bins).flat_map(|b| (0..count).map(move |i| start + b as f64 * bin + within(i))).collect())
}

/// The `index`th of `count` equal parts.
fn part(all: &[f64], index: usize, count: usize) -> &[f64] {
    let size = all.len() / count;
    &all[index * size..][..size]
}

/// The pixels around a place; `None` for one that is more than a pixel outside.
fn between(y: f64, x: f64, height: usize, width: usize) -> Option<Sample> {
    let ((top, bottom, down), (left, right, across)) = (along(y, height)?, along(x, width)?);
    let at = |row: usize, column: usize| row * width + column;
    Some([
        (at(top, left), (1.0 - down) * (1.0 - across)),
        (at(top, right), (1.0 - down) * across),
        (at(bottom, left), down * (1.0 - across)),
        (at(bottom, right), down * across),
    ])
}

/// The two pixels that `place` lies between on an axis, and how far it is from the first.
fn along(place: f64, size: usize) -> Option<(usize, usize, f64)> {
    if !(-1.0..=size as f64).contains(&place) || size == 0 {
        return None;
    }
    let place = place.max(0.0);
    let low = place as usize;
    if low + 1 >= size { Some((size - 1, size - 1, 0.0)) } else { Some((low, low + 1, place - low as f64)) }
}
