//! What a file is that is not a model, and what of a model's file is not understood.

use std::collections::BTreeMap;

use super::error::Fault;
use super::fields::{MESSAGES, MODEL};

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

/// Which fields of a model's file the format's messages do not have. Reading drops them.
///
/// The file has been decoded, so messages nest no deeper than prost allows.
pub(super) fn unknown_fields(bytes: &[u8]) -> Option<String> {
    let mut found = BTreeMap::new();
    scan(bytes, MODEL, &mut found)?;
    let name = |((message, field), count): (&(&str, u64), &usize)| match count {
        1 => format!("{message} field {field}"),
        _ => format!("{message} field {field} ({count} times)"),
    };
    let list: Vec<String> = found.iter().take(8).map(name).collect();
    (!list.is_empty()).then(|| format!("fields that are not understood are dropped: {}", list.join(", ")))
}

/// `None` where the bytes do not read as fields.
fn scan(mut bytes: &[u8], message: usize, found: &mut BTreeMap<(&'static str, u64), usize>) -> Option<()> {
    let (name, fields) = MESSAGES.get(message)?;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = key >> 3;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        match fields.iter().find(|(number, _)| u64::from(*number) == field) {
            Some((_, Some(inner))) => scan(content, *inner, found)?,
            Some((_, None)) => {}
            None => *found.entry((*name, field)).or_default() += 1,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_named_with_their_message() {
        // A model with ir_version 8, field 99 of its own, and a graph with field 77 twice.
        let graph = [0xe8, 0x04, 1, 0xe8, 0x04, 2];
        let mut model = vec![0x08, 8, 0x98, 0x06, 1, 0x3a, u8::try_from(graph.len()).unwrap()];
        model.extend(graph);
        assert_eq!(
            unknown_fields(&model).unwrap(),
            "fields that are not understood are dropped: GraphProto field 77 (2 times), ModelProto field 99"
        );
        assert_eq!(unknown_fields(&[0x08, 8]), None);
    }

    #[test]
    fn files_of_other_kinds_are_recognized() {
        let what = |bytes: &[u8]| before(bytes).map(|fault| fault.to_string());
        assert_eq!(what(b""), Some("the file is empty".into()));
        assert_eq!(what(b"hello\n"), Some("this is a text file, not an ONNX model".into()));
        assert_eq!(what(b"<!DOCTYPE html><html>"), Some("this is a web page, not an ONNX model".into()));
        assert_eq!(
            what(b"version https://git-lfs.github.com/spec/v1\n"),
            Some("this is a Git LFS pointer, not an ONNX model".into())
        );
        assert_eq!(what(b"\x1c\0\0\0TFL3\0"), Some("this is a TensorFlow Lite model, not an ONNX model".into()));
        assert_eq!(what(b"\x08\x08"), None);
    }

    #[test]
    fn a_file_that_is_cut_short_says_by_how_much() {
        assert_eq!(missing_bytes(&[0x08, 8, 0x3a, 10, 0, 0]), Some(8));
        assert_eq!(missing_bytes(&[0x08, 8, 0x3a, 2, 0, 0]), None);
    }
}
