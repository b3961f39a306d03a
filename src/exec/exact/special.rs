//! Transcendental functions and activations: computed in f64, rounded once.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI, PI};

use crate::exec::exact::args::Args;
use crate::exec::exact::number::{Float, Number, map, per_float};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Key, OpKind};

/// Every operator that is a function of one float and its attributes.
pub(super) fn function(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    let float = |name, default| f64::from(Key::<f32>::new(name, default).of(args.node()));
    let (alpha, f): (f64, fn(f64, f64, f64) -> f64) = match args.op() {
        OpKind::Acos => (0.0, |x, _, _| x.acos()),
        OpKind::Acosh => (0.0, |x, _, _| x.acosh()),
        OpKind::Asin => (0.0, |x, _, _| x.asin()),
        OpKind::Asinh => (0.0, |x, _, _| x.asinh()),
        OpKind::Atan => (0.0, |x, _, _| x.atan()),
        OpKind::Atanh => (0.0, |x, _, _| x.atanh()),
        OpKind::Celu => (float("alpha", 1.0), |x, a, _| if x < 0.0 { a * (x / a).exp_m1() } else { x }),
        OpKind::Cos => (0.0, |x, _, _| x.cos()),
        OpKind::Cosh => (0.0, |x, _, _| x.cosh()),
        OpKind::Elu => (float("alpha", 1.0), |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x }),
        OpKind::Erf => (0.0, |x, _, _| erf(x)),
        OpKind::Exp => (0.0, |x, _, _| x.exp()),
        OpKind::Gelu => match args.text(Key::new("approximate", "none")).as_ref() {
            "none" => (0.0, |x, _, _| 0.5 * x * erfc(-x * FRAC_1_SQRT_2)),
            "tanh" => (0.0, |x, _, _| 0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh())),
            other => return Err(Unable::malformed(format!("approximate {other}"))),
        },
        OpKind::HardSigmoid => (float("alpha", 0.2), |x, a, b| (a * x + b).clamp(0.0, 1.0)),
        OpKind::HardSwish => (0.0, |x, _, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        OpKind::LeakyRelu => (float("alpha", 0.01), |x, a, _| if x < 0.0 { a * x } else { x }),
        OpKind::Log => (0.0, |x, _, _| x.ln()),
        OpKind::Mish => (0.0, |x, _, _| x * softplus(x).tanh()),
        OpKind::Selu => (float("alpha", 1.673_263_2), |x, a, gamma| gamma * if x > 0.0 { x } else { a * x.exp_m1() }),
        OpKind::Shrink => (float("lambd", 0.5), |x, lambda, bias| {
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        }),
        OpKind::Sigmoid => (1.0, |x, a, _| sigmoid(a * x)),
        OpKind::Sin => (0.0, |x, _, _| x.sin()),
        OpKind::Sinh => (0.0, |x, _, _| x.sinh()),
        OpKind::Softplus => (0.0, |x, _, _| softplus(x)),
        OpKind::Softsign => (0.0, |x, _, _| x / (1.0 + x.abs())),
        OpKind::Swish => (float("alpha", 1.0), |x, a, _| x * sigmoid(a * x)),
        OpKind::Tan => (0.0, |x, _, _| x.tan()),
        OpKind::Tanh => (0.0, |x, _, _| x.tanh()),
        OpKind::ThresholdedRelu => (float("alpha", 1.0), |x, a, _| if x > a { x } else { 0.0 }),
        _ => return Err(Unable::NoKernel),
    };
    let beta = match args.op() {
        OpKind::HardSigmoid => float("beta", 0.5),
        OpKind::Selu => float("gamma", 1.050_701),
        OpKind::Shrink => float("bias", 0.0),
        _ => 0.0,
    };
    // A comparison would make a number of a NaN.
    let total = |x: f64| if x.is_nan() { x } else { f(x, alpha, beta) };
    per_float!(x.dtype(), T => map(args, x, |x: T| Some(T::nearest(total(x.to_f64())))), else => Err(Unable::NoKernel))
        .map(Folded::rounding)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + eˣ)`
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function, to a few units in the last place.
///
/// Abramowitz and Stegun 7.1.6, a series of positive terms, near zero; 7.1.14, a continued fraction, beyond.
fn erf(x: f64) -> f64 {
    if x.abs() < NEAR { series(x) } else { (1.0 - tail(x.abs())).copysign(x) }
}

/// `1 − erf(x)`, without cancellation for large `x`.
fn erfc(x: f64) -> f64 {
    if x >= NEAR { tail(x) } else { 1.0 - erf(x) }
}

const NEAR: f64 = 2.0;

/// `2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1))`
fn series(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * f64::EPSILON / 4.0 && n < 200.0 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `erfc(x)` for `x` at least [`NEAR`]: `e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 1½/(x + …))))`, evaluated from its far end.
fn tail(x: f64) -> f64 {
    let mut fraction = x;
    for k in (1..=120).rev() {
        fraction = x + f64::from(k) / 2.0 / fraction;
    }
    (-x * x).exp() / PI.sqrt() / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_agrees_with_tables() {
        let table = [
            (0.1, 0.112_462_916_018_284_89),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (1.9, 0.992_790_429_235_257_5),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
        ];
        for (x, y) in table {
            assert!((erf(x) - y).abs() < 4e-16, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erfc(5.0) / 1.537_459_794_428_034_8e-12 - 1.0).abs() < 1e-14);
        assert_eq!((erf(f64::INFINITY), erf(0.0)), (1.0, 0.0));
    }

    #[test]
    fn activations_do_not_overflow() {
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(softplus(-1000.0), 0.0);
        assert_eq!((sigmoid(-1000.0), sigmoid(1000.0)), (0.0, 1.0));
    }
}
