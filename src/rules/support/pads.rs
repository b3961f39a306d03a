//! What a `Pad` with constant amounts adds along each axis.

use crate::ir::Key;
use crate::ops::CallView;
use crate::ops::window::AUTO_PAD;
use crate::rewrite::{Skip, applies, require};
use crate::rules::support::axes::normalize_each;

/// Elements added before and after, per axis. Negative amounts take away.
pub type Amounts = Vec<(i64, i64)>;

/// The amounts of a `Pad` in constant mode; `None` where they, or the axes that they belong to, are not known.
pub fn amounts(pad: &CallView<'_>) -> Option<Amounts> {
    const MODE: Key<&str> = Key::new("mode", "constant");
    if MODE.of(pad.node()) != "constant" {
        return None;
    }
    let pads = pad.known_ints(1)?;
    let n = pads.len() / 2;
    let (axes, rank) = match pad.has(3) {
        true => {
            let rank = pad.rank(0)?;
            (normalize_each(&pad.known_ints(3)?, rank)?, rank)
        }
        false => ((0..n).collect(), n),
    };
    if pads.len() % 2 != 0 || axes.len() != n || pad.rank(0).is_some_and(|r| r != rank) {
        return None;
    }
    let mut all = vec![(0, 0); rank];
    for (i, axis) in axes.into_iter().enumerate() {
        *all.get_mut(axis)? = (pads[i], pads[n + i]);
    }
    Some(all)
}

/// The number that a `Pad` in constant mode fills with; `None` where it is not known.
pub fn fill(pad: &CallView<'_>) -> Option<f64> {
    if pad.has(2) { pad.constant(2)?.item() } else { Some(0.0) }
}

/// Amounts as `Pad`, `Conv` and pools spell them: all before, then all after.
pub fn spelled(amounts: &[(i64, i64)]) -> Vec<i64> {
    amounts.iter().map(|a| a.0).chain(amounts.iter().map(|a| a.1)).collect()
}

/// The amounts behind the batch and channel axes, when these are not padded and nothing is taken away.
pub fn spatial(amounts: &[(i64, i64)]) -> Result<&[(i64, i64)], Skip> {
    applies(amounts.len() > 2)?;
    let (outer, spatial) = amounts.split_at(2);
    require(outer.iter().all(|&a| a == (0, 0)), "the padding reaches the batch or channel axis")?;
    require(spatial.iter().all(|&(a, b)| a >= 0 && b >= 0), "the padding takes elements away")?;
    Ok(spatial)
}

/// What a convolution or pool over `n` axes pads on its own.
pub fn own(call: &CallView<'_>, n: usize) -> Result<Amounts, Skip> {
    match &*AUTO_PAD.of(call.node()) {
        "NOTSET" => {
            let pads = call.per_axis("pads", 2 * n, 0).ok_or(Skip::NotThis)?;
            applies(pads.iter().all(|&p| p >= 0))?;
            Ok((0..n).map(|i| (pads[i], pads[n + i])).collect())
        }
        "VALID" => Ok(vec![(0, 0); n]),
        _ => Err(Skip::Unsuitable("it works its padding out from the size")),
    }
}
