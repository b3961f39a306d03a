//! A [`Model`] becomes a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use tempfile::NamedTempFile;

use super::draft::Draft;
use super::error::WriteError;
use super::offload::{self, Offloaded};
use super::proto::{ModelProto, OperatorSetIdProto};
use super::sink::{Sink, Target};
use super::{emit, names};
use crate::ir::{self, DType};
use crate::model::{Model, OpsetImport};

/// One protobuf message, and so one file, is smaller than this.
const MAX_FILE: u64 = 1 << 31;

/// What to do where the model leaves a choice.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Where weights go.
    pub weights: Weights,
    /// Which IR version the file declares.
    pub ir_version: IrVersion,
}

/// Where weights go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Into the model's file while that stays below 2 GiB, else as [`Weights::Beside`].
    #[default]
    Inside,
    /// Into one file beside the model's, named after it with `.data` at the end.
    Beside,
}

/// Which IR version the file declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IrVersion {
    /// The model's own, or the first that holds what it has come to need.
    #[default]
    Kept,
    /// The first that holds the model: runtimes refuse versions that they do not know.
    Lowest,
}

/// What has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Every file, the model's own first.
    pub files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Nodes by operator, bodies included; operators outside ai.onnx under `domain.name`.
    pub ops: BTreeMap<String, usize>,
    /// The opset of ai.onnx. It is the model's own unless a node needs a newer one.
    pub opset: i64,
}

impl Model {
    /// Write the model to `path`; `-` is standard output. The file appears whole or not at all, and may be the one
    /// that the model was read from.
    ///
    /// The opset is the model's own. When that has no words for a node, it is the next one that has words for all.
    ///
    /// # Errors
    /// When the graph is not well formed, when no opset has words for all nodes, or when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<Written, WriteError> {
        self.write_with(path, &WriteOptions::default())
    }

    /// Write the model to `path`, as `options` say.
    ///
    /// # Errors
    /// As [`Model::write`]; also when the model goes to standard output and does not fit one file.
    pub fn write_with(&self, path: impl AsRef<Path>, options: &WriteOptions) -> Result<Written, WriteError> {
        let path = path.as_ref();
        let mut proto = self.message(options)?;
        let (ops, opset) = (std::mem::take(&mut proto.ops), proto.opset());
        let size = proto.encoded_len() as u64;
        let failed = |file: &Path, error| WriteError::Io { file: file.to_path_buf(), error };
        let beside = options.weights == Weights::Beside || size >= MAX_FILE;
        if path.as_os_str() == "-" {
            if beside {
                return Err(WriteError::TooLarge(size));
            }
            let mut out = io::stdout().lock();
            let bytes = self.encode(&proto, Target::Stream(&mut out)).map_err(|e| failed(path, e))?;
            return Ok(Written { files: vec![path.to_path_buf()], bytes, ops, opset });
        }

        let mut files = vec![path.to_path_buf()];
        let mut bytes = 0;
        let mut data = None;
        if beside {
            let (location, data_path) = data_path(path).map_err(|e| failed(path, e))?;
            let offloaded = offload::split(&mut proto, &location);
            if !offloaded.is_empty() {
                let (file, length) =
                    prepare(&data_path, |file| self.fill(file, &offloaded)).map_err(|e| failed(&data_path, e))?;
                bytes += length;
                files.push(data_path.clone());
                data = Some((file, data_path));
            }
            let size = proto.encoded_len() as u64;
            if size >= MAX_FILE {
                return Err(WriteError::TooLarge(size));
            }
        }
        let (model, length) =
            prepare(path, |file| self.encode(&proto, Target::File(file))).map_err(|e| failed(path, e))?;
        bytes += length;
        // Both files are complete before either takes its place.
        if let Some((file, data_path)) = data {
            file.persist(&data_path).map_err(|e| failed(&data_path, e.error))?;
        }
        model.persist(path).map_err(|e| failed(path, e.error))?;
        Ok(Written { files, bytes, ops, opset })
    }

    fn encode<'a>(&'a self, proto: &Draft, target: Target<'a>) -> io::Result<u64> {
        let mut sink = Sink::new(target, &self.files);
        proto.encode(&mut sink);
        sink.finish()
    }

    fn fill(&self, file: &mut File, tensors: &[Offloaded]) -> io::Result<u64> {
        let mut sink = Sink::new(Target::File(file), &self.files);
        offload::write(tensors, &mut sink);
        sink.finish()
    }

    /// The model's file in memory.
    ///
    /// # Errors
    /// When the graph is not well formed, or when no opset has words for all nodes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        self.to_bytes_with(&WriteOptions::default())
    }

    /// The model's file in memory, as `options` say; weights are always inside.
    ///
    /// # Errors
    /// As [`Model::to_bytes`].
    pub fn to_bytes_with(&self, options: &WriteOptions) -> Result<Vec<u8>, WriteError> {
        Ok(self.message(options)?.encode_to_vec())
    }

    /// What [`Model::write`] would make: bytes of the file, and its nodes by operator.
    ///
    /// # Errors
    /// As [`Model::to_bytes`].
    pub fn foretell(&self) -> Result<(u64, BTreeMap<String, usize>), WriteError> {
        let draft = self.message(&WriteOptions::default())?;
        Ok((draft.encoded_len() as u64, draft.ops))
    }

    pub(crate) fn proto(&self) -> Result<ModelProto, WriteError> {
        self.message(&WriteOptions::default())?.into_proto()
    }

    fn message(&self, options: &WriteOptions) -> Result<Draft, WriteError> {
        if let Some(defect) = ir::verify(&self.graph).into_iter().next() {
            return Err(WriteError::Defect(defect));
        }
        let mut proto =
            ModelProto::decode(self.carried.clone()).map_err(|_| WriteError::Carried("the model".into()))?;
        let declared = u32::try_from(self.opset()).unwrap_or(u32::MAX);
        let as_read = std::mem::take(&mut proto.opset_import);
        let read_opset = as_read.iter().find(|i| names::domain(i.domain()).is_empty());
        let read_opset = read_opset.map_or(declared, |i| u32::try_from(i.version()).unwrap_or(u32::MAX));
        let spelling = emit::spell(&self.graph, declared, read_opset)?;
        let opset = spelling.opset;
        let import = |i: &OpsetImport| {
            let domain = as_read.iter().find(|s| s.domain() == i.domain).map(|s| s.domain.clone());
            let version = if names::domain(&i.domain).is_empty() { opset.into() } else { i.version };
            OperatorSetIdProto { domain: domain.unwrap_or_else(|| Some(i.domain.clone())), version: Some(version) }
        };
        proto.opset_import = self.opset_imports.iter().map(import).collect();
        let emitted = emit::graph(self, spelling)?;
        let lowest = lowest_ir_version(self, &proto, opset).max(emitted.since);
        // What the file had, its own version holds.
        let needed = if opset == read_opset { element_types(self) } else { lowest };
        proto.ir_version = Some(match options.ir_version {
            IrVersion::Kept => self.ir_version.max(needed),
            IrVersion::Lowest => lowest,
        });
        Ok(Draft::new(proto, emitted.graph))
    }
}

