//! Operators said in others, for runtimes and opsets that lack them. Each rule is tried only at calls that cannot be
//! run as they are.

mod gelu;

use crate::rules::Entry;

/// Every lowering, in the order in which they are tried.
pub fn all() -> Vec<Entry> {
    macro_rules! entries {
        ($($module:ident),* $(,)?) => {
            vec![$(Entry { rule: $module::rule(), source: include_str!(concat!(stringify!($module), ".rs")) }),*]
        };
    }
    entries![gelu]
}
