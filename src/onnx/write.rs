//! A [`Model`] becomes a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use super::error::WriteError;
use super::proto::{ModelProto, OperatorSetIdProto};
use super::sink::{Sink, Target};
use super::{emit, names, tally};
use crate::ir::{self, DType};
use crate::model::{Model, OpsetImport};

/// What has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Every file, the model's own first.
    pub files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Nodes by operator, bodies included; operators outside ai.onnx under `domain.name`.
    pub ops: BTreeMap<String, usize>,
}

impl Model {
    /// Write the model to `path`; `-` is standard output. The file appears whole or not at all, and may be the one
    /// that the model was read from.
    ///
    /// # Errors
    /// When the graph is not well formed, when a node has no words in the model's opset, or when the file cannot be
    /// written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<Written, WriteError> {
        let path = path.as_ref();
        let proto = self.proto()?;
        let ops = proto.graph.as_ref().map(tally::ops).unwrap_or_default();
        let failed = |error| WriteError::Io { file: path.to_path_buf(), error };
        if path.as_os_str() == "-" {
            let mut out = io::stdout().lock();
            let mut sink = Sink::new(Target::Stream(&mut out), &self.files);
            proto.encode_raw(&mut sink);
            let bytes = sink.finish().map_err(failed)?;
            return Ok(Written { files: vec![path.to_path_buf()], bytes, ops });
        }
        let bytes = replace(path, |file| {
            let mut sink = Sink::new(Target::File(file), &self.files);
            proto.encode_raw(&mut sink);
            sink.finish()
        })
        .map_err(failed)?;
        Ok(Written { files: vec![path.to_path_buf()], bytes, ops })
    }

    /// The model's file in memory.
    ///
    /// # Errors
    /// When the graph is not well formed, or when a node has no words in the model's opset.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        Ok(self.proto()?.encode_to_vec())
    }

    /// Bytes of the file that [`Model::write`] makes.
    ///
    /// # Errors
    /// As [`Model::to_bytes`].
    pub fn encoded_len(&self) -> Result<u64, WriteError> {
        Ok(self.proto()?.encoded_len() as u64)
    }

    pub(crate) fn proto(&self) -> Result<ModelProto, WriteError> {
        if let Some(defect) = ir::verify(&self.graph).into_iter().next() {
            return Err(WriteError::Defect(defect));
        }
        let mut proto =
            ModelProto::decode(self.carried.clone()).map_err(|_| WriteError::Carried("the model".into()))?;
        let opset = u32::try_from(self.opset()).unwrap_or(u32::MAX);
        let read_opset = proto.opset_import.iter().find(|i| names::domain(i.domain()).is_empty());
        let read_opset = read_opset.map_or(opset, |i| u32::try_from(i.version()).unwrap_or(u32::MAX));
        let spelled = std::mem::take(&mut proto.opset_import);
        let import = |i: &OpsetImport| {
            let as_read = spelled.iter().find(|s| s.domain() == i.domain).map(|s| s.domain.clone());
            OperatorSetIdProto { domain: as_read.unwrap_or_else(|| Some(i.domain.clone())), version: Some(i.version) }
        };
        proto.opset_import = self.opset_imports.iter().map(import).collect();
        proto.graph = Some(emit::graph(self, opset, read_opset)?);
        proto.ir_version = Some(self.ir_version.max(needed_ir_version(self)));
        Ok(proto)
    }
}

/// The first IR version that has what the model uses.
fn needed_ir_version(model: &Model) -> i64 {
    // From version 4 on, initializers need not be inputs.
    emit::dtypes(&model.graph).map(since).max().unwrap_or(0).max(4)
}

/// The first IR version that has an element type.
fn since(dtype: DType) -> i64 {
    match dtype {
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ => 9,
        DType::U4 | DType::I4 => 10,
        DType::F4E2M1 => 11,
        DType::F8E8M0 => 12,
        DType::U2 | DType::I2 => 13,
        _ => 4,
    }
}

/// Fill a new file beside `path`, then put it in the place of `path`.
pub(crate) fn replace<T>(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".onnx-slim-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(folder)?;
    let filled = fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    Ok(filled)
}
