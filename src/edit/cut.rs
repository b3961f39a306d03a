//! A model between two sets of tensors: what the chosen outputs are computed from, beginning at the chosen inputs.
//!
//! A tensor from within the model that becomes an input is one of the type and shape that it has there. Inputs that a
//! caller may leave out stay where something reads them; other inputs go unless they are asked for.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::tensors::Tensors;
use super::{Claim, EditFault, Edited};
use crate::ir::{Carried, Graph, Origin, ScopeId, Type, ValueId};
use crate::model::Model;
use crate::ops::join::replaced;
use crate::passes::infer_declared;

/// An output that the result has.
struct End {
    name: Arc<str>,
    value: ValueId,
    declared: Type,
    carried: Carried,
    /// The model has it already.
    is_own: bool,
}

/// Cut `model` to what computes `outputs` from `inputs`; where either is empty, from or to its own.
///
/// # Errors
/// When a tensor is not there or cannot be one of the model's ends, when an output needs an input that is not asked
/// for, or an input is asked for that no output needs. Nothing is changed then but what is known of types.
pub(super) fn cut(model: &mut Model, inputs: &[String], outputs: &[String]) -> Result<Edited, EditFault> {
    infer_declared(&mut model.graph);
    let graph = &model.graph;
    let tensors = Tensors::of(graph);
    let starts = tensors.find_all(graph, inputs, "input")?;
    let ends = ends(graph, &tensors.find_all(graph, outputs, "output")?)?;
    let stops: FxHashMap<ValueId, &str> = starts.iter().map(|(name, value)| (*value, &**name)).collect();
    for end in &ends {
        let was_both = end.is_own && graph.value(end.value).origin() == Origin::Input;
        if stops.contains_key(&end.value) && !was_both {
            return Err(EditFault::BothEnds { name: end.name.to_string() });
        }
    }
    check_starts(graph, &starts, &ends, &stops)?;
    check_ends(graph, &ends, &stops)?;
    for (name, value) in &starts {
        if graph.value(*value).origin() != Origin::Input && !is_told(&graph.value(*value).ty) {
            return Err(EditFault::Untyped { name: name.to_string() });
        }
    }

    let whole = whole(model, &starts, &ends);
    let graph = &mut model.graph;
    show(graph, ends);
    let order = begin(graph, &starts);
    graph.remove_dead();
    arrange(graph, &order, starts.is_empty());
    model.drop_training();
    Ok(Edited { what: describe(inputs, outputs), claim: Some(Claim::Part { whole, part: model.clone() }) })
}

/// The outputs to have: those asked for, or all.
fn ends(graph: &Graph, asked: &[(Arc<str>, ValueId)]) -> Result<Vec<End>, EditFault> {
    let own = graph.scope(ScopeId::MAIN).outputs();
    let keep = |index: usize| End {
        name: Arc::clone(&own[index].name),
        value: own[index].value(),
        declared: own[index].declared.clone(),
        carried: own[index].carried.clone(),
        is_own: true,
    };
    if asked.is_empty() {
        return Ok((0..own.len()).map(keep).collect());
    }
    let end = |(name, value): &(Arc<str>, ValueId)| {
        if let Some(index) = own.iter().position(|o| o.name == *name) {
            return Ok(keep(index));
        }
        let v = graph.value(*value);
        match v.origin() {
            Origin::Input => Err(EditFault::BothEnds { name: name.to_string() }),
            Origin::Constant => Err(EditFault::Constant { name: name.to_string() }),
            Origin::Node(..) => Ok(End {
                name: Arc::clone(name),
                value: *value,
                declared: v.ty.clone(),
                carried: v.carried.clone(),
                is_own: false,
            }),
        }
    };
    asked.iter().map(end).collect()
}

