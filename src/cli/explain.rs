//! `explain`: the manual is what stands at the top of each rule's and pass's file.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::cli::{End, args, usage};
use crate::manual::{self, Kind, Page};
use crate::rewrite::Exactness;
use crate::similar::similar;

pub(super) fn run(args: &args::Explain) -> anyhow::Result<End> {
    let pages = manual::pages();
    let text = match &args.name {
        None => list(&pages),
        Some(name) if name == "advise" => crate::advise::markdown(),
        Some(name) => match pages.iter().find(|p| p.name == name) {
            Some(page) => full(page),
            None => {
                let similar = similar(name, pages.iter().map(|p| p.name));
                let hint = match &similar[..] {
                    [] => "`onnx-slim explain` lists them".to_string(),
                    similar => format!("did you mean {}?", similar.join(" or ")),
                };
                return Err(usage("explain", format!("there is no rule or pass called '{name}'; {hint}")));
            }
        },
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(End::Done)
}

fn full(page: &Page) -> String {
    let kind = match page.kind {
        Kind::Pass => "a pass".to_string(),
        Kind::Rule(exactness) | Kind::Lowering(exactness) => format!("a rule, {}", in_words(exactness)),
    };
    format!("{}: {kind}\n\n{}\n", page.name, page.text)
}

fn in_words(exactness: Exactness) -> &'static str {
    match exactness {
        Exactness::Bitwise => "exact bit for bit",
        Exactness::Rounding => "exact up to rounding",
        Exactness::Approximate => "approximate",
    }
}

fn list(pages: &[Page]) -> String {
    let width = pages.iter().map(|p| p.name.len()).max().unwrap_or_default();
    let mut text = String::from("Passes, in the order in which they first run:\n");
    for page in pages.iter().filter(|p| p.kind == Kind::Pass) {
        let _ = writeln!(text, "  {:width$}  {}", page.name, page.summary());
    }
    text.push_str("\nRules of simplify, in the order in which they are tried:\n");
    for page in pages.iter().filter(|p| matches!(p.kind, Kind::Rule(_))) {
        let _ = writeln!(text, "  {:width$}  {}", page.name, page.summary());
    }
    text.push_str("\nRules of lower, tried at what the target or the opset lacks:\n");
    for page in pages.iter().filter(|p| matches!(p.kind, Kind::Lowering(_))) {
        let _ = writeln!(text, "  {:width$}  {}", page.name, page.summary());
    }
    text
}
