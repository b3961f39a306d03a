//! When broadcasting leaves a shape as it is.

use crate::ir::{Int, OpKind, Shape, Tensor};
use crate::rewrite::{Match, Var};

/// Operators whose operands broadcast to the result, all of them alike.
pub const BROADCASTING: &[OpKind] = &[
    OpKind::Add,
    OpKind::Sub,
    OpKind::Mul,
    OpKind::Div,
    OpKind::Pow,
    OpKind::Mod,
    OpKind::Min,
    OpKind::Max,
    OpKind::Sum,
    OpKind::Mean,
    OpKind::And,
    OpKind::Or,
    OpKind::Xor,
    OpKind::Equal,
    OpKind::Greater,
    OpKind::GreaterOrEqual,
    OpKind::Less,
    OpKind::LessOrEqual,
    OpKind::Where,
    OpKind::BitShift,
    OpKind::BitwiseAnd,
    OpKind::BitwiseOr,
    OpKind::BitwiseXor,
];

/// Whether broadcasting a value of `shape` with one of dimensions `other` surely gives `shape`.
pub fn absorbs(shape: &Shape, other: &[Int]) -> bool {
    if other.is_empty() {
        return true;
    }
    let Some(dims) = shape.dims() else { return false };
    other.len() <= dims.len() && other.iter().rev().zip(dims.iter().rev()).all(|(o, d)| o.known() == Some(1) || o == d)
}

/// Whether broadcasting a value of `shape` with `constant` surely gives `shape`.
pub fn absorbs_constant(shape: &Shape, constant: &Tensor) -> bool {
    absorbs(shape, Shape::known(constant.dims()).dims().unwrap_or(&[]))
}

/// Whether the root's result surely has the shape of `x`, one of its operands, when `constant` is the other.
pub fn keeps_shape(m: &Match<'_>, x: Var, constant: &Tensor) -> bool {
    absorbs_constant(m.shape(x), constant) || m.root_shape().surely_equals(m.shape(x))
}

/// Whether operands of these shapes surely broadcast to `result` on their own, given that they do together with
/// others: along every axis one of them has the result's size.
pub fn cover(result: &[Int], operands: &[&[Int]]) -> bool {
    result.iter().rev().enumerate().all(|(from_end, size)| {
        operands.iter().any(|dims| dims.len() > from_end && dims[dims.len() - 1 - from_end] == *size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Int> {
        text.split_whitespace().map(|t| t.parse::<i64>().map_or_else(|_| Int::named(t), Int::from)).collect()
    }

    #[test]
    fn what_does_not_widen() {
        for (shape, other, expected) in [
            ("n 3", "3", true),
            ("n 3", "1 1", true),
            ("n 3", "1 1 1", false),
            ("n 3", "n 1", true),
            ("n 3", "m 1", false),
            ("1 3", "2 3", false),
            ("n 3", "", true),
        ] {
            assert_eq!(absorbs(&Shape::of(dims(shape)), &dims(other)), expected, "{shape} with {other}");
        }
        assert!(absorbs(&Shape::UNKNOWN, &[]) && !absorbs(&Shape::UNKNOWN, &dims("1")));
    }

    #[test]
    fn what_covers() {
        assert!(cover(&dims("n 3"), &[&dims("n 1"), &dims("3")]));
        assert!(!cover(&dims("1 3"), &[&dims("3")]));
        assert!(!cover(&dims("n 3"), &[&dims("m 3")]));
        assert!(cover(&[], &[]));
    }
}
