//! Models as they are given on the command line.

use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;

use crate::error::Error;
use crate::model::Model;
use crate::onnx::{ReadError, ReadOptions};

/// Where a model comes from.
pub(super) enum Source<'a> {
    File(&'a Path),
    /// Standard input, which is read once.
    Stream(Bytes),
}

impl Source<'_> {
    pub(super) fn open(input: &Path) -> anyhow::Result<Source<'_>> {
        if !is_stream(input) {
            return Ok(Source::File(input));
        }
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("<stdin>")?;
        Ok(Source::Stream(bytes.into()))
    }

    pub(super) fn read(&self, options: &ReadOptions) -> Result<Model, Error> {
        Ok(match self {
            Source::File(path) => Model::read_with(path, options)?,
            Source::Stream(bytes) => Model::from_bytes(bytes.clone(), options)
                .map_err(|error| ReadError { file: "<stdin>".into(), ..error })?,
        })
    }
}

/// Whether `path` stands for standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}
