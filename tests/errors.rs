//! What the command line says of each file in `fixtures/bad` that is not a model: golden, so that every change of a
//! message is a reviewed one. A file that is not listed can be read.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

#[test]
fn messages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad");
    let entries = fs::read_dir(&folder).expect("the fixtures are there");
    let mut models: Vec<PathBuf> =
        entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    assert!(models.len() > 100, "the fixtures are gone");
    let mut said = String::new();
    for name in models.iter().filter_map(|p| p.file_name()).chain(["no-such-file.onnx".as_ref(), ".".as_ref()]) {
        let output = Command::cargo_bin("onnx-slim")
            .expect("the program is built")
            .current_dir(&folder)
            .arg("inspect")
            .arg(name)
            .output()
            .expect("the program starts");
        let message = String::from_utf8(output.stderr).expect("messages are UTF-8");
        match output.status.code() {
            Some(0) => assert_eq!(message, "", "{}", name.display()),
            Some(1) => said.push_str(&message),
            code => panic!("{}: exit {code:?}: {message}", name.display()),
        }
        assert!(message.lines().count() <= 20, "{} takes more than a screen", name.display());
        assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{}", name.display());
    }
    insta::assert_snapshot!("messages", said);
}
