//! As `optimize`, from texts: a mutated text is a model far more often than a mutated file is.
//!
//! ```text
//! mkdir -p target/texts && find fixtures -name '*.onnxtxt' -exec cp --backup=numbered {} target/texts \;
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none text target/texts -- \
//!     -fork=1 -ignore_crashes=1 -timeout=10 -rss_limit_mb=2048 -max_len=16384
//! ```
#![no_main]

mod whole;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(model) = onnx_slim::text::parse(text) {
        whole::work(model);
    }
});
