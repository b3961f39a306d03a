//! Two products by known matrices in a row are one: `(x·V + a)·W + b` is `x·(V·W) + (a·W + b)`.
//!
//! `MatMul` and `Gemm`, and an `Add` of a constant between them. Declines where the product is larger than its factors,
//! as it is when they part one matrix into two of low rank; where a weight is also read elsewhere; where the product
//! would overflow its type; and where computing it would take longer than a second or so.

use crate::ir::OpKind::{self, Add, Gemm, MatMul};
use crate::rewrite::{Exactness, Rule, any_of, call, constant, optional};
use crate::rules::support::linear::Linear;

const PRODUCTS: &[OpKind] = &[Gemm, MatMul];

pub fn rule() -> Rule {
    let (inner, outer, biased, a) = (call("inner"), call("outer"), call("biased"), constant("a"));
    let product = || any_of(PRODUCTS).bind(inner);
    let direct = any_of(PRODUCTS).on(product()).bind(outer);
    let biased = any_of(PRODUCTS).on(Add.of((product(), a)).bind(biased)).bind(outer);
    Rule::new("merge-matmuls", Exactness::Rounding, direct.or(biased), move |m| {
        let (inner, outer) = (Linear::read(m.call(inner))?, Linear::read(m.call(outer))?);
        outer.after_matmul(m, &inner, m.optional(optional("a")))
    })
}
