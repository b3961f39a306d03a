//! Images: resizing and sampling of `[N, C, spatial…]`, regions, blocks.

use smallvec::SmallVec;

use crate::ir::{Attr, DType, Int, Key, Shape, Type};
use crate::ops::dims::product;
use crate::ops::pool::leading;
use crate::ops::ties::same_axes;
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, normalize_axis, ties};

const COORDINATES: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
const MODE: Key<&str> = Key::new("mode", "nearest");

/// Interpolation to `sizes` or by `scales`: `[X, roi, scales, sizes]`.
pub static RESIZE: OpDef = OpDef {
    infer: Some(resize),
    channels: |c| match (c.dims(0), Target::of(c)) {
        (Some(x), Some(target)) if !crops(c) => {
            Channels::Moved((0..x.len()).map(|axis| target.keeps(c, axis).then_some(axis)).collect())
        }
        _ => Channels::Barrier,
    },
    // A weighted mean stays within the range of its operands; cubic weights are negative in places.
    quant: |c| match MODE.of(c.node()).as_ref() {
        "nearest" | "linear" if !crops(c) => Quant::SharesScale,
        _ => Quant::Float,
    },
    ..OpDef::PURE
};

/// As [`RESIZE`] by scales alone: `[X, scales]`.
pub static UPSAMPLE: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(0);
        c.set_dtype(0, dtype);
        let x = c.dims(0)?;
        let target = scales(c, 1, (0..x.len()).collect());
        resized(c, target)
    }),
    ..OpDef::PURE
};

/// Samples at places that an operand gives, along the spatial axes.
pub static GRID_SAMPLE: OpDef = OpDef {
    infer: Some(grid_sample),
    channels: |c| leading(c, 2),
    // Each image has places of its own.
    ties: |c| [ties::of_channels(c), vec![Tie::Same(End::operand(1, 0), End::result(0, 0))]].concat(),
    ..OpDef::PURE
};

/// The places that an affine map moves the points of an image to: `[N, spatial…, 2 or 3]`.
pub static AFFINE_GRID: OpDef = OpDef { infer: Some(affine_grid), ..OpDef::PURE };

/// Regions averaged or pooled to one size: `[regions, C, height, width]`.
pub static ROI_ALIGN: OpDef = OpDef {
    infer: Some(|c| {
        let size = |name| Int::from(Key::new(name, 1i64).of(c.node()));
        regions(c, [size("output_height"), size("output_width")])
    }),
    ties: |_| vec![Tie::Same(End::operand(0, 1), End::result(0, 1))],
    ..OpDef::PURE
};

/// Regions whose largest elements are taken: `[regions, C, height, width]`.
pub static MAX_ROI_POOL: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(0);
        c.set_dtype(0, dtype);
        let size = c.per_axis("pooled_shape", 2, 0)?;
        regions(c, [Int::from(size[0]), Int::from(size[1])])
    }),
    ties: ROI_ALIGN.ties,
    ..OpDef::PURE
};

/// An encoded image to `[height, width, channels]`; empty where it cannot be decoded.
pub static IMAGE_DECODER: OpDef = OpDef {
    infer: Some(|c| {
        c.set_rank(0, DType::U8, 3);
        Some(())
    }),
    ..OpDef::PURE
};

/// Boxes that overlap no better one too much: `[chosen, 3]`.
pub static NON_MAX_SUPPRESSION: OpDef = OpDef {
    infer: Some(|c| {
        let chosen = c.fresh(0, 0);
        c.set(0, DType::I64, [chosen, Int::from(3)]);
        Some(())
    }),
    ..OpDef::PURE
};

/// Columns put back to the image that they were taken from: `[N, C · block, blocks]` to `[N, C, spatial…]`.
pub static COL2IM: OpDef = OpDef { infer: Some(col2im), ..OpDef::PURE };

/// Blocks of channels laid out as blocks of pixels.
pub static DEPTH_TO_SPACE: OpDef = OpDef {
    infer: Some(|c| {
        blocks(c, |b, [n, d, h, w]| {
            Some([n.clone(), divided(d, &b.checked_mul(b)?)?, h.checked_mul(b)?, w.checked_mul(b)?])
        })
    }),
    ties: |c| {
        const DEPTH_FIRST: &str = "DCR";
        let is_depth_first = Key::new("mode", DEPTH_FIRST).of(c.node()) == DEPTH_FIRST;
        in_blocks(c, End::operand(0, 1), End::result(0, 1), is_depth_first)
    },
    quant: |_| Quant::SharesScale,
    ..OpDef::PURE
};

