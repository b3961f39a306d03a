//! Two models, one behind the other, as one.
//!
//! Tensors of the first become inputs of the second. Names of the second that the first has too get a prefix. Names of
//! sizes are matched along the connections; where both models use a name without being connected through it, that of
//! the second gets the prefix too, as nothing says that the two are one size.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::tensors::Tensors;
use super::{Claim, EditFault, Edited, Rename};
use crate::interface::{ShapeFault, TypeText, rename_sizes};
use crate::ir::{Atom, Graph, Int, ScopeId, Type, ValueId};
use crate::model::Model;
use crate::onnx::Clash;
use crate::passes::infer_declared;

/// How two models are connected.
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// A tensor of the first model, and the input of the second that it is. None to go by names, or by there being one
    /// of each.
    pub links: Vec<Rename>,
    /// What stands before a name of the second model that the first has too.
    pub prefix: String,
}

/// `first` and `second` as one model. Outputs of the first that the second takes are no outputs any more; the others
/// come before those of the second.
///
/// # Errors
/// When a tensor or input is not there or is connected twice, when types do not fit, or when the models follow
/// different versions of a domain or define different functions of one name.
pub fn join(mut first: Model, mut second: Model, asked: &Join) -> Result<(Model, Edited), EditFault> {
    infer_declared(&mut first.graph);
    let links = links(&first.graph, &second.graph, &asked.links)?;
    let sizes = match_sizes(&first.graph, &second.graph, &links)?;
    rename_sizes_of_second(&first.graph, &mut second.graph, sizes, &asked.prefix);
    let (first_whole, second_whole) = (first.clone(), second.clone());
    let names = unique_names(&first.graph, &mut second.graph, &asked.prefix);

    first.merge_around(&second).map_err(|clash| EditFault::Clash(said(clash)))?;
    first.ops.clear();
    let own_outputs = first.graph.scope(ScopeId::MAIN).outputs().len();
    let moved = first.graph.absorb(second.graph);
    let graph = &mut first.graph;
    for link in &links {
        let input = moved.value(link.to);
        while let Some(&user) = graph.value(input).users().last() {
            graph.replace_use(user, link.from);
        }
        let place = graph.scope(ScopeId::MAIN).inputs().iter().position(|&i| i == input);
        if let Some(place) = place {
            graph.remove_input(ScopeId::MAIN, place);
        }
    }
    let taken: FxHashSet<ValueId> = links.iter().map(|l| l.from).collect();
    for index in (0..own_outputs).rev() {
        if taken.contains(&graph.scope(ScopeId::MAIN).outputs()[index].value()) {
            graph.remove_output(ScopeId::MAIN, index);
        }
    }
    infer_declared(graph);

    let pairs: Vec<(String, String)> = links.iter().map(|l| (l.name.clone(), l.input.clone())).collect();
    let list: Vec<String> = pairs.iter().map(|(from, to)| format!("{from} as {to}")).collect();
    let what = format!("joined by {}", list.join(", "));
    let claim = Claim::Joined {
        joined: first.clone(),
        first: shown(first_whole, &links),
        second: second_whole,
        links: pairs,
        names,
    };
    Ok((first, Edited { what, claim: Some(claim) }))
}

/// One connection.
struct Link {
    name: String,
    from: ValueId,
    input: String,
    to: ValueId,
}

fn links(first: &Graph, second: &Graph, asked: &[Rename]) -> Result<Vec<Link>, EditFault> {
    let inputs = second.scope(ScopeId::MAIN).inputs();
    let outputs = first.scope(ScopeId::MAIN).outputs();
    let link = |name: &str, from: ValueId, to: ValueId| Link {
        name: name.into(),
        from,
        input: second.value(to).name.to_string(),
        to,
    };
    if !asked.is_empty() {
        let tensors = Tensors::of(first);
        let mut found: Vec<Link> = Vec::with_capacity(asked.len());
        for Rename { old, new } in asked {
            let from = tensors.find(first, old)?;
            let Some(&to) = inputs.iter().find(|&&i| *second.value(i).name == **new) else {
                let known = inputs.iter().map(|&i| format!("\"{}\"", second.value(i).name)).collect();
                return Err(ShapeFault::NoInput { input: new.clone(), known }.into());
            };
            if found.iter().any(|l| l.to == to) {
                return Err(EditFault::Twice { what: "input", name: new.clone() });
            }
            found.push(link(old, from, to));
        }
        return Ok(found);
    }
    let by_name = outputs.iter().filter_map(|output| {
        let to = inputs.iter().copied().find(|&i| second.value(i).name == output.name)?;
        Some(link(&output.name, output.value(), to))
    });
    let found: Vec<Link> = by_name.collect();
    let required: Vec<ValueId> = inputs.iter().copied().filter(|&i| second.value(i).default().is_none()).collect();
    match (&found[..], outputs, &required[..]) {
        ([], [output], &[input]) => Ok(vec![link(&output.name, output.value(), input)]),
        ([], ..) => Err(EditFault::NoLink {
            outputs: outputs.iter().map(|o| format!("\"{}\"", o.name)).collect(),
            inputs: inputs.iter().map(|&i| format!("\"{}\"", second.value(i).name)).collect(),
        }),
        _ => Ok(found),
    }
}

