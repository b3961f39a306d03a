//! Patterns: what a rewrite looks for, written like the expression it matches.
//!
//! ```
//! use onnx_slim::ir::OpKind::Erf;
//! use onnx_slim::rewrite::var;
//!
//! let x = var("x");
//! let softsign = x / (Erf.of(x) + 1.0);
//! assert_eq!(softsign.to_string(), "Div(x, Add(Erf(x), 1))");
//! ```
//!
//! Three kinds of variable bind three kinds of thing, and reading one back from a [`Match`] gives that thing with no
//! `Option` and no string: [`Var`] a value, [`Const`] a tensor known now, [`Call`] a call of an operator.

use std::fmt;
use std::ops::{Add, Div, Index, Mul, Sub};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ir::{Graph, NodeId, OpKind, Shape, Tensor, Type, ValueId};
use crate::ops::{self, CallView};

/// Binds any value. The same variable twice means the same value twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(&'static str);

/// Binds a value that is known now, such as a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Const(&'static str);

/// Binds a known value in an operand slot that may be left empty, such as a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptConst(&'static str);

/// Binds the call that a pattern matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(&'static str);

/// A variable for any value.
pub const fn var(name: &'static str) -> Var {
    Var(name)
}

/// A variable for a value known before the run.
pub const fn constant(name: &'static str) -> Const {
    Const(name)
}

/// A variable for a known value in a slot that may be empty.
pub const fn optional(name: &'static str) -> OptConst {
    OptConst(name)
}

/// A variable for a call.
pub const fn call(name: &'static str) -> Call {
    Call(name)
}

/// A shape of subgraph, rooted at one call.
#[derive(Clone, Debug)]
pub struct Pat(Arc<Kind>);

#[derive(Clone, Debug)]
enum Kind {
    Any(Var),
    Const(Const),
    OptConst(OptConst),
    /// A constant all of whose elements are within `tolerance` of `value`.
    Scalar {
        value: f64,
        tolerance: f64,
    },
    Op {
        ops: SmallVec<[OpKind; 1]>,
        operands: Vec<Pat>,
        /// What slots beyond those of `operands` may hold.
        rest: Rest,
        bind: Option<Call>,
    },
    Either(Pat, Pat),
}

/// What operand slots beyond those of a pattern may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Anything,
}

/// Matches a constant whose every element is exactly `value`, where a plain number matches within one part in 10⁴.
pub fn exactly(value: f64) -> Pat {
    Pat(Arc::new(Kind::Scalar { value, tolerance: 0.0 }))
}

/// Matches a call of any of these operators, whatever its operands.
pub fn any_of(ops: &[OpKind]) -> Pat {
    Pat(Arc::new(Kind::Op { ops: ops.into(), operands: Vec::new(), rest: Rest::Anything, bind: None }))
}

impl OpKind {
    /// A pattern for a call of this operator on operands that match. Slots beyond the pattern's must be empty.
    pub fn of(self, operands: impl Operands) -> Pat {
        let (ops, operands) = (SmallVec::from_iter([self]), operands.list());
        Pat(Arc::new(Kind::Op { ops, operands, rest: Rest::Nothing, bind: None }))
    }

    /// A pattern for any call of this operator.
    pub fn any(self) -> Pat {
        any_of(&[self])
    }
}

impl Pat {
    /// Bind the matched call to `name`. Only a pattern of an operator binds a call.
    pub fn bind(self, name: Call) -> Pat {
        match Arc::unwrap_or_clone(self.0) {
            Kind::Op { ops, operands, rest, .. } => Pat(Arc::new(Kind::Op { ops, operands, rest, bind: Some(name) })),
            other => panic!("only an operator pattern binds a call, got {other:?}"),
        }
    }

    /// The first operands match these; slots beyond may hold anything.
    #[must_use]
    pub fn on(self, first: impl Operands) -> Pat {
        match Arc::unwrap_or_clone(self.0) {
            Kind::Op { ops, bind, .. } => {
                Pat(Arc::new(Kind::Op { ops, operands: first.list(), rest: Rest::Anything, bind }))
            }
            other => panic!("only an operator pattern has operands, got {other:?}"),
        }
    }

    /// Match `self`, or else `other`.
    #[must_use]
    pub fn or(self, other: impl IntoPat) -> Pat {
        Pat(Arc::new(Kind::Either(self, other.pat())))
    }

    /// The operators that a match can be rooted at.
    pub fn roots(&self) -> Vec<OpKind> {
        match &*self.0 {
            Kind::Op { ops, .. } => ops.to_vec(),
            Kind::Either(a, b) => a.roots().into_iter().chain(b.roots()).collect(),
            Kind::Any(_) | Kind::Const(_) | Kind::OptConst(_) | Kind::Scalar { .. } => Vec::new(),
        }
    }

