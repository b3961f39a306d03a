//! Each node is spelled in the words of the opset that the file is written in.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::ir::{Attr, Graph, NodeId, Tensor, ValueId};

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
    /// The node word for word.
    fn verbatim(graph: &'g Graph, id: NodeId) -> Words<'g> {
        let node = graph.node(id);
        Words {
            op_type: node.op_name().into(),
            operands: graph.operands(id).map(|o| o.map_or(Operand::Absent, Operand::Value)).collect(),
            attrs: node.attrs().iter().map(|(name, attr)| (Cow::from(&**name), Cow::Borrowed(attr))).collect(),
        }
    }
}

/// The node in the words of `opset`. An error says why there are none.
pub(super) fn spell(graph: &Graph, id: NodeId, _opset: u32) -> Result<Words<'_>, String> {
    Ok(Words::verbatim(graph, id))
}
