//! `explain`: the manual is what stands at the top of each rule's and pass's file.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::cli::{End, args, usage};
use crate::error::similar;
use crate::passes::pipeline;
use crate::rewrite::Exactness;
use crate::rules;

/// One page of the manual.
struct Page {
    name: &'static str,
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rule(Exactness),
    Pass,
}

pub(super) fn run(args: &args::Explain) -> anyhow::Result<End> {
    let pages = pages();
    let text = match &args.name {
        None => list(&pages),
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

fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    for pass in pipeline::standard().passes() {
        if pages.iter().all(|p| p.name != pass.name()) {
            pages.push(Page { name: pass.name(), kind: Kind::Pass, text: doc(pass.doc()) });
        }
    }
    for entry in rules::all() {
        let kind = Kind::Rule(entry.rule.exactness());
        pages.push(Page { name: entry.rule.name(), kind, text: doc(entry.source) });
    }
    pages
}

/// The doc comment at the top of a file.
fn doc(source: &str) -> String {
    let lines = source.lines().map_while(|l| l.strip_prefix("//!"));
    lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n").trim().to_string()
}

/// The first sentence of a page, on one line.
fn summary(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match paragraph.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => paragraph,
    }
}

fn full(page: &Page) -> String {
    let kind = match page.kind {
        Kind::Pass => "a pass".to_string(),
        Kind::Rule(exactness) => format!("a rule, {}", in_words(exactness)),
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
        let _ = writeln!(text, "  {:width$}  {}", page.name, summary(&page.text));
    }
    text.push_str("\nRules of simplify, in the order in which they are tried:\n");
    for page in pages.iter().filter(|p| p.kind != Kind::Pass) {
        let _ = writeln!(text, "  {:width$}  {}", page.name, summary(&page.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_comment_at_the_top() {
        assert_eq!(doc("//! One.\n//!\n//! Two\n//! lines.\n\nuse x;\n//! not this\n"), "One.\n\nTwo\nlines.");
        assert_eq!(summary("One\nline. And more.\n\nTwo."), "One line.");
    }

    #[test]
    fn everything_has_a_page_of_its_own() {
        let pages = pages();
        for (i, page) in pages.iter().enumerate() {
            assert!(!page.text.is_empty(), "{} has no page", page.name);
            assert!(pages.iter().skip(i + 1).all(|p| p.name != page.name), "{} stands twice", page.name);
        }
    }
}
