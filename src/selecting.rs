//! Nodes that a user names: by their names with `*` and `?`, by operator, or as a region between two tensors.

use rustc_hash::FxHashSet;

use crate::ir::{Graph, NodeId, OpKind, ScopeId, ValueId};
use crate::similar::similar;

/// A pattern that nothing matches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing of the model matches \"{pattern}\"{}", meant(.similar))]
pub struct NoMatch {
    /// The pattern.
    pub pattern: String,
    /// Names that may be meant.
    pub similar: Vec<String>,
}

fn meant(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; there is {}", similar.join(", ")) }
}

/// What stands before a name that is meant as it is.
const EXACT: &str = "name:";

/// A pattern that matches the nodes with the name of `node` and no others, whatever characters it has.
pub fn exactly(graph: &Graph, node: NodeId) -> String {
    let label = graph.label(node);
    let is_plain = !label.contains(['*', '?']) && !label.contains("..");
    let is_name = is_plain && !label.starts_with("op:") && !label.starts_with(EXACT) && !label.is_empty();
    if is_name { label } else { format!("{EXACT}{label}") }
}

/// The nodes of the main graph that `pattern` matches: a node's name with `*` and `?`, `name:` and a name as it is, `op:`
/// and an operator's name, or `from..to` for the nodes between two tensors.
///
/// # Errors
/// When nothing matches.
pub fn matching(graph: &Graph, pattern: &str) -> Result<Vec<NodeId>, NoMatch> {
    let nodes = || graph.nodes_of(ScopeId::MAIN);
    let fails = |similar| NoMatch { pattern: pattern.into(), similar };
    if let Some(name) = pattern.strip_prefix(EXACT) {
        let found: Vec<NodeId> = nodes().filter(|&n| graph.label(n) == name).collect();
        if found.is_empty() {
            let labels: Vec<String> = nodes().map(|n| graph.label(n)).collect();
            let near = similar(name, labels.iter().map(String::as_str)).into_iter();
            return Err(fails(near.map(|name| format!("{EXACT}{name}")).collect()));
        }
        return Ok(found);
    }
    if let Some(op) = pattern.strip_prefix("op:") {
        let found: Vec<NodeId> = nodes().filter(|&n| graph.node(n).op_name() == op).collect();
        if found.is_empty() {
            let there: FxHashSet<&str> = nodes().map(|n| graph.node(n).op_name()).collect();
            let mut there: Vec<&str> = there.into_iter().collect();
            there.sort_unstable();
            let near = similar(op, there).into_iter().map(|op| format!("op:{op}")).collect();
            return Err(fails(near));
        }
        return Ok(found);
    }
    let found: Vec<NodeId> = nodes().filter(|&n| glob(pattern, &graph.label(n))).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    if let Some((from, to)) = pattern.split_once("..") {
        return between(graph, pattern, from, to);
    }
    let labels: Vec<String> = nodes().map(|n| graph.label(n)).collect();
    let mut near = similar(pattern, labels.iter().map(String::as_str));
    if OpKind::from_name(pattern).is_some() && nodes().any(|n| graph.node(n).op_name() == pattern) {
        near.insert(0, format!("op:{pattern}"));
    }
    Err(fails(near))
}

/// The nodes on ways from one tensor to another.
fn between(graph: &Graph, pattern: &str, from: &str, to: &str) -> Result<Vec<NodeId>, NoMatch> {
    let tensor = |name: &str| {
        let is_it = |&v: &ValueId| graph.value(v).scope() == ScopeId::MAIN && graph.value_label(v) == name;
        graph.values().find(is_it).ok_or_else(|| {
            let labels: Vec<String> = graph.values().map(|v| graph.value_label(v)).collect();
            NoMatch { pattern: pattern.into(), similar: similar(name, labels.iter().map(String::as_str)) }
        })
    };
    let (from, to) = (tensor(from)?, tensor(to)?);
    let mut above: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack: Vec<NodeId> = graph.producer(to).into_iter().map(|(node, _)| node).collect();
    while let Some(node) = stack.pop() {
        if above.insert(node) {
            stack.extend(graph.operands(node).flatten().filter_map(|v| graph.producer(v)).map(|(node, _)| node));
        }
    }
    let mut reached: FxHashSet<ValueId> = [from].into_iter().collect();
    let mut found = Vec::new();
    for node in graph.schedule(ScopeId::MAIN) {
        if above.contains(&node) && graph.operands(node).flatten().any(|v| reached.contains(&v)) {
            reached.extend(graph.results(node).iter().flatten());
            found.push(node);
        }
    }
    if found.is_empty() {
        return Err(NoMatch { pattern: pattern.into(), similar: Vec::new() });
    }
    Ok(found)
}

/// Whether `name` is what `pattern` says: `*` stands for any text, `?` for any character.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what followed the last star did not fit.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, n) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_pattern_matches_one_name() {
        let text = "g (float[2] x) => (float[2] y)
            { [a*] b = Relu(x) [ab] c = Neg(b) [\"a..b\"] d = Exp(c) [\"op:Exp\"] y = Exp(d) }";
        let graph = crate::text::parse(&text.replace("[a*]", "[\"a*\"]")).unwrap().graph;
        for node in graph.nodes() {
            assert_eq!(matching(&graph, &exactly(&graph, node)).unwrap(), [node]);
        }
        assert_eq!(matching(&graph, "name:a").unwrap_err().similar.first().map(String::as_str), Some("name:a*"));
    }

    #[test]
    fn globs() {
        for (pattern, name) in [("/head/*", "/head/Conv"), ("*conv?", "a/conv1"), ("*", ""), ("a*b*c", "aXbbYc")] {
            assert!(glob(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("/head/*", "head/Conv"), ("conv?", "conv"), ("a*b", "abc"), ("", "a")] {
            assert!(!glob(pattern, name), "{pattern} {name}");
        }
    }
}
