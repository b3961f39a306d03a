//! An engine that makes no run of which shapes tell beforehand that it takes too much memory: engines find out by asking
//! for it, and end the process.

use std::sync::Arc;

use crate::exec::demand;
use crate::exec::executor::{Cannot, Executor, Session};
use crate::ir::Tensor;
use crate::model::Model;

/// Another engine, held to an amount of memory.
pub struct Bounded {
    engine: Arc<dyn Executor>,
    most: u64,
}

impl Bounded {
    /// `engine`, with no run that takes more bytes than `most`.
    pub fn new(engine: Arc<dyn Executor>, most: u64) -> Bounded {
        Bounded { engine, most }
    }
}

impl Executor for Bounded {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        let weights = demand::weights(&model.graph);
        if weights > self.most.into() {
            return Err(too_large(self.name(), "weights alone take", weights));
        }
        let (session, model) = (self.engine.load(model)?, Arc::new(model.clone()));
        Ok(Box::new(Held { session, model, name: self.name(), most: self.most, allowed: Vec::new() }))
    }

    fn second_opinion(&self) -> Option<Box<dyn Executor>> {
        let engine = self.engine.second_opinion()?;
        Some(Box::new(Bounded { engine: Arc::from(engine), most: self.most }))
    }
}

fn too_large(engine: &'static str, what: &str, bytes: u128) -> Cannot {
    let gib = bytes as f64 / f64::from(1u32 << 30);
    Cannot::new(engine, format!("the {what} {gib:.1} GiB: --check-memory allows more"))
}

/// A session of another engine.
struct Held {
    session: Box<dyn Session>,
    model: Arc<Model>,
    name: &'static str,
    most: u64,
    /// The sizes of inputs that were looked at last.
    allowed: Vec<Vec<usize>>,
}

impl Held {
    /// Whether these inputs leave a run within bounds.
    fn allow(&mut self, inputs: &[(String, Tensor)]) -> Result<(), Cannot> {
        let sizes: Vec<Vec<usize>> = inputs.iter().map(|(_, tensor)| tensor.dims().to_vec()).collect();
        if self.allowed.is_empty() || sizes != self.allowed {
            let bytes = demand::memory(&self.model, inputs);
            if bytes > self.most.into() {
                return Err(too_large(self.name, "run would take", bytes));
            }
            self.allowed = sizes;
        }
        Ok(())
    }
}

impl Session for Held {
    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        self.allow(inputs)?;
        self.session.run(inputs)
    }

    fn run_each(&mut self, feeds: &[Vec<(String, Tensor)>]) -> Result<Vec<Vec<Tensor>>, Cannot> {
        feeds.iter().try_for_each(|feed| self.allow(feed))?;
        self.session.run_each(feeds)
    }

    fn fork(&self) -> Option<Box<dyn Session>> {
        let (session, model) = (self.session.fork()?, self.model.clone());
        Some(Box::new(Held { session, model, name: self.name, most: self.most, allowed: self.allowed.clone() }))
    }

    fn remark(&self) -> Option<&str> {
        self.session.remark()
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    #[test]
    fn a_run_that_takes_too_much_is_not_made() {
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n] x) => (float[m] y) <int64[2] wide = {1000000, 1}> { y = Expand(x, wide) }"#,
        )
        .unwrap();
        let mut session = Bounded::new(Arc::new(Tract), 1 << 20).load(&model).unwrap();
        let refused = session.run(&[("x".into(), Tensor::f32s(&[4], &[0.0; 4]).unwrap())]).unwrap_err();
        assert!(refused.reason.contains("--check-memory"), "{refused}");
    }

    #[test]
    fn weights_that_take_too_much_are_not_even_loaded() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,64] x) => (float[n,64] y) <float[64,64] w>
            { y = MatMul(x, w) }"#;
        let model = parse(text).unwrap();
        let load = |most: u64| Bounded::new(Arc::new(Tract), most).load(&model).map(drop);
        let refused = load((1 << 15) - 1).unwrap_err();
        assert!(refused.reason.contains("weights alone"), "{refused}");
        assert!(load(1 << 15).is_ok());
    }
}
