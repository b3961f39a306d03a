//! The README lists every pass and rule in the words of its own file, and the table that `advise` decides by.
//!
//! `README=write cargo test --test readme` brings it up to date.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use onnx_slim::manual::{self, Kind, Page};
use onnx_slim::rewrite::Exactness;

/// One test, as each part is written into the same file.
#[test]
fn the_manual_and_the_advice_are_up_to_date() {
    is_up_to_date("manual", &manual());
    is_up_to_date("advice", &onnx_slim::advise::markdown());
}

/// Compare what stands at the place called `name` with `text`, or bring it up to date.
fn is_up_to_date(name: &str, text: &str) {
    let (begin, end) =
        (format!("<!-- begin {name}: written by tests/readme.rs -->\n"), format!("<!-- end {name} -->\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("the README is there");
    let (before, rest) = readme.split_once(&begin).expect("the README has a place for it");
    let (_, after) = rest.split_once(&end).expect("the place for it ends");
    let expected = format!("{before}{begin}\n{text}\n{end}{after}");
    if std::env::var_os("README").is_some_and(|v| v == "write") {
        fs::write(&path, &expected).expect("the README can be written");
    } else {
        assert!(readme == expected, "run README=write cargo test --test readme");
    }
}

#[test]
fn the_recipe_is_one() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    let (_, behind) = readme.split_once("### Recipes").expect("the README tells of recipes");
    let (_, block) = behind.split_once("```toml\n").expect("it shows one");
    let (block, _) = block.split_once("```").expect("it ends");
    let recipe = onnx_slim::recipe::Recipe::parse("README.md", block).expect("it is one");
    assert_eq!(recipe.entries().len(), 10);
}

fn manual() -> String {
    let (passes, mut rules): (Vec<Page>, Vec<Page>) = manual::pages().into_iter().partition(|p| p.kind == Kind::Pass);
    rules.sort_by_key(|r| r.name);
    let mut text = String::from("| pass | |\n| --- | --- |\n");
    for pass in &passes {
        let _ = writeln!(text, "| `{}` | {} |", pass.name, cell(pass));
    }
    text.push_str("\n| rule | | |\n| --- | --- | --- |\n");
    for rule in &rules {
        let exactness = match rule.kind {
            Kind::Rule(Exactness::Rounding) | Kind::Lowering(Exactness::Rounding) => "rounding",
            Kind::Rule(Exactness::Approximate) | Kind::Lowering(Exactness::Approximate) => "approximate",
            Kind::Rule(Exactness::Bitwise) | Kind::Lowering(Exactness::Bitwise) | Kind::Pass => "exact",
        };
        let _ = writeln!(text, "| `{}` | {} | {exactness} |", rule.name, cell(rule));
    }
    text
}

/// The summary, where a bar does not end the cell.
fn cell(page: &Page) -> String {
    page.summary().replace('|', "\\|")
}
