//! What a file says of itself: who made it, and what was added for people.

use std::collections::BTreeMap;

use prost::Message;
use serde::Serialize;

use super::proto::ModelProto;
use crate::model::Model;

/// What a file says of itself. What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Documentation.
    pub doc: String,
    /// Keys and values of the user's own.
    pub metadata: BTreeMap<String, String>,
    /// Functions that the model defines and that are not inlined, as `domain.name`.
    pub functions: Vec<String>,
}

impl Model {
    /// What the file says of itself.
    pub fn about(&self) -> About {
        // What was carried was encoded by the reader; a model that was built carries nothing.
        let proto = ModelProto::decode(self.carried.clone()).unwrap_or_default();
        let functions = proto.functions.iter().map(|f| match f.domain() {
            "" => f.name().to_string(),
            domain => format!("{domain}.{}", f.name()),
        });
        About {
            producer: format!("{} {}", proto.producer_name(), proto.producer_version()).trim().to_string(),
            doc: proto.doc_string().to_string(),
            metadata: proto.metadata_props.iter().map(|e| (e.key().to_string(), e.value().to_string())).collect(),
            functions: functions.collect(),
        }
    }
}
