//! Two parts of one value that stand next to each other and get the same rotary embedding get it as one part, and are
//! split behind it; the sign of the half that is negated goes into the table.
//!
//! So queries and keys are turned by their positions at once. Before opset 23, which has `RotaryEmbedding`. Declines
//! where a part is also read by others.

use crate::ir::OpKind::{RotaryEmbedding, Split};
use crate::ir::{Attr, Graph, Int, Tensor, User, ValueId};
use crate::ops::{CallView, schema};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call};
use crate::rules::support::parts;
use crate::rules::support::rotary::Rotary;

pub fn rule() -> Rule {
    let split = call("split");
    let name = "turn-parts-together";
    Rule::new(name, Exactness::Bitwise, Split.any().bind(split), move |m| -> Result<Replacement, Skip> {
        let (graph, split) = (m.graph(), m.call(split));
        let opset = u32::try_from(m.opset()).unwrap_or(1);
        applies(schema::lookup("", RotaryEmbedding.name(), opset).is_none())?;
        let dims = split.dims(0).ok_or(Skip::NotThis)?;
        let axis = parts::axis(&split).filter(|&axis| axis + 1 < dims.len()).ok_or(Skip::NotThis)?;
        let values: Vec<ValueId> =
            graph.results(split.id()).iter().copied().collect::<Option<_>>().ok_or(Skip::NotThis)?;
        let turned: Vec<Option<(Rotary, ValueId)>> =
            values.iter().map(|&v| turned(&split, v)).collect::<Result<_, _>>()?;
        let same = |pair: &[Option<(Rotary, ValueId)>]| match pair {
            [Some((a, _)), Some((b, _))] => (a.cos, a.sin, a.negates) == (b.cos, b.sin, b.negates),
            _ => false,
        };
        let first = turned.windows(2).position(same).ok_or(Skip::NotThis)?;
        let (Some((rotary, one)), Some((_, two))) = (&turned[first], &turned[first + 1]) else {
            return Err(Skip::NotThis);
        };
        // The tables are for all parts along the axis.
        let for_all = |table: ValueId| {
            let table = graph.value(table).ty.shape().dims()?;
            let from_end = dims.len() - axis;
            Some(
                table.len() <= dims.len()
                    && table.len().checked_sub(from_end).is_none_or(|at| table[at] == Int::from(1)),
            )
        };
        applies(for_all(rotary.cos) == Some(true) && for_all(rotary.sin) == Some(true))?;
        let sizes: Option<Vec<i64>> =
            (0..values.len()).map(|slot| split.result_dims(slot)?.get(axis)?.known()).collect();
        let sizes = sizes.ok_or(Skip::NotThis)?;
        let size = dims.last().and_then(Int::known).filter(|size| size % 2 == 0).ok_or(Skip::NotThis)?;
        let along = Attr::Int(i64::try_from(axis).map_err(|_| Skip::NotThis)?);
        let mut joined = sizes.clone();
        joined.splice(first..first + 2, [sizes[first].checked_add(sizes[first + 1]).ok_or(Skip::NotThis)?]);
        let whole: Expr = split.operand(0).into();
        let outer = match joined.len() {
            1 => vec![whole],
            n => {
                let outer = Split.emit([whole, Tensor::vector(&joined).into()]).named_like(split);
                outer.with("axis", along.clone()).results(n)
            }
        };
        let both = rotary.of_another(graph, outer[first].clone(), size, true).ok_or(Skip::NotThis)?;
        let inner = Split.emit([both, Tensor::vector(&sizes[first..first + 2]).into()]).with("axis", along).results(2);
        let mut pairs: Vec<(ValueId, Expr)> = [*one, *two].into_iter().zip(inner).collect();
        let rest = outer.into_iter().enumerate().filter(|(slot, _)| *slot != first);
        pairs.extend(rest.map(|(slot, new)| (values[if slot < first { slot } else { slot + 1 }], new)));
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}

/// The rotary embedding of a part, and its result.
///
/// # Errors
/// Where others read the part, too.
fn turned(split: &CallView<'_>, part: ValueId) -> Result<Option<(Rotary, ValueId)>, Skip> {
    let graph = split.graph();
    for user in graph.value(part).users() {
        let Some(sum) = next(graph, user).and_then(|product| next(graph, graph.value(product.1).users().first()?))
        else {
            continue;
        };
        let Ok(rotary) = Rotary::of(&sum.0) else { continue };
        if rotary.x != part || sum.0.node().scope() != split.node().scope() {
            continue;
        }
        let readers = |user: &User| matches!(user, User::Node(n, _) if rotary.readers.contains(n));
        if !graph.value(part).users().iter().all(readers) {
            return Err(Skip::InnerResultShared);
        }
        return Ok(Some((rotary, sum.1)));
    }
    Ok(None)
}

/// The call that reads, and its first result.
fn next<'g>(graph: &'g Graph, user: &User) -> Option<(CallView<'g>, ValueId)> {
    let User::Node(node, _) = *user else { return None };
    Some((CallView::new(graph, node), graph.result(node, 0)?))
}
