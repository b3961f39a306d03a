//! What became of a model whose weights have few bits.

use serde::Serialize;

use crate::ir::{Graph, Tensor};
use crate::lowbit::codes::Codes;
use crate::lowbit::levels::{Integers, Method};
use crate::lowbit::sites::Site;
use crate::quality::Measured;

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
    /// Normalizations that have taken up factors of the weights behind them.
    pub scaled: usize,
    /// Bytes that these weights had, and have with scales and zero points.
    pub bytes: [u64; 2],
    /// Samples that integers were chosen with.
    pub samples: usize,
    /// They were made up, and so were those that follow: what was measured says little of what happens in use.
    pub made_up: bool,
    /// How far outputs are from those of the float model, on samples that both were run on.
    #[serde(flatten)]
    pub measured: Measured,
    /// What there is to say of the target and of what was not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Summary {
    /// Another weight that is integers.
    pub(super) fn add(&mut self, graph: &Graph, site: &Site, codes: &Codes, weight: &Tensor, method: Method) {
        self.weights.push(Weight {
            layer: site.readers.first().map(|reader| graph.label(reader.node)).unwrap_or_default(),
            readers: site.readers.len(),
            sizes: [site.outputs, site.columns],
            bits: codes.bits,
            group: site.group,
            method,
        });
        self.bytes[0] += weight.stored_bytes() as u64;
        self.bytes[1] += codes.bytes(weight.dtype()) as u64;
    }

    /// Nothing is known of what was lost.
    pub(super) fn not_compared(&mut self, why: &dyn std::fmt::Display) {
        self.notes.push(format!("not compared with the float model: {why}"));
    }

    /// Another weight that stays.
    pub(super) fn keep(&mut self, why: &'static str, graph: &Graph, site: &Site) {
        let nodes = site.readers.iter().map(|reader| graph.label(reader.node));
        match self.kept.iter_mut().find(|kept| kept.why == why) {
            Some(kept) => kept.nodes.extend(nodes),
            None => self.kept.push(Kept { why, nodes: nodes.collect() }),
        }
    }

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
        if self.samples > 0 {
            let plural = if self.samples == 1 { "" } else { "s" };
            let made_up = if self.made_up { "made-up " } else { "" };
            lines.push(format!("integers chosen on {} {made_up}sample{plural}", self.samples));
        }
        if self.scaled > 0 {
            let plural = if self.scaled == 1 { "" } else { "s" };
            lines.push(format!("columns scaled behind {} normalization{plural}", self.scaled));
        }
        for kept in &self.kept {
            let first = kept.nodes.first().map_or("", |node| node);
            let others =
                if kept.nodes.len() > 1 { format!(" and {} more", kept.nodes.len() - 1) } else { String::new() };
            lines.push(format!("as they were: {first}{others}: {}", kept.why));
        }
        lines
    }
}
