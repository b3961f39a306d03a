//! `--dump-after`: the model as text after each run of a pass.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::ir::Graph;
use crate::model::Model;
use crate::text;

/// A request for the model's text after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dump {
    /// The pass.
    pub pass: String,
    /// A file or folder; none for standard output.
    pub to: Option<PathBuf>,
}

impl Dump {
    /// `PASS[=PATH]`.
    ///
    /// # Errors
    /// When nothing follows the `=`.
    pub(super) fn parse(text: &str) -> Result<Dump, String> {
        let (pass, to) = match text.split_once('=') {
            Some((_, "")) => return Err("a file or folder is missing after =".into()),
            Some((pass, to)) => (pass, Some(to.into())),
            None => (text, None),
        };
        Ok(Dump { pass: pass.into(), to })
    }
}

/// Writes the texts that were asked for while a model is optimized.
pub(super) struct Dumper<'a> {
    requests: &'a [Dump],
    /// The model without its graph: what the text shows around it.
    shell: Model,
    stem: String,
    /// Passes that have run.
    runs: usize,
    /// The first text that could not be written.
    failure: Option<anyhow::Error>,
}

impl<'a> Dumper<'a> {
    /// For the model read from `input`.
    pub(super) fn new(requests: &'a [Dump], input: &Path, model: &Model) -> Dumper<'a> {
        let stem = input.file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned());
        let stem = if stem == "-" { "model".into() } else { stem };
        let shell = if requests.is_empty() { Model::default() } else { model.without_graph() };
        Dumper { requests, shell, stem, runs: 0, failure: None }
    }

    /// `pass` has left `graph`.
    pub(super) fn after(&mut self, pass: &str, graph: &Graph) {
        self.runs += 1;
        for request in self.requests.iter().filter(|r| r.pass == pass) {
            let text = text::print(&Model { graph: graph.clone(), ..self.shell.clone() });
            let text = format!("# after {pass}, step {}\n{text}\n", self.runs);
            let written = match &request.to {
                None => io::stdout().write_all(text.as_bytes()).context("standard output"),
                Some(path) => {
                    let path = self.place(path, pass);
                    fs::write(&path, text).with_context(|| path.display().to_string())
                }
            };
            if let Err(error) = written {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// A file that is given is written anew each time; in a folder every run has a file of its own.
    fn place(&self, path: &Path, pass: &str) -> PathBuf {
        if is_folder(path) { path.join(format!("{}.{:03}-{pass}.onnxtxt", self.stem, self.runs)) } else { path.into() }
    }

    /// # Errors
    /// When a text could not be written.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// Whether texts go into `path`, not over it.
pub(super) fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.to_string_lossy().ends_with(['/', std::path::MAIN_SEPARATOR])
}

/// Make the folders that texts go into.
pub(super) fn prepare(requests: &[Dump]) -> anyhow::Result<()> {
    for path in requests.iter().filter_map(|r| r.to.as_deref()).filter(|p| is_folder(p)) {
        fs::create_dir_all(path).with_context(|| format!("{}: this folder cannot be made", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_goes_where_it_is_told() {
        assert_eq!(Dump::parse("fuse").unwrap(), Dump { pass: "fuse".into(), to: None });
        assert_eq!(Dump::parse("fuse=a=b.txt").unwrap(), Dump { pass: "fuse".into(), to: Some("a=b.txt".into()) });
        assert!(Dump::parse("fuse=").is_err());
    }
}
