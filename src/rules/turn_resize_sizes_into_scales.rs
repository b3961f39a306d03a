//! `Resize` to computed sizes that are whole multiples of the operand's is `Resize` by constant scales, and the
//! arithmetic that computes the sizes is not needed.

use crate::ir::OpKind::Resize;
use crate::ir::{Int, Key, Tensor};
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call};

const POLICY: Key<&str> = Key::new("keep_aspect_ratio_policy", "stretch");
const COORDINATES: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
const AXES: Key<&[i64]> = Key::new("axes", &[]);

pub fn rule() -> Rule {
    let resize = call("resize");
    Rule::new("turn-resize-sizes-into-scales", Exactness::Rounding, Resize.any().bind(resize), move |m| {
        let call = m.call(resize);
        applies(call.has(3) && call.constant(3).is_none() && POLICY.of(call.node()) == "stretch")?;
        applies(COORDINATES.of(call.node()) != "tf_crop_and_resize")?;
        let (sizes, dims) = (call.ints(3).ok_or(Skip::NotThis)?, call.dims(0).ok_or(Skip::NotThis)?);
        let axes: Vec<usize> = match AXES.of(call.node()) {
            [] => (0..dims.len()).collect(),
            axes => axes.iter().map(|&a| normalize_axis(a, dims.len())).collect::<Option<_>>().ok_or(Skip::NotThis)?,
        };
        applies(axes.len() == sizes.len())?;
        let scales: Option<Vec<f32>> = sizes.iter().zip(axes).map(|(size, axis)| multiple(size, &dims[axis])).collect();
        let scales = scales.ok_or(Skip::NotThis)?;
        let scales = Tensor::f32s(&[scales.len()], &scales).map_err(|_| Skip::NotThis)?;
        Ok(Resize.emit([call.operand(0).into(), Expr::Absent, scales.into()]).like(call))
    })
}

/// `size / dim`, where it is a whole number whatever the run.
fn multiple(size: &Int, dim: &Int) -> Option<f32> {
    let times = size.exact_div(dim)?.known()?;
    // Up to here floats are exact, and no network enlarges a picture more.
    (1..=1024).contains(&times).then_some(times as f32)
}
