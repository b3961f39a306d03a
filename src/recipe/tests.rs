use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Recipe {
    Recipe::parse("r.toml", text).unwrap()
}

/// Every word that a recipe stands for.
fn words(text: &str) -> Vec<String> {
    parsed(text).entries().iter().flat_map(Entry::words).collect()
}

fn wrong(text: &str) -> String {
    Recipe::parse("r.toml", text).unwrap_err().to_string()
}

#[test]
fn each_key_stands_for_an_option() {
    assert_eq!(words("target = \"tflite\"\nopset = 17"), ["--target=tflite", "--opset=17"]);
    assert_eq!(words("[pruning]\nbudget = 0.30\nrecovery = false"), ["--prune=0.30", "--without-recovery"]);
    assert_eq!(words("[pruning]\nrecovery = true\n[precision]\neverywhere = false"), [""; 0]);
    assert_eq!(words("[passes]\ndisable = [\"a\", \"b\"]"), ["--disable=a", "--disable=b"]);
    assert_eq!(words("[calibration]\nmean = [-0.5, 1, 2e0]\nstd = 2"), ["--mean=-0.5,1,2e0", "--std=2"]);
    assert_eq!(words("opset = 0x11"), ["--opset=17"]);
    // In the order of the file: the last pattern that matches counts.
    let layers = "[pruning.layers]\n\"/z/*\" = 0.1\n\"/a/*\" = 0.5\n";
    assert_eq!(words(layers), ["--layer-ratio=/z/*=0.1", "--layer-ratio=/a/*=0.5"]);
    assert_eq!(words("[input_shapes]\nx = [\"batch\", 3, 8, 8]"), ["--input-shape=x:batch,3,8,8"]);
    assert_eq!(words("edit.rename = { a = \"b\" }"), ["--rename=a=b"]);
}

#[test]
fn what_is_not_known_is_said_with_its_line() {
    assert_eq!(wrong("targte = \"onnx\""), "r.toml:1: there is no key \"targte\": did you mean target?");
    assert_eq!(
        wrong("\n[pruning]\nbuget = 1"),
        "r.toml:3: there is no key \"buget\" in [pruning]: did you mean budget?"
    );
    assert_eq!(wrong("[prunning]\n"), "r.toml:1: there is no key \"prunning\": did you mean pruning?");
    assert_eq!(wrong("max_drop = 1"), "r.toml:1: there is no key \"max_drop\": did you mean bounds.max_drop?");
    assert_eq!(
        wrong("[calibration]\ncalib = \"x\""),
        "r.toml:2: there is no key \"calib\" in [calibration]: did you mean calibration.place?"
    );
    assert_eq!(wrong("[bounds]\nleast = 1"), "r.toml:2: there is no key \"least\" in [bounds]: min_sqnr, max_drop are");
    assert_eq!(wrong("pruning = 0.5"), "r.toml:1: pruning is a table: [pruning]");
    assert_eq!(wrong("\n\ntarget = true"), "r.toml:3: target is a string or a number, not a boolean");
    assert_eq!(wrong("[files]\nexternal_data = 1"), "r.toml:2: files.external_data is true or false, not an integer");
    assert_eq!(wrong("passes.only = [[1]]"), "r.toml:1: passes.only lists strings or numbers");
    assert_eq!(wrong("passes.only = { a = 1 }"), "r.toml:1: passes.only is a list, not a table");
    assert_eq!(wrong("[pruning]\nlayers = 0.1"), "r.toml:2: pruning.layers is a table, not a float");
    assert_eq!(wrong("opset = 99999999999999999999"), "r.toml:1: 99999999999999999999 is too large");
    assert_eq!(wrong("target = \"\\u0000\""), "r.toml:1: a NUL is in no word of a command line");
    assert!(wrong("target = \"a\"\ntarget = \"b\"").starts_with("r.toml:2: duplicate key"));
    assert!(wrong("target = \"a").starts_with("r.toml:1: "));
    let long = wrong(&format!("{} = 1", "k".repeat(5000)));
    assert!(long.len() < 500, "{long}");
    let deep = wrong(&format!("target = {}", "[".repeat(100_000)));
    assert!(deep.starts_with("r.toml:1: "), "{deep}");
}

