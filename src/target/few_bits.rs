//! In which forms a runtime takes weights of a few bits.

use crate::ir::{DType, OpKind};

/// How a runtime takes weights that are integers of one type.
#[derive(Clone, Copy, Debug)]
pub struct FewBits {
    /// The type.
    pub dtype: DType,
    /// Weights of an output that may share a scale, ascending.
    pub groups: &'static [usize],
    /// Whether all of an output may.
    pub channel: bool,
    /// Whether zero points may be other than the middle.
    pub zero_points: bool,
    /// Whether scales may be negative. Nothing forbids it, but not every runtime expects it.
    pub negative_scales: bool,
    /// Whether it wants the weights of an output beside each other in a file, with a `Transpose` behind them where the
    /// product wants them otherwise.
    pub by_output: bool,
    /// Whether it, or a runtime that may be meant, rounds to 8 bits what products multiply such weights with. An operator
    /// of com.microsoft is asked to.
    pub rounds: bool,
    /// What it wants, by operator. Weights of other operators stay as they are.
    pub forms: &'static [(OpKind, Form)],
}

/// How weights of a few bits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Integers behind a `DequantizeLinear`.
    Dequantized,
    /// An operator of com.microsoft that takes integers: `MatMulNBits` or `GatherBlockQuantized`.
    Contrib,
}

impl FewBits {
    /// The form for weights of calls of `op`.
    pub fn form(&self, op: OpKind) -> Option<Form> {
        self.forms.iter().find(|(of, _)| *of == op).map(|(_, form)| *form)
    }

    /// The same of another type.
    pub const fn of(self, dtype: DType) -> FewBits {
        FewBits { dtype, ..self }
    }

    /// All of this type that the format has.
    pub const fn all(dtype: DType) -> FewBits {
        let groups = &[16, 32, 64, 128];
        FewBits {
            dtype,
            groups,
            channel: true,
            zero_points: true,
            negative_scales: false,
            by_output: false,
            rounds: false,
            forms: DEQUANTIZED,
        }
    }
}

/// `DequantizeLinear` in front of every operator that multiplies or looks up.
const DEQUANTIZED: &[(OpKind, Form)] = &[
    (OpKind::MatMul, Form::Dequantized),
    (OpKind::Gemm, Form::Dequantized),
    (OpKind::Gather, Form::Dequantized),
    (OpKind::Conv, Form::Dequantized),
];

/// The same without convolutions, which runtimes make real numbers of in every run.
pub const PRODUCTS: &[(OpKind, Form)] =
    &[(OpKind::MatMul, Form::Dequantized), (OpKind::Gemm, Form::Dequantized), (OpKind::Gather, Form::Dequantized)];

/// com.microsoft's operators.
pub const CONTRIB: &[(OpKind, Form)] =
    &[(OpKind::MatMul, Form::Contrib), (OpKind::Gemm, Form::Contrib), (OpKind::Gather, Form::Contrib)];
