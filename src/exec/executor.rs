//! What every engine does: take a model, then run it on tensors. What it cannot do is an answer, not a crash.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use crate::ir::{Graph, NodeId, Tensor};
use crate::model::Model;

/// An engine that runs models.
pub trait Executor: Send + Sync {
    /// What `--engine` calls it.
    fn name(&self) -> &'static str;

    /// Get ready to run `model`.
    ///
    /// # Errors
    /// When the engine cannot run the model, whatever the inputs.
    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot>;

    /// Another way to run models, to be asked where this engine finds that two of them differ: engines have defects of
    /// their own.
    fn second_opinion(&self) -> Option<Box<dyn Executor>> {
        None
    }
}

/// A model in an engine.
pub trait Session: Send {
    /// The outputs for these inputs, by name, in the model's order. An input with a default may be left out.
    ///
    /// # Errors
    /// When the engine cannot run the model on these inputs.
    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot>;

    /// The outputs for each of several feeds, as [`Session::run`] gives them one by one. What it takes to begin a run is
    /// taken once, as far as the engine can: it counts for small models.
    ///
    /// # Errors
    /// As [`Session::run`].
    fn run_each(&mut self, feeds: &[Vec<(String, Tensor)>]) -> Result<Vec<Vec<Tensor>>, Cannot> {
        feeds.iter().map(|feed| self.run(feed)).collect()
    }

    /// Another session of the same model, which shares what this one has loaded and planned; none where it cannot.
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }

    /// What a reader should know of the way in which the runs so far were made.
    fn remark(&self) -> Option<&str> {
        None
    }
}

/// Why an engine does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{engine} cannot run {}: {reason}", .at.as_ref().map_or_else(|| "the model".to_string(), At::to_string))]
pub struct Cannot {
    /// The engine.
    pub engine: &'static str,
    /// The node that it stops at, where that is known.
    pub at: Option<At>,
    /// What it says, on one line.
    pub reason: String,
}

/// A node as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The operator, with its domain unless that is ai.onnx.
    pub op: String,
    /// The node's name, or its first result's.
    pub node: String,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", self.op, self.node)
    }
}

impl At {
    pub(super) fn of(graph: &Graph, node: NodeId) -> At {
        let n = graph.node(node);
        let op =
            if n.domain().is_empty() { n.op_name().to_string() } else { format!("{}.{}", n.domain(), n.op_name()) };
        At { op, node: graph.label(node) }
    }
}

/// Reasons longer than this are cut: engines print whole nodes.
const MAX_REASON: usize = 300;

impl Cannot {
    pub(super) fn new(engine: &'static str, reason: impl AsRef<str>) -> Cannot {
        let mut reason = reason.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
            reason.truncate(end);
            reason.push('…');
        }
        Cannot { engine, at: None, reason }
    }

    pub(super) fn at(mut self, at: At) -> Cannot {
        self.at = Some(at);
        self
    }
}

/// Bytes of stack for an engine. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// Do `work`; a panic in it is an answer.
pub(super) fn caught<T>(engine: &'static str, work: impl FnOnce() -> Result<T, Cannot>) -> Result<T, Cannot> {
    // What a panic leaves half done is dropped with the session that it happened in.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(engine, &*panic)))
}

/// Do `work` where a panic and deep recursion in an engine end nothing else.
///
/// Whether a panic is printed is for the program's hook to decide.
pub(super) fn contained<T: Send>(
    engine: &'static str,
    work: impl FnOnce() -> Result<T, Cannot> + Send,
) -> Result<T, Cannot> {
    let work = || caught(engine, work);
    thread::scope(|scope| {
        let spawned = thread::Builder::new().name(engine.to_string()).stack_size(STACK).spawn_scoped(scope, work);
        match spawned {
            Ok(thread) => thread.join().unwrap_or_else(|panic| Err(panicked(engine, &*panic))),
            Err(error) => Err(Cannot::new(engine, error.to_string())),
        }
    })
}

fn panicked(engine: &'static str, panic: &(dyn Any + Send)) -> Cannot {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Cannot::new(engine, format!("a defect of the engine: {}", text.unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_an_engine_is_an_answer() {
        let cannot = contained::<()>("some", || panic!("index {} of 3", 7)).unwrap_err();
        assert_eq!(cannot.to_string(), "some cannot run the model: a defect of the engine: index 7 of 3");
        assert_eq!(contained("some", || Ok(1)), Ok(1));
    }

    #[test]
    fn deep_recursion_has_room() {
        fn depth(n: u64) -> u64 {
            let frame = [n; 512];
            if n == 0 { 0 } else { 1 + depth(std::hint::black_box(frame)[0] - 1) }
        }
        assert_eq!(contained("some", || Ok(depth(10_000))), Ok(10_000));
    }

    #[test]
    fn reasons_fit_a_line() {
        let long = Cannot::new("some", format!("a\n  b {}", "x".repeat(1000)));
        assert!(long.reason.starts_with("a b x") && long.reason.chars().count() <= MAX_REASON + 1);
    }
}
