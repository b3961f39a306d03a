//! Reductions. Integers are exact; floats are accumulated in f64 and rounded once.

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::lanes::{Lane, common_splat};
use crate::exec::exact::layout::{Nest, View, at};
use crate::exec::exact::number::{Float, Integer, Number, Wide, per_float, per_integer, per_number, tensor};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, OpKind, Tensor};

/// Which elements of the operand make one element of the result.
struct Grouping<'a> {
    args: &'a Args<'a>,
    data: &'a Tensor,
    /// The result's dimensions with every reduced axis kept.
    kept: Dims,
    /// The result's dimensions.
    dims: Dims,
    /// Elements that one element of the result stands for.
    size: usize,
}

/// `ReduceSum` and its family.
pub(super) fn reduce(args: &Args<'_>) -> Result<Folded, Unable> {
    const KEEP_DIMS: Key<bool> = Key::new("keepdims", true);
    const NOOP: Key<bool> = Key::new("noop_with_empty_axes", false);
    let data = args.tensor(0)?;
    let axes = args.optional_ints(1)?.unwrap_or_default();
    let mut reduced = vec![axes.is_empty() && !NOOP.of(args.node()); data.rank()];
    for a in axes {
        reduced[axis(a, data.rank())?] = true;
    }
    let of = |pick: &dyn Fn(bool, usize) -> Option<usize>| -> Dims {
        reduced.iter().zip(data.dims()).filter_map(|(&r, &d)| pick(r, d)).collect()
    };
    let kept = of(&|r, d| Some(if r { 1 } else { d }));
    let dims = if KEEP_DIMS.of(args.node()) { kept.clone() } else { of(&|r, d| (!r).then_some(d)) };
    let size = count(&of(&|r, d| r.then_some(d))).ok_or_else(|| Unable::malformed("the operand is too large"))?;
    let groups = Grouping { args, data, kept, dims, size };

    let op = args.op();
    let picks = matches!(op, OpKind::ReduceMax | OpKind::ReduceMin | OpKind::ReduceMean);
    if picks
        && size > 0
        && let Some(e) = common_splat(&[data])
    {
        return Ok(args.splat(data.dtype(), &groups.dims, &e)?.into());
    }
    match op {
        OpKind::ReduceMax | OpKind::ReduceMin => extreme(&groups),
        _ => per_float!(data.dtype(), T => float::<T>(&groups), else => {
            per_integer!(data.dtype(), T => integer::<T>(&groups), else => Err(Unable::NoKernel))
        }),
    }
}

impl Grouping<'_> {
    /// Fold every group with `step`, from `start` on.
    fn fold<T: Number, A: Clone>(&self, start: A, step: impl Fn(&mut A, T)) -> Result<Vec<A>, Unable> {
        let n = self.args.room_for(DType::F64, &self.kept)?;
        let mut sums = vec![start; n];
        if self.data.len() == 0 {
            return Ok(sums);
        }
        let lanes = T::Packed::read(self.args, self.data)?;
        let target = View::of(&self.kept).broadcast(self.data.dims());
        let target = target.ok_or_else(|| Unable::malformed("the axes do not fit"))?;
        let source = View::of(self.data.dims());
        let nest = Nest::new(self.data.dims(), [source.strides(), target.strides()]);
        let (len, [by, to]) = nest.row();
        nest.rows([0, 0], |[mut i, mut j]| {
            for _ in 0..len {
                step(&mut sums[at(j)], T::get(lanes[at(i)]));
                (i, j) = (i + by, j + to);
            }
        });
        Ok(sums)
    }
}

fn extreme(groups: &Grouping<'_>) -> Result<Folded, Unable> {
    let is_max = groups.args.op() == OpKind::ReduceMax;
    if groups.data.dtype() == DType::Bool {
        // As 0 and 1.
        let found = groups.fold(u8::from(!is_max), |m: &mut u8, x: u8| *m = if is_max { *m | x } else { *m & x })?;
        return <[u8; 1]>::write(DType::Bool, &groups.dims, found.into_iter().map(|b| [b]).collect()).map(Folded::from);
    }
    per_number!(groups.data.dtype(), T => {
        let found = if is_max {
            groups.fold(T::LEAST, |m: &mut T, x: T| *m = m.larger(x))?
        } else {
            groups.fold(T::GREATEST, |m: &mut T, x: T| *m = m.smaller(x))?
        };
        tensor(&groups.dims, &found).map(Folded::from)
    }, else => Err(Unable::NoKernel))
}

