//! Nothing is there that is never seen: every rule fires in some fixture, every reason to hold back is given in one,
//! every snapshot has its fixture, and no module imports what it says it does without.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use onnx_slim::ir::OpKind;
use onnx_slim::model::Model;
use onnx_slim::passes::pipeline;
use onnx_slim::{rules, text};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every file below `folder` with this extension, and its text.
fn files(folder: &Path, extension: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            found.insert(path, text);
        }
    }
    found
}

/// What the snapshots of each rule or pass say, all in one text.
fn snapshots(group: &str) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files(&root("tests/snapshots").join(group), "snap") {
        let subject = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        texts.entry(subject.to_string()).or_default().push_str(&text);
    }
    texts
}

/// Code without comments and tests, which stand last.
fn code(source: &str) -> String {
    let is_tests = |line: &&str| !(line.starts_with("#[cfg(") && line.contains("test"));
    source
        .lines()
        .take_while(is_tests)
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The string literals of `code` that are sentences: those with a space in them.
fn sentences(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(open) = rest.find('"') {
        let text = &rest[open + 1..];
        let Some(close) = text.find('"') else { break };
        if text[..close].contains(' ') {
            found.push(text[..close].to_string());
        }
        rest = &text[close + 1..];
    }
    found
}

#[test]
fn every_rule_fires_in_a_fixture() {
    let seen = snapshots("rules");
    let silent: Vec<&str> = rules::all()
        .iter()
        .map(|entry| entry.rule.name())
        .filter(|name| !seen.get(*name).is_some_and(|text| text.contains(&format!("{name} applied"))))
        .collect();
    assert!(silent.is_empty(), "no fixture in fixtures/rules/<rule> makes these fire: {silent:?}");
}

#[test]
fn every_reason_to_hold_back_is_given_in_a_fixture() {
    let seen = snapshots("rules");
    let all: String = seen.values().map(String::as_str).collect();
    let mut missing = Vec::new();
    for (path, source) in files(&root("src/rules"), "rs") {
        let rule = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().replace('_', "-");
        // The list of rules says how they are grouped, in words.
        if rule == "mod" {
            continue;
        }
        // A reason that several rules share is seen when one of them gives it.
        let texts = seen.get(&rule).unwrap_or(&all);
        for reason in sentences(&code(&source)) {
            if !texts.contains(&format!(": {reason}\n")) && !texts.ends_with(&format!(": {reason}")) {
                missing.push(format!("{rule}: {reason}"));
            }
        }
    }
    assert!(missing.is_empty(), "no fixture in fixtures/rules/<rule> shows these:\n{}", missing.join("\n"));
}

/// Every model among the fixtures.
fn fixture_models() -> Vec<Model> {
    let texts = files(&root("fixtures"), "onnxtxt").into_iter().filter_map(|(path, source)| {
        // What is bad on purpose need not be a model.
        text::parse(&source).ok().or_else(|| path.starts_with(root("fixtures/bad")).then(Model::default))
    });
    let whole = ["models", "patterns"].into_iter().flat_map(|folder| {
        let entries = root("fixtures").join(folder).read_dir().expect("the folder is there");
        entries.map(|entry| entry.expect("a readable folder").path())
    });
    let whole = whole.filter(|path| path.extension().is_some_and(|e| e == "onnx"));
    texts.chain(whole.map(|path| Model::read(&path).expect("a fixture can be read"))).collect()
}

/// Operators that no graph holds: what is read in their place.
const NEVER_THERE: &[(OpKind, &str)] =
    &[(OpKind::Constant, "a constant"), (OpKind::Scatter, "ScatterElements"), (OpKind::Upsample, "Resize")];

#[test]
fn every_operator_row_is_used_by_a_fixture() {
    let mut seen: BTreeSet<OpKind> = NEVER_THERE.iter().map(|(op, _)| *op).collect();
    for model in fixture_models() {
        seen.extend(model.graph.nodes().map(|node| model.graph.node(node).op));
    }
    let missing: Vec<OpKind> = OpKind::ALL.iter().copied().filter(|op| !seen.contains(op)).collect();
    assert!(missing.is_empty(), "no fixture has these: {missing:?}");
}

#[test]
fn the_engine_holds_back_for_each_of_its_reasons() {
    let all: String = snapshots("rules").into_values().collect();
    for reason in
        ["an inner result is also read elsewhere", "its new constants would make the file larger", "needs opset 17"]
    {
        assert!(all.contains(reason), "{reason}");
    }
}

#[test]
fn every_pass_has_fixtures() {
    let seen = snapshots("passes");
    let missing: BTreeSet<&str> = pipeline::standard()
        .passes()
        .map(onnx_slim::passes::Pass::name)
        .filter(|name| !seen.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "no fixtures in fixtures/passes/<pass>: {missing:?}");
}

#[test]
fn every_snapshot_has_its_fixture() {
    for group in ["rules", "passes", "quantize"] {
        let names = |folder: PathBuf, extension: &str| -> BTreeSet<PathBuf> {
            let paths = files(&folder, extension).into_keys();
            paths.map(|p| p.strip_prefix(&folder).expect("below it").with_extension("")).collect()
        };
        let fixtures = names(root("fixtures").join(group), "onnxtxt");
        let snapshots = names(root("tests/snapshots").join(group), "snap");
        let orphans: Vec<_> = snapshots.difference(&fixtures).collect();
        assert!(orphans.is_empty(), "snapshots of {group} without a fixture: {orphans:?}");
    }
}

/// Which modules of the crate each module may import, and why no others. A module that is not listed sees what it
/// likes: it stands above all of these.
const MAY_IMPORT: &[(&str, &[&str], &str)] = &[
    ("ir", &[], "the graph knows no operator facts and no file format"),
    ("ops", &["ir"], "operators are facts, whichever pass, target or file asks"),
    ("rewrite", &["ir", "ops"], "the engine knows no rule, no pass and no target"),
    ("rules", &["ir", "ops", "rewrite"], "a rule is a pure function of the match"),
    ("target", &["ir", "ops", "similar"], "a target is data: what it accepts"),
    ("onnx", &["ir", "mapped", "ops", "model"], "reading and writing decide nothing about the computation"),
    ("text", &["ir", "ops", "model", "onnx", "random"], "the text shows what the file would hold"),
    (
        "exec",
        &["ir", "ops", "model", "onnx", "random", "rewrite", "rules", "similar"],
        "running a model changes nothing in it",
    ),
    ("passes", &["ir", "ops", "exec", "min_cut", "rewrite", "rules"], "passes know no file format and no target"),
    ("interface", &["ir"], "what a model takes and gives is told by its graph"),
];

#[test]
fn modules_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (path, source) in files(&root("src"), "rs") {
        let within = path.strip_prefix(root("src")).expect("below src").with_extension("");
        let module = module_of(&within);
        let Some((_, allowed, why)) = MAY_IMPORT.iter().find(|(name, ..)| *name == module) else { continue };
        for import in imports(&code(&source)) {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}: {why}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The module that a file below `src` is a part of: a folder, or a file beside `lib.rs`.
fn module_of(within: &Path) -> String {
    let first = within.iter().next().and_then(|p| p.to_str()).unwrap_or_default();
    first.trim_end_matches(".rs").to_string()
}

#[test]
fn no_module_needs_one_that_needs_it() {
    let mut left: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, source) in files(&root("src"), "rs") {
        let within = path.strip_prefix(root("src")).expect("below src");
        let is_test = within.iter().any(|part| ["tests", "tests.rs", "testing.rs"].iter().any(|name| part == *name));
        let module = module_of(within);
        if !is_test && !["lib", "main"].contains(&&*module) {
            left.entry(module).or_default().extend(imports(&code(&source)));
        }
    }
    let modules: BTreeSet<String> = left.keys().cloned().collect();
    for (module, imports) in &mut left {
        imports.retain(|import| import != module && modules.contains(import));
    }
    assert!(left["passes"].contains("rules") && left["cli"].contains("optimizer"), "{left:?}");
    // Whatever needs nothing that is left goes, until only those remain that need each other, and what needs these.
    while let Some(ground) = left.iter().find(|(_, imports)| imports.is_empty()).map(|(module, _)| module.clone()) {
        left.remove(&ground);
        left.values_mut().for_each(|imports| {
            imports.remove(&ground);
        });
    }
    assert!(left.is_empty(), "these need each other, or what does: {left:#?}");
}

/// The modules that follow `crate::` in `code`, alone or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for text in code.split("crate::").skip(1) {
        match text.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            found.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => {
                found.insert(word(text));
            }
        }
    }
    found
}

