//! How much an output lost: one number for each sample, whose mean over samples is close to additive over layers.

use crate::ir::{Graph, Key, OpKind, ScopeId, Tensor, ValueId};
use crate::model::Model;

/// How one output is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scores,
    Numbers,
}

/// What is compared of a model's outputs.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    heads: Vec<(ValueId, Kind)>,
}

const SOFTMAX_AXIS: Key<i64> = Key::new("axis", -1);

impl Heads {
    /// Of `model`: scores of classes, where outputs look like them, are compared as probabilities.
    pub(crate) fn of(model: &Model) -> Heads {
        Heads::by(model, kind)
    }

    /// Of `model`, whose outputs are compared as numbers whatever they look like.
    pub(crate) fn as_numbers(model: &Model) -> Heads {
        Heads::by(model, |_, _, _| Kind::Numbers)
    }

    fn by(model: &Model, kind: impl Fn(&Graph, ValueId, ValueId) -> Kind) -> Heads {
        let graph = &model.graph;
        let outputs = graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
        let is_float = |&(_, value): &(ValueId, ValueId)| {
            graph.constant(value).is_none() && graph.value(value).ty.dtype().is_none_or(|t| t.is_float())
        };
        let mut heads: Vec<(ValueId, Kind)> = outputs
            .zip(scores(graph))
            .filter(is_float)
            .map(|(output, value)| (value, kind(graph, output, value)))
            .collect();
        heads.sort_by_key(|(value, _)| *value);
        heads.dedup_by_key(|(value, _)| *value);
        Heads { heads }
    }

    /// The tensors that are compared.
    pub(crate) fn values(&self) -> Vec<ValueId> {
        self.heads.iter().map(|(value, _)| *value).collect()
    }

    /// Whether each is scores of classes.
    pub(crate) fn are_scores(&self) -> Vec<bool> {
        self.heads.iter().map(|(_, kind)| *kind == Kind::Scores).collect()
    }

    /// What is measured, in a word.
    pub(crate) fn name(&self) -> &'static str {
        match (self.heads.iter().any(|h| h.1 == Kind::Scores), self.heads.iter().any(|h| h.1 == Kind::Numbers)) {
            (true, false) => "kl",
            (true, true) => "kl+nmse",
            (false, _) => "nmse",
        }
    }

    /// What was lost on each sample: `want` and `got` have the tensors of all samples for each head. The sum over heads.
    /// A loss that is no number is infinite.
    pub(crate) fn losses(&self, want: &[&[Tensor]], got: &[&[Tensor]]) -> Vec<f64> {
        let samples = want.first().map_or(0, |tensors| tensors.len());
        let mut sums = vec![0.0; samples];
        for ((&(_, kind), want), got) in self.heads.iter().zip(want).zip(got) {
            let of_head = match kind {
                Kind::Scores => want.iter().zip(*got).map(|(x, y)| divergence(x, y)).collect(),
                Kind::Numbers => noises(want, got),
            };
            for (sum, loss) in sums.iter_mut().zip(of_head) {
                *sum += if loss.is_nan() { f64::INFINITY } else { loss.max(0.0) };
            }
        }
        sums
    }
}

/// What says of each output how good it is: the output, or what a `Softmax` or `Sigmoid` makes it of. Behind these,
/// samples of which the model is certain look perfect whatever was done to it, and one at which it is not decides alone.
pub(crate) fn scores(graph: &Graph) -> Vec<ValueId> {
    let before = |value: ValueId| {
        let (node, _) = graph.producer(value)?;
        let squashes = matches!(graph.node(node).op, OpKind::Softmax | OpKind::LogSoftmax | OpKind::Sigmoid);
        graph.operand(node, 0).filter(|&v| squashes && graph.constant(v).is_none())
    };
    let outputs = graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
    outputs.map(|value| before(value).unwrap_or(value)).collect()
}

fn kind(graph: &Graph, output: ValueId, value: ValueId) -> Kind {
    let rank = |v: ValueId| graph.value(v).ty.shape().dims().map(<[_]>::len);
    let is_softmax = graph.producer(output).is_some_and(|(node, _)| {
        let n = graph.node(node);
        let last = rank(output).and_then(|rank| i64::try_from(rank).ok()).map(|rank| rank - 1);
        let axis = SOFTMAX_AXIS.of(n);
        matches!(n.op, OpKind::Softmax | OpKind::LogSoftmax) && (axis == -1 || Some(axis) == last)
    });
    let is_row = output == value && {
        let dims = graph.value(value).ty.shape().dims();
        dims.is_some_and(|dims| dims.len() == 2 && dims[1].known() != Some(1))
    };
    if is_softmax || is_row { Kind::Scores } else { Kind::Numbers }
}

/// Mean over rows of the divergence of the probabilities that scores `y` stand for from those of `x`.
fn divergence(x: &Tensor, y: &Tensor) -> f64 {
    let (Some(p), Some(q)) = (x.reals(), y.reals()) else { return f64::INFINITY };
    let row = x.dims().last().copied().unwrap_or(1).max(1);
    if p.len() != q.len() {
        return f64::INFINITY;
    }
    if p.is_empty() {
        return 0.0;
    }
    let rows = (p.len() / row) as f64;
    p.chunks(row).zip(q.chunks(row)).map(|(p, q)| row_divergence(p, q)).sum::<f64>() / rows
}

