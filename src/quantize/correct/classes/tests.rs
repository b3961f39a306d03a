//! Factors on a class change nothing.

use super::*;
use crate::exec::Executor;
use crate::exec::tract::Tract;
use crate::ir::Tensor;
use crate::model::Model;
use crate::passes::infer_declared;
use crate::quantize::correct::factors::apply;
use crate::random::Random;
use crate::text::parse;

fn model(text: &str) -> Model {
    let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
    infer_declared(&mut model.graph);
    model
}

fn of(model: &Model, name: &str, axis: usize) -> Option<Class> {
    let g = &model.graph;
    class(g, g.values().find(|&v| g.value_label(v) == name).unwrap(), axis)
}

/// The class of `name`'s channels, whose units are changed; outputs are the same but for rounding.
fn preserved(text: &str, name: &str, axis: usize, input: &[usize]) -> Class {
    let float = model(text);
    let class = of(&float, name, axis).unwrap();
    let factors: Vec<f64> = (0..class.size).map(|c| [0.25, 3.0, 0.8, 10.0][c % 4]).collect();
    let mut changed = float.clone();
    apply(&mut changed.graph, &class, &factors).unwrap();
    let mut random = Random::new(1, "classes");
    let elements: Vec<f32> = (0..input.iter().product()).map(|_| random.normal() as f32).collect();
    let feed = [("x".to_string(), Tensor::f32s(input, &elements).unwrap())];
    let run = |model: &Model| Tract.load(model).unwrap().run(&feed).unwrap()[0].reals().unwrap();
    let (a, b) = (run(&float), run(&changed));
    let largest = a.iter().fold(0f64, |m, x| m.max(x.abs()));
    assert!(largest > 0.0 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * largest), "{a:?} {b:?}");
    class
}

#[test]
fn between_convolutions_weights_and_biases_take_the_units() {
    let class = preserved(
        "g (float[1,2,3,3] x) => (float[1,2,2,2] y)
        <float[3,2,1,1] w = {1, 2, -3, 4, 5, 6}, float[3] b = {1, -2, 3},
         float[2,3,2,2] v = {1,2,3,4,5,6,7,8,9,1,2,3,4,-5,6,7,8,9,1,2,3,4,5,6}>
        { a = Conv(x, w, b)
          r = LeakyRelu(a)
          y = Conv(r, v) }",
        "r",
        1,
        &[1, 2, 3, 3],
    );
    assert_eq!((class.size, class.members.len(), class.makers.len(), class.readers.len()), (3, 2, 2, 1));
    assert!(!class.is_parametric);
}

#[test]
fn a_residual_sum_ties_both_ways_and_a_depthwise_convolution_parts_them() {
    let class = preserved(
        "g (float[1,2,3,3] x) => (float[1,1,1,1] y)
        <float[2,2,1,1] w = {1, 2, -3, 4}, float[2] b = {1, -2}, float[2,1,3,3] d = {1,2,3,4,5,6,7,8,9,1,2,3,4,-5,6,7,8,9},
         float[2,2,1,1] u = {2, 1, 1, -4}, float[1,2,1,1] v = {3, -2}, float[2,1,1] k = {0.5, 2}>
        { a = Conv(x, w, b)
          e = Conv <group = 2, pads = [1, 1, 1, 1]> (a, d)
          f = Relu(e)
          h = Conv(f, u)
          s = Add(a, h)
          t = Sub(s, k)
          p = GlobalAveragePool(t)
          y = Conv(p, v) }",
        "s",
        1,
        &[1, 2, 3, 3],
    );
    // a, h, s, t and p; made by w with b, u and k; read by d and v.
    assert_eq!((class.members.len(), class.makers.len(), class.layers.len()), (5, 4, 2));
}

