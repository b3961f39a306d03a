//! Orders of axes: `order[i]` is the axis that stands at place `i`, as the attribute `perm` says it.

pub(super) use crate::rules::support::axes::composed;

/// The order that undoes `order`.
pub(super) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut back = vec![0; order.len()];
    for (place, &axis) in order.iter().enumerate() {
        back[axis] = place;
    }
    back
}

/// The order of the axes that are left when those for which `gone` holds are taken out.
pub(super) fn without(order: &[usize], gone: impl Fn(usize) -> bool) -> Vec<usize> {
    let left: Vec<usize> = (0..order.len()).filter(|&axis| !gone(axis)).collect();
    let renumbered = |axis: &usize| left.binary_search(axis).ok();
    order.iter().filter_map(renumbered).collect()
}

/// The order of `order.len() + count` axes, of which `count` new ones stand in a row from `at` on, in the place of axis
/// `at` of `order`, counted with it: `at` is one axis there, and `count + 1` here.
pub(super) fn widened(order: &[usize], at: usize, count: usize) -> Vec<usize> {
    let shifted = |axis: usize| if axis > at { axis + count } else { axis };
    order
        .iter()
        .flat_map(|&axis| {
            let more = if axis == at { count } else { 0 };
            (0..=more).map(move |i| shifted(axis) + i)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_and_its_inverse_are_none() {
        let order = [2, 0, 3, 1];
        assert_eq!(composed(&order, &inverse(&order)).unwrap(), [0, 1, 2, 3]);
        assert_eq!(composed(&inverse(&order), &order).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn axes_go_and_come() {
        assert_eq!(without(&[2, 0, 3, 1], |axis| axis == 0), [1, 2, 0]);
        assert_eq!(without(&[2, 0, 3, 1], |axis| axis >= 2), [0, 1]);
        assert_eq!(widened(&[2, 0, 1], 0, 1), [3, 0, 1, 2]);
        assert_eq!(widened(&[2, 0, 1], 2, 2), [2, 3, 4, 0, 1]);
        assert_eq!(widened(&[1, 0], 1, 0), [1, 0]);
    }
}
