//! `optimize`: models in, smaller models out.

use crate::cli::args::{self, Noise};
use crate::cli::{End, render};
use crate::error::Error;
use crate::model::Model;
use crate::onnx::{Defaults, Functions, ReadOptions};
use crate::optimizer::Optimizer;
use crate::target;

pub(super) fn run(args: args::Optimize, _: Noise) -> anyhow::Result<End> {
    let target = target::by_name(&args.target).unwrap_or(&target::ONNX);
    let mut optimizer = Optimizer::for_target(target);
    for (input, sizes) in &args.input_shape {
        optimizer = optimizer.input(input, sizes.iter().cloned());
    }
    for name in &args.disable {
        optimizer = optimizer.without(name);
    }
    for name in &args.only {
        optimizer = optimizer.only(name);
    }
    let options = ReadOptions {
        defaults: if args.freeze_defaults { Defaults::Frozen } else { Defaults::Overridable },
        functions: if args.keep_functions { Functions::Kept } else { Functions::Inlined },
    };
    let mut end = End::Done;
    for input in &args.inputs {
        let one = || -> anyhow::Result<()> {
            let model = Model::read_with(input, &options).map_err(Error::from)?;
            let done = optimizer.run(model)?;
            let output = match (&args.output, &args.out_dir) {
                (Some(output), _) => output.clone(),
                (None, Some(folder)) => folder.join(input.file_name().unwrap_or_default()),
                (None, None) => input.with_extension("slim.onnx"),
            };
            done.model.write(output).map_err(Error::from)?;
            Ok(())
        };
        if let Err(error) = one() {
            render::error(&error, Some(&input.display().to_string()));
            end = End::Failed;
        }
    }
    Ok(end)
}
