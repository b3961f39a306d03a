//! A rule of one's own, beside those of the tool: `2·x` is `x + x`.
//!
//!     cargo run --example custom_rule -- model.onnx out.onnx

#![expect(clippy::print_stdout, reason = "an example says what it did")]

use std::error::Error;

use onnx_slim::ir::OpKind::Add;
use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::rewrite::{Exactness, Rule, require, var};
use onnx_slim::target;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: custom_rule IN OUT".into());
    };
    let optimizer = Optimizer::for_target(&target::ONNX).with_rules(vec![add_instead_of_double()]);
    let done = optimizer.run(Model::read(&input)?)?;
    done.model.write(&output)?;
    let fired = done.report.steps.iter().filter_map(|step| step.applied.get("add-instead-of-double")).sum::<usize>();
    println!("add-instead-of-double fired {fired} times");
    Ok(())
}

/// The pattern is the expression it matches; what is returned takes its place. Doubling is exact in floating point, so
/// the bits are the same.
fn add_instead_of_double() -> Rule {
    let x = var("x");
    Rule::new("add-instead-of-double", Exactness::Bitwise, x * 2.0, move |m| {
        // The two may have dimensions of its own, and stretch x.
        require(m.shape(x).surely_equals(m.root_shape()), "the two may broadcast x to a larger shape")?;
        Ok(Add.emit([m[x].into(), m[x].into()]))
    })
}
