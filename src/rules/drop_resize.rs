//! `Resize` by scales of 1, or to the sizes that `x` has, is `x`.
//!
//! Every interpolation gives the element itself where it reads at one. Declines for `tf_crop_and_resize`, which reads
//! a region.

use crate::ir::Key;
use crate::ir::OpKind::Resize;
use crate::rewrite::{Exactness, Rule, Skip, applies, require};
use crate::rules::support::numbers::is_all;

const COORDINATES: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
const POLICY: Key<&str> = Key::new("keep_aspect_ratio_policy", "stretch");

pub fn rule() -> Rule {
    Rule::new("drop-resize", Exactness::Rounding, Resize.any(), |m| {
        let root = m.root();
        let x = root.operand(0).ok_or(Skip::NotThis)?;
        let by_scales = root.constant(2).is_some_and(|scales| is_all(scales, 1.0));
        let by_sizes = root.has(3)
            && POLICY.of(root.node()) == "stretch"
            && m.graph().value(x).ty.shape().surely_equals(m.root_shape());
        applies(by_scales || by_sizes)?;
        require(COORDINATES.of(root.node()) != "tf_crop_and_resize", "it reads a region of x")?;
        Ok(x)
    })
}
