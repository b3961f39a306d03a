//! Functions of one number, and how their results follow it, in loops of vectors.

use crate::exec::vectors::vectors;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pointwise {
    Clip(f32, f32),
    LeakyRelu(f32),
    Elu(f32),
    Sigmoid,
    HardSigmoid(f32, f32),
    HardSwish,
    Tanh,
    Erf,
    Gelu,
    TanhGelu,
    Swish(f32),
    Softplus,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Neg,
    Abs,
    Power(f32),
}

/// The exponential, without a branch or a table, so that loops of it become vectors: two to the nearest whole power, which
/// is in the exponent's bits, times Taylor's series of what is left (Cody and Waite, Software Manual for the Elementary
/// Functions, chapter 6). Off by 3e-7 of it at the most; below -87 it stays what it is there, and above 88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Where a float's last bit is one: what is added to it is rounded to whole numbers, in its last bits.
    const WHOLE: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 88.0);
    let power = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = power - WHOLE;
    let r = (x - whole * LN_2[0]) - whole * LN_2[1];
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let exponent = power.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 1.5e-7 at the most. Millions of times in each
/// step: the series of the exact kernels would take longer than the products.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let sum = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - sum * exp(-x * x)).copysign(x)
}

const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The slope of [`erf`].
#[inline(always)]
fn bell(x: f32) -> f32 {
    std::f32::consts::FRAC_2_SQRT_PI * exp(-x * x)
}

/// Do something with a function, in a loop of its own for each: a choice within the loop would leave no vectors. What has
/// parameters is rare and cheap enough, but for clips.
macro_rules! chosen {
    ($of:expr, $f:ident => $does:expr; $($name:ident)+) => {
        match $of {
            $(Pointwise::$name => {
                let $f = Pointwise::$name;
                $does
            })+
            Pointwise::Clip(low, high) => {
                let $f = Pointwise::Clip(low, high);
                $does
            }
            Pointwise::Swish(alpha) => {
                let $f = Pointwise::Swish(alpha);
                $does
            }
            $f => $does,
        }
    };
}

