//! The sizes of inputs, as `--input-shape` gives them: open ones are fixed or named, and fixed ones that get a name are
//! opened.

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
pub(super) fn sizes(model: &mut Model, wanted: &[(String, Vec<Size>)]) -> Result<Option<Edited>, EditFault> {
    let openings = openings(model, wanted);
    if openings.is_empty() {
        fix_shapes(&mut model.graph, wanted)?;
        return Ok(None);
    }
    let original = model.clone();
    infer_declared(&mut model.graph);
    let (mut repairs, mut opened) = (0, Vec::with_capacity(openings.len()));
    for opening in openings {
        repairs += free(&mut model.graph, &opening)?;
        opened.push((opening.name, opening.old));
    }
    let repaired = match repairs {
        0 => String::new(),
        1 => ", one baked-in size repaired".into(),
        n => format!(", {n} baked-in sizes repaired"),
    };
    let list: Vec<String> = opened.iter().map(|(name, old)| format!("size {old} opened as {name}")).collect();
    let what = format!("{}{repaired}", list.join(", "));
    // Sizes are checked where they are what they were; which others make sense, nobody says.
    let size = opened.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
    let claim = Claim::Opened { original, opened: model.clone(), size, samples: false, suspects: Vec::new() };
    fix_shapes(&mut model.graph, wanted)?;
    Ok(Some(Edited { what, claim: Some(claim) }))
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
