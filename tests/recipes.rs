//! Recipes as their users meet them: what a run writes, another does again; what is wrong is said with its line; what
//! `advise` prints is run.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use proptest::prelude::*;
use proptest::sample::subsequence;
use tempfile::TempDir;

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    command.current_dir(folder).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what is printed is UTF-8")
}

/// Run, and say what went wrong where something does.
fn done(folder: &TempDir, arguments: &[&str]) {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
}

fn folder_with(model: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    fs::copy(fixtures.join(model), folder.path().join("m.onnx")).expect("a fixture can be copied");
    folder
}

fn bytes(folder: &TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What may be asked of a run; any of these go together.
const OPTIONS: &[&str] = &[
    "--target=tensorrt",
    "--disable=fold-batchnorm",
    "--disable=drop-identity",
    "--batch=2",
    "--rename-node=none=other",
    "--strip",
    "--ratio=0.25",
    "--layer-ratio=op:Conv=0.5",
    "--protect=op:Gemm",
    "--sparsity=0.5",
    "--without-recovery",
    "--distill=2",
    "--align=1",
    "--calib=random",
    "--samples=3",
    "--exclude=op:Relu",
    "--check-budget=2",
    "--external-data",
    "--keep-defaults",
];

const PRECISIONS: &[&str] = &["", "--precision=fp16", "--precision=int8", "--precision=fp16-weights"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_run_is_done_again(options in subsequence(OPTIONS, 0..OPTIONS.len()), precision in 0..PRECISIONS.len()) {
        let folder = folder_with("resnet_block.onnx");
        let precision = PRECISIONS[precision];
        let options = options.iter().copied().filter(|o| *o != "--rename-node=none=other");
        let options: Vec<&str> = options.chain([precision].into_iter().filter(|p| !p.is_empty())).collect();
        // Both write to the same name: files name those beside them.
        let common = ["optimize", "m.onnx", "-q", "-o", "out.onnx"];
        let first = run(&folder, &[&common[..], &["--save-recipe=r.toml"], &options].concat());
        if first.status.code() != Some(0) {
            // What cannot be done is saved nowhere.
            prop_assert!(!folder.path().join("r.toml").exists());
            return Ok(());
        }
        let model = bytes(&folder, "out.onnx");
        let again = run(&folder, &[&common[..], &["--recipe=r.toml", "--save-recipe=s.toml"]].concat());
        prop_assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
        prop_assert!(bytes(&folder, "out.onnx") == model, "{options:?}");
        prop_assert_eq!(bytes(&folder, "s.toml"), bytes(&folder, "r.toml"));
    }
}

#[test]
fn a_verb_is_part_of_the_recipe() {
    let folder = folder_with("resnet_block.onnx");
    done(&folder, &["quantize", "m.onnx", "-o", "a.onnx", "--calib=random", "--save-recipe=r.toml"]);
    let recipe = String::from_utf8(bytes(&folder, "r.toml")).expect("it is text");
    assert_eq!(recipe, "[precision]\ndefault = \"int8\"\n\n[calibration]\nplace = \"random\"\n");
    done(&folder, &["optimize", "m.onnx", "-o", "b.onnx", "--recipe=r.toml"]);
    assert!(bytes(&folder, "a.onnx") == bytes(&folder, "b.onnx"));
    // The verb may be one that wants what the recipe says.
    fs::write(folder.path().join("p.toml"), "pruning.budget = 0.5\n").expect("it can be written");
    done(&folder, &["prune", "m.onnx", "-o", "c.onnx", "--recipe=p.toml"]);
    done(&folder, &["optimize", "m.onnx", "-o", "d.onnx", "--ratio=0.5"]);
    assert!(bytes(&folder, "c.onnx") == bytes(&folder, "d.onnx"));
}

#[test]
fn paths_are_found_beside_the_recipe() {
    let folder = folder_with("resnet_block.onnx");
    fs::create_dir_all(folder.path().join("recipes/here")).expect("a folder can be made");
    let all = ["--precision=int8", "--quantize-all"];
    done(
        &folder,
        &[&["optimize", "m.onnx", "-o", "a.onnx", "--calib=random", "--save-stats=s.json"], &all[..]].concat(),
    );
    let options = ["--stats=s.json", "--save-recipe=recipes/here/r.toml", all[0], all[1]];
    done(&folder, &[&["optimize", "m.onnx", "-o", "b.onnx"], &options[..]].concat());
    let recipe = String::from_utf8(bytes(&folder, "recipes/here/r.toml")).expect("it is text");
    assert!(recipe.contains("stats = [\"../../s.json\"]"), "{recipe}");
    done(&folder, &["optimize", "m.onnx", "-o", "c.onnx", "--recipe=recipes/here/r.toml"]);
    assert!(bytes(&folder, "b.onnx") == bytes(&folder, "c.onnx"));
}

#[test]
fn what_is_wrong_with_a_recipe_is_said() {
    let folder = folder_with("resnet_block.onnx");
    let said = |recipe: &[u8]| {
        fs::write(folder.path().join("r.toml"), recipe).expect("it can be written");
        let output = run(&folder, &["optimize", "m.onnx", "--recipe=r.toml"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(!folder.path().join("m.slim.onnx").exists());
        text(&output.stderr).lines().next().unwrap_or_default().to_string()
    };
    assert_eq!(
        said(b"[pruning]\nbuget = 0.5\n"),
        "error: r.toml:2: there is no key \"buget\" in [pruning]: did you mean budget?"
    );
    let target = said(b"# mine\ntarget = \"tensort\"\n");
    assert!(target.starts_with("error: r.toml:2: invalid value 'tensort' for '--target <TARGET>'"), "{target}");
    assert!(said(b"opset = \"new\"").starts_with("error: r.toml:1: invalid value 'new' for '--opset <N>'"));
    assert!(said(b"target = ").starts_with("error: r.toml:1: "));
    assert!(said(&[0xff]).starts_with("error: r.toml: "));
    let output = run(&folder, &["optimize", "m.onnx", "--recipe=none.toml"]);
    assert!(text(&output.stderr).starts_with("error: none.toml: "), "{}", text(&output.stderr));
}

#[test]
fn advice_is_a_recipe_that_runs() {
    let models: [(&str, bool, &[&str]); 4] = [
        ("resnet_block.onnx", true, &["latency", "size", "cost"]),
        ("transformer_block.onnx", true, &["latency"]),
        ("transformer_block.onnx", false, &["size"]),
        ("lstm.onnx", false, &["cost"]),
    ];
    for (model, calib, goals) in models {
        let folder = folder_with(model);
        for goal in goals {
            for device in ["gpu", "cpu", "edge", "npu"] {
                let calib: &[&str] = if calib { &["--calib=random"] } else { &[] };
                let words = [&["advise", "m.onnx", "--goal", goal, "--device", device], calib].concat();
                let advice = run(&folder, &words);
                assert_eq!(advice.status.code(), Some(0), "{}", text(&advice.stderr));
                fs::write(folder.path().join("r.toml"), &advice.stdout).expect("it can be written");
                let words = ["optimize", "m.onnx", "-q", "-o", "out.onnx", "--recipe=r.toml", "--allow-unsupported"];
                done(&folder, &words);
            }
        }
    }
}

#[test]
fn advice_is_data_too() {
    let folder = folder_with("transformer_block.onnx");
    let words = ["advise", "m.onnx", "--goal", "latency", "--device", "gpu"];
    let output = run(&folder, &[&words[..], &["--report", "json"]].concat());
    let advice: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&advice["goal"], &advice["device"]), (&"latency".into(), &"gpu".into()));
    assert_eq!(advice["recipe"], "target = \"tensorrt\"\n\n[precision]\ndefault = \"fp16\"\n");
    assert_eq!(advice["reasons"][0]["decides"], "target = tensorrt");
    assert!(
        text(&run(&folder, &words).stdout).ends_with("\ntarget = \"tensorrt\"\n\n[precision]\ndefault = \"fp16\"\n")
    );
    let table = run(&folder, &["explain", "advise"]);
    assert!(text(&table.stdout).contains("| `target = tensorrt` |"), "{}", text(&table.stdout));
}

#[test]
fn stages_are_told_in_one_table() {
    let folder = folder_with("resnet_block.onnx");
    let words =
        ["optimize", "m.onnx", "-o", "o.onnx", "--ratio=0.5", "--precision=int8", "--quantize-all", "--calib=random"];
    let output = run(&folder, &[&words[..], &["--report=json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let stages = report["stages"].as_array().expect("stages are listed");
    let names: Vec<&str> = stages.iter().filter_map(|s| s["stage"].as_str()).collect();
    assert_eq!(names, ["original", "optimize", "prune", "quantize"]);
    let number = |i: usize, what: &str| stages[i][what].as_f64().expect(what);
    assert!(number(2, "macs") < number(1, "macs") && number(3, "parameter_bytes") < number(2, "parameter_bytes"));
    let peak = |i: usize| stages[i]["activations"]["bytes"].as_u64().expect("sizes are known");
    assert!(peak(2) <= peak(1) && peak(3) < peak(2), "{stages:?}");
    let sqnr = |i: usize| stages[i]["outputs"][0]["sqnr"].as_f64().expect("it was measured");
    assert_eq!(report["pruning"]["outputs"][0]["sqnr"].as_f64(), Some(sqnr(2)));
    assert_ne!(report["quantization"]["outputs"][0]["sqnr"].as_f64(), Some(sqnr(3)), "against the original");
    assert_eq!(stages[3]["held_out"], report["quantization"]["held_out"]);
    let table = run(&folder, &words);
    assert!(text(&table.stderr).contains("against the original"), "{}", text(&table.stderr));
}

#[test]
fn layers_have_the_precision_that_a_recipe_says() {
    let folder = folder_with("resnet_block.onnx");
    let recipe = "[precision]\ndefault = \"int8-weights\"\n\n[precision.layers]\n\"op:Gemm\" = \"fp32\"\n\n\
                  [calibration]\nplace = \"random\"\n";
    fs::write(folder.path().join("r.toml"), recipe).expect("it can be written");
    done(&folder, &["optimize", "m.onnx", "-o", "a.onnx", "--recipe=r.toml", "--save-recipe=s.toml"]);
    assert_eq!(text(&bytes(&folder, "s.toml")), recipe);
    let layers = ["--layer-precision=*=int8-weights", "--layer-precision=op:Gemm=fp32", "--calib=random"];
    done(&folder, &[&["optimize", "m.onnx", "-o", "b.onnx"], &layers[..]].concat());
    assert!(bytes(&folder, "a.onnx") == bytes(&folder, "b.onnx"));
    let without = run(&folder, &["optimize", "m.onnx", "--precision=int8-dynamic", "--layer-precision=op:Gemm=fp32"]);
    assert!(text(&without.stderr).contains("\"int8-dynamic\" is no precision of a layer"), "{}", text(&without.stderr));
}