/// The first IR version that has every element type, and initializers that are not inputs.
fn element_types(model: &Model) -> i64 {
    emit::dtypes(&model.graph).map(since).max().unwrap_or(0).max(4)
}

/// The first IR version that holds what the message says outside the graph, in this opset.
fn lowest_ir_version(model: &Model, proto: &ModelProto, opset: u32) -> i64 {
    // Each IR version came with the ONNX release of this opset.
    const OPSETS: [(u32, i64); 10] =
        [(10, 5), (11, 6), (12, 7), (15, 8), (19, 9), (21, 10), (23, 11), (24, 12), (25, 13), (28, 14)];
    let by_opset = OPSETS.iter().rev().find(|(first, _)| *first <= opset).map_or(4, |(_, version)| *version);
    let features =
        [(!proto.training_info.is_empty(), 7), (!proto.functions.is_empty(), 8), (!proto.configuration.is_empty(), 11)];
    let by_feature = features.iter().filter(|(used, _)| *used).map(|(_, version)| *version).max().unwrap_or(4);
    element_types(model).max(by_opset).max(by_feature)
}

/// The first IR version that has an element type.
fn since(dtype: DType) -> i64 {
    match dtype {
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ => 9,
        DType::U4 | DType::I4 => 10,
        DType::F4E2M1 => 11,
        DType::F8E8M0 => 12,
        DType::U2 | DType::I2 => 13,
        DType::F6E2M3 | DType::F6E3M2 => 14,
        _ => 4,
    }
}

/// The name and the path of the file that weights go to.
fn data_path(model: &Path) -> io::Result<(String, PathBuf)> {
    let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "the file name is not text");
    let name = model.file_name().and_then(|n| n.to_str()).ok_or_else(unnamed)?;
    let name = format!("{name}.data");
    let path = model.with_file_name(&name);
    Ok((name, path))
}

/// Fill a new file beside `path`, then put it in the place of `path`.
pub(crate) fn replace<T>(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    let (file, filled) = prepare(path, fill)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(filled)
}

/// A new file beside `path`, filled and on the disk, that may take the place of `path`.
fn prepare<T>(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<(NamedTempFile, T)> {
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
    Ok((temporary, filled))
}
