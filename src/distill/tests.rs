use super::*;
use crate::distill::compile::{Compiled, compile};
use crate::exec::tract::Tract;
use crate::ir::{DType, ScopeId, ValueId};
use crate::passes::infer_declared;
use crate::quality::loss::Heads;
use crate::random::Random;
use crate::text::parse;

type Feed = Vec<(String, Tensor)>;

/// A model whose constants of floats are random numbers, scaled so that sums do not grow, but for those that are given.
fn model(text: &str, seed: u64) -> Model {
    let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 20]> {text}"#)).unwrap();
    let mut random = Random::new(seed, "distill");
    let is_open = |t: &Tensor| t.dtype().is_float() && t.uniform_real() == Some(0.0);
    let constants: Vec<ValueId> =
        model.graph.values().filter(|&v| model.graph.constant(v).is_some_and(is_open)).collect();
    for value in constants {
        let dims = model.graph.constant(value).unwrap().dims().to_vec();
        let n: usize = dims.iter().product();
        let fan = (n / dims.iter().copied().max().unwrap_or(1)).max(1) as f64;
        let elements: Vec<f32> = (0..n).map(|_| (random.normal() / fan.sqrt()) as f32).collect();
        model.graph.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
    }
    infer_declared(&mut model.graph);
    model
}

fn constants(model: &Model) -> Vec<Tensor> {
    model.graph.values().filter_map(|v| model.graph.constant(v).cloned()).collect()
}

fn feeds(dims: &[usize], count: u64) -> Vec<Feed> {
    let feed = |seed| {
        let mut random = Random::new(seed, "feeds");
        let elements: Vec<f32> = (0..dims.iter().product()).map(|_| random.normal() as f32).collect();
        vec![("x".to_string(), Tensor::f32s(dims, &elements).unwrap())]
    };
    (0..count).map(feed).collect()
}

fn compiled(model: &Model, feeds: &[Feed]) -> Result<Compiled, String> {
    let heads: Vec<ValueId> = model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value).collect();
    compile(model, &heads, feeds, &Tract).unwrap()
}

/// Slopes are what differences tell.
fn follows(text: &str, dims: &[usize]) {
    let model = model(text, 3);
    let Compiled { net, samples, .. } = compiled(&model, &feeds(dims, 1)).unwrap();
    let mut random = Random::new(9, "loss");
    let weights: Vec<Vec<f32>> =
        net.heads.iter().map(|&head| (0..net.sizes[head]).map(|_| random.normal() as f32).collect()).collect();
    let loss = |parameters: &[f32]| -> f64 {
        let slots = net.forward(parameters, samples[0].clone()).unwrap();
        let of = |(&head, weights): (&usize, &Vec<f32>)| {
            slots[head].iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()
        };
        net.heads.iter().zip(&weights).map(of).sum()
    };
    let slots = net.forward(&net.parameters, samples[0].clone()).unwrap();
    let mut slopes = vec![0.0; net.parameters.len()];
    net.backward(&net.parameters, &slots, weights.clone(), &mut slopes).unwrap();
    let size = (slopes.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / slopes.len() as f64).sqrt();
    assert!(size > 0.0, "{text}");
    // All at once along random directions, and some by themselves.
    let directions = (0..12).map(|i| -> Vec<f32> {
        (0..slopes.len())
            .map(|p| if i < 4 { random.normal() as f32 } else { f32::from(p == i * 7 % slopes.len()) })
            .collect()
    });
    for direction in directions.collect::<Vec<_>>() {
        const STEP: f32 = 1e-3;
        let moved = |by: f32| -> Vec<f32> { net.parameters.iter().zip(&direction).map(|(p, d)| p + by * d).collect() };
        let told = (loss(&moved(STEP)) - loss(&moved(-STEP))) / f64::from(2.0 * STEP);
        let along: f64 = slopes.iter().zip(&direction).map(|(s, d)| f64::from(*s) * f64::from(*d)).sum();
        let length = direction.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
        assert!((told - along).abs() < 0.03 * size * length, "{told} {along} of {size}: {text}");
    }
}

