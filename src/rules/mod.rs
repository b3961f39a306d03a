//! The rules, one per file. The order of the list is the order in which they are tried at a node.

use crate::rewrite::Rule;

/// A rule with the manual page that `explain` prints: the doc comment of its file.
pub struct Entry {
    /// The rule.
    pub rule: Rule,
    /// Its file's own text.
    pub source: &'static str,
}

macro_rules! rules {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// Every rule, in order.
        pub fn all() -> Vec<Entry> {
            vec![$(Entry { rule: $module::rule(), source: include_str!(concat!(stringify!($module), ".rs")) }),*]
        }
    };
}

rules! {
    drop_identity,
    fold_batchnorm,
}
