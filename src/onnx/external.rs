//! Tensor data in other files: found only inside the model's folder, mapped once, never copied.

use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::error::ExternalFault;
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;
use crate::ir::{DType, count};
use crate::mapped::Files;

/// The folder of a model, with the data files opened so far.
pub(super) struct Folder {
    /// Where locations begin; `None` for a model that came from a stream.
    base: Option<PathBuf>,
    /// Resolved folders that data may lie in: the one that the caller named and, when the model's path is a link, the
    /// one that it leads to.
    allowed: Vec<PathBuf>,
    open: FxHashMap<PathBuf, Bytes>,
    /// The total size of the data files.
    pub(super) bytes: u64,
}

impl Folder {
    /// The folder of the model at `model`.
    pub(super) fn of(model: &Path) -> Folder {
        let base = match model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let target = model.canonicalize().ok().and_then(|p| p.parent().map(Path::to_path_buf));
        let allowed = base.canonicalize().ok().into_iter().chain(target).collect();
        Folder { base: Some(base), allowed, open: FxHashMap::default(), bytes: 0 }
    }

    /// No folder: external data is refused.
    pub(super) fn none() -> Folder {
        Folder { base: None, allowed: Vec::new(), open: FxHashMap::default(), bytes: 0 }
    }

    /// Put data that lies in another file into the message's `raw_data`.
    pub(super) fn attach(&mut self, tensor: &mut TensorProto, files: &mut Files) -> Result<(), ExternalFault> {
        if tensor.data_location() != DataLocation::External {
            return Ok(());
        }
        let field = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let location = field("location").filter(|l| !l.is_empty()).ok_or(ExternalFault::NoLocation)?;
        let offset = size("offset", field("offset"))?.unwrap_or(0);
        let length = size("length", field("length"))?;
        let file = self.file(location, files)?;
        let available = file.len() as u64;
        let rest = available.saturating_sub(offset);
        let length = length.or_else(|| needed(tensor)).unwrap_or(rest);
        let end = offset.checked_add(length).filter(|end| *end <= available).ok_or_else(|| ExternalFault::Short {
            file: location.into(),
            size: available,
            offset,
            end: offset.saturating_add(length),
        })?;
        // Both fit: they are at most the file's length in memory.
        let range = usize::try_from(offset).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        tensor.raw_data = Some(if range.is_empty() { Bytes::new() } else { file.slice(range) });
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    fn file(&mut self, location: &str, files: &mut Files) -> Result<Bytes, ExternalFault> {
        let base = self.base.as_ref().ok_or(ExternalFault::NoFolder)?;
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain {
            return Err(ExternalFault::Outside(location.into()));
        }
        let path = base.join(relative);
        if let Some(bytes) = self.open.get(&path) {
            return Ok(bytes.clone());
        }
        let trouble = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ExternalFault::Missing(location.into()),
            _ => ExternalFault::Io { file: location.into(), error },
        };
        let real = path.canonicalize().map_err(trouble)?;
        if !self.allowed.iter().any(|folder| real.starts_with(folder)) {
            return Err(ExternalFault::Outside(location.into()));
        }
        if !real.is_file() {
            let error = io::Error::other("not a regular file");
            return Err(ExternalFault::Io { file: location.into(), error });
        }
        let bytes = files.open(&real).map_err(trouble)?;
        self.bytes += bytes.len() as u64;
        self.open.insert(path, bytes.clone());
        Ok(bytes)
    }
}

/// Bytes that type and dimensions ask for.
fn needed(tensor: &TensorProto) -> Option<u64> {
    let dtype = DType::from_code(tensor.data_type())?;
    let dims: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let count = count(&dims)?;
    u64::try_from(dtype.byte_len(count)?).ok()
}

fn size(key: &'static str, text: Option<&str>) -> Result<Option<u64>, ExternalFault> {
    text.map(|t| t.trim().parse().map_err(|_| ExternalFault::Number { key, value: t.into() })).transpose()
}
