//! What the tests over text fixtures share: reading a case, saying what a step did, naming snapshots after fixtures.

mod interpreter;
pub mod proof;

use std::path::{Path, PathBuf};

use onnx_slim::ir::verify;
use onnx_slim::model::Model;
use onnx_slim::rewrite::Step;
use onnx_slim::text;

/// Do `check` for every fixture in `fixtures/<group>`; then fail with the names of those that failed.
pub fn each(group: &str, check: impl Fn(Case)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(group);
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            folder.read_dir().expect("the folder is there").map(|e| e.expect("a readable folder").path()).collect();
        paths.sort();
        paths
    };
    let only = std::env::var("FIXTURE").unwrap_or_default();
    let mut failed = Vec::new();
    for folder in entries(&root) {
        for path in entries(&folder) {
            let name = path.strip_prefix(&root).expect("within the root").display().to_string();
            if !name.contains(&only) {
                continue;
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(Case::read(&path))));
            if done.is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "{} fixtures failed:\n{}", failed.len(), failed.join("\n"));
}

/// One fixture: a model and what it is there to show.
pub struct Case {
    /// The folder, which is named after a rule or pass.
    pub subject: String,
    /// The file's own name without its extension.
    pub name: String,
    /// The first line: one sentence.
    pub claim: String,
    /// The comments behind it, which say what is to be done.
    pub asks: Vec<String>,
    /// The model.
    pub model: Model,
}

impl Case {
    /// Read a fixture. Fails the test where it is not a well-formed model, or claims nothing.
    pub fn read(path: &Path) -> Case {
        assert!(path.extension().is_some_and(|e| e == "onnxtxt"), "{} is no fixture", path.display());
        let part =
            |p: Option<&std::ffi::OsStr>| p.and_then(|s| s.to_str()).expect("fixture names are text").to_string();
        let source = std::fs::read_to_string(path).expect("a fixture can be read");
        let claim = source.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        assert!(claim.ends_with('.'), "{}: the first line is a comment that says the claim", path.display());
        let asks = source.lines().skip(1).map_while(|line| line.strip_prefix("# ")).map(str::to_string).collect();
        let model = text::parse(&source).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_sound(&model);
        Case {
            subject: part(path.parent().and_then(Path::file_name)),
            name: part(path.file_stem()),
            claim: claim.to_string(),
            asks,
            model,
        }
    }

    /// Compare `text` with the snapshot that has the fixture's name.
    pub fn snapshot(&self, group: &str, text: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(format!("../snapshots/{group}/{}", self.subject));
        settings.set_prepend_module_to_snapshot(false);
        settings.remove_snapshot_suffix();
        settings.set_omit_expression(true);
        settings.remove_input_file();
        settings.set_description(&self.claim);
        settings.bind(|| insta::assert_snapshot!(self.name.as_str(), text));
    }
}

/// Fails the test where the graph is malformed.
pub fn assert_sound(model: &Model) {
    let defects: Vec<String> = verify(&model.graph).iter().map(ToString::to_string).collect();
    assert!(defects.is_empty(), "{}", defects.join("\n"));
}

/// What a step did and declined, a line each.
pub fn report(step: &Step) -> String {
    let applied = step.applied.iter().map(|(what, times)| format!("{what} applied {times}\n"));
    let declined = step
        .declined
        .iter()
        .flat_map(|(rule, reasons)| reasons.iter().map(move |(why, times)| format!("{rule} skipped {times}: {why}\n")));
    applied.chain(declined).collect()
}
