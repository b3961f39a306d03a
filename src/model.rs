//! A model: a graph with what the file says around it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ir::{DType, Graph};
use crate::mapped::Files;

/// The opset of a domain that a model's nodes follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsetImport {
    /// Empty for ai.onnx.
    pub domain: String,
    /// The opset number.
    pub version: i64,
}

impl OpsetImport {
    /// Whether this is of the default domain, ai.onnx.
    pub fn is_default(&self) -> bool {
        self.domain.is_empty() || self.domain == "ai.onnx"
    }
}

/// A model as read from a file: the graph in canonical spelling, and everything around it that is carried through.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The computation.
    pub graph: Graph,
    /// The file's IR version; on writing it is raised when the content needs a newer one.
    pub ir_version: i64,
    /// One entry per domain.
    pub opset_imports: Vec<OpsetImport>,
    /// What else the file says of the model (producer, documentation, metadata, functions that were not inlined,
    /// training, devices), in the file's own encoding of a ModelProto without the fields above.
    pub carried: Bytes,
    /// Bytes of the file that the model came from, external data included; 0 for a model that was built.
    pub file_bytes: u64,
    /// Nodes by operator as the file spells them, functions inlined. See [`Written::ops`](crate::onnx::Written::ops).
    pub ops: BTreeMap<String, usize>,
    /// What there is to say about the file: functions that were not inlined, fields that were not understood.
    pub notes: Vec<String>,
    /// Integer types that the file spells as lists of numbers, not raw bytes; so they are written where that is
    /// shorter.
    pub numbers: Vec<DType>,
    /// The mapped files that weights lie in.
    pub files: Files,
}

impl Model {
    /// The opset of the default domain that the nodes are written in.
    pub fn opset(&self) -> i64 {
        self.opset_imports.iter().find(|o| o.is_default()).map_or(1, |o| o.version)
    }

    /// Everything but the graph.
    pub(crate) fn without_graph(&self) -> Model {
        let Model { graph: _, ir_version, opset_imports, carried, file_bytes, ops, notes, numbers, files } = self;
        Model {
            graph: Graph::default(),
            ir_version: *ir_version,
            opset_imports: opset_imports.clone(),
            carried: carried.clone(),
            file_bytes: *file_bytes,
            ops: ops.clone(),
            notes: notes.clone(),
            numbers: numbers.clone(),
            files: files.clone(),
        }
    }

    /// Import each domain that a node is of and the file did not have, in its first version.
    pub fn import_domains(&mut self) {
        for node in self.graph.nodes() {
            let domain = self.graph.node(node).domain();
            if !domain.is_empty() && self.opset_imports.iter().all(|o| o.domain != domain) {
                self.opset_imports.push(OpsetImport { domain: domain.to_string(), version: 1 });
            }
        }
    }

    /// Have the nodes written in another opset of the default domain. A model that uses none stays without.
    pub fn set_opset(&mut self, version: i64) {
        if let Some(import) = self.opset_imports.iter_mut().find(|o| o.is_default()) {
            import.version = version;
        }
    }
}
