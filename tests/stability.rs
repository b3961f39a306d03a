//! What is optimized is done: a second run changes nothing, and the order of the rules within their groups makes no
//! difference to what is left.
#![cfg(feature = "tract")]

#[path = "../src/random.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod random;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnx_slim::exec::{fold_with_engine, tract::Tract};
use onnx_slim::model::Model;
use onnx_slim::optimizer::Optimizer;
use onnx_slim::passes::pipeline::{self, Silent};
use onnx_slim::passes::{Context, Pipeline, infer_declared};
use onnx_slim::rewrite::{Fuel, Growth};
use onnx_slim::rules::{self, Entry};
use onnx_slim::{target, text};

use random::Random;

/// Every whole model among the fixtures, by the name that exceptions know it by.
fn models() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in ["models", "patterns"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
        for entry in root.read_dir().expect("the folder is there") {
            let path = entry.expect("a readable folder").path();
            if path.extension().is_some_and(|e| e == "onnx") {
                let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
                found.insert(format!("{folder}/{name}"), path);
            }
        }
    }
    assert!(found.len() > 80, "the fixtures are gone");
    found
}

/// Every model among the fixtures of rules and passes.
fn texts() -> Vec<PathBuf> {
    let mut folders = vec![
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rules"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/passes"),
    ];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("the folder is there") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn a_second_run_changes_nothing() {
    let mut wrong = Vec::new();
    let read = |path: &PathBuf| Model::read(path).expect("a fixture can be read");
    let parse = |path: &PathBuf| {
        let source = std::fs::read_to_string(path).expect("a fixture can be read");
        text::parse(&source).expect("a fixture is a model")
    };
    let whole = models().into_values().map(|path| (path.clone(), read(&path)));
    let texts = texts().into_iter().map(|path| (path.clone(), parse(&path)));
    let optimizer = Optimizer::for_target(&target::ONNX).unchecked();
    for (path, model) in whole.chain(texts) {
        let name = path.display();
        let once = optimizer.run(model).unwrap_or_else(|e| panic!("{name}: {e}"));
        let first = once.model.to_bytes().unwrap_or_else(|e| panic!("{name}: {e}"));
        let again = Model::from_bytes(first.clone(), &Default::default()).expect("what was written is read");
        let twice = optimizer.run(again).unwrap_or_else(|e| panic!("{name}, the second time: {e}"));
        let edits: Vec<&String> = twice.report.steps.iter().flat_map(|s| s.applied.keys()).collect();
        if !edits.is_empty() {
            wrong.push(format!("{name}: {edits:?}"));
        } else if twice.model.to_bytes().expect("it was written before") != first {
            wrong.push(format!("{name}: another file"));
        }
    }
    assert!(wrong.is_empty(), "these are not done when they are done:\n{}", wrong.join("\n"));
}

/// Orders tried.
const SHUFFLES: u64 = 6;

/// Models that come out differently in another order of rules, and why that is right.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn the_order_within_a_group_makes_no_difference() {
    let standard = pipeline::standard();
    let shuffled: Vec<Pipeline> = (1..=SHUFFLES).map(|seed| pipeline::with_rules(shuffled_rules(seed))).collect();
    let mut wrong = Vec::new();
    let mut excused = Vec::new();
    for (name, path) in models() {
        let model = Model::read(&path).expect("a fixture can be read");
        let expected = optimize(&standard, &model);
        for (seed, passes) in (1..).zip(&shuffled) {
            let found = optimize(passes, &model);
            if found == expected {
                continue;
            }
            match EXCEPTIONS.iter().find(|(exception, _)| *exception == name) {
                Some((exception, _)) => excused.push(*exception),
                None => wrong.push(format!("{name} in order {seed}: {expected:?} and {found:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "the order of rules matters to these:\n{}", wrong.join("\n"));
    let idle: Vec<_> = EXCEPTIONS.iter().filter(|(name, _)| !excused.contains(name)).collect();
    assert!(idle.is_empty(), "these need no exception any more: {idle:?}");
}

/// The rules, those of each group in an order that `seed` decides.
fn shuffled_rules(seed: u64) -> Vec<Entry> {
    let mut random = Random(seed);
    let mut rules: Vec<Entry> = rules::simplify();
    let mut start = 0;
    while start < rules.len() {
        let group = rules[start].group;
        let count = rules[start..].iter().take_while(|entry| entry.group == group).count();
        for i in (1..count).rev() {
            let j = usize::try_from(random.next() % (i as u64 + 1)).expect("an index");
            rules.swap(start + i, start + j);
        }
        start += count;
    }
    rules
}

/// How often each operator is left.
fn optimize(passes: &Pipeline, model: &Model) -> BTreeMap<String, usize> {
    let mut model = model.clone();
    infer_declared(&mut model.graph);
    let (fuel, growth) = (Fuel::unlimited(), Growth::of(4096));
    let cx = Context {
        engine: Some(&|call, operands, limit| fold_with_engine(&Tract, call, operands, limit).ok()),
        ..Context::new(model.opset(), &fuel, &growth)
    };
    passes.run(&mut model.graph, &cx, &mut Silent).expect("no pass has a defect");
    let mut left = BTreeMap::new();
    for node in model.graph.nodes() {
        *left.entry(model.graph.node(node).op_name().to_string()).or_default() += 1;
    }
    left
}