/// Blocks of pixels laid out as blocks of channels.
pub static SPACE_TO_DEPTH: OpDef = OpDef {
    infer: Some(|c| {
        blocks(c, |b, [n, d, h, w]| {
            Some([n.clone(), d.checked_mul(&b.checked_mul(b)?)?, divided(h, b)?, divided(w, b)?])
        })
    }),
    ties: |c| in_blocks(c, End::result(0, 1), End::operand(0, 1), true),
    quant: |_| Quant::SharesScale,
    ..OpDef::PURE
};

/// Each channel of `few` is as many of `many` as a block has pixels: one in each run of channels, or one whole run.
fn in_blocks(call: &CallView<'_>, many: End, few: End, is_depth_first: bool) -> Ties {
    let mut ties = same_axes(call, |axis| axis == 0);
    if let (Some(size), Some(channels @ 1..)) = (ties::size(call, many), ties::size(call, few)) {
        if is_depth_first {
            let indices = (0..size).map(|i| i % channels).collect();
            ties.push(Tie::Picked { from: few, to: many, indices });
        } else {
            ties.push(Tie::Runs { ends: SmallVec::from_slice(&[many, few]), count: channels });
        }
    }
    ties
}

/// Whether sizes depend on the region that `roi` cuts out.
fn crops(call: &CallView<'_>) -> bool {
    COORDINATES.of(call.node()) == "tf_crop_and_resize"
}

/// What a call says of the sizes along some axes.
enum Target {
    /// Factors.
    Scales(Vec<usize>, Vec<f32>),
    /// Sizes.
    Sizes(Vec<usize>, Vec<Int>),
}

/// How [`RESIZE`] reads sizes where the aspect ratio is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

impl Target {
    /// `None` where the operands are not known, or do not fit the axes.
    fn of(call: &CallView<'_>) -> Option<Target> {
        let rank = call.rank(0)?;
        let axes: Vec<usize> = match call.node().attr("axes") {
            None => (0..rank).collect(),
            Some(Attr::Ints(axes)) => axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Option<_>>()?,
            Some(_) => return None,
        };
        if has_elements(call, 2)? {
            return scales(call, 2, axes);
        }
        let sizes = call.ints(3).filter(|s| s.len() == axes.len())?;
        Some(Target::Sizes(axes, sizes))
    }

    /// The result's size along `axis`; `None` where that is open.
    fn size(&self, call: &CallView<'_>, axis: usize) -> Option<Int> {
        let x = call.dims(0)?.get(axis)?;
        match self {
            Target::Scales(axes, factors) => match axes.iter().position(|&a| a == axis) {
                Some(i) => scaled(x, *factors.get(i)?),
                None => Some(x.clone()),
            },
            Target::Sizes(axes, sizes) => match axes.iter().position(|&a| a == axis) {
                None => Some(x.clone()),
                Some(i) => match aspect(call)? {
                    Aspect::Stretch => sizes.get(i).filter(|s| s.known().is_none_or(|s| s >= 0)).cloned(),
                    kept => fitted(call, axes, sizes, kept, x),
                },
            },
        }
    }

    /// Whether the result's `axis` is the operand's, index for index.
    fn keeps(&self, call: &CallView<'_>, axis: usize) -> bool {
        match self {
            Target::Scales(axes, factors) => axes.iter().zip(factors).all(|(&a, &f)| a != axis || f == 1.0),
            // A factor for all axes moves the points of each, even where its size rounds to what it was.
            Target::Sizes(axes, _) => {
                let same = || self.size(call, axis).as_ref() == call.dims(0).and_then(|x| x.get(axis));
                !axes.contains(&axis) || aspect(call) == Some(Aspect::Stretch) && same()
            }
        }
    }
}

fn aspect(call: &CallView<'_>) -> Option<Aspect> {
    const POLICY: Key<&str> = Key::new("keep_aspect_ratio_policy", "stretch");
    match POLICY.of(call.node()).as_ref() {
        "stretch" => Some(Aspect::Stretch),
        "not_larger" => Some(Aspect::NotLarger),
        "not_smaller" => Some(Aspect::NotSmaller),
        _ => None,
    }
}

/// Whether operand `slot` is given and not the empty tensor that stands for a missing one; `None` where that is open.
fn has_elements(call: &CallView<'_>, slot: usize) -> Option<bool> {
    if !call.has(slot) {
        return Some(false);
    }
    match call.dims(slot)? {
        [n] => n.known().map(|n| n != 0),
        _ => None,
    }
}