/// What sizes of the second model are, by the connections.
fn match_sizes(first: &Graph, second: &Graph, links: &[Link]) -> Result<BTreeMap<Atom, Int>, EditFault> {
    let mut sizes: BTreeMap<Atom, Int> = BTreeMap::new();
    for link in links {
        let given = &first.value(link.from).ty;
        let taken = &second.value(link.to).ty;
        let fault = |why: String| EditFault::Mismatch {
            from: link.name.clone(),
            given: TypeText(given).to_string(),
            to: link.input.clone(),
            taken: TypeText(taken).to_string(),
            why,
        };
        match (given, taken) {
            (Type::Unknown, _) | (_, Type::Unknown) => continue,
            (Type::Tensor { .. }, Type::Tensor { .. }) => {}
            (Type::Sequence(_), Type::Sequence(_)) | (Type::Optional(_), Type::Optional(_)) => continue,
            (Type::Carried(a), Type::Carried(b)) if a == b => continue,
            _ => return Err(fault("they are of different kinds".into())),
        }
        if let (Some(a), Some(b)) = (given.dtype(), taken.dtype())
            && a != b
        {
            return Err(fault("the element types differ".into()));
        }
        let (Some(given), Some(taken)) = (given.shape().dims(), taken.shape().dims()) else { continue };
        if given.len() != taken.len() {
            return Err(fault(format!("{} dimensions are not {}", given.len(), taken.len())));
        }
        for (axis, (given, taken)) in given.iter().zip(taken).enumerate() {
            if let (Some(a), Some(b)) = (given.known(), taken.known())
                && a != b
            {
                return Err(fault(format!("dimension {axis} is {a}, not {b}")));
            }
            let Some(atom) = taken.as_atom() else { continue };
            let before = sizes.entry(atom.clone()).or_insert_with(|| given.clone());
            if let (Some(a), Some(b)) = (before.known(), given.known())
                && a != b
            {
                return Err(fault(format!("\"{taken}\" is {a} already, and dimension {axis} is {b}")));
            }
        }
    }
    Ok(sizes)
}

/// Give sizes of the second model the names and numbers that they have in the first, and other names than its where
/// they are not connected.
fn rename_sizes_of_second(first: &Graph, second: &mut Graph, mut sizes: BTreeMap<Atom, Int>, prefix: &str) {
    let names = |graph: &Graph| {
        let mut names: FxHashSet<Arc<str>> = FxHashSet::default();
        let types = graph.values().map(|v| graph.value(v).ty.clone());
        let declared = graph.scope(ScopeId::MAIN).outputs().iter().map(|o| o.declared.clone());
        for ty in types.chain(declared) {
            for dim in ty.shape().dims().unwrap_or_default() {
                names.extend(dim.name().map(Arc::from));
            }
        }
        names
    };
    // What the first model computes from its sizes has no name in a file.
    sizes.retain(|_, int| int.known().is_some() || int.name().is_some());
    let taken = names(first);
    for name in names(second) {
        let atom = Atom::Named(Arc::clone(&name));
        if taken.contains(&name) && !sizes.contains_key(&atom) {
            let mut other = format!("{prefix}{name}");
            while taken.contains(other.as_str()) {
                other.push('_');
            }
            sizes.insert(atom, Int::named(other));
        }
    }
    sizes.retain(|atom, int| int.as_atom() != Some(atom));
    rename_sizes(second, sizes);
}

