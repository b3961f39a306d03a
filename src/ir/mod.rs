//! The graph: nodes, values, their types and constants. It knows no operator facts and no file format.

mod absorb;
mod attr;
mod carried;
mod graph;
mod int;
mod op;
pub mod packed;
mod rounding;
mod tensor;
mod types;
mod verify;
mod visit;

pub use absorb::Moved;
pub use attr::{Attr, AttrValue, Key};
pub use carried::Carried;
pub use graph::{Graph, Node, NodeId, Origin, Output, Scope, ScopeId, User, Value, ValueId};
pub use int::{Atom, Int};
pub use op::OpKind;
pub(crate) use tensor::count;
pub use tensor::{Data, Dims, Element, Tensor, TensorError};
pub use types::{DType, Shape, Type};
pub use verify::{Defect, verify};
