//! What two files say around their graphs, in one.

use prost::Message;
use rustc_hash::FxHashMap;

use super::names;
use super::proto::{FunctionProto, ModelProto};
use crate::ir::{Graph, NodeId, OpKind};
use crate::model::{Model, OpsetImport};

/// Why two models cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// They follow two versions of a domain whose operators are not known.
    Domain(String, i64, i64),
    /// They define two functions of one name.
    Function(String),
    /// A node has the form of an older opset and no newer one.
    OldForm(String, i64),
}

impl Model {
    /// Take in what `other` says around its graph: opsets, functions, metadata. What this model says already stays.
    pub(crate) fn merge_around(&mut self, other: &Model) -> Result<(), Clash> {
        let opsets = (self.opset(), other.opset());
        if opsets.0 != opsets.1 {
            for (model, opset) in [(&*self, opsets.0), (other, opsets.1)] {
                if let Some(node) = verbatim(&model.graph) {
                    return Err(Clash::OldForm(model.graph.label(node), opset));
                }
            }
        }
        for import in &other.opset_imports {
            let same = |i: &&mut OpsetImport| names::domain(&i.domain) == names::domain(&import.domain);
            match self.opset_imports.iter_mut().find(same) {
                // Nodes of the default domain are in the newest spelling, whatever their file had.
                Some(mine) if import.is_default() => mine.version = mine.version.max(import.version),
                Some(mine) if mine.version != import.version => {
                    return Err(Clash::Domain(import.domain.clone(), mine.version, import.version));
                }
                Some(_) => {}
                None => self.opset_imports.push(import.clone()),
            }
        }
        self.merge_carried(other)?;
        self.ir_version = self.ir_version.max(other.ir_version);
        self.file_bytes = self.file_bytes.saturating_add(other.file_bytes);
        self.files.add(&other.files);
        for dtype in &other.numbers {
            if !self.numbers.contains(dtype) {
                self.numbers.push(*dtype);
            }
        }
        self.notes.extend(other.notes.iter().cloned());
        Ok(())
    }

    fn merge_carried(&mut self, other: &Model) -> Result<(), Clash> {
        // What was carried was encoded by the reader; a model that was built carries nothing.
        let decode = |model: &Model| ModelProto::decode(model.carried.clone()).unwrap_or_default();
        let (mut mine, theirs) = (decode(self), decode(other));
        let identity =
            |f: &FunctionProto| (names::domain(f.domain()).to_string(), f.name().to_string(), f.overload().to_string());
        let known: FxHashMap<_, _> = mine.functions.iter().map(|f| (identity(f), f.clone())).collect();
        for function in theirs.functions {
            match known.get(&identity(&function)) {
                Some(mine) if *mine != function => return Err(Clash::Function(function.name().to_string())),
                Some(_) => {}
                None => mine.functions.push(function),
            }
        }
        for entry in theirs.metadata_props {
            if !mine.metadata_props.iter().any(|e| e.key() == entry.key()) {
                mine.metadata_props.push(entry);
            }
        }
        let spelled: Vec<String> = mine.opset_import.iter().map(|i| i.domain().to_string()).collect();
        mine.opset_import.extend(theirs.opset_import.into_iter().filter(|i| !spelled.iter().any(|d| d == i.domain())));
        mine.training_info.clear();
        self.carried = mine.encode_to_vec().into();
        Ok(())
    }
}

/// A node of the default domain that is kept word for word.
fn verbatim(graph: &Graph) -> Option<NodeId> {
    graph.nodes().find(|&n| graph.node(n).op == OpKind::Custom && graph.node(n).domain().is_empty())
}
