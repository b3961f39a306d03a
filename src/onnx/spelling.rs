//! One spelling inside, the file's own outside.
//!
//! From opset to opset ONNX moved attributes to operands, renamed operators and gave some another meaning. In the
//! graph every operator of the table is spelled as the newest opset does: [`upgrade`] brings nodes there on the way
//! in, [`spell`] finds the words of the written opset on the way out. Each pair of rules stands in one place:
//!
//! * [`moves`]: attributes that became operands
//! * [`legacy`]: opsets below 8: broadcasting on request, training switches, type names
//! * [`resize`]: `Upsample` and the first `Resize`
//! * [`variants`]: what else a version changed about one operator
//!
//! A node that the newest opset cannot say becomes a custom operator of the default domain: rules leave it alone, and
//! it is written word for word.

mod legacy;
mod moves;
mod resize;
mod variants;

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ir::{Attr, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};
use crate::ops::schema::{self, ParamKind, Schema};
use crate::ops::{self, CallView};

/// From this opset on no upgrade asks for the type of an operand.
const TYPES_MATTER_BELOW: u32 = 13;

/// Why a node is left as the file has it.
struct Verbatim;

/// Bring every node that follows `opset` to the newest spelling.
pub(super) fn upgrade(graph: &mut Graph, opset: u32) {
    let mut pending = vec![ScopeId::MAIN];
    while let Some(scope) = pending.pop() {
        for node in graph.schedule(scope) {
            upgrade_node(graph, node, opset);
            if opset < TYPES_MATTER_BELOW {
                // What one node's types tell decides how the next is read.
                ops::infer_node(graph, node);
            }
            pending.extend(graph.node(node).bodies());
        }
    }
}

fn upgrade_node(graph: &mut Graph, id: NodeId, opset: u32) {
    let op = graph.node(id).op;
    if op == OpKind::Custom || is_newest(op, opset) {
        return;
    }
    // Refusals come before any change, so that what is refused is still word for word.
    let upgraded = variants::upgrade_is_faithful(graph, id, opset)
        .and_then(|()| moves::plan(graph, id, opset))
        .and_then(|moved| {
            legacy::upgrade(graph, id, opset)?;
            resize::upgrade(graph, id, opset)?;
            moves::apply(graph, id, moved);
            variants::upgrade(graph, id, opset);
            Ok(())
        });
    if upgraded.is_err() {
        let name = graph.node(id).op.name().to_string();
        let node = graph.node_mut(id);
        (node.op, node.custom) = (OpKind::Custom, Some(Arc::new((String::new(), name))));
    }
}

/// Whether nothing about the operator changed after `opset`.
fn is_newest(op: OpKind, opset: u32) -> bool {
    schema::newest("", op.name()).is_some_and(|s| s.since <= opset && !s.deprecated)
}

/// One operand of a node as it is written.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Left out.
    Absent,
    /// A value of the graph.
    Value(ValueId),
    /// A constant that only the written form has.
    New(Tensor),
}

/// A node as it is written.
pub(super) struct Words<'g> {
    pub(super) op_type: Cow<'g, str>,
    pub(super) operands: SmallVec<[Operand; 4]>,
    pub(super) attrs: Vec<(Cow<'g, str>, Cow<'g, Attr>)>,
}

impl<'g> Words<'g> {
    /// The node as the graph has it.
    fn of(graph: &'g Graph, id: NodeId) -> Words<'g> {
        let node = graph.node(id);
        Words {
            op_type: node.op_name().into(),
            operands: graph.operands(id).map(|o| o.map_or(Operand::Absent, Operand::Value)).collect(),
            attrs: node.attrs().iter().map(|(name, attr)| (Cow::from(&**name), Cow::Borrowed(attr))).collect(),
        }
    }

    fn attr(&self, name: &str) -> Option<&Attr> {
        self.attrs.iter().find(|(n, _)| n == name).map(|(_, a)| &**a)
    }

    fn set(&mut self, name: &'static str, attr: Attr) {
        match self.attrs.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = Cow::Owned(attr),
            None => self.attrs.push((name.into(), Cow::Owned(attr))),
        }
    }

