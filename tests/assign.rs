//! Sensitivities and assignments on the command line: what is printed, what is written, what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(name)
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    command.env_remove("COLUMNS").env_remove("NO_COLOR").current_dir(folder);
    command.args(arguments).output().expect("the program starts")
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for model in ["mobilenet_block.onnx", "transformer_block.onnx"] {
        fs::copy(fixture(model), folder.path().join(model)).expect("a fixture can be copied");
    }
    folder
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what is printed is UTF-8")
}

/// Lines without those that tell times.
fn untimed(text: &str) -> String {
    text.lines().filter(|line| !line.contains(" s;") && !line.contains("one pass over")).collect::<Vec<_>>().join("\n")
}

#[test]
fn layers_are_ranked_and_drawn() {
    let folder = folder();
    let asked = ["sensitivity", "mobilenet_block.onnx", "--calib", "random", "--samples", "8"];
    let done = run(&folder, &[&asked[..], &["--plot", "p.svg", "--cache", "c.json"]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    insta::assert_snapshot!("sensitivity-table", untimed(text(&done.stdout)));
    let drawn = fs::read_to_string(folder.path().join("p.svg")).expect("it is drawn");
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    let again = run(&folder, &[&asked[..], &["--cache", "c.json", "--report", "json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    assert_eq!(report["forwards"], 0.0, "all was measured before");
    let layers = report["layers"].as_array().expect("layers");
    let losses: Vec<f64> = layers
        .iter()
        .map(|l| l["effects"].as_object().unwrap().values().filter_map(|e| e["loss"].as_f64()).fold(0.0, f64::max))
        .collect();
    assert!(losses.len() > 2 && losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
}

#[test]
fn an_assignment_is_written_with_its_front() {
    let folder = folder();
    let asked = ["optimize", "mobilenet_block.onnx", "-o", "a.onnx", "--calib", "random", "--samples", "16"];
    let auto = ["--precision", "auto", "--budget", "bytes=60%", "--pareto", "f.json", "--report", "json"];
    let done = run(&folder, &[&asked[..], &auto].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).expect("it is JSON");
    let found = &report["assignment"];
    let bytes = |of: &str| found[of]["bytes"].as_f64().expect("bytes");
    assert!(bytes("costs") <= 0.6 * bytes("float") + 64.0, "{found}");
    let front = fs::read_to_string(folder.path().join("f.json")).expect("the front is written");
    let front: serde_json::Value = serde_json::from_str(&front).expect("it is JSON");
    let points = front["points"].as_array().expect("points");
    assert!(points.len() > 2 && front["cost"] == "bytes");
    // A point as options makes the same assignment.
    let point = points[points.len() / 2]["layers"].as_object().expect("layers");
    let given: Vec<String> =
        point.iter().map(|(name, p)| format!("--layer-precision={name}={}", p.as_str().unwrap())).collect();
    let words: Vec<&str> = asked.iter().copied().chain(given.iter().map(String::as_str)).collect();
    let again = run(&folder, &[&words[..], &["--report", "json"]].concat());
    assert!(again.status.success(), "{}", text(&again.stderr));
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    for layer in report["assignment"]["layers"].as_array().unwrap() {
        let expected = point.get(layer["node"].as_str().unwrap()).map_or("fp32", |p| p.as_str().unwrap());
        assert_eq!(layer["precision"], expected, "{layer}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let folder = folder();
    let refused = |words: &[&str]| {
        let done = run(&folder, &[&["optimize", "mobilenet_block.onnx"], words].concat());
        assert_eq!(done.status.code(), Some(2), "{words:?}: {}", text(&done.stderr));
        text(&done.stderr).lines().next().unwrap_or_default().to_string()
    };
    let said = [
        &["--precision", "auto"][..],
        &["--precision", "auto", "--calib", "random"],
        &["--precision", "int8", "--calib", "random", "--budget", "bytes=50%"],
        &["--calib", "random", "--layer-precision", "*=fp16", "--budget", "bytes=50%"],
        &["--precision", "auto", "--calib", "random", "--budget", "bytes=50%", "--minimize", "bitops"],
        &["--precision", "auto", "--calib", "random", "--budget", "bytes=none"],
        &["--layer-precision", "*=int3"],
        &["--precision", "auto", "--stats", "s.json", "--budget", "bytes=50%"],
    ];
    let said: Vec<String> = said.iter().map(|words| refused(words)).collect();
    insta::assert_snapshot!("refused", said.join("\n"));
    let done = run(&folder, &["sensitivity", "mobilenet_block.onnx"]);
    assert_eq!(done.status.code(), Some(2));
    let done = run(
        &folder,
        &["optimize", "mobilenet_block.onnx", "--calib", "random", "--precision", "auto", "--budget", "bytes=100B"],
    );
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("the budget of 100 bytes is less than the least that there is"));
}