    /// Match the subgraph that ends in `root`.
    pub fn find<'g>(&self, graph: &'g Graph, root: NodeId, opset: i64) -> Option<Match<'g>> {
        let mut found = Match { graph, root, opset, bound: SmallVec::new(), nodes: SmallVec::new() };
        self.at_node(&mut found, root).then_some(found)
    }

    fn at_node(&self, m: &mut Match<'_>, node: NodeId) -> bool {
        match &*self.0 {
            Kind::Either(a, b) => m.attempt(|m| a.at_node(m, node)) || m.attempt(|m| b.at_node(m, node)),
            Kind::Op { ops, operands, rest, bind } => {
                let op = m.graph.node(node).op;
                if !ops.contains(&op) {
                    return false;
                }
                let fits = (*rest == Rest::Anything || m.graph.operand_count(node) <= operands.len())
                    && (m.attempt(|m| in_order(m, node, operands, [0, 1]))
                        || ops::def(op).commutes
                            && operands.len() >= 2
                            && m.attempt(|m| in_order(m, node, operands, [1, 0])));
                if fits {
                    m.nodes.push(node);
                }
                fits && bind.is_none_or(|Call(name)| m.bind(name, Bound::Node(node)))
            }
            Kind::Any(_) | Kind::Const(_) | Kind::OptConst(_) | Kind::Scalar { .. } => false,
        }
    }

    fn at_value(&self, m: &mut Match<'_>, at: Option<ValueId>) -> bool {
        let Some(value) = at else { return matches!(*self.0, Kind::OptConst(_)) };
        match &*self.0 {
            Kind::Any(v) => m.bind(v.0, Bound::Value(value)),
            Kind::Const(Const(name)) | Kind::OptConst(OptConst(name)) => {
                m.graph.constant(value).is_some() && m.bind(name, Bound::Value(value))
            }
            Kind::Scalar { value: want, tolerance } => m.graph.constant(value).is_some_and(|t| {
                let near = |got: f64| (got - want).abs() <= *tolerance;
                // The first element settles most mismatches without reading a whole weight.
                t.real(0).is_some_and(near) && t.uniform_real().is_some_and(near)
            }),
            Kind::Either(a, b) => m.attempt(|m| a.at_value(m, at)) || m.attempt(|m| b.at_value(m, at)),
            // A pattern speaks of first results; the others belong to rules that look at the call.
            Kind::Op { .. } => match m.graph.producer(value) {
                Some((node, 0)) => self.at_node(m, node),
                _ => false,
            },
        }
    }
}

fn in_order(m: &mut Match<'_>, node: NodeId, operands: &[Pat], order: [usize; 2]) -> bool {
    operands.iter().enumerate().all(|(i, pat)| {
        let slot = order.get(i).copied().unwrap_or(i);
        let slot = if operands.len() == 1 { i } else { slot };
        pat.at_value(m, m.graph.operand(node, slot))
    })
}

/// A successful match: what each variable stands for.
pub struct Match<'g> {
    graph: &'g Graph,
    root: NodeId,
    opset: i64,
    bound: SmallVec<[(&'static str, Bound); 8]>,
    nodes: SmallVec<[NodeId; 8]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Value(ValueId),
    Node(NodeId),
}

impl<'g> Match<'g> {
    /// The graph, for rules that look around the match.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Every node that the pattern consumed, operands first; the root last.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The call that the match is rooted at.
    pub fn root(&self) -> CallView<'g> {
        CallView::new(self.graph, self.root)
    }

    /// The opset of the default domain that the result will be written in.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// A bound call.
    pub fn call(&self, name: Call) -> CallView<'g> {
        CallView::new(self.graph, self.node(name))
    }

    fn node(&self, name: Call) -> NodeId {
        match self.lookup(name.0) {
            Some(Bound::Node(n)) => n,
            _ => panic!("`{}` is not a call of this pattern", name.0),
        }
    }

    /// The shape of a bound value.
    pub fn shape(&self, of: Var) -> &'g Shape {
        self.graph.value(self[of]).ty.shape()
    }

    /// The type of a bound value.
    pub fn ty(&self, of: Var) -> &'g Type {
        &self.graph.value(self[of]).ty
    }

    /// The type of the root's first result.
    pub fn root_ty(&self) -> &'g Type {
        match self.graph.result(self.root, 0) {
            Some(value) => &self.graph.value(value).ty,
            None => &Type::Unknown,
        }
    }

    /// The shape of the root's first result.
    pub fn root_shape(&self) -> &'g Shape {
        self.root_ty().shape()
    }

    /// The tensor in an optional slot, or `None` when the slot was empty.
    pub fn optional(&self, name: OptConst) -> Option<&'g Tensor> {
        match self.lookup(name.0)? {
            Bound::Value(v) => self.graph.constant(v),
            Bound::Node(_) => None,
        }
    }

    /// The value that holds a bound constant.
    pub fn value_of(&self, name: Const) -> ValueId {
        match self.lookup(name.0) {
            Some(Bound::Value(v)) => v,
            _ => panic!("`{}` is not a constant of this pattern", name.0),
        }
    }

    /// Whether nobody outside the match reads the constant `name`, so that replacing it frees its bytes.
    pub fn owns(&self, name: Const) -> bool {
        self.owns_value(self.value_of(name))
    }

    /// Whether nobody outside the match reads `value`.
    pub fn owns_value(&self, value: ValueId) -> bool {
        self.graph.value(value).users().iter().all(|u| match u {
            crate::ir::User::Node(n, _) => self.nodes.contains(n),
            crate::ir::User::Output(..) => false,
        })
    }

    fn lookup(&self, name: &str) -> Option<Bound> {
        self.bound.iter().find(|(n, _)| *n == name).map(|(_, b)| *b)
    }

    fn bind(&mut self, name: &'static str, to: Bound) -> bool {
        match self.lookup(name) {
            Some(seen) => seen == to,
            None => {
                self.bound.push((name, to));
                true
            }
        }
    }

    /// Run `step`; undo what it bound if it fails.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> bool) -> bool {
        let (bound, nodes) = (self.bound.len(), self.nodes.len());
        let ok = step(self);
        if !ok {
            self.bound.truncate(bound);
            self.nodes.truncate(nodes);
        }
        ok
    }
}

