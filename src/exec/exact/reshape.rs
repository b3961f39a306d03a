//! The same elements under other dimensions, or another type of the same width: the bytes are shared.

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Data, Dims, Key, Tensor};
use crate::ops::shape::TO;

fn shared(t: &Tensor, dims: &[usize]) -> Result<Folded, Unable> {
    t.reshaped(dims).map(Folded::from).map_err(|e| Unable::malformed(e.to_string()))
}

/// `Identity`
pub(super) fn identity(args: &Args<'_>) -> Result<Folded, Unable> {
    Ok(args.tensor(0)?.clone().into())
}

/// `Reshape`: 0 copies a dimension (unless `allowzero`), one −1 takes what remains.
pub(super) fn reshape(args: &Args<'_>) -> Result<Folded, Unable> {
    const ALLOW_ZERO: Key<bool> = Key::new("allowzero", false);
    let (data, shape) = (args.tensor(0)?, args.ints(1)?);
    let allow_zero = ALLOW_ZERO.of(args.node());
    let mut dims = Dims::new();
    let mut open = None;
    for (i, &d) in shape.iter().enumerate() {
        dims.push(match d {
            -1 if open.is_some() => return Err(Unable::malformed("more than one dimension is −1")),
            -1 => {
                open = Some(i);
                1
            }
            0 if !allow_zero => *data.dims().get(i).ok_or_else(|| {
                Unable::malformed(format!("dimension {i} is copied from a tensor of rank {}", data.rank()))
            })?,
            d => args.dims(&[d])?[0],
        });
    }
    if let Some(i) = open {
        let rest = count(&dims).filter(|&n| n > 0).ok_or_else(|| Unable::malformed("−1 beside a dimension of 0"))?;
        if !data.len().is_multiple_of(rest) {
            return Err(Unable::malformed(format!("{} elements do not fill {shape:?}", data.len())));
        }
        dims[i] = data.len() / rest;
    }
    shared(data, &dims)
}

/// `Flatten`
pub(super) fn flatten(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", 1);
    let data = args.tensor(0)?;
    let at = AXIS.of(args.node());
    // The axis may be one past the last; counted from the back it is an ordinary one.
    let at = if usize::try_from(at) == Ok(data.rank()) { data.rank() } else { axis(at, data.rank())? };
    let (outer, inner) = data.dims().split_at(at);
    let too_many = || Unable::malformed("the dimensions are too large");
    shared(data, &[count(outer).ok_or_else(too_many)?, count(inner).ok_or_else(too_many)?])
}

/// `Squeeze`
pub(super) fn squeeze(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    let keep: Dims = match args.optional_ints(1)? {
        None => data.dims().iter().copied().filter(|&d| d != 1).collect(),
        Some(axes) => {
            let axes = axes.iter().map(|&a| axis(a, data.rank())).collect::<Result<Vec<_>, _>>()?;
            if let Some(a) = axes.iter().find(|&&a| data.dims()[a] != 1) {
                return Err(Unable::malformed(format!("axis {a} has size {}, not 1", data.dims()[*a])));
            }
            let kept = data.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i));
            kept.map(|(_, &d)| d).collect()
        }
    };
    shared(data, &keep)
}

/// `Unsqueeze`
pub(super) fn unsqueeze(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, axes) = (args.tensor(0)?, args.ints(1)?);
    let rank = data.rank() + axes.len();
    let mut is_new = vec![false; rank];
    for &a in &axes {
        if std::mem::replace(&mut is_new[axis(a, rank)?], true) {
            return Err(Unable::malformed(format!("axis {a} is inserted twice")));
        }
    }
    let mut old = data.dims().iter();
    let dims: Dims = is_new.iter().map(|&new| if new { 1 } else { old.next().copied().unwrap_or(1) }).collect();
    shared(data, &dims)
}

/// `BitCast`
pub(super) fn bit_cast(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    let to = i32::try_from(TO.of(args.node())).ok().and_then(DType::from_code).ok_or(Unable::NoKernel)?;
    if to.bits() != data.dtype().bits() || to == DType::String {
        return Err(Unable::malformed(format!("{} and {to} differ in width", data.dtype())));
    }
    if to == DType::Bool && data.dtype() != DType::Bool {
        return Err(Unable::Undefined("bytes other than 0 and 1 would become booleans"));
    }
    let tensor = match data.data() {
        Data::Raw(bytes) => Tensor::raw(to, data.dims(), bytes.clone()),
        Data::Splat(e) => Tensor::splat(to, data.dims(), e),
        Data::Strings(_) => return Err(Unable::NoKernel),
    };
    tensor.map(Folded::from).map_err(|e| Unable::malformed(e.to_string()))
}