/// Give tensors and nodes of the second model names that the first has not. Returns the inputs and outputs with their
/// old and new names.
fn unique_names(first: &Graph, second: &mut Graph, prefix: &str) -> Vec<(String, String)> {
    let mut taken: FxHashSet<Arc<str>> = first.values().map(|v| Arc::clone(&first.value(v).name)).collect();
    taken.extend(first.scope(ScopeId::MAIN).outputs().iter().map(|o| Arc::clone(&o.name)));
    let own: FxHashSet<Arc<str>> = second.values().map(|v| Arc::clone(&second.value(v).name)).collect();
    let fresh = |name: &Arc<str>, taken: &FxHashSet<Arc<str>>| -> Option<Arc<str>> {
        if name.is_empty() || !taken.contains(name) {
            return None;
        }
        let mut new = format!("{prefix}{name}");
        while taken.contains(new.as_str()) || own.contains(new.as_str()) {
            new.push('_');
        }
        Some(new.into())
    };
    let mut renamed: FxHashMap<Arc<str>, Arc<str>> = FxHashMap::default();
    let values: Vec<ValueId> = second.values().filter(|&v| second.value(v).scope() == ScopeId::MAIN).collect();
    let outputs: Vec<(Arc<str>, ValueId)> =
        second.scope(ScopeId::MAIN).outputs().iter().map(|o| (Arc::clone(&o.name), o.value())).collect();
    for value in values {
        let old = Arc::clone(&second.value(value).name);
        if let Some(new) = fresh(&old, &taken) {
            second.value_mut(value).name = Arc::clone(&new);
            taken.insert(Arc::clone(&new));
            renamed.insert(old, new);
        }
    }
    for (index, (old, value)) in outputs.into_iter().enumerate() {
        let new = match renamed.get(&old) {
            Some(new) => Some(Arc::clone(new)),
            // An output that shows a value of another name.
            None if *second.value(value).name != *old => fresh(&old, &taken),
            None => None,
        };
        if let Some(new) = new {
            second.output_mut(ScopeId::MAIN, index).name = Arc::clone(&new);
            taken.insert(Arc::clone(&new));
            renamed.insert(old, new);
        }
    }
    let nodes: FxHashSet<Arc<str>> = first.nodes().map(|n| Arc::clone(&first.node(n).name)).collect();
    for node in second.nodes().collect::<Vec<_>>() {
        let name = &second.node(node).name;
        if !name.is_empty() && nodes.contains(name) {
            let new = format!("{prefix}{name}");
            second.node_mut(node).name = new.into();
        }
    }
    let mut renamed: Vec<(String, String)> =
        renamed.into_iter().map(|(old, new)| (old.to_string(), new.to_string())).collect();
    renamed.sort();
    renamed
}

/// The first model with what the second takes from it as outputs.
fn shown(mut first: Model, links: &[Link]) -> Model {
    for link in links {
        let outputs = first.graph.scope(ScopeId::MAIN).outputs();
        if !outputs.iter().any(|o| *o.name == *link.name) {
            first.graph.add_output(ScopeId::MAIN, &link.name, link.from, Type::Unknown);
        }
    }
    first
}

