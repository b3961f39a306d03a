//! Models as text: the syntax of `onnx.parser`, for fixtures, golden files and reading.
//!
//! A text may give less than a file: without a header it is opset 21, and a weight that is declared without data is
//! filled from its name. What is printed shows every node and type, and every weight by its size and sum, so that a
//! changed model is a changed text.

mod declared;
mod fill;
mod lexer;
mod parse;
mod print;
mod spell;
mod tensors;
mod values;

pub use lexer::SyntaxError;

use prost::Message;

use crate::ir::DType;
use crate::model::Model;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::{ReadError, ReadOptions};

/// A text that is not a model.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It breaks the syntax.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It keeps the syntax, and a file with this content would not be read either.
    #[error("{}", .0.fault)]
    Model(Box<ReadError>),
}

impl From<ReadError> for TextError {
    fn from(error: ReadError) -> TextError {
        TextError::Model(Box::new(error))
    }
}

/// The model that `text` describes, read as a file with the same content is read.
///
/// # Errors
/// When the text breaks the syntax, naming the place, or when what it describes is not a well-formed model.
pub fn parse(text: &str) -> Result<Model, TextError> {
    parse_with(text, &ReadOptions::default())
}

/// As [`parse`], as `options` say.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, options: &ReadOptions) -> Result<Model, TextError> {
    let proto = parse::model(text)?;
    let mut model = Model::from_bytes(proto.encode_to_vec(), options)?;
    // There is no file, and the text is not what a file would take.
    model.file_bytes = 0;
    Ok(model)
}

/// The text of `model` as it would be written: names, opset spelling and order are those of the file.
///
/// Large weights are shown by size and sum, and documentation of nodes and values is left out, so the text is for
/// reading and comparing; [`Model::write`] keeps everything. A graph that is malformed has no text but the reason.
pub fn print(model: &Model) -> String {
    let mut marked = model.clone();
    if crate::ir::verify(&marked.graph).is_empty() {
        declared::mark(&mut marked.graph);
    }
    match marked.proto() {
        Ok(proto) => print::model(&proto),
        Err(why) => format!("# {why}\n"),
    }
}

/// What the syntax calls the types of attributes.
const ATTRIBUTE_TYPES: [(&str, AttributeType); 14] = [
    ("float", AttributeType::Float),
    ("int", AttributeType::Int),
    ("string", AttributeType::String),
    ("tensor", AttributeType::Tensor),
    ("graph", AttributeType::Graph),
    ("sparse_tensor", AttributeType::SparseTensor),
    ("type_proto", AttributeType::TypeProto),
    ("floats", AttributeType::Floats),
    ("ints", AttributeType::Ints),
    ("strings", AttributeType::Strings),
    ("tensors", AttributeType::Tensors),
    ("graphs", AttributeType::Graphs),
    ("sparse_tensors", AttributeType::SparseTensors),
    ("type_protos", AttributeType::TypeProtos),
];

/// Whether `word` begins a type, so that a value of this name needs quotes.
fn is_type_word(word: &str) -> bool {
    DType::from_name(word).is_some() || ["seq", "optional", "map", "sparse_tensor", "opaque"].contains(&word)
}

#[cfg(test)]
mod tests;
