//! Another batch size: the first size of every input that has it, and what exporters computed from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::free::{Free, free};
use super::{Claim, EditFault, Edited};
use crate::interface::{Size, TypeText, rename_sizes};
use crate::ir::{Atom, Graph, Int, ScopeId, Type, ValueId};
use crate::model::Model;
use crate::passes::infer_declared;

/// The batch that a model is to run on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its size, or the name of an open one.
    pub size: Size,
    /// The inputs whose first size it is; none for all whose first size is that of the first input that has one.
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
    let size = first_size(graph, first).ok_or(EditFault::NoBatch)?;
    let wanted = match &batch.size {
        Size::Number(n) => Int::from(*n),
        Size::Name(name) => Int::named(name.as_str()),
    };
    let Some(old) = size.known() else {
        check_free_name(graph, &batch.size, |d| inputs.iter().any(|&i| first_size(graph, i).as_ref() == Some(d)))?;
        let atoms = inputs.iter().filter_map(|&i| first_size(graph, i)?.as_atom().cloned());
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
    let axes = inputs.iter().map(|&input| (input, 0)).collect();
    let repairs = free(graph, &Free { axes, old, name: Arc::clone(&name) })?;
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
    let claim = Claim::Opened { original, opened: freed, size: name.to_string(), samples: true };
    Ok(Some(Edited { what, claim: Some(claim) }))
}

/// The inputs that have the batch as their first size.
fn carriers(graph: &Graph, named: &[String]) -> Result<Vec<ValueId>, EditFault> {
    let inputs = graph.scope(ScopeId::MAIN).inputs();
    if named.is_empty() {
        let mut common = None;
        let has_it = |&&input: &&ValueId| {
            let required = graph.value(input).default().is_none();
            let Some(size) = first_size(graph, input).filter(|_| required) else { return false };
            let common = common.get_or_insert_with(|| size.clone());
            // Open sizes without a name cannot be told apart.
            *common == size || (is_unnamed(common) && is_unnamed(&size))
        };
        return Ok(inputs.iter().filter(has_it).copied().collect());
    }
    let names: Vec<&str> = named.iter().flat_map(|n| n.split(',')).map(str::trim).collect();
    let mut found: Vec<ValueId> = Vec::with_capacity(names.len());
    for name in names {
        let Some(&input) = inputs.iter().find(|&&i| *graph.value(i).name == *name) else {
            let known = inputs.iter().map(|&i| format!("\"{}\"", graph.value(i).name)).collect();
            return Err(crate::interface::ShapeFault::NoInput { input: name.into(), known }.into());
        };
        let ty = || TypeText(&graph.value(input).ty).to_string();
        let Some(size) = first_size(graph, input) else {
            return Err(EditFault::Batchless { input: name.into(), ty: ty() });
        };
        if let Some(&first) = found.first()
            && let Some(other) = first_size(graph, first)
            && other.known() != size.known()
        {
            let other = graph.value(first).name.to_string();
            return Err(EditFault::Batches { input: name.into(), ty: ty(), other });
        }
        found.push(input);
    }
    Ok(found)
}

fn first_size(graph: &Graph, input: ValueId) -> Option<Int> {
    let Type::Tensor { shape, .. } = &graph.value(input).ty else { return None };
    shape.dims()?.first().cloned()
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
