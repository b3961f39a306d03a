//! Everything that the tool does with a model, but running it.

use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::{target, text};

/// Optimize, write, print and read again.
pub fn work(mut model: Model) {
    // Texts have no size, and nothing of a model without one may grow.
    model.file_bytes = model.file_bytes.max(1);
    let optimizer = Optimizer::for_target(&target::ONNX).unchecked();
    let done = optimizer.run(model).expect("no pass has a defect");
    text::print(&done.model);
    // Some of what can be read cannot be written, such as names that no file can give.
    if let Ok(written) = done.model.to_bytes() {
        Model::from_bytes(written, &Default::default()).expect("what is written can be read");
    }
}