/// Everything that `from` are computed from, themselves included; what is in `stops` is not looked behind.
fn sources(
    graph: &Graph,
    from: impl IntoIterator<Item = ValueId>,
    stops: &FxHashMap<ValueId, &str>,
) -> FxHashSet<ValueId> {
    let mut seen: FxHashSet<ValueId> = FxHashSet::default();
    let mut stack: Vec<ValueId> = from.into_iter().collect();
    while let Some(value) = stack.pop() {
        if !seen.insert(value) || stops.contains_key(&value) {
            continue;
        }
        if let Some((node, _)) = graph.producer(value) {
            stack.extend(graph.operands(node).flatten());
            if graph.node(node).bodies().next().is_some() {
                stack.extend(graph.captures(node));
            }
        }
    }
    seen
}

/// Whether each input asked for is needed.
fn check_starts(
    graph: &Graph,
    starts: &[(Arc<str>, ValueId)],
    ends: &[End],
    stops: &FxHashMap<ValueId, &str>,
) -> Result<(), EditFault> {
    if starts.is_empty() {
        return Ok(());
    }
    let needed = sources(graph, ends.iter().map(|e| e.value), stops);
    for (name, value) in starts {
        if needed.contains(value) {
            continue;
        }
        let none = FxHashMap::default();
        let behind = starts
            .iter()
            .filter(|(_, other)| other != value)
            .find(|(_, other)| sources(graph, [*other], &none).contains(value));
        let behind = behind.map(|(other, _)| other.to_string());
        return Err(EditFault::Unneeded { name: name.to_string(), behind });
    }
    // What callers must give and is not asked for.
    let foreign = |&value: &ValueId| {
        let v = graph.value(value);
        v.scope() == ScopeId::MAIN
            && v.origin() == Origin::Input
            && v.default().is_none()
            && !stops.contains_key(&value)
    };
    for end in ends {
        if !needed.iter().any(foreign) {
            break;
        }
        if let Some(input) = sources(graph, [end.value], stops).into_iter().find(foreign) {
            let input = graph.value(input).name.to_string();
            return Err(EditFault::StillNeeds { output: end.name.to_string(), input });
        }
    }
    Ok(())
}

/// Whether each output that the model has not yet is computed from some input.
fn check_ends(graph: &Graph, ends: &[End], stops: &FxHashMap<ValueId, &str>) -> Result<(), EditFault> {
    let is_start = |value: &ValueId| {
        let v = graph.value(*value);
        stops.contains_key(value) || (v.scope() == ScopeId::MAIN && v.origin() == Origin::Input)
    };
    // Forwards once, not backwards once for each output.
    let mut depends: FxHashSet<ValueId> = graph.values().filter(is_start).collect();
    for node in graph.schedule(ScopeId::MAIN) {
        let reads = |v: &ValueId| depends.contains(v);
        let does = graph.operands(node).flatten().any(|v| reads(&v))
            || (graph.node(node).bodies().next().is_some() && graph.captures(node).iter().any(reads));
        if does {
            depends.extend(graph.results(node).iter().flatten());
        }
    }
    match ends.iter().find(|e| !e.is_own && !depends.contains(&e.value)) {
        Some(end) => Err(EditFault::Constant { name: end.name.to_string() }),
        None => Ok(()),
    }
}

/// Whether a caller can make a value of this type.
fn is_told(ty: &Type) -> bool {
    match ty {
        Type::Unknown => false,
        Type::Tensor { dtype, .. } => dtype.is_some(),
        Type::Sequence(inner) | Type::Optional(inner) => is_told(inner),
        Type::Carried(_) => true,
    }
}

