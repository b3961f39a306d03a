//! What a policy says of one call.

use smallvec::SmallVec;

use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};
use crate::ops::{CallView, Quant, row_of};
use crate::quantize::place::quantized::Quantized;
use crate::quantize::place::residual;
use crate::target::Policy;
use crate::target::policy::{Operands, Output, Role, Row};

/// A call that may compute in integers.
#[derive(Clone)]
pub(super) struct Call<'p> {
    pub row: &'p Row,
    /// Computed operands that get integers.
    pub slots: SmallVec<[usize; 4]>,
    /// Constant operands that do, and are no weight.
    pub constants: SmallVec<[usize; 2]>,
    /// The weight's operand slot, and its axis of output channels.
    pub weight: Option<(usize, usize)>,
    /// Of a residual sum, the call whose result it is added to.
    pub backbone: Option<NodeId>,
    /// What has the results: the last of what is taken in, or result 0.
    pub tail: ValueId,
    /// Whether it does.
    pub on: bool,
}

/// What a policy says of a call.
pub(super) enum Verdict<'p> {
    /// It may compute in integers.
    Integers(Call<'p>),
    /// It stays in real numbers.
    Float {
        /// The rule that says so.
        rule: String,
        /// The reason.
        why: String,
    },
    /// It computes no real numbers.
    Nothing,
}

impl Verdict<'_> {
    pub(super) fn float(rule: &str, why: &str) -> Self {
        Verdict::Float { rule: rule.into(), why: why.into() }
    }
}

pub(super) fn judge<'p>(
    graph: &Graph,
    policy: &'p Policy,
    opset: i64,
    quantized: &Quantized<'_>,
    node: NodeId,
) -> Verdict<'p> {
    let call = CallView::new(graph, node);
    let op = call.node().op;
    if quantized.is_integer(node) {
        return Verdict::Nothing;
    }
    if quantized.has(node) {
        return Verdict::float("", "it has integers already");
    }
    let is_real = |v: ValueId| graph.value(v).ty.dtype().is_none_or(DType::is_float);
    if !graph.results(node).iter().flatten().any(|&v| is_real(v)) {
        return Verdict::Nothing;
    }
    if call.node().bodies().next().is_some() {
        return Verdict::float("", "what it runs are graphs of their own, which stay as they are");
    }
    if let Some(never) = policy.nevers.iter().find(|never| never.ops.contains(&op)) {
        return Verdict::float(&never.rule, &never.why);
    }
    let mut refused = None;
    for row in policy.rows_for(op) {
        match fit(&call, row, opset, quantized) {
            Ok(_) if row.role == Role::Float => return Verdict::float(&row.rule, &row.why),
            Ok(found) => return Verdict::Integers(found),
            Err(why) => refused = refused.or_else(|| Some(why.of(row))),
        }
    }
    match refused {
        Some((rule, why)) => Verdict::Float { rule, why },
        None => Verdict::float("", "the target has no rule for it"),
    }
}

/// Why a row does not speak of a call.
struct Refused {
    /// Where another than the row says so, that.
    rule: Option<String>,
    why: String,
}

impl Refused {
    /// The rule and the reason, where `row` is what does not speak of it.
    fn of(self, row: &Row) -> (String, String) {
        (self.rule.unwrap_or_else(|| row.rule.clone()), self.why)
    }
}

impl<T: Into<String>> From<T> for Refused {
    fn from(why: T) -> Refused {
        Refused { rule: None, why: why.into() }
    }
}

