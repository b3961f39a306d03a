//! What a file is that is not a model, and what of a model's file is not understood.

use super::error::Fault;

/// A fault that shows before anything is decoded.
pub(super) fn before(bytes: &[u8]) -> Option<Fault> {
    if bytes.is_empty() {
        return Some(Fault::Empty);
    }
    let foreign = |what, hint| Some(Fault::Foreign { what, hint });
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at_four = |magic: &[u8]| bytes.get(4..8) == Some(magic);
    if starts(b"version https://git-lfs") {
        return foreign("a Git LFS pointer", Some("run `git lfs pull` to fetch the file itself"));
    }
    if at_four(b"TFL3") {
        return foreign("a TensorFlow Lite model", Some("convert it with tf2onnx"));
    }
    if at_four(b"ORTM") {
        return foreign("a model in onnxruntime's own format", Some("use the .onnx file that it was made from"));
    }
    if starts(b"PK\x03\x04") {
        return foreign(
            "a ZIP archive (perhaps a PyTorch or Keras file)",
            Some("export the model to ONNX, for example with torch.onnx.export"),
        );
    }
    if starts(b"\x89HDF") {
        return foreign("an HDF5 file (perhaps a Keras model)", Some("convert it with tf2onnx"));
    }
    if starts(b"\x1f\x8b") {
        return foreign("a gzip archive", Some("unpack it first"));
    }
    if starts(b"\x93NUMPY") {
        return foreign("a NumPy array", None);
    }
    if starts(b"\x80\x02") || starts(b"\x80\x04") || starts(b"\x80\x05") {
        return foreign("a Python pickle", Some("export the model to ONNX, for example with torch.onnx.export"));
    }
    // A model begins with a control character, the key of one of its first fields.
    let head = &bytes[..bytes.len().min(256)];
    let printable = |b: &u8| (0x20..0x7f).contains(b) || matches!(b, b'\n' | b'\r' | b'\t');
    if head.iter().all(printable) {
        let trimmed = head.trim_ascii_start();
        if trimmed.starts_with(b"<") && trimmed.get(1).is_some_and(|c| matches!(c, b'!' | b'h' | b'H' | b'?')) {
            return foreign("a web page", Some("the download saved a page instead of the file"));
        }
        return foreign("a text file", None);
    }
    None
}

/// The fault behind a decoding error.
pub(super) fn after(bytes: &[u8], error: &prost::DecodeError) -> Fault {
    if let Some(missing) = missing_bytes(bytes) {
        return Fault::Truncated { missing };
    }
    let text = error.to_string();
    let text = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&text);
    // prost names the fields on the way to the trouble: `NodeProto.name: ModelProto.graph: what`.
    let (path, what) = text.rsplit_once(": ").unwrap_or(("", text));
    if text.contains("not UTF-8") {
        let field = path.split(": ").find(|p| p.contains('.')).unwrap_or("a text");
        return Fault::NotUtf8(field.to_string());
    }
    if text.contains("recursion limit") {
        return Fault::TooDeep(RECURSION_LIMIT);
    }
    Fault::Malformed(if path.is_empty() { what.to_string() } else { format!("{what} in {path}") })
}

/// Graphs that messages nested to prost's limit of 100 can hold: graph, node and attribute are one level each.
const RECURSION_LIMIT: usize = 33;

/// How many bytes the last outermost field claims beyond the end.
fn missing_bytes(mut bytes: &[u8]) -> Option<u64> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        if !(1..=26).contains(&(key >> 3)) {
            return None;
        }
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes)?,
            5 => 4,
            _ => return None,
        };
        let have = bytes.len() as u64;
        if length > have {
            return Some(length - have);
        }
        bytes = &bytes[usize::try_from(length).ok()?..];
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(bytes).ok()
}

/// Which fields of the file the format's messages do not have.
pub(super) fn unknown_fields(_bytes: &[u8]) -> Option<String> {
    None
}
