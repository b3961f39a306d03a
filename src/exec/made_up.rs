//! Made-up inputs that a model runs on, as many as are asked for: seeded, all of the same sizes.

use crate::exec::demand;
use crate::exec::executor::Executor;
use crate::exec::proof::{MAX_INPUT, MEMORY};
use crate::exec::sample::{self, Input, Sizes, Spread};
use crate::ir::Tensor;
use crate::model::Model;

/// Sizes of open dimensions that are tried, best first: those of an image or a sentence, then what else may run.
const SIZES: [usize; 10] = [64, 128, 224, 256, 32, 16, 8, 4, 2, 1];

/// Inputs made from a seed: floats of mean 0 and variance 1, integers that what reads them can take.
pub(crate) struct MadeUp {
    inputs: Vec<(Input, Vec<usize>)>,
    seed: u64,
}

impl MadeUp {
    /// For `model`. Where it leaves sizes open, `engine` is asked which it runs on; the batch is then 1.
    ///
    /// # Errors
    /// Says why nothing can be made up.
    pub(crate) fn new(model: &Model, engine: &dyn Executor, seed: u64) -> Result<MadeUp, String> {
        let inputs = sample::inputs(model)?;
        let open = sample::symbols(&inputs);
        if open.is_empty() {
            return MadeUp::sized(&inputs, &Sizes::new(), seed);
        }
        let mut session = engine.load(model).map_err(|e| e.to_string())?;
        let mut refusal = None;
        for n in SIZES {
            let sizes = open.iter().map(|(name, is_first)| (name.clone(), if *is_first { 1 } else { n })).collect();
            let Ok(made) = MadeUp::sized(&inputs, &sizes, seed) else { continue };
            let Some(feed) = made.feed(0) else { continue };
            if demand::memory(model, &feed) > MEMORY.into() {
                continue;
            }
            match session.run(&feed) {
                Ok(_) => return Ok(made),
                Err(cannot) => {
                    refusal.get_or_insert(cannot);
                }
            }
        }
        Err(refusal.map_or_else(|| "no inputs can be made up that are small enough".into(), |c| c.to_string()))
    }

    fn sized(inputs: &[Input], sizes: &Sizes, seed: u64) -> Result<MadeUp, String> {
        let sized = inputs.iter().map(|input| {
            let dims =
                input.sizes(sizes).ok_or_else(|| format!("input \"{}\" has sizes that no run has", input.name))?;
            Ok((input.clone(), dims))
        });
        Ok(MadeUp { inputs: sized.collect::<Result<_, String>>()?, seed })
    }

    /// One tensor per input, others for each `index`. `None` where they would be too large.
    pub(crate) fn feed(&self, index: u64) -> Option<Vec<(String, Tensor)>> {
        let seed = self.seed.wrapping_add(index);
        let fill = |(input, dims): &(Input, Vec<usize>)| {
            Some((input.name.clone(), input.fill(dims, Spread::Normal, seed, MAX_INPUT)?))
        };
        self.inputs.iter().map(fill).collect()
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    fn made(graph: &str) -> Result<MadeUp, String> {
        let model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {graph}"#)).unwrap();
        MadeUp::new(&model, &Tract, 7)
    }

    #[test]
    fn every_feed_is_another_and_the_same_each_time() {
        let made = made("g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }").unwrap();
        assert_eq!(made.feed(1), made.feed(1));
        assert_ne!(made.feed(0), made.feed(1));
    }

    #[test]
    fn open_sizes_are_those_that_the_model_runs_on() {
        let text = "g (float[n,c] x) => (float[n,2] y) <float[16,2] w> { y = MatMul(x, w) }";
        assert_eq!(made(text).unwrap().feed(0).unwrap()[0].1.dims(), [1, 16]);
        let never = "g (float[n,c] x) => (float[n,2] y) <float[17,2] w> { y = MatMul(x, w) }";
        assert!(made(never).err().unwrap().contains("tract cannot run"));
    }
}
