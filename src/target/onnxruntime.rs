//! ONNX Runtime. Opsets as accepted by release 1.31: 26 loads, 27 is refused; old ones are accepted back to 1, and
//! guaranteed from 7.
//!
//! A newer opset is not always a faster one: with its optimizer off, release 1.31 takes 8 to 13 times as long for an
//! AveragePool of opset 19 or later as for an earlier one. Models are raised only where the user asks for it.

use crate::ir::OpKind;
use crate::target::Profile;

/// ONNX Runtime, any of its execution providers.
pub static ONNXRUNTIME: Profile =
    Profile { name: "onnxruntime", oldest_opset: 1, newest_opset: 26, avoids: SLOW, contrib: FUSED, notes: &[] };

/// What takes longer than what it stands for. Measured on the CPU provider of release 1.31 with benches/spellings.py,
/// as processor time on one thread with its optimizer on and off: Softplus 5.2 to 5.5 and 5.2 to 5.4 times that of its
/// logarithm, and Swish 1.8 to 1.9 and 1.2 times that of its product.
///
/// What else the rules bring in takes as long or less: LayerNormalization 1.00 and 0.34 to 0.45, RMSNormalization 0.99
/// and 0.30 to 0.40, Gelu 1.00 and 0.58 to 0.62, the one by Tanh 0.36 to 0.39, HardSwish and HardSigmoid 0.38 to 0.6,
/// Mish 1.00, Attention 0.82 to 1.00, Split 1.00 and 0.81 to 0.96, Gemm 1.00 and 0.95 to 1.00.
const SLOW: &[OpKind] = &[OpKind::Softplus, OpKind::Swish];

/// What it makes of a model by itself while it loads it, if it is let; written into the file, the model is that small
/// without. Measured likewise, with its optimizer on and off, relative to what they stand for: FusedConv 0.99 to 1.01
/// (0.90 for a sum) and 0.87 to 0.99, FusedGemm 1.00 and 0.96 to 1.00, QuickGelu 1.00 and 0.67 to 0.69, Gelu 1.00 and
/// 0.58 to 0.62, FastGelu 0.36 to 0.39, FusedMatMul 0.98 to 1.00 and 0.85 to 0.94, MultiHeadAttention 0.94 to 1.02 and
/// 0.90 to 0.99 (and 1.02 to 1.11 times that of Attention, which opset 23 has).
///
/// Left out, as they take longer: SkipLayerNormalization 1.3 to 2.7 times, SkipSimplifiedLayerNormalization 1.04 to
/// 1.13, BiasGelu up to 1.09.
const FUSED: &[&str] =
    &["FusedConv", "FusedGemm", "FusedMatMul", "QuickGelu", "Gelu", "FastGelu", "MultiHeadAttention"];
