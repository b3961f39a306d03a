//! Expressions: a replacement as a value. The rule builds it, the engine wires it in.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ir::{Attr, NodeId, OpKind, Tensor, ValueId};
use crate::ops::CallView;

/// What a rule puts in the place of a result.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A value that is there already.
    Value(ValueId),
    /// A new constant.
    Constant(Tensor),
    /// An operand that is left out.
    Absent,
    /// A result of a new call. Clones of one call expression are one call.
    Call(Arc<CallExpr>, usize),
}

/// A new call.
#[derive(Clone, Debug)]
pub struct CallExpr {
    /// The operator.
    pub op: OpKind,
    /// The name of an operator of [`CONTRIB`], where `op` is [`OpKind::Custom`].
    pub contrib: Option<&'static str>,
    /// Operands in slot order.
    pub operands: Vec<Expr>,
    /// Attributes; absent ones mean their defaults.
    pub attrs: Vec<(Cow<'static, str>, Attr)>,
    /// How many results the call has.
    pub results: usize,
    /// The node whose name and documentation the new one takes over.
    pub like: Option<NodeId>,
}

impl OpKind {
    /// An expression that calls this operator. Trailing [`Expr::Absent`] operands are not written.
    pub fn emit(self, operands: impl IntoIterator<Item = Expr>) -> Expr {
        new_call(self, None, operands)
    }
}

/// The domain of the operators that ONNX Runtime adds to ONNX's.
pub const CONTRIB: &str = "com.microsoft";

/// An expression that calls operator `name` of [`CONTRIB`]. A rule that has one says so: [`Rule::for_contrib`].
///
/// [`Rule::for_contrib`]: crate::rewrite::Rule::for_contrib
pub fn contrib(name: &'static str, operands: impl IntoIterator<Item = Expr>) -> Expr {
    new_call(OpKind::Custom, Some(name), operands)
}

fn new_call(op: OpKind, contrib: Option<&'static str>, operands: impl IntoIterator<Item = Expr>) -> Expr {
    let operands = operands.into_iter().collect();
    Expr::Call(Arc::new(CallExpr { op, contrib, operands, attrs: Vec::new(), results: 1, like: None }), 0)
}

impl Expr {
    fn edit(self, edit: impl FnOnce(&mut CallExpr)) -> Expr {
        match self {
            Expr::Call(mut call, slot) => {
                edit(Arc::make_mut(&mut call));
                Expr::Call(call, slot)
            }
            other => other,
        }
    }

    /// Tell `found` of each value of the graph that the expression reads.
    pub(super) fn each_value(&self, found: &mut impl FnMut(ValueId)) {
        match self {
            Expr::Value(value) => found(*value),
            Expr::Call(call, _) => call.operands.iter().for_each(|operand| operand.each_value(found)),
            Expr::Constant(_) | Expr::Absent => {}
        }
    }

    /// Copy every attribute of `node`, its name and its documentation.
    #[must_use]
    pub fn like(self, call: CallView<'_>) -> Expr {
        self.edit(|c| {
            c.attrs = call.node().attrs().to_vec();
            c.like = Some(call.id());
        })
    }

    /// Take over the name and documentation of `node`, not its attributes.
    #[must_use]
    pub fn named_like(self, call: CallView<'_>) -> Expr {
        self.edit(|c| c.like = Some(call.id()))
    }

    /// Set an attribute.
    #[must_use]
    pub fn with(self, name: &'static str, attr: impl Into<Attr>) -> Expr {
        let attr = attr.into();
        self.edit(|c| {
            c.attrs.retain(|(n, _)| n != name);
            c.attrs.push((name.into(), attr));
        })
    }

    /// Remove an attribute.
    #[must_use]
    pub fn without(self, name: &'static str) -> Expr {
        self.edit(|c| c.attrs.retain(|(n, _)| n != name))
    }

    /// Say how many results the call has, and give an expression for each.
    pub fn results(self, count: usize) -> Vec<Expr> {
        match self.edit(|c| c.results = count) {
            Expr::Call(call, _) => (0..count).map(|slot| Expr::Call(call.clone(), slot)).collect(),
            other => vec![other],
        }
    }
}

impl From<ValueId> for Expr {
    fn from(value: ValueId) -> Expr {
        Expr::Value(value)
    }
}

impl From<Option<ValueId>> for Expr {
    fn from(value: Option<ValueId>) -> Expr {
        value.map_or(Expr::Absent, Expr::Value)
    }
}

impl From<Tensor> for Expr {
    fn from(tensor: Tensor) -> Expr {
        Expr::Constant(tensor)
    }
}

/// A constant for a replacement.
pub fn tensor(tensor: Tensor) -> Expr {
    Expr::Constant(tensor)
}

/// What takes the place of the root's results, slot by slot, or of values nearby.
#[derive(Clone, Debug)]
pub struct Replacement(pub(super) Vec<(Place, Expr)>);

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A result of the root.
    Slot(usize),
    /// A result of a call in the root's body.
    Value(ValueId),
}

impl Replacement {
    /// What takes the place of several values, results of calls in the root's body that the root's operands do not
    /// depend on.
    pub fn of_values(pairs: impl IntoIterator<Item = (ValueId, Expr)>) -> Replacement {
        Replacement(pairs.into_iter().map(|(value, expr)| (Place::Value(value), expr)).collect())
    }
}

/// The first result, which must be the only one that is read.
impl From<Expr> for Replacement {
    fn from(expr: Expr) -> Replacement {
        Replacement(vec![(Place::Slot(0), expr)])
    }
}

impl From<ValueId> for Replacement {
    fn from(value: ValueId) -> Replacement {
        Expr::Value(value).into()
    }
}

/// Some results; the others stay as they are.
impl FromIterator<(usize, Expr)> for Replacement {
    fn from_iter<I: IntoIterator<Item = (usize, Expr)>>(results: I) -> Replacement {
        Replacement(results.into_iter().map(|(slot, expr)| (Place::Slot(slot), expr)).collect())
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident),*) => {
        $(
            /// A call of the operator of this name.
            impl std::ops::$trait for Expr {
                type Output = Expr;
                fn $method(self, rhs: Expr) -> Expr { OpKind::$trait.emit([self, rhs]) }
            }
        )*
    };
}

arithmetic!(Add add, Sub sub, Mul mul, Div div);
