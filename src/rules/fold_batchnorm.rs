//! `BatchNormalization(Conv(x, w, b))` is one `Conv`.
//!
//! With k = scale / √(var + ε), normalizing `w∗x + b` gives `(k·w)∗x + k·(b − mean) + shift`. Conv stores output
//! channels on weight axis 0, so k scales that axis.

use crate::ir::Key;
use crate::ir::OpKind::{BatchNormalization, Conv};
use crate::ir::Tensor;
use crate::rewrite::{Exactness, Rule, Skip, call, constant, optional, require, var};

const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);
const TRAINING_MODE: Key<bool> = Key::new("training_mode", false);

pub fn rule() -> Rule {
    let (x, w, b) = (var("x"), constant("w"), optional("b"));
    let [scale, shift, mean, var] = ["scale", "shift", "mean", "var"].map(constant);
    let (conv, norm) = (call("conv"), call("norm"));
    let pattern = BatchNormalization.of((Conv.of((x, w, b)).bind(conv), scale, shift, mean, var)).bind(norm);

    Rule::new("fold-batchnorm", Exactness::Rounding, pattern, move |m| {
        require(!TRAINING_MODE.of(m.call(norm).node()), "the normalization is in training mode")?;
        let unreal = || Skip::Unsuitable("a parameter is not of a floating-point type that can be folded");
        let reals = |t: &Tensor| t.reals().ok_or_else(unreal);
        let eps = f64::from(EPSILON.of(m.call(norm).node()));
        let (scale, shift, mean, var) = (reals(&m[scale])?, reals(&m[shift])?, reals(&m[mean])?, reals(&m[var])?);
        let channels = scale.len();
        let bias = match m.optional(b) {
            Some(b) => reals(b)?,
            None => vec![0.0; channels],
        };
        require(
            [&shift, &mean, &var, &bias].iter().all(|p| p.len() == channels),
            "the parameters have different lengths",
        )?;
        let k: Vec<f64> = scale.iter().zip(&var).map(|(s, v)| s / (v + eps).sqrt()).collect();
        let bias: Vec<f64> = (0..channels).map(|c| k[c] * (bias[c] - mean[c]) + shift[c]).collect();
        let weight = m[w].scaled_along(0, &k).ok_or_else(unreal)?;
        let bias = Tensor::rounded(weight.dtype(), &[channels], &bias).map_err(|_| unreal())?;
        Ok(Conv.emit([m[x].into(), weight.into(), bias.into()]).like(m.call(conv)))
    })
}
