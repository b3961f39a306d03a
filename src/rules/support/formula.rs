//! What sums and products of one value and numbers come to: a polynomial, whichever way it is written.
//!
//! An activation such as `x · 0.5 · (1 + erf(x / √2))` is a polynomial in `x` and one *atom*, the call of a function of
//! `x`. Two spellings are the same formula when their polynomials have the same coefficients.

use smallvec::SmallVec;

use crate::ir::{DType, Graph, NodeId, OpKind, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Match, Skip};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::numbers::is_foldable_float;

/// The highest power of the value.
const DEGREE: usize = 3;

/// Nodes that one formula is made of, at most.
const MOST_NODES: usize = 24;

/// Coefficients of a polynomial in a value and an atom.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Polynomial([[f64; DEGREE + 1]; 2]);

impl Polynomial {
    fn number(c: f64) -> Polynomial {
        Polynomial::default().with(0, 0, c)
    }

    fn with(mut self, atom: usize, power: usize, c: f64) -> Polynomial {
        self.0[atom][power] = c;
        self
    }

    fn as_number(&self) -> Option<f64> {
        let c = self.0[0][0];
        (*self == Polynomial::number(c)).then_some(c)
    }

    /// The sum; `None` where terms cancel: what is left of them is noise.
    fn plus(&self, other: &Polynomial) -> Option<Polynomial> {
        let mut sum = Polynomial::default();
        for (atom, row) in sum.0.iter_mut().enumerate() {
            for (power, c) in row.iter_mut().enumerate() {
                let (a, b) = (self.0[atom][power], other.0[atom][power]);
                *c = a + b;
                if c.abs() < 1e-2 * a.abs().max(b.abs()) {
                    return None;
                }
            }
        }
        Some(sum)
    }

    /// The product; `None` where it has a higher degree than polynomials have here.
    fn times(&self, other: &Polynomial) -> Option<Polynomial> {
        let mut product = Polynomial::default();
        let terms = |p: &Polynomial| -> Vec<(usize, usize, f64)> {
            let rows = p.0.iter().enumerate();
            let all = rows.flat_map(|(a, row)| row.iter().enumerate().map(move |(x, c)| (a, x, *c)));
            all.filter(|(.., c)| *c != 0.0).collect()
        };
        for (a, x, c) in terms(self) {
            for (b, y, d) in terms(other) {
                *product.0.get_mut(a + b)?.get_mut(x + y)? += c * d;
            }
        }
        Some(product)
    }

    fn scaled(&self, k: f64) -> Polynomial {
        Polynomial(self.0.map(|row| row.map(|c| c * k)))
    }

    /// Whether these are the coefficients: of powers of the value without the atom and with it, from the constant up.
    pub fn is(&self, without: &[f64], with: &[f64], dtype: DType) -> bool {
        let same = |row: &[f64], wanted: &[f64]| {
            row.iter().enumerate().all(|(i, c)| near(*c, wanted.get(i).copied().unwrap_or_default(), dtype))
        };
        same(&self.0[0], without) && same(&self.0[1], with)
    }

    /// `a` and `b` of `a·x + b`; `None` of another formula.
    pub fn as_line(&self) -> Option<(f64, f64)> {
        let (a, b) = (self.0[0][1], self.0[0][0]);
        (*self == Polynomial::number(b).with(0, 1, a)).then_some((a, b))
    }

    /// `k` of `k · atom`, `None` of another formula.
    pub fn as_multiple_of_atom(&self) -> Option<f64> {
        let k = self.0[1][0];
        (*self == Polynomial::default().with(1, 0, k)).then_some(k)
    }

    /// `k` of `k · x · atom`, `None` of another formula.
    pub fn as_multiple_of_x_atom(&self) -> Option<f64> {
        let k = self.0[1][1];
        (*self == Polynomial::default().with(1, 1, k)).then_some(k)
    }
}

/// Whether a constant of `dtype` stands for `wanted`: what a few digits of it, or the rounding of a few factors, leave
/// open.
pub fn near(got: f64, wanted: f64, dtype: DType) -> bool {
    let tolerance = match dtype {
        DType::F64 => 1e-13,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        // 1.4142 for the square root of 2.
        _ => 1e-5,
    };
    (got - wanted).abs() <= tolerance * wanted.abs()
}

/// A call of `ops` that a formula is built around.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// The value that the formula is of.
    pub x: ValueId,
    /// What `reads` made of it.
    pub what: T,
}