#[test]
fn slopes_of_convolutions() {
    follows(
        "g (float[2,3,8,7] x) => (float[] y)
        <float[4,3,3,3] w, float[4] b, float[4,1,3,3] d, float[6,2,1,1] v, float[6,3,2,2] t>
        { a = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (x, w, b)  r = Tanh(a)
          c = Conv <group = 4, auto_pad = \"SAME_UPPER\"> (r, d)  s = Sigmoid(c)
          e = Conv <group = 2> (s, v)  f = LeakyRelu(e)  y = ConvTranspose <strides = [2, 2]> (f, t) }",
        &[2, 3, 8, 7],
    );
}

#[test]
fn slopes_of_products() {
    follows(
        "g (float[5,6] x) => (float[] y) <float[4,6] w, float[4] b, float[4,3] v, float[3] c>
        { a = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)  r = Gelu(a)  p = MatMul(r, v)  y = Add(c, p) }",
        &[5, 6],
    );
}

#[test]
fn slopes_of_attention() {
    follows(
        "g (float[1,5,6] x) => (float[] y)
        <float[6,12] w, float[12] b, float[6,6] v, float[6] s, float[6] t, int64[3] shape = {5, 2, 6}, int64[2] parts = {3, 3},
         float scale>
        { n = LayerNormalization(x, s, t)  p = MatMul(n, w)  a = Add(p, b)  h = Reshape(a, shape)
          u = Transpose <perm = [1, 0, 2]> (h)  q, k = Split <axis = 2> (u, parts)  z = Transpose <perm = [0, 2, 1]> (k)
          l = MatMul(q, z)  m = Mul(l, scale)  o = Softmax(m)  g2 = MatMul(o, k)  d = Concat <axis = 2> (g2, q)
          f = ReduceMean <keepdims = 0> (d)  e = MatMul(x, v)  y = Sub(e, f) }",
        &[1, 5, 6],
    );
}

#[test]
fn slopes_of_what_is_masked() {
    follows(
        "g (float[2,3,4] x) => (float[] y)
        <float[4,3] w, bool[3,3] seen = {1, 0, 0, 1, 1, 0, 1, 1, 1}, float far = {-10000}>
        { a = MatMul(x, w)  m = Where(seen, a, far)  s = Softmax(m)  y = Where(seen, s, a) }",
        &[2, 3, 4],
    );
}

#[test]
fn slopes_of_pools_and_gates() {
    follows(
        "g (float[1,3,8,8] x) => (float[] y, float[] z)
        <float[4,3,1,1] w, float[2,4,1,1] v, float[4,2,1,1] u, float[4] s, float[4] b, float[4] m, float[4] k = {1, 2, 3, 4}>
        { a = Conv(x, w)  n = BatchNormalization(a, s, b, m, k)  h = HardSwish(n)
          p = GlobalAveragePool(h)  q = Conv(p, v)  e = Elu(q)  r = Conv(e, u)  g2 = HardSigmoid(r)  t = Mul(h, g2)
          y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (t)
          z = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 0]> (t) }",
        &[1, 3, 8, 8],
    );
}

const NET: &str = "g (float[1,3,8,8] x) => (float[1,5] y)
    <float[8,3,3,3] w, float[8] b, float[8,8,3,3] v, float[8] c, float[8,5] f, int64[2] shape = {1, 8}>
    { a = Conv <pads = [1, 1, 1, 1]> (x, w, b)  r = Relu(a)  d = Conv <pads = [1, 1, 1, 1]> (r, v, c)  t = Add(r, d)
      s = Relu(t)  p = GlobalAveragePool(s)  n = Reshape(p, shape)  y = MatMul(n, f) }";

/// `model` with other weights: each is off by a part of its size.
fn disturbed(model: &Model, part: f64) -> Model {
    let mut other = model.clone();
    let constants: Vec<ValueId> =
        other.graph.values().filter(|&v| other.graph.constant(v).is_some_and(|t| t.dtype().is_float())).collect();
    let mut random = Random::new(5, "disturbed");
    for value in constants {
        let tensor = other.graph.constant(value).unwrap();
        let elements: Vec<f32> =
            tensor.reals().unwrap().iter().map(|x| (x * (1.0 + part * random.normal())) as f32).collect();
        let tensor = Tensor::f32s(tensor.dims(), &elements).unwrap();
        other.graph.set_constant(value, tensor);
    }
    other
}

fn taught(large: &Model, small: &mut Model, feeds: &[Feed], steps: usize) -> Result<Distilled, String> {
    let how = Distillation { steps: Some(steps), batch: 16, ..Distillation::default() };
    let (samples, held_out) = feeds.split_at(feeds.len() * 3 / 4);
    teach(large, small, (samples, held_out), &Tract, (&how, Part::Whole { loss: None }), &|_, _| ()).unwrap()
}