impl Pointwise {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        match self {
            Pointwise::Clip(low, high) => x.max(low).min(high),
            Pointwise::LeakyRelu(slope) => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            Pointwise::Elu(alpha) => {
                if x < 0.0 {
                    alpha * (exp(x) - 1.0)
                } else {
                    x
                }
            }
            Pointwise::Sigmoid => sigmoid(x),
            Pointwise::HardSigmoid(alpha, beta) => (alpha * x + beta).clamp(0.0, 1.0),
            Pointwise::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Pointwise::Tanh => tanh(x),
            Pointwise::Erf => erf(x),
            Pointwise::Gelu => 0.5 * x * (1.0 + erf(x * SQRT_HALF)),
            Pointwise::TanhGelu => 0.5 * x * (1.0 + tanh(inner(x))),
            Pointwise::Swish(alpha) => x * sigmoid(alpha * x),
            Pointwise::Softplus => x.max(0.0) + exp(-x.abs()).ln_1p(),
            Pointwise::Exp => exp(x),
            Pointwise::Log => x.ln(),
            Pointwise::Sqrt => x.sqrt(),
            Pointwise::Reciprocal => 1.0 / x,
            Pointwise::Neg => -x,
            Pointwise::Abs => x.abs(),
            Pointwise::Power(exponent) => x.powf(exponent),
        }
    }

    /// How the result `y` follows `x`.
    #[inline(always)]
    fn slope(self, x: f32, y: f32) -> f32 {
        let within = |inside: bool, slope: f32| if inside { slope } else { 0.0 };
        match self {
            Pointwise::Clip(low, high) => within((x > low) & (x < high), 1.0),
            Pointwise::LeakyRelu(slope) => {
                if x < 0.0 {
                    slope
                } else {
                    1.0
                }
            }
            Pointwise::Elu(alpha) => {
                if x < 0.0 {
                    alpha * exp(x)
                } else {
                    1.0
                }
            }
            Pointwise::Sigmoid => y * (1.0 - y),
            Pointwise::HardSigmoid(alpha, _) => within((y > 0.0) & (y < 1.0), alpha),
            Pointwise::HardSwish => {
                if x <= -3.0 {
                    0.0
                } else if x >= 3.0 {
                    1.0
                } else {
                    x / 3.0 + 0.5
                }
            }
            Pointwise::Tanh => 1.0 - y * y,
            Pointwise::Erf => bell(x),
            Pointwise::Gelu => 0.5 * (1.0 + erf(x * SQRT_HALF)) + 0.5 * x * SQRT_HALF * bell(x * SQRT_HALF),
            Pointwise::TanhGelu => {
                let t = tanh(inner(x));
                let within = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBE * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * within
            }
            Pointwise::Swish(alpha) => {
                let s = sigmoid(alpha * x);
                s + alpha * x * s * (1.0 - s)
            }
            Pointwise::Softplus => sigmoid(x),
            Pointwise::Exp => y,
            Pointwise::Log => 1.0 / x,
            Pointwise::Sqrt => 0.5 / y,
            Pointwise::Reciprocal => -y * y,
            Pointwise::Neg => -1.0,
            Pointwise::Abs => {
                if x < 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Pointwise::Power(exponent) => exponent * x.powf(exponent - 1.0),
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// What `Gelu`'s approximation takes the hyperbolic tangent of.
#[inline(always)]
fn inner(x: f32) -> f32 {
    SQRT_2_OVER_PI * (x + CUBE * x * x * x)
}

vectors! {
    /// The function of each element.
    pub(super) fn forward(of: Pointwise, x: &[f32], result: &mut [f32]) {
        chosen!(of, f => result.iter_mut().zip(x).for_each(|(y, &x)| *y = f.of(x));
            Sigmoid Tanh Erf Gelu TanhGelu Exp Sqrt HardSwish)
    }

    /// Add to `of_x` how a loss follows each element of `x`, where it follows the results `y` by `of_result`. Where it
    /// does not follow a result, it does not follow what that is made of, however steep that is.
    pub(super) fn backward(of: Pointwise, x: &[f32], y: &[f32], of_result: &[f32], of_x: &mut [f32]) {
        chosen!(of, f => {
            for (((of_x, &g), &x), &y) in of_x.iter_mut().zip(of_result).zip(x).zip(y) {
                let added = g * f.slope(x, y);
                *of_x += if g == 0.0 { 0.0 } else { added };
            }
        }; Sigmoid Tanh Erf Gelu TanhGelu Exp Sqrt HardSwish)
    }

    /// The probabilities that scores `x` stand for.
    pub(super) fn probabilities(x: &[f32], y: &mut [f32]) {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp(x - most));
        let whole = 1.0 / y.iter().sum::<f32>();
        y.iter_mut().for_each(|y| *y *= whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_everywhere() {
        for i in -86_999..88_000 {
            let x = i as f32 * 1e-3;
            let known = f64::from(x).exp();
            assert!((f64::from(exp(x)) / known - 1.0).abs() < 3e-7, "{x}: {} {known}", exp(x));
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn functions_are_off_by_no_more_than_floats_are() {
        for i in -6000..=6000 {
            let x = i as f32 * 1e-3;
            let wide = f64::from(x);
            let off = |made: f32, known: f64| assert!((f64::from(made) - known).abs() < 1e-6, "{x}: {made} {known}");
            off(sigmoid(x), 1.0 / (1.0 + (-wide).exp()));
            off(tanh(x), wide.tanh());
        }
        let mut shares = [0.0; 3];
        probabilities(&[1.0, f32::NEG_INFINITY, 1.0], &mut shares);
        assert_eq!((shares[0], shares[2]), (0.5, 0.5));
        assert!(shares[1] < 1e-37);
    }
}
