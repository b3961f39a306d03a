//! Whole-graph steps that no local pattern can say, and the order in which everything runs.

mod flatten_rows;
mod fold_constants;
mod fold_shapes;
pub mod infer_shapes;
mod inline_control;
mod lower;
mod merge_duplicates;
mod narrow_types;
pub mod pipeline;
mod place_transposes;
mod remove_dead;
mod retype;
mod simplify;
mod specialize;
mod spell_out;
mod widen_types;

use crate::ir::{DType, Defect, Graph, OpKind, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Fuel, Growth, Limits, Settings, Step, Unsettled};

pub use flatten_rows::FlattenRows;
pub use fold_constants::FoldConstants;
pub use fold_shapes::FoldShapes;
pub(crate) use fold_shapes::known_tensor;
pub use infer_shapes::{InferShapes, infer_declared, infer_shapes};
pub use inline_control::InlineControl;
pub use lower::Lower;
pub use merge_duplicates::MergeDuplicates;
pub use narrow_types::NarrowTypes;
pub use pipeline::Pipeline;
pub use place_transposes::PlaceTransposes;
pub use remove_dead::RemoveDead;
pub use simplify::Simplify;
pub use specialize::Specialize;
pub use spell_out::SpellOut;
pub use widen_types::{WidenTypes, Widens};

/// What a pass needs to know of the run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The opset of the default domain that the result will be written in.
    pub opset: i64,
    /// Operators that no rule may bring in.
    pub avoids: &'a [OpKind],
    /// Operators of [`CONTRIB`](crate::rewrite::CONTRIB) that rules may bring in.
    pub contrib: &'a [&'static str],
    /// Calls that cannot be run: no rule may bring one in, and those that are there are said in other words.
    pub limits: Limits<'a>,
    /// Element types that values within the model are computed in another type instead: from, to.
    pub narrows: &'a [(DType, DType)],
    /// What of half precision is computed in single precision.
    pub widens: Widens,
    /// What each edit is paid from.
    pub fuel: &'a Fuel,
    /// Whether a rule or action of this name may fire.
    pub enabled: &'a dyn Fn(&str) -> bool,
    /// Bytes by which edits may make the file larger in all, beyond what dies with what they replace.
    pub growth: &'a Growth,
    /// Computes calls that the exact kernels lack.
    pub engine: Option<&'a Engine>,
}

/// Computes the results of a call from its operands, by slot; `None` when it cannot, or when they would take more than
/// the given number of bytes.
pub type Engine = dyn Fn(&CallView<'_>, &[Option<Tensor>], usize) -> Option<Vec<Tensor>> + Sync;

impl<'a> Context<'a> {
    /// For a runtime that runs whatever `opset` has, and nothing else; everything may fire.
    pub fn new(opset: i64, fuel: &'a Fuel, growth: &'a Growth) -> Context<'a> {
        Context {
            opset,
            avoids: &[],
            contrib: &[],
            limits: Limits::NONE,
            narrows: &[],
            widens: Widens::Nothing,
            fuel,
            enabled: &|_| true,
            growth,
            engine: None,
        }
    }

    /// What the rewriting engine needs of this.
    pub fn settings(&self) -> Settings<'a> {
        let Context { opset, avoids, contrib, limits, fuel, growth, .. } = *self;
        Settings { opset, avoids, contrib, limits, fuel, growth }
    }
}

/// Why a pass could not finish. Always a defect of onnx-slim: a model that cannot be handled is declined instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Rules fire on each other's results without end.
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    /// The graph is malformed after the pass.
    #[error("the graph is malformed: {}", .0.iter().map(Defect::to_string).collect::<Vec<_>>().join("; "))]
    Malformed(Vec<Defect>),
}

/// A step over the whole graph.
pub trait Pass: Send + Sync {
    /// Kebab-case, verb first: what `--disable`, `--dump-after` and the report call it.
    fn name(&self) -> &'static str;

    /// What the pass does, in a sentence or a few: the text of `explain`.
    fn doc(&self) -> &'static str;

    /// In how many rounds of a group it takes part: a pass that could go on improving for long leaves the rest as it is.
    fn rounds(&self) -> usize {
        usize::MAX
    }

    /// Names within the pass that `enabled` is asked about by themselves: its rules.
    fn parts(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Edit `graph` and say what changed. Running twice changes nothing the second time.
    ///
    /// # Errors
    /// Only for defects of the pass itself.
    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault>;
}
