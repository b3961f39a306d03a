//! Which operands and results of a call may have half the bits, as the operator's schemas have it.

use crate::ir::{DType, OpKind};
use crate::ops::CallView;
use crate::ops::schema::{self, Schema};
use crate::precision::keep;
use crate::rewrite::CONTRIB;

/// The types of a call's operands and results.
pub(super) struct Slots<'g> {
    call: CallView<'g>,
    half: DType,
    schemas: Option<Schemas>,
}

/// What tells of an operator of ONNX: the newest schema, whose slots a graph's nodes have, and that of the opset which is
/// written.
#[derive(Clone, Copy)]
struct Schemas {
    newest: &'static Schema,
    written: &'static Schema,
}

/// Those of [`OF_ONE_FLOAT`](crate::ops::contrib::OF_ONE_FLOAT) that are given float16: the others wait for a runtime that
/// was asked about them.
const CONTRIBUTED: &[&str] = &["FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "BiasGelu", "FastGelu", "QuickGelu"];

impl<'g> Slots<'g> {
    /// Of `call` in a model of `opset`; nothing for an operator that there is no schema of.
    pub(super) fn new(call: CallView<'g>, opset: i64, half: DType) -> Option<Slots<'g>> {
        let node = call.node();
        if node.op == OpKind::Custom {
            let is_known = node.domain() == CONTRIB && CONTRIBUTED.contains(&node.op_name()) && half == DType::F16;
            return is_known.then_some(Slots { call, half, schemas: None });
        }
        let newest = schema::newest("", node.op_name())?;
        let written = schema::lookup("", node.op_name(), u32::try_from(opset).unwrap_or(0))?;
        Some(Slots { call, half, schemas: Some(Schemas { newest, written }) })
    }

    /// Whether the operand in `slot`, a float32 tensor, may be a half.
    pub(super) fn takes(&self, slot: usize) -> bool {
        let half = self.half.name();
        let by = |schemas: &Schemas| schemas.newest.takes(slot, half) && schemas.written.takes(slot, half);
        self.schemas.as_ref().is_none_or(by) && !keep::keeps_slot(&self.call, slot)
    }

    /// Whether the result in `slot`, a float32 tensor, becomes a half when the operands do that may.
    pub(super) fn gives(&self, slot: usize) -> bool {
        let Some(Schemas { newest, written }) = self.schemas else { return true };
        let node = self.call.node();
        if matches!(node.op, OpKind::Cast | OpKind::ConstantOfShape) {
            return gives(newest, slot, self.half) && gives(written, slot, self.half);
        }
        let Some(result) = newest.output(slot) else { return false };
        let follows = |operand: usize| match (node.op, newest.input(operand)) {
            // Its result has the type of its scale.
            (OpKind::DequantizeLinear, _) => operand == 1 && node.attr("output_dtype").is_none(),
            (_, Some(param)) => param.ty == result.ty,
            (_, None) => false,
        };
        let is_float = |operand: usize| self.call.dtype(operand) == Some(DType::F32);
        (0..self.call.operand_count()).any(|operand| is_float(operand) && follows(operand) && self.takes(operand))
            && gives(newest, slot, self.half)
            && gives(written, slot, self.half)
    }

    /// The oldest opset in which the operator takes halves wherever it takes float32.
    pub(super) fn since(&self) -> Option<u32> {
        let float = |schema: &Schema, slot: usize| schema.takes(slot, DType::F32.name());
        let half = |schema: &Schema, slot: usize| schema.takes(slot, self.half.name());
        let all = |schema: &&Schema| (0..schema.inputs.len()).all(|slot| !float(schema, slot) || half(schema, slot));
        schema::versions("", self.call.node().op_name()).iter().find(all).map(|schema| schema.since)
    }
}

fn gives(schema: &Schema, slot: usize, half: DType) -> bool {
    let Some(param) = schema.output(slot) else { return false };
    let is_it = |ty: &&str| ty.strip_prefix("tensor(").and_then(|t| t.strip_suffix(')')) == Some(half.name());
    schema.types(param.ty).iter().any(is_it)
}
