//! OpenVINO. Its reader takes every opset number (tried from 5 to 28 with release 2026.4) and looks operators up by
//! name, so nothing is gained by moving a model to another opset.

use crate::ir::OpKind;
use crate::ops::schema::NEWEST_OPSET;
use crate::target::Profile;

/// OpenVINO, any of its devices.
pub static OPENVINO: Profile = Profile {
    name: "openvino",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: SLOW,
    contrib: &[],
    notes: &[],
};

/// What takes longer than what it stands for. Measured on the CPU plugin of release 2026.4 in f32 with
/// benches/spellings.py, as processor time on one thread: HardSigmoid 1.2 to 2.0 times that of its Clip behind a Conv,
/// as nothing takes it up there, and Attention 1.0 to 1.1 times that of its products.
///
/// What else the rules bring in takes as long, give or take 0.03: the plugin finds it by itself.
const SLOW: &[OpKind] = &[OpKind::HardSigmoid, OpKind::Attention];
