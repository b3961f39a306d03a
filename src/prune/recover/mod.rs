//! Accuracy given back to a pruned model, without training and without labels.
//!
//! Layer by layer, in the order in which they run, the weights of the pruned model become those that make what the
//! dense model makes of the same samples, from what the layer reads in the pruned model, whose layers before it are
//! repaired already: ridge regression in closed form. Where a layer's result is added to another tensor at once, it is
//! to make up for what that has lost too.
//!
//! What an activation behind a layer cuts off makes no difference, so a result below a `Relu`'s zero may be anything below
//! it. A layer with a `Relu` or a `Clip` right behind it, or behind that sum, is fitted in rounds, each to those results
//! that make no difference and are nearest to what it made in the round before: the error behind the activation never
//! grows by that (Zhang et al. 2016, Accelerating Very Deep Convolutional Networks, approximate responses behind it too).
//!
//! A new weight is kept where it is better on samples that it was not made from, and then made from all of them. Where
//! it is not, each output is brought to its former mean and deviation; where that is not better either, the layer stays
//! as it is.
//!
//! What means differ by goes to the bias. Where there is none and nothing adds a constant to the result, as behind many
//! matrix products, the weight takes that on too. A layer whose weight others read too stays as it is.

mod fit;
mod merge;
mod outcome;
mod run;
mod statistics;
mod target;
mod task;

use std::ops::Deref;

use rustc_hash::FxHashSet;

use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::Layer;
use crate::gram::layer::WEIGHT;
use crate::ir::{Graph, NodeId, ScopeId, Tensor};
use crate::model::Model;
use crate::prune::Cut;
use crate::prune::recover::run::Run;

pub use crate::prune::recover::outcome::{How, Recovered, Repaired, Skipped};

/// How to repair.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What is added to the diagonal of a layer's second moments, in parts of its mean.
    pub ridge: f64,
    /// Rows of patches that a layer is fitted to at most.
    pub rows: usize,
    /// Bytes that the tensors of all samples may take; with more, fewer samples are used.
    pub bytes: u128,
    /// Which rows are picked.
    pub seed: u64,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery { ridge: 0.01, rows: crate::gram::patches::MOST_ROWS, bytes: 2 << 30, seed: 1 }
    }
}

/// Repair `pruned`, which is `dense` without what `cut` leaves out: the same nodes and values.
///
/// The last fifth of `samples` is held out, and says what is better; what is, is made from all. So what `samples` say of
/// the result is too good: others have to be asked. `progress` hears how many layers of how many are done.
///
/// # Errors
/// When the engine cannot run one of the models on the samples.
pub fn recover<S: Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    pruned: &mut Model,
    cut: &Cut,
    samples: &[S],
    engine: &dyn Executor,
    recovery: &Recovery,
    progress: &dyn Fn(usize, usize),
) -> Result<Recovered, Cannot> {
    let (samples, held_out) = share(dense, pruned, samples, recovery);
    let mut recovered = Recovered { samples: samples.len(), held_out: held_out.len(), ..Recovered::default() };
    if samples.is_empty() {
        return Ok(recovered);
    }
    let all: Vec<&[(String, Tensor)]> = samples.iter().chain(&held_out).copied().collect();
    let mut run = Run {
        cut,
        recovery,
        fitted: samples.len(),
        dense: Stepper::new(dense, &all, engine)?,
        pruned: Stepper::new(pruned, &all, engine)?,
        waiting: FxHashSet::default(),
    };
    let mut layers = Vec::new();
    for node in pruned.graph.schedule(ScopeId::MAIN) {
        match pair(&dense.graph, &pruned.graph, node) {
            Ok(Some(pair)) => layers.push(pair),
            Ok(None) => {}
            Err(why) => recovered.skipped.push(Skipped { layer: pruned.graph.label(node), why }),
        }
    }
    run.waiting = layers.iter().map(|(_, layer)| layer.node).collect();
    progress(0, layers.len());
    for (done, (of_dense, of_pruned)) in layers.iter().enumerate() {
        let label = pruned.graph.label(of_pruned.node);
        match run.repair(dense, pruned, of_dense, of_pruned)? {
            Ok((before, after, how)) => recovered.layers.push(Repaired { layer: label, before, after, how }),
            Err(why) => recovered.skipped.push(Skipped { layer: label, why }),
        }
        run.waiting.remove(&of_pruned.node);
        progress(done + 1, layers.len());
    }
    Ok(recovered)
}

