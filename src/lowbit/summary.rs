//! What became of a model whose weights have few bits.

use serde::Serialize;

use crate::lowbit::levels::{Integers, Method};
use crate::quality::Quality;

/// A weight that is integers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weight {
    /// The first call that reads it.
    pub layer: String,
    /// How many read it.
    pub readers: usize,
    /// Rows and columns.
    pub sizes: [usize; 2],
    /// The bits of each integer.
    pub bits: usize,
    /// Columns that share a scale.
    pub group: usize,
    /// How its integers were found.
    pub method: Method,
}

/// Calls whose weights stay as they are for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The reason.
    pub why: &'static str,
    /// Their names, in order.
    pub nodes: Vec<String>,
}

/// What became of a model whose weights have few bits.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What stands for weights.
    pub integers: Integers,
    /// Weights that are integers.
    pub weights: Vec<Weight>,
    /// Weights that are not, and why.
    pub kept: Vec<Kept>,
    /// Bytes that these weights had, and have with scales and zero points.
    pub bytes: [u64; 2],
    /// Samples that integers were chosen with.
    pub samples: usize,
    /// Samples that float model and result were both run on.
    pub held_out: usize,
    /// How far outputs are from those of the float model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Quality>,
    /// What there is to say of the target and of what was not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Summary {
    /// What was done, in lines.
    pub fn lines(&self) -> Vec<String> {
        let mut groups: Vec<usize> = self.weights.iter().map(|w| w.group).collect();
        groups.sort_unstable();
        groups.dedup();
        let groups: Vec<String> = groups.iter().map(usize::to_string).collect();
        let mut methods: Vec<(Method, usize)> = Vec::new();
        for weight in &self.weights {
            match methods.iter_mut().find(|(method, _)| *method == weight.method) {
                Some((_, count)) => *count += 1,
                None => methods.push((weight.method, 1)),
            }
        }
        let methods: Vec<String> = methods.iter().map(|(method, count)| format!("{method} {count}")).collect();
        let elements: f64 = self.weights.iter().map(|w| w.sizes[0] as f64 * w.sizes[1] as f64).sum();
        let mut lines = vec![format!(
            "{} weights in {} with a scale for {} ({}), {:.1} bits each",
            self.weights.len(),
            self.integers.dtype().name(),
            groups.join(" or "),
            methods.join(", "),
            self.bytes[1] as f64 * 8.0 / elements.max(1.0),
        )];
        for kept in &self.kept {
            let first = kept.nodes.first().map_or("", |node| node);
            let others =
                if kept.nodes.len() > 1 { format!(" and {} more", kept.nodes.len() - 1) } else { String::new() };
            lines.push(format!("as they were: {first}{others}: {}", kept.why));
        }
        lines
    }
}
