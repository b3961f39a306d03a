//! Numbers that look random and are the same everywhere: the splitmix64 generator (Steele, Lea and Flood, 2014).

/// A generator; what it holds is its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A generator for what is called `name`.
    pub(crate) fn new(seed: u64, name: &str) -> Random {
        Random(xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), seed))
    }

    /// Below `n`, which is positive.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        // The high half of a product is uniform up to one part in 2⁶⁴/n.
        u64::try_from((u128::from(self.next()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Mean 0, variance 1: Box and Muller's method.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
