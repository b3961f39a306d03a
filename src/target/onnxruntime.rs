//! ONNX Runtime. Opsets as accepted by release 1.31: 26 loads, 27 is refused; old ones are accepted back to 1, and
//! guaranteed from 7.

use crate::ir::OpKind;
use crate::target::Profile;

/// ONNX Runtime, any of its execution providers.
pub static ONNXRUNTIME: Profile =
    Profile { name: "onnxruntime", oldest_opset: 1, newest_opset: 26, avoids: SLOW, notes: &[] };

/// What takes longer than what it stands for. Measured on the CPU provider of release 1.31 with benches/spellings.py, as
/// processor time on one thread with its optimizer on and off: Softplus 5.2 to 5.5 and 5.2 to 5.4 times that of its
/// logarithm, and Swish 1.8 to 1.9 and 1.2 times that of its product.
///
/// What else the rules bring in takes as long or less: LayerNormalization 1.00 and 0.34 to 0.45, RMSNormalization 0.99
/// and 0.30 to 0.40, Gelu 1.00 and 0.58 to 0.62, the one by Tanh 0.36 to 0.39, HardSwish and HardSigmoid 0.38 to 0.6,
/// Mish 1.00, Attention 0.82 to 1.00, Split 1.00 and 0.81 to 0.96, Gemm 1.00 and 0.95 to 1.00.
const SLOW: &[OpKind] = &[OpKind::Softplus, OpKind::Swish];
