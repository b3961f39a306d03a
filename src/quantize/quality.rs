//! How far a model with integers is from the one in real numbers.

use serde::Serialize;

use crate::calibrate::Feed;
use crate::exec::{Cannot, Executor};
use crate::model::Model;

/// What became of one output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// The output.
    pub output: String,
    /// Signal to quantization noise ratio in dB: the power of the output over the power of its error.
    pub sqnr: f64,
}

/// Run both on `feeds` and compare each output.
///
/// # Errors
/// When the engine cannot run one of them.
pub fn compare(float: &Model, integer: &Model, feeds: &[Feed], engine: &dyn Executor) -> Result<Vec<Quality>, Cannot> {
    let (mut a, mut b) = (engine.load(float)?, engine.load(integer)?);
    let outputs = float.graph.scope(crate::ir::ScopeId::MAIN).outputs();
    let mut power = vec![(0f64, 0f64); outputs.len()];
    for feed in feeds {
        for ((x, y), (signal, noise)) in a.run(feed)?.iter().zip(b.run(feed)?).zip(&mut power) {
            let (Some(x), Some(y)) = (x.reals(), y.reals()) else { continue };
            for (x, y) in x.iter().zip(&y) {
                *signal += x * x;
                *noise += (x - y) * (x - y);
            }
        }
    }
    let quality = |(output, (signal, noise)): (&crate::ir::Output, (f64, f64))| Quality {
        output: float.graph.value_label(output.value()),
        sqnr: 10.0 * (signal / noise).log10(),
    };
    Ok(outputs.iter().zip(power).map(quality).collect())
}
