//! What can be read can be made small, written and printed, and what is written can be read.
#![no_main]

mod whole;

use libfuzzer_sys::fuzz_target;
use onnx_slim::model::Model;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = Model::from_bytes(bytes.to_vec(), &Default::default()) {
        whole::work(model);
    }
});
