//! How a runtime wants its integers: which operators get them, of which type, where they begin and end.
//!
//! A policy is a TOML file. Those of the targets that the tool knows lie in `src/target/policies`; a user's own has the
//! same form and says what differs from the one that it extends:
//!
//! ```toml
//! name = "my-npu"
//! extends = "onnxruntime"          # what is not said here is as there; its rows come after these
//! keeps_axes = false               # true: rows of several axes are not flattened: of two, integers are made slowly
//!
//! [types.activation]               # integer types, by any name; rows list those that they take, best first
//! dtype = "int8"                   # int8, uint8, int16, uint16
//! symmetric = true                 # zero is the middle of the integers
//!
//! [weights]
//! dtype = "int8"
//! form = "integers"                # integers and DequantizeLinear; "float": the weight as it was, quantized in the file
//! per_channel = true               # a scale for each output channel
//! bias = "float"                   # as it was; "int32": with the product of both scales
//! repeated = false                 # true: of a weight that repeats one number, a ConstantOfShape repeats the integer
//!
//! [[op]]                           # the first row that names an operator and whose conditions hold is the one
//! rule = "NPU-1"                   # what reports call it
//! ops = ["Conv"]
//! role = "leads"                   # leads: is why there are integers; follows: takes them where neighbours have
//!                                  # them; passes: moves or picks numbers, so its result has its operand's scale
//! when = { group = "one", in_at_least = 8 }
//! operands = [0]                   # slots, "all", or "skip": of a residual sum, the operand that went around
//! types = ["activation"]
//! operand_types = { 1 = ["other"] }  # of operands that take others
//! even = "other"                   # the symmetric one among them that it takes less for, where ranges are even
//! near = false                     # true: pairs of operands stand right before it, behind Split, Transpose and such;
//!                                  # of one that passes: before it, too, as it is taken into what reads it
//! output = "required"              # required: the result gets integers whoever reads it; if-read: where an integer
//!                                  # reader wants them; never
//!
//! [[op]]
//! rule = "NPU-2"
//! ops = ["Add"]
//! role = "follows"
//! needs = "operands"               # operands, readers, both, either: who has to have integers already
//! constants = true                 # constant operands get integers too
//! output = "required"
//!
//! [[op]]
//! rule = "NPU-3"
//! ops = ["Concat"]
//! role = "passes"
//! operands = "all"
//! pairs = "both"                   # "one": the runtime moves integers past it by itself
//! shares = true                    # one scale for all operands and the result
//!
//! [[op]]
//! rule = "NPU-4"
//! ops = ["Softmax"]
//! role = "follows"
//! output = "required"
//! scale = 0.00390625               # what the kernel insists on
//! zero_point = -128
//!
//! [[fuse]]                         # taken into the operator before it: integers come after both
//! rule = "NPU-5"
//! ops = ["Relu"]
//!
//! [[real]]                         # no integers are made of the result, though the call may compute in integers
//! rule = "NPU-6"
//! ops = ["Conv"]
//! when = { first_layer = true }
//! sized = true                     # only in models that ask for the size of something while they run
//! through = ["Relu", "Transpose"]  # what these make of such a result, with constants, is one too
//! why = "the NPU writes it in 16 bits"
//!
//! [[never]]
//! rule = "NPU-7"
//! ops = ["LayerNormalization"]     # or pattern = "gelu", …
//! why = "it is computed in 16 bits"
//!
//! [borders]                        # with rows of costs: integers stay where they pay
//! rule = "NPU-8"
//! quantize = { call = 800, element = 0.13 }      # nanoseconds: for each, and for each element of the tensor
//! dequantize = { call = 700, element = 0.16 }
//! products = { element = 0.12 }   # instead of quantize, of what Gemm and MatMul alone read
//! layout = { element = 0.1 }       # more than that, for tensors of four dimensions
//! half = { call = 800, element = 0.2 }   # more than float32, of a layer in halves
//! fused_behind = ["Conv"]          # these make integers or real numbers of their result at no cost
//! counts_near = false              # true: costs count what makes integers of operands whose pairs stand near
//! converts = ["Conv"]              # in real numbers between integers the runtime gives these integers of its own
//!
//! [[cost]]                         # the first row that speaks of a call is the one; what has none costs nothing
//! rule = "NPU-9"
//! ops = ["Conv"]
//! when = { group = "depthwise" }
//! behind = ["Conv"]                # an operand is the result of one of these
//! float = { call = 1500, mac = 0.017, element = 0.04, position = 12, weight = 0.18 }
//! int8 = { call = 1200, mac = 0.0044 }
//! real_out = { call = 1300, mac = 0.0044 }       # with a real result, where that is not int8 and a DequantizeLinear
//! unfused = { element = 0.1 }      # what real numbers take more when the operator before them has integers
//! entered = { element = 0.1 }      # what integers take more when the operator before them has none
//! ```
//!
//! `extends` names a target of the tool; also what it can run of ONNX is taken from there. A row with `ops` that is
//! marked `role = "float"` ends the search for a row without one: the operators stay as they are.
//!
//! Costs are counted in what a call is made of: `mac` for multiply-accumulates, `element` for the elements of computed
//! operands and results, `position` for the places of a convolution's result in each of its groups (depthwise is one),
//! `weight` for the elements of the weight, `call` for what it takes whatever its size. A policy without `[borders]`
//! has no say in what pays: there the conditions of its rows decide alone.