fn said(clash: Clash) -> String {
    match clash {
        Clash::Domain(domain, a, b) => format!("one follows version {a} of {domain}, the other version {b}"),
        Clash::Function(name) => format!("each defines a function {name} of its own"),
        Clash::OldForm(node, opset) => format!("\"{node}\" has the form of opset {opset} and no newer one"),
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::{Plan, tract::Tract};
    use crate::interface::Interface;
    use crate::ir::verify;
    use crate::text;

    fn model(opset: i64, graph: &str) -> Model {
        text::parse(&format!("<ir_version: 8, opset_import: [\"\" : {opset}, \"acme\" : {opset}]> {graph}")).unwrap()
    }

    fn linked(first: &Model, second: &Model, links: &[(&str, &str)]) -> Result<Model, String> {
        let links = links.iter().map(|(old, new)| Rename { old: (*old).into(), new: (*new).into() }).collect();
        let asked = Join { links, prefix: "b/".into() };
        let (joined, edited) = join(first.clone(), second.clone(), &asked).map_err(|e| e.to_string())?;
        assert_eq!(verify(&joined.graph), []);
        let verdict = edited.claim.unwrap().confirm(&Tract, &Plan::default());
        assert!(verdict.is_same(), "{verdict:?}");
        Ok(Model::from_bytes(joined.to_bytes().unwrap(), &Default::default()).unwrap())
    }

    fn interface(model: &Model) -> String {
        let Interface { inputs, outputs } = Interface::of(&model.graph);
        let list = |ports: Vec<crate::interface::Port>| {
            ports.into_iter().map(|p| format!("{} {}", p.ty, p.name)).collect::<Vec<_>>().join(", ")
        };
        format!("{} => {}", list(inputs), list(outputs))
    }

    #[test]
    fn models_are_connected_by_map_by_name_or_by_being_alone() {
        let a = model(17, "g (float[n,4] x) => (float[n,4] f, float[n,4] z) { f = Relu(x)  z = Abs(f) }");
        let by_name = model(17, "g (float[m,4] f, float[4] s) => (float[m,4] y) { y = Mul(f, s) }");
        assert_eq!(
            linked(&a, &by_name, &[]).map(|m| interface(&m)),
            Ok("float[n,4] x, float[4] s => float[n,4] z, float[n,4] y".into())
        );
        assert_eq!(
            linked(&a, &by_name, &[("z", "f"), ("x", "s")]).map(|m| interface(&m)),
            Err("\"x\" is float[n,4], input \"s\" is float[4]: 2 dimensions are not 1".into())
        );
        let alone = model(17, "g (float[m,4] u) => (float[m,4] y) { y = Exp(u) }");
        let single = model(17, "g (float[n,4] x) => (float[n,4] f) { f = Relu(x) }");
        assert_eq!(linked(&single, &alone, &[]).map(|m| interface(&m)), Ok("float[n,4] x => float[n,4] y".into()));
        assert_eq!(
            linked(&a, &alone, &[]).map(|_| ()),
            Err("it is not said which outputs are which inputs: outputs \"f\", \"z\"; inputs \"u\"".into())
        );
    }

    #[test]
    fn names_that_both_have_get_a_prefix() {
        let a =
            model(17, "g (float[n,4] x, float[k] s) => (float[n,4] y, float[k] t) { [op] y = Relu(x)  t = Neg(s) }");
        let b = model(17, "g (float[n,4] x, float[k] s) => (float[n,4] y, float[k] t) { [op] y = Abs(x)  t = Exp(s) }");
        let joined = linked(&a, &b, &[("y", "x")]).unwrap();
        assert_eq!(
            interface(&joined),
            "float[n,4] x, float[k] s, float[b/k] b/s => float[k] t, float[n,4] b/y, float[b/k] b/t"
        );
        let nodes: Vec<_> = joined.graph.nodes().map(|n| joined.graph.node(n).name.to_string()).collect();
        assert!(nodes.contains(&"op".to_string()) && nodes.contains(&"b/op".to_string()), "{nodes:?}");
    }

    #[test]
    fn the_older_opset_is_raised() {
        let graph = |axis: i64| format!("g (float[2,3,4] x) => (float[2,3,4] f) {{ f = Softmax <axis = {axis}> (x) }}");
        let after = model(17, "g (float[2,3,4] f) => (float[2,3,4] y) { y = Softmax(f) }");
        let without_acme = |mut m: Model| {
            m.opset_imports.retain(|i| i.domain.is_empty());
            m
        };
        let before = model(11, &graph(2));
        assert_eq!(
            linked(&before, &after, &[]).map(|_| ()),
            Err("the two cannot be one model: one follows version 11 of acme, the other version 17".into())
        );
        let (before, after) = (without_acme(before), without_acme(after));
        assert_eq!(linked(&before, &after, &[("f", "f")]).map(|m| m.opset()), Ok(17));
        assert_eq!(linked(&after, &before, &[("y", "x")]).map(|m| m.opset()), Ok(17));
        // Over several axes it has no words in newer opsets.
        assert_eq!(
            linked(&without_acme(model(11, &graph(1))), &after, &[]).map(|_| ()),
            Err("the two cannot be one model: \"f\" has the form of opset 11 and no newer one".into())
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let a = model(
            17,
            "g (float[n,4] x) => (float[n,4] f, int64[n] i) { f = Relu(x)  c = ArgMax <axis = 1, keepdims = 0> (x)  i = Identity(c) }",
        );
        for (second, links, why) in [
            (
                "g (float[m,5] u) => (float[m,5] y) { y = Relu(u) }",
                ("f", "u"),
                "\"f\" is float[n,4], input \"u\" is float[m,5]: dimension 1 is 4, not 5",
            ),
            (
                "g (float[m] u) => (float[m] y) { y = Relu(u) }",
                ("i", "u"),
                "\"i\" is int64[n], input \"u\" is float[m]: the element types differ",
            ),
            ("g (float[m,4] u) => (float[m,4] y) { y = Relu(u) }", ("q", "u"), "the model has no tensor \"q\""),
            (
                "g (float[m,4] u) => (float[m,4] y) { y = Relu(u) }",
                ("f", "v"),
                "the model has no input \"v\"; its inputs are \"u\"",
            ),
        ] {
            assert_eq!(linked(&a, &model(17, second), &[links]).map(|_| ()), Err(why.into()));
        }
        let two = model(17, "g (float[m,4] u) => (float[m,4] y) { y = Relu(u) }");
        assert_eq!(
            linked(&a, &two, &[("f", "u"), ("x", "u")]).map(|_| ()),
            Err("input \"u\" is asked for twice".into())
        );
    }

    #[test]
    fn bodies_and_inner_tensors_come_along() {
        let a = model(17, "g (float[n] x, bool c) => (float[n] y) { h = Relu(x)
            y = If (c) <then_branch = t () => (float[n] p) { p = Neg(h) }, else_branch = e () => (float[n] q) { q = Abs(h) }> }");
        let b = model(17, "g (float[n] x, bool c) => (float[n] y) { h = Exp(x)
            y = If (c) <then_branch = t () => (float[n] p) { p = Neg(h) }, else_branch = e () => (float[n] q) { q = Abs(h) }> }");
        assert_eq!(
            linked(&a, &b, &[("h", "x"), ("c", "c")]).map(|m| interface(&m)),
            Ok("float[n] x, bool c => float[n] y, float[n] b/y".into())
        );
    }
}
