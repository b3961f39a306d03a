//! Another batch size: the first size of every input that has it, and what exporters computed from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::free::{Free, free};
use super::{Claim, EditFault, Edited};
use crate::interface::{ShapeFault, Size, TypeText, rename_sizes};
use crate::ir::{Atom, Graph, Int, NodeId, OpKind, ScopeId, Type, ValueId};
use crate::model::Model;
use crate::passes::infer_declared;

/// The batch that a model is to run on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its size, or the name of an open one.
    pub size: Size,
    /// The inputs whose first size it is, or another of an input that is named with its axis: `state:1`. None for all
    /// whose first size is that of the first input that has one.
    pub inputs: Vec<String>,
}

/// Make `model` run on batches of another size.
///
/// A size that is open already becomes the number or takes the name. One that the file fixes is opened: see
/// [`free`]. Then the model must treat each sample of a batch by itself, which the claim says.
///
/// # Errors
/// When no input has the batch, when those that are named have several, or when the size cannot be opened.
pub(super) fn batch(model: &mut Model, batch: &Batch) -> Result<Option<Edited>, EditFault> {
    infer_declared(&mut model.graph);
    let graph = &mut model.graph;
    let inputs = carriers(graph, &batch.inputs)?;
    let Some(&first) = inputs.first() else { return Err(EditFault::NoBatch) };
    let size = size_of(graph, first).ok_or(EditFault::NoBatch)?;
    let wanted = match &batch.size {
        Size::Number(n) => Int::from(*n),
        Size::Name(name) => Int::named(name.as_str()),
    };
    let Some(old) = size.known() else {
        check_free_name(graph, &batch.size, |d| inputs.iter().any(|&i| size_of(graph, i).as_ref() == Some(d)))?;
        let atoms = inputs.iter().filter_map(|&i| size_of(graph, i)?.as_atom().cloned());
        let meaning: BTreeMap<Atom, Int> = atoms.map(|atom| (atom, wanted.clone())).collect();
        rename_sizes(graph, meaning);
        return Ok(None);
    };
    if wanted == size {
        return Ok(None);
    }
    check_free_name(graph, &batch.size, |_| false)?;
    let original = model.clone();
    let graph = &mut model.graph;
    let name: Arc<str> = match &batch.size {
        Size::Name(name) => name.as_str().into(),
        Size::Number(_) => unused_name(graph),
    };
    let repairs = free(graph, &Free { axes: inputs, old, name: Arc::clone(&name) })?;
    let freed = model.clone();
    if let Size::Number(_) = batch.size {
        let meaning = BTreeMap::from([(Atom::Named(Arc::clone(&name)), wanted)]);
        rename_sizes(&mut model.graph, meaning);
    }
    let what = match repairs {
        0 => format!("batch of {old} is {}", batch.size),
        1 => format!("batch of {old} is {}, one baked-in size repaired", batch.size),
        n => format!("batch of {old} is {}, {n} baked-in sizes repaired", batch.size),
    };
    let suspects = losses(&freed.graph, &name);
    let claim = Claim::Opened { original, opened: freed, size: name.to_string(), samples: true, suspects };
    Ok(Some(Edited { what, claim: Some(claim) }))
}

/// Nodes that read samples and whose results have none, the first few: where a model mixes them, it is likely there.
fn losses(graph: &Graph, size: &str) -> Vec<String> {
    let has_samples = |value: ValueId| {
        let ty = &graph.value(value).ty;
        let dims = ty.shape().dims().unwrap_or_default();
        let is_size = |atom: &Atom| matches!(atom, Atom::Named(name) if **name == *size);
        dims.iter().any(|d| d.mentions(&is_size))
    };
    let loses = |node: &NodeId| {
        let is_arithmetic = matches!(graph.node(*node).op, OpKind::Shape | OpKind::Size);
        let mut results = graph.results(*node).iter().flatten();
        !is_arithmetic
            && graph.operands(*node).flatten().any(has_samples)
            && results.all(|&v| graph.value(v).ty.shape().dims().is_some() && !has_samples(v))
    };
    let nodes = graph.schedule(ScopeId::MAIN).into_iter().filter(loses).take(3);
    nodes.map(|n| format!("{} \"{}\" reads samples and makes none", graph.node(n).op_name(), graph.label(n))).collect()
}

