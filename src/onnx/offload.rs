//! Weights in a file of their own, each once, aligned so that a runtime can use them where they lie.

use bytes::{BufMut, Bytes};
use rustc_hash::FxHashMap;

use super::draft::Draft;
use super::proto::tensor_proto::DataLocation;
use super::proto::{StringStringEntryProto, TensorProto};
use super::sink::Sink;

/// Smaller tensors stay in the model: shape inference reads them there.
const MIN_BYTES: usize = 1024;

/// Where every tensor begins: a multiple of this.
const ALIGNMENT: u64 = 64;

/// Where a tensor of at least [`PAGED`] bytes begins: a multiple of this, so that it can be mapped alone.
const PAGE: u64 = 4096;

/// From this size on a tensor begins on a page.
const PAGED: usize = 1 << 20;

/// One tensor and where it begins.
pub(super) struct Offloaded {
    offset: u64,
    bytes: Bytes,
}

/// Replace the data of large initializers by references to `location`, and return the data.
///
/// Initializers that are one and the same in memory become one in the file.
pub(super) fn split(model: &mut Draft, location: &str) -> Vec<Offloaded> {
    let mut splitter = Splitter { location, end: 0, seen: FxHashMap::default(), parts: Vec::new() };
    model.each_initializer(&mut |tensor| splitter.tensor(tensor));
    splitter.parts
}

struct Splitter<'a> {
    location: &'a str,
    end: u64,
    /// Offsets by address and length.
    seen: FxHashMap<(usize, usize), u64>,
    parts: Vec<Offloaded>,
}

impl Splitter<'_> {
    fn tensor(&mut self, tensor: &mut TensorProto) {
        let Some(bytes) = tensor.raw_data.take_if(|raw| raw.len() >= MIN_BYTES) else { return };
        let length = bytes.len() as u64;
        let offset = *self.seen.entry((bytes.as_ptr().addr(), bytes.len())).or_insert_with(|| {
            let alignment = if bytes.len() >= PAGED { PAGE } else { ALIGNMENT };
            let offset = self.end.next_multiple_of(alignment);
            self.end = offset + length;
            self.parts.push(Offloaded { offset, bytes });
            offset
        });
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        tensor.data_location = Some(DataLocation::External.into());
        tensor.external_data = vec![
            entry("location", self.location.into()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }
}

/// Write the data, with zeros between the tensors.
pub(super) fn write(parts: &[Offloaded], sink: &mut Sink<'_>) {
    for part in parts {
        let gap = part.offset.saturating_sub(sink.position());
        sink.put_bytes(0, usize::try_from(gap).unwrap_or(0));
        sink.put(part.bytes.clone());
    }
}
