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

/// Axes that a tensor has, at most.
const MOST_AXES: i64 = 64;

/// The axes from `axis` to the last, counted from the back; `None` where a rank is needed that is not known.
pub fn trailing(axis: i64, rank: Option<usize>) -> Option<Vec<i64>> {
    let rank = rank.and_then(|r| i64::try_from(r).ok());
    let first = if axis < 0 { axis } else { axis - rank? };
    let most = rank.unwrap_or(MOST_AXES).min(MOST_AXES);
    (first < 0 && first >= -most).then(|| (first..0).collect())
}

/// Why a normalization of unknown rank is left alone.
pub const UNKNOWN_RANK: Skip = Skip::Unsuitable("how many dimensions it has is not known");

/// A list of integers, as an operand.
pub fn ints(list: &[i64]) -> Expr {
    Expr::Constant(Tensor::vector(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_axes_count_from_the_back_and_are_few() {
        assert_eq!(trailing(-2, None), Some(vec![-2, -1]));
        assert_eq!(trailing(1, Some(3)), Some(vec![-2, -1]));
        assert_eq!(trailing(1, None), None);
        for (axis, rank) in [(3, Some(3)), (-4, Some(3)), (i64::MIN, None), (i64::MAX, Some(2)), (-1000, None)] {
            assert_eq!(trailing(axis, rank), None, "{axis} of {rank:?}");
        }
    }

    #[test]
    fn numbers_are_of_types_that_have_them() {
        let half = Numbers::like(&Type::tensor(DType::F16, crate::ir::Shape::known(&[2]))).unwrap();
        assert!(half.of(1.0).is_ok() && half.of(1e6).is_err());
        assert!(Numbers::like(&Type::tensor(DType::I32, crate::ir::Shape::known(&[2]))).is_err());
        assert!(Numbers::like(&Type::Unknown).is_err());
    }
}
