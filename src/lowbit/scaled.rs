//! What is read is divided by what weights are multiplied with (AWQ, Lin and others 2024): columns that weigh more in
//! the results have larger weights then, and lose less of them by rounding.
//!
//! It costs nothing in a run where a normalization stands before, whose own factors take the division up. How far to go
//! is tried: factors are powers of how large a column's elements are, and the power with which the results lose least
//! is the one.

use ndarray::{Array1, Array2, Axis};

use crate::gram::Layer;
use crate::ir::{Graph, NodeId, OpKind, Tensor, User, ValueId};
use crate::lowbit::codes::{Codes, Matrix, Search};
use crate::lowbit::gptq::gptq;
use crate::lowbit::grid::Grid;
use crate::lowbit::seen::Seen;
use crate::lowbit::sites::Site;
use crate::model::Model;

/// Powers that are tried.
const POWERS: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

/// Factors stay within this many times each other: what few samples make nearly nothing of may not be nothing.
const WIDEST: f64 = 64.0;

/// Factors are worth it where the results lose less than this part of what they lose without.
const WORTH: f64 = 0.98;

/// A normalization and the weights that alone read what it makes.
pub struct Scaled {
    norm: NodeId,
    /// Constants whose elements are factors or summands of the columns.
    slots: Vec<usize>,
    /// Places of the weights among all sites.
    pub sites: Vec<usize>,
}

/// What takes up factors of the columns that the weight at place `at` is multiplied with, where it is the first of those
/// that read them.
pub fn scaled(graph: &Graph, sites: &[Site], layers: &dyn Fn(&Site) -> Option<Layer>, at: usize) -> Option<Scaled> {
    let site = sites.get(at)?;
    let read = graph.operand(layers(site)?.node, 0)?;
    let (norm, _) = graph.producer(read)?;
    let slots = match graph.node(norm).op {
        OpKind::LayerNormalization if graph.operand(norm, 2).is_some() => vec![1, 2],
        OpKind::LayerNormalization | OpKind::RMSNormalization => vec![1],
        _ => return None,
    };
    let is_vector = |&slot: &usize| {
        let constant = graph.operand(norm, slot).and_then(|value| graph.constant(value));
        constant.is_some_and(|t| t.dims() == [site.columns] && t.dtype().is_float())
    };
    let mut readers = Vec::new();
    for user in graph.value(read).users() {
        let User::Node(node, 0) = *user else { return None };
        let place = sites.iter().position(|site| matches!(&site.readers[..], [reader] if reader.node == node))?;
        layers(&sites[place])?;
        readers.push(place);
    }
    readers.sort_unstable();
    let is_alone = graph.results(norm).iter().skip(1).flatten().all(|&v| graph.value(v).users().is_empty());
    let fits = slots.iter().all(is_vector) && is_alone && !graph.is_output(read) && readers.first() == Some(&at);
    fits.then_some(Scaled { norm, slots, sites: readers })
}

/// A weight, how it is rounded, and what it is multiplied with.
pub struct Trial<'a> {
    /// Where.
    pub site: &'a Site,
    /// The weight.
    pub matrix: Matrix,
    /// Its integers.
    pub grid: Grid,
    /// What is read.
    pub seen: Seen,
}

impl Trial<'_> {
    /// What the results lose where the columns have these factors; with a sweep, where that is how integers are found.
    fn loss(&self, rows: &Array2<f32>, factors: &Array1<f64>, sweeps: bool) -> Option<f64> {
        let (group, width) = (self.site.group, self.site.integers.width());
        let scaled = rows * &factors.mapv(|x| x as f32);
        let codes = if sweeps {
            let square = &self.seen.square / &outer(factors);
            gptq(&scaled, &square, &self.grid, group, width)?
        } else {
            let importance: Vec<f32> = self
                .seen
                .importance()
                .iter()
                .zip(factors)
                .map(|(of, by)| (f64::from(*of) / (by * by)) as f32)
                .collect();
            Codes::of(&Matrix::of_rows(&scaled)?, &self.grid, group, width, Search::Refined(Some(&importance)))?
        };
        Some(self.seen.loss(&(codes.reals() / &factors.mapv(|x| x as f32) - rows)))
    }
}

fn outer(factors: &Array1<f64>) -> Array2<f64> {
    let column = factors.view().insert_axis(Axis(1));
    &column * factors
}

