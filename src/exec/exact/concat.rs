//! Tensors one after another along an axis.

use std::borrow::Cow;

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::lanes::{Lane, common_splat, per_lane};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Dims, Tensor};
use crate::ops::slice::AXIS;

/// `Concat`
pub(super) fn concat(args: &Args<'_>) -> Result<Folded, Unable> {
    let parts = (0..args.count()).map(|slot| args.tensor(slot)).collect::<Result<Vec<_>, _>>()?;
    let first = *parts.first().ok_or_else(|| Unable::malformed("there is nothing to concatenate"))?;
    let at = axis(AXIS.get(args.node()).ok_or_else(|| Unable::malformed("there is no axis"))?, first.rank())?;
    let mut dims = Dims::from(first.dims());
    dims[at] = 0;
    for part in &parts {
        let fits = part.dtype() == first.dtype()
            && part.rank() == first.rank()
            && (0..dims.len()).all(|a| a == at || part.dims()[a] == dims[a]);
        let total = fits.then(|| dims[at].checked_add(part.dims()[at])).flatten();
        dims[at] = total.ok_or_else(|| Unable::malformed(format!("{first} and {part} along axis {at}")))?;
    }
    if let [only] = parts[..] {
        return Ok(only.clone().into());
    }
    if let Some(e) = common_splat(&parts) {
        return Ok(args.splat(first.dtype(), &dims, &e)?.into());
    }
    let n = args.room_for(first.dtype(), &dims)?;
    per_lane!(first.dtype(), T => joined::<T>(args, &parts, at, &dims, n)).map(Folded::from)
}

fn joined<T: Lane>(args: &Args<'_>, parts: &[&Tensor], at: usize, dims: &[usize], n: usize) -> Result<Tensor, Unable> {
    let lanes: Vec<Cow<'_, [T]>> = parts.iter().map(|p| T::read(args, p)).collect::<Result<_, _>>()?;
    let mut out = Vec::with_capacity(n);
    if n > 0 {
        let runs: Vec<usize> = parts.iter().map(|p| count(&p.dims()[at..]).unwrap_or(0)).collect();
        for outer in 0..count(&dims[..at]).unwrap_or(0) {
            for (lanes, run) in lanes.iter().zip(&runs) {
                out.extend_from_slice(&lanes[outer * run..(outer + 1) * run]);
            }
        }
    }
    T::write(parts[0].dtype(), dims, out)
}
