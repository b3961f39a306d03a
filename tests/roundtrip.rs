//! A model that is read and written is the same model, in either form: the same bytes, the same text.

use std::path::{Path, PathBuf};

use onnx_slim::model::Model;
use onnx_slim::onnx::ReadOptions;
use onnx_slim::text;

/// Every file below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().expect("the folder is there") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn models() -> Vec<PathBuf> {
    let found = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models"), "onnx");
    assert!(!found.is_empty());
    found
}

fn texts() -> Vec<PathBuf> {
    let found = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), "onnxtxt");
    assert!(!found.is_empty());
    found
}

#[test]
fn writing_again_changes_nothing() {
    for path in models() {
        let Ok(model) = Model::read(&path) else { panic!("{} is not read", path.display()) };
        let once = model.to_bytes().unwrap();
        let twice = Model::from_bytes(once.clone(), &ReadOptions::default()).unwrap().to_bytes().unwrap();
        assert!(once == twice, "{}", path.display());
    }
}

#[test]
fn a_model_may_be_written_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    for path in models() {
        // External data would have to come along.
        if path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "external") {
            continue;
        }
        let copy = folder.path().join("model.onnx");
        std::fs::copy(&path, &copy).unwrap();
        let model = Model::read(&copy).unwrap();
        let expected = model.to_bytes().unwrap();
        model.write(&copy).unwrap();
        assert!(std::fs::read(&copy).unwrap() == expected, "{}", path.display());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing else is left in the folder");
    }
}

#[test]
fn printing_again_changes_nothing() {
    let sources = texts().into_iter().map(|path| (std::fs::read_to_string(&path).unwrap(), path));
    // The text of a file has other large weights than the file, and is a text like any other.
    let prints = models().into_iter().map(|path| (text::print(&Model::read(&path).unwrap()), path));
    for (source, path) in sources.chain(prints) {
        let once = text::print(&text::parse(&source).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        let again = text::parse(&once).unwrap_or_else(|e| panic!("{}: {e}\n{once}", path.display()));
        assert_eq!(text::print(&again), once, "{}", path.display());
    }
}

#[test]
fn a_file_has_the_text_of_its_model() {
    for path in texts() {
        let model = text::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let file = Model::from_bytes(model.to_bytes().unwrap(), &ReadOptions::default()).unwrap();
        assert_eq!(text::print(&file), text::print(&model), "{}", path.display());
    }
}
