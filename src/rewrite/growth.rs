//! Growth: bytes by which edits may make the file larger, beyond what dies with what they replace.
//!
//! One allowance serves a whole run, so that many small additions cannot add up.

use std::cell::Cell;

/// How many bytes a run may still add.
#[derive(Debug)]
pub struct Growth {
    left: Cell<usize>,
}

impl Growth {
    /// Up to `bytes` in all.
    pub fn bytes(bytes: usize) -> Growth {
        Growth { left: Cell::new(bytes) }
    }

    /// Add `bytes` to the file, if they are still allowed.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        match self.left.get().checked_sub(bytes) {
            Some(left) => {
                self.left.set(left);
                true
            }
            None => false,
        }
    }
}
