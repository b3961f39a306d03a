//! Inputs to try a model on: seeded, so that every run of the tool makes the same ones.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::exec::exact::rounded;
use crate::ir::{Atom, DType, Graph, Int, OpKind, ScopeId, Tensor, Type, User, ValueId};
use crate::model::Model;
use crate::ops::CallView;
use crate::ops::slice::AXIS;
use crate::random::Random;

/// One input that a caller has to give.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<Int>,
    values: Values,
}

/// What the elements may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// Anything of the type.
    Any,
    /// Whole numbers from the first to below the second.
    Whole(i64, i64),
}

/// How floats are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Mean 0, variance 1.
    Normal,
    /// Between 0 and 1.
    Unit,
}

/// Sizes by the symbol that they stand for.
pub(super) type Sizes = BTreeMap<String, usize>;

/// The inputs of `model` that have no default; an error names one that cannot be made up.
pub(crate) fn inputs(model: &Model) -> Result<Vec<Input>, String> {
    let graph = &model.graph;
    let required = graph.scope(ScopeId::MAIN).inputs().iter().copied().filter(|&v| graph.value(v).default().is_none());
    required
        .map(|value| {
            let v = graph.value(value);
            let name = v.name.to_string();
            match (&v.ty, v.ty.shape().dims()) {
                (Type::Tensor { dtype: Some(dtype), .. }, Some(dims)) => {
                    Ok(Input { name, dtype: *dtype, dims: dims.to_vec(), values: values(graph, value, *dtype) })
                }
                (Type::Tensor { dtype: Some(_), .. }, None) => {
                    Err(format!("the rank of input \"{name}\" is not known"))
                }
                (Type::Tensor { dtype: None, .. } | Type::Unknown, _) => {
                    Err(format!("the type of input \"{name}\" is not known"))
                }
                (Type::Sequence(_) | Type::Optional(_) | Type::Carried(_), _) => {
                    Err(format!("input \"{name}\" is no tensor"))
                }
            }
        })
        .collect()
}

/// Samples that make a batch: the first size of the first input, where it is fixed.
pub(crate) fn fixed_batch(inputs: &[Input]) -> usize {
    let first = inputs.first().filter(|input| input.dims.len() > 1).and_then(|input| input.dims.first()?.known());
    first.and_then(|n| usize::try_from(n).ok()).map_or(1, |n| n.max(1))
}

/// Every symbol in the inputs' sizes, in order of appearance, and whether it is the first size of an input.
pub(super) fn symbols(inputs: &[Input]) -> Vec<(String, bool)> {
    let found: RefCell<Vec<(String, bool)>> = RefCell::default();
    for input in inputs {
        for (axis, dim) in input.dims.iter().enumerate() {
            // Substituting nothing visits every atom.
            let _ = dim.substitute(&|atom| {
                if matches!(atom, Atom::Named(_) | Atom::Measured { .. }) {
                    let name = atom.to_string();
                    let mut found = found.borrow_mut();
                    match found.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, is_first)) => *is_first |= axis == 0,
                        None => found.push((name, axis == 0)),
                    }
                }
                None
            });
        }
    }
    found.into_inner()
}

impl Input {
    /// The input's sizes, where `sizes` says what every symbol is.
    pub(super) fn sizes(&self, sizes: &Sizes) -> Option<Vec<usize>> {
        let value = |atom: &Atom| match atom {
            Atom::Named(_) | Atom::Measured { .. } => sizes.get(&atom.to_string()).map(|&n| Int::from(n)),
            _ => None,
        };
        let size = |dim: &Int| usize::try_from(dim.substitute(&value)?.known()?).ok();
        self.dims.iter().map(size).collect()
    }

