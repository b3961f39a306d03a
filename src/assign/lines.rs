//! What became of a model, for people.

use crate::assign::{Costed, Effort, Summary, Uniform};
use crate::sensitivity::Precision;

/// A share of what float32 costs.
fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.0} %", 100.0 * part / whole) } else { "-".into() }
}

/// A number that says little beyond two digits.
fn loss(loss: f64) -> String {
    if loss.is_finite() { format!("{loss:.1e}") } else { "lost".into() }
}

impl Summary {
    /// What layers compute in, what it costs, and what one precision for all would be.
    pub fn lines(&self) -> Vec<String> {
        let count = |precision: Precision| self.layers.iter().filter(|layer| layer.precision == precision).count();
        let parts: Vec<String> =
            Precision::ALL.into_iter().filter(|&p| count(p) > 0).map(|p| format!("{} {p}", count(p))).collect();
        let mut lines =
            vec![format!("{} layers: {}; {}", self.layers.len(), parts.join(", "), self.costed(&self.costs))];
        let room: Vec<String> = [
            self.sqnr.map(|ratio| format!("at least {ratio:.1} dB")),
            self.drop.map(|drop| format!("another class in at most {drop:.2} %")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let likely = if room.is_empty() { String::new() } else { format!("; likely on others: {}", room.join(", ")) };
        let predicted =
            if self.uniform.is_empty() { String::new() } else { format!(", {} predicted", loss(self.predicted)) };
        lines.push(format!(
            "loss ({}) {} on {} samples held out{predicted}{likely}",
            self.measure,
            loss(self.loss),
            self.measured.held_out
        ));
        for uniform in &self.uniform {
            lines.push(self.uniform_line(uniform));
        }
        if !self.uniform.is_empty() {
            let part = |effort: &Effort| format!("{} {:.0} in {:.1} s", effort.part, effort.forwards, effort.seconds);
            lines.push(format!(
                "found in {:.1} s and {:.0} forwards of one sample ({} models verified); one pass over the samples takes {:.1} s",
                self.seconds, self.forwards, self.verdicts, self.pass_seconds
            ));
            lines.push(format!("of these: {}", self.efforts.iter().map(part).collect::<Vec<_>>().join(", ")));
        }
        lines
    }

    fn uniform_line(&self, uniform: &Uniform) -> String {
        let drop =
            uniform.drop.map_or_else(String::new, |drop| format!(", another class likely in at most {drop:.2} %"));
        format!(
            "beside it, {} in {} layers: {}, loss {}{drop}{}",
            uniform.precision,
            uniform.layers,
            self.costed(&uniform.costs),
            loss(uniform.loss),
            if uniform.meets { "" } else { ", out of bounds" }
        )
    }

    fn costed(&self, costs: &Costed) -> String {
        let mut said = vec![
            format!("{} of the bytes", share(costs.bytes as f64, self.float.bytes as f64)),
            format!("{} of the bit operations", share(costs.bitops as f64, self.float.bitops as f64)),
            format!("{:.1} bits a weight", costs.bits),
        ];
        if let (Some(now), Some(float)) = (costs.nanoseconds, self.float.nanoseconds) {
            said.push(format!("{} of the time", share(now, float)));
        }
        said.join(", ")
    }

    /// Each layer, in the order of the model: its name, operator, precision, loss and why.
    pub fn rows(&self) -> Vec<[String; 5]> {
        let row = |layer: &super::Assigned| {
            [layer.node.clone(), layer.op.clone(), layer.precision.to_string(), loss(layer.loss), layer.why.clone()]
        };
        self.layers.iter().map(row).collect()
    }
}
