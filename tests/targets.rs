//! What each target cannot run: which operators, what is said of them, and that nothing is written that it cannot run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use onnx_slim::ir::{Graph, OpKind, ScopeId};
use onnx_slim::model::Model;
use onnx_slim::ops::{CallView, schema};
use onnx_slim::optimizer::Optimizer;
use onnx_slim::passes::infer_declared;
use onnx_slim::survey::{counts, survey};
use onnx_slim::target::{self, Effect, Limit, Profile, Subject};
use onnx_slim::{rules, text};
use tempfile::TempDir;

/// How a target runs an operator.
fn cell(profile: &Profile, op: OpKind, lowered: &BTreeSet<OpKind>) -> &'static str {
    let mut graph = Graph::default();
    let node = graph.add_node(ScopeId::MAIN, op, &[], 1, 0);
    let bare = CallView::new(&graph, node);
    let versions = schema::versions("", op.name());
    let newest = u32::try_from(profile.newest_opset).unwrap_or(u32::MAX);
    let exists = versions.iter().any(|s| s.since <= newest && !s.deprecated);
    let about = |limit: &&Limit| matches!(limit.subject, Subject::Calls(ops) if ops.contains(&op));
    let never = profile.lacks(&bare, profile.newest_opset);
    let rows: Vec<Effect> = profile.limits().filter(about).map(|limit| limit.effect).collect();
    match () {
        () if (never || !exists) && lowered.contains(&op) => "lowered",
        () if never => "no",
        () if !exists => "newer",
        () if rows.contains(&Effect::Unsupported) => "some",
        () if rows.contains(&Effect::Warning) => "badly",
        () => "",
    }
}

#[test]
fn the_table() {
    let lowered: BTreeSet<OpKind> = rules::lower::all().iter().flat_map(|e| e.rule.pattern().roots()).collect();
    let mut table = String::from("empty: native; some: not every call; badly: native with a warning\n\n");
    let _ = write!(table, "{:28}", "");
    for profile in target::ALL {
        let _ = write!(table, "{:17}", profile.name);
    }
    table.push('\n');
    let mut native = 0;
    for &op in OpKind::ALL {
        let cells = target::ALL.map(|profile| cell(profile, op, &lowered));
        if cells.iter().all(|c| c.is_empty()) {
            native += 1;
            continue;
        }
        let cells: String = cells.iter().map(|c| format!("{c:17}")).collect();
        let _ = writeln!(table, "{}", format!("{:28}{cells}", op.name()).trim_end());
    }
    let _ = writeln!(table, "\n{native} more operators are native everywhere");
    insta::assert_snapshot!("targets", table);
}

/// Every fixture of rules whose folder begins so.
fn fixtures(prefix: &str) -> Vec<(PathBuf, Model)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rules");
    let folders = root.read_dir().expect("the folder is there").map(|e| e.expect("an entry").path());
    let folders = folders.filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)));
    let mut files: Vec<PathBuf> = folders
        .flat_map(|f| f.read_dir().expect("a folder").map(|e| e.expect("an entry").path()).collect::<Vec<_>>())
        .collect();
    files.sort();
    let read = |path: &PathBuf| text::parse(&fs::read_to_string(path).expect("a fixture")).expect("a fixture parses");
    files.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// How many calls the target lacks, whatever their types.
fn lacking(model: &Model, profile: &Profile) -> usize {
    let lacks = |n| profile.lacks(&CallView::new(&model.graph, n), model.opset());
    model.graph.nodes().filter(|&n| lacks(n)).count()
}

#[test]
fn no_fusion_brings_in_what_a_target_lacks_and_no_lowering_is_undone() {
    for (path, mut model) in fixtures("fuse-").into_iter().chain(fixtures("lower-")) {
        infer_declared(&mut model.graph);
        for profile in target::ALL {
            let optimizer = Optimizer::for_target(profile).unchecked().allow_unsupported();
            let once = optimizer.run(model.clone()).expect("it is optimized").model;
            let at = format!("{} for {}", path.display(), profile.name);
            // One integer operator that is lacking becomes several that name its type.
            let is_quantized = once.graph.nodes().any(|n| once.graph.node(n).op == OpKind::QuantizeLinear);
            let (before, after) = (lacking(&model, profile), lacking(&once, profile));
            assert!(is_quantized || after <= before, "{at}: {after} calls are lacking, {before} were");
            let again = optimizer.run(once.clone()).expect("it is optimized again");
            assert!(!again.report.lowered(), "{at}: what was lowered is lowered again");
            assert_eq!(once.graph.node_count(), again.model.graph.node_count(), "{at}");
        }
    }
}

