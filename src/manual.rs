//! The manual: what stands at the top of each rule's and pass's file. `explain` prints it, and the README lists it.

use crate::passes::pipeline;
use crate::rewrite::Exactness;
use crate::rules;

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// What `--disable` and the report call it.
    pub name: &'static str,
    /// A rule or a pass.
    pub kind: Kind,
    /// The whole text.
    pub text: String,
}

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pass of the standard pipeline.
    Pass,
    /// A rule, and how close results stay.
    Rule(Exactness),
    /// A rule that says an operator in others, and how close results stay.
    Lowering(Exactness),
}

impl Page {
    /// The first sentence, on one line.
    pub fn summary(&self) -> String {
        let paragraph = self.text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        match paragraph.split_once(". ") {
            Some((first, _)) => format!("{first}."),
            None => paragraph,
        }
    }
}

/// Every page: passes in the order in which they first run, then rules in the order in which they are tried, those that
/// lower last.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    for pass in pipeline::standard().passes() {
        if pages.iter().all(|p| p.name != pass.name()) {
            pages.push(Page { name: pass.name(), kind: Kind::Pass, text: top_comment(pass.doc()) });
        }
    }
    for entry in rules::all() {
        let kind = Kind::Rule(entry.rule.exactness());
        pages.push(Page { name: entry.rule.name(), kind, text: top_comment(entry.source) });
    }
    for entry in rules::lower::all() {
        let kind = Kind::Lowering(entry.rule.exactness());
        pages.push(Page { name: entry.rule.name(), kind, text: top_comment(entry.source) });
    }
    pages
}

/// The doc comment at the top of a file.
fn top_comment(source: &str) -> String {
    let lines = source.lines().map_while(|l| l.strip_prefix("//!"));
    lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_comment_at_the_top() {
        let text = top_comment("//! One\n//! line. And more.\n//!\n//! Two.\n\nuse x;\n//! not this\n");
        assert_eq!(text, "One\nline. And more.\n\nTwo.");
        assert_eq!(Page { name: "p", kind: Kind::Pass, text }.summary(), "One line.");
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