    fn drop(&mut self, name: &str) {
        self.attrs.retain(|(n, _)| n != name);
    }

    fn has_operand(&self, slot: usize) -> bool {
        !matches!(self.operands.get(slot), None | Some(Operand::Absent))
    }

    fn truncate(&mut self, count: usize) {
        self.operands.truncate(count);
    }
}

/// The node in the words of `opset`. An error says why there are none.
///
/// A custom operator of the default domain is a node that `read_opset` spells in a way of its own; it can only be
/// written where that still holds.
pub(super) fn spell(graph: &Graph, id: NodeId, opset: u32, read_opset: u32) -> Result<Words<'_>, String> {
    let node = graph.node(id);
    let mut words = Words::of(graph, id);
    if node.op == OpKind::Custom {
        if node.domain().is_empty() && opset != read_opset {
            let [then, now] = [read_opset, opset].map(|v| schema::lookup("", node.op_name(), v).map(|s| s.since));
            if then != now {
                return Err(format!("its form is that of opset {read_opset}"));
            }
        }
        return Ok(words);
    }
    if is_newest(node.op, opset) {
        return Ok(words);
    }
    let call = CallView::new(graph, id);
    variants::spell(&call, &mut words, opset)?;
    resize::spell(&call, &mut words, opset)?;
    moves::spell(&call, &mut words, opset)?;
    legacy::spell(&call, &mut words, opset)?;
    fit(&mut words, opset)?;
    Ok(words)
}

/// Check the words against the version in force, and leave out what says nothing new.
fn fit(words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    let first = || schema::versions("", &words.op_type).first().map_or(0, |s| s.since);
    let Some(spec) = schema::lookup("", &words.op_type, opset) else {
        return Err(format!("{} begins with opset {}", words.op_type, first()));
    };
    if spec.deprecated {
        return Err(format!("{} ended with opset {}", words.op_type, spec.since));
    }
    let versions = schema::versions("", &words.op_type);
    let mut refused = None;
    words.attrs.retain(|(name, attr)| {
        if spec.attr(name).is_some() {
            return true;
        }
        // An attribute of another version says nothing when it has its default there; one of no version is the
        // file's own affair.
        let Some(other) = versions.iter().rev().find_map(|s| s.attr(name).map(|a| (s, a))) else { return true };
        let (version, known) = other;
        if version.since < spec.since || is_default(attr, known.default) {
            return false;
        }
        refused = Some(format!("{name} begins with opset {}", since(versions, |s| s.attr(name).is_some())));
        true
    });
    if let Some(refused) = refused {
        return Err(refused);
    }
    while words.operands.len() > usize::from(spec.max_inputs) {
        if let Some(Operand::Value(_) | Operand::New(_)) = words.operands.pop() {
            let slot = words.operands.len();
            let name = versions.last().and_then(|s| s.input(slot)).map_or("an operand", |p| p.name);
            return Err(format!("{name} begins with opset {}", since(versions, |s| usize::from(s.max_inputs) > slot)));
        }
    }
    for (slot, param) in spec.inputs.iter().enumerate() {
        let later = versions.last().and_then(|s| s.input(slot));
        let became_optional = later.is_some_and(|p| p.kind == ParamKind::Optional);
        if param.kind == ParamKind::Single && became_optional && !words.has_operand(slot) {
            return Err(format!("{} may not be left out", param.name));
        }
    }
    Ok(())
}

/// The first version of which something holds.
fn since(versions: &[Schema], holds: impl Fn(&Schema) -> bool) -> u32 {
    versions.iter().find(|s| holds(s)).map_or(0, |s| s.since)
}

fn is_default(attr: &Attr, default: schema::Default) -> bool {
    match (attr, default) {
        (Attr::Int(a), schema::Default::Int(b)) => *a == b,
        (Attr::Float(a), schema::Default::Float(b)) => a.to_bits() == b.to_bits(),
        (Attr::Str(a), schema::Default::Str(b)) => a.as_ref() == b.as_bytes(),
        (Attr::Ints(a), schema::Default::Ints(b)) => a == b,
        (Attr::Floats(a), schema::Default::Floats(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