mod condition;
mod cost;
mod read;
mod row;
mod tables;

pub use condition::{Condition, Groups, Kernel};
pub use cost::{Borders, Cost, Size, Time};
pub use read::PolicyError;
pub use row::{
    BiasForm, Fuse, IntegerType, Needs, Never, Operands, Output, Pairs, Pattern, Real, Role, Row, Types, WeightForm,
    Weights,
};

use std::path::Path;

use crate::ir::OpKind;
use crate::target::{self, Profile};

/// How a runtime wants its integers.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What it is called.
    pub name: String,
    /// The integer types that rows speak of.
    pub types: Vec<IntegerType>,
    /// How weights are written.
    pub weights: Weights,
    /// Whether rows of several axes stay such, and products with them no `Gemm`.
    pub keeps_axes: bool,
    /// What operators get. The first row that fits is the one.
    pub rows: Vec<Row>,
    /// What is taken into the operator before it.
    pub fuses: Vec<Fuse>,
    /// Results that no integers are made of.
    pub reals: Vec<Real>,
    /// What stays in real numbers.
    pub nevers: Vec<Never>,
    /// What operators take. The first row that speaks of a call is the one.
    pub costs: Vec<Cost>,
    /// What integers take where they begin and end; `None` where nothing is known of costs.
    pub borders: Option<Borders>,
}

/// A runtime: what it can run, and how it wants its integers.
#[derive(Clone)]
pub struct Target {
    /// What it can run.
    pub profile: &'static Profile,
    /// How it wants its integers.
    pub policy: Policy,
}

impl Target {
    /// The target that `text` names, or describes: a name of [`target::ALL`], or the path of a file that ends in
    /// `.toml`.
    ///
    /// # Errors
    /// For a name that there is not, and a file that cannot be read or is no policy.
    pub fn open(text: &str) -> Result<Target, PolicyError> {
        if let Some(profile) = target::by_name(text) {
            return Ok(Target { profile, policy: Policy::of(profile) });
        }
        if !is_file(text) {
            let similar = crate::similar::similar(text, target::ALL.iter().map(|t| t.name));
            return Err(PolicyError::no_target(text, &similar));
        }
        read::file(Path::new(text))
    }
}

/// Whether `--target` means a file by it.
pub fn is_file(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

impl Policy {
    /// The policy of a target of the tool.
    pub fn of(profile: &Profile) -> Policy {
        let file = format!("policies/{}.toml", profile.name.split(':').next().unwrap_or_default());
        read::built_in(&file, profile.policy).expect("a test reads every policy of the tool")
    }

    /// The policy that `text` is; `file` is what errors call it.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(file: &str, text: &str) -> Result<Target, PolicyError> {
        read::parse(file, text)
    }

    /// The rows for calls of `op`, first to last.
    pub fn rows_for(&self, op: OpKind) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.ops.contains(&op))
    }

    /// Whether calls of `op` may be taken into the operator `behind` which they stand.
    pub fn fuse(&self, op: OpKind, behind: OpKind) -> Option<&Fuse> {
        self.fuses.iter().find(|f| f.ops.contains(&op) && (f.behind.is_empty() || f.behind.contains(&behind)))
    }

    /// The type at `index`.
    pub fn type_at(&self, index: usize) -> &IntegerType {
        &self.types[index]
    }
}
