//! `Pad` with zeros before an `AveragePool`, and with −∞ before a `MaxPool`, is the pool's own padding.
//!
//! An `AveragePool` then counts the padding. Declines where the padding is another number, takes elements away, reaches
//! the batch or channel axis or is as large as the window, and where the pool pads on its own without counting that.

use crate::ir::Key;
use crate::ir::OpKind::{AveragePool, MaxPool, Pad};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, require};
use crate::rules::support::pads::{amounts, fill, own, spatial, spelled};
use crate::rules::support::readers::only_first_is_read;

const CEIL_MODE: Key<bool> = Key::new("ceil_mode", false);
const COUNT_INCLUDE_PAD: Key<bool> = Key::new("count_include_pad", false);

pub fn rule() -> Rule {
    let (pad, pool) = (call("pad"), call("pool"));
    let pattern = any_of(&[AveragePool, MaxPool]).on(Pad.any().bind(pad)).bind(pool);
    Rule::new("fold-pad-into-pool", Exactness::Rounding, pattern, move |m| {
        let (pad, pool) = (m.call(pad), m.call(pool));
        let averages = pool.node().op == AveragePool;
        let amounts = amounts(&pad).ok_or(Skip::NotThis)?;
        let neutral = if averages { 0.0 } else { f64::NEG_INFINITY };
        require(fill(&pad) == Some(neutral), "the padding is not what the pool pads with")?;
        // Windows of the last, partial step and indices into the padded operand would change meaning.
        applies(!CEIL_MODE.of(pool.node()) && only_first_is_read(m))?;
        let spatial = spatial(&amounts)?;
        let kernel = pool.per_axis("kernel_shape", spatial.len(), 0).ok_or(Skip::NotThis)?;
        let dilations = pool.per_axis("dilations", spatial.len(), 1).ok_or(Skip::NotThis)?;
        applies(dilations.iter().all(|&d| d == 1))?;
        let mut own = own(&pool, spatial.len())?;
        let counted = COUNT_INCLUDE_PAD.of(pool.node()) || own.iter().all(|&p| p == (0, 0));
        require(!averages || counted, "the pool pads on its own without counting that")?;
        for ((own, more), &size) in own.iter_mut().zip(spatial).zip(&kernel) {
            own.0 = own.0.checked_add(more.0).ok_or(Skip::NotThis)?;
            own.1 = own.1.checked_add(more.1).ok_or(Skip::NotThis)?;
            require(own.0 < size && own.1 < size, "the padding is as large as the window")?;
        }
        let pooled = pool.node().op.emit([pad.operand(0).into()]).like(pool);
        let padded = pooled.without("auto_pad").with("pads", spelled(&own));
        Ok(if averages { padded.with("count_include_pad", 1) } else { padded })
    })
}
