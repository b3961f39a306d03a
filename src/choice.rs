//! Which nodes of a model may be changed, as the user says.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, NodeId, ScopeId};
pub use crate::selecting::NoMatch as ChoiceError;
use crate::selecting::matching;

/// Which nodes may be changed, as patterns: a node's name with `*` and `?`, `op:` and an operator's name, or
/// `from..to` for the nodes between two tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only what one of these matches; empty for all.
    pub only: Vec<String>,
    /// Nothing that one of these matches.
    pub exclude: Vec<String>,
}

/// Why a node that was excluded stays as it is.
pub(crate) const EXCLUDED: &str = "it was excluded";
/// Why a node that was not chosen stays as it is.
pub(crate) const NOT_CHOSEN: &str = "it was not chosen";

impl Choice {
    /// Nodes of the main graph that stay as they are, with the reason.
    ///
    /// # Errors
    /// For a pattern that matches nothing.
    pub(crate) fn excluded(&self, graph: &Graph) -> Result<FxHashMap<NodeId, String>, ChoiceError> {
        let mut found = FxHashMap::default();
        if !self.only.is_empty() {
            let mut chosen = FxHashSet::default();
            for pattern in &self.only {
                chosen.extend(matching(graph, pattern)?);
            }
            let others = graph.nodes_of(ScopeId::MAIN).filter(|node| !chosen.contains(node));
            found.extend(others.map(|node| (node, NOT_CHOSEN.to_string())));
        }
        for pattern in &self.exclude {
            found.extend(matching(graph, pattern)?.into_iter().map(|node| (node, EXCLUDED.to_string())));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn patterns_match_names_operators_and_regions() {
        let text = "g (float[2,3] x) => (float[2,3] y) { [one] a = Relu(x) [two] b = Neg(a) [three] y = Exp(b) }";
        let graph = text::parse(text).unwrap().graph;
        let names = |pattern: &str| -> Result<Vec<String>, ChoiceError> {
            Ok(matching(&graph, pattern)?.into_iter().map(|n| graph.label(n)).collect())
        };
        assert_eq!(names("t*").unwrap(), ["two", "three"]);
        assert_eq!(names("op:Relu").unwrap(), ["one"]);
        assert_eq!(names("a..b").unwrap(), ["two"]);
        assert_eq!(names("a..y").unwrap(), ["two", "three"]);
        assert_eq!(names("thre").unwrap_err().similar, ["three"]);
        assert_eq!(names("op:Rely").unwrap_err().similar, ["op:Relu"]);
        assert_eq!(names("Exp").unwrap_err().similar, ["op:Exp"]);
        assert_eq!(names("y..x").unwrap_err().similar, [""; 0]);
        let choice = Choice { only: vec!["t*".into()], exclude: vec!["three".into()] };
        let excluded = choice.excluded(&graph).unwrap();
        let mut excluded: Vec<_> = excluded.iter().map(|(&n, why)| (graph.label(n), why.as_str())).collect();
        excluded.sort();
        assert_eq!(excluded, [("one".to_string(), NOT_CHOSEN), ("three".to_string(), EXCLUDED)]);
    }
}
