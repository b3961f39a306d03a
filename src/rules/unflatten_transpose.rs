//! A `Transpose` between two reshapes, of which the first joins axes and the second parts them again, is a `Transpose` of
//! the axes that were joined: `[b, h, s, d] → [b·h, s, d] → [b·h, d, s] → [b, h, d, s]` swaps the last two.

use crate::ir::Int;
use crate::ir::OpKind::{Flatten, Reshape, Squeeze, Transpose, Unsqueeze};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes::{permutation, spelled};

pub fn rule() -> Rule {
    let (joins, transpose, parts) = (call("joins"), call("transpose"), call("parts"));
    let inner = any_of(&[Flatten, Reshape, Squeeze, Unsqueeze]).bind(joins);
    let pattern =
        any_of(&[Flatten, Reshape, Squeeze, Unsqueeze]).on(Transpose.any().on(inner).bind(transpose)).bind(parts);
    Rule::new("unflatten-transpose", Exactness::Bitwise, pattern, move |m| {
        let (joins, transpose) = (m.call(joins), m.call(transpose));
        let (from, joined) = (joins.dims(0).ok_or(Skip::NotThis)?, transpose.dims(0).ok_or(Skip::NotThis)?);
        let groups = groups(from, joined).ok_or(Skip::NotThis)?;
        let perm = permutation(&transpose).ok_or(Skip::NotThis)?;
        applies(perm.len() == groups.len())?;
        let perm: Vec<usize> = perm.into_iter().flat_map(|axis| groups[axis].clone()).collect();
        let result: Vec<Int> = perm.iter().map(|&axis| from[axis].clone()).collect();
        applies(m.root_shape().dims() == Some(&result[..]))?;
        Ok(Transpose.emit([joins.operand(0).into()]).named_like(transpose).with("perm", spelled(&perm)))
    })
}

/// For each of the dimensions `to`, the run of dimensions of `from` whose product it is.
fn groups(from: &[Int], to: &[Int]) -> Option<Vec<std::ops::Range<usize>>> {
    let mut next = 0;
    let mut groups = Vec::with_capacity(to.len());
    for size in to {
        let start = next;
        let mut product = Int::from(1);
        while product != *size {
            product = product.checked_mul(from.get(next)?)?;
            next += 1;
        }
        groups.push(start..next);
    }
    // Axes of size 1 that are left belong to the last.
    while from.get(next).is_some_and(|d| d.known() == Some(1)) {
        groups.last_mut()?.end += 1;
        next += 1;
    }
    (next == from.len()).then_some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_multiply_to_what_they_were_joined_to() {
        let dims = |text: &str| -> Vec<Int> {
            text.split_whitespace().map(|t| t.parse::<i64>().map_or_else(|_| Int::named(t), Int::from)).collect()
        };
        let (b, s) = (Int::named("b"), Int::named("s"));
        let joined = [&b * 4, s.clone(), Int::from(64)];
        assert_eq!(groups(&dims("b 4 s 64"), &joined), Some(vec![0..2, 2..3, 3..4]));
        assert_eq!(groups(&dims("b 4 64 s"), &joined), None);
        assert_eq!(groups(&dims("2 3 1"), &dims("6")), Some(std::iter::once(0..3).collect()));
        assert_eq!(groups(&dims("6"), &dims("2 3")), None);
        assert_eq!(groups(&dims("6"), &dims("6 1")), Some(vec![0..1, 1..1]));
        assert_eq!(groups(&[], &[]), Some(vec![]));
    }
}
