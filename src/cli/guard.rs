//! A defect of the tool ends the work on one model, not the program, and says so.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use crate::cli::shared::Noise;

/// Bytes of stack for a thread that works on a model. Only what is used takes memory.
pub(super) const STACK: usize = 64 << 20;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic: something that the code took for certain is not so.
#[derive(Debug, thiserror::Error)]
#[error("a defect of onnx-slim: {message}")]
pub(super) struct Defect {
    message: String,
    /// File and line, where they are known.
    pub(super) place: Option<String>,
}

/// Keep panics quiet: [`run`] reports them. With `-v` the usual message comes too.
pub(super) fn install(noise: Noise) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        LAST.with(|last| *last.borrow_mut() = info.location().map(ToString::to_string));
        if noise.verbose > 0 {
            usual(info);
        }
    }));
}

/// Do `work`; a panic in it becomes a [`Defect`].
pub(super) fn run<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // What a panic leaves half done is dropped with everything else of the model.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        Err(Defect { message, place: LAST.with(|last| last.borrow_mut().take()) }.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_says_whose_fault_it_is() {
        let error = run::<()>(|| panic!("{} is not {}", 1, 2)).unwrap_err();
        assert_eq!(error.to_string(), "a defect of onnx-slim: 1 is not 2");
        assert!(run(|| Ok(3)).is_ok_and(|n| n == 3));
    }
}
