//! Editing from the command line: what is asked for is what the written model is, or it is said why not.

use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use onnx_slim::interface::Interface;
use onnx_slim::model::Model;
use onnx_slim::text;
use tempfile::TempDir;

/// A folder with these models.
fn folder(models: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, graph) in models {
        let text = format!("<ir_version: 8, opset_import: [\"\" : 17, \"acme\" : 1]> {graph}");
        let model = text::parse(&text).expect("the text is a model");
        model.write(folder.path().join(name)).expect("it can be written");
    }
    folder
}

const CHAIN: &str = "g (float[n,4] x, float[4] s) => (float[n,4] y, float[n,4] z) <float[4,4] w> {
    [first] h = MatMul(x, w)
    [second] f = Relu(h)
    y = Mul(f, s)
    z = Abs(h)
}";

fn run(folder: &TempDir, line: &str) -> Output {
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    command.current_dir(folder).args(line.split_whitespace()).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Run `line`, which writes `out.onnx`; its interface.
fn edited(folder: &TempDir, line: &str) -> String {
    let output = run(folder, &format!("{line} -o out.onnx"));
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    interface(&folder.path().join("out.onnx"))
}

fn interface(path: &Path) -> String {
    let model = Model::read(path).expect("what is written can be read");
    let Interface { inputs, outputs } = Interface::of(&model.graph);
    let list = |ports: Vec<onnx_slim::interface::Port>| {
        ports.into_iter().map(|p| format!("{} {}", p.ty, p.name)).collect::<Vec<_>>().join(", ")
    };
    format!("{} => {}", list(inputs), list(outputs))
}

/// Run `line`, which is refused: nothing is written, and what is said has `why` in it.
fn refused(folder: &TempDir, line: &str, code: i32, why: &str) {
    let output = run(folder, &format!("{line} -o out.onnx"));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    assert!(said.contains(why), "{line}: {said}");
    assert!(!folder.path().join("out.onnx").exists(), "{line}");
}

#[test]
fn a_model_is_cut_with_and_without_optimizing() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    for verb in ["edit", "optimize"] {
        assert_eq!(edited(&folder, &format!("{verb} m.onnx --outputs f")), "float[n,4] x => float[n,4] f");
        assert_eq!(
            edited(&folder, &format!("{verb} m.onnx --inputs s,h --outputs y")),
            "float[4] s, float[n,4] h => float[n,4] y"
        );
        assert_eq!(
            edited(&folder, &format!("{verb} m.onnx --inputs h --inputs s --outputs z --outputs y")),
            "float[n,4] h, float[4] s => float[n,4] z, float[n,4] y"
        );
    }
}

#[test]
fn what_was_cut_out_is_compared_with_the_whole() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    let output = run(&folder, "edit m.onnx --inputs h --outputs z");
    assert!(folder.path().join("m.edited.onnx").exists());
    let said = stderr(&output);
    assert!(said.contains("  cut from h to z: equal bit for bit in 2 runs of tract\n"), "{said}");
    let output = run(&folder, "edit m.onnx --inputs h --outputs z --no-check --report json");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["edits"][0]["what"], "cut from h to z");
    assert_eq!(report["edits"][0]["proof"]["verdict"], "not_asked");
    assert_eq!(report["delivery"], "edited");
}

#[test]
fn an_interior_input_takes_the_sizes_that_are_asked_for() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    assert_eq!(
        edited(&folder, "edit m.onnx --inputs h --outputs z --input-shape h:2,4"),
        "float[2,4] h => float[2,4] z"
    );
    assert_eq!(
        edited(&folder, "optimize m.onnx --inputs h --outputs z --input-shape h:rows,4"),
        "float[rows,4] h => float[rows,4] z"
    );
}

#[test]
fn tensors_and_nodes_are_renamed() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    for verb in ["edit", "optimize"] {
        let line = format!("{verb} m.onnx --rename x=image --rename y=z --rename z=y");
        assert_eq!(edited(&folder, &line), "float[n,4] image, float[4] s => float[n,4] z, float[n,4] y");
    }
    edited(&folder, "edit m.onnx --rename h=hidden --rename-node first=dense");
    let text = text::print(&Model::read(folder.path().join("out.onnx")).expect("it is written"));
    assert!(text.contains("[dense] hidden = MatMul(x, w)"), "{text}");
}