/// What `row` makes of `call`.
///
/// # Errors
/// Why it does not speak of it.
fn fit<'p>(call: &CallView<'_>, row: &'p Row, opset: i64, quantized: &Quantized<'_>) -> Result<Call<'p>, Refused> {
    if let Some(why) = row.when.fails(call, opset) {
        return Err(why.into());
    }
    let tail = call.graph().result(call.id(), 0).ok_or("it has no result")?;
    let mut found = Call {
        row,
        slots: SmallVec::new(),
        constants: SmallVec::new(),
        weight: None,
        backbone: None,
        tail,
        on: row.role == Role::Leads,
    };
    if row.role == Role::Float {
        return Ok(found);
    }
    let wanted: Vec<usize> = match &row.operands {
        Operands::Slots(slots) => slots.clone(),
        Operands::All => (0..call.operand_count()).filter(|&slot| call.has(slot)).collect(),
        Operands::Skip => {
            let (skip, backbone) = residual::skip(call).ok_or("neither operand went around a convolution")?;
            found.backbone = Some(backbone);
            vec![skip]
        }
    };
    match (row_of(call.node()).quant)(call) {
        Quant::Kernel { weight, axis } if row.role != Role::Passes => {
            let tensor = call.constant(weight).ok_or("its weight has integers already")?;
            suits(tensor)?;
            found.weight = Some((weight, axis));
            // Of both factors, the one that is no weight. Nothing is gathered of a constant that was not folded: the
            // product is larger than its factors.
            let other = 1 - weight.min(1);
            if call.constant(other).is_some() {
                return Err(Refused::from("both of its factors are constant"));
            }
            found.slots.push(other);
        }
        _ if is_weighted(call.node().op) && row.operands == Operands::Slots(vec![0]) => {
            return Err("its weight is computed".into());
        }
        _ => {
            for slot in wanted {
                match call.operand(slot) {
                    None => return Err(format!("operand {slot} is left out").into()),
                    Some(value) if call.graph().constant(value).is_some() => found.constants.push(slot),
                    Some(_) => found.slots.push(slot),
                }
            }
        }
    }
    for &slot in &found.slots {
        if let Some(value) = call.operand(slot) {
            placeable(call.graph(), quantized, value)?;
            if let Some(real) = quantized.real.get(&value) {
                return Err(Refused { rule: Some(real.rule.clone()), why: real.why.clone() });
            }
        }
    }
    if let Some(&slot) = found.constants.first() {
        if !row.constants || row.shares {
            return Err(format!("operand {slot} is constant").into());
        }
        for &slot in &found.constants {
            call.constant(slot).map_or(Ok(()), suits)?;
        }
    }
    if found.slots.is_empty() {
        return Err("no operand is computed".into());
    }
    if row.output == Output::Required || row.role == Role::Passes {
        for &result in call.graph().results(call.id()).iter().flatten() {
            placeable(call.graph(), quantized, result)?;
        }
    }
    Ok(found)
}

/// Operators whose second operand is a weight, where it is constant.
fn is_weighted(op: OpKind) -> bool {
    matches!(op, OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul)
}

/// Whether a constant can be said in integers.
fn suits(tensor: &Tensor) -> Result<(), String> {
    if tensor.dtype() != DType::F32 {
        return Err(format!("it computes in {}", tensor.dtype().name()));
    }
    if tensor.len() == 0 {
        return Err("a constant operand is empty".into());
    }
    let is_finite = |four: &[u8]| <[u8; 4]>::try_from(four).is_ok_and(|b| f32::from_le_bytes(b).is_finite());
    match tensor.bytes() {
        Some(bytes) if bytes.chunks_exact(4).all(is_finite) => Ok(()),
        _ => Err("a constant operand holds infinities or NaN".into()),
    }
}

/// Whether `value` may get integers.
pub(super) fn placeable(graph: &Graph, quantized: &Quantized<'_>, value: ValueId) -> Result<(), String> {
    let v = graph.value(value);
    if v.scope() != ScopeId::MAIN {
        return Err("an operand is of another graph".into());
    }
    match v.ty.dtype() {
        Some(DType::F32) => {}
        Some(other) => return Err(format!("it computes in {}", other.name())),
        None => return Err("the types of its operands are not known".into()),
    }
    if v.ty.shape().dims().is_some_and(<[_]>::is_empty) {
        return Err("an operand is a scalar".into());
    }
    if quantized.unfit.contains(&value) {
        return Err("it reads or makes infinities, or numbers that hide all others".into());
    }
    if quantized.touches(value) {
        return Err("an operand has integers already".into());
    }
    Ok(())
}
