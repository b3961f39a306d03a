//! What the tensors of a model hold on samples: `cargo run --example calibrate -- model.onnx samples.npz [most]`.
//!
//! Prints the range that eight bits would stand for of every tensor, and what the samples held out are.

#![expect(clippy::print_stdout, reason = "an example says what it did")]

use std::path::PathBuf;

use anyhow::Context as _;
use onnx_slim::calibrate::{Gathered, Levels, Method, Source, Split, Wanted, gather, range};
use onnx_slim::exec::Imaging;
use onnx_slim::exec::tract::Tract;
use onnx_slim::model::Model;
use onnx_slim::passes::infer_declared;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let model = PathBuf::from(args.next().context("a model is missing")?);
    let place = PathBuf::from(args.next().context("samples are missing")?);
    let most = args.next().map(|n| n.to_string_lossy().parse::<usize>()).transpose()?;

    let mut model = Model::read(&model)?;
    infer_declared(&mut model.graph);
    let source = Source::open(place, Imaging::default())?;
    let mut split = Split::new(source.samples(&model, &Tract, most)?);
    let gathered = gather(&model, &Wanted::all(), &mut split, &Tract, &|_| (), Gathered::default())?;
    let held_out = split.finish()?;

    for (name, statistics) in &gathered.tensors {
        let all = range(statistics, Method::MinMax, Levels::ASYMMETRIC_8);
        let best = range(statistics, Method::Mse, Levels::ASYMMETRIC_8);
        println!("{name}: {} to {}, best cut at {} and {}", all.low, all.high, best.low, best.high);
    }
    println!("{} runs, {} held out", gathered.runs, held_out.samples.len());
    for note in &held_out.notes {
        println!("{note}");
    }
    Ok(())
}
