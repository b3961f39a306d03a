//! The command line as its users meet it: what it prints where, what it writes, how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use assert_cmd::Command;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(name)
}

fn command() -> Command {
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    command.env_remove("COLUMNS").env_remove("NO_COLOR");
    command
}

/// Run in a folder of its own.
fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    command().current_dir(folder).args(arguments).output().expect("the program starts")
}

fn folder_with(models: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for model in models {
        fs::copy(fixture(model), folder.path().join(model)).expect("a fixture can be copied");
    }
    folder
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what is printed is UTF-8")
}

fn files(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Everything about how a run ended. Lengths of time are not the same twice.
fn shown(output: &Output) -> String {
    let code = output.status.code().map_or_else(|| "a signal".into(), |c| c.to_string());
    let part = |title: &str, bytes: &[u8]| match text(bytes) {
        "" => String::new(),
        text => format!("--- {title}\n{text}"),
    };
    let text = format!("exit {code}\n{}{}", part("stdout", &output.stdout), part("stderr", &output.stderr));
    text.lines().map(|line| without_times(line) + "\n").collect()
}

fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_time = |i: usize| {
        words.get(i + 1).is_some_and(|unit| matches!(unit.trim_end_matches(','), "ms" | "s"))
            && words[i].parse::<f64>().is_ok()
    };
    let mut kept: Vec<&str> = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 && is_time(i - 1) {
            // Its unit: a busy machine takes seconds where another takes milliseconds.
            kept.push(if word.ends_with(',') { "ms," } else { "ms" });
        } else if is_time(i) {
            // Padding before a figure depends on its length.
            while kept.last() == Some(&"") {
                kept.pop();
            }
            kept.push("#");
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[test]
fn help() {
    for verb in ["", "optimize", "edit", "join", "check", "inspect", "advise", "explain", "completions"] {
        let arguments: Vec<&str> = [verb, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let output = run(&folder_with(&[]), &arguments);
        assert_eq!(output.status.code(), Some(0));
        insta::assert_snapshot!(format!("help-{}", if verb.is_empty() { "all" } else { verb }), text(&output.stdout));
    }
}

#[test]
fn optimize_writes_beside_the_input() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let output = run(&folder, &["optimize", "resnet_block.onnx"]);
    assert_eq!(files(&folder), ["resnet_block.onnx", "resnet_block.slim.onnx"]);
    assert!(output.stdout.is_empty(), "stdout is for what was asked");
    assert!(text(&output.stderr).starts_with("resnet_block.onnx → resnet_block.slim.onnx, "));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_result_is_the_same_bytes_every_time_and_wherever_it_goes() {
    let folder = folder_with(&["transformer_block.onnx"]);
    let arguments = ["optimize", "transformer_block.onnx", "--no-check", "-o"];
    let mut results: Vec<Vec<u8>> = Vec::new();
    for out in ["a.onnx", "b.onnx", "-"] {
        let output = run(&folder, &[&arguments[..], &[out]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        results.push(if out == "-" {
            output.stdout
        } else {
            fs::read(folder.path().join(out)).expect("it is written")
        });
    }
    let model = fs::read(fixture("transformer_block.onnx")).expect("the fixture is there");
    let filter = command().args(["optimize", "-", "--no-check"]).write_stdin(model).output().expect("it starts");
    results.push(filter.stdout);
    assert!(results.iter().all(|r| *r == results[0]));
}

#[test]
fn a_model_can_be_optimized_in_place() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let output = run(&folder, &["optimize", "resnet_block.onnx", "-o", "resnet_block.onnx", "-q"]);
    assert_eq!(shown(&output), "exit 0\n");
    assert_eq!(files(&folder), ["resnet_block.onnx"]);
    let (now, then) = (folder.path().join("resnet_block.onnx"), fixture("resnet_block.onnx"));
    let size = |path: &Path| fs::metadata(path).expect("it is there").len();
    assert!(size(&now) < size(&then));
}

#[test]
fn when_nothing_helps_the_output_is_the_input() {
    let folder = folder_with(&["resnet_block.onnx"]);
    run(&folder, &["optimize", "resnet_block.onnx", "-o", "once.onnx"]);
    let output = run(&folder, &["optimize", "once.onnx", "-o", "twice.onnx"]);
    assert!(text(&output.stderr).contains("the output is a copy of the input"), "{}", shown(&output));
    let bytes = |name: &str| fs::read(folder.path().join(name)).expect("it is written");
    assert_eq!(bytes("once.onnx"), bytes("twice.onnx"));
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let folder = folder_with(&["resnet_block.onnx", "lstm.onnx"]);
    fs::write(folder.path().join("bad.onnx"), "not a model").expect("it can be written");
    let output = run(&folder, &["optimize", "bad.onnx", "resnet_block.onnx", "lstm.onnx", "--out-dir", "out/deep"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("error: bad.onnx: ") && said.contains("lstm.onnx → out/deep/lstm.onnx: "), "{said}");
    assert!(folder.path().join("out/deep/resnet_block.onnx").exists());
    assert!(!folder.path().join("out/deep/bad.onnx").exists());
}

#[test]
fn the_report_is_a_table_for_people() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let arguments = ["optimize", "resnet_block.onnx", "-o", "s.onnx", "--only", "fold-batchnorm", "--report", "table"];
    insta::assert_snapshot!("report-table", shown(&run(&folder, &arguments)));
}

#[test]
fn the_report_is_json_for_programs() {
    let folder = folder_with(&["resnet_block.onnx", "lstm.onnx"]);
    fs::write(folder.path().join("bad.onnx"), "").expect("it can be written");
    let arguments = ["optimize", "resnet_block.onnx", "lstm.onnx", "bad.onnx", "--out-dir", "o", "--report", "json"];
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(1));
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let (first, last) = (&reports[0], &reports[2]);
    assert_eq!(
        (first["model"].as_str(), first["output"].as_str()),
        (Some("resnet_block.onnx"), Some("o/resnet_block.onnx"))
    );
    assert_eq!(first["inputs"][0]["type"], "float[batch,3,32,32]");
    assert!(first["after"]["nodes"].as_u64() < first["before"]["nodes"].as_u64());
    assert_eq!(first["exactness"], "rounding");
    assert_eq!(first["delivery"], "optimized");
    assert_eq!((last["output"].as_str(), last["error"].as_str()), (None, Some("bad.onnx: the file is empty")));
    // One model is one object.
    let output = run(&folder, &["optimize", "lstm.onnx", "--report", "json"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("it is JSON").is_object());
}

#[test]
fn only_and_disable_choose_rules() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let fired = |arguments: &[&str]| {
        let output =
            run(&folder, &[&["optimize", "resnet_block.onnx", "-o", "o.onnx", "--report", "json"], arguments].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let steps = report["steps"].as_array().expect("steps").clone();
        let mut fired: Vec<String> =
            steps.iter().flat_map(|s| s["applied"].as_object().expect("rules").keys().cloned()).collect();
        fired.sort();
        fired
    };
    assert_eq!(fired(&["--only", "fold-batchnorm"]), ["fold-batchnorm"]);
    assert!(!fired(&["--disable", "fold-batchnorm"]).contains(&"fold-batchnorm".into()));
    assert_eq!(
        fired(&["--only", "simplify", "--disable", "fold-batchnorm"]).iter().find(|f| *f == "fold-batchnorm"),
        None
    );
}

#[test]
fn an_input_shape_reaches_the_outputs() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let output = run(
        &folder,
        &["optimize", "resnet_block.onnx", "-o", "o.onnx", "--input-shape", "image:4,3,32,32", "--report", "json"],
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["inputs"][0]["type"], "float[4,3,32,32]");
    assert!(report["outputs"][0]["type"].as_str().expect("a type").starts_with("float[4,"), "{}", report["outputs"]);
    for (shape, why) in
        [("y:1", "has no input \"y\""), ("image:1,3,16", "of rank 4"), ("image:1,1,32,32", "dimension 1 is 3")]
    {
        let output = run(&folder, &["optimize", "resnet_block.onnx", "-o", "p.onnx", "--input-shape", shape]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(why), "{}", shown(&output));
    }
    assert!(!folder.path().join("p.onnx").exists());
}

#[test]
fn a_dump_shows_the_model_after_a_pass() {
    let folder = folder_with(&["resnet_block.onnx"]);
    let arguments = ["optimize", "resnet_block.onnx", "-o", "o.onnx", "-q", "--dump-after"];
    let output = run(&folder, &[&arguments[..], &["simplify"]].concat());
    assert!(text(&output.stdout).starts_with("# after simplify, step "), "{}", shown(&output));
    run(&folder, &[&arguments[..], &["simplify=texts/"]].concat());
    let texts = fs::read_dir(folder.path().join("texts")).expect("the folder is made").count();
    assert!(texts >= 1);
    run(&folder, &[&arguments[..], &["simplify=last.txt"]].concat());
    let last = fs::read_to_string(folder.path().join("last.txt")).expect("it is written");
    assert!(!last.contains("BatchNormalization"));
}

#[test]
fn what_the_command_line_cannot_mean_is_exit_code_2() {
    let folder = folder_with(&["resnet_block.onnx", "lstm.onnx"]);
    let mut said = String::new();
    for line in [
        "optimize",
        "optimize resnet_block.onnx lstm.onnx -o out.onnx",
        "optimize resnet_block.onnx --target abacus",
        "optimize resnet_block.onnx --disable fold-batchnrom",
        "optimize resnet_block.onnx --dump-after fuse",
        "optimize resnet_block.onnx --input-shape x",
        "optimize resnet_block.onnx -o - --report json",
        "explain fold-batchnrom",
        "refine resnet_block.onnx",
    ] {
        let output = run(&folder, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}");
        said.push_str(&format!("$ onnx-slim {line}\n{}\n", text(&output.stderr)));
    }
    insta::assert_snapshot!("usage", said);
    assert_eq!(files(&folder), ["lstm.onnx", "resnet_block.onnx"]);
}

#[test]
fn inspect_shows_what_a_model_holds() {
    let folder = folder_with(&["resnet_block.onnx"]);
    insta::assert_snapshot!("inspect", shown(&run(&folder, &["inspect", "resnet_block.onnx"])));
    let output = run(&folder, &["inspect", "resnet_block.onnx", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(found["ops"]["Conv"], 6);
    assert_eq!(found["opsets"]["ai.onnx"], 13);
}

#[test]
fn explain_prints_a_rule_s_own_page() {
    let folder = folder_with(&[]);
    let page = run(&folder, &["explain", "fold-batchnorm"]);
    assert!(text(&page.stdout).starts_with("fold-batchnorm: a rule, exact up to rounding\n\n"), "{}", shown(&page));
    let list = run(&folder, &["explain"]);
    assert!(text(&list.stdout).contains("\n  fold-batchnorm"));
}

#[test]
fn completions_are_printed() {
    let output = run(&folder_with(&[]), &["completions", "bash"]);
    assert!(text(&output.stdout).contains("complete -F _onnx__slim"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let folder = folder_with(&["transformer_block.onnx"]);
    for line in ["explain", "inspect transformer_block.onnx", "optimize transformer_block.onnx -o -", "completions zsh"]
    {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("onnx-slim"))
            .current_dir(&folder)
            .args(line.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{line}: {}", shown(&output));
        assert!(!text(&output.stderr).contains("error"), "{line}: {}", shown(&output));
    }
}

#[test]
fn no_colours_are_sent_down_a_pipe() {
    let folder = folder_with(&[]);
    for line in ["--help", "optimize", "inspect nothing.onnx"] {
        let output = run(&folder, &line.split(' ').collect::<Vec<_>>());
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{}", shown(&output));
    }
}

#[test]
fn check_tells_equal_from_different() {
    let folder = folder_with(&["resnet_block.onnx", "transformer_block.onnx"]);
    run(&folder, &["optimize", "resnet_block.onnx", "-o", "slim.onnx"]);
    let same = run(&folder, &["check", "resnet_block.onnx", "slim.onnx"]);
    assert_eq!(
        shown(&same),
        "exit 0\n--- stdout\nresnet_block.onnx and slim.onnx\n  equal up to rounding in 2 runs of tract\n"
    );
    let other = run(&folder, &["check", "resnet_block.onnx", "transformer_block.onnx"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stdout).contains("\n  input \"image\" is only in the first model\n"), "{}", shown(&other));
    let json = run(&folder, &["check", "resnet_block.onnx", "slim.onnx", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!((&found["same"], &found["engines"][0]["verdict"]), (&true.into(), &"same".into()));
}

#[test]
fn what_the_check_found_is_said() {
    let folder = folder_with(&["resnet_block.onnx", "custom_ops.onnx"]);
    let said = |arguments: &[&str]| text(&run(&folder, &[&["optimize"], arguments].concat()).stderr).to_string();
    assert!(said(&["resnet_block.onnx"]).ends_with("equal up to rounding in 2 runs of tract\n"));
    assert!(said(&["custom_ops.onnx"]).contains("not checked: tract cannot run acme.Sharpen \"sharpen\""));
    assert!(said(&["resnet_block.onnx", "--no-check"]).ends_with("not checked\n"));
    assert!(said(&["resnet_block.onnx", "--check-data", "none.npz"]).starts_with("error: none.npz: "));
}
