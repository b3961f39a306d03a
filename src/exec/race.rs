//! How long models take in the runtime that they are for: the runtime itself runs them, in a process of a Python that has
//! it, and they take turns there.
//!
//! Machines are shared and change their pace. So what counts is processor time of one thread, and of each round how long
//! a model took in shares of another one in the same round.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ir::{DType, Tensor};
use crate::model::Model;
use crate::onnx::{IrVersion, WriteError, WriteOptions};

/// What the other process runs.
const SCRIPT: &str = include_str!("race.py");

/// Seconds that models take turns.
const SECONDS: f64 = 4.0;

/// When the other process is ended: loading large models takes minutes.
const LIMIT: Duration = Duration::from_mins(10);

/// How often it is looked after.
const PAUSE: Duration = Duration::from_millis(20);

/// Runtimes that models can be timed in.
const RUNTIMES: [&str; 2] = ["onnxruntime", "openvino"];

/// A runtime, and a Python that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Race {
    runtime: &'static str,
    python: PathBuf,
}

/// Why nothing was timed.
#[derive(Debug, thiserror::Error)]
pub enum RaceError {
    /// The target is none of the runtimes that models can be timed in.
    #[error("nothing runs models for {target} here: --measure is for {}", RUNTIMES.join(" and "))]
    Target {
        /// What it is called.
        target: String,
    },
    /// There is no such program.
    #[error("{} cannot be run: {error}; --measure=PYTHON names another one", .python.display())]
    Python {
        /// The program.
        python: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It has no such runtime.
    #[error("{} has no {runtime} ({reason}); --measure=PYTHON names one that has it", .python.display())]
    Runtime {
        /// The program.
        python: PathBuf,
        /// What it should have.
        runtime: &'static str,
        /// What it says.
        reason: String,
    },
    /// The runtime does not run a model.
    #[error("{runtime} cannot run {model}: {reason}")]
    Model {
        /// The runtime.
        runtime: &'static str,
        /// Which.
        model: String,
        /// What it says.
        reason: String,
    },
    /// An input cannot be handed over.
    #[error("input \"{input}\" is of {dtype}, which --measure cannot hand over")]
    Input {
        /// The input.
        input: String,
        /// Its type.
        dtype: &'static str,
    },
    /// The other process ended without an answer.
    #[error("{} gave no answer: {reason}", .python.display())]
    NoAnswer {
        /// The program.
        python: PathBuf,
        /// How it ended, and the last that it said.
        reason: String,
    },
    /// A model cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file cannot be written or read.
    #[error("files for --measure: {0}")]
    File(#[from] std::io::Error),
}

/// How long models took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// The release of the runtime.
    pub version: String,
    /// Seconds of processor time, of each model in each round.
    pub rounds: Vec<Vec<f64>>,
}

/// What the other process answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Timed { version: String, times: Vec<Vec<f64>> },
    Missing { missing: String },
    Failed { failed: String, model: usize },
}

/// A tensor as the other process reads it.
#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    dtype: &'a str,
    dims: &'a [usize],
    file: String,
}

impl Race {
    /// In the runtime that `target` is, with the interpreter `python`.
    ///
    /// # Errors
    /// For a target that is no runtime which can be asked.
    pub fn new(target: &str, python: impl Into<PathBuf>) -> Result<Race, RaceError> {
        let runtime = RUNTIMES.into_iter().find(|name| *name == target);
        let runtime = runtime.ok_or_else(|| RaceError::Target { target: target.to_string() })?;
        Ok(Race { runtime, python: python.into() })
    }

