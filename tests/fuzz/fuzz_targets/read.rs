//! Any bytes are a model or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_slim::model::Model;

fuzz_target!(|bytes: &[u8]| {
    let _ = Model::from_bytes(bytes.to_vec(), &Default::default());
});
