//! What was measured, in a file: a run that was cut short goes on where it stood, and the next one need not measure.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::calibrate::Fingerprint;
use crate::sensitivity::Measure;
use crate::sensitivity::ground::Ground;
use crate::sensitivity::meter::Effects;

/// The layout of the file. Raised when what is written or measured changes its meaning.
const FORMAT: u32 = 4;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    /// Of what it was measured.
    key: String,
    /// By the layer's place in the model.
    layers: BTreeMap<usize, Effects>,
}

/// A file of effects.
pub(crate) struct Cache {
    file: PathBuf,
    content: Content,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .file.display())]
pub struct CacheError {
    /// The file.
    pub file: PathBuf,
    /// What went wrong.
    pub error: io::Error,
}

impl Cache {
    /// The file's effects, where they were measured of the same model, on the same samples, with the same ranges. A file
    /// of others, and one that holds something else, is written anew.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub(crate) fn open(file: &Path, key: String) -> Result<Cache, CacheError> {
        let at = |error| CacheError { file: file.to_path_buf(), error };
        let text = match fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(error)),
        };
        let read = text.and_then(|text| serde_json::from_str::<Content>(&text).ok());
        let content = read.filter(|content| content.format == FORMAT && content.key == key);
        let content = content.unwrap_or_else(|| Content { format: FORMAT, key, layers: BTreeMap::new() });
        Ok(Cache { file: file.to_path_buf(), content })
    }

    /// What is known of the first `layers` layers.
    pub(crate) fn known(&self, layers: usize) -> Vec<Effects> {
        (0..layers).map(|layer| self.content.layers.get(&layer).cloned().unwrap_or_default()).collect()
    }

    /// Keep what was measured of a layer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(&mut self, layer: usize, effects: &Effects) -> Result<(), CacheError> {
        self.content.layers.insert(layer, effects.clone());
        let write = || -> io::Result<()> {
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut new, &self.content)?;
            new.persist(&self.file).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| CacheError { file: self.file.clone(), error })
    }
}

/// What effects depend on: the model's nodes and weights, the samples, how many of them are run, the ranges, and the
/// target, which says how integers of few bits are written and what cannot be a half.
pub(crate) fn key(ground: &Ground, samples: usize, measure: Measure, target: &str) -> String {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| hash.update(text.as_bytes());
    add(&format!("{:?} {measure:?} {samples} {target}", Fingerprint::of(&ground.model)));
    add(&format!("{:?} {:?}", ground.plan.sites, ground.scales));
    for sample in ground.probe.tried.iter().take(samples) {
        for (name, tensor) in sample.iter() {
            add(&format!("{name} {:016x}", tensor.content_hash()));
        }
    }
    format!("{:016x}", hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitivity::{Effect, Precision};

    #[test]
    fn effects_are_kept_for_the_same_model() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        let mut cache = Cache::open(&file, "a".into()).unwrap();
        assert!(cache.known(2).iter().all(Effects::is_empty));
        let effect = Effect { loss: f64::INFINITY, local: 0.5, weights: 0.25, skipped: false };
        let effects: Effects = [(Precision::Int8, effect)].into();
        cache.add(1, &effects).unwrap();
        assert_eq!(Cache::open(&file, "a".into()).unwrap().known(2), [Effects::new(), effects]);
        assert!(Cache::open(&file, "b".into()).unwrap().known(2)[1].is_empty());
        fs::write(&file, "something else").unwrap();
        assert!(Cache::open(&file, "a".into()).unwrap().known(2)[1].is_empty());
        assert!(Cache::open(folder.path(), "a".into()).is_err(), "a folder is no file");
    }
}
