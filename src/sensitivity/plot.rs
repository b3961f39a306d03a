//! Losses as a picture: bars on a logarithmic scale, in SVG.

use std::fmt::Write as _;

use crate::sensitivity::{Precision, Summary};

/// Pixels of a bar, of what stands between layers, of names and of the longest bar.
const BAR: usize = 9;
const GAP: usize = 6;
const NAMES: usize = 260;
const WIDTH: usize = 420;
const TOP: usize = 48;

/// Letters of a name that there is room for.
const LETTERS: usize = 40;

/// Losses below this have no bar.
const LEAST: f64 = 1e-9;

/// The colour of a precision.
fn colour(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "#888888",
        Precision::Fp16Weights => "#2f6b4f",
        Precision::Fp16 => "#4c9f70",
        Precision::Bf16 => "#8cc06d",
        Precision::Int8Weights => "#4a7fb5",
        Precision::Int8 => "#c8553d",
        Precision::Uint4 => "#d9a441",
        Precision::Int4 => "#8e5ea2",
        Precision::Int2 => "#444444",
    }
}

/// `summary` as an SVG file: for each layer a bar for each precision, the most sensitive first.
pub fn svg(summary: &Summary) -> String {
    let losses = || summary.layers.iter().flat_map(|layer| layer.effects.values().map(|effect| effect.loss));
    let largest = losses().filter(|loss| loss.is_finite()).fold(LEAST * 10.0, f64::max).log10().ceil();
    let decades = (largest - LEAST.log10()).max(1.0);
    let length = |loss: f64| match loss {
        loss if loss.is_infinite() => WIDTH as f64,
        loss if loss <= LEAST => 0.0,
        loss => (loss.log10() - LEAST.log10()) / decades * WIDTH as f64,
    };
    let bars: usize = summary.layers.iter().map(|layer| layer.effects.len().max(1)).sum();
    let height = TOP + bars * BAR + summary.layers.len() * GAP + 12;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        NAMES + WIDTH + 90
    );
    let mut put = |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").expect("a string takes what is written");
    put(format_args!("<text x=\"8\" y=\"16\">loss of outputs ({}) by layer and precision</text>", summary.measure));
    let mut precisions: Vec<Precision> = summary.layers.iter().flat_map(|l| l.effects.keys().copied()).collect();
    precisions.sort_unstable();
    precisions.dedup();
    for (i, &precision) in precisions.iter().enumerate() {
        let x = NAMES + i * 100;
        put(format_args!("<rect x=\"{x}\" y=\"8\" width=\"9\" height=\"9\" fill=\"{}\"/>", colour(precision)));
        put(format_args!("<text x=\"{}\" y=\"16\">{precision}</text>", x + 13));
    }
    for decade in 0..=decades as usize {
        let x = NAMES as f64 + decade as f64 / decades * WIDTH as f64;
        let exponent = LEAST.log10() as i64 + decade as i64;
        put(format_args!(
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#dddddd\"/>",
            TOP - 8,
            height - 8
        ));
        put(format_args!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">1e{exponent}</text>", TOP - 12));
    }
    let mut y = TOP;
    for layer in &summary.layers {
        let middle = y + layer.effects.len().max(1) * BAR / 2 + 4;
        put(format_args!(
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            NAMES - 8,
            escaped(&layer.node)
        ));
        for (&precision, effect) in &layer.effects {
            let said = if effect.loss.is_finite() { format!("{:.1e}", effect.loss) } else { "lost".into() };
            let length = length(effect.loss);
            put(format_args!(
                "<rect x=\"{NAMES}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>",
                BAR - 1,
                colour(precision)
            ));
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{}\" font-size=\"8\">{said}</text>",
                NAMES as f64 + length + 4.0,
                y + BAR - 2
            ));
            y += BAR;
        }
        y += GAP + if layer.effects.is_empty() { BAR } else { 0 };
    }
    put(format_args!("</svg>"));
    out
}

/// A name as it may stand in a file of XML, the end of it where it is long.
fn escaped(name: &str) -> String {
    let letters = name.chars().count();
    let end: String = name.chars().skip(letters.saturating_sub(LETTERS)).collect();
    let cut = if letters > LETTERS { format!("…{end}") } else { end };
    cut.chars()
        .map(|c| match c {
            '&' => "&amp;".to_string(),
            '<' => "&lt;".to_string(),
            '>' => "&gt;".to_string(),
            // XML has no way to say these.
            c if c.is_control() => "\u{fffd}".to_string(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitivity::{Effect, LayerReport};

    #[test]
    fn names_are_escaped_and_lost_layers_have_the_longest_bar() {
        let effect = |loss| Effect { loss, local: 0.0, weights: 0.0, skipped: false };
        let layer = |node: &str, loss| LayerReport {
            node: node.into(),
            op: "Conv".into(),
            macs: 1,
            weights: 1,
            effects: [(Precision::Int8, effect(loss))].into(),
            without: [].into(),
        };
        let summary = Summary {
            measure: "kl",
            layers: vec![layer("a<b>&\u{1}", f64::INFINITY), layer(&"x".repeat(60), 1e-3), layer("z", 0.0)],
            samples: 1,
            made_up: false,
            forwards: 1.0,
            ground_runs: 1,
            skipped: 0,
            pass_seconds: 0.0,
            seconds: 0.0,
            notes: Vec::new(),
        };
        let text = svg(&summary);
        assert!(text.contains("a&lt;b&gt;&amp;\u{fffd}") && text.contains("width=\"420.0\""), "{text}");
        assert!(text.contains(&format!("…{}<", "x".repeat(40))) && text.contains("width=\"0.0\""));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
    }
}