#[test]
fn groups_and_transposed_weights_are_read_by_their_own_channels() {
    preserved(
        "g (float[1,2,3,3] x) => (float[1,4,3,3] y)
        <float[4,2,1,1] w = {1, 2, -3, 4, 5, 6, 7, 8}, float[4,2,1,1] v = {1, -2, 3, 4, -5, 6, 7, -8}>
        { a = Conv(x, w)
          r = Relu(a)
          y = Conv <group = 2> (r, v) }",
        "r",
        1,
        &[1, 2, 3, 3],
    );
    preserved(
        "g (float[1,4,2,2] x) => (float[1,2,2,2] y)
        <float[4,2,1,1] w = {1, 2, -3, 4, 5, 6, 7, 8}, float[4,1,1,1] u = {2, 1, 1, -4}, float[2,4,1,1] v = {1, -2, 3, 4, -5, 6, 7, -8}>
        { a = ConvTranspose <group = 2> (x, w)
          r = Relu(a)
          b = ConvTranspose <group = 4> (r, u)
          y = Conv(b, v) }",
        "r",
        1,
        &[1, 4, 2, 2],
    );
}

#[test]
fn behind_a_normalization_its_parameters_take_the_units() {
    let class = preserved(
        "g (float[2,3] x) => (float[2,2] y)
        <float[3] scale = {1, 2, 3}, float[3] bias = {1, 0, -1}, float[3,2] w = {1, 2, 3, 4, 5, 6}, float[3,2] v = {1,-1,1,2,1,1}>
        { n = LayerNormalization(x, scale, bias)
          a = MatMul(n, w)
          b = Gemm(n, v)
          y = Add(a, b) }",
        "n",
        1,
        &[2, 3],
    );
    assert!(class.is_parametric && class.layers.len() == 2 && class.makers.len() == 2);
    let class = preserved(
        "g (float[2,3] x) => (float[2,2] y)
        <float[3] k = {1, 2, 3}, float[3] c = {1, 0, -1}, float[3,2] w = {1, 2, 3, 4, 5, 6}>
        { m = Mul(x, k)
          n = Add(m, c)
          y = MatMul(n, w) }",
        "n",
        1,
        &[2, 3],
    );
    assert!(class.is_parametric && class.makers.len() == 2);
}

#[test]
fn a_bound_is_noted() {
    let text = |low: &str| {
        format!(
            "g (float[1,2] x) => (float[1,2] y)
            <float[2,2] w = {{1, 2, 3, 4}}, float[2,2] v = {{1, 2, 3, 4}}, float low = {{{low}}}, float six = {{6}}>
            {{ a = MatMul(x, w)
              c = Clip(a, low, six)
              y = MatMul(c, v) }}"
        )
    };
    assert_eq!(of(&model(&text("0")), "c", 1).unwrap().ceilings[0].0, 6.0);
    assert!(of(&model(&text("-1")), "c", 1).is_none());
}

#[test]
fn what_does_not_follow_rules_a_class_out() {
    let with = |rest: &str| {
        of(
            &model(&format!(
                "g (float[1,2] x) => (float[1,2] y)
                <float[2,2] w = {{1, 2, 3, 4}}, float[2,2] v = {{1, 2, 3, 4}}, float one = {{1}}>
                {{ a = MatMul(x, w)
                  {rest} }}"
            )),
            "a",
            1,
        )
    };
    assert!(with("y = MatMul(a, v)").is_some());
    for rest in [
        "s = Sigmoid(a) y = MatMul(s, v)",
        "s = Softmax(a) y = MatMul(s, v)",
        "s = Add(a, one) y = MatMul(s, v)",
        "s = Mul(a, a) y = MatMul(s, v)",
        "s = Add(a, x) y = MatMul(s, v)",
        "y = Relu(a)",
        "b = MatMul(a, v) y = Add(b, a)",
        "b = Transpose(a) s = Add(a, b) y = MatMul(s, v)",
    ] {
        assert!(with(rest).is_none(), "{rest}");
    }
}
