//! What spelling an operator out in others takes: numbers of the type of its operand.

use crate::ir::OpKind::{Cast, ReduceMean};
use crate::ir::{DType, Tensor, Type};
use crate::rewrite::{Expr, Skip, require};
use crate::rules::support::numbers::{finite, is_foldable_float};

/// Numbers of one element type.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The type.
    pub dtype: DType,
}

impl Numbers {
    /// Numbers of the type of a value.
    ///
    /// # Errors
    /// Where that is not known, or none of the types that numbers are made in.
    pub fn like(ty: &Type) -> Result<Numbers, Skip> {
        let dtype = ty.dtype().filter(|d| is_foldable_float(*d));
        dtype.map(|dtype| Numbers { dtype }).ok_or(Skip::Unsuitable("its type is not known to be a plain float"))
    }

    /// A scalar.
    ///
    /// # Errors
    /// Where the type has no such number.
    pub fn of(self, number: f64) -> Result<Expr, Skip> {
        let scalar = finite(self.dtype, &[], &[number]);
        require(scalar.is_some(), "a number of it is out of its type's range")?;
        Ok(scalar.map_or(Expr::Absent, Expr::Constant))
    }
}

/// `x` cast to a type.
pub fn cast(x: Expr, to: DType) -> Expr {
    Cast.emit([x]).with("to", i64::from(to.code()))
}

/// The mean over these axes, which stay with size 1.
pub fn mean(x: Expr, axes: &[i64]) -> Expr {
    ReduceMean.emit([x, ints(axes)])
}

/// The axes from `axis` to the last, counted from the back; `None` where a rank is needed that is not known.
pub fn trailing(axis: i64, rank: Option<usize>) -> Option<Vec<i64>> {
    let rank = rank.and_then(|r| i64::try_from(r).ok());
    let first = if axis < 0 { axis } else { axis - rank? };
    (first < 0 && rank.is_none_or(|rank| -first <= rank)).then(|| (first..0).collect())
}

/// Why a normalization of unknown rank is left alone.
pub const UNKNOWN_RANK: Skip = Skip::Unsuitable("how many dimensions it has is not known");

/// A list of integers, as an operand.
pub fn ints(list: &[i64]) -> Expr {
    Expr::Constant(Tensor::vector(list))
}