/// The factors with which the results of all trials lose least together. `None` where they lose no less than without.
pub fn factors(trials: &[Trial<'_>], sweeps: bool) -> Option<Array1<f64>> {
    let first = trials.first()?;
    let sizes: Vec<f64> = first.seen.square.diag().iter().map(|x| x.max(0.0).sqrt()).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    if largest <= 0.0 || trials.iter().any(|trial| trial.site.columns != sizes.len()) {
        return None;
    }
    let rows: Vec<Array2<f32>> = trials.iter().map(|trial| trial.matrix.rows()).collect::<Option<_>>()?;
    let loss = |factors: &Array1<f64>| -> Option<f64> {
        trials.iter().zip(&rows).map(|(trial, rows)| trial.loss(rows, factors, sweeps)).sum()
    };
    let mut best = (loss(&Array1::ones(sizes.len()))? * WORTH, None);
    for power in POWERS {
        let factors: Array1<f64> = sizes.iter().map(|size| (size / largest).max(1.0 / WIDEST).powf(power)).collect();
        let middle = factors.iter().map(|x| x.ln()).sum::<f64>() / factors.len() as f64;
        let factors = factors / middle.exp();
        let lost = loss(&factors)?;
        if lost < best.0 {
            best = (lost, Some(factors));
        }
    }
    best.1
}

/// Multiply columns of weights with these factors, and have the normalization before them divide by them.
pub fn apply(model: &mut Model, scaled: &Scaled, sites: &[Site], factors: &Array1<f64>) -> Option<()> {
    let graph = &model.graph;
    let divided: Vec<(usize, Tensor)> = scaled
        .slots
        .iter()
        .map(|&slot| {
            let inverse: Vec<f64> = factors.iter().map(|by| 1.0 / by).collect();
            Some((slot, graph.constant(graph.operand(scaled.norm, slot)?)?.scaled_along(0, &inverse)?))
        })
        .collect::<Option<_>>()?;
    let multiplied: Vec<(ValueId, Tensor)> = scaled
        .sites
        .iter()
        .map(|&at| {
            let site = &sites[at];
            let axis = usize::from(site.is_by_output);
            Some((site.weight, graph.constant(site.weight)?.scaled_along(axis, factors.as_slice()?)?))
        })
        .collect::<Option<_>>()?;
    for (slot, tensor) in divided {
        model.graph.own_constant(scaled.norm, slot, tensor);
    }
    for (weight, tensor) in multiplied {
        let bytes = tensor.bytes()?;
        let kept = model.files.keep(bytes.to_vec());
        model.graph.set_constant(weight, Tensor::raw(tensor.dtype(), tensor.dims(), kept).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lowbit::levels::{Group, Integers};
    use crate::lowbit::sites::{Wish, sites};
    use crate::target::ONNX;
    use crate::text::parse;

    fn model(text: &str) -> Model {
        let mut model = parse(text).unwrap();
        crate::passes::infer_declared(&mut model.graph);
        model
    }

    fn found(model: &Model) -> (Vec<Site>, Option<Scaled>) {
        let row = ONNX.few_bits(Integers::Int4.dtype()).unwrap();
        let wish = Wish { integers: Integers::Int4, row, group: Group::Columns(32), kernels: false };
        let (sites, _) = sites(&model.graph, wish, wish, &rustc_hash::FxHashMap::default());
        let layers = |site: &Site| Layer::of(&model.graph, site.readers[0].node).ok();
        let scaled = scaled(&model.graph, &sites, &layers, 0);
        (sites, scaled)
    }

    const TWO: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[n,32] x) => (float[n,32] y, float[n,32] z) <float[32] s, float[32] b, float[32,32] v, float[32,32] w> {
            h = LayerNormalization(x, s, b) y = MatMul(h, v) z = Gemm <transB = 1> (h, w) }"#;

    #[test]
    fn what_is_divided_is_multiplied_again() {
        let mut model = model(TWO);
        let (sites, scaled) = found(&model);
        let scaled = scaled.unwrap();
        assert_eq!(scaled.sites, [0, 1]);
        let before = model.clone();
        let factors: Array1<f64> = (0..32).map(|i| 2f64.powi(i % 5 - 2)).collect();
        apply(&mut model, &scaled, &sites, &factors).unwrap();
        let reals = |model: &Model, value: ValueId| model.graph.constant(value).unwrap().reals().unwrap();
        for slot in [1, 2] {
            let (old, new) = (before.graph.operand(scaled.norm, slot), model.graph.operand(scaled.norm, slot));
            let (old, new) = (reals(&before, old.unwrap()), reals(&model, new.unwrap()));
            assert!((0..32).all(|i| new[i] * factors[i] == old[i]));
        }
        for site in &sites {
            let (old, new) = (reals(&before, site.weight), reals(&model, site.weight));
            let column = |i: usize| if site.is_by_output { i % 32 } else { i / 32 };
            assert!((0..1024).all(|i| new[i] == old[i] * factors[column(i)]));
        }
    }

    #[test]
    fn what_others_read_is_not_divided() {
        for (what, instead) in [
            ("z = Gemm <transB = 1> (h, w)", "z = Neg(h)"),
            ("z = Gemm <transB = 1> (h, w)", "z = Gemm <transB = 1> (x, w)"),
        ] {
            let (_, scaled) = found(&model(&TWO.replace(what, instead)));
            assert_eq!(scaled.is_some(), instead.contains("Gemm"), "{instead}");
        }
        let (_, scaled) = found(&model(&TWO.replace("LayerNormalization(x, s, b)", "Relu(x)")));
        assert!(scaled.is_none());
    }
}