fn integer<T: Integer>(groups: &Grouping<'_>) -> Result<Folded, Unable> {
    let results: Vec<T> = match groups.args.op() {
        OpKind::ReduceSum => groups.fold(T::ZERO, |s: &mut T, x: T| *s = s.add(x))?,
        OpKind::ReduceProd => groups.fold(T::ONE, |s: &mut T, x: T| *s = s.mul(x))?,
        OpKind::ReduceSumSquare => groups.fold(T::ZERO, |s: &mut T, x: T| *s = s.add(x.mul(x)))?,
        OpKind::ReduceL1 => groups.fold(T::ZERO, |s: &mut T, x: T| *s = s.add(Number::abs(x)))?,
        OpKind::ReduceMean => {
            const EXACT_IN_F64: u128 = 1 << 53;
            let sums = groups.fold(0i128, |s: &mut i128, x: T| *s += x.to_i128())?;
            let size = i128::try_from(groups.size).unwrap_or(i128::MAX);
            if size == 0 {
                return Err(Unable::Undefined("the mean of nothing"));
            }
            let fits = |s: i128| s.unsigned_abs() <= EXACT_IN_F64 && T::wrapped(s).to_i128() == s;
            let means = sums.into_iter().map(|s| fits(s).then(|| T::wrapped(s / size)));
            means.collect::<Option<_>>().ok_or(Unable::Undefined("the sum overflows"))?
        }
        _ => return Err(Unable::NoKernel),
    };
    tensor(&groups.dims, &results).map(Folded::from)
}

fn float<T: Float>(groups: &Grouping<'_>) -> Result<Folded, Unable> {
    let sum = |f: fn(f64) -> f64| groups.fold(0.0, move |s: &mut f64, x: T| *s += f(x.to_f64()));
    let each =
        |sums: Vec<f64>, f: &dyn Fn(f64) -> f64| -> Vec<T> { sums.into_iter().map(|s| T::nearest(f(s))).collect() };
    let results = match groups.args.op() {
        OpKind::ReduceSum => each(sum(|x| x)?, &|s| s),
        OpKind::ReduceL1 => each(sum(f64::abs)?, &|s| s),
        OpKind::ReduceSumSquare => each(sum(|x| x * x)?, &|s| s),
        OpKind::ReduceL2 => each(sum(|x| x * x)?, &f64::sqrt),
        OpKind::ReduceLogSum => each(sum(|x| x)?, &f64::ln),
        OpKind::ReduceMean if groups.size == 0 => return Err(Unable::Undefined("the mean of nothing")),
        OpKind::ReduceMean => {
            let size = Wide::Int(i128::try_from(groups.size).unwrap_or(i128::MAX)).to_f64();
            each(sum(|x| x)?, &|s| s / size)
        }
        OpKind::ReduceProd => each(groups.fold(1.0, |s: &mut f64, x: T| *s *= x.to_f64())?, &|s| s),
        OpKind::ReduceLogSumExp => {
            let folded = groups
                .fold(LogSum { largest: f64::NEG_INFINITY, scaled: 0.0 }, |s: &mut LogSum, x: T| s.add(x.to_f64()))?;
            folded.into_iter().map(|s| T::nearest(s.largest + s.scaled.ln())).collect()
        }
        _ => return Err(Unable::NoKernel),
    };
    tensor(&groups.dims, &results).map(Folded::rounding)
}

/// `ln Σ eˣ` as the largest `x` and `Σ e^(x − largest)`, which does not overflow.
#[derive(Clone)]
struct LogSum {
    largest: f64,
    scaled: f64,
}

impl LogSum {
    fn add(&mut self, x: f64) {
        if x == f64::NEG_INFINITY {
        } else if x == self.largest {
            self.scaled += 1.0;
        } else if x > self.largest {
            self.scaled = self.scaled * (self.largest - x).exp() + 1.0;
            self.largest = x;
        } else {
            self.scaled += (x - self.largest).exp();
        }
    }
}