/// The model with all tensors as outputs that are an end of the cut.
fn whole(model: &Model, starts: &[(Arc<str>, ValueId)], ends: &[End]) -> Model {
    let mut whole = model.clone();
    let graph = &mut whole.graph;
    let starts = starts.iter().filter(|(_, value)| graph.value(*value).origin() != Origin::Input);
    let starts: Vec<End> = starts
        .map(|(name, value)| End {
            name: Arc::clone(name),
            value: *value,
            declared: Type::Unknown,
            carried: Carried::default(),
            is_own: false,
        })
        .collect();
    let ends = ends.iter().map(|e| End {
        name: Arc::clone(&e.name),
        declared: e.declared.clone(),
        carried: e.carried.clone(),
        ..*e
    });
    show(graph, starts.into_iter().chain(ends).collect());
    graph.remove_dead();
    whole
}

/// Make `ends` the outputs.
fn show(graph: &mut Graph, ends: Vec<End>) {
    while let Some(last) = graph.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
        graph.remove_output(ScopeId::MAIN, last);
    }
    for (index, end) in ends.into_iter().enumerate() {
        graph.add_output(ScopeId::MAIN, &end.name, end.value, end.declared);
        graph.output_mut(ScopeId::MAIN, index).carried = end.carried;
    }
}

/// Make each of `starts` an input that is none yet. Returns all of them as inputs.
fn begin(graph: &mut Graph, starts: &[(Arc<str>, ValueId)]) -> Vec<ValueId> {
    let mut inputs = Vec::with_capacity(starts.len());
    for (name, old) in starts {
        if graph.value(*old).origin() == Origin::Input {
            inputs.push(*old);
            continue;
        }
        let v = graph.value_mut(*old);
        v.name = Arc::default();
        let ty = std::mem::take(&mut v.ty);
        let new = graph.add_input(ScopeId::MAIN, name, Type::Unknown);
        // What a size was computed from is not there any more; its name can stay.
        graph.value_mut(new).ty =
            replaced(&ty, &|d| d.known().is_none() && d.name().is_none(), &|axis| new.measured(axis));
        while let Some(&user) = graph.value(*old).users().last() {
            graph.replace_use(user, new);
        }
        inputs.push(new);
    }
    inputs
}

/// Put the inputs in `order`, behind them what may be left out, and take away what nothing reads.
fn arrange(graph: &mut Graph, order: &[ValueId], keep_own: bool) {
    for index in (0..graph.scope(ScopeId::MAIN).inputs().len()).rev() {
        let input = graph.scope(ScopeId::MAIN).inputs()[index];
        if graph.value(input).users().is_empty() {
            graph.remove_input(ScopeId::MAIN, index);
        }
    }
    if !keep_own {
        let rank = |input: &ValueId| order.iter().position(|v| v == input).unwrap_or(order.len());
        graph.sort_inputs(ScopeId::MAIN, rank);
    }
}