/// The layer that `node` is in both models; nothing for what is none.
fn pair(dense: &Graph, pruned: &Graph, node: NodeId) -> Result<Option<(Layer, Layer)>, &'static str> {
    let Ok(of_pruned) = Layer::of(pruned, node) else { return Ok(None) };
    if !dense.has_node(node) {
        return Ok(None);
    }
    let users = pruned.operand(node, WEIGHT).map_or(0, |weight| pruned.value(weight).users().len());
    if users > 1 {
        return Err("others read its weight too");
    }
    let of_dense = Layer::of(dense, node)?;
    Ok(Some((of_dense, of_pruned)))
}

/// As many samples as fit, and the part of them that is held out.
fn share<'s, S: Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    pruned: &Model,
    samples: &'s [S],
    recovery: &Recovery,
) -> (Vec<&'s [(String, Tensor)]>, Vec<&'s [(String, Tensor)]>) {
    let mut fitted: Vec<&[(String, Tensor)]> = samples.iter().map(|s| &**s).collect();
    let mut held = fitted.split_off(fitted.len() - fitted.len() / 5);
    let Some(first) = fitted.first() else { return (fitted, held) };
    let each = held_bytes(dense, first).saturating_add(held_bytes(pruned, first)).max(1);
    let room = usize::try_from(recovery.bytes / each).unwrap_or(usize::MAX).max(2);
    let all = fitted.len() + held.len();
    if all > room {
        let part = |samples: &mut Vec<_>| {
            let most = (samples.len() * room / all).max(1);
            let thinned: Vec<_> = (0..most.min(samples.len())).map(|i| samples[i * samples.len() / most]).collect();
            *samples = thinned;
        };
        part(&mut fitted);
        part(&mut held);
    }
    (fitted, held)
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::ir::ValueId;
    use crate::passes::infer_declared;
    use crate::prune::recover::target::Target;
    use crate::prune::{Choices, Colouring, Groups, apply};
    use crate::random::Random;
    use crate::text::parse;

    type Feed = Vec<(String, Tensor)>;

    /// A model in which each layer's outputs are nearly multiples of three, so that some can stand for the others.
    fn model(text: &str) -> Model {
        let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
        let constants: Vec<ValueId> =
            model.graph.values().filter(|&v| model.graph.constant(v).is_some_and(|t| t.dtype().is_float())).collect();
        let mut random = Random::new(3, "recover");
        for value in constants {
            let dims = model.graph.constant(value).unwrap().dims().to_vec();
            let axis = if dims.len() == 4 { 0 } else { dims.len() - 1 };
            let (outputs, n) = (dims[axis], dims.iter().product::<usize>());
            let (fan, inner) = (n / outputs, dims[axis + 1..].iter().product::<usize>());
            let kinds: Vec<f64> = (0..3 * fan).map(|_| random.normal() * (2.0 / fan as f64).sqrt()).collect();
            let element = |i: usize| {
                let (output, at) = (i / inner % outputs, i % inner + i / (inner * outputs) * inner);
                let share = 0.5 + (output * 7 % 5) as f64 / 5.0;
                (share * kinds[output % 3 * fan + at] + 0.03 * random.normal()) as f32
            };
            let elements: Vec<f32> = (0..n).map(element).collect();
            model.graph.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
        }
        infer_declared(&mut model.graph);
        model
    }

    /// Inputs that are mixtures of three patterns, and a little of nothing.
    fn feeds(dims: &[usize], count: u64) -> Vec<Feed> {
        let n: usize = dims.iter().product();
        let normal = |random: &mut Random| (0..n).map(|_| random.normal()).collect::<Vec<f64>>();
        let mut random = Random::new(5, "patterns");
        let patterns: Vec<Vec<f64>> = (0..3).map(|_| normal(&mut random)).collect();
        let feed = |seed| {
            let mut random = Random::new(seed, "feeds");
            let mut x: Vec<f64> = normal(&mut random).iter().map(|x| 0.05 * x).collect();
            for pattern in &patterns {
                let part = random.normal();
                x.iter_mut().zip(pattern).for_each(|(x, p)| *x += part * p);
            }
            let elements: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            vec![("x".to_string(), Tensor::f32s(dims, &elements).unwrap())]
        };
        (0..count).map(feed).collect()
    }

    /// `model` without every class of each group but one in `keep`.
    fn pruned(dense: &Model, keep: usize) -> (Model, Cut) {
        let groups = Groups::of(&dense.graph, Colouring::of(&dense.graph, &Choices::default()));
        let mut removed = groups.nothing();
        assert!(!groups.groups.is_empty(), "there is something to prune");
        for group in &groups.groups {
            for (i, &class) in group.classes.iter().enumerate() {
                removed[class as usize] = i % keep != 0;
            }
        }
        let cut = groups.cut(&removed);
        let mut model = dense.clone();
        apply(&mut model.graph, &cut).unwrap();
        (model, cut)
    }

    /// What outputs of `model` are off, as a part of their energy about their means over samples.
    fn off(dense: &Model, model: &Model, feeds: &[Feed]) -> f64 {
        let run = |model: &Model| -> Vec<Vec<f64>> {
            let mut session = Tract.load(model).unwrap();
            feeds.iter().map(|feed| session.run(feed).unwrap()[0].reals().unwrap()).collect()
        };
        let (want, got) = (run(dense), run(model));
        let (n, count) = (want[0].len(), want.len() as f64);
        let mean: Vec<f64> = (0..n).map(|i| want.iter().map(|y| y[i]).sum::<f64>() / count).collect();
        let (mut off, mut energy) = (0.0, 0.0);
        for (want, got) in want.iter().zip(&got) {
            for i in 0..n {
                off += (want[i] - got[i]).powi(2);
                energy += (want[i] - mean[i]).powi(2);
            }
        }
        off / energy
    }

    /// Prune, repair, and measure before and then on samples that neither has seen.
    fn repaired(text: &str, dims: &[usize]) -> (f64, f64, Recovered, Model, Model) {
        let dense = model(text);
        let (mut model, cut) = pruned(&dense, 2);
        let samples = feeds(dims, 60);
        let others = &samples[40..];
        let before = off(&dense, &model, others);
        let recovered =
            recover(&dense, &mut model, &cut, &samples[..40], &Tract, &Recovery::default(), &|_, _| {}).unwrap();
        assert_eq!((recovered.samples, recovered.held_out), (32, 8));
        for layer in &recovered.layers {
            assert!(layer.after <= layer.before, "{layer:?}");
        }
        let after = off(&dense, &model, others);
        (before, after, recovered, dense, model)
    }

    #[test]
    fn a_chain_of_convolutions_gets_most_of_it_back() {
        let (before, after, recovered, ..) = repaired(
            "g (float[1,3,12,12] x) => (float[1,5,6,6] y)
            <float[8,3,3,3] w, float[8] b, float[16,8,3,3] v, float[5,16,1,1] u, float[5] c>
            { a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
              r = Relu(a)
              d = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, v)
              s = Relu(d)
              y = Conv(s, u, c) }",
            &[1, 3, 12, 12],
        );
        assert!(after < before / 3.0, "{before} {after} {recovered:?}");
        let how: Vec<How> = recovered.layers.iter().map(|l| l.how).collect();
        assert_eq!(how, [How::Nothing, How::LeastSquares, How::LeastSquares]);
        assert!(recovered.skipped.is_empty());
    }

    #[test]
    fn a_residual_net_is_aimed_at_the_sum() {
        const NET: &str = "g (float[1,4,10,10] x) => (float[1,6] y)
            <float[12,4,3,3] w, float[12] b, float[12,12,3,3] v, float[12] c, float[12,12,3,3] u, float[12] d,
             float[12,6] f, int64[2] shape = {1, 12}>
            { a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
              r = Relu(a)
              p = Conv <pads = [1, 1, 1, 1]> (r, v, c)
              q = Relu(p)
              s = Conv <pads = [1, 1, 1, 1]> (q, u, d)
              t = Add(r, s)
              m = GlobalAveragePool(t)
              n = Reshape(m, shape)
              y = Gemm(n, f) }";
        let (before, after, recovered, dense, pruned) = repaired(NET, &[1, 4, 10, 10]);
        assert!(after < before / 3.0, "{before} {after} {recovered:?}");
        let node = |name: &str| {
            dense.graph.producer(dense.graph.values().find(|&v| dense.graph.value_label(v) == name).unwrap()).unwrap().0
        };
        let target = |name: &str, waits: bool| {
            let layers = [&dense, &pruned].map(|m| Layer::of(&m.graph, node(name)).unwrap());
            let (_, cut) = super::tests::pruned(&dense, 2);
            Target::of(&dense.graph, &pruned.graph, &cut, &layers[0], &layers[1], |_| waits).unwrap().beside.is_some()
        };
        assert!(target("s", false) && !target("s", true) && !target("p", false));
    }

    #[test]
    fn a_sum_in_the_product_itself_is_as_one_behind_it() {
        let (before, after, recovered, ..) = repaired(
            "g (float[6,8] x) => (float[6,8] y)
            <float[8,20] w, float[20] b, float[20,8] v, float[8,20] t, float[20,8] u>
            { a = Gemm(x, w, b)
              r = Relu(a)
              p = Gemm(r, v, x)
              q = Gemm(p, t)
              s = Relu(q)
              y = Gemm(s, u, p) }",
            &[6, 8],
        );
        assert!(after < before / 2.0, "{before} {after} {recovered:?}");
        assert!(recovered.skipped.is_empty() && recovered.layers.len() == 4, "{recovered:?}");
        let (.., twice, _, _) = repaired(
            "g (float[6,8] x) => (float[6,8] y) <float[8,20] w, float[20] b, float[20,8] v>
            { a = Gemm(x, w, b)
              r = Relu(a)
              y = Gemm <beta = 2.0> (r, v, x) }",
            &[6, 8],
        );
        assert_eq!(twice.skipped[0].why, "what it adds is no bias and cannot be told apart");
    }

    #[test]
    fn depthwise_layers_are_fitted_channel_by_channel() {
        let (before, after, recovered, ..) = repaired(
            "g (float[1,3,10,10] x) => (float[1,4,10,10] y)
            <float[10,3,1,1] w, float[10] b, float[10,1,3,3] d, float[10] e, float[4,10,1,1] u, float[4] c>
            { a = Conv(x, w, b)
              r = Relu(a)
              p = Conv <pads = [1, 1, 1, 1], group = 10> (r, d, e)
              q = Relu(p)
              y = Conv(q, u, c) }",
            &[1, 3, 10, 10],
        );
        assert!(after < before / 2.0, "{before} {after} {recovered:?}");
        assert_eq!(recovered.layers.len(), 3);
    }

    #[test]
    fn the_bias_of_a_matrix_product_is_in_the_sum_behind_it() {
        let (before, after, recovered, dense, pruned) = repaired(
            "g (float[6,8] x) => (float[6,8] y) <float[8,20] w, float[20] b, float[20,8] v, float[8] c>
            { a = MatMul(x, w)
              p = Add(a, b)
              r = Relu(p)
              q = MatMul(r, v)
              s = Add(c, q)
              y = Add(s, x) }",
            &[6, 8],
        );
        assert!(after < before / 2.0, "{before} {after} {recovered:?}");
        let bias = |model: &Model| {
            let g = &model.graph;
            let sum = g.producer(g.scope(ScopeId::MAIN).outputs()[0].value()).unwrap().0;
            let (behind, _) = g.producer(g.operand(sum, 0).unwrap()).unwrap();
            g.constant(g.operand(behind, 0).unwrap()).unwrap().clone()
        };
        assert_ne!(bias(&dense), bias(&pruned));
    }

    #[test]
    fn a_weight_that_is_read_twice_stays() {
        let (_, _, recovered, ..) = repaired(
            "g (float[6,8] x) => (float[6,4] y) <float[8,12] w, float[12,12] v, float[12,4] u>
            { a = MatMul(x, w)
              r = Relu(a)
              b = MatMul(r, v)
              s = Relu(b)
              c = MatMul(s, v)
              t = Relu(c)
              y = MatMul(t, u) }",
            &[6, 8],
        );
        assert_eq!(recovered.layers.len(), 2);
        assert!(recovered.skipped.iter().all(|s| s.why == "others read its weight too"), "{recovered:?}");
        assert_eq!(recovered.skipped.len(), 2);
    }

    #[test]
    fn no_more_samples_are_used_than_fit() {
        let dense = model(
            "g (float[1,64] x) => (float[1,4] y) <float[64,8] w, float[8,4] v>
            { a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v) }",
        );
        let (mut model, cut) = pruned(&dense, 2);
        let samples = feeds(&[1, 64], 50);
        // x and a are 72 floats, in the pruned model 68.
        let recovery = Recovery { bytes: 10 * 4 * (72 + 68), ..Recovery::default() };
        let recovered = recover(&dense, &mut model, &cut, &samples, &Tract, &recovery, &|_, _| {}).unwrap();
        assert_eq!((recovered.samples, recovered.held_out), (8, 2));
        let nothing = recover(&dense, &mut model, &cut, &samples[..0], &Tract, &recovery, &|_, _| {}).unwrap();
        assert_eq!(nothing, Recovered::default());
    }
}
