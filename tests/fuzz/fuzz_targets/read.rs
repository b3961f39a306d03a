//! Any bytes are a model or an error.
//!
//! What is found grows the first folder, which is not a fixture; small seeds do best.
//!
//! ```text
//! mkdir -p target/seeds && find fixtures -name '*.onnx' -size -12k -exec cp --backup=numbered {} target/seeds \;
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none read target/seeds -- \
//!     -fork=1 -ignore_crashes=1 -timeout=10 -rss_limit_mb=2048 -max_len=16384
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_slim::model::Model;

fuzz_target!(|bytes: &[u8]| {
    let _ = Model::from_bytes(bytes.to_vec(), &Default::default());
});
