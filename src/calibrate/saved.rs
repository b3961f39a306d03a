//! Statistics in a file: gathered on one machine or on many, used for as many targets as there are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::calibrate::gather::Gathered;
use crate::calibrate::statistics::Statistics;
use crate::model::Model;
use crate::{onnx, text};

/// The layout of the file. Raised when what is written changes its meaning.
const FORMAT: u32 = 1;

/// A file of statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    format: u32,
    /// Tells models apart.
    model: String,
    runs: u64,
    /// The samples were made up.
    made_up: bool,
    tensors: BTreeMap<String, Statistics>,
}

/// Why statistics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file cannot be read or written.
    #[error("{}: {error}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{}: these are no statistics: {reason}", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The statistics are of another model.
    #[error("{}: these statistics are of another model; gather them again with --calib", .file.display())]
    OtherModel {
        /// The file.
        file: PathBuf,
    },
}

/// Tells models apart: the same for models with the same nodes and weights, whatever file they are in.
///
/// Taken of the model as a user gives it, before anything is done to it, it is the same for every target, and so are
/// the statistics that are saved with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of this model.
    pub fn of(model: &Model) -> Fingerprint {
        let mut hash = Xxh3::new();
        // A text has of large weights little more than their sum, which is the same in another order.
        hash.update(text::print(model).as_bytes());
        let graph = &model.graph;
        for tensor in graph.values().filter_map(|v| graph.constant(v).or_else(|| graph.value(v).default())) {
            hash.update(&tensor.content_hash().to_le_bytes());
        }
        Fingerprint(format!("{:016x}", hash.digest()))
    }
}

impl Saved {
    /// What was gathered of a model.
    pub fn new(model: &Fingerprint, gathered: Gathered) -> Saved {
        let Gathered { tensors, runs, made_up } = gathered;
        Saved { format: FORMAT, model: model.0.clone(), runs, made_up, tensors }
    }

    /// Read statistics that were gathered of a model.
    ///
    /// # Errors
    /// When there is no such file, or it holds something else or another model's statistics.
    pub fn read(file: &Path, model: &Fingerprint) -> Result<Gathered, SavedError> {
        let bytes = fs::read(file).map_err(|error| SavedError::Io { file: file.to_path_buf(), error })?;
        let content = |reason: String| SavedError::Content { file: file.to_path_buf(), reason };
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|e| content(e.to_string()))?;
        if saved.format != FORMAT {
            return Err(content(format!("their format is {}, and {FORMAT} is known", saved.format)));
        }
        if let Some((name, _)) = saved.tensors.iter().find(|(_, s)| !s.is_sound()) {
            return Err(content(format!("those of \"{name}\" contradict themselves")));
        }
        if saved.model != model.0 {
            return Err(SavedError::OtherModel { file: file.to_path_buf() });
        }
        Ok(Gathered { tensors: saved.tensors, runs: saved.runs, made_up: saved.made_up })
    }

    /// Write to `file`, through a temporary file beside it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> Result<(), SavedError> {
        let written = onnx::replace(file, |out| Ok(serde_json::to_writer(BufWriter::new(out), self)?));
        written.map_err(|error| SavedError::Io { file: file.to_path_buf(), error })
    }
}

impl Gathered {
    /// Add what was gathered elsewhere.
    pub fn merge(&mut self, other: &Gathered) {
        self.runs = self.runs.saturating_add(other.runs);
        self.made_up |= other.made_up;
        for (name, statistics) in &other.tensors {
            self.tensors.entry(name.clone()).or_default().merge(statistics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(op: &str) -> Fingerprint {
        let text =
            format!(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) {{ y = {op}(x) }}"#);
        Fingerprint::of(&text::parse(&text).unwrap())
    }

    fn gathered(sample: &[f32]) -> Gathered {
        let mut x = Statistics::default();
        x.add(sample);
        Gathered { tensors: BTreeMap::from([("x".to_string(), x)]), runs: 1, made_up: false }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.json");
        let before = gathered(&[-1.5, 0.0, 1e-30, f32::MAX, f32::NAN]);
        Saved::new(&model("Relu"), before.clone()).write(&file).unwrap();
        let after = Saved::read(&file, &model("Relu")).unwrap();
        let (a, b) = (&after.tensors["x"], &before.tensors["x"]);
        assert_eq!((after.runs, a.min, a.max, a.samples, a.not_finite), (1, b.min, b.max, b.samples, b.not_finite));
        assert_eq!(a.histogram, b.histogram);
        assert!((a.mean_max / b.mean_max - 1.0).abs() < 1e-12, "{} for {}", a.mean_max, b.mean_max);
        assert!(matches!(Saved::read(&file, &model("Abs")), Err(SavedError::OtherModel { .. })));
    }

    #[test]
    fn weights_in_another_order_are_another_model() {
        let of = |order: &[usize]| {
            let text = r#"<ir_version: 8, opset_import: ["" : 17]>
                g (float[n,64] x) => (float[n,64] y) <float[64] w> { y = Mul(x, w) }"#;
            let mut model = text::parse(text).unwrap();
            let graph = &mut model.graph;
            let w = graph.values().find(|&v| graph.constant(v).is_some()).unwrap();
            let elements: Vec<f32> = (0..64).map(|i| order[i % order.len()] as f32).collect();
            graph.set_constant(w, crate::ir::Tensor::f32s(&[64], &elements).unwrap());
            Fingerprint::of(&model)
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
    }

    #[test]
    fn what_is_no_file_of_statistics_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.json");
        assert!(matches!(Saved::read(&file, &model("Relu")), Err(SavedError::Io { .. })));
        let good = serde_json::to_string(&Saved::new(&model("Relu"), gathered(&[1.0, 2.0]))).unwrap();
        let counts = good.find("\"counts\":[").unwrap() + 10;
        for bad in [
            "{}".to_string(),
            good.replace("\"format\":1", "\"format\":2"),
            good.replace("\"runs\"", "\"ruins\""),
            good.replace("\"min\":1.0", "\"min\":3.0"),
            good.replace("\"exponent\":", "\"exponent\":9"),
            format!("{}18446744073709551615,{}", &good[..counts], &good[counts..]),
        ] {
            fs::write(&file, &bad).unwrap();
            assert!(matches!(Saved::read(&file, &model("Relu")), Err(SavedError::Content { .. })), "{bad}");
        }
    }

    #[test]
    fn parts_add_up() {
        let mut sum = gathered(&[1.0, 2.0]);
        sum.merge(&gathered(&[-1.0]));
        assert_eq!((sum.runs, sum.tensors["x"].min, sum.tensors["x"].max), (2, -1.0, 2.0));
    }
}
