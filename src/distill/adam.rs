//! Adam (Kingma and Ba 2015).

/// Steps of which each parameter's are alike in size, whatever its slopes are.
pub(super) struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    pub(super) fn new(count: usize) -> Adam {
        Adam { mean: vec![0.0; count], square: vec![0.0; count], steps: 0 }
    }

    /// Change parameters against their slopes: by `rates` times the factor at the most, about.
    pub(super) fn step(&mut self, parameters: &mut [f32], slopes: &[f32], rates: &[f32], factor: f32) {
        const KEEP: (f32, f32) = (0.9, 0.999);
        self.steps += 1;
        let (mean, square) = (1.0 - KEEP.0.powi(self.steps), 1.0 - KEEP.1.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for (((parameter, &slope), &rate), (m, s)) in parameters.iter_mut().zip(slopes).zip(rates).zip(moments) {
            *m = KEEP.0 * *m + (1.0 - KEEP.0) * slope;
            *s = KEEP.1 * *s + (1.0 - KEEP.1) * slope * slope;
            let deviation = (*s / square).sqrt();
            if deviation > 0.0 {
                *parameter -= factor * rate * (*m / mean) / (deviation + 1e-12);
            }
        }
    }
}
