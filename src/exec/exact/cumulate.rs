//! Running sums and products.

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::number::{Number, numbers, per_number, tensor};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Key, OpKind, Tensor};
use crate::rewrite::Exactness;

/// `CumSum` and `CumProd`.
pub(super) fn cumulate(args: &Args<'_>) -> Result<Folded, Unable> {
    const EXCLUSIVE: Key<bool> = Key::new("exclusive", false);
    const REVERSE: Key<bool> = Key::new("reverse", false);
    let data = args.tensor(0)?;
    let along = axis(args.int(1)?, data.rank())?;
    args.room_for(data.dtype(), data.dims())?;
    let (exclusive, reverse) = (EXCLUSIVE.of(args.node()), REVERSE.of(args.node()));
    let result = per_number!(data.dtype(), T => {
        let (start, step): (T, fn(T, T) -> T) = match args.op() {
            OpKind::CumSum => (T::ZERO, T::add),
            _ => (T::ONE, T::mul),
        };
        let mut out: Vec<T> = numbers(args, data)?;
        each_line(data, along, |line| {
            let mut sum = start;
            let mut visit = |i: usize| {
                let next = step(sum, out[i]);
                out[i] = if exclusive { sum } else { next };
                sum = next;
            };
            if reverse { line.rev().for_each(&mut visit) } else { line.for_each(&mut visit) }
        });
        tensor(data.dims(), &out)
    }, else => Err(Unable::NoKernel))?;
    let exactness = if data.dtype().is_float() { Exactness::Rounding } else { Exactness::Bitwise };
    Ok(Folded { results: vec![result], exactness })
}

/// The offsets of the elements of one line along an axis.
pub(super) type Line = std::iter::StepBy<std::ops::Range<usize>>;

/// Call `f` with every line of `data` along axis `along`, the first axis slowest.
pub(super) fn each_line(data: &Tensor, along: usize, mut f: impl FnMut(Line)) {
    if data.len() == 0 {
        return;
    }
    let inner = count(&data.dims()[along + 1..]).unwrap_or(0);
    let block = data.dims()[along] * inner;
    for outer in 0..data.len() / block {
        for i in 0..inner {
            let first = outer * block + i;
            f((first..first + block - inner + 1).step_by(inner));
        }
    }
}
