//! `NonMaxSuppression`: of boxes that overlap, the one of the highest score.
//!
//! tract compares a box with those before it element by element of arrays of any rank, which takes a detector's run a
//! hundred times as long as all its layers; it takes a count of zero for any number, and limits only as vectors. Here
//! borders lie side by side, and classes are parted among cores.
//!
//! Source: ONNX, operator `NonMaxSuppression` (11). What it leaves open is as in onnxruntime: of equal scores the first
//! box, and boxes without an area overlap nothing.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use tract_onnx::Onnx;
use tract_onnx::model::{ParsingContext, optional_inputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use crate::exec::vectors::vectors;

/// Tell tract of the operator.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("NonMaxSuppression", |context: &ParsingContext<'_>, node: &NodeProto| {
        let mut limits = optional_inputs(node).skip(2);
        let op = Suppression {
            most: limits.next().flatten(),
            overlap: limits.next().flatten(),
            score: limits.next().flatten(),
            is_centered: node.get_attr_opt::<i64>("center_point_box")?.unwrap_or(0) != 0,
            selected: context.template.symbols.new_with_prefix("boxes"),
        };
        Ok((expand(op), vec![]))
    });
}

/// Which boxes stay. Limits are operands in these places, where they are given.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Suppression {
    most: Option<usize>,
    overlap: Option<usize>,
    score: Option<usize>,
    /// Whether boxes are middle and size, not two corners.
    is_centered: bool,
    /// How many boxes stay.
    selected: Symbol,
}

impl Expansion for Suppression {
    fn name(&self) -> StaticName {
        "NonMaxSuppression".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].rank, 3)?;
        s.equals(&inputs[1].rank, 3)?;
        s.equals(&inputs[0].shape[0], &inputs[1].shape[0])?;
        s.equals(&inputs[0].shape[1], &inputs[1].shape[2])?;
        s.equals(&inputs[0].shape[2], 4.to_dim())?;
        s.equals(&outputs[0].datum_type, i64::datum_type())?;
        s.equals(&outputs[0].rank, 2)?;
        s.equals(&outputs[0].shape[0], self.selected.to_dim())?;
        s.equals(&outputs[0].shape[1], 3.to_dim())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Suppression {
    fn name(&self) -> StaticName {
        "NonMaxSuppression".into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for Suppression {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let limit = |place: Option<usize>| -> TractResult<Option<f32>> {
            let Some(place) = place else { return Ok(None) };
            let limit = inputs[place].cast_to::<f32>()?;
            let [limit] = limit.try_as_plain_ram()?.as_slice::<f32>()? else { bail!("a limit is no single number") };
            Ok(Some(*limit))
        };
        let most = match self.most {
            None => 0,
            Some(place) => match inputs[place].try_as_plain_ram()?.as_slice::<i64>()? {
                [most] => usize::try_from(*most).unwrap_or(0),
                _ => bail!("the number of boxes is no single number"),
            },
        };
        let limits = Limits { most, overlap: limit(self.overlap)?.unwrap_or(0.0), score: limit(self.score)? };
        let &[batches, classes, count] = inputs[1].shape() else { bail!("scores have three axes") };
        if inputs[0].shape() != [batches, count, 4] {
            bail!("there are not as many boxes as scores");
        }
        let boxes = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?.as_chunks::<4>().0;
        let scores = inputs[1].try_as_plain_ram()?.as_slice::<f32>()?;
        let of_class = |at: usize| -> Vec<[i64; 3]> {
            let (batch, class) = (at / classes, at % classes);
            let boxes = &boxes[batch * count..(batch + 1) * count];
            let picked = limits.picked(boxes, &scores[at * count..(at + 1) * count], self.is_centered);
            picked.into_iter().map(|place| [batch as i64, class as i64, place as i64]).collect()
        };
        let selected: Vec<[i64; 3]> = (0..batches * classes).into_par_iter().flat_map_iter(of_class).collect();
        let selected = Tensor::from_shape(&[selected.len(), 3], selected.as_flattened())?;
        Ok(tvec!(selected.into_tvalue()))
    }
}

impl TypedOp for Suppression {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(i64::fact([self.selected.to_dim(), 3.to_dim()])))
    }

    as_op!();
}

/// Which boxes of a class stay.
struct Limits {
    /// So many at the most.
    most: usize,
    /// What overlaps more with one of them, as a part of what both cover, does not.
    overlap: f32,
    /// Those whose score is more.
    score: Option<f32>,
}

impl Limits {
    /// The places of the boxes that stay, those of the highest scores first.
    fn picked(&self, boxes: &[[f32; 4]], scores: &[f32], is_centered: bool) -> Vec<usize> {
        if self.most == 0 {
            return Vec::new();
        }
        let is_candidate = |&place: &usize| self.score.is_none_or(|least| scores[place] > least);
        let mut order: Vec<usize> = (0..scores.len()).filter(is_candidate).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let (mut picked, mut borders) = (Vec::new(), Borders::default());
        for place in order {
            let border = border(boxes[place], is_centered);
            if overlaps(&borders, border, self.overlap) {
                continue;
            }
            picked.push(place);
            borders.push(border);
            if picked.len() == self.most {
                break;
            }
        }
        picked
    }
}

