//! Optimizes a model for TensorRT and says what was done.
//!
//!     cargo run --example optimize -- model.onnx slim.onnx

#![expect(clippy::print_stdout, reason = "an example says what it did")]

use std::error::Error;

use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::target;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: optimize IN OUT".into());
    };
    let done = Optimizer::for_target(&target::TENSORRT).run(Model::read(&input)?)?;
    let written = done.model.write(&output)?;
    println!("{} → {} nodes, {} bytes", done.report.before.nodes, done.report.after.nodes, written.bytes);
    for step in &done.report.steps {
        for (rule, times) in &step.applied {
            println!("{}: {rule} {times}", step.pass);
        }
    }
    Ok(())
}
