//! Shapes as `Reshape` takes them.

use crate::ir::Int;

/// `result` as a `Reshape` target for an operand of dimensions `operand`: numbers, `0` where the size at the same place
/// is copied, at most one `-1`. `None` when more than one size can be said neither way, or one is the number 0, which
/// the target cannot say beside a copied size.
pub fn target_of(operand: Option<&[Int]>, result: &[Int]) -> Option<Vec<i64>> {
    let unknown = result.iter().filter(|d| d.known().is_none()).count();
    let mut inferred = false;
    result
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.known() {
            Some(0) => None,
            Some(n) => Some(n),
            None if unknown == 1 => Some(-1),
            None if operand.and_then(|o| o.get(axis)) == Some(dim) => Some(0),
            None if !inferred => {
                inferred = true;
                Some(-1)
            }
            None => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_copies_infers_and_declines() {
        let [b, s] = ["b", "s"].map(Int::named);
        let n = |n: i64| Int::from(n);
        assert_eq!(target_of(None, &[b.clone(), n(64)]), Some(vec![-1, 64]));
        let x = [b.clone(), s.clone(), n(64)];
        assert_eq!(target_of(Some(&x), &[b.clone(), s.clone(), n(4), n(16)]), Some(vec![0, 0, 4, 16]));
        assert_eq!(target_of(Some(&x), &[s.clone(), b.clone(), n(4), n(16)]), None);
        assert_eq!(target_of(Some(&x), &[b.clone(), &s * 4, n(16)]), Some(vec![0, -1, 16]));
        assert_eq!(target_of(Some(&x), &[n(0), b]), None);
    }
}