#[test]
fn outputs_come_nearer() {
    let large = model(NET, 1);
    let mut small = disturbed(&large, 0.3);
    let told = taught(&large, &mut small, &feeds(&[1, 3, 8, 8], 40), 100).unwrap();
    assert!(told.after < 0.5 * told.before, "{told:?}");
    assert_eq!((told.steps, told.samples, told.held_out), (100, 30, 10));
    // What is written is what was measured.
    let heads = Heads::of(&large);
    let run = |model: &Model| -> Vec<Tensor> {
        let mut session = Tract.load(model).unwrap();
        feeds(&[1, 3, 8, 8], 40)[30..].iter().map(|feed| session.run(feed).unwrap().remove(0)).collect()
    };
    let losses = heads.losses(&[&run(&large)], &[&run(&small)]);
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    assert!((mean - told.after).abs() < 1e-3 * told.after, "{mean} {told:?}");
    // And the same every time.
    let mut again = disturbed(&large, 0.3);
    assert_eq!(taught(&large, &mut again, &feeds(&[1, 3, 8, 8], 40), 100), Ok(told));
    assert_eq!(constants(&again), constants(&small));
}

#[test]
fn what_gets_worse_is_taken_back() {
    let large = model(NET, 1);
    let mut same = large.clone();
    let told = taught(&large, &mut same, &feeds(&[1, 3, 8, 8], 16), 8).unwrap();
    assert_eq!((told.before, told.after), (0.0, 0.0));
    assert_eq!(constants(&same), constants(&large));
}

#[test]
fn what_is_before_the_first_layer_may_be_anything() {
    let large = model(
        "g (int64[1,6] x) => (float[1,3] y) <float[10,4] table, float[4,8] w, float[8] b, float[8,3] v>
        { e = Gather(table, x)  c = CumSum <reverse = 1> (e, one)  one = Constant <value_int = 1> ()
          p = MatMul(c, w)  a = Add(p, b)  r = Relu(a)  m = ReduceMean <keepdims = 0> (r, one1)
          one1 = Constant <value_ints = [1]> ()  y = MatMul(m, v) }",
        2,
    );
    let feed = |seed| {
        let mut random = Random::new(seed, "ids");
        let ids: Vec<i64> = (0..6).map(|_| random.below(10) as i64).collect();
        vec![("x".to_string(), Tensor::vector(&ids).reshaped(&[1, 6]).unwrap())]
    };
    let samples: Vec<Feed> = (0..32).map(feed).collect();
    assert!(compiled(&large, &samples).unwrap().inputs.is_none(), "indices are not mixed");
    let mut small = disturbed(&large, 0.2);
    let told = taught(&large, &mut small, &samples, 60).unwrap();
    assert!(told.after < told.before, "{told:?}");
}

#[test]
fn sizes_of_what_follows_weights_do_not() {
    follows(
        "g (float[2,6] x) => (float[2,3] y) <float[6,3] w>
        { p = MatMul(x, w)  s = Shape(p)  f = Mul(p, p)  y = Reshape(f, s) }",
        &[2, 6],
    );
}

