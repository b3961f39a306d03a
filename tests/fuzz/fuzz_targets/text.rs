//! As `optimize`, from texts: a mutated text is a model far more often than a mutated file is.
#![no_main]

mod whole;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(model) = onnx_slim::text::parse(text) {
        whole::work(model);
    }
});