    /// A tensor of these sizes. `None` when it would take more than `limit` bytes.
    pub(super) fn fill(&self, dims: &[usize], spread: Spread, seed: u64, limit: usize) -> Option<Tensor> {
        let n = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let bytes = if self.dtype == DType::String { n.checked_mul(64) } else { self.dtype.byte_len(n) };
        bytes.filter(|b| *b <= limit)?;
        let mut random = Random::new(seed, &self.name);
        if self.dtype == DType::String {
            const WORDS: [&str; 8] = ["a", "the", "model", "of", "input", "words", "7", ""];
            let word = |r: &mut Random| Bytes::from_static(WORDS[r.below(8) as usize].as_bytes());
            return Tensor::strings(dims, (0..n).map(|_| word(&mut random)).collect()).ok();
        }
        let mut real = || match (self.values, spread) {
            (Values::Whole(from, to), _) => (from + random.below(to.abs_diff(from).max(1)).cast_signed()) as f64,
            (Values::Any, Spread::Normal) => random.normal(),
            (Values::Any, Spread::Unit) => random.unit(),
        };
        match self.dtype {
            // Two floats per element.
            DType::C64 => {
                let parts: Vec<f64> = (0..2 * n).map(|_| real()).collect();
                Tensor::raw(DType::C64, dims, rounded(DType::F32, &parts)?).ok()
            }
            DType::C128 => {
                let parts: Vec<f64> = (0..2 * n).map(|_| real()).collect();
                Tensor::raw(DType::C128, dims, rounded(DType::F64, &parts)?).ok()
            }
            dtype => {
                let elements: Vec<f64> = (0..n).map(|_| real()).collect();
                Tensor::raw(dtype, dims, rounded(dtype, &elements)?).ok()
            }
        }
    }
}

/// What an integer input may hold, from what its elements are used for.
fn values(graph: &Graph, input: ValueId, dtype: DType) -> Values {
    let default = match dtype {
        DType::Bool | DType::I32 | DType::I64 | DType::U32 | DType::U64 | DType::U2 => Values::Whole(0, 2),
        DType::U8 => Values::Whole(0, 256),
        DType::I8 => Values::Whole(-128, 128),
        DType::I16 | DType::U16 => Values::Whole(0, 100),
        DType::U4 => Values::Whole(0, 16),
        DType::I4 => Values::Whole(-8, 8),
        DType::I2 => Values::Whole(-2, 2),
        _ => return Values::Any,
    };
    if !dtype.is_integer() {
        return default;
    }
    let mut role = Role::default();
    let mut seen = vec![input];
    let mut at = 0;
    // Far users tell no more than near ones.
    while let Some(&value) = seen.get(at).filter(|_| at < 64) {
        at += 1;
        for &user in graph.value(value).users() {
            let User::Node(node, slot) = user else { continue };
            let call = CallView::new(graph, node);
            role.see(&call, slot);
            if passes_elements(call.node().op, slot) {
                for &result in graph.results(node).iter().flatten() {
                    if !seen.contains(&result) {
                        seen.push(result);
                    }
                }
            }
        }
    }
    match role {
        Role { positions: Some(n), .. } => Values::Whole(0, n.max(1)),
        // A size of 0 makes everything empty, and the comparison with it.
        Role { is_size: true, .. } => Values::Whole(1, 3),
        Role { positions: None, is_size: false } => default,
    }
}

/// What elements are used for.
#[derive(Default)]
struct Role {
    /// As positions along an axis of at least this size.
    positions: Option<i64>,
    /// As a size or a count.
    is_size: bool,
}

impl Role {
    fn see(&mut self, call: &CallView<'_>, slot: usize) {
        // Where the axis is open, it has at least one element.
        let size = |operand: usize, axis: i64| {
            let dims = call.dims(operand).unwrap_or(&[]);
            let axis = crate::ops::normalize_axis(axis, dims.len());
            Some(axis.and_then(|a| dims.get(a)?.known()).unwrap_or(1))
        };
        let bound = match (call.node().op, slot) {
            (OpKind::Gather | OpKind::GatherElements | OpKind::ScatterElements, 1) => size(0, AXIS.of(call.node())),
            (OpKind::GatherND | OpKind::ScatterND, 1) => {
                let dims = call.dims(0).unwrap_or(&[]);
                Some(dims.iter().map(|d| d.known().unwrap_or(1)).min().unwrap_or(1))
            }
            (OpKind::OneHot, 0) => Some(call.known_ints(1).and_then(|d| d.first().copied()).unwrap_or(1)),
            // A shift by the width is defined, but not everywhere.
            (OpKind::BitShift, 1) => Some(8),
            (OpKind::Custom, 0) if call.node().op_name() == "EmbedLayerNormalization" => size(2, 0),
            (OpKind::Custom, 1) if call.node().op_name() == "EmbedLayerNormalization" => size(4, 0),
            _ => None,
        };
        self.positions = match (self.positions, bound) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.is_size |= matches!(
            (call.node().op, slot),
            (OpKind::Reshape | OpKind::Expand | OpKind::Tile | OpKind::TopK | OpKind::OneHot, 1)
                // Not a size, but not 0 either.
                | (OpKind::Div | OpKind::Mod, 1)
                | (OpKind::Range, _)
                | (OpKind::ConstantOfShape, 0)
                | (OpKind::Resize, 3)
                | (OpKind::Slice, 2)
        );
    }
}

