//! What a model is asked about: samples, moved a little, and mixtures of two.

use crate::random::Random;

/// What a sample gives for one input of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
}

impl Input {
    /// Whether it has planes that are large enough to be moved.
    pub(super) fn is_moved(&self) -> bool {
        matches!(self.dims[..], [_, _, height, width] if farthest(height).max(farthest(width)) > 0)
    }
}

/// Pictures and the like are moved by so much of their height and width at the most, in either direction.
const MOVED: f64 = 1.0 / 12.0;

/// A sample, and how far it is moved along the axes of a plane: in parts of the most that it is, from -1 to 1.
#[derive(Clone, Copy)]
pub(super) struct Pick {
    sample: usize,
    moved: [f64; 2],
}

impl Pick {
    fn any(samples: usize, random: &mut Random) -> Pick {
        Pick::of(random.below(samples as u64) as usize, random)
    }

    fn of(sample: usize, random: &mut Random) -> Pick {
        Pick { sample, moved: [0; 2].map(|_| 2.0 * random.unit() - 1.0) }
    }

    /// What it gives for each input.
    fn elements(&self, samples: &[Vec<Vec<f32>>], inputs: &[Input]) -> Vec<Vec<f32>> {
        let given = samples[self.sample].iter().zip(inputs);
        given.map(|(elements, input)| moved(elements, &input.dims, self.moved)).collect()
    }
}

/// How far an axis of this size is moved at the most.
fn farthest(size: usize) -> usize {
    (size as f64 * MOVED) as usize
}

/// The elements of a tensor of these sizes, whose planes have gone so far along their axes. What comes in from outside is
/// like the border. Nothing but tensors of four axes has planes.
fn moved(elements: &[f32], dims: &[usize], by: [f64; 2]) -> Vec<f32> {
    let &[_, _, height, width] = dims else { return elements.to_vec() };
    let from = |size: usize, by: f64| -> Vec<usize> {
        let far = (by * farthest(size) as f64).round() as i64;
        let last = size.saturating_sub(1) as i64;
        (0..size as i64).map(|at| (at + far).clamp(0, last) as usize).collect()
    };
    let (rows, columns) = (from(height, by[0]), from(width, by[1]));
    let mut result = Vec::with_capacity(elements.len());
    for plane in elements.chunks((height * width).max(1)) {
        for row in &rows {
            result.extend(columns.iter().map(|column| plane[row * width + column]));
        }
    }
    result
}

/// A sample as it is or moved, or a mixture of two that are moved.
pub(super) enum Draw {
    Whole(usize),
    Moved(Pick),
    Mixed { first: Pick, second: Pick, share: f32 },
}

impl Draw {
    /// One of so many samples, or a mixture of two where samples `are_mixed`.
    pub(super) fn any(samples: usize, are_mixed: bool, random: &mut Random) -> Draw {
        if !are_mixed {
            return Draw::Whole(random.below(samples as u64) as usize);
        }
        let [first, second] = [0; 2].map(|_| Pick::any(samples, random));
        Draw::Mixed { first, second, share: random.unit() as f32 }
    }

    /// A sample that is moved somewhere.
    pub(super) fn moved(sample: usize, random: &mut Random) -> Draw {
        Draw::Moved(Pick::of(sample, random))
    }

    /// What it gives for each input.
    pub(super) fn elements(&self, samples: &[Vec<Vec<f32>>], inputs: &[Input]) -> Vec<Vec<f32>> {
        match self {
            Draw::Whole(sample) => samples[*sample].clone(),
            Draw::Moved(pick) => pick.elements(samples, inputs),
            Draw::Mixed { first, second, share } => {
                let mut mixed = first.elements(samples, inputs);
                for (a, b) in mixed.iter_mut().flatten().zip(second.elements(samples, inputs).iter().flatten()) {
                    *a = share * *a + (1.0 - share) * b;
                }
                mixed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_move_by_a_twelfth_at_the_most() {
        let plane: Vec<f32> = (0..12 * 24).map(|i| i as f32).collect();
        let dims = [1, 1, 12, 24];
        assert_eq!(moved(&plane, &dims, [0.0, 0.0]), plane);
        let down = moved(&plane, &dims, [1.0, 0.0]);
        assert_eq!((down[0], down[11 * 24], down[10 * 24]), (24.0, 11.0 * 24.0, 11.0 * 24.0));
        let left = moved(&plane, &dims, [0.0, -1.0]);
        assert_eq!(left[..4], [0.0, 0.0, 0.0, 1.0]);
        // Eleven are too few to move, and a table of numbers is no picture.
        let few: Vec<f32> = (0..11 * 11).map(|i| i as f32).collect();
        assert_eq!(moved(&few, &[1, 1, 11, 11], [1.0, -1.0]), few);
        assert_eq!(moved(&plane, &[12, 24], [1.0, 1.0]), plane);
        assert!(moved(&[], &[1, 3, 0, 24], [1.0, 1.0]).is_empty());
        let is_moved = |dims: &[usize]| Input { name: "x".into(), dims: dims.to_vec() }.is_moved();
        assert!(is_moved(&[1, 1, 12, 1]) && is_moved(&[1, 1, 1, 12]));
        assert!(!is_moved(&[1, 12, 11, 11]) && !is_moved(&[1, 12, 12]));
    }

    #[test]
    fn mixtures_have_shares_of_both() {
        let samples = [vec![vec![0.0, 4.0]], vec![vec![2.0, 0.0]]];
        let inputs = [Input { name: "x".into(), dims: vec![1, 2] }];
        let pick = |sample| Pick { sample, moved: [0.5; 2] };
        let draw = Draw::Mixed { first: pick(0), second: pick(1), share: 0.25 };
        assert_eq!(draw.elements(&samples, &inputs), [[1.5, 1.0]]);
        assert_eq!(Draw::Whole(1).elements(&samples, &inputs), samples[1]);
        let mut random = Random::new(1, "draw");
        assert!(matches!(Draw::any(2, false, &mut random), Draw::Whole(0 | 1)));
        assert!(matches!(Draw::any(2, true, &mut random), Draw::Mixed { .. }));
    }
}
