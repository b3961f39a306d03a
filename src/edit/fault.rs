//! Why a model is not edited.

use crate::interface::ShapeFault;

/// Why a model is not edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditFault {
    /// An input cannot have the shape that was asked for.
    #[error(transparent)]
    Shape(#[from] ShapeFault),
    /// A name that no tensor has.
    #[error("the model has no tensor \"{name}\"")]
    NoTensor {
        /// The name.
        name: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A name that no node has.
    #[error("the model has no node \"{name}\"")]
    NoNode {
        /// The name.
        name: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A tensor of a body, which is made anew in each of its runs.
    #[error("tensor \"{name}\" is inside {node}, and exists only while that runs")]
    InBody {
        /// The tensor.
        name: String,
        /// The node with the body.
        node: String,
    },
    /// A name that is asked for twice.
    #[error("{what} \"{name}\" is asked for twice")]
    Twice {
        /// Input, output, tensor or node.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor that becomes an input without a type.
    #[error("tensor \"{name}\" cannot become an input: its type is not known")]
    Untyped {
        /// The tensor.
        name: String,
    },
    /// A tensor that is to be both ends of a model.
    #[error("tensor \"{name}\" would be input and output of the model at once")]
    BothEnds {
        /// The tensor.
        name: String,
    },
    /// An output that is known before the run.
    #[error("output \"{name}\" depends on no input")]
    Constant {
        /// The output.
        name: String,
    },
    /// An input that nothing asked for is computed from.
    #[error("no output depends on input \"{name}\"{}", behind.as_ref().map_or_else(String::new, |b| format!(" but through \"{b}\", which is an input too")))]
    Unneeded {
        /// The input.
        name: String,
        /// Another input, which stands between it and the outputs.
        behind: Option<String>,
    },
    /// An output that also needs an input that was not asked for.
    #[error("output \"{output}\" also depends on input \"{input}\"")]
    StillNeeds {
        /// The output.
        output: String,
        /// The input.
        input: String,
    },
    /// Something in the model holds on to a size that is to change.
    #[error("size {old} cannot become \"{size}\": {node} holds on to it, as {why}")]
    Fixed {
        /// The name of the open size.
        size: String,
        /// What it is in the file.
        old: i64,
        /// The node.
        node: String,
        /// What it does with the size.
        why: String,
    },
    /// No input has a first size.
    #[error("no input has a batch: none is a tensor with at least one dimension")]
    NoBatch,
    /// An input that is said to have a batch and has no such dimension.
    #[error("input \"{input}\" is {ty}, which has no dimension {axis}")]
    Batchless {
        /// The dimension.
        axis: usize,
        /// The input.
        input: String,
        /// Its type.
        ty: String,
    },
    /// Two inputs that are said to have one batch.
    #[error("input \"{input}\" is {ty}: the size of its batch is not that of \"{other}\"")]
    Batches {
        /// The input.
        input: String,
        /// Its type.
        ty: String,
        /// The other.
        other: String,
    },
    /// A name for a size that another size has.
    #[error("\"{name}\" is the name of another size, of input \"{input}\"")]
    SizeTaken {
        /// The name.
        name: String,
        /// An input that has it.
        input: String,
    },
    /// A value that does not fit the input that it is to be.
    #[error("\"{from}\" is {given}, input \"{to}\" is {taken}: {why}")]
    Mismatch {
        /// The value.
        from: String,
        /// Its type.
        given: String,
        /// The input.
        to: String,
        /// Its type.
        taken: String,
        /// What does not fit.
        why: String,
    },
    /// Two models of which nobody says how they are connected.
    #[error("it is not said which outputs are which inputs: outputs {}; inputs {}", outputs.join(", "), inputs.join(", "))]
    NoLink {
        /// The outputs of the first.
        outputs: Vec<String>,
        /// The inputs of the second.
        inputs: Vec<String>,
    },
    /// Two models that follow different rules.
    #[error("the two cannot be one model: {0}")]
    Clash(String),
    /// An input or output that is not what is to be done with it.
    #[error("{what} cannot be prepared so: {why}")]
    Unfit {
        /// The input or output.
        what: String,
        /// Why not.
        why: String,
    },
    /// It is not said of which input or output.
    #[error("{what} does not say which of {} it is for", known.join(", "))]
    WhichOne {
        /// The option.
        what: &'static str,
        /// The names there are.
        known: Vec<String>,
    },
    /// No such output.
    #[error("the model has no output \"{output}\"; its outputs are {}", known.join(", "))]
    NoOutput {
        /// The name asked for.
        output: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A new name that something else has.
    #[error("\"{old}\" cannot be called \"{new}\": another {what} has that name")]
    Taken {
        /// Tensor or node.
        what: &'static str,
        /// The old name.
        old: String,
        /// The new name.
        new: String,
    },
    /// A name that several nodes have.
    #[error("{count} nodes are called \"{name}\"")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
}

impl EditFault {
    /// What to try next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            EditFault::Shape(ShapeFault::Fixed { .. }) => {
                Some("a number that the file fixes is opened by a name: --input-shape x:batch,3,height,width".into())
            }
            EditFault::Shape(_) => Some("onnx-slim inspect MODEL lists the inputs".into()),
            EditFault::NoTensor { similar, .. } | EditFault::NoNode { similar, .. } => Some(match &similar[..] {
                [] => "onnx-slim optimize MODEL --no-check --dump-after infer-shapes prints them all".into(),
                similar => format!("did you mean {}?", similar.join(" or ")),
            }),
            EditFault::InBody { node, .. } => Some(format!("cut before or after {node}")),
            EditFault::StillNeeds { input, .. } => {
                Some(format!("add {input} to --inputs, or name the outputs to keep with --outputs"))
            }
            EditFault::Untyped { .. } => Some("cut at a tensor before or after it".into()),
            EditFault::Unneeded { .. } => Some("leave it out of --inputs, or add what it is for to --outputs".into()),
            EditFault::Fixed { .. } => Some("export the model again with that dimension open".into()),
            EditFault::SizeTaken { .. } => Some("give another name: --dynamic-batch=NAME".into()),
            EditFault::NoBatch | EditFault::Batchless { .. } | EditFault::Batches { .. } => {
                Some("--batch-inputs names the inputs that have the batch as their first dimension".into())
            }
            EditFault::NoLink { .. } => Some("--map OUTPUT=INPUT".into()),
            EditFault::Mismatch { .. } | EditFault::Clash(_) => None,
            EditFault::WhichOne { what, .. } => Some(format!("write {what} NAME:…")),
            EditFault::NoOutput { .. } => Some("onnx-slim inspect MODEL lists the outputs".into()),
            EditFault::Unfit { .. }
            | EditFault::Twice { .. }
            | EditFault::BothEnds { .. }
            | EditFault::Constant { .. }
            | EditFault::Taken { .. }
            | EditFault::Ambiguous { .. } => None,
        }
    }
}

/// An edit that does not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: the result does not compute what it should")]
pub struct Broken {
    /// The edit.
    pub what: String,
    /// Where and by how much it differs.
    pub differences: Vec<String>,
    /// Why that may be.
    pub why: &'static str,
}
