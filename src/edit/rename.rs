//! Other names for tensors and nodes. All are changed at once, so names can be swapped.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::EditFault;
use super::tensors::Tensors;
use crate::ir::{Graph, NodeId, ScopeId};
use crate::similar::similar;

/// One name that becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The name in the model.
    pub old: String,
    /// The name to give.
    pub new: String,
}

/// Give tensors of the main graph other names: inputs, outputs and those between.
///
/// # Errors
/// When a name is not there, is asked for twice, or two tensors would share one. Nothing is changed then.
pub(super) fn rename(graph: &mut Graph, wanted: &[Rename]) -> Result<(), EditFault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let tensors = Tensors::of(graph);
    let mut found = Vec::with_capacity(wanted.len());
    for Rename { old, .. } in wanted {
        found.push(tensors.find(graph, old)?);
    }
    check(wanted, "tensor", |name| tensors.get(name).is_some())?;
    for (Rename { old, new }, value) in wanted.iter().zip(found) {
        let new: Arc<str> = new.as_str().into();
        for index in 0..graph.scope(ScopeId::MAIN).outputs().len() {
            let output = &graph.scope(ScopeId::MAIN).outputs()[index];
            if output.value() == value && *output.name == **old {
                graph.output_mut(ScopeId::MAIN, index).name = Arc::clone(&new);
            }
        }
        if *graph.value(value).name == **old {
            graph.value_mut(value).name = new;
        }
    }
    Ok(())
}

/// Give nodes other names.
///
/// # Errors
/// As [`rename`]; also when several nodes have a name.
pub(super) fn rename_nodes(graph: &mut Graph, wanted: &[Rename]) -> Result<(), EditFault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut by_name: FxHashMap<Arc<str>, Vec<NodeId>> = FxHashMap::default();
    for node in graph.nodes() {
        let name = &graph.node(node).name;
        if !name.is_empty() {
            by_name.entry(Arc::clone(name)).or_default().push(node);
        }
    }
    let mut found = Vec::with_capacity(wanted.len());
    for Rename { old: name, .. } in wanted {
        match by_name.get(name.as_str()).map(Vec::as_slice) {
            Some(&[node]) => found.push(node),
            Some(nodes) => return Err(EditFault::Ambiguous { name: name.clone(), count: nodes.len() }),
            None => {
                let similar = similar(name, by_name.keys().map(|k| &**k));
                return Err(EditFault::NoNode { name: name.clone(), similar });
            }
        }
    }
    check(wanted, "node", |name| by_name.contains_key(name))?;
    for (Rename { new, .. }, node) in wanted.iter().zip(found) {
        graph.node_mut(node).name = new.as_str().into();
    }
    Ok(())
}

/// Whether every old name is asked for once, and every new one is free once the old ones are gone.
fn check(wanted: &[Rename], what: &'static str, is_there: impl Fn(&str) -> bool) -> Result<(), EditFault> {
    let mut olds = FxHashSet::default();
    for Rename { old, .. } in wanted {
        if !olds.insert(old.as_str()) {
            return Err(EditFault::Twice { what, name: old.clone() });
        }
    }
    let mut news = FxHashSet::default();
    for Rename { old, new } in wanted {
        if !news.insert(new.as_str()) || (is_there(new) && !olds.contains(new.as_str())) {
            return Err(EditFault::Taken { what, old: old.clone(), new: new.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Interface;
    use crate::model::Model;
    use crate::text;

    fn model() -> Model {
        let text = "<ir_version: 8, opset_import: [\"\" : 17]> \
            g (float[2] x) => (float[2] y, float[2] z) { [a] h = Relu(x)  [b] y = Abs(h)  [b] z = Neg(h) }";
        text::parse(text).unwrap()
    }

    fn list(pairs: &[(&str, &str)]) -> Vec<Rename> {
        pairs.iter().map(|(old, new)| Rename { old: (*old).into(), new: (*new).into() }).collect()
    }

    fn names(model: &Model) -> Vec<String> {
        let Interface { inputs, outputs } = Interface::of(&model.graph);
        inputs.into_iter().chain(outputs).map(|p| p.name).collect()
    }

    #[test]
    fn inputs_outputs_and_what_is_between_can_be_renamed() {
        let mut m = model();
        rename(&mut m.graph, &list(&[("x", "image"), ("y", "logits"), ("h", "features")])).unwrap();
        assert_eq!(names(&m), ["image", "logits", "z"]);
        let text = text::print(&Model::from_bytes(m.to_bytes().unwrap(), &Default::default()).unwrap());
        assert!(text.contains("features = Relu(image)") && text.contains("logits = Abs(features)"), "{text}");
    }

    #[test]
    fn names_can_be_swapped() {
        let mut m = model();
        rename(&mut m.graph, &list(&[("y", "z"), ("z", "y")])).unwrap();
        assert_eq!(names(&m), ["x", "z", "y"]);
        let text = text::print(&Model::from_bytes(m.to_bytes().unwrap(), &Default::default()).unwrap());
        assert!(text.contains("z = Abs(h)") && text.contains("y = Neg(h)"), "{text}");
    }

    #[test]
    fn names_that_clash_or_are_not_there_are_refused() {
        for (asked, why) in [
            (list(&[("x", "h")]), "\"x\" cannot be called \"h\": another tensor has that name"),
            (list(&[("x", "a"), ("y", "a")]), "\"y\" cannot be called \"a\": another tensor has that name"),
            (list(&[("x", "a"), ("x", "b")]), "tensor \"x\" is asked for twice"),
            (list(&[("x", "y"), ("q", "y")]), "the model has no tensor \"q\""),
        ] {
            let mut m = model();
            assert_eq!(rename(&mut m.graph, &asked).unwrap_err().to_string(), why);
            assert_eq!(names(&m), ["x", "y", "z"], "nothing is changed by what is refused");
        }
    }

    #[test]
    fn nodes_can_be_renamed() {
        let mut m = model();
        rename_nodes(&mut m.graph, &list(&[("a", "first")])).unwrap();
        assert!(m.graph.nodes().any(|n| &*m.graph.node(n).name == "first"));
        let refused = |asked: &[(&str, &str)]| rename_nodes(&mut model().graph, &list(asked)).unwrap_err();
        assert_eq!(refused(&[("b", "c")]).to_string(), "2 nodes are called \"b\"");
        assert_eq!(refused(&[("a", "b")]).to_string(), "\"a\" cannot be called \"b\": another node has that name");
        assert!(matches!(refused(&[("aa", "c")]), EditFault::NoNode { similar, .. } if similar == ["a"]));
    }
}
