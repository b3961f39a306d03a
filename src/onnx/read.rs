//! A file becomes a [`Model`].

use std::path::Path;

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::build::{Builder, Nodes, Source};
use super::error::{Fault, ReadError};
use super::external::Folder;
use super::options::{Defaults, Functions, ReadOptions};
use super::sparing::{self, Decoded};
use super::{carried, functions, names, recognize, spelling};
use crate::mapped::{self, Files};
use crate::model::{Model, OpsetImport};
use crate::ops::schema;

impl Model {
    /// Read the model at `path`; `-` is standard input.
    ///
    /// # Errors
    /// When the file cannot be opened, is not an ONNX model, or is not a well-formed one.
    pub fn read(path: impl AsRef<Path>) -> Result<Model, ReadError> {
        Model::read_with(path, &ReadOptions::default())
    }

    /// Read the model at `path`, as `options` say.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn read_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Model, ReadError> {
        let path = path.as_ref();
        let mut files = Files::default();
        if path.as_os_str() == "-" {
            let read = mapped::stdin().map_err(Fault::from).and_then(|b| parse(b, Folder::none(), files, options));
            return read.map_err(|fault| ReadError { file: "<stdin>".into(), fault });
        }
        let bytes = files.open(path).map_err(Fault::from);
        bytes
            .and_then(|bytes| parse(bytes, Folder::of(path), files, options))
            .map_err(|fault| ReadError { file: path.display().to_string(), fault })
    }

    /// Read a model from memory. External data is refused.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: impl Into<Bytes>, options: &ReadOptions) -> Result<Model, ReadError> {
        parse(bytes.into(), Folder::none(), Files::default(), options)
            .map_err(|fault| ReadError { file: "<memory>".into(), fault })
    }
}

fn parse(bytes: Bytes, mut folder: Folder, mut files: Files, options: &ReadOptions) -> Result<Model, Fault> {
    let size = bytes.len();
    if let Some(fault) = recognize::before(&bytes) {
        return Err(fault);
    }
    let decoded = sparing::decode(&bytes).map_err(|error| recognize::after(&bytes, &error))?;
    let Decoded { model: mut proto, rest, is_whole } = decoded;
    if proto.graph.is_none() {
        return Err(Fault::NoGraph);
    }
    let mut notes = Vec::new();
    if options.functions == Functions::Inlined {
        notes.extend(functions::inline(&mut proto)?);
    }
    let Some(mut graph) = proto.graph.take() else { return Err(Fault::NoGraph) };
    let ir_version = proto.ir_version();
    let opset_imports: Vec<OpsetImport> = proto
        .opset_import
        .iter()
        .map(|i| OpsetImport { domain: i.domain().to_string(), version: i.version() })
        .collect();
    let carried = carried::model(&proto);
    let mut model = Model { ir_version, opset_imports, carried, ..Model::default() };
    let nodes = match std::mem::take(&mut graph.node) {
        nodes if nodes.is_empty() => Nodes::Encoded(rest),
        nodes => Nodes::Decoded(nodes),
    };
    let opset = opset_of(&model, &nodes)?;
    let hidden: FxHashSet<String> =
        proto.functions.iter().filter(|f| names::domain(f.domain()).is_empty()).map(|f| f.name().to_string()).collect();
    let mut builder =
        Builder::new(Source { opset, ir_version, options, hidden, folder: &mut folder, files: &mut files });
    builder.main(graph, nodes)?;
    if !is_whole || !builder.is_whole {
        model.notes.extend(recognize::unknown_fields(&bytes));
    }
    if builder.frozen > 0 && options.defaults == Defaults::Meant {
        let what = match builder.frozen {
            1 => "an input with a default is a constant".to_string(),
            n => format!("{n} inputs with a default are constants"),
        };
        model.notes.push(format!("{what}, as the file lists every weight as an input; --keep-defaults keeps them"));
    }
    model.notes.append(&mut notes);
    model.ops = std::mem::take(&mut builder.ops).by_name();
    model.numbers = std::mem::take(&mut builder.numbers);
    model.graph = builder.graph;
    spelling::upgrade(&mut model.graph, opset);
    model.file_bytes = size as u64 + folder.bytes;
    model.files = files;
    // What was decoded has been copied, and what was not is read again where it is asked for.
    model.files.release();
    Ok(model)
}

/// The version of the default domain that the nodes follow.
fn opset_of(model: &Model, nodes: &Nodes) -> Result<u32, Fault> {
    let newest = i64::from(schema::NEWEST_OPSET);
    let import = model.opset_imports.iter().find(|i| names::domain(&i.domain).is_empty());
    let Some(import) = import else {
        // Before IR version 3 there were no imports, and one opset.
        let uses = model.ir_version >= 3 && nodes.any(|n| names::domain(n.domain()).is_empty())?;
        return if uses { Err(Fault::NoImport) } else { Ok(1) };
    };
    match u32::try_from(import.version) {
        Ok(version) if version >= 1 && import.version <= newest => Ok(version),
        _ => Err(Fault::UnknownOpset { domain: "ai.onnx", version: import.version, newest }),
    }
}
