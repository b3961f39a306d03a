//! `x / √(mean(x²) + ε)` is `√n · x / √(Σx² + n·ε)` over n elements: before opset 23, which has `RMSNormalization`,
//! that takes one operator for the sum of squares and one for the division, and √n goes into the scale.
//!
//! Where the scale is a known constant, or there is none. Declines where something on the way is also read elsewhere.
//! In half precision the sum may be too large where the mean is not: that is left alone.

use crate::ir::OpKind::{Add, Div, Mul, RMSNormalization, ReduceSumSquare, Sqrt};
use crate::ir::{DType, Graph, NodeId, Tensor};
use crate::ops::{CallView, schema};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::support::axes::operand;
use crate::rules::support::norm::{Norm, Statistic, outermost};
use crate::rules::support::numbers::mapped;

pub fn rule() -> Rule {
    Rule::new("shorten-rms-norm", Exactness::Rounding, any_of(&[Div, Mul]), |m| {
        let opset = u32::try_from(m.opset()).unwrap_or(1);
        applies(schema::lookup("", RMSNormalization.name(), opset).is_none())?;
        outermost(m.graph(), m.root().id(), shortened)
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
fn shortened(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    let norm = Norm::of(graph, root).ok_or(Skip::NotThis)?;
    applies(norm.statistic == Statistic::RootMeanSquare && norm.shift.is_none())?;
    let dtype = graph.value(norm.x).ty.dtype().ok_or(Skip::NotThis)?;
    let dims = norm.dims(graph);
    let count = norm.axes.iter().try_fold(1i64, |n, &axis| n.checked_mul(dims[axis].known()?)).ok_or(Skip::NotThis)?;
    // A sum of squares, its root and the division are the shortest; the product with the scale is one more.
    let shortest = if norm.scale.is_some() { 5 } else { 4 };
    applies(matches!(dtype, DType::F32 | DType::BF16) && count > 0 && norm.node_count() > shortest)?;
    norm.check(graph, root)?;
    let root_of_count = (count as f64).sqrt();
    let number = |n: f64| Tensor::rounded(dtype, &[], &[n]).map_err(|_| Skip::NotThis);
    let scale = match norm.scale {
        Some(scale) => {
            let scale = graph.constant(scale).ok_or(Skip::NotThis)?;
            mapped(scale, |_, s| s * root_of_count).ok_or(Skip::NotThis)?
        }
        None => number(root_of_count)?,
    };
    let squares = ReduceSumSquare.emit([norm.x.into(), operand(&norm.axes).into()]);
    let guarded = match norm.epsilon {
        0.0 => squares,
        epsilon => Add.emit([squares, number(f64::from(epsilon) * count as f64)?.into()]),
    };
    let unit = Div.emit([norm.x.into(), Sqrt.emit([guarded])]);
    Ok(Mul.emit([unit, scale.into()]).named_like(CallView::new(graph, root)))
}