/// The inputs that have the batch, and the axis of each that counts its samples.
fn carriers(graph: &Graph, named: &[String]) -> Result<Vec<(ValueId, usize)>, EditFault> {
    let inputs = graph.scope(ScopeId::MAIN).inputs();
    if named.is_empty() {
        let mut common = None;
        let has_it = |&&input: &&ValueId| {
            let required = graph.value(input).default().is_none();
            let Some(size) = size_of(graph, (input, 0)).filter(|_| required) else { return false };
            let common = common.get_or_insert_with(|| size.clone());
            // Open sizes without a name cannot be told apart.
            *common == size || (is_unnamed(common) && is_unnamed(&size))
        };
        return Ok(inputs.iter().filter(has_it).map(|&input| (input, 0)).collect());
    }
    let by_name = |name: &str| inputs.iter().copied().find(|&i| *graph.value(i).name == *name);
    let mut found: Vec<(ValueId, usize)> = Vec::new();
    for name in named.iter().flat_map(|n| n.split(',')).map(str::trim) {
        // A name may hold colons itself.
        let with_axis = || {
            let (name, axis) = name.rsplit_once(':')?;
            Some((by_name(name)?, axis.parse::<usize>().ok()?))
        };
        let Some((input, axis)) = by_name(name).map(|input| (input, 0)).or_else(with_axis) else {
            let known = inputs.iter().map(|&i| format!("\"{}\"", graph.value(i).name)).collect();
            return Err(ShapeFault::NoInput { input: name.into(), known }.into());
        };
        let ty = || TypeText(&graph.value(input).ty).to_string();
        let Some(size) = size_of(graph, (input, axis)) else {
            return Err(EditFault::Batchless { input: name.into(), ty: ty(), axis });
        };
        if let Some(&first) = found.first()
            && size_of(graph, first).is_some_and(|other| other.known() != size.known())
        {
            let other = graph.value(first.0).name.to_string();
            return Err(EditFault::Batches { input: name.into(), ty: ty(), other });
        }
        found.push((input, axis));
    }
    Ok(found)
}

fn size_of(graph: &Graph, (input, axis): (ValueId, usize)) -> Option<Int> {
    let Type::Tensor { shape, .. } = &graph.value(input).ty else { return None };
    shape.dims()?.get(axis).cloned()
}

fn is_unnamed(size: &Int) -> bool {
    size.known().is_none() && size.name().is_none()
}

/// Whether the name asked for means no other size of an input; `is_own` tells the sizes that it is to replace.
fn check_free_name(graph: &Graph, size: &Size, is_own: impl Fn(&Int) -> bool) -> Result<(), EditFault> {
    let Size::Name(name) = size else { return Ok(()) };
    for &input in graph.scope(ScopeId::MAIN).inputs() {
        let dims = graph.value(input).ty.shape().dims().unwrap_or_default();
        if dims.iter().any(|d| d.name() == Some(name) && !is_own(d)) {
            return Err(EditFault::SizeTaken { name: name.clone(), input: graph.value(input).name.to_string() });
        }
    }
    Ok(())
}