fn describe(inputs: &[String], outputs: &[String]) -> String {
    match (inputs, outputs) {
        ([], outputs) => format!("cut to {}", outputs.join(", ")),
        (inputs, []) => format!("cut from {}", inputs.join(", ")),
        (inputs, outputs) => format!("cut from {} to {}", inputs.join(", "), outputs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Interface;
    use crate::text;

    fn model(graph: &str) -> Model {
        text::parse(&format!("<ir_version: 8, opset_import: [\"\" : 17]> {graph}")).unwrap()
    }

    const CHAIN: &str = "g (float[n,4] x, float[4] s) => (float[n,4] y, float[n,4] z) <float[4,4] w> {
        h = MatMul(x, w)
        g = Relu(h)
        y = Mul(g, s)
        z = Abs(h)
    }";

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_string()).collect()
    }

    /// The result's text, or what is said.
    fn cut_to(graph: &str, inputs: &[&str], outputs: &[&str]) -> Result<Model, String> {
        let mut model = model(graph);
        cut(&mut model, &names(inputs), &names(outputs)).map_err(|e| e.to_string())?;
        Ok(Model::from_bytes(model.to_bytes().unwrap(), &Default::default()).unwrap())
    }

    fn interface(model: &Model) -> String {
        let Interface { inputs, outputs } = Interface::of(&model.graph);
        let list = |ports: Vec<crate::interface::Port>| {
            ports.into_iter().map(|p| format!("{} {}", p.ty, p.name)).collect::<Vec<_>>().join(", ")
        };
        format!("{} => {}; {} nodes", list(inputs), list(outputs), model.graph.node_count())
    }

    #[test]
    fn what_lies_between_two_sets_of_tensors_is_left() {
        for (inputs, outputs, left) in [
            (vec![], vec!["z"], "float[n,4] x => float[n,4] z; 2 nodes"),
            (vec![], vec!["g"], "float[n,4] x => float[n,4] g; 2 nodes"),
            (vec!["h", "s"], vec![], "float[n,4] h, float[4] s => float[n,4] y, float[n,4] z; 3 nodes"),
            (vec!["s", "h"], vec!["y"], "float[4] s, float[n,4] h => float[n,4] y; 2 nodes"),
            (vec!["s,g"], vec!["y"], "float[4] s, float[n,4] g => float[n,4] y; 1 nodes"),
            (vec!["x"], vec!["z,g"], "float[n,4] x => float[n,4] z, float[n,4] g; 3 nodes"),
            (vec!["x", "w"], vec!["h"], "float[n,4] x, float[4,4] w => float[n,4] h; 1 nodes"),
        ] {
            assert_eq!(cut_to(CHAIN, &inputs, &outputs).map(|m| interface(&m)), Ok(left.into()));
        }
    }

    #[test]
    fn what_cannot_be_an_end_is_refused() {
        for (inputs, outputs, why) in [
            (vec![], vec!["q"], "the model has no tensor \"q\""),
            (vec!["hh"], vec![], "the model has no tensor \"hh\""),
            (vec!["h", "h"], vec![], "input \"h\" is asked for twice"),
            (vec![], vec!["y,y"], "output \"y\" is asked for twice"),
            (vec![], vec!["x"], "tensor \"x\" would be input and output of the model at once"),
            (vec![], vec!["w"], "output \"w\" depends on no input"),
            (vec!["h"], vec!["h"], "tensor \"h\" would be input and output of the model at once"),
            (vec!["h"], vec!["y"], "output \"y\" also depends on input \"s\""),
            (vec!["h", "s"], vec!["z"], "no output depends on input \"s\""),
            (vec!["h", "x"], vec!["z"], "no output depends on input \"x\" but through \"h\", which is an input too"),
            (vec!["z", "s"], vec!["y"], "no output depends on input \"z\""),
        ] {
            assert_eq!(cut_to(CHAIN, &inputs, &outputs).map(|m| interface(&m)), Err(why.into()));
        }
    }

    #[test]
    fn an_input_may_feed_an_output_directly_and_through_another_input() {
        let graph = "g (float[2] x) => (float[2] y) { h = Relu(x)  y = Add(h, x) }";
        let left = cut_to(graph, &["x", "h"], &[]).map(|m| interface(&m));
        assert_eq!(left, Ok("float[2] x, float[2] h => float[2] y; 1 nodes".into()));
    }

    #[test]
    fn an_output_that_depends_on_nothing_is_refused_unless_the_model_has_it() {
        let graph = "g (float[2] x) => (float[2] y, float[2] c) <float[2] w> { c = Relu(w)  d = Abs(c)  y = Neg(x) }";
        assert_eq!(cut_to(graph, &[], &["d"]).map(|m| interface(&m)), Err("output \"d\" depends on no input".into()));
        assert!(cut_to(graph, &[], &["c"]).is_ok());
    }

    #[test]
    fn tensors_of_bodies_stay_inside() {
        let graph = "g (bool c, float[2] x) => (float[2] y) {
            y = If (c) <then_branch = t () => (float[2] a) { a = Relu(x) },
                        else_branch = e () => (float[2] b) { b = Abs(x) }>
        }";
        assert_eq!(
            cut_to(graph, &["a"], &[]).map(|m| interface(&m)),
            Err("tensor \"a\" is inside If \"y\", and exists only while that runs".into())
        );
        // What a body reads is a use like any other.
        assert_eq!(
            cut_to(graph, &["c"], &["y"]).map(|m| interface(&m)),
            Err("output \"y\" also depends on input \"x\"".into())
        );
    }

    #[test]
    fn an_input_in_the_middle_of_a_body_s_captures_reaches_the_body() {
        let graph = "g (bool c, float[2] x) => (float[2] y) {
            h = Neg(x)
            y = If (c) <then_branch = t () => (float[2] a) { a = Relu(h) },
                        else_branch = e () => (float[2] b) { b = Abs(h) }>
        }";
        let left = cut_to(graph, &["h", "c"], &[]).unwrap();
        assert_eq!(interface(&left), "float[2] h, bool c => float[2] y; 3 nodes");
    }

    #[test]
    fn sequences_can_be_ends_and_what_has_no_type_cannot() {
        let graph = "g (float[2] x) => (float[2] y) <int64 i = {0}> {
            s = SequenceConstruct(x, x)
            y = SequenceAt(s, i)
        }";
        assert!(cut_to(graph, &["s"], &[]).is_ok());
        assert!(cut_to(graph, &[], &["s"]).is_ok());
        let custom = "<ir_version: 8, opset_import: [\"\" : 17, \"acme\" : 1]>
            g (float[2] x) => (float[2] y) { h = acme.Blur(x)  y = Relu(h) }";
        let mut m = text::parse(custom).unwrap();
        let fault = cut(&mut m, &names(&["h"]), &[]).unwrap_err();
        assert_eq!(fault, EditFault::Untyped { name: "h".into() });
    }

    #[test]
    fn inputs_with_a_default_stay_optional() {
        let text = "<ir_version: 8, opset_import: [\"\" : 17]>
            g (float[2] x, float[2] s = {1, 2}) => (float[2] y) { h = Relu(x)  y = Mul(h, s) }";
        let options = crate::onnx::ReadOptions { defaults: crate::onnx::Defaults::Overridable, ..Default::default() };
        let mut m = text::parse_with(text, &options).unwrap();
        cut(&mut m, &names(&["h"]), &[]).unwrap();
        let ports = Interface::of(&m.graph).inputs;
        let ports: Vec<_> = ports.iter().map(|p| (&*p.name, p.optional)).collect();
        assert_eq!(ports, [("h", false), ("s", true)]);
    }

    #[test]
    fn a_size_that_was_computed_is_open_in_the_part() {
        let graph = "g (float[n,3,h,8] x) => (float[] y) <float[4,3,3,3] w> {
            f = Conv <strides = [2, 2]> (x, w)
            y = Relu(f)
        }";
        let left = cut_to(graph, &["f"], &[]).unwrap();
        assert_eq!(Interface::of(&left.graph).inputs[0].ty, "float[n,4,?,3]");
    }

    #[cfg(feature = "tract")]
    #[test]
    fn a_part_computes_what_it_did_in_the_whole() {
        use crate::exec::{Plan, tract::Tract};
        let mut m = model(CHAIN);
        let claim = cut(&mut m, &names(&["h", "s"]), &[]).unwrap().claim.unwrap();
        let verdict = claim.confirm(&Tract, &Plan::default());
        let account = verdict.account().unwrap();
        assert!(verdict.is_same() && account.runs.len() == 2 && account.outputs.len() == 2, "{verdict:?}");
        // A part that is not what was cut out is found.
        let Claim::Part { whole, mut part } = claim else { panic!("another claim") };
        let relu = part.graph.nodes().find(|&n| part.graph.node(n).op == crate::ir::OpKind::Relu).unwrap();
        part.graph.node_mut(relu).op = crate::ir::OpKind::Neg;
        assert!(Claim::Part { whole, part }.confirm(&Tract, &Plan::default()).is_different());
    }
}