/// The lower and the upper end along both axes.
fn border(corners: [f32; 4], is_centered: bool) -> [f32; 4] {
    let [a, b, c, d] = corners;
    if is_centered {
        return [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0];
    }
    [a.min(c), b.min(d), a.max(c), b.max(d)]
}

/// Borders of boxes, side by side.
#[derive(Default)]
struct Borders {
    ends: [Vec<f32>; 4],
    areas: Vec<f32>,
}

impl Borders {
    fn push(&mut self, border: [f32; 4]) {
        for (ends, end) in self.ends.iter_mut().zip(border) {
            ends.push(end);
        }
        self.areas.push(area(border));
    }
}

fn area([top, left, bottom, right]: [f32; 4]) -> f32 {
    (bottom - top) * (right - left)
}

vectors! {
    /// Whether a box overlaps with one of `others` in more than this part of what both cover.
    fn overlaps(others: &Borders, border: [f32; 4], most: f32) -> bool {
        // Boxes that are looked at before it is asked whether one was found.
        const BLOCK: usize = 64;
        let area = (border[2] - border[0]) * (border[3] - border[1]);
        let [tops, lefts, bottoms, rights] = &others.ends;
        let mut first = 0;
        while first < others.areas.len() {
            let end = (first + BLOCK).min(others.areas.len());
            let mut any = false;
            let sides = tops[first..end].iter().zip(&lefts[first..end]).zip(&bottoms[first..end]);
            let sides = sides.zip(&rights[first..end]).zip(&others.areas[first..end]);
            for ((((&top, &left), &bottom), &right), &other) in sides {
                let top = if top > border[0] { top } else { border[0] };
                let left = if left > border[1] { left } else { border[1] };
                let bottom = if bottom < border[2] { bottom } else { border[2] };
                let right = if right < border[3] { right } else { border[3] };
                let common = (bottom - top) * (right - left);
                let whole = area + other - common;
                let is_one = (bottom > top) & (right > left) & (area > 0.0) & (other > 0.0) & (whole > 0.0);
                any |= is_one & (common / whole > most);
            }
            if any {
                return true;
            }
            first = end;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// What overlaps with another is told by the operator's text, pair by pair.
    fn spelled_out(limits: &Limits, boxes: &[[f32; 4]], scores: &[f32]) -> Vec<usize> {
        let mut left: Vec<usize> = (0..boxes.len()).filter(|&i| limits.score.is_none_or(|s| scores[i] > s)).collect();
        let mut picked: Vec<usize> = Vec::new();
        while picked.len() < limits.most && !left.is_empty() {
            let best = *left.iter().max_by(|&&a, &&b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a))).unwrap();
            picked.push(best);
            let share = |other: usize| {
                let [a, b] = [border(boxes[best], false), border(boxes[other], false)];
                let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
                let common = side(0, 2) * side(1, 3);
                common / (area(a) + area(b) - common)
            };
            left.retain(|&other| other != best && share(other) <= limits.overlap);
        }
        picked
    }

    #[test]
    fn boxes_stay_that_overlap_with_none_of_a_higher_score() {
        let mut random = Random(3);
        let mut dropped = 0;
        for count in [0, 1, 3, 70, 300] {
            let mut corner = || {
                let [y, x] = [0, 1].map(|_| random.unit() as f32);
                // Corners in any order.
                let [dy, dx] = [0, 1].map(|_| (random.unit() as f32 - 0.5) * 0.6);
                [y, x, y + dy, x + dx]
            };
            let boxes: Vec<[f32; 4]> = (0..count).map(|_| corner()).collect();
            // Some are equal.
            let scores: Vec<f32> = (0..count).map(|i| (i * 7 % 50) as f32 / 50.0).collect();
            for (most, overlap, score) in
                [(usize::MAX, 0.3, None), (10, 0.1, Some(0.4)), (5, 0.9, None), (0, 0.5, None)]
            {
                let limits = Limits { most, overlap, score };
                let picked = limits.picked(&boxes, &scores, false);
                assert_eq!(picked, spelled_out(&limits, &boxes, &scores), "{count} {most} {overlap}");
                dropped += count - picked.len();
            }
        }
        assert!(dropped > 300);
    }

    #[test]
    fn a_box_without_an_area_overlaps_nothing() {
        let limits = Limits { most: 9, overlap: 0.0, score: None };
        let boxes = [[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0], [f32::NAN; 4], [0.5, 0.5, 1.0, 1.0]];
        assert_eq!(limits.picked(&boxes, &[0.9, 0.8, 0.7, 0.6], false), [0, 1, 2]);
        let centered = [[1.0, 1.0, 2.0, 2.0], [1.9, 1.0, 0.1, 0.1], [2.5, 1.0, 0.1, 0.1]];
        assert_eq!(limits.picked(&centered, &[0.9, 0.8, 0.7], true), [0, 2]);
    }
}
