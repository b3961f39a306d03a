//! The op table: which row describes which operator.

use crate::ir::OpKind;
use crate::ops::{OpDef, elementwise};

macro_rules! op_table {
    ($($kind:ident => $row:path),* $(,)?) => {
        /// The row of `op`; [`OpDef::UNKNOWN`] for custom operators.
        pub(super) fn row(op: OpKind) -> &'static OpDef {
            match op {
                $(OpKind::$kind => &$row,)*
                _ => &OpDef::UNKNOWN,
            }
        }
    };
}

op_table! {
    Relu => elementwise::UNARY,
    Add => elementwise::COMMUTING,
}
