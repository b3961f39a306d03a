//! What a file can say, asked before it is written.

use prost::Message;
use rustc_hash::FxHashSet;

use super::names;
use super::proto::ModelProto;
use super::spelling::{self, Operand};
use crate::ir::{Graph, NodeId};
use crate::model::Model;
use crate::ops::schema;

/// Whether `opset` has words for a node of a file of `read_opset`, and its operator takes operands of these types.
///
/// # Errors
/// The reason why not.
pub(crate) fn says(graph: &Graph, node: NodeId, opset: u32, read_opset: u32) -> Result<(), String> {
    let words = spelling::spell(graph, node, opset, read_opset)?;
    let domain = graph.node(node).domain();
    let name: &str = &words.op_type;
    let Some(spec) = schema::lookup(domain, name, opset).filter(|_| domain.is_empty()) else { return Ok(()) };
    for (slot, operand) in words.operands.iter().enumerate() {
        let Operand::Value(value) = operand else { continue };
        let Some(dtype) = graph.value(*value).ty.dtype() else { continue };
        if !spec.takes(slot, dtype.name()) {
            let later = schema::versions(domain, name).iter().find(|s| s.since > opset && s.takes(slot, dtype.name()));
            let since = later.map_or_else(String::new, |s| format!(", which begins with opset {}", s.since));
            return Err(format!("{name} does not take {}{since}", dtype.name()));
        }
    }
    Ok(())
}

/// Domain and name of the functions that the model defines and still calls.
pub(crate) fn function_names(model: &Model) -> FxHashSet<(String, String)> {
    let carried = ModelProto::decode(model.carried.clone()).unwrap_or_default();
    carried.functions.iter().map(|f| (names::domain(f.domain()).to_string(), f.name().to_string())).collect()
}