fn scales(call: &CallView<'_>, slot: usize, axes: Vec<usize>) -> Option<Target> {
    let tensor = call.constant(slot).filter(|t| t.dtype() == DType::F32 && t.len() == axes.len())?;
    let factors: Vec<f32> = tensor.reals()?.into_iter().map(|f| f as f32).collect();
    factors.iter().all(|f| f.is_finite() && *f > 0.0).then_some(Target::Scales(axes, factors))
}

/// `⌊size · factor⌋`, where rounding the product to float32 cannot matter.
fn scaled(size: &Int, factor: f32) -> Option<Int> {
    const EXACT: i64 = 1 << 24;
    if let Some(n) = size.known().filter(|n| (0..EXACT).contains(n)) {
        // A float32 times an integer below 2²⁴ is exact in float64; implementations multiply in either.
        let (wide, narrow) = ((n as f64 * f64::from(factor)).floor(), (n as f32 * factor).floor());
        return (wide == f64::from(narrow) && wide < 2f64.powi(53)).then(|| Int::from(wide as i64));
    }
    // A factor `odd · 2ᵏ` of a few bits: the product is exact in float32 for any size below 2¹⁸.
    let over = f64::from(factor) * 256.0;
    if over.fract() != 0.0 || !(1.0..65536.0).contains(&over) {
        return None;
    }
    let over = over as i64;
    if over >> over.trailing_zeros() > 64 {
        return None;
    }
    size.checked_mul(&Int::from(over))?.floor_div(&Int::from(256))
}

/// The size of an axis of `x` when one factor for all `axes` keeps the aspect ratio.
fn fitted(call: &CallView<'_>, axes: &[usize], sizes: &[Int], aspect: Aspect, x: &Int) -> Option<Int> {
    let from = call.dims(0)?;
    let pairs: Vec<(i64, i64)> = axes
        .iter()
        .zip(sizes)
        .map(|(&axis, size)| Some((size.known().filter(|&s| s > 0)?, from.get(axis)?.known().filter(|&d| d > 0)?)))
        .collect::<Option<_>>()?;
    let x = x.known()?;
    let (smaller, larger) = (f64::min as fn(f64, f64) -> f64, f64::max as fn(f64, f64) -> f64);
    let pick = if aspect == Aspect::NotLarger { smaller } else { larger };
    let wide = pairs.iter().map(|&(to, from)| to as f64 / from as f64).reduce(pick)?;
    let narrow = pairs.iter().map(|&(to, from)| f64::from(to as f32 / from as f32)).reduce(pick)?;
    let rounded = |scale: f64| (scale * x as f64 + 0.5).floor();
    let narrow_rounded = f64::from((narrow as f32 * x as f32 + 0.5).floor());
    (rounded(wide) == narrow_rounded && rounded(wide) < f64::from(1 << 24)).then(|| Int::from(rounded(wide) as i64))
}

fn resize(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let target = Target::of(call).filter(|t| !(crops(call) && matches!(t, Target::Scales(..))));
    resized(call, target)
}

fn resized(call: &mut Infer<'_>, target: Option<Target>) -> Outcome {
    let size = |axis: usize| target.as_ref()?.size(call, axis);
    let dims: Vec<Int> = (0..call.rank(0)?).map(|axis| size(axis).unwrap_or_else(|| call.fresh(0, axis))).collect();
    let dtype = call.dtype(0);
    call.set(0, dtype, dims);
    Some(())
}

fn grid_sample(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let (x, grid) = (call.dims(0), call.dims(1));
    let rank = x.or(grid)?.len();
    if rank < 3 || grid.is_some_and(|g| g.len() != rank) {
        return None;
    }
    // The grid's last axis holds coordinates; those before it are the result's.
    let size = |axis: usize| match axis {
        0 => x.or(grid)?.first(),
        1 => x?.get(1),
        _ => grid?.get(axis - 1),
    };
    let dims: Vec<Int> = (0..rank).map(|axis| size(axis).cloned().unwrap_or_else(|| call.fresh(0, axis))).collect();
    call.set(0, dtype, dims);
    Some(())
}