#[test]
fn what_is_not_known_is_said() {
    let of = |text: &str, dims: &[usize]| compiled(&model(text, 1), &feeds(dims, 2)).err().unwrap();
    let cumulative = "g (float[2,3] x) => (float[] y) <float[3,4] w, int64 axis = {1}>
        { p = MatMul(x, w)  [sums] y = CumSum(p, axis) }";
    assert_eq!(of(cumulative, &[2, 3]), "CumSum \"sums\": how its result follows what it reads is not known here");
    let mut repeated = model("g (float[2,3] x) => (float[] y) <float[3,40] w> { [product] y = MatMul(x, w) }", 1);
    let weight = repeated.graph.values().find(|&v| repeated.graph.constant(v).is_some()).unwrap();
    repeated.graph.set_constant(weight, Tensor::splat(DType::F32, &[3, 40], &0.5f32.to_le_bytes()).unwrap());
    let why = compiled(&repeated, &feeds(&[2, 3], 2)).err().unwrap();
    assert_eq!(why, "MatMul \"product\": its weight repeats one number, which takes no bytes");
    let none = "g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }";
    assert_eq!(of(none, &[2, 3]), "an output follows no weight");
    // Which rows are picked is another thing for each sample.
    let picked = model(
        "g (float[3,4] x, int64[2] i) => (float[] y) <float[4,5] w> { p = MatMul(x, w)  [rows] y = Gather(p, i) }",
        1,
    );
    let with = |i: [i64; 2], mut feed: Feed| {
        feed.push(("i".to_string(), Tensor::vector(&i)));
        feed
    };
    let [a, b] = [0, 1].map(|i| feeds(&[3, 4], 2).remove(i));
    let differ = [with([0, 1], a.clone()), with([2, 1], b.clone())];
    assert_eq!(compiled(&picked, &differ).err().unwrap(), "Gather \"rows\": what it does depends on the sample");
    assert!(compiled(&picked, &[with([0, 1], a), with([0, 1], b)]).is_ok());
    let mut sizes = feeds(&[2, 3], 1);
    sizes.extend(feeds(&[4, 3], 1));
    let open = model("g (float[n,3] x) => (float[n,4] y) <float[3,4] w> { y = MatMul(x, w) }", 1);
    assert_eq!(compiled(&open, &sizes).err().unwrap(), "samples are not of one size");
    let large = model(NET, 1);
    let how = (&Distillation::default(), Part::Trial);
    let nobody = teach(&large, &mut large.clone(), (&[] as &[Feed], &[]), &Tract, how, &|_, _| ());
    assert_eq!(nobody.unwrap(), Err("there are no samples to learn from".into()));
}

#[test]
fn without_others_that_tell_the_last_step_counts() {
    let large = model(NET, 1);
    let mut small = disturbed(&large, 0.3);
    let how = Distillation { steps: Some(60), batch: 16, ..Distillation::default() };
    let samples = feeds(&[1, 3, 8, 8], 30);
    let how = (&how, Part::Whole { loss: Some(0.1) });
    let told = teach(&large, &mut small, (&samples[..], &[]), &Tract, how, &|_, _| ()).unwrap().unwrap();
    assert!(told.after < 0.7 * told.before && told.held_out == 0, "{told:?}");
}

/// What a trial makes of a model that is off by so much, and whether it is another one then.
fn tried(part: f64, rate: f32) -> (Distilled, bool) {
    let large = model(NET, 1);
    let made = if part > 0.0 { disturbed(&large, part) } else { large.clone() };
    let samples = feeds(&[1, 3, 8, 8], 40);
    let (some, held_out) = samples.split_at(30);
    let how = Distillation { steps: Some(60), batch: 16, rate, ..Distillation::default() };
    let mut small = made.clone();
    let trial = Trial { model: made.clone(), samples: some, held_out };
    let told = distill(&large, &mut small, &samples, trial, &Tract, &how, &|_, _| ()).unwrap().unwrap();
    (told, constants(&small) != constants(&made))
}

#[test]
fn a_trial_that_helps_goes_on_with_all_samples() {
    let (told, is_changed) = tried(0.3, Distillation::default().rate);
    assert!(told.after < told.before && is_changed, "{told:?}");
    // Half of the steps, and then all.
    assert_eq!((told.steps, told.samples, told.held_out), (90, 40, 10));
}

#[test]
fn a_trial_that_fails_is_repeated_with_smaller_steps() {
    let large = model(NET, 1);
    let samples = feeds(&[1, 3, 8, 8], 40);
    let (some, held_out) = samples.split_at(30);
    let once = |rate: f32| {
        let how = Distillation { steps: Some(60), batch: 16, rate, ..Distillation::default() };
        let mut small = disturbed(&large, 0.02);
        teach(&large, &mut small, (some, held_out), &Tract, (&how, Part::Trial), &|_, _| ()).unwrap().unwrap()
    };
    let rate = 16.0;
    assert!(once(rate).after >= once(rate).before, "the larger steps have to fail for this to be a test");
    let smaller = once(0.25 * rate);
    let (told, is_changed) = tried(0.02, rate);
    assert!(told.after < told.before && is_changed, "{told:?}");
    assert_eq!((told.before, told.after), (smaller.before, smaller.after));
}

#[test]
fn where_no_trial_helps_nothing_is_done() {
    let (told, is_changed) = tried(0.0, Distillation::default().rate);
    assert_eq!((told.steps, told.samples, is_changed), (0, 0, false));
}