impl Index<Var> for Match<'_> {
    type Output = ValueId;
    fn index(&self, var: Var) -> &ValueId {
        match self.bound.iter().find(|(n, _)| *n == var.0) {
            Some((_, Bound::Value(v))) => v,
            _ => panic!("`{}` is not a variable of this pattern", var.0),
        }
    }
}

impl Index<Const> for Match<'_> {
    type Output = Tensor;
    fn index(&self, name: Const) -> &Tensor {
        self.optional(OptConst(name.0)).expect("the pattern requires this constant")
    }
}

/// Anything that can stand where a pattern is expected.
pub trait IntoPat {
    /// The pattern.
    fn pat(self) -> Pat;
}

macro_rules! into_pat {
    ($($from:ty => |$it:ident| $kind:expr),* $(,)?) => {
        $(impl IntoPat for $from {
            fn pat(self) -> Pat { let $it = self; Pat(Arc::new($kind)) }
        })*
    };
}

into_pat! {
    Var => |v| Kind::Any(v),
    Const => |c| Kind::Const(c),
    OptConst => |c| Kind::OptConst(c),
    f64 => |value| Kind::Scalar { value, tolerance: 1e-4 * value.abs() },
}

impl IntoPat for Pat {
    fn pat(self) -> Pat {
        self
    }
}

/// One pattern, or a tuple of them in slot order.
pub trait Operands {
    /// The patterns.
    fn list(self) -> Vec<Pat>;
}

impl<A: IntoPat> Operands for A {
    fn list(self) -> Vec<Pat> {
        vec![self.pat()]
    }
}

macro_rules! tuple_operands {
    ($($($name:ident)+;)*) => {
        $(impl<$($name: IntoPat),+> Operands for ($($name,)+) {
            #[expect(non_snake_case, reason = "the variables are named after their types")]
            fn list(self) -> Vec<Pat> { let ($($name,)+) = self; vec![$($name.pat()),+] }
        })*
    };
}

tuple_operands! { A B; A B C; A B C D; A B C D E; }

macro_rules! pattern_operators {
    ($($trait:ident $method:ident $op:ident),*) => {
        $(
            impl<R: IntoPat> $trait<R> for Pat {
                type Output = Pat;
                fn $method(self, rhs: R) -> Pat { OpKind::$op.of((self, rhs)) }
            }
            impl<R: IntoPat> $trait<R> for Var {
                type Output = Pat;
                fn $method(self, rhs: R) -> Pat { OpKind::$op.of((self, rhs)) }
            }
        )*
    };
}

pattern_operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl fmt::Display for Pat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Any(Var(n)) | Kind::Const(Const(n)) => f.write_str(n),
            Kind::OptConst(OptConst(n)) => write!(f, "{n}?"),
            Kind::Scalar { value, .. } => write!(f, "{value}"),
            Kind::Either(a, b) => write!(f, "({a} | {b})"),
            Kind::Op { ops, operands, rest, .. } => {
                let names: Vec<_> = ops.iter().map(|o| o.name()).collect();
                let mut operands: Vec<String> = operands.iter().map(Pat::to_string).collect();
                if *rest == Rest::Anything {
                    operands.push("…".into());
                }
                write!(f, "{}({})", names.join("|"), operands.join(", "))
            }
        }
    }
}

/// An optional slot may be empty, so reading it without saying what happens then does not compile:
///
/// ```compile_fail
/// # use onnx_slim::rewrite::{Match, optional};
/// fn bias(m: &Match<'_>) { let _ = &m[optional("b")]; }
/// ```
///
/// Neither does a pattern made from a string:
///
/// ```compile_fail
/// # use onnx_slim::ir::OpKind::Conv;
/// let _ = Conv.of(("x", "w"));
/// ```
#[cfg(doctest)]
struct Refused;