    /// The runtime.
    pub fn runtime(&self) -> &'static str {
        self.runtime
    }

    /// Run `models`, each with what messages call it, on `feed`, by turns.
    ///
    /// # Errors
    /// When the interpreter, the runtime or one of the models does not run.
    pub fn run(&self, models: &[(&str, &Model)], feed: &[(String, Tensor)]) -> Result<Times, RaceError> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let options = WriteOptions { ir_version: IrVersion::Lowest, ..WriteOptions::default() };
        for (index, (_, model)) in models.iter().enumerate() {
            model.write_with(at.join(format!("{index}.onnx")), &options)?;
        }
        let mut given = Vec::with_capacity(feed.len());
        for (index, (name, tensor)) in feed.iter().enumerate() {
            let refused = || RaceError::Input { input: name.clone(), dtype: tensor.dtype().name() };
            let dtype = in_numpy(tensor.dtype()).ok_or_else(refused)?;
            let file = format!("{index}.bin");
            std::fs::write(at.join(&file), tensor.bytes().ok_or_else(refused)?)?;
            given.push(Given { name, dtype, dims: tensor.dims(), file });
        }
        let feed = serde_json::to_vec(&given).map_err(std::io::Error::from)?;
        std::fs::write(at.join("feed.json"), feed)?;
        std::fs::write(at.join("race.py"), SCRIPT)?;
        let said = self.ask(at)?;
        match serde_json::from_str(&said) {
            Ok(Answer::Timed { version, times }) if is_whole(&times, models.len()) => {
                Ok(Times { version, rounds: times })
            }
            Ok(Answer::Missing { missing }) => {
                Err(RaceError::Runtime { python: self.python.clone(), runtime: self.runtime, reason: missing })
            }
            Ok(Answer::Failed { failed, model }) => {
                let model = models.get(model).map_or_else(|| "a model".to_string(), |(name, _)| (*name).to_string());
                Err(RaceError::Model { runtime: self.runtime, model, reason: failed })
            }
            _ => Err(self.no_answer("what it prints are no times".into())),
        }
    }

    /// Run the script in `folder`, and give what it prints.
    fn ask(&self, folder: &Path) -> Result<String, RaceError> {
        let (out, err) = (folder.join("out"), folder.join("err"));
        let seconds = SECONDS.to_string();
        let mut child = Command::new(&self.python)
            .args([folder.join("race.py").as_os_str(), OsStr::new(self.runtime), OsStr::new(&seconds)])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .map_err(|error| RaceError::Python { python: self.python.clone(), error })?;
        let start = Instant::now();
        let ended: Option<ExitStatus> = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(PAUSE);
        };
        let last = std::fs::read(&err)?;
        let last = String::from_utf8_lossy(&last).trim_end().lines().next_back().unwrap_or_default().to_string();
        match ended {
            None => Err(self.no_answer(format!("it took more than {} minutes", LIMIT.as_secs() / 60))),
            Some(status) if !status.success() => Err(self.no_answer(format!("{status}: {last}"))),
            // Runtimes print, too.
            Some(_) => {
                let said = std::fs::read(&out)?;
                Ok(String::from_utf8_lossy(&said).trim_end().lines().next_back().unwrap_or_default().to_string())
            }
        }
    }

    fn no_answer(&self, reason: String) -> RaceError {
        RaceError::NoAnswer { python: self.python.clone(), reason }
    }
}

/// Whether there are as many rounds of each of so many models, and all times are numbers.
fn is_whole(times: &[Vec<f64>], models: usize) -> bool {
    let rounds = times.first().map_or(0, Vec::len);
    times.len() == models
        && rounds > 0
        && times.iter().all(|times| times.len() == rounds && times.iter().all(|t| t.is_finite() && *t >= 0.0))
}

/// What numpy calls it: mostly what ONNX does.
fn in_numpy(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("float32"),
        DType::F64 => Some("float64"),
        DType::F16 | DType::Bool => Some(dtype.name()),
        _ => Some(dtype.name()).filter(|_| dtype.is_integer() && dtype.bits() >= 8),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::text::parse;

    fn model() -> Model {
        parse(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }"#).unwrap()
    }

    fn feed() -> Vec<(String, Tensor)> {
        vec![("x".to_string(), Tensor::f32s(&[2], &[1.0, -1.0]).unwrap())]
    }

    /// What comes of it when the interpreter is a shell script.
    fn answered(script: &str) -> Result<Times, RaceError> {
        let folder = tempfile::tempdir().unwrap();
        let python = folder.path().join("python");
        std::fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let model = model();
        Race::new("openvino", python).unwrap().run(&[("real numbers", &model), ("integers", &model)], &feed())
    }

    #[test]
    fn times_are_read_behind_what_a_runtime_prints() {
        let times = answered(
            r#"test -s "$4/0.onnx" && test -s "$4/1.onnx" && grep -q '"float32","dims":\[2\]' "$4/feed.json" || exit 3
               echo "loading $2"; echo '{"version": "9", "times": [[1, 2], [0.5, 1]]}'"#,
        );
        assert_eq!(times.unwrap(), Times { version: "9".into(), rounds: vec![vec![1.0, 2.0], vec![0.5, 1.0]] });
    }

    #[test]
    fn what_is_not_there_is_named() {
        let said = |script: &str| {
            let text = answered(script).unwrap_err().to_string();
            text[text.find("python").unwrap_or(0)..].to_string()
        };
        let hint = "--measure=PYTHON names one that has it";
        assert_eq!(said(r#"echo '{"missing": "No module"}'"#), format!("python has no openvino (No module); {hint}"));
        assert_eq!(said(r#"echo '{"failed": "E: no", "model": 1}'"#), "openvino cannot run integers: E: no");
        assert_eq!(said("echo odd >&2; exit 4"), "python gave no answer: exit status: 4: odd");
        for odd in ["true", "echo '{}'", r#"echo '{"version": "9", "times": [[1], []]}'"#] {
            assert_eq!(said(odd), "python gave no answer: what it prints are no times");
        }
        let model = model();
        let gone = Race::new("onnxruntime", "/nowhere/python").unwrap().run(&[("it", &model)], &feed()).unwrap_err();
        assert!(gone.to_string().starts_with("/nowhere/python cannot be run: "), "{gone}");
        let other = Race::new("tensorrt", "python3").unwrap_err().to_string();
        assert_eq!(other, "nothing runs models for tensorrt here: --measure is for onnxruntime and openvino");
    }
}
