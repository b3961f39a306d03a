//! The sizes of inputs, as `--input-shape` gives them: open ones are fixed or named, and fixed ones that get a name are
//! opened.

use std::sync::Arc;

use super::free::{Free, free};
use super::{Claim, EditFault, Edited};
use crate::interface::{Size, fix_shapes};
use crate::ir::{ScopeId, ValueId};
use crate::model::Model;
use crate::passes::infer_declared;

/// Give inputs these sizes.
///
/// # Errors
/// When an input is not there or its type contradicts the sizes, or when a size cannot be opened.
pub(super) fn sizes(model: &mut Model, wanted: &[(String, Vec<Size>)]) -> Result<Vec<Edited>, EditFault> {
    let mut done = Vec::new();
    for Free { axes, old, name } in openings(model, wanted) {
        let original = model.clone();
        infer_declared(&mut model.graph);
        let repairs = free(&mut model.graph, &Free { axes, old, name: Arc::clone(&name) })?;
        let what = match repairs {
            0 => format!("size {old} opened as {name}"),
            1 => format!("size {old} opened as {name}, one baked-in size repaired"),
            n => format!("size {old} opened as {name}, {n} baked-in sizes repaired"),
        };
        let (opened, size) = (model.clone(), name.to_string());
        let claim = Claim::Opened { original, opened, size, samples: false, suspects: Vec::new() };
        done.push(Edited { what, claim: Some(claim) });
    }
    fix_shapes(&mut model.graph, wanted)?;
    Ok(done)
}

/// Numbers of the file that get a name: those of one name together, where they are one number.
fn openings(model: &Model, wanted: &[(String, Vec<Size>)]) -> Vec<Free> {
    let graph = &model.graph;
    let mut found: Vec<Free> = Vec::new();
    for (input, sizes) in wanted {
        let mut inputs = graph.scope(ScopeId::MAIN).inputs().iter().copied();
        let Some(id) = inputs.find(|&i| *graph.value(i).name == **input) else { continue };
        let dims = graph.value(id).ty.shape().dims().unwrap_or_default();
        if dims.len() != sizes.len() {
            continue;
        }
        for (axis, (dim, size)) in dims.iter().zip(sizes).enumerate() {
            let (Some(old), Size::Name(name)) = (dim.known(), size) else { continue };
            let at: (ValueId, usize) = (id, axis);
            match found.iter_mut().find(|f| *f.name == **name) {
                Some(free) if free.old == old => free.axes.push(at),
                // Two sizes under one name: what is left is refused with the shapes.
                Some(_) => {}
                None => found.push(Free { axes: vec![at], old, name: name.as_str().into() }),
            }
        }
    }
    found
}
