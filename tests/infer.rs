//! What is inferred of a model's results never contradicts what a run gives.
//!
//! Reads the conformance sets that `tests/conformance/generate.py` writes (to `target/conformance`, or where
//! `ONNX_SLIM_CONFORMANCE` says) with their stored inputs and outputs; without them there is nothing to test. What the
//! files declare of results is forgotten first, and the sizes of inputs are told in three ways.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use onnx_slim::ir::{Atom, Graph, Int, Origin, ScopeId, Shape, Type};
use onnx_slim::model::Model;
use onnx_slim::passes::infer_shapes;

/// How the sizes of a model's inputs are told.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    /// As numbers.
    Known,
    /// Each axis has a name of its own.
    Distinct,
    /// Axes of one size share a name.
    Shared,
}

/// The type and dimensions of a stored tensor.
struct Stored {
    dtype: i64,
    dims: Vec<i64>,
}

#[derive(Default, Debug)]
struct Tally {
    results: usize,
    sizes: usize,
    told: usize,
}

#[test]
fn inferred_types_hold_in_every_run() {
    let folder = std::env::var_os("ONNX_SLIM_CONFORMANCE")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/conformance")), PathBuf::from);
    let mut cases: Vec<PathBuf> = ["node", "simple", "pytorch", "node_const", "node_partial"]
        .iter()
        .flat_map(|set| std::fs::read_dir(folder.join(set)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|case| case.join("model.onnx").exists())
        .collect();
    cases.sort();
    if cases.is_empty() {
        eprintln!("skipped: there are no conformance sets in {}", folder.display());
        return;
    }
    let (mut tally, mut symbolic, mut wrong) = (Tally::default(), Tally::default(), Vec::new());
    for case in &cases {
        let Ok(model) = Model::read(case.join("model.onnx")) else { continue };
        check(case, model.graph.clone(), Sizes::Known, &mut tally, &mut wrong);
        check(case, model.graph.clone(), Sizes::Distinct, &mut symbolic, &mut wrong);
        check(case, model.graph, Sizes::Shared, &mut symbolic, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} contradictions:\n{}", wrong.len(), wrong.join("\n"));
    // A rule that says nothing contradicts nothing. What stays open depends on what a run reads.
    let tells = |t: &Tally, percent: usize| t.told * 100 >= t.sizes * percent;
    assert!(tells(&tally, 94) && tells(&symbolic, 90), "numbers: {tally:?}, names: {symbolic:?}");
}

fn check(case: &Path, mut graph: Graph, sizes: Sizes, tally: &mut Tally, wrong: &mut Vec<String>) {
    let names = rename(case, &mut graph, sizes);
    infer_shapes(&mut graph);
    let outputs = graph.scope(ScopeId::MAIN).outputs();
    for (i, output) in outputs.iter().enumerate() {
        let Some(stored) = stored(&case.join(format!("output_{i}.pb"))) else { continue };
        let Type::Tensor { dtype, shape } = &graph.value(output.value()).ty else { continue };
        tally.results += 1;
        let mut contradicts = dtype.is_some_and(|d| i64::from(d.code()) != stored.dtype);
        tally.sizes += stored.dims.len();
        if let Some(dims) = shape.dims() {
            contradicts |= dims.len() != stored.dims.len();
            for (told, &actual) in dims.iter().zip(&stored.dims) {
                let value = told.substitute(&|atom| match atom {
                    Atom::Named(name) => names.get(&**name).copied().map(Int::from),
                    _ => None,
                });
                if let Some(value) = value.and_then(|v| v.known()) {
                    tally.told += 1;
                    contradicts |= value != actual;
                }
            }
        }
        if contradicts {
            let name = case.file_name().unwrap_or_default().display();
            wrong.push(format!("{name}, {sizes:?}: \"{}\" is {:?}, not {dtype:?}{shape:?}", output.name, stored.dims));
        }
    }
}

/// Forget what the file declares of computed values, and tell the inputs' sizes anew. Returns what the names stand for.
fn rename(case: &Path, graph: &mut Graph, sizes: Sizes) -> HashMap<String, i64> {
    let computed: Vec<_> = graph.values().filter(|&v| matches!(graph.value(v).origin(), Origin::Node(..))).collect();
    for value in computed {
        graph.value_mut(value).ty = Type::Unknown;
    }
    let mut names = HashMap::new();
    for (i, value) in graph.scope(ScopeId::MAIN).inputs().to_vec().into_iter().enumerate() {
        let Some(stored) = stored(&case.join(format!("input_{i}.pb"))) else { continue };
        // An input whose default is a constant is not fed.
        let Type::Tensor { dtype, .. } = graph.value(value).ty else { continue };
        if dtype.is_none_or(|d| i64::from(d.code()) != stored.dtype) {
            continue;
        }
        let dims = stored.dims.iter().enumerate().map(|(axis, &size)| {
            let name = match sizes {
                Sizes::Known => return Int::from(size),
                Sizes::Distinct => format!("{i}_{axis}"),
                Sizes::Shared => format!("size{size}"),
            };
            names.insert(name.clone(), size);
            Int::named(name)
        });
        graph.value_mut(value).ty = Type::Tensor { dtype, shape: Shape::of(dims.collect::<Vec<_>>()) };
    }
    names
}

/// Read dimensions (field 1) and type (field 2) of a TensorProto; `None` for anything else.
fn stored(file: &Path) -> Option<Stored> {
    let bytes = std::fs::read(file).ok()?;
    let mut at = &bytes[..];
    let mut tensor = Stored { dtype: 0, dims: Vec::new() };
    while !at.is_empty() {
        let key = varint(&mut at)?;
        match (key >> 3, key & 7) {
            (1, 0) => tensor.dims.push(varint(&mut at)?),
            (2, 0) => tensor.dtype = varint(&mut at)?,
            (_, 0) => _ = varint(&mut at)?,
            (field, 2) => {
                let length = usize::try_from(varint(&mut at)?).ok()?;
                let (mut inner, rest) = at.split_at_checked(length)?;
                at = rest;
                while field == 1 && !inner.is_empty() {
                    tensor.dims.push(varint(&mut inner)?);
                }
            }
            (_, 5) => at = at.get(4..)?,
            (_, 1) => at = at.get(8..)?,
            _ => return None,
        }
    }
    (tensor.dtype != 0).then_some(tensor)
}

fn varint(at: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = at.split_first()?;
        *at = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value.cast_signed());
        }
    }
    None
}
