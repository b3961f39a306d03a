//! Damaged files: every fixture with bytes changed, cut or doubled is a model or an error, never a panic, and what can
//! be read is optimized, written and read again. So is what no exporter would write: the texts in `fixtures/bad`.
//!
//! The same properties that the fuzz targets in `tests/fuzz` look for, over a fixed, seeded set of damages.

#[path = "../src/random.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod random;

use std::path::{Path, PathBuf};

use onnx_slim::model::Model;
use onnx_slim::passes::Context;
use onnx_slim::passes::pipeline::{self, Silent};
use onnx_slim::rewrite::{Fuel, Growth};
use onnx_slim::target::ONNXRUNTIME;
use onnx_slim::text;

use crate::random::Random;

/// Damages per file.
const DAMAGES: u64 = 150;

#[test]
fn damaged_models_are_models_or_errors() {
    let files = models(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")));
    assert!(files.len() > 20, "the fixtures are gone");
    let mut read = 0;
    for file in files {
        let bytes = std::fs::read(&file).expect("a fixture can be read");
        for seed in 0..DAMAGES {
            let damaged = damage(&bytes, seed);
            let Ok(model) = Model::from_bytes(damaged, &Default::default()) else { continue };
            read += 1;
            optimize(model, &file, seed);
        }
    }
    assert!(read > 100, "nearly every damage made the file unreadable, so little was tested: {read}");
}

#[test]
fn what_no_exporter_writes_is_optimized_or_left_alone() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/bad"));
    let texts: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnxtxt"))
        .collect();
    assert!(!texts.is_empty(), "the fixtures are gone");
    for path in texts {
        let text = std::fs::read_to_string(&path).expect("a fixture can be read");
        let model = text::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text::print(&model);
        optimize(model, &path, 0);
    }
}

fn optimize(mut model: Model, file: &Path, seed: u64) {
    let fuel = Fuel::unlimited();
    let growth = Growth::of(4096);
    let cx = Context { contrib: ONNXRUNTIME.contrib, ..Context::new(model.opset(), &fuel, &growth) };
    let run = pipeline::standard().run(&mut model.graph, &cx, &mut Silent);
    model.import_domains();
    assert!(run.is_ok(), "{} damaged with seed {seed}: {}", file.display(), run.unwrap_err());
    if let Ok(written) = model.to_bytes() {
        let again = Model::from_bytes(written, &Default::default());
        assert!(
            again.is_ok(),
            "{} damaged with seed {seed}: written, not readable: {}",
            file.display(),
            again.unwrap_err()
        );
    }
}

/// Every small file below `folder` that may be a model.
fn models(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(models(&path));
        } else if path.extension().is_some_and(|e| e == "onnx")
            && path.metadata().is_ok_and(|m| m.is_file() && m.len() < 100_000)
        {
            found.push(path);
        }
    }
    found
}

impl Random {
    fn pick(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).expect("smaller than a usize")
    }
}

fn damage(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut out = bytes.to_vec();
    if out.is_empty() {
        return out;
    }
    for _ in 0..=seed % 4 {
        let at = random.pick(out.len());
        match random.pick(6) {
            0 => out[at] ^= 1 << random.pick(8),
            1 => out[at] = [0, 1, 0x7f, 0x80, 0xff][random.pick(5)],
            2 => out.truncate(at.max(1)),
            3 => {
                let end = (at + random.pick(64)).min(out.len());
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            4 => {
                let end = (at + random.pick(16)).min(out.len());
                out.drain(at..end);
            }
            _ => {
                let to = random.pick(out.len());
                let n = random.pick(32).min(out.len() - at).min(out.len() - to);
                out.copy_within(at..at + n, to);
            }
        }
        if out.is_empty() {
            break;
        }
    }
    out
}
