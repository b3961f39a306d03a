//! What the crate's parts may know of each other: no part needs one that needs it, and some are kept from knowing of
//! others, as `src/lib.rs` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// A file's code: without comments, and without what only tests have.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let until = text.find("#[cfg(test)]\nmod ").or_else(|| text.find("#[cfg(all(test")).unwrap_or(text.len());
    text[..until].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The parts that `code` names: `crate::part`, or in braces behind `crate::`.
fn named(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 1;
                let mut starts = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => starts = true,
                        c if c.is_whitespace() => {}
                        _ if starts => {
                            starts = false;
                            names.insert(word(&list[i..]));
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            None => {
                names.insert(word(rest));
            }
        }
    }
    names
}

/// Which parts each part names. A part is a folder below `src` or a file in it.
fn parts() -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files(&source) {
        let inside = path.strip_prefix(&source).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let name = first.trim_end_matches(".rs").to_string();
        let is_test =
            inside.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing.rs")));
        if !is_test && !["lib", "main"].contains(&&*name) {
            parts.entry(name).or_default().extend(named(&code(&path)));
        }
    }
    let all: BTreeSet<String> = parts.keys().cloned().collect();
    for (part, names) in &mut parts {
        names.retain(|name| all.contains(name) && name != part);
    }
    parts
}

#[test]
fn no_part_needs_one_that_needs_it() {
    let mut left = parts();
    assert!(left.len() > 30 && left["passes"].contains("rules"), "{left:?}");
    loop {
        let (ground, above): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, names)| names.is_empty());
        left = above.into_iter().collect();
        if ground.is_empty() {
            break;
        }
        for names in left.values_mut() {
            names.retain(|name| ground.iter().all(|(part, _)| part != name));
        }
    }
    assert!(left.is_empty(), "these need each other, or what does: {left:#?}");
}

#[test]
fn parts_do_without_what_they_are_kept_from() {
    let parts = parts();
    let lacks = |part: &str, others: &[&str]| {
        for other in others {
            assert!(!parts[part].contains(*other), "{part} names {other}");
        }
    };
    lacks("ir", &["ops", "onnx", "text", "rewrite", "rules", "passes", "target"]);
    lacks("ops", &["passes", "target", "onnx", "rewrite", "rules", "exec"]);
    lacks("rules", &["target", "onnx", "exec", "passes"]);
    for (part, names) in &parts {
        assert!(!names.contains("cli"), "{part} names cli");
    }
}

#[test]
fn some_libraries_have_one_home() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let homes = [("petgraph", "ir"), ("clap", "cli"), ("tract_onnx", "exec"), ("memmap2", "mapped.rs")];
    for (library, home) in homes {
        let users: Vec<PathBuf> =
            files(&source).into_iter().filter(|path| code(path).contains(&format!("{library}::"))).collect();
        assert!(!users.is_empty(), "nobody uses {library}");
        for path in users {
            assert!(path.strip_prefix(&source).unwrap().starts_with(home), "{} uses {library}", path.display());
        }
    }
}
