//! What each channel of a few tensors held on a few samples.

use std::collections::BTreeMap;

use crate::calibrate::Sample;
use crate::exec::{Cannot, Executor};
use crate::ir::{ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::quantize::correct::factors::{Seen, f32s};

/// Run `model` on `feeds` and look at these tensors, channel by channel along the axis given.
pub(super) fn observe(
    model: &Model,
    tensors: &[(ValueId, usize)],
    feeds: &[Sample],
    engine: &dyn Executor,
) -> Result<BTreeMap<ValueId, Vec<Seen>>, Cannot> {
    let mut shown = model.clone();
    let graph = &mut shown.graph;
    while let Some(last) = graph.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
        graph.remove_output(ScopeId::MAIN, last);
    }
    for (i, &(value, _)) in tensors.iter().enumerate() {
        let ty = graph.value(value).ty.clone();
        graph.add_output(ScopeId::MAIN, &format!("seen {i}"), value, ty);
    }
    let mut session = engine.load(&shown)?;
    let mut counts = vec![0u64; tensors.len()];
    let mut all: Vec<Vec<Seen>> = vec![Vec::new(); tensors.len()];
    for feed in feeds {
        let outputs = session.run(feed)?;
        for (((tensor, &(_, axis)), seen), count) in outputs.iter().zip(tensors).zip(&mut all).zip(&mut counts) {
            *count += see(tensor, axis, seen);
        }
    }
    for (seen, count) in all.iter_mut().zip(counts) {
        for channel in seen {
            channel.power /= count.max(1) as f64;
            channel.count = count;
        }
    }
    Ok(tensors.iter().map(|(value, _)| *value).zip(all).collect())
}

/// Add what one sample shows; how many elements a channel has in it. Sums stay sums.
fn see(tensor: &Tensor, axis: usize, seen: &mut Vec<Seen>) -> u64 {
    let (Some(elements), Some(&size)) = (f32s(tensor), tensor.dims().get(axis)) else { return 0 };
    let inner = tensor.dims()[axis + 1..].iter().product::<usize>().max(1);
    seen.resize(size, Seen::default());
    for (block, elements) in elements.chunks(inner).enumerate() {
        let Some(channel) = seen.get_mut(block % size.max(1)) else { continue };
        for &x in elements.iter().filter(|x| x.is_finite()) {
            channel.low = channel.low.min(x.into());
            channel.high = channel.high.max(x.into());
            channel.power += f64::from(x) * f64::from(x);
        }
    }
    (elements.len() / size.max(1)) as u64
}
