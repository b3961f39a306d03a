//! OpenVINO. Its reader takes every opset number (tried from 5 to 28 with release 2026.4) and looks operators up by
//! name, so nothing is gained by moving a model to another opset.

use crate::ops::schema::NEWEST_OPSET;
use crate::target::Profile;

/// OpenVINO, any of its devices.
pub static OPENVINO: Profile = Profile {
    name: "openvino",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: &[],
    limits: &[],
    notes: &[],
};
