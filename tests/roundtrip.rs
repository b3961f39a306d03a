//! A model that is read and written is the same model: reading what was written and writing it again gives the same
//! bytes.

use std::path::{Path, PathBuf};

use onnx_slim::model::Model;
use onnx_slim::onnx::ReadOptions;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .expect("fixtures/models is there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn writing_again_changes_nothing() {
    for path in fixtures() {
        let once = Model::read(&path).unwrap().to_bytes().unwrap();
        let twice = Model::from_bytes(once.clone(), &ReadOptions::default()).unwrap().to_bytes().unwrap();
        assert!(once == twice, "{}", path.display());
    }
}

#[test]
fn a_model_may_be_written_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    for path in fixtures() {
        let copy = folder.path().join("model.onnx");
        std::fs::copy(&path, &copy).unwrap();
        let model = Model::read(&copy).unwrap();
        let expected = model.to_bytes().unwrap();
        model.write(&copy).unwrap();
        assert!(std::fs::read(&copy).unwrap() == expected, "{}", path.display());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing else is left in the folder");
    }
}
