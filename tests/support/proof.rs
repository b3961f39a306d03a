//! Two models are the same function, as far as seeded inputs tell.

use std::collections::BTreeMap;

use half::{bf16, f16};
use onnx_slim::exec::tract::Tract;
use onnx_slim::exec::{Cannot, Executor};
use onnx_slim::ir::{DType, OpKind, ScopeId, Tensor, Type};
use onnx_slim::model::Model;
use onnx_slim::rewrite::Exactness;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::interpreter;

/// Sizes that open dimensions take in turn: all alike, one, and each another.
#[derive(Clone, Copy, Debug)]
enum Sizes {
    All(usize),
    Different,
}

/// What numbers inputs take.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    /// Between -2 and 2.
    Ordinary,
    /// With infinity, NaN, -0, the largest and the smallest numbers among them.
    Special,
}

/// Run both on the same inputs and compare all outputs. Fails the test on a difference, and where the first cannot
/// be run at all, unless that is because of an operator that nobody knows.
pub fn compare(before: &Model, after: &Model, exactness: Exactness) {
    if before.graph.nodes().any(|n| before.graph.node(n).op == OpKind::Custom) {
        return;
    }
    let mut refused = Vec::new();
    let mut compared = 0;
    for sizes in [Sizes::All(2), Sizes::All(1), Sizes::Different] {
        for numbers in [Numbers::Ordinary, Numbers::Special] {
            // Rounding is about ordinary numbers: an infinity may become a NaN.
            if numbers == Numbers::Special && exactness != Exactness::Bitwise {
                continue;
            }
            let inputs = inputs(before, sizes, numbers);
            let (expected, actual) = match run(before, after, &inputs) {
                Ok(both) => both,
                Err(why) => {
                    refused.push(why);
                    continue;
                }
            };
            assert_eq!(expected.len(), actual.len());
            for (index, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
                let what = format!("output {index} with sizes {sizes:?} and {numbers:?} numbers");
                assert_same(expected, actual, exactness, &what);
            }
            compared += 1;
        }
    }
    let runs_elsewhere = before.graph.nodes().any(|n| RUNS_ELSEWHERE.contains(&before.graph.node(n).op));
    assert!(compared > 0 || runs_elsewhere, "the original does not run: {}", refused.join("; "));
}

/// Whether the outputs of two models that run are further apart than a thousandth of the largest element.
pub fn differ(one: &Model, other: &Model) -> bool {
    let inputs = inputs(one, Sizes::All(2), Numbers::Ordinary);
    let (ours, theirs) = run(one, other, &inputs).unwrap_or_else(|why| panic!("a model does not run: {why}"));
    ours.iter().zip(&theirs).any(|(a, b)| {
        let (Some(a), Some(b)) = (a.reals(), b.reals()) else { return a != b };
        let largest = a.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        a.len() != b.len() || a.iter().zip(&b).any(|(a, b)| (a - b).abs() > largest / 1000.0)
    })
}

/// Operators of which no engine here runs every form. tests/conformance/profiles.py writes them in older opsets and runs
/// original and result in onnxruntime. Sequences whose elements are computed are of tests/conformance/run.py.
const RUNS_ELSEWHERE: [OpKind; 4] = [OpKind::Attention, OpKind::SwiGLU, OpKind::SequenceAt, OpKind::SequenceInsert];

/// The outputs of both, by one engine: what two engines make of the sign of a zero is their own.
fn run(before: &Model, after: &Model, inputs: &[(String, Tensor)]) -> Result<(Vec<Tensor>, Vec<Tensor>), String> {
    let run = |model: &Model| -> Result<(Vec<Tensor>, bool), Cannot> {
        let mut session = Tract.load(model)?;
        let outputs = session.run(inputs)?;
        Ok((outputs, session.remark().is_some()))
    };
    let why = match (run(before), run(after)) {
        (Ok((expected, how)), Ok((actual, same))) if how == same => return Ok((expected, actual)),
        (Ok(_), Ok(_)) => "one is run as a whole and one node by node".to_string(),
        (Err(cannot), _) | (_, Err(cannot)) => cannot.to_string(),
    };
    let expected = interpreter::run(before, inputs).map_err(|also| format!("{why}; {also}"))?;
    let actual = interpreter::run(after, inputs);
    Ok((expected, actual.unwrap_or_else(|also| panic!("only the original runs: {why}; {also}"))))
}