#[test]
fn the_onnx_target_runs_everything() {
    for (path, mut model) in fixtures("") {
        infer_declared(&mut model.graph);
        let found = survey(&model, &target::ONNX, model.opset(), model.opset());
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    command.current_dir(folder).args(arguments).output().expect("the program starts")
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
    format!("exit {:?}\n--- stdout\n{}--- stderr\n{}", output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A folder with `model.onnx` in it.
fn folder_with(source: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let model = text::parse(source).expect("the model is well-formed");
    model.write(folder.path().join("model.onnx")).expect("it can be written");
    folder
}

/// What TensorRT cannot run: in a branch, of a wrong type, and where a plugin might.
const HARD: &str = r#"<ir_version: 10, opset_import: ["": 20, "com.example": 1]>
g (float[N,4] x, bool[4] chosen, bool c, double[2] wide) => (float[N,M] y, double[2] z, float[N,4] w, float[N,4] h) {
  z = Sqrt(wide)
  y = If(c) <
    then_branch = t () => (float[N,M] p) { [inner] p = Compress <axis = 1> (x, chosen) },
    else_branch = e () => (float[N,M] q) { [other] q = Compress <axis = 1> (x, chosen) }
  >
  [sharpen] w = com.example.Sharpen(x)
  h = Gelu(x)
}"#;

#[test]
fn check_lists_what_a_target_cannot_run() {
    let folder = folder_with(HARD);
    let output = run(&folder, &["check", "--target", "tensorrt:8.6", "model.onnx"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!("check-target", shown(&output));
    let json = run(&folder, &["check", "--target", "tensorrt:8.6", "model.onnx", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(found["findings"][0]["effect"], "unsupported");
    assert!(found["unsupported"].as_u64() > Some(2) && found["warnings"].as_u64() > Some(0));
    let suits = run(&folder, &["check", "--target", "onnx", "model.onnx"]);
    assert_eq!(shown(&suits), "exit Some(0)\n--- stdout\nmodel.onnx suits onnx\n--- stderr\n");
}

#[test]
fn check_takes_two_models_or_a_target() {
    let folder = folder_with(HARD);
    for arguments in [&["check", "model.onnx"][..], &["check", "model.onnx", "model.onnx", "--target", "onnx"]] {
        assert_eq!(run(&folder, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn nothing_is_written_that_the_target_cannot_run() {
    let folder = folder_with(HARD);
    let original = fs::read(folder.path().join("model.onnx")).expect("it is there");
    fs::write(folder.path().join("out.onnx"), "what was there before").expect("it can be written");
    for out in ["out.onnx", "model.onnx", "new.onnx"] {
        let output = run(&folder, &["optimize", "model.onnx", "--target", "tensorrt:8.6", "-o", out]);
        assert_eq!(output.status.code(), Some(1));
        if out == "new.onnx" {
            insta::assert_snapshot!("optimize-refuses", shown(&output));
        }
    }
    assert_eq!(fs::read(folder.path().join("out.onnx")).expect("it stays"), b"what was there before");
    assert_eq!(fs::read(folder.path().join("model.onnx")).expect("it stays"), original);
    assert!(!folder.path().join("new.onnx").exists());
    let arguments = ["--target", "tensorrt:8.6", "--allow-unsupported", "--no-check", "--report", "json"];
    let output = run(&folder, &[&["optimize", "model.onnx", "-o", "new.onnx"], &arguments[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let rules: BTreeSet<&str> =
        report["findings"].as_array().expect("findings").iter().filter_map(|f| f["rule"].as_str()).collect();
    assert!(rules.contains("TRT-T12") && rules.contains("TRT-T9"), "{rules:?}");
    assert_eq!(report["opset"], 17);
    assert!(folder.path().join("new.onnx").exists());
}

#[test]
fn an_older_opset_is_written_where_it_has_words() {
    let gelu = r#"<ir_version: 10, opset_import: ["": 20]> g (float[N,4] x) => (float[N,4] y) { [bell] y = Gelu(x) }"#;
    let folder = folder_with(gelu);
    let output = run(&folder, &["optimize", "model.onnx", "-o", "old.onnx", "--opset", "13", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let old = Model::read(folder.path().join("old.onnx")).expect("it is written");
    assert_eq!((old.opset(), old.graph.node_count()), (13, 5));
    // Without the rule there are no words.
    let arguments = ["optimize", "model.onnx", "-o", "no.onnx", "--opset", "13", "--disable", "lower-gelu"];
    insta::assert_snapshot!("opset-has-no-words", shown(&run(&folder, &arguments)));
    assert!(!folder.path().join("no.onnx").exists());
}

#[test]
fn what_rules_hold_back_for_is_told() {
    let celu = r#"<ir_version: 10, opset_import: ["": 20]>
        g (float[N,4] x) => (float[N,4] y) { y = Celu <alpha = -1.0> (x) }"#;
    let folder = folder_with(celu);
    let output = run(&folder, &["optimize", "model.onnx", "--opset", "11"]);
    assert!(shown(&output).contains("lower-celu holds back: α is not positive"), "{}", shown(&output));
}

#[test]
fn warnings_do_not_fail() {
    let model = r#"<ir_version: 9, opset_import: ["": 17]> g (float[N,4] x) => (float[N,4] y) { y = Cosh(x) }"#;
    let folder = folder_with(model);
    let output = run(&folder, &["check", "--target", "tensorrt", "model.onnx"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains("TRT-T11"), "{}", shown(&output));
    let mut parsed = text::parse(model).expect("it parses");
    infer_declared(&mut parsed.graph);
    assert_eq!(counts(&survey(&parsed, &target::TENSORRT, 17, 17)), (0, 1));
}
