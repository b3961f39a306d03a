//! What there is to say of what stays float32, or would have to.

use crate::ir::{Graph, NodeId};
use crate::quality::in_decibels;

/// So many of what brings noise in are named.
const NAMED: usize = 3;

/// Why a call or a weight stays that would keep an output from being good enough.
pub(super) fn prevents(ratio: f64) -> String {
    format!("an output had {} of signal over its noise with it", in_decibels(ratio))
}

/// What there is to say where float32 here and there does not help. `blamed` brings the noise in, the worst first.
pub(super) fn everywhere(ratio: f64, floor: f64, needed: f64, blamed: &[String]) -> String {
    format!(
        "{}: noise comes from everywhere; {:.0} % would have to stay float32 for {floor} dB: {}",
        in_decibels(ratio),
        100.0 * needed,
        listed(blamed)
    )
}

/// What there is to say where float32 here and there takes more bytes than it is worth.
pub(super) fn twice(ratio: f64, floor: f64, blamed: &[String]) -> String {
    format!(
        "{}: with what would have to stay float32 for {floor} dB, weights take more bytes than they did: {}; \
         --min-sqnr takes that",
        in_decibels(ratio),
        listed(blamed)
    )
}

/// The first of what is blamed, and how many more there are.
fn listed(blamed: &[String]) -> String {
    let named = blamed.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match blamed.len().checked_sub(NAMED) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}

/// A call as people know it.
pub(super) fn called(graph: &Graph, node: NodeId) -> String {
    format!("{} \"{}\"", graph.node(node).op_name(), graph.label(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named() {
        let of = |names: &[&str]| listed(&names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["a"]), "a");
        assert_eq!(of(&["a", "b", "c"]), "a, b, c");
        assert_eq!(of(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