#[test]
fn an_edit_changes_nothing_else() {
    let folder =
        folder(&[("m.onnx", "g (float[2] x) => (float[2] y) { i = Identity(x)  j = Identity(i)  y = Relu(j) }")]);
    edited(&folder, "edit m.onnx --rename x=a");
    let model = Model::read(folder.path().join("out.onnx")).expect("it is written");
    assert_eq!(model.graph.node_count(), 3);
    assert_eq!((model.opset(), model.ir_version), (17, 8));
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    for verb in ["edit", "optimize"] {
        for (flags, why) in [
            ("--outputs lagits", "the model has no tensor \"lagits\""),
            ("--outputs yy", "hint: did you mean y?"),
            ("--inputs h", "output \"y\" also depends on input \"s\"\nhint: add s to --inputs"),
            ("--inputs x,s,f --outputs y", "no output depends on input \"x\" but through \"f\""),
            ("--inputs h --outputs h", "input and output of the model at once"),
            ("--outputs w", "output \"w\" depends on no input"),
            ("--rename q=r", "the model has no tensor \"q\""),
            ("--rename x=y", "\"x\" cannot be called \"y\": another tensor has that name"),
            ("--rename-node first=second", "another node has that name"),
            ("--inputs h --outputs z --rename y=q", "the model has no tensor \"y\""),
            ("--inputs h --outputs z --input-shape x:1,4", "the model has no input \"x\""),
            ("--inputs h --outputs z --input-shape h:1,5", "dimension 1 is 4 and cannot be 5"),
        ] {
            refused(&folder, &format!("{verb} m.onnx {flags}"), 1, why);
        }
        for (flags, why) in [
            ("--inputs ,", "a name is missing"),
            ("--outputs a,", "a name is missing"),
            ("--rename x", "expected OLD=NEW"),
            ("--rename =x", "expected OLD=NEW"),
        ] {
            refused(&folder, &format!("{verb} m.onnx {flags}"), 2, why);
        }
    }
    refused(&folder, "edit m.onnx", 2, "no edit is asked for");
}

#[test]
fn names_may_hold_anything() {
    let folder = folder(&[("m.onnx", CHAIN)]);
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    let odd = "a, b=\u{7}\u{202e}\u{1f600}";
    let output = command
        .current_dir(&folder)
        .args(["edit", "m.onnx", "-o", "odd.onnx", "--rename", &format!("h={odd}")])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut command = Command::cargo_bin("onnx-slim").expect("the program is built");
    let output = command
        .current_dir(&folder)
        .args(["edit", "odd.onnx", "-o", "out.onnx", "--outputs", odd])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(interface(&folder.path().join("out.onnx")), format!("float[n,4] x => float[n,4] {odd}"));
    // What stands in a name does not reach the terminal as it is.
    let output = run(&folder, "edit odd.onnx --outputs none");
    assert!(!stderr(&output).contains('\u{7}'));
    let folder_of_hostile = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(folder_of_hostile, 3);
}

const FIXED: &str =
    "g (float[1,6] x) => (float[1,2,3] y) <int64[3] to = {1, 2, 3}> { h = Relu(x)  y = Reshape(h, to) }";

#[test]
fn a_model_of_one_sample_runs_on_more() {
    let folder = folder(&[("m.onnx", FIXED)]);
    for verb in ["edit", "optimize"] {
        for (flags, interface) in [
            ("--dynamic-batch", "float[batch,6] x => float[batch,2,3] y"),
            ("--dynamic-batch=n --batch-inputs x", "float[n,6] x => float[n,2,3] y"),
            ("--batch 4", "float[4,6] x => float[4,2,3] y"),
            ("--input-shape x:n,6", "float[n,6] x => float[n,2,3] y"),
        ] {
            assert_eq!(edited(&folder, &format!("{verb} m.onnx {flags}")), interface, "{verb} {flags}");
        }
    }
    let output = run(&folder, "edit m.onnx --dynamic-batch");
    let said = stderr(&output);
    assert!(
        said.contains("  batch of 1 is batch, one baked-in size repaired: equal bit for bit in 3 runs of tract\n"),
        "{said}"
    );
}

#[test]
fn a_batch_that_cannot_be_is_refused() {
    let mixing = "g (float[1,4] x) => (float[1,4] y) { m = ReduceMean <axes = [0]> (x)  y = Sub(x, m) }";
    let squeezing = "g (float[1,3] x) => (float[3] y) <int64[1] a = {0}> { [drop] y = Squeeze(x, a) }";
    let unknown = "g (float[1,3] x) => (float[?] y) { y = acme.Pick(x) }";
    let models = [("m.onnx", FIXED), ("mixing.onnx", mixing), ("squeezing.onnx", squeezing), ("unknown.onnx", unknown)];
    let folder = folder(&models);
    for verb in ["edit", "optimize"] {
        for (line, why) in [
            ("mixing.onnx --dynamic-batch", "output \"y\": two batches at once and one after the other"),
            ("mixing.onnx --batch 2", "ReduceMean \"m\" reads samples and makes none"),
            ("unknown.onnx --dynamic-batch", "output \"y\" has no axis for the samples of a batch"),
            ("squeezing.onnx --dynamic-batch", "Squeeze \"drop\" holds on to it"),
            ("m.onnx --dynamic-batch --batch-inputs z", "the model has no input \"z\""),
            ("m.onnx --input-shape x:1,7", "dimension 1 is 6 and cannot be 7"),
        ] {
            refused(&folder, &format!("{verb} {line}"), 1, why);
        }
        for (flags, why) in [
            ("--batch 0", "expected a number of samples"),
            ("--batch=-1", "expected a number of samples"),
            ("--batch 99999999999999999999", "expected a number of samples"),
            ("--dynamic-batch=4", "expected a name for the size"),
            ("--batch 2 --dynamic-batch", "cannot be used with"),
            ("--batch-inputs x", "goes with --batch or --dynamic-batch"),
        ] {
            refused(&folder, &format!("{verb} m.onnx {flags}"), 2, why);
        }
    }
}