fn inputs(model: &Model, sizes: Sizes, numbers: Numbers) -> Vec<(String, Tensor)> {
    let graph = &model.graph;
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    let mut size = |name: String| match sizes {
        Sizes::All(size) => size,
        Sizes::Different => {
            let next = 3 + named.len();
            *named.entry(name).or_insert(next)
        }
    };
    graph
        .scope(ScopeId::MAIN)
        .inputs()
        .iter()
        .map(|&input| {
            let value = graph.value(input);
            let Type::Tensor { dtype: Some(dtype), shape } = &value.ty else { panic!("{} is no tensor", value.name) };
            let dims: Vec<usize> = match shape.dims() {
                Some(dims) => dims
                    .iter()
                    .map(|d| d.known().map_or_else(|| size(d.to_string()), |n| usize::try_from(n).expect("a size")))
                    .collect(),
                // Any rank will do.
                None => (0..3).map(|axis| size(format!("{} {axis}", value.name))).collect(),
            };
            (value.name.to_string(), random(&value.name, *dtype, &dims, numbers))
        })
        .collect()
}

/// A tensor that its name decides.
fn random(name: &str, dtype: DType, dims: &[usize], numbers: Numbers) -> Tensor {
    let count: usize = dims.iter().product();
    let draw = |i: usize| xxh3_64_with_seed(name.as_bytes(), i as u64);
    let special =
        [f64::NAN, f64::INFINITY, -0.0, 0.0, f64::from(f32::MIN_POSITIVE) / 2.0, f64::from(f32::MIN), -1.5, 0.5];
    let real = |i: usize| match numbers {
        Numbers::Special if draw(i) % 2 == 0 => special[(draw(i) >> 8) as usize % special.len()],
        _ => (draw(i) >> 11) as f64 / (1u64 << 51) as f64 - 2.0,
    };
    if dtype == DType::String {
        let strings = (0..count).map(|i| format!("s{}", draw(i) % 3).into()).collect();
        return Tensor::strings(dims, strings).expect("the count fits");
    }
    let bytes: Vec<u8> = (0..count)
        .flat_map(|i| match dtype {
            DType::F32 => (real(i) as f32).to_le_bytes().to_vec(),
            DType::F64 => real(i).to_le_bytes().to_vec(),
            DType::F16 => f16::from_f64(real(i)).to_le_bytes().to_vec(),
            DType::BF16 => bf16::from_f64(real(i)).to_le_bytes().to_vec(),
            DType::Bool => vec![(draw(i) & 1) as u8],
            dtype => {
                let low = if dtype.is_signed_integer() { -4 } else { 0 };
                ((draw(i) % 9) as i64 + low).to_le_bytes()[..dtype.bits() / 8].to_vec()
            }
        })
        .collect();
    Tensor::raw(dtype, dims, bytes.into()).expect("the count fits")
}

fn assert_same(expected: &Tensor, actual: &Tensor, exactness: Exactness, what: &str) {
    assert_eq!((expected.dtype(), expected.dims()), (actual.dtype(), actual.dims()), "{what}");
    if let Some(strings) = expected.as_strings() {
        assert_eq!(Some(strings), actual.as_strings(), "{what}");
        return;
    }
    let (Some(a), Some(b)) = (expected.reals(), actual.reals()) else {
        assert_eq!(expected.bytes(), actual.bytes(), "{what}");
        return;
    };
    assert!(!what.contains("Ordinary") || a.iter().all(|x| !x.is_nan()), "{what}: NaN compares with nothing");
    // What reordered sums of up to a few hundred products differ by.
    let epsilon = match expected.dtype() {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    };
    let largest = a.iter().filter(|x| x.is_finite()).fold(1.0, |m: f64, x| m.max(x.abs()));
    let tolerance = match exactness {
        Exactness::Bitwise => 0.0,
        Exactness::Rounding => 32.0 * epsilon * largest,
        // A step or two of 8 bits.
        Exactness::Approximate if expected.dtype().is_integer() => 1.0,
        Exactness::Approximate => largest / 64.0,
    };
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        // What an engine makes of NaN in `Max`, `Clip` or `Relu` is its own.
        let same = a.is_nan()
            || b.is_nan()
            || match exactness {
                Exactness::Bitwise => a.to_bits() == b.to_bits(),
                Exactness::Rounding | Exactness::Approximate => a == b || (a - b).abs() <= tolerance,
            };
        assert!(same, "{what}: element {i} was {a} and is {b}");
    }
}