/// Read the root as a formula of a value `x` and a call of one of `ops` on a formula of `x`. `reads` is given the call,
/// its operand's polynomial and the root's, and says what they are, if anything.
///
/// # Errors
/// `NotThis` where there is no such formula, and where what it computes on the way is also read elsewhere.
pub fn read<T>(
    m: &Match<'_>,
    ops: &[OpKind],
    reads: impl Fn(&CallView<'_>, &Polynomial, &Polynomial, DType) -> Option<T>,
) -> Result<Found<T>, Skip> {
    let (graph, root) = (m.graph(), m.root().id());
    let result = graph.result(root, 0).ok_or(Skip::NotThis)?;
    for atom in reach(graph, result, root) {
        let Some(call) = call_of(graph, atom, ops) else { continue };
        let Some(argument) = call.operand(0) else { continue };
        for x in reach(graph, argument, root) {
            let Some(dtype) = graph.value(x).ty.dtype().filter(|d| is_foldable_float(*d)) else { continue };
            let mut formula = Formula { graph, root, x, atom: None, nodes: SmallVec::new() };
            let Some(inner) = formula.of(argument) else { continue };
            formula.atom = Some(atom);
            formula.nodes.push(call.id());
            let Some(outer) = formula.of(result) else { continue };
            if let Some(what) = reads(&call, &inner, &outer, dtype) {
                only_read_within(graph, root, &formula.nodes)?;
                return Ok(Found { x, what });
            }
        }
    }
    Err(Skip::NotThis)
}

fn call_of<'g>(graph: &'g Graph, value: ValueId, ops: &[OpKind]) -> Option<CallView<'g>> {
    let (node, slot) = graph.producer(value)?;
    (slot == 0 && ops.contains(&graph.node(node).op)).then(|| CallView::new(graph, node))
}

/// Nobody but the root and other `nodes` reads what `nodes` compute, all in one body.
///
/// # Errors
/// Where somebody does.
pub fn only_read_within(graph: &Graph, root: NodeId, nodes: &[NodeId]) -> Result<(), Skip> {
    let inner = nodes.iter().filter(|&&n| n != root);
    let mut users = inner.flat_map(|&n| graph.results(n).iter().flatten()).flat_map(|&v| graph.value(v).users());
    let within = users.all(|u| matches!(u, User::Node(n, _) if *n == root || nodes.contains(n)));
    if within { Ok(()) } else { Err(Skip::InnerResultShared) }
}

/// Values that sums and products lead to from `from`, nearest first, `from` included.
fn reach(graph: &Graph, from: ValueId, root: NodeId) -> SmallVec<[ValueId; 16]> {
    let scope = graph.node(root).scope();
    let mut seen = SmallVec::from_iter([from]);
    let mut next = 0;
    while let Some(&value) = seen.get(next) {
        next += 1;
        let Some((node, 0)) = graph.producer(value) else { continue };
        if graph.node(node).scope() != scope || !COMBINING.contains(&graph.node(node).op) {
            continue;
        }
        for operand in graph.operands(node).flatten() {
            if seen.len() < MOST_NODES && graph.constant(operand).is_none() && !seen.contains(&operand) {
                seen.push(operand);
            }
        }
    }
    seen
}

/// Operators that make polynomials of polynomials.
const COMBINING: &[OpKind] = &[OpKind::Add, OpKind::Sub, OpKind::Mul, OpKind::Div, OpKind::Neg, OpKind::Pow];

struct Formula<'g> {
    graph: &'g Graph,
    root: NodeId,
    x: ValueId,
    atom: Option<ValueId>,
    /// Every node that was read.
    nodes: SmallVec<[NodeId; 16]>,
}

impl Formula<'_> {
    /// The polynomial that `value` is; `None` where it is none, or there is no telling.
    fn of(&mut self, value: ValueId) -> Option<Polynomial> {
        if value == self.x {
            return Some(Polynomial::default().with(0, 1, 1.0));
        }
        if Some(value) == self.atom {
            return Some(Polynomial::default().with(1, 0, 1.0));
        }
        if let Some(constant) = self.graph.constant(value) {
            let fits = absorbs_constant(self.graph.value(self.x).ty.shape(), constant);
            return constant.real(0).and_then(|_| constant.uniform_real()).filter(|_| fits).map(Polynomial::number);
        }
        let (node, slot) = self.graph.producer(value)?;
        let call = CallView::new(self.graph, node);
        let here = call.node().scope() == self.graph.node(self.root).scope();
        if slot != 0 || !here || !COMBINING.contains(&call.node().op) || self.nodes.len() == MOST_NODES {
            return None;
        }
        self.nodes.push(node);
        let a = self.of(call.operand(0)?)?;
        if call.node().op == OpKind::Neg {
            return Some(a.scaled(-1.0));
        }
        let b = self.of(call.operand(1)?)?;
        match call.node().op {
            OpKind::Add => a.plus(&b),
            OpKind::Sub => a.plus(&b.scaled(-1.0)),
            OpKind::Mul => a.times(&b),
            OpKind::Div => b.as_number().filter(|k| *k != 0.0).map(|k| a.scaled(1.0 / k)),
            _ => match b.as_number()? {
                2.0 => a.times(&a),
                3.0 => a.times(&a)?.times(&a),
                _ => None,
            },
        }
    }
}