fn affine_grid(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let rows = match call.dims(0) {
        Some([_, rows, _]) => rows.known().and_then(|r| usize::try_from(r).ok()),
        _ => None,
    };
    let size = call.ints(1).filter(|s| s.iter().all(Int::surely_non_negative));
    let n = match size.as_ref().map(Vec::len) {
        Some(rank @ (4 | 5)) => rank - 2,
        Some(_) => return None,
        None => rows.filter(|r| (2..=3).contains(r))?,
    };
    let at = |axis: usize| match axis {
        0 => size.as_ref().and_then(|s| s.first()).or_else(|| call.dims(0)?.first()).cloned(),
        _ if axis == n + 1 => Some(Int::from(n)),
        _ => size.as_ref().and_then(|s| s.get(axis + 1)).cloned(),
    };
    let dims: Vec<Int> = (0..n + 2).map(|axis| at(axis).unwrap_or_else(|| call.fresh(0, axis))).collect();
    call.set(0, dtype, dims);
    Some(())
}

fn regions(call: &mut Infer<'_>, size: [Int; 2]) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let first = |slot: usize, axis: usize| call.dims(slot).and_then(|d| d.get(axis)).cloned();
    let count = first(1, 0).or_else(|| first(2, 0)).unwrap_or_else(|| call.fresh(0, 0));
    let channels = first(0, 1).unwrap_or_else(|| call.fresh(0, 1));
    let [height, width] = size;
    let sides = [height, width].into_iter().enumerate();
    let sides = sides.map(|(i, s)| if s.known().is_some_and(|s| s >= 1) { s } else { call.fresh(0, i + 2) });
    let dims: Vec<Int> = [count, channels].into_iter().chain(sides).collect();
    call.set(0, dtype, dims);
    Some(())
}

/// `size / by`, which leaves no remainder in a valid call.
fn divided(size: &Int, by: &Int) -> Option<Int> {
    if size.known().is_some() { size.exact_div(by) } else { size.floor_div(by) }
}

fn col2im(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let image = call.ints(1).filter(|i| i.iter().all(Int::surely_non_negative))?;
    let (batch, columns) = match call.dims(0) {
        Some([batch, columns, _]) => (Some(batch.clone()), Some(columns)),
        Some(_) => return None,
        None => (None, None),
    };
    let channels = columns.and_then(|c| divided(c, &product(&call.ints(2)?).filter(|b| b.known() != Some(0))?));
    let ends = [batch, channels].into_iter().enumerate();
    let ends = ends.map(|(axis, d)| d.unwrap_or_else(|| call.fresh(0, axis)));
    let dims: Vec<Int> = ends.chain(image).collect();
    call.set(0, dtype, dims);
    Some(())
}

