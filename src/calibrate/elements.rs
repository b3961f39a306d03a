//! Elements as statistics see them: one pass that tells their range, in steps that a compiler makes vectors of.

use crate::exec::vectors::vectors;

/// What is a real number as it lies in memory.
pub(super) trait Real: Copy {
    fn real(self) -> f32;
}

impl Real for f32 {
    #[inline(always)]
    fn real(self) -> f32 {
        self
    }
}

impl Real for [u8; 4] {
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from_le_bytes(self)
    }
}

/// What one pass over elements finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scan {
    /// The least finite element that is not zero; infinity without any.
    pub(super) low: f32,
    /// The greatest finite element that is not zero; negative infinity without any.
    pub(super) high: f32,
    pub(super) zeros: u64,
    pub(super) not_finite: u64,
}

impl Scan {
    /// From the least finite element to the greatest.
    pub(super) fn range(&self) -> Option<(f32, f32)> {
        match (self.low <= self.high, self.zeros > 0) {
            (false, false) => None,
            (false, true) => Some((0.0, 0.0)),
            (true, false) => Some((self.low, self.high)),
            (true, true) => Some((self.low.min(0.0), self.high.max(0.0))),
        }
    }
}

/// Elements that are looked at side by side.
const LANES: usize = 16;

vectors! {
    /// What one pass over `elements` finds.
    pub(super) fn scan<T: Real>(elements: &[T]) -> Scan {
        let mut low = [f32::INFINITY; LANES];
        let mut high = [f32::NEG_INFINITY; LANES];
        let (mut zeros, mut not_finite) = (0, 0);
        // As many as a lane's counts hold.
        for part in elements.chunks(1 << 30) {
            let (mut zero, mut wild) = ([0u32; LANES], [0u32; LANES]);
            let (blocks, rest) = part.as_chunks::<LANES>();
            for block in blocks {
                for i in 0..LANES {
                    see(block[i], &mut low[i], &mut high[i], &mut zero[i], &mut wild[i]);
                }
            }
            for (i, x) in rest.iter().enumerate() {
                see(*x, &mut low[i], &mut high[i], &mut zero[i], &mut wild[i]);
            }
            zeros += zero.iter().map(|n| u64::from(*n)).sum::<u64>();
            not_finite += wild.iter().map(|n| u64::from(*n)).sum::<u64>();
        }
        let low = low.into_iter().fold(f32::INFINITY, f32::min);
        let high = high.into_iter().fold(f32::NEG_INFINITY, f32::max);
        Scan { low, high, zeros, not_finite }
    }
}

#[inline(always)]
fn see<T: Real>(x: T, low: &mut f32, high: &mut f32, zeros: &mut u32, wild: &mut u32) {
    const MAGNITUDE: u32 = 0x7fff_ffff;
    const INFINITE: u32 = 0x7f80_0000;
    let x = x.real();
    let magnitude = x.to_bits() & MAGNITUDE;
    let (is_zero, is_wild) = (magnitude == 0, magnitude >= INFINITE);
    let is_neither = !is_zero & !is_wild;
    let (below, above) = if is_neither { (x, x) } else { (f32::INFINITY, f32::NEG_INFINITY) };
    *low = if below < *low { below } else { *low };
    *high = if above > *high { above } else { *high };
    *zeros += u32::from(is_zero);
    *wild += u32::from(is_wild);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_and_wild_elements_count_apart() {
        let found = scan(&[0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.0, -2.0, f32::from_bits(1)]);
        assert_eq!((found.low, found.high, found.zeros, found.not_finite), (-2.0, 3.0, 2, 3));
        assert_eq!(found.range(), Some((-2.0, 3.0)));
        assert_eq!(scan(&[0.0, 5.0]).range(), Some((0.0, 5.0)));
        assert_eq!(
            (scan(&[0.0]).range(), scan(&[f32::NAN]).range(), scan::<f32>(&[]).range()),
            (Some((0.0, 0.0)), None, None)
        );
    }

    proptest! {
        #[test]
        fn bytes_are_the_same_elements(elements in prop::collection::vec(any::<f32>(), 0..70)) {
            let bytes: Vec<[u8; 4]> = elements.iter().map(|x| x.to_le_bytes()).collect();
            prop_assert_eq!(scan(&bytes), scan(&elements));
            let finite = elements.iter().copied().filter(|x| x.is_finite());
            prop_assert_eq!(scan(&elements).range().map(|r| r.0), finite.reduce(f32::min));
        }
    }
}