/// Source: Σ p·(log p − log q), with the logarithm of softmax(z) as z − max − log Σ exp(z − max).
pub(crate) fn row_divergence(p: &[f64], q: &[f64]) -> f64 {
    let normal = |z: &[f64]| {
        let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln()
    };
    let (of_p, of_q) = (normal(p), normal(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let probability = (p - of_p).exp();
        if probability == 0.0 { 0.0 } else { probability * ((p - of_p) - (q - of_q)) }
    });
    terms.sum()
}

/// Power of the error of each sample over the mean power of all samples.
pub(crate) fn noises(want: &[Tensor], got: &[Tensor]) -> Vec<f64> {
    let (mut signal, mut noise) = (0.0, Vec::with_capacity(want.len()));
    for (x, y) in want.iter().zip(got) {
        let (Some(x), Some(y)) = (x.reals(), y.reals()) else {
            noise.push(0.0);
            continue;
        };
        if x.len() != y.len() {
            noise.push(f64::INFINITY);
            continue;
        }
        let finite = || x.iter().zip(&y).filter(|(x, _)| x.is_finite());
        signal += finite().map(|(x, _)| x * x).sum::<f64>();
        noise.push(finite().map(|(x, y)| (x - y) * (x - y)).sum::<f64>());
    }
    let mean = signal / want.len().max(1) as f64;
    noise.iter().map(|noise| if *noise == 0.0 { 0.0 } else { noise / mean }).collect()
}

/// The same, of floats.
pub(crate) fn noises_of(want: &[Tensor], got: &[Tensor]) -> Option<Vec<f64>> {
    want.first()?.dtype().is_float().then(|| noises(want, got))
}

/// The mean, infinite where it is no number.
pub(crate) fn mean(losses: &[f64]) -> f64 {
    if losses.is_empty() {
        return 0.0;
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    if mean.is_nan() { f64::INFINITY } else { mean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::text::parse;

    fn t(dims: &[usize], elements: &[f32]) -> Tensor {
        Tensor::f32s(dims, elements).unwrap()
    }

    #[test]
    fn the_divergence_is_that_of_probabilities() {
        let logits = [0.0f32, 3f32.ln()];
        // p = (1/4, 3/4), q = (1/2, 1/2): 1/4·log(1/2) + 3/4·log(3/2).
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        let found = divergence(&t(&[1, 2], &logits), &t(&[1, 2], &[7.0, 7.0]));
        assert!((found - expected).abs() < 1e-6, "{found}");
        let shifted = divergence(&t(&[1, 2], &logits), &t(&[1, 2], &[5.0, 3f32.ln() + 5.0]));
        assert!(shifted.abs() < 1e-6, "scores are told up to a sum");
        let masked = t(&[1, 2], &[0.0, f32::NEG_INFINITY]);
        assert_eq!(divergence(&masked, &masked), 0.0);
        assert_eq!(divergence(&t(&[1, 2], &[0.0, 1.0]), &t(&[1, 3], &[0.0; 3])), f64::INFINITY);
    }

    #[test]
    fn noise_is_beside_the_signal_of_all_samples() {
        let want = [t(&[2], &[3.0, 4.0]), t(&[2], &[0.0, 0.0])];
        let got = [t(&[2], &[3.0, 5.0]), t(&[2], &[0.0, 5.0])];
        assert_eq!(noises(&want, &got), [1.0 / 12.5, 25.0 / 12.5]);
        assert_eq!(noises(&want, &want), [0.0, 0.0]);
        let bad = [t(&[2], &[f32::NAN, 4.0]), t(&[2], &[0.0, 0.0])];
        assert!(noises(&want, &bad)[0].is_nan());
    }

    fn heads(body: &str, of: fn(&Model) -> Heads) -> (Vec<String>, &'static str) {
        let text = format!(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[1,3] x, float[1,2,3] z) => ({body}"#);
        let mut model = parse(&text).unwrap();
        infer_declared(&mut model.graph);
        let heads = of(&model);
        (heads.values().iter().map(|&v| model.graph.value_label(v)).collect(), heads.name())
    }

    #[test]
    fn scores_are_found_before_and_without_a_softmax() {
        let (found, name) = heads("float[1,3] y) { y = Relu(x) }", Heads::of);
        assert_eq!((found, name), (vec!["y".to_string()], "kl"));
        let (found, name) = heads("float[1,2,3] y) { a = Relu(z) y = Softmax(a) }", Heads::of);
        assert_eq!((found, name), (vec!["a".to_string()], "kl"));
        assert_eq!(heads("float[1,2,3] y) { a = Relu(z) y = Softmax <axis = 1> (a) }", Heads::of).1, "nmse");
        assert_eq!(heads("float[1,2,3] y) { y = Relu(z) }", Heads::of).1, "nmse");
        assert_eq!(heads("float[1,3] y, float[1,2,3] w) { y = Relu(x) w = Relu(z) }", Heads::of).1, "kl+nmse");
        assert_eq!(heads("float[1,3] y) { y = Relu(x) }", Heads::as_numbers).1, "nmse");
    }

    #[test]
    fn what_is_no_number_is_an_infinite_loss() {
        let mut model =
            parse(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }"#)
                .unwrap();
        infer_declared(&mut model.graph);
        let heads = Heads::of(&model);
        let (want, got) = ([t(&[1, 3], &[1.0, 2.0, 3.0])], [t(&[1, 3], &[1.0, f32::NAN, 3.0])]);
        assert_eq!(heads.losses(&[&want], &[&got]), [f64::INFINITY]);
        assert_eq!(mean(&[1.0, 3.0]), 2.0);
        assert_eq!(mean(&[]), 0.0);
    }
}
