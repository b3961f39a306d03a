//! Calls that whoever runs the model cannot run, so that no rule brings one in.

use std::fmt;

use crate::ops::CallView;

/// Says of a call whether it cannot be run.
#[derive(Clone, Copy)]
pub struct Limits<'a>(Option<&'a (dyn Fn(&CallView<'_>) -> bool + Sync)>);

impl<'a> Limits<'a> {
    /// Every call can be run.
    pub const NONE: Limits<'static> = Limits(None);

    /// Calls of which `lacks` holds cannot be run.
    pub fn new(lacks: &'a (dyn Fn(&CallView<'_>) -> bool + Sync)) -> Limits<'a> {
        Limits(Some(lacks))
    }

    /// Whether the call cannot be run.
    pub fn lacks(&self, call: &CallView<'_>) -> bool {
        self.0.is_some_and(|lacks| lacks(call))
    }
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Limits(some)" } else { "Limits(none)" })
    }
}