/// Whether results hold elements of the operand as they are.
fn passes_elements(op: OpKind, slot: usize) -> bool {
    match op {
        OpKind::Identity
        | OpKind::Cast
        | OpKind::Flatten
        | OpKind::Transpose
        | OpKind::Concat
        | OpKind::Max
        | OpKind::Min => true,
        OpKind::Reshape
        | OpKind::Squeeze
        | OpKind::Unsqueeze
        | OpKind::Expand
        | OpKind::Slice
        | OpKind::Split
        | OpKind::Tile
        | OpKind::Clip
        | OpKind::Gather => slot == 0,
        OpKind::Where => slot > 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    fn made(text: &str) -> Vec<Input> {
        inputs(&parse(text).unwrap()).unwrap()
    }

    #[test]
    fn indices_stay_within_the_axis_that_they_index() {
        let inputs = made(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (int64[n,m] ids, int64[n,m] mask) => (float[] y, bool[] z)
            <float[30,4] table, int64[1] one = {1}>
            { flat = Unsqueeze(ids, one)
              y = Gather(table, flat)
              z = Cast <to = 9> (mask) }"#,
        );
        assert_eq!(inputs[0].values, Values::Whole(0, 30));
        assert_eq!(inputs[1].values, Values::Whole(0, 2));
        let ids = inputs[0].fill(&[100], Spread::Normal, 1, 1 << 20).unwrap().integers().unwrap();
        assert!(ids.iter().all(|i| (0..30).contains(i)) && ids.iter().any(|i| *i > 20));
    }

    #[test]
    fn the_same_symbol_has_the_same_size() {
        let inputs = made(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,3] x, float[m,n] y) => (float[m,3] z)
            { z = MatMul(y, x) }"#,
        );
        assert_eq!(symbols(&inputs), [("n".to_string(), true), ("m".to_string(), true)]);
        let sizes = Sizes::from([("n".to_string(), 2), ("m".to_string(), 5)]);
        assert_eq!(inputs[1].sizes(&sizes), Some(vec![5, 2]));
        assert_eq!(inputs[1].sizes(&Sizes::new()), None);
    }

    #[test]
    fn the_same_seed_makes_the_same_tensor() {
        let inputs = made(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1000] x, float16[10] h, string[3] s) => (float[1000] y)
            { y = Relu(x) }"#,
        );
        let fill = |seed| inputs[0].fill(&[1000], Spread::Normal, seed, 1 << 20).unwrap();
        assert_eq!(fill(1), fill(1));
        assert_ne!(fill(1), fill(2));
        let x = fill(1).reals().unwrap();
        let mean = x.iter().sum::<f64>() / 1000.0;
        let variance = x.iter().map(|x| x * x).sum::<f64>() / 1000.0;
        assert!(mean.abs() < 0.1 && (0.8..1.2).contains(&variance), "{mean} {variance}");
        assert_eq!(inputs[1].fill(&[10], Spread::Unit, 1, 100).unwrap().dtype(), DType::F16);
        assert_eq!(inputs[2].fill(&[3], Spread::Unit, 1, 1000).unwrap().len(), 3);
        assert_eq!(inputs[0].fill(&[1000], Spread::Normal, 1, 3999), None, "larger than allowed");
    }
}