/// A call whose result has the dimensions that `map` makes of the block size and `[N, C, H, W]`.
fn blocks(call: &mut Infer<'_>, map: impl Fn(&Int, [&Int; 4]) -> Option<[Int; 4]>) -> Outcome {
    const BLOCKSIZE: Key<i64> = Key::new("blocksize", 0);
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let [n, c, h, w] = call.dims(0)? else { return None };
    let block = Some(BLOCKSIZE.of(call.node())).filter(|&b| b >= 1).map(Int::from);
    match block.and_then(|b| map(&b, [n, c, h, w])) {
        Some(dims) => call.set(0, dtype, dims),
        None => call.set_type(0, Type::Tensor { dtype, shape: Shape::of((0..4).map(|a| call.fresh(0, a))) }),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind::*;
    use crate::ops::testing::{Case, infer};

    #[test]
    fn resize_by_scales() {
        assert_eq!(infer(Resize, "float[n,c,h,5] - float=[1,1,2,1.5]", &[]), "float[n,c,2*h,7]");
        assert_eq!(infer(Resize, "float[n,c,h,5] - float=[1,1,0.5,0.5]", &[]), "float[n,c,(h)/(2),2]");
        assert_eq!(infer(Resize, "float[n,c,h,5] - float=[1,1,0.3,0.3]", &[]), "float[n,c,?,1]");
        assert_eq!(infer(Resize, "float[h,w] - float=[255.99609375,3.5]", &[]), "float[?,3*w + (w)/(2)]");
        assert_eq!(infer(Resize, "float[n,c,h,5] float[8] float[4]", &[]), "float[?,?,?,?]");
        assert_eq!(infer(Resize, "float[n,c,h,5] - float=[1,2]", &[]), "float[?,?,?,?]");
        assert_eq!(infer(Resize, "float[n,c,h,5] - float=[2] -", &[("axes", vec![-1].into())]), "float[n,c,h,10]");
        let crop = [("coordinate_transformation_mode", "tf_crop_and_resize".into())];
        assert_eq!(infer(Resize, "float[n,5] float[4] float=[1,2]", &crop), "float[?,?]");
        assert_eq!(infer(Upsample, "float[n,c,h] float=[1,1,3]", &[]), "float[n,c,3*h]");
    }

    #[test]
    fn a_product_that_may_round_up_is_left_open() {
        // 3 · float32(5/3) is 5 in float32 and less in float64.
        assert_eq!(infer(Resize, "float[3] - float=[1.6666666]", &[]), "float[?]");
        assert_eq!(infer(Resize, "float[4] - float=[1.6666666]", &[]), "float[6]");
    }

    #[test]
    fn resize_to_sizes() {
        assert_eq!(infer(Resize, "float[n,c,3,5] - - int64:[n,c,h,7]", &[]), "float[n,c,h,7]");
        assert_eq!(infer(Resize, "float[n,c,3,5] - float=[] int64=[1,2,3,4]", &[]), "float[1,2,3,4]");
        let kept = |policy: &str| [("axes", vec![0, 1].into()), ("keep_aspect_ratio_policy", policy.into())];
        assert_eq!(infer(Resize, "float[2,4] - - int64=[7,8]", &kept("not_larger")), "float[4,8]");
        assert_eq!(infer(Resize, "float[2,4] - - int64=[7,8]", &kept("not_smaller")), "float[7,14]");
        assert_eq!(infer(Resize, "float[2,h] - - int64=[7,8]", &kept("not_smaller")), "float[?,?]");
    }

    #[test]
    fn channels_pass_through_what_only_resizes_space() {
        let case = Case::new(Resize, "float[n,c,h,w] - float=[1,1,2,2]", &[], 1);
        let expected = Channels::Moved([Some(0), Some(1), None, None].into_iter().collect());
        assert_eq!((RESIZE.channels)(&case.view()), expected);
        let policy = [("keep_aspect_ratio_policy", "not_smaller".into())];
        let case = Case::new(Resize, "float[2,4] - - int64=[1,3]", &policy, 1);
        assert_eq!(case.results(), "float[2,3]");
        assert_eq!((RESIZE.channels)(&case.view()), Channels::Moved([None, None].into_iter().collect()));
    }

    #[test]
    fn sampling_takes_the_grids_places() {
        assert_eq!(infer(GridSample, "float[n,c,h,w] float[n,5,6,2]", &[]), "float[n,c,5,6]");
        assert_eq!(infer(GridSample, "float[..] float[n,5,6,7,3]", &[]), "float[n,?,5,6,7]");
        assert_eq!(infer(AffineGrid, "float[n,2,3] int64:[n,c,5,w]", &[]), "float[n,5,w,2]");
        assert_eq!(infer(AffineGrid, "float[n,3,4] int64[5]", &[]), "float[n,?,?,?,3]");
    }

    #[test]
    fn each_image_has_places_of_its_own() {
        let case = Case::new(GridSample, "float[4,c,h,w] float[4,5,6,2]", &[], 1);
        let ties = (GRID_SAMPLE.ties)(&case.view());
        let images = [End::operand(0, 0), End::operand(1, 0)];
        assert!(images.iter().all(|&end| ties.contains(&Tie::Same(end, End::result(0, 0)))), "{ties:?}");
        assert!(!ties.contains(&Tie::Same(End::operand(1, 1), End::result(0, 1))), "rows are not channels");
    }

    #[test]
    fn regions_have_one_size() {
        let size = [("output_height", 7.into()), ("output_width", 5.into())];
        assert_eq!(infer(RoiAlign, "float[n,c,h,w] float[r,4] int64[r]", &size), "float[r,c,7,5]");
        let size = [("pooled_shape", vec![2, 3].into())];
        assert_eq!(infer(MaxRoiPool, "float[n,c,h,w] float[r,5]", &size), "float[r,c,2,3]");
        assert_eq!(infer(NonMaxSuppression, "float[1,9,4] float[1,1,9]", &[]), "int64[?,3]");
    }

    #[test]
    fn blocks_move_between_depth_and_space() {
        let two = [("blocksize", 2.into())];
        assert_eq!(infer(DepthToSpace, "float[n,8,h,3]", &two), "float[n,2,2*h,6]");
        assert_eq!(infer(SpaceToDepth, "float[n,c,h,4]", &two), "float[n,4*c,(h)/(2),2]");
        assert_eq!(infer(DepthToSpace, "float[n,7,h,3]", &two), "float[?,?,?,?]");
        assert_eq!(infer(DepthToSpace, "float[n,8,h,3]", &[]), "float[?,?,?,?]");
        assert_eq!(infer(Col2Im, "float[n,50,l] int64=[5,6] int64=[1,5]", &[]), "float[n,10,5,6]");
    }
}
