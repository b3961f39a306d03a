//! What can be read can be made small and written, and what is written can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_slim::model::Model;
use onnx_slim::passes::pipeline::{self, Silent};
use onnx_slim::passes::Context;
use onnx_slim::rewrite::{Fuel, Growth};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut model) = Model::from_bytes(bytes.to_vec(), &Default::default()) else { return };
    let fuel = Fuel::unlimited();
    let cx = Context { opset: model.opset(), fuel: &fuel, enabled: &|_| true, growth: &Growth::of(4096), engine: None };
    pipeline::standard().run(&mut model.graph, &cx, &mut Silent).expect("a pass has a defect");
    if let Ok(written) = model.to_bytes() {
        Model::from_bytes(written, &Default::default()).expect("what is written can be read");
    }
});
