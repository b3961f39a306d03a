//! A model is decoded without the nodes and value descriptions of its main graph: decoded they take many times the
//! room of their encoding, so each is decoded when the graph comes to it, and dropped.

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{DecodeError, Message};

use super::error::Fault;
use super::proto::{GraphProto, ModelProto};
use super::recognize;

/// The fields whose messages stay encoded.
const GRAPH_OF_MODEL: u32 = 7;
const NODE_OF_GRAPH: u32 = 1;
const VALUE_INFO_OF_GRAPH: u32 = 13;

/// The main graph as the file has it: usually one message, though a file may give it in parts.
pub(super) struct Encoded {
    parts: Vec<Bytes>,
    /// The whole file.
    file: Bytes,
}

/// What a model's file holds.
pub(super) struct Decoded {
    /// Everything that is not in `rest`.
    pub(super) model: ModelProto,
    /// Nodes and value descriptions of the main graph that `model` lacks.
    pub(super) rest: Encoded,
    /// Whether `model` encodes to as many bytes as it was decoded from.
    pub(super) is_whole: bool,
}

/// Decode a model's file.
///
/// # Errors
/// When it is malformed outside the nodes and value descriptions of the main graph.
pub(super) fn decode(bytes: &Bytes) -> Result<Decoded, DecodeError> {
    // Functions are inlined in decoded messages. What does not read here is explained by the complete decoder.
    match sparingly(bytes) {
        Some(decoded) if decoded.model.functions.is_empty() => Ok(decoded),
        _ => whole(bytes),
    }
}

/// Decode a model's file with everything in it.
fn whole(bytes: &Bytes) -> Result<Decoded, DecodeError> {
    let model = ModelProto::decode(bytes.clone())?;
    let is_whole = model.encoded_len() == bytes.len();
    Ok(Decoded { model, rest: Encoded { parts: Vec::new(), file: bytes.clone() }, is_whole })
}

fn sparingly(bytes: &Bytes) -> Option<Decoded> {
    let mut model = ModelProto::default();
    let mut graph: Option<GraphProto> = None;
    let mut rest = Encoded { parts: Vec::new(), file: bytes.clone() };
    let mut taken = 0;
    for field in fields(bytes) {
        let field = field?;
        if field.number != GRAPH_OF_MODEL {
            taken += field.whole.len();
            model.merge(field.whole).ok()?;
            continue;
        }
        let graph = graph.get_or_insert_default();
        let part = field.content?;
        for field in fields(&part) {
            let field = field?;
            match field.number {
                NODE_OF_GRAPH | VALUE_INFO_OF_GRAPH => drop(field.content?),
                _ => {
                    taken += field.whole.len();
                    graph.merge(field.whole).ok()?;
                }
            }
        }
        rest.parts.push(part);
    }
    let is_whole = model.encoded_len() + graph.as_ref().map_or(0, Message::encoded_len) == taken;
    model.graph = graph;
    Some(Decoded { model, rest, is_whole })
}

impl Encoded {
    /// The nodes, in order, each a [`NodeProto`](super::proto::NodeProto).
    pub(super) fn nodes(&self) -> impl Iterator<Item = Bytes> {
        self.of(NODE_OF_GRAPH)
    }

    /// The descriptions of values, in order, each a [`ValueInfoProto`](super::proto::ValueInfoProto).
    pub(super) fn value_infos(&self) -> impl Iterator<Item = Bytes> {
        self.of(VALUE_INFO_OF_GRAPH)
    }

    fn of(&self, number: u32) -> impl Iterator<Item = Bytes> {
        let found = self.parts.iter().flat_map(fields).flatten().filter(move |f| f.number == number);
        found.filter_map(|f| f.content)
    }

    /// One of the messages.
    ///
    /// # Errors
    /// When it is malformed.
    pub(super) fn decode<M: Message + Default>(&self, message: &Bytes) -> Result<M, Fault> {
        M::decode(message.clone()).map_err(|error| {
            // The complete decoder knows the path to the trouble.
            recognize::after(&self.file, &whole(&self.file).err().unwrap_or(error))
        })
    }
}

/// One field of a message.
struct Field {
    number: u32,
    /// Key, length and content.
    whole: Bytes,
    /// What a field with a length holds.
    content: Option<Bytes>,
}

/// The fields of a message; a last `None` where the bytes do not read as fields.
fn fields(message: &Bytes) -> impl Iterator<Item = Option<Field>> + use<> {
    let mut left = message.clone();
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let field = field(&mut left);
        if field.is_none() {
            left.clear();
        }
        Some(field)
    })
}

fn field(left: &mut Bytes) -> Option<Field> {
    let mut at = &left[..];
    let (number, wire) = decode_key(&mut at).ok()?;
    let length = match wire {
        WireType::Varint => {
            decode_varint(&mut at).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut at).ok()?).ok()?,
        // The format has none.
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let head = left.len() - at.remaining();
    let end = head.checked_add(length).filter(|&end| end <= left.len())?;
    let whole = left.split_to(end);
    let content = (wire == WireType::LengthDelimited).then(|| whole.slice(head..));
    Some(Field { number, whole, content })
}
