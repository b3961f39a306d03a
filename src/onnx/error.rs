//! Why a model is not read or not written.

use std::io;
use std::path::PathBuf;

use crate::ir::TensorError;

/// A file that is not read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct ReadError {
    /// The path as the caller gave it; `<stdin>` or `<memory>` where there is none.
    pub file: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl ReadError {
    /// What to try next, when that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.fault {
            Fault::Foreign { hint, .. } => *hint,
            Fault::Truncated { .. } => Some("the download or copy was cut short: fetch the file again"),
            Fault::UnknownOpset { .. } => Some("re-export the model with an older opset"),
            Fault::NoImport => Some("add an opset_import for the default domain"),
            Fault::External { fault: ExternalFault::Missing(_), .. } => {
                Some("external data files must lie beside the model, under the names that it gives")
            }
            Fault::External { fault: ExternalFault::NoFolder, .. } => Some("pass the model by its path"),
            _ => None,
        }
    }
}

/// What is wrong with a file that should be a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Recognizably something else.
    #[error("this is {what}, not an ONNX model")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// How to get a model.
        hint: Option<&'static str>,
    },
    /// The outermost fields claim more bytes than there are.
    #[error("the file is cut short: {missing} bytes are missing at its end")]
    Truncated {
        /// How many.
        missing: u64,
    },
    /// Not the encoding that ONNX uses.
    #[error("this is not an ONNX model: {0}")]
    Malformed(String),
    /// A name or text is not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotUtf8(String),
    /// Bodies within bodies beyond reason.
    #[error("graphs are nested more than {0} deep")]
    TooDeep(usize),
    /// A model message without a graph.
    #[error("the model holds no graph")]
    NoGraph,
    /// An opset version that the operator table does not know.
    #[error("opset {version} of {domain} is not known (the newest known is {newest})")]
    UnknownOpset {
        /// The domain.
        domain: &'static str,
        /// The version that the file asks for.
        version: i64,
        /// The newest version that the table has.
        newest: i64,
    },
    /// Operators of the default domain are used without saying of which version.
    #[error("the model does not say which opset of ai.onnx it uses")]
    NoImport,
    /// A name that nothing defines.
    #[error("{at} reads \"{value}\", which nothing defines")]
    Undefined {
        /// Who reads it.
        at: String,
        /// The name.
        value: String,
    },
    /// One name for two values.
    #[error("{at} defines \"{value}\", which is already defined")]
    Redefined {
        /// The second one to define it.
        at: String,
        /// The name.
        value: String,
    },
    /// A graph input, output or initializer without a name.
    #[error("{at} has no name")]
    Unnamed {
        /// What.
        at: String,
    },
    /// Nodes that wait for each other.
    #[error("nodes wait for each other: {}", nodes.join(", "))]
    Cycle {
        /// Some of them.
        nodes: Vec<String>,
    },
    /// A tensor whose parts disagree.
    #[error("tensor \"{tensor}\"{}: {fault}", if at.is_empty() { String::new() } else { format!(" of {at}") })]
    Tensor {
        /// The node that holds it; empty for an initializer.
        at: String,
        /// The tensor's name.
        tensor: String,
        /// What disagrees.
        fault: TensorFault,
    },
    /// A tensor whose data in another file cannot be had.
    #[error("external data of tensor \"{tensor}\": {fault}")]
    External {
        /// The tensor's name.
        tensor: String,
        /// Why not.
        fault: ExternalFault,
    },
    /// An attribute that means nothing.
    #[error("{at}: attribute \"{attribute}\" {what}")]
    Attribute {
        /// The node.
        at: String,
        /// The attribute.
        attribute: String,
        /// Why.
        what: &'static str,
    },
    /// Two functions with one identity.
    #[error("function {0} is defined twice")]
    DuplicateFunction(String),
    /// A function that calls itself.
    #[error("function {0} calls itself")]
    RecursiveFunction(String),
    /// Functions within functions beyond reason.
    #[error("function {0} stands at the end of too long a chain of calls")]
    FunctionsTooDeep(String),
    /// A function whose calls make more nodes than a model can have.
    #[error("the calls of function {0} make too many nodes")]
    FunctionsTooLarge(String),
    /// A call with more operands or results than its function has.
    #[error("{at}: function {function} has {inputs} inputs and {outputs} outputs")]
    FunctionArity {
        /// The call.
        at: String,
        /// The function.
        function: String,
        /// Its inputs.
        inputs: usize,
        /// Its outputs.
        outputs: usize,
    },
    /// The graph is not well formed in a way that none of the above names.
    #[error("{0}")]
    Defect(crate::ir::Defect),
}

/// What disagrees within a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// The bytes encode no tensor.
    #[error("these bytes are no tensor")]
    NoTensor,
    /// A type number that ONNX does not define.
    #[error("element type {0} is not defined")]
    UnknownType(i32),
    /// A size below zero.
    #[error("dimension {0} is negative")]
    NegativeDimension(i64),
    /// A size beyond the address space.
    #[error("dimension {0} is too large")]
    LargeDimension(i64),
    /// Data of another length than type and dimensions ask for.
    #[error("{0}")]
    Data(#[from] TensorError),
    /// A slice of a larger tensor.
    #[error("segments of tensors are not supported")]
    Segment,
}

/// Why data in another file cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalFault {
    /// The model came from a stream.
    #[error("the model has no folder to look in")]
    NoFolder,
    /// No file is named.
    #[error("no location is given")]
    NoLocation,
    /// A path that leaves the model's folder.
    #[error("\"{0}\" is outside the model's folder")]
    Outside(String),
    /// There is no such file.
    #[error("\"{0}\" does not exist")]
    Missing(String),
    /// It cannot be opened.
    #[error("\"{file}\": {error}")]
    Io {
        /// The location.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// An offset or length that is not a number.
    #[error("{key} \"{value}\" is not a size in bytes")]
    Number {
        /// Offset or length.
        key: &'static str,
        /// The text.
        value: String,
    },
    /// The file ends before the tensor does.
    #[error("\"{file}\" has {size} bytes, the tensor takes bytes {offset} to {end}")]
    Short {
        /// The location.
        file: String,
        /// Its size.
        size: u64,
        /// Where the tensor begins.
        offset: u64,
        /// Where it would end.
        end: u64,
    },
}

/// A model that is not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The operating system says no.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The graph is not well formed. This is a defect of a pass, not of the input.
    #[error("the graph is not well formed: {0}")]
    Defect(crate::ir::Defect),
    /// A single file holds less than 2 GiB, and the rest has no place.
    #[error("the model takes {0} bytes and needs a file for its weights beside it, which a stream has not")]
    TooLarge(u64),
    /// Nodes that the opset has no words for.
    #[error("opset {opset} cannot express {}", nodes.join("; "))]
    Opset {
        /// The opset to be written.
        opset: i64,
        /// Each node and why.
        nodes: Vec<String>,
    },
    /// A tensor of one repeated element that is too large to be spelled out, in an opset without `ConstantOfShape`.
    #[error("{0} repeats one element too often to be written in this opset")]
    TooOften(String),
    /// Bytes that a pass carried do not decode any more.
    #[error("what is carried for {0} is damaged")]
    Carried(String),
}
