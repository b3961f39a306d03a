//! Elements chosen by a condition, a diagonal, or a class.

use crate::exec::exact::args::{Args, count};
use crate::exec::exact::lanes::{Lane, common_splat, per_lane};
use crate::exec::exact::layout::{Nest, at, broadcast_dims};
use crate::exec::exact::number::{Elements, Number, Wide, numbers, per_number};
use crate::exec::exact::slice::expanded;
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key};

/// `Where`
pub(super) fn where_(args: &Args<'_>) -> Result<Folded, Unable> {
    let (condition, x, y) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    if condition.dtype() != DType::Bool || x.dtype() != y.dtype() {
        return Err(Unable::malformed(format!("{condition} between {x} and {y}")));
    }
    let dims = broadcast_dims(&[condition.dims(), x.dims(), y.dims()])?;
    if let Some(chosen) = common_splat(&[condition]) {
        return expanded(args, if chosen[0] != 0 { x } else { y }, &dims).map(Folded::from);
    }
    if let Some(e) = common_splat(&[x, y])
        && x.len() > 0
        && y.len() > 0
    {
        return Ok(args.splat(x.dtype(), &dims, &e)?.into());
    }
    let n = args.room_for(x.dtype(), &dims)?;
    let chosen = Elements::<[u8; 1]>::of(args, condition)?;
    let c = chosen.view(condition.dims(), &dims)?;
    per_lane!(x.dtype(), T => {
        let (xs, ys) = (Elements::<T>::of(args, x)?, Elements::<T>::of(args, y)?);
        let (vx, vy) = (xs.view(x.dims(), &dims)?, ys.view(y.dims(), &dims)?);
        let nest = Nest::new(&dims, [c.strides(), vx.strides(), vy.strides()]);
        let (len, by) = nest.row();
        let mut out: Vec<T> = Vec::with_capacity(n);
        if n > 0 {
            nest.rows([0; 3], |[mut i, mut j, mut k]| {
                for _ in 0..len {
                    let lane = if chosen.lanes[at(i)] == [0] { &ys.lanes[at(k)] } else { &xs.lanes[at(j)] };
                    out.push(lane.clone());
                    (i, j, k) = (i + by[0], j + by[1], k + by[2]);
                }
            });
        }
        T::write(x.dtype(), &dims, out)
    })
    .map(Folded::from)
}

/// `Trilu`: one triangle of every matrix, zero elsewhere.
pub(super) fn trilu(args: &Args<'_>) -> Result<Folded, Unable> {
    const UPPER: Key<bool> = Key::new("upper", true);
    let data = args.tensor(0)?;
    let k = i128::from(args.optional(1).map_or(Ok(0), |_| args.int(1))?);
    let &[.., rows, columns] = data.dims() else {
        return Err(Unable::malformed(format!("{data} where matrices are needed")));
    };
    if data.dtype() == DType::String {
        return Err(Unable::Undefined("zero is no string"));
    }
    if let Some(e) = common_splat(&[data])
        && e.iter().all(|b| *b == 0)
    {
        return Ok(data.clone().into());
    }
    args.room_for(data.dtype(), data.dims())?;
    let upper = UPPER.of(args.node());
    let edge = |row: usize, beyond: i128| {
        // The first column on, or just past, the diagonal.
        let column = i128::try_from(row).unwrap_or(i128::MAX).saturating_add(k).saturating_add(beyond).max(0);
        usize::try_from(column).map_or(columns, |c| c.min(columns))
    };
    per_lane!(data.dtype(), T => {
        let mut out: Vec<T> = T::read(args, data)?.into_owned();
        if !out.is_empty() {
            for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                let row_in_matrix = i % rows;
                let cleared = if upper { 0..edge(row_in_matrix, 0) } else { edge(row_in_matrix, 1)..columns };
                row[cleared].fill(T::default());
            }
        }
        T::write(data.dtype(), data.dims(), out)
    })
    .map(Folded::from)
}

/// `OneHot`
pub(super) fn one_hot(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", -1);
    let (indices, depth, values) = (args.tensor(0)?, whole_numbers(args, 1)?, args.tensor(2)?);
    let [depth] = depth[..] else { return Err(Unable::malformed("the depth has to be one number")) };
    let classes = usize::try_from(depth).map_err(|_| Unable::malformed(format!("{depth} classes")))?;
    if values.dims() != [2] {
        return Err(Unable::malformed(format!("{values} where off and on are needed")));
    }
    let along = args.axis(AXIS, indices.rank() + 1)?;
    let mut dims = Dims::from(indices.dims());
    dims.insert(along, classes);
    if let Some(e) = values.uniform() {
        return Ok(args.splat(values.dtype(), &dims, &e)?.into());
    }
    let n = args.room_for(values.dtype(), &dims)?;
    let indices_at = whole_numbers(args, 0)?;
    let inner = count(&indices.dims()[along..]).unwrap_or(0);
    per_lane!(values.dtype(), T => {
        let pair = T::read(args, values)?;
        let (off, on) = (pair[0].clone(), pair[1].clone());
        let mut out: Vec<T> = vec![off; n];
        if n > 0 {
            for (i, &index) in indices_at.iter().enumerate() {
                let class = if index < 0 { index.saturating_add(depth) } else { index };
                if let Ok(class) = usize::try_from(class)
                    && class < classes
                {
                    out[(i / inner * classes + class) * inner + i % inner] = on.clone();
                }
            }
        }
        T::write(values.dtype(), &dims, out)
    })
    .map(Folded::from)
}

/// Operand `slot`, of any numeric type, cast to int64.
fn whole_numbers(args: &Args<'_>, slot: usize) -> Result<Vec<i64>, Unable> {
    let t = args.tensor(slot)?;
    args.room(DType::I64, t.len())?;
    per_number!(t.dtype(), T => numbers::<T>(args, t)?.into_iter().map(|x| match x.wide() {
        Wide::Int(i) => i64::try_from(i).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Wide::Float(f) => (f.abs() < 9e18).then(|| f.trunc() as i64),
    }).collect::<Option<Vec<i64>>>().ok_or(Unable::Undefined("a number is outside the range of int64")), else => Err(Unable::NoKernel))
}

/// `NonZero`: one row of positions per axis.
pub(super) fn non_zero(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    if data.rank() == 0 {
        return Err(Unable::Undefined("runtimes disagree on the positions in a scalar"));
    }
    let is_set: Vec<bool> = match data.dtype() {
        DType::Bool => <[u8; 1]>::read(args, data)?.iter().map(|b| *b != [0]).collect(),
        _ => {
            per_number!(data.dtype(), T => numbers::<T>(args, data)?.into_iter().map(|x| x != T::ZERO).collect(), else => return Err(Unable::NoKernel))
        }
    };
    let found: Vec<usize> = is_set.iter().enumerate().filter(|(_, s)| **s).map(|(i, _)| i).collect();
    let dims = [data.rank(), found.len()];
    args.room_for(DType::I64, &dims)?;
    let mut out: Vec<[u8; 8]> = Vec::with_capacity(dims[0] * dims[1]);
    for a in 0..data.rank() {
        let (size, inner) = (data.dims()[a], count(&data.dims()[a + 1..]).unwrap_or(0).max(1));
        out.extend(found.iter().map(|i| i64::try_from(i / inner % size).unwrap_or(i64::MAX).to_le_bytes()));
    }
    <[u8; 8]>::write(DType::I64, &dims, out).map(Folded::from)
}
