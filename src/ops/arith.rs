//! What element-wise operators do to symbolic integers.
//!
//! Each function gives one element of the result from one element of each operand, or `None` where the result is not
//! provably that integer. They serve integer, bool and float tensors alike: operands are integers, and a result is
//! given only where it is one too, so that rounding has no say (see [`content`](crate::ops::call::content)).

use crate::ir::Int;
use crate::ops::Infer;

/// One element from one.
pub type Unary = fn(&Int) -> Option<Int>;

/// One element from two.
pub type Binary = fn(&Int, &Int) -> Option<Int>;

/// The elements of a result of an element-wise call on all operands, which broadcast from length 1.
pub fn each(call: &Infer<'_>, f: impl Fn(&[&Int]) -> Option<Int>) -> Option<Vec<Int>> {
    let lists: Vec<Vec<Int>> = (0..call.operand_count()).map(|slot| call.elements(slot)).collect::<Option<_>>()?;
    let length = lists.iter().map(Vec::len).find(|&n| n != 1).unwrap_or(1);
    if lists.iter().any(|l| l.len() != 1 && l.len() != length) {
        return None;
    }
    let at = |list: &'_ [Int], i: usize| if list.len() == 1 { 0 } else { i };
    (0..length).map(|i| f(&lists.iter().map(|l| &l[at(l, i)]).collect::<Vec<_>>())).collect()
}

/// `a + b`.
pub fn add(a: &Int, b: &Int) -> Option<Int> {
    a.checked_add(b)
}

/// `a − b`.
pub fn sub(a: &Int, b: &Int) -> Option<Int> {
    a.checked_sub(b)
}

/// `a · b`.
pub fn mul(a: &Int, b: &Int) -> Option<Int> {
    a.checked_mul(b)
}

/// `a / b` of floats, where it leaves no remainder.
pub fn div_exact(a: &Int, b: &Int) -> Option<Int> {
    (b.known() != Some(0)).then(|| a.exact_div(b)).flatten()
}

/// `a / b` of integers, rounded towards zero.
pub fn div_integers(a: &Int, b: &Int) -> Option<Int> {
    if let (Some(a), Some(b)) = (a.known(), b.known()) {
        return a.checked_div(b).map(Int::from);
    }
    if let Some(q) = div_exact(a, b) {
        return Some(q);
    }
    // Rounding towards zero is rounding down only where the quotient is not negative.
    if a.surely_non_negative() && b.surely_non_negative() { a.floor_div(b) } else { None }
}

/// `a − ⌊a / b⌋ · b`.
pub fn modulo(a: &Int, b: &Int) -> Option<Int> {
    if let (Some(a), Some(b)) = (a.known(), b.known()) {
        let r = a.checked_rem(b)?;
        return Some(Int::from(if r != 0 && (r < 0) != (b < 0) { r + b } else { r }));
    }
    if !b.surely_non_negative() || b.known() == Some(0) {
        return None;
    }
    a.checked_sub(&a.floor_div(b)?.checked_mul(b)?)
}

/// `a − trunc(a / b) · b`.
pub fn remainder(a: &Int, b: &Int) -> Option<Int> {
    a.checked_sub(&div_integers(a, b)?.checked_mul(b)?)
}

/// The smaller.
pub fn min(a: &Int, b: &Int) -> Option<Int> {
    Some(a.lesser(b))
}

/// The larger.
pub fn max(a: &Int, b: &Int) -> Option<Int> {
    Some(a.greater(b))
}

/// `−a`.
pub fn neg(a: &Int) -> Option<Int> {
    Int::from(0).checked_sub(a)
}

/// `|a|`.
pub fn abs(a: &Int) -> Option<Int> {
    if a.surely_non_negative() { Some(a.clone()) } else { Some(a.greater(&neg(a)?)) }
}

/// −1, 0 or 1.
pub fn sign(a: &Int) -> Option<Int> {
    let zero = Int::from(0);
    match (greater(a, &zero)?.known()?, greater(&zero, a)?.known()?) {
        (1, _) => Some(Int::from(1)),
        (_, 1) => Some(Int::from(-1)),
        _ => Some(zero),
    }
}

/// `a` itself: rounding an integer in any direction, or `max(a, 0)` where `a` is not negative.
pub fn same(a: &Int) -> Option<Int> {
    Some(a.clone())
}

/// `max(a, 0)`.
pub fn relu(a: &Int) -> Option<Int> {
    Some(a.greater(&Int::from(0)))
}

fn truth(known: bool) -> Option<Int> {
    Some(Int::from(i64::from(known)))
}

/// `a = b`.
pub fn equal(a: &Int, b: &Int) -> Option<Int> {
    if a == b {
        return truth(true);
    }
    let one = Int::from(1);
    let apart = |a: &Int, b: &Int| b.checked_add(&one).is_some_and(|b| a.surely_at_least(&b));
    if apart(a, b) || apart(b, a) { truth(false) } else { None }
}