#[test]
fn files_that_are_no_recipes_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str| Recipe::read(&folder.path().join(name)).unwrap_err().to_string();
    assert!(said("none.toml").contains("none.toml: No such file"));
    assert!(said("").ends_with("this is no file"));
    std::fs::write(folder.path().join("large.toml"), "#".repeat(2 << 20)).unwrap();
    assert!(said("large.toml").ends_with("this is too large for a recipe"));
    std::fs::write(folder.path().join("bytes.toml"), [0xff, 0xfe]).unwrap();
    assert!(said("bytes.toml").contains("UTF-8"));
}

#[test]
fn paths_are_relative_to_the_recipe() {
    let text = "target = \"npu.toml\"\n[calibration]\nplace = \"a/x.npz\"\nstats = [\"s.json\", \"/t.json\"]\n";
    let within = parsed(text).within(Path::new("r/q"));
    let words: Vec<String> = within.entries().iter().flat_map(Entry::words).collect();
    assert_eq!(words, ["--target=r/q/npu.toml", "--calib=r/q/a/x.npz", "--stats=r/q/s.json", "--stats=/t.json"]);
    let kept = parsed("target = \"openvino\"\n[calibration]\nplace = \"random\"").within(Path::new("r"));
    assert_eq!(kept, parsed("target = \"openvino\"\n[calibration]\nplace = \"random\""));
    let moved = |path: &str, folder: &str| write::relative(Path::new(path), Path::new(folder)).display().to_string();
    assert_eq!(moved("data/x.npz", "recipes/small"), "../../data/x.npz");
    assert_eq!(moved("./data/x.npz", "data"), "x.npz");
    assert_eq!(moved("x.npz", ""), "x.npz");
    assert_eq!(moved("/x.npz", "r"), "/x.npz");
    assert!(Path::new(&moved("../x.npz", "r")).is_absolute());
}

#[test]
fn a_recipe_is_written_as_people_would() {
    let recipe = Recipe::default().with("precision.default", "int8").with("pruning.budget", "macs=0.5");
    let recipe = recipe.with("target", "tensorrt").with("pruning.align", "8");
    assert_eq!(
        recipe.to_string(),
        "target = \"tensorrt\"\n\n[pruning]\nbudget = \"macs=0.5\"\nalign = 8\n\n[precision]\ndefault = \"int8\"\n"
    );
    assert_eq!(Recipe::default().to_string(), "");
}

/// Words of all kinds, those that look like numbers among them.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0]{0,8}".prop_map(|s| s),
        "-?[0-9]{1,20}",
        "-?[0-9]{1,3}\\.[0-9]{0,3}",
        Just("-0".to_string()),
        Just("inf".into())
    ]
}

fn value(key: &'static Key) -> BoxedStrategy<Value> {
    let words = || proptest::collection::vec(word(), 0..4);
    match key.form {
        Form::Flag | Form::Not => any::<bool>().prop_map(Value::Flag).boxed(),
        Form::Word => word().prop_map(Value::Word).boxed(),
        Form::Words | Form::Joined => words().prop_map(Value::Words).boxed(),
        Form::Pairs(_) => {
            let pairs = proptest::collection::btree_map("[^\0]{1,6}", words(), 1..4);
            pairs.prop_map(|pairs| Value::Pairs(pairs.into_iter().collect())).boxed()
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(
        said in proptest::collection::vec((0..KEYS.len()).prop_flat_map(|i| value(&KEYS[i]).prop_map(move |v| (i, v))), 0..8)
    ) {
        let mut recipe = Recipe::default();
        for (i, value) in said {
            recipe.set(&KEYS[i], value);
        }
        let text = recipe.to_string();
        prop_assert_eq!(Recipe::parse("r.toml", &text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?, recipe);
    }

    #[test]
    fn whatever_is_in_a_file_is_a_recipe_or_an_error(text in "(?s)[\\[\\]\"'=.,{}a-z0-9_ \n#-]{0,80}") {
        let _ = Recipe::parse("r.toml", &text);
    }
}
