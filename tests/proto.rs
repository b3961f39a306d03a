//! `src/onnx/proto.rs` is what prost-build makes of `proto/onnx.proto`, and `src/onnx/fields.rs` lists its fields.
//!
//! `UPDATE_PROTO=1 cargo test --test proto` rewrites both.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

fn descriptors() -> FileDescriptorSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    protox::compile(["onnx.proto"], [folder]).expect("proto/onnx.proto is valid")
}

fn compare(file: &str, generated: &str) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_PROTO").is_some() {
        fs::write(&committed, generated).expect("the file is writable");
    }
    let current = fs::read_to_string(&committed).unwrap_or_default();
    assert!(current == generated, "{file} is not what proto/onnx.proto generates; run with UPDATE_PROTO=1");
}

#[test]
fn generated_code_is_current() {
    let out = tempfile::tempdir().expect("a temporary folder");
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(descriptors())
        .expect("prost-build accepts proto/onnx.proto");
    let generated = fs::read_to_string(out.path().join("onnx.rs")).expect("prost-build wrote onnx.rs");
    compare("src/onnx/proto.rs", &generated);
}

/// Messages by full name, those within others included.
fn messages(prefix: &str, message: &DescriptorProto, out: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{prefix}.{}", message.name());
    for nested in &message.nested_type {
        messages(&name, nested, out);
    }
    out.push((name, message.clone()));
}

#[test]
fn the_list_of_fields_is_current() {
    let mut all = Vec::new();
    for file in descriptors().file {
        for message in &file.message_type {
            messages(".onnx", message, &mut all);
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let index = |name: &str| all.iter().position(|(n, _)| n == name).expect("a field's message is in the file");
    let mut text = String::from(
        "//! The fields of every message: what reading does not drop. Generated from proto/onnx.proto by a test.\n\n\
         /// A message: its name, and its fields by number, with the place in the list of a field's own message.\n\
         pub(super) type Message = (&'static str, &'static [(u32, Option<usize>)]);\n\n",
    );
    let model = index(".onnx.ModelProto");
    writeln!(text, "/// The place of `ModelProto`.\npub(super) const MODEL: usize = {model};\n").unwrap();
    writeln!(text, "/// Every message, by name.\npub(super) static MESSAGES: [Message; {}] = [", all.len()).unwrap();
    for (name, message) in &all {
        let mut fields: Vec<(i32, Option<usize>)> = message
            .field
            .iter()
            .map(|f| (f.number(), (f.r#type() == Type::Message).then(|| index(f.type_name()))))
            .collect();
        fields.sort();
        let short = name.trim_start_matches(".onnx.");
        let fields: Vec<String> = fields.iter().map(|(number, message)| format!("({number}, {message:?})")).collect();
        writeln!(text, "    (\"{short}\", &[{}]),", fields.join(", ")).unwrap();
    }
    text.push_str("];\n");
    compare("src/onnx/fields.rs", &text);
}