/// What only some files may say, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("petgraph::", &["ir/"], "only the graph knows how it is a petgraph graph"),
    ("onnx::proto", &["onnx/", "text/"], "only these see the messages of the file format"),
    ("println!", &["cli/"], "only the command line prints"),
    ("eprintln!", &["cli/"], "only the command line prints"),
    ("process::exit", &["cli/", "main"], "only the command line ends the program"),
    ("env::var", &["cli/"], "only the command line reads the environment"),
    ("env::args", &["cli/"], "only the command line reads its arguments"),
    ("tract_onnx::", &["exec/"], "only the executors know their engines"),
];

/// What some files may not say, and why.
const NEVER_IN: &[(&str, &str, &str)] = &[
    ("&mut Graph", "rules/", "a rule gives an expression, and the engine edits"),
    ("std::fs", "rules/", "a rule reads the match and nothing else"),
    ("std::fs", "passes/", "a pass reads the graph and nothing else"),
    ("prost", "ir/", "the graph knows no file format"),
];

#[test]
fn what_only_some_may_do_only_they_do() {
    let mut wrong = Vec::new();
    for (path, source) in files(&root("src"), "rs") {
        let within = path.strip_prefix(root("src")).expect("below src").display().to_string();
        let code = code(&source);
        for (words, places, why) in ONLY_IN {
            if code.contains(words) && !places.iter().any(|place| within.starts_with(place)) {
                wrong.push(format!("{within} says {words}: {why}"));
            }
        }
        for (words, place, why) in NEVER_IN {
            if within.starts_with(place) && code.contains(words) {
                wrong.push(format!("{within} says {words}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