/// A name that no size has.
fn unused_name(graph: &Graph) -> Arc<str> {
    let is_used = |name: &str| {
        graph.values().any(|v| {
            let dims = graph.value(v).ty.shape().dims().unwrap_or_default();
            dims.iter().any(|d| d.mentions(&|atom| matches!(atom, Atom::Named(n) if **n == *name)))
        })
    };
    let mut name = "batch".to_string();
    while is_used(&name) {
        name.push('_');
    }
    name.into()
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::{Plan, Verdict, tract::Tract};
    use crate::interface::Interface;
    use crate::text;

    fn model(graph: &str) -> Model {
        text::parse(&format!("<ir_version: 8, opset_import: [\"\" : 17]> {graph}")).unwrap()
    }

    fn asked(size: Size, inputs: &[&str]) -> Batch {
        Batch { size, inputs: inputs.iter().map(|i| (*i).to_string()).collect() }
    }

    /// What the model is and what a run says, or what is said.
    fn opened(graph: &str, inputs: &[&str]) -> Result<(Model, Verdict), String> {
        let mut m = model(graph);
        let done = batch(&mut m, &asked("batch".into(), inputs)).map_err(|e| e.to_string())?.unwrap();
        let verdict = done.claim.unwrap().confirm(&Tract, &Plan::default());
        // What is written is read again as it is.
        let written = Model::from_bytes(m.to_bytes().unwrap(), &Default::default()).unwrap();
        Ok((written, verdict))
    }

    fn types(model: &Model) -> String {
        let Interface { inputs, outputs } = Interface::of(&model.graph);
        let list = |ports: Vec<crate::interface::Port>| ports.into_iter().map(|p| p.ty).collect::<Vec<_>>().join(", ");
        format!("{} => {}", list(inputs), list(outputs))
    }

    #[track_caller]
    fn runs_on_any_batch(graph: &str, interface: &str) {
        let (model, verdict) = opened(graph, &[]).unwrap();
        assert!(verdict.is_same(), "{verdict:?}");
        assert_eq!(verdict.account().unwrap().runs.last().map(String::as_str), Some("two batches at once"));
        assert_eq!(types(&model), interface);
    }

    #[test]
    fn attention_exported_for_one_sample_runs_on_many() {
        runs_on_any_batch(
            "g (float[1,5,8] x) => (float[1,6,8] y)
            <float[1,1,8] token, float[1,6,8] positions, float[8,8] wq, float[8,8] wk, float[8,8] wv,
             int64[4] heads = {1, 6, 2, 4}, int64[3] flat = {1, 6, 8}> {
                t = Concat <axis = 1> (token, x)
                p = Add(t, positions)
                q0 = MatMul(p, wq)
                q1 = Reshape(q0, heads)
                q = Transpose <perm = [0, 2, 1, 3]> (q1)
                k0 = MatMul(p, wk)
                k1 = Reshape(k0, heads)
                k = Transpose <perm = [0, 2, 3, 1]> (k1)
                v0 = MatMul(p, wv)
                v1 = Reshape(v0, heads)
                v = Transpose <perm = [0, 2, 1, 3]> (v1)
                s = MatMul(q, k)
                a = Softmax(s)
                o = MatMul(a, v)
                o1 = Transpose <perm = [0, 2, 1, 3]> (o)
                y = Reshape(o1, flat)
            }",
            "float[batch,5,8] => float[batch,6,8]",
        );
    }

    #[test]
    fn sizes_within_flattened_heads_are_found() {
        // The sequence first and heads flattened into the batch, as torch.nn.MultiheadAttention does.
        runs_on_any_batch(
            "g (float[1,5,8] x) => (float[1,5,8] y)
            <int64[3] heads = {5, 2, 4}, int64[4] apart = {1, 2, 5, 4}, int64[2] rows = {5, 8}, int64[3] whole = {5, 1, 8},
             float[8,8] w> {
                t = Transpose <perm = [1, 0, 2]> (x)
                h = Reshape(t, heads)
                b = Transpose <perm = [1, 0, 2]> (h)
                r = Relu(b)
                a = Reshape(r, apart)
                c = Transpose <perm = [2, 0, 1, 3]> (a)
                f = Reshape(c, rows)
                g = Gemm(f, w)
                u = Reshape(g, whole)
                y = Transpose <perm = [1, 0, 2]> (u)
            }",
            "float[batch,5,8] => float[batch,5,8]",
        );
    }

    #[test]
    fn windows_and_shape_arithmetic_with_a_number_inside() {
        runs_on_any_batch(
            "g (float[1,4,6,3] x) => (float[1,4,6,3] y)
            <int64[6] parts = {1, 2, 2, 3, 2, 3}, int64[3] windows = {6, 4, 3}, int64[1] one = {1}, int64 i1 = {1}, int64 i2 = {2},
             int64 i3 = {3}, int64[1] zero = {0}> {
                s = Shape(x)
                p = Reshape(x, parts)
                t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (p)
                w = Reshape(t, windows)
                r = Relu(w)
                h0 = Gather(s, i1)
                w0 = Gather(s, i2)
                c0 = Gather(s, i3)
                h = Unsqueeze(h0, zero)
                k = Unsqueeze(w0, zero)
                c = Unsqueeze(c0, zero)
                to = Concat <axis = 0> (one, h, k, c)
                y = Reshape(r, to)
            }",
            "float[batch,4,6,3] => float[batch,4,6,3]",
        );
    }

    #[test]
    fn recurrent_states_and_constants_of_the_batch_s_size_are_expanded() {
        runs_on_any_batch(
            "g (float[1,3,2] x) => (float[] y)
            <float[1,16,2] w, float[1,16,4] r, float[1,1,4] h0> {
                t = Transpose <perm = [1, 0, 2]> (x)
                s, last, cell = LSTM <hidden_size = 4> (t, w, r, , , h0, h0)
                y = Transpose <perm = [2, 0, 1, 3]> (s)
            }",
            "float[batch,3,2] => float[batch,3,1,4]",
        );
        runs_on_any_batch(
            "g (float[2,3] x) => (float[2,3] y) <float[2,3] shift = {1, 2, 3, 1, 2, 3}> { y = Add(x, shift) }",
            "float[batch,3] => float[batch,3]",
        );
        runs_on_any_batch(
            "g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[0] roi, float[0] scales, int64[4] sizes = {1, 1, 4, 4}> {
                y = Resize <mode = \"nearest\"> (x, roi, scales, sizes)
            }",
            "float[batch,1,2,2] => float[batch,1,4,4]",
        );
    }

    #[test]
    fn a_model_that_mixes_samples_is_found() {
        for (graph, why) in [
            (
                "g (float[1,4] x) => (float[1,4] y) { m = ReduceMean <axes = [0]> (x)  y = Sub(x, m) }",
                "two batches at once",
            ),
            (
                "g (float[1,4] x) => (float[1,4] y) <int64[1] o = {1}, int64[1] z = {0}> { y = Slice(x, z, o, z) }",
                "no axis",
            ),
        ] {
            let (_, verdict) = opened(graph, &[]).unwrap();
            let said = crate::proof::differences(&verdict).join("\n");
            assert!(verdict.is_different() && said.contains(why), "{verdict:?}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused_by_name() {
        for (graph, why) in [
            (
                "g (float[2,6] x) => (float[3,4] y) <int64[2] to = {3, 4}> { y = Reshape(x, to) }",
                "size 2 cannot become \"batch\": Reshape \"y\" holds on to it, as it makes [3,4] of [batch,6]",
            ),
            (
                "g (float[2,3] x) => (float[2,4] y) <float[2,1] c = {1, 2}> { y = Concat <axis = 1> (x, c) }",
                "size 2 cannot become \"batch\": Concat \"y\" holds on to it, as operand 1 has 2 slices of its own",
            ),
            (
                "g (float[1,3] x) => (float[3] y) <int64[1] a = {0}> { y = Squeeze(x, a) }",
                "size 1 cannot become \"batch\": Squeeze \"y\" holds on to it, as it takes the axis of size batch away",
            ),
            (
                "g (float s) => (float y) { y = Relu(s) }",
                "no input has a batch: none is a tensor with at least one dimension",
            ),
            (
                "g (float[1,batch] x) => (float[1,batch] y) { y = Relu(x) }",
                "\"batch\" is the name of another size, of input \"x\"",
            ),
        ] {
            assert_eq!(opened(graph, &[]).map(|_| ()), Err(why.into()), "{graph}");
        }
    }

    #[test]
    fn inputs_with_the_batch_can_be_named_with_their_axis() {
        let graph = "g (float[1,3] x, float[2,1,3] state, float[1] scale) => (float[2,1,3] y)
            { a = Mul(x, scale)  y = Add(a, state) }";
        let (model, verdict) = opened(graph, &["x,state:1"]).unwrap();
        assert!(verdict.is_same(), "{verdict:?}");
        assert_eq!(types(&model), "float[batch,3], float[2,batch,3], float[1] => float[2,batch,3]");
        for (inputs, why) in [
            (["x,q"], "the model has no input \"q\"; its inputs are \"x\", \"state\", \"scale\""),
            (["x:2"], "input \"x:2\" is float[1,3], which has no dimension 2"),
            (["x,state"], "input \"state\" is float[2,1,3]: the size of its batch is not that of \"x\""),
        ] {
            assert_eq!(opened(graph, &inputs).map(|_| ()), Err(why.into()));
        }
    }

    #[test]
    fn a_batch_becomes_a_number_or_takes_a_name() {
        let graph = "g (float[1,6] x) => (float[1,2,3] y) <int64[3] to = {1, 2, 3}> { y = Reshape(x, to) }";
        let mut m = model(graph);
        let done = batch(&mut m, &asked(4.into(), &[])).unwrap().unwrap();
        assert_eq!(done.what, "batch of 1 is 4, one baked-in size repaired");
        assert!(done.claim.unwrap().confirm(&Tract, &Plan::default()).is_same());
        assert_eq!(types(&m), "float[4,6] => float[4,2,3]");
        let open = "g (float[n,6] x) => (float[n,6] y) { y = Relu(x) }";
        for (size, interface) in [(Size::from(4), "float[4,6] => float[4,6]"), ("b".into(), "float[b,6] => float[b,6]")]
        {
            let mut m = model(open);
            assert!(batch(&mut m, &asked(size, &[])).unwrap().is_none());
            assert_eq!(types(&m), interface);
        }
    }

    #[test]
    fn a_size_is_opened_inside_a_body_too() {
        runs_on_any_batch(
            "g (float[1,6] x) => (float[] y) <int64[3] to = {1, 2, 3}, float zero = {0}> {
                m = ReduceMax <keepdims = 0> (zero)
                c = Greater(m, zero)
                y = If (c) <then_branch = t () => (float[] a) { a = Reshape(x, to) },
                            else_branch = e () => (float[] b) { r = Relu(x)  b = Reshape(r, to) }>
            }",
            "float[batch,6] => float[batch,2,3]",
        );
    }
}
