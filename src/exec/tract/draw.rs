//! Random operators, with numbers that are the same in every run.
//!
//! What is told of a model by its samples, and how far another computes the same, needs the same draws each time, and
//! in both models. So numbers follow from operator, seed and size alone: calls that agree in these draw the same.

use crate::exec::exact;
use crate::ir::{Attr, DType, Key, Node, OpKind, Tensor, count};
use crate::random::Random;

const MEAN: Key<f32> = Key::new("mean", 0.0);
const SCALE: Key<f32> = Key::new("scale", 1.0);
const LOW: Key<f32> = Key::new("low", 0.0);
const HIGH: Key<f32> = Key::new("high", 1.0);
const SEED: Key<f32> = Key::new("seed", 0.0);
const SAMPLE_SIZE: Key<i64> = Key::new("sample_size", 1);

/// Whether `op` is one of them.
pub(super) fn draws(op: OpKind) -> bool {
    use OpKind as O;
    matches!(
        op,
        O::RandomNormal | O::RandomUniform | O::RandomNormalLike | O::RandomUniformLike | O::Bernoulli | O::Multinomial
    )
}

/// The result of `node`, of which no more than `limit` bytes are made.
pub(super) fn draw(node: &Node, operands: &[Option<Tensor>], limit: usize) -> Result<Tensor, &'static str> {
    let x = operands.first().and_then(Option::as_ref);
    let of_x = || x.ok_or("its operand is missing");
    let dims: Vec<usize> = match (node.op, node.attr("shape")) {
        (OpKind::RandomNormal | OpKind::RandomUniform, Some(Attr::Ints(shape))) => {
            shape.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>().map_err(|_| "a size is negative")?
        }
        (OpKind::RandomNormal | OpKind::RandomUniform, _) => return Err("it says no shape"),
        (OpKind::Multinomial, _) => match (of_x()?.dims(), usize::try_from(SAMPLE_SIZE.of(node))) {
            (&[batch, classes], Ok(samples)) if classes > 0 => vec![batch, samples],
            _ => return Err("its operand has no classes"),
        },
        _ => of_x()?.dims().to_vec(),
    };
    let n = count(&dims).filter(|n| n.checked_mul(size_of::<f64>()).is_some_and(|bytes| bytes <= limit));
    let n = n.ok_or("it takes too much memory")?;
    let dtype = match node.attr("dtype") {
        Some(&Attr::Int(code)) => i32::try_from(code).ok().and_then(DType::from_code).ok_or("its type is unknown")?,
        _ => match node.op {
            OpKind::RandomNormal | OpKind::RandomUniform => DType::F32,
            OpKind::Multinomial => DType::I32,
            _ => of_x()?.dtype(),
        },
    };
    let reals = || of_x()?.reals().ok_or("its operand has no numbers");
    let mut random = Random::new(SEED.of(node).to_bits().into(), node.op_name());
    let drawn: Vec<f64> = match node.op {
        OpKind::RandomNormal | OpKind::RandomNormalLike => {
            let (mean, scale) = (f64::from(MEAN.of(node)), f64::from(SCALE.of(node)));
            (0..n).map(|_| mean + scale * random.normal()).collect()
        }
        OpKind::RandomUniform | OpKind::RandomUniformLike => {
            let (low, high) = (f64::from(LOW.of(node)), f64::from(HIGH.of(node)));
            (0..n).map(|_| low + (high - low) * random.unit()).collect()
        }
        OpKind::Bernoulli => reals()?.into_iter().map(|p| f64::from(u8::from(random.unit() < p))).collect(),
        _ => {
            let (classes, samples) = (of_x()?.dims()[1], dims[1]);
            let choose = |logits: &[f64]| -> Vec<f64> { (0..samples).map(|_| class(logits, random.unit())).collect() };
            reals()?.chunks_exact(classes).flat_map(choose).collect()
        }
    };
    let packed = exact::rounded(dtype, &drawn).ok_or("its type holds no numbers")?;
    Tensor::raw(dtype, &dims, packed).map_err(|_| "its type holds no numbers")
}

/// The class at which the shares of probability before it reach `place`, in [0, 1).
fn class(logits: &[f64], place: f64) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |&logit: &f64| (logit - largest).exp();
    let mut rest = place * logits.iter().map(weight).sum::<f64>();
    let chosen = logits.iter().position(|logit| {
        rest -= weight(logit);
        rest < 0.0
    });
    chosen.unwrap_or(logits.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use crate::exec::executor::Executor;
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::text::parse;

    fn run(text: &str, x: Tensor) -> Vec<Tensor> {
        let header = r#"<ir_version: 8, opset_import: ["" : 17]> "#;
        let model = parse(&format!("{header}{text}")).unwrap();
        let run = || Tract.load(&model).unwrap().run(&[("x".into(), x.clone())]).unwrap();
        let drawn = run();
        assert_eq!(drawn, run(), "a second run");
        drawn
    }

    #[test]
    fn every_run_draws_the_same() {
        let x = Tensor::f32s(&[4000], &[0.25; 4000]).unwrap();
        let drawn = run(
            r#"g (float[n] x) => (float[n] a, float[n] b, float[n] c, float[2] d)
            { a = RandomNormalLike <mean = 3.0, scale = 2.0> (x)
              b = RandomUniformLike <low = 2.0, high = 4.0> (x)
              c = Bernoulli (x)
              d = RandomNormal <shape = [2], seed = 7.0> () }"#,
            x,
        );
        let mean = |t: &Tensor| t.reals().unwrap().iter().sum::<f64>() / t.len() as f64;
        for (tensor, expected) in drawn.iter().zip([3.0, 3.0, 0.25]) {
            assert!((mean(tensor) - expected).abs() < 0.1, "{} is far from {expected}", mean(tensor));
        }
        assert!(drawn[1].reals().unwrap().iter().all(|u| (2.0..4.0).contains(u)));
        assert_eq!(drawn[3].dims(), [2]);
    }

    #[test]
    fn classes_are_drawn_by_their_shares() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let drawn = run(
            "g (float[n,3] x) => (int32[n,s] y) { y = Multinomial <sample_size = 1000> (x) }",
            Tensor::f32s(&[2, 3], &[logits, logits].concat()).unwrap(),
        );
        assert_eq!(drawn[0].dims(), [2, 1000]);
        let classes = drawn[0].integers().unwrap();
        assert!(classes.iter().all(|&c| c < 2));
        let share = classes.iter().sum::<i64>() as f64 / classes.len() as f64;
        assert!((share - 0.75).abs() < 0.05, "{share}");
    }
}
