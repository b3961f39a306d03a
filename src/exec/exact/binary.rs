//! Arithmetic of two and more operands, broadcast.

use crate::exec::exact::args::Args;
use crate::exec::exact::lanes::{Lane, common_splat};
use crate::exec::exact::number::{Float, Integer, Number, Wide, map, per_float, per_integer, per_number, zip};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Key, OpKind, Tensor};
use crate::rewrite::Exactness;

/// `Add`, `Sub`, `Mul`, `Div`, `Mod`, `Pow` and `PRelu`.
///
/// Integer sums and products wrap. An integer has no quotient and no remainder by zero.
pub(super) fn arithmetic(args: &Args<'_>) -> Result<Folded, Unable> {
    const FMOD: Key<bool> = Key::new("fmod", false);
    let operands = [args.tensor(0)?, args.tensor(1)?];
    let [a, b] = operands;
    if args.op() == OpKind::Pow {
        return power(args, operands);
    }
    if a.dtype() != b.dtype() {
        return Err(Unable::malformed(format!("{} of {a} and {b}", args.op())));
    }
    let truncates = FMOD.of(args.node());
    let result = per_number!(a.dtype(), T => match args.op() {
        OpKind::Add => zip(args, operands, |a: T, b: T| Some(a.add(b))),
        OpKind::Sub => zip(args, operands, |a: T, b: T| Some(a.sub(b))),
        OpKind::Mul => zip(args, operands, |a: T, b: T| Some(a.mul(b))),
        OpKind::Div => zip(args, operands, |a: T, b: T| a.div(b)),
        OpKind::Mod if truncates => zip(args, operands, |a: T, b: T| a.trunc_mod(b)),
        OpKind::Mod => zip(args, operands, |a: T, b: T| a.floor_mod(b)),
        OpKind::PRelu => zip(args, operands, |x: T, slope: T| Some(if x < T::ZERO { slope.mul(x) } else { x })),
        _ => Err(Unable::NoKernel),
    }, else => Err(Unable::NoKernel))?;
    if args.op() == OpKind::PRelu && result.dims() != a.dims() {
        return Err(Unable::malformed(format!("a slope {b} for {a}")));
    }
    let rounds_twice = args.op() == OpKind::Mod && !truncates && a.dtype().is_float();
    let exactness = if rounds_twice { Exactness::Rounding } else { Exactness::Bitwise };
    Ok(Folded { results: vec![result], exactness })
}

/// `Pow`: the result has the type of the base, whatever the exponent's.
fn power(args: &Args<'_>, operands: [&Tensor; 2]) -> Result<Folded, Unable> {
    let [base, exponent] = operands;
    per_number!(exponent.dtype(), E => {
        per_float!(base.dtype(), T => {
            zip(args, operands, |x: T, e: E| Some(T::nearest(x.to_f64().powf(e.to_f64())))).map(Folded::rounding)
        }, else => per_integer!(base.dtype(), T => {
            zip(args, operands, |x: T, e: E| whole_exponent(e.wide()).and_then(|e| x.power(e))).map(Folded::from)
        }, else => Err(Unable::NoKernel)))
    }, else => Err(Unable::NoKernel))
}

fn whole_exponent(e: Wide) -> Option<u32> {
    match e {
        Wide::Int(i) => u32::try_from(i).ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        Wide::Float(f) => (f.fract() == 0.0 && (0.0..=1e9).contains(&f)).then_some(f as u32),
    }
}

/// `Max`, `Min`, `Sum` and `Mean` of any number of operands.
pub(super) fn variadic(args: &Args<'_>) -> Result<Folded, Unable> {
    let first = args.tensor(0)?;
    let n = args.count();
    let mut result = first.clone();
    for slot in 1..n {
        let next = args.tensor(slot)?;
        if next.dtype() != first.dtype() {
            return Err(Unable::malformed(format!("{} of {first} and {next}", args.op())));
        }
        let pair = [&result, next];
        result = per_number!(first.dtype(), T => match args.op() {
            OpKind::Max => zip(args, pair, |a: T, b: T| Some(a.larger(b))),
            OpKind::Min => zip(args, pair, |a: T, b: T| Some(a.smaller(b))),
            OpKind::Sum | OpKind::Mean => zip(args, pair, |a: T, b: T| Some(a.add(b))),
            _ => Err(Unable::NoKernel),
        }, else => Err(Unable::NoKernel))?;
    }
    if args.op() == OpKind::Mean && n > 1 {
        #[expect(clippy::cast_precision_loss, reason = "nodes have far fewer than 2⁵³ operands")]
        let n = n as f64;
        result = per_float!(first.dtype(), T => map(args, &result, |x: T| x.div(T::nearest(n))), else => Err(Unable::NoKernel))?;
    }
    let rounds_often = n > 2 && matches!(args.op(), OpKind::Sum | OpKind::Mean);
    let exactness = if rounds_often { Exactness::Rounding } else { Exactness::Bitwise };
    Ok(Folded { results: vec![result], exactness })
}

/// `Clip`: `Min(max, Max(x, min))`.
pub(super) fn clip(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    per_number!(x.dtype(), T => {
        let bound = |slot: usize| -> Result<Option<T>, Unable> {
            let Some(t) = args.optional(slot) else { return Ok(None) };
            let lane = common_splat(&[t]).filter(|_| t.len() == 1 && t.dtype() == x.dtype());
            let Some(lane) = lane else { return Err(Unable::malformed(format!("{x} clipped at {t}"))) };
            let one = Tensor::splat(t.dtype(), &[], &lane).map_err(|e| Unable::malformed(e.to_string()))?;
            let bound = T::get(<T as Number>::Packed::read(args, &one)?[0]);
            if bound.is_nan() { Err(Unable::Undefined("a bound is not a number")) } else { Ok(Some(bound)) }
        };
        let (least, greatest) = (bound(1)?, bound(2)?);
        if least.is_none() && greatest.is_none() {
            return Ok(x.clone().into());
        }
        map(args, x, |x: T| {
            let x = least.map_or(x, |least| x.larger(least));
            Some(greatest.map_or(x, |greatest| x.smaller(greatest)))
        })
        .map(Folded::from)
    }, else => Err(Unable::NoKernel))
}