/// `a > b`.
pub fn greater(a: &Int, b: &Int) -> Option<Int> {
    if b.surely_at_least(a) {
        return truth(false);
    }
    if a.surely_at_least(&b.checked_add(&Int::from(1))?) { truth(true) } else { None }
}

/// `a ≥ b`.
pub fn greater_or_equal(a: &Int, b: &Int) -> Option<Int> {
    not(&greater(b, a)?)
}

/// `a < b`.
pub fn less(a: &Int, b: &Int) -> Option<Int> {
    greater(b, a)
}

/// `a ≤ b`.
pub fn less_or_equal(a: &Int, b: &Int) -> Option<Int> {
    greater_or_equal(b, a)
}

/// Not `a`.
pub fn not(a: &Int) -> Option<Int> {
    truth(a.known()? == 0)
}

/// `a` and `b`.
pub fn and(a: &Int, b: &Int) -> Option<Int> {
    truth(a.known()? != 0 && b.known()? != 0)
}

/// `a` or `b`.
pub fn or(a: &Int, b: &Int) -> Option<Int> {
    truth(a.known()? != 0 || b.known()? != 0)
}

/// Either `a` or `b`.
pub fn xor(a: &Int, b: &Int) -> Option<Int> {
    truth((a.known()? != 0) != (b.known()? != 0))
}

/// `a` where `condition` holds, else `b`.
pub fn choose(condition: &Int, a: &Int, b: &Int) -> Option<Int> {
    match condition.known() {
        Some(0) => Some(b.clone()),
        Some(_) => Some(a.clone()),
        None => (a == b).then(|| a.clone()),
    }
}

/// `a` raised to `b`, a small number.
pub fn pow(a: &Int, b: &Int) -> Option<Int> {
    let times = b.known().filter(|b| (0..=8).contains(b))?;
    (0..times).try_fold(Int::from(1), |product, _| product.checked_mul(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Int {
        text.parse::<i64>().map_or_else(|_| Int::named(text), Int::from)
    }

    #[test]
    fn division_of_integers_rounds_towards_zero() {
        assert_eq!(div_integers(&n("-7"), &n("2")), Some(n("-3")));
        assert_eq!(div_integers(&n("7"), &n("0")), None);
        assert_eq!(div_integers(&n(&i64::MIN.to_string()), &n("-1")), None);
        assert_eq!(div_integers(&(&n("h") * 4), &n("-2")), Some(&n("h") * -2));
        // h − 1 is −1 for an empty axis, and −1 / 2 rounds to 0, not down to −1.
        assert_eq!(div_integers(&(&n("h") - 1), &n("2")), None);
        assert!(div_integers(&(&n("h") + 1), &n("2")).is_some());
    }

    #[test]
    fn remainders_take_the_sign_that_onnx_says() {
        for (a, b, floor, trunc) in [(-7, 3, 2, -1), (7, -3, -2, 1), (7, 3, 1, 1), (-6, 3, 0, 0)] {
            assert_eq!(modulo(&Int::from(a), &Int::from(b)), Some(Int::from(floor)));
            assert_eq!(remainder(&Int::from(a), &Int::from(b)), Some(Int::from(trunc)));
        }
        assert_eq!(modulo(&(&n("h") * 8), &n("4")), Some(n("0")));
        assert_eq!(remainder(&(&n("h") * 8), &n("4")), Some(n("0")));
        assert_eq!(modulo(&n("1"), &n("0")), None);
    }

    #[test]
    fn comparisons_answer_only_what_holds_for_every_size() {
        assert_eq!(equal(&n("h"), &n("-1")), Some(n("0")));
        assert_eq!(equal(&n("h"), &n("h")), Some(n("1")));
        assert_eq!(equal(&n("h"), &n("w")), None);
        assert_eq!(equal(&n("h"), &n("0")), None);
        assert_eq!(greater(&(&n("h") + 1), &n("h")), Some(n("1")));
        assert_eq!(greater(&n("0"), &n("h")), Some(n("0")));
        assert_eq!(greater(&n("h"), &n("0")), None);
        assert_eq!(less_or_equal(&n("0"), &n("h")), Some(n("1")));
        assert_eq!(equal(&Int::element(0, 0), &n("-1")), None);
    }

    #[test]
    fn the_sign_of_a_size_may_be_zero() {
        assert_eq!(sign(&(&n("h") + 1)), Some(n("1")));
        assert_eq!(sign(&n("h")), None);
        assert_eq!(sign(&n("-4")), Some(n("-1")));
    }

    #[test]
    fn an_unknown_condition_does_not_matter_between_equals() {
        assert_eq!(choose(&n("c"), &n("h"), &n("h")), Some(n("h")));
        assert_eq!(choose(&n("c"), &n("h"), &n("w")), None);
        assert_eq!(choose(&n("0"), &n("h"), &n("w")), Some(n("w")));
    }
}
