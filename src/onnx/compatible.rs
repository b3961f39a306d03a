//! Whether a node means the same under two versions of its domain, as it stands.

use super::names;
use super::proto::NodeProto;
use crate::ops::schema::{self, ParamKind, Schema};

/// Operators that gained another meaning in a version, in the same words.
const CHANGED: [(&str, u32); 6] = [
    // A slope per channel became one that broadcasts.
    ("PRelu", 7),
    // The mask became a truth value.
    ("Dropout", 12),
    // An empty list was how operands were left out.
    ("Resize", 13),
    // Coordinates are shifted by half a pixel unless told otherwise.
    ("RoiAlign", 16),
    // Parts without sizes must be counted.
    ("Split", 18),
    // Scale and bias became per channel.
    ("GroupNormalization", 21),
];

/// Whether `node`, written for version `from` of its domain, says the same in version `to`.
pub(super) fn keeps_meaning(node: &NodeProto, from: u32, to: u32) -> bool {
    let domain = names::domain(node.domain());
    let [old, new] = [from, to].map(|version| schema::lookup(domain, node.op_type(), version));
    let (Some(old), Some(new)) = (old, new) else { return false };
    if old.since == new.since {
        return true;
    }
    // A constant becomes an initializer, whatever the version.
    if domain.is_empty() && node.op_type() == "Constant" {
        return node.attribute.iter().all(|a| a.name() != "sparse_value");
    }
    let changed = CHANGED.iter().any(|(op, since)| *op == node.op_type() && from < *since && *since <= to);
    from < to && !changed && extends(old, new)
}

/// Whether `new` understands every node of `old`, and in the same way: nothing is gone, and what came may be left out.
fn extends(old: &Schema, new: &Schema) -> bool {
    let attrs_stay = old.attrs.iter().all(|a| {
        new.attr(a.name).is_some_and(|b| a.kind == b.kind && a.default == b.default && (a.required || !b.required))
    });
    let attrs_come = new.attrs.iter().all(|b| old.attr(b.name).is_some() || !b.required);
    let inputs_stay = old.inputs.iter().zip(new.inputs).all(|(a, b)| a.name == b.name && a.kind == b.kind)
        && old.inputs.len() <= new.inputs.len()
        && new.inputs.iter().skip(old.inputs.len()).all(|b| b.kind == ParamKind::Optional);
    let outputs_stay = old.outputs.len() == new.outputs.len()
        && old.outputs.iter().zip(new.outputs).all(|(a, b)| a.name == b.name && a.kind == b.kind);
    !new.deprecated && attrs_stay && attrs_come && inputs_stay && outputs_stay
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;

    #[test]
    fn more_types_and_new_defaults_change_nothing() {
        let keeps = |op: &str, from, to| keeps_meaning(&node(op, &["x"], &["y"]), from, to);
        assert!(keeps("Add", 13, 17), "14 added types");
        assert!(keeps("Cast", 13, 21), "19 added an attribute with the old meaning as its default");
        assert!(keeps("Reshape", 13, 14));
        assert!(!keeps("Add", 17, 13), "13 has fewer types");
        assert!(!keeps("Softmax", 12, 13), "the default axis is another");
        assert!(!keeps("ReduceMean", 13, 18), "axes became an operand");
        assert!(!keeps("RoiAlign", 10, 16) && !keeps("Split", 13, 18) && !keeps("GroupNormalization", 18, 21));
        assert!(keeps("Constant", 18, 9));
        assert!(!keeps("Upsample", 9, 10), "gone");
        assert!(!keeps("NoSuchOp", 13, 14));
    }
}
