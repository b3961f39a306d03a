//! What a file says that the graph does not hold is carried along in the file's own encoding.

use std::sync::Arc;

use bytes::Bytes;

/// Encoded bytes; mostly none, so that is one word, and copies share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried(Option<Arc<Bytes>>);

impl Carried {
    /// Whether nothing is carried.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes, without a copy.
    pub fn bytes(&self) -> Bytes {
        self.0.as_deref().cloned().unwrap_or_default()
    }
}

impl From<Bytes> for Carried {
    fn from(bytes: Bytes) -> Carried {
        Carried((!bytes.is_empty()).then(|| Arc::new(bytes)))
    }
}

impl From<Vec<u8>> for Carried {
    fn from(bytes: Vec<u8>) -> Carried {
        Bytes::from(bytes).into()
    }
}
