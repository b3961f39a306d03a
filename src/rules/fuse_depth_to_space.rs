//! Channels that a `Reshape`, a `Transpose` and a `Reshape` lay out as blocks of pixels are `DepthToSpace`, in either of
//! its orders.
//!
//! `[N, b·b·C, H, W]` is viewed as `[N, b, b, C, H, W]` (or, from opset 11 on, as `[N, C, b, b, H, W]`), turned to
//! `[N, C, H, b, W, b]` and viewed as `[N, C, H·b, W·b]`. Declines where a result on the way is also read elsewhere.

use crate::ir::Int;
use crate::ir::OpKind::{DepthToSpace, Reshape, Transpose};
use crate::rewrite::{Exactness, Rule, Skip, applies, call};
use crate::rules::support::axes::permutation;

pub fn rule() -> Rule {
    let (parted, turned, joined) = (call("parted"), call("turned"), call("joined"));
    let pattern = Reshape.any().on(Transpose.any().on(Reshape.any().bind(parted)).bind(turned)).bind(joined);
    Rule::new("fuse-depth-to-space", Exactness::Bitwise, pattern, move |m| {
        let (parted, turned, joined) = (m.call(parted), m.call(turned), m.call(joined));
        let (x, six) = (parted.dims(0).ok_or(Skip::NotThis)?, parted.result_dims(0).ok_or(Skip::NotThis)?);
        applies(x.len() == 4 && six.len() == 6)?;
        let perm = permutation(&turned).ok_or(Skip::NotThis)?;
        // Where the channels and the block are among the six axes.
        let (mode, channels, block) = match perm[..] {
            [0, 3, 4, 1, 5, 2] => ("DCR", 3, 1),
            [0, 1, 4, 2, 5, 3] => ("CRD", 1, 2),
            _ => return Err(Skip::NotThis),
        };
        let size = &six[block];
        let whole = size.checked_mul(size).and_then(|area| area.checked_mul(&six[channels]));
        applies(size.known().is_some_and(|b| b > 1) && *size == six[block + 1])?;
        applies(x[1].known().is_some() && whole.as_ref() == Some(&x[1]))?;
        applies([&six[0], &six[4], &six[5]] == [&x[0], &x[2], &x[3]])?;
        let scaled = |d: &Int| d.checked_mul(size).ok_or(Skip::NotThis);
        let wanted = [x[0].clone(), six[channels].clone(), scaled(&x[2])?, scaled(&x[3])?];
        applies(joined.result_dims(0) == Some(&wanted[..]))?;
        if mode == "CRD" && m.opset() < 11 {
            return Err(Skip::NeedsOpset(11));
        }
        let size = size.known().ok_or(Skip::NotThis)?;
        let call = DepthToSpace.emit([parted.operand(0).into()]).with("blocksize", size).named_like(joined);
        Ok(if mode == "CRD" { call.with("mode", mode) } else { call })
    })
}
