//! Fuel: every single edit costs one unit, so that a run can be stopped after any number of edits.
//!
//! When the proof finds a difference, running again with less and less fuel finds the first edit at fault, whichever
//! pass or rule made it.

use std::cell::{Cell, RefCell};

/// How many edits a run may still make.
#[derive(Debug)]
pub struct Fuel {
    left: Cell<u64>,
    spent: Cell<u64>,
    last: RefCell<String>,
}

impl Fuel {
    /// Enough for any run.
    pub fn unlimited() -> Fuel {
        Fuel::new(u64::MAX)
    }

    /// Enough for `edits` edits.
    pub fn new(edits: u64) -> Fuel {
        Fuel { left: Cell::new(edits), spent: Cell::new(0), last: RefCell::default() }
    }

    /// Pay for one edit by `what`, at the node or value that `at` names. `false`: the edit must not be made.
    pub fn spend(&self, what: &str, at: impl FnOnce() -> String) -> bool {
        let left = self.left.get();
        if left == 0 {
            return false;
        }
        self.left.set(left - 1);
        self.spent.set(self.spent.get() + 1);
        // The name of the last edit is asked for only when the fuel runs out.
        if left == 1 {
            *self.last.borrow_mut() = format!("{what} at {}", at());
        }
        true
    }

    /// Whether no edit may be made any more.
    pub fn is_empty(&self) -> bool {
        self.left.get() == 0
    }

    /// Edits made so far.
    pub fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// The edit that took the last unit; empty when fuel is left.
    pub fn last(&self) -> String {
        self.last.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_edit_is_named() {
        let fuel = Fuel::new(2);
        assert!(fuel.spend("a", || "x".into()));
        assert!(fuel.spend("b", || "y".into()));
        assert!(!fuel.spend("c", || "z".into()));
        assert_eq!((fuel.last().as_str(), fuel.spent()), ("b at y", 2));
    }
}
