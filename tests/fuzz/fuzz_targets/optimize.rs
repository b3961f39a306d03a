//! What can be read can be made small, written and printed, and what is written can be read.
//!
//! What is found grows the first folder, which is not a fixture; small seeds do best.
//!
//! ```text
//! mkdir -p target/seeds && find fixtures -name '*.onnx' -size -12k -exec cp --backup=numbered {} target/seeds \;
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none optimize target/seeds -- \
//!     -fork=1 -ignore_crashes=1 -timeout=10 -rss_limit_mb=2048 -max_len=16384
//! ```
#![no_main]

mod whole;

use libfuzzer_sys::fuzz_target;
use onnx_slim::model::Model;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = Model::from_bytes(bytes.to_vec(), &Default::default()) {
        whole::work(model);
    }
});