#[test]
fn images_come_in_and_answers_go_out() {
    let image = "g (float[1,3,4,4] image) => (float[1,3] scores) {
        h = GlobalAveragePool(image)
        scores = Flatten(h)
    }";
    let folder = folder(&[("m.onnx", image)]);
    for verb in ["edit", "optimize"] {
        for (flags, interface) in [
            ("--preprocess scale=1/255,input=uint8,layout=nhwc", "uint8[1,4,4,3] image => float[1,3] scores"),
            ("--preprocess image:mean=1,2,3,resize=8x6", "float[1,3,8,6] image => float[1,3] scores"),
            (
                "--preprocess resize=any,layout=nhwc,channel-order=bgr",
                "float[1,image_height,image_width,3] image => float[1,3] scores",
            ),
            ("--postprocess softmax", "float[1,3,4,4] image => float[1,3] scores"),
            ("--postprocess scores:argmax", "float[1,3,4,4] image => int64[1] scores"),
            ("--postprocess topk=2", "float[1,3,4,4] image => float[1,2] scores, int64[1,2] scores_indices"),
            (
                "--preprocess input=uint8 --postprocess softmax --postprocess topk=1 --rename image=x --rename scores=p",
                "uint8[1,3,4,4] x => float[1,1] p, int64[1,1] scores_indices",
            ),
        ] {
            assert_eq!(edited(&folder, &format!("{verb} m.onnx {flags}")), interface, "{verb} {flags}");
        }
    }
}

#[test]
fn what_cannot_be_prepared_is_refused() {
    let image = "g (float[1,3,4,4] image) => (float[1,3] scores) { h = GlobalAveragePool(image)  scores = Flatten(h) }";
    let folder = folder(&[("m.onnx", image), ("two.onnx", CHAIN)]);
    for (line, why) in [
        ("m.onnx --preprocess mean=1,2", "it has 3 channels, mean has 2"),
        ("m.onnx --preprocess pixels:mean=1", "the model has no input \"pixels\""),
        ("two.onnx --preprocess mean=1", "does not say which of \"x\", \"s\" it is for"),
        ("two.onnx --preprocess x:layout=nhwc", "which has no four dimensions"),
        ("two.onnx --postprocess softmax", "does not say which of \"y\", \"z\" it is for"),
        ("m.onnx --postprocess q:softmax", "the model has no output \"q\""),
        ("m.onnx --postprocess topk=4", "which has no 4 classes"),
        ("m.onnx --postprocess nhwc", "which has no four dimensions"),
        ("m.onnx --postprocess argmax --postprocess softmax", "only floats have a softmax"),
    ] {
        refused(&folder, &format!("edit {line}"), 1, why);
    }
    for (flags, why) in [
        ("--preprocess speed=1", "speed is not mean"),
        ("--preprocess std=0x1", "is not a number"),
        ("--postprocess mode", "mode is not softmax"),
    ] {
        refused(&folder, &format!("edit m.onnx {flags}"), 2, why);
    }
}

#[test]
fn models_are_joined() {
    let head = "g (float[m,4] z, float[m,4] v) => (float[m,4] y) { y = Add(z, v) }";
    let folder = folder(&[("a.onnx", CHAIN), ("b.onnx", head)]);
    for (flags, interface) in [
        ("--map z=z", "float[n,4] x, float[4] s, float[n,4] v => float[n,4] y, float[n,4] b/y"),
        ("--map z=z --map h=v --outputs b/y", "float[n,4] x => float[n,4] b/y"),
        ("--prefix 2.", "float[n,4] x, float[4] s, float[n,4] v => float[n,4] y, float[n,4] 2.y"),
    ] {
        let output = run(&folder, &format!("join a.onnx b.onnx {flags} -o ab.onnx"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(self::interface(&folder.path().join("ab.onnx")), interface, "{flags}");
    }
    let output = run(&folder, "join a.onnx b.onnx -o ab.onnx");
    assert!(
        stderr(&output).contains("  joined by z as z: equal bit for bit in 2 runs of tract\n"),
        "{}",
        stderr(&output)
    );
    for (line, why) in [
        ("join a.onnx b.onnx --map s=z", "1 dimensions are not 2"),
        ("join a.onnx b.onnx --map q=z", "the model has no tensor \"q\""),
        ("join a.onnx b.onnx --map z=q", "the model has no input \"q\""),
        ("join b.onnx a.onnx", "it is not said which outputs are which inputs"),
        ("join a.onnx none.onnx", "none.onnx: "),
        ("join a.onnx b.onnx --outputs q", "the model has no tensor \"q\""),
    ] {
        refused(&folder, line, 1, why);
    }
    refused(&folder, "join - -", 2, "standard input holds one model");
    refused(&folder, "join a.onnx b.onnx --map z", 2, "expected OLD=NEW");
}
