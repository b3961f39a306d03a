//! The file format's messages to text.
//!
//! Every line but a body's frame stands for one thing: a weight, a node, an attribute that holds a body. What a line
//! is about follows as a comment: the types of a node's results, the sum of a weight that is too large to spell out.

use std::borrow::Cow;
use std::fmt::Write;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::DType;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto, ValueInfoProto,
};
use crate::ops::schema::{self, Schema};
use crate::text::declared::{comment, is_declared};
use crate::text::parse::{MAX_DEPTH, bodies};
use crate::text::spell::{is_plain_name, name, quoted, schema_word, ty};
use crate::text::{ATTRIBUTE_TYPES, tensors};

/// Where the comment of a line begins, counted from the line's indentation.
const COMMENT_COLUMN: usize = 40;
/// Inputs and outputs, or attributes, that take more columns have each a line.
const MAX_COLUMNS: usize = 110;

/// What comments say of the results of a graph, by name.
type Comments<'m> = FxHashMap<&'m str, &'m str>;

/// The whole text of a model that [`declared::mark`](super::declared::mark) has been through.
pub(super) fn model(model: &ModelProto) -> String {
    let mut printer = Printer { out: String::new(), opsets: &model.opset_import };
    printer.header(model);
    if let Some(graph) = &model.graph {
        printer.graph(graph, &name(graph.name()), 0);
        printer.out.push('\n');
    }
    for function in &model.functions {
        printer.function(function);
    }
    printer.out
}

struct Printer<'m> {
    out: String,
    opsets: &'m [OperatorSetIdProto],
}

impl Printer<'_> {
    fn header(&mut self, model: &ModelProto) {
        let mut fields = vec![format!("ir_version: {}", model.ir_version()), opsets(&model.opset_import)];
        let mut say = |key: &str, value: &Option<String>| {
            fields.extend(value.as_ref().map(|value| format!("{key}: {}", quoted(value))));
        };
        say("producer_name", &model.producer_name);
        say("producer_version", &model.producer_version);
        say("domain", &model.domain);
        say("doc_string", &model.doc_string);
        fields.extend(model.model_version.map(|version| format!("model_version: {version}")));
        if !model.metadata_props.is_empty() {
            let entry =
                |e: &crate::onnx::proto::StringStringEntryProto| format!("{}: {}", quoted(e.key()), quoted(e.value()));
            fields.push(format!("metadata_props: [{}]", join(model.metadata_props.iter().map(entry))));
        }
        let _ = writeln!(self.out, "<{}>", fields.join(", "));
    }

    /// One line at `depth`, with its comment.
    fn line(&mut self, depth: usize, text: &str, comment: &str) {
        let indent = 2 * depth;
        if comment.is_empty() {
            let _ = writeln!(self.out, "{:indent$}{text}", "");
        } else {
            let _ = writeln!(self.out, "{:indent$}{text:<COMMENT_COLUMN$} # {}", "", one_line(comment));
        }
    }

    /// A graph from its name on, which stands on a line already begun at `depth`; without the last line break.
    fn graph(&mut self, graph: &GraphProto, name: &str, depth: usize) {
        let input_names: FxHashSet<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
        let (defaults, weights): (Vec<_>, Vec<_>) =
            graph.initializer.iter().partition(|t| input_names.contains(t.name()));
        let defaults: FxHashMap<&str, &TensorProto> = defaults.into_iter().map(|t| (t.name(), t)).collect();
        self.interface(name, graph, &defaults, depth);
        let mut lead = '<';
        let mut entries: Vec<(String, String)> = weights.into_iter().map(weight).collect();
        entries.extend(graph.sparse_initializer.iter().map(|s| {
            let values = s.values.as_ref().map(TensorProto::name).unwrap_or_default();
            (format!("{} {} = {}", sparse_type(s), self::name(values), sparse_data(s)), String::new())
        }));
        let declared = graph.value_info.iter().filter(|v| is_declared(v));
        entries.extend(declared.map(|v| (typed(v), String::new())));
        for (text, comment) in entries {
            self.line(depth, &format!("{lead} {text}"), &comment);
            lead = ',';
        }
        if lead == ',' {
            self.line(depth, ">", "");
        }
        let infos = graph.value_info.iter().chain(&graph.output);
        self.nodes(&graph.node, &infos.filter_map(|v| Some((v.name(), comment(v)?))).collect(), depth);
    }

    fn interface(&mut self, name: &str, graph: &GraphProto, defaults: &FxHashMap<&str, &TensorProto>, depth: usize) {
        let input = |v: &ValueInfoProto| match defaults.get(v.name()) {
            Some(tensor) => {
                let (data, comment) = tensors::contents(tensor);
                (format!("{} = {}", typed(v), data.unwrap_or_else(|| "{}".into())), comment)
            }
            None => (typed(v), String::new()),
        };
        let inputs: Vec<(String, String)> = graph.input.iter().map(input).collect();
        let outputs: Vec<String> = graph.output.iter().map(typed).collect();
        let short = format!("{name} ({}) => ({})", join(inputs.iter().map(|(text, _)| text)), outputs.join(", "));
        if short.len() <= MAX_COLUMNS && inputs.iter().all(|(_, comment)| comment.is_empty()) {
            let _ = writeln!(self.out, "{short}");
            return;
        }
        let _ = writeln!(self.out, "{name} (");
        let last = inputs.len().saturating_sub(1);
        for (i, (text, comment)) in inputs.iter().enumerate() {
            self.line(depth + 1, &format!("{text}{}", if i < last { "," } else { "" }), comment);
        }
        self.line(depth, ") => (", "");
        let last = outputs.len().saturating_sub(1);
        for (i, text) in outputs.iter().enumerate() {
            self.line(depth + 1, &format!("{text}{}", if i < last { "," } else { "" }), "");
        }
        self.line(depth, ")", "");
    }

    fn nodes(&mut self, nodes: &[NodeProto], comments: &Comments<'_>, depth: usize) {
        self.line(depth, "{", "");
        for node in nodes {
            self.node(node, comments, depth + 1);
        }
        let indent = 2 * depth;
        let _ = write!(self.out, "{:indent$}}}", "");
    }

    fn node(&mut self, node: &NodeProto, comments: &Comments<'_>, depth: usize) {
        let mut head = match node.name() {
            "" => String::new(),
            name => format!("[{}] ", self::name(name)),
        };
        head.push_str(&slots(&node.output));
        head.push_str(" = ");
        head.push_str(&operator(node));
        let attributes = self.attributes(node);
        let mut about: Vec<String> = Vec::new();
        let types: Vec<Option<&str>> = node.output.iter().map(|r| comments.get(r.as_str()).copied()).collect();
        if types.iter().any(Option::is_some) {
            about.push(join(types.into_iter().map(|t| t.unwrap_or("?"))));
        }
        let operands = slots(&node.input);
        if bodies(node).next().is_none() {
            let (texts, comments): (Vec<String>, Vec<String>) = attributes.iter().map(|a| plain(a)).unzip();
            let list = if texts.is_empty() { String::new() } else { format!("<{}>", texts.join(", ")) };
            let line = format!("{head}{list}({operands})");
            if texts.is_empty() || line.len() <= MAX_COLUMNS {
                about.extend(comments.into_iter().filter(|c| !c.is_empty()));
                return self.line(depth, &line, &about.join("; "));
            }
        }
        self.line(depth, &format!("{head}({operands})<"), &about.join("; "));
        let last = attributes.len().saturating_sub(1);
        for (i, attribute) in attributes.into_iter().enumerate() {
            let end = if i < last { "," } else { "" };
            let indent = 2 * (depth + 1);
            match &attribute.g {
                Some(body) if attribute.graphs.is_empty() => {
                    let _ = write!(self.out, "{:indent$}{}=", "", label(attribute));
                    self.body(body, depth + 1);
                    let _ = writeln!(self.out, "{end}");
                }
                _ if !attribute.graphs.is_empty() => {
                    self.line(depth + 1, &format!("{}=[", label(attribute)), "");
                    for (i, body) in attribute.graphs.iter().enumerate() {
                        let _ = write!(self.out, "{:indent$}  ", "");
                        self.body(body, depth + 2);
                        let _ = writeln!(self.out, "{}", if i + 1 < attribute.graphs.len() { "," } else { "" });
                    }
                    self.line(depth + 1, &format!("]{end}"), "");
                }
                _ => {
                    let (text, comment) = plain(attribute);
                    self.line(depth + 1, &format!("{text}{end}"), &comment);
                }
            }
        }
        self.line(depth, ">", "");
    }

    /// A body's name is a label that nothing refers to, and the syntax does not let it be quoted.
    fn body(&mut self, body: &GraphProto, depth: usize) {
        let letters = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut label: String = body.name().chars().map(letters).collect();
        if !is_plain_name(&label) || schema_word(&label) {
            label.insert_str(0, "g_");
        }
        if depth > 2 * MAX_DEPTH {
            let _ = write!(self.out, "{label} () => () {{ }} # nested too deeply to be shown");
            return;
        }
        self.graph(body, &label, depth);
    }

    /// What differs from the operator's defaults, in the order of the specification.
    fn attributes<'n>(&self, node: &'n NodeProto) -> Vec<&'n AttributeProto> {
        let schema = self.schema(node);
        let place = |a: &AttributeProto| schema?.attrs.iter().position(|spec| spec.name == a.name());
        let is_default =
            |a: &AttributeProto| schema.and_then(|s| s.attr(a.name())).is_some_and(|spec| is_default(a, &spec.default));
        let mut attributes: Vec<&AttributeProto> = node.attribute.iter().filter(|a| !is_default(a)).collect();
        attributes.sort_by_key(|a| place(a).unwrap_or(usize::MAX));
        attributes
    }

    fn schema(&self, node: &NodeProto) -> Option<&'static Schema> {
        let plain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_string() };
        let domain = plain(node.domain());
        let import = self.opsets.iter().find(|o| plain(o.domain()) == domain)?;
        schema::lookup(&domain, node.op_type(), u32::try_from(import.version()).ok()?)
    }

    fn function(&mut self, function: &FunctionProto) {
        let mut fields = vec![format!("domain: {}", quoted(function.domain()))];
        fields.extend(function.overload.as_ref().map(|o| format!("overload: {}", quoted(o))));
        fields.push(opsets(&function.opset_import));
        fields.extend(function.doc_string.as_ref().map(|d| format!("doc_string: {}", quoted(d))));
        let mut attributes: Vec<String> = function.attribute.iter().map(|a| name(a).into_owned()).collect();
        attributes.extend(function.attribute_proto.iter().map(|a| plain(a).0));
        let attributes = if attributes.is_empty() { String::new() } else { format!(" <{}>", attributes.join(", ")) };
        let names = |list: &[String]| join(list.iter().map(|n| name(n)));
        let _ = write!(
            self.out,
            "<{}>\n{}{attributes} ({}) => ({})\n",
            fields.join(", "),
            name(function.name()),
            names(&function.input),
            names(&function.output),
        );
        if !function.value_info.is_empty() {
            let _ = writeln!(self.out, "<{}>", join(function.value_info.iter().map(typed)));
        }
        let mut inner = Printer { out: std::mem::take(&mut self.out), opsets: &function.opset_import };
        inner.nodes(&function.node, &Comments::default(), 0);
        self.out = inner.out;
        self.out.push('\n');
    }
}

fn join(parts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    parts.into_iter().fold(String::new(), |mut all, part| {
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(part.as_ref());
        all
    })
}

fn opsets(imports: &[OperatorSetIdProto]) -> String {
    let import = |o: &OperatorSetIdProto| format!("{}: {}", quoted(o.domain()), o.version());
    format!("opset_import: [{}]", join(imports.iter().map(import)))
}

/// A comment ends with its line.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ").into() } else { text.into() }
}

/// Operands or results; a slot that is left out is nothing before a comma, or `""` at the end.
fn slots(names: &[String]) -> String {
    let last = names.len().saturating_sub(1);
    let mut out = String::new();
    for (i, slot) in names.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if !slot.is_empty() || i == last {
            out.push_str(&name(slot));
        }
    }
    out
}

fn operator(node: &NodeProto) -> String {
    let mut path = String::new();
    if !node.domain().is_empty() {
        if node.domain().split('.').all(is_plain_name) {
            path.push_str(node.domain());
        } else {
            path.push_str(&quoted(node.domain()));
        }
        path.push('.');
    }
    let op = if is_plain_name(node.op_type()) { node.op_type().into() } else { Cow::from(quoted(node.op_type())) };
    path.push_str(&op);
    if !node.overload().is_empty() {
        path.push(':');
        path.push_str(&name(node.overload()));
    }
    path
}

/// `float[N,3] x`, or the name alone when the type is not known.
fn typed(value: &ValueInfoProto) -> String {
    match value.r#type.as_ref().and_then(ty) {
        Some(ty) => format!("{ty} {}", name(value.name())),
        None => name(value.name()).into_owned(),
    }
}

/// An initializer and its comment. Data that are not spelled out are left out.
fn weight(tensor: &TensorProto) -> (String, String) {
    let declared = format!("{} {}", tensors::ty(tensor), name(tensor.name()));
    let (data, comment) = tensors::contents(tensor);
    match data {
        Some(data) => (format!("{declared} = {data}"), comment),
        None => (declared, comment),
    }
}

fn sparse_type(sparse: &SparseTensorProto) -> String {
    let dims = sparse.dims.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let dtype = sparse.values.as_ref().and_then(|v| DType::from_code(v.data_type())).map_or("float", DType::name);
    format!("sparse_tensor({dtype}[{dims}])")
}

fn sparse_data(sparse: &SparseTensorProto) -> String {
    let part = |t: &Option<TensorProto>| t.as_ref().map(|t| format!("{} {}", tensors::ty(t), tensors::all(t)));
    format!("{{{}}}", join([&sparse.values, &sparse.indices].into_iter().filter_map(part)))
}

/// The name of an attribute, quoted where the syntax asks for it.
fn label(attribute: &AttributeProto) -> Cow<'_, str> {
    if is_plain_name(attribute.name()) { attribute.name().into() } else { quoted(attribute.name()).into() }
}

/// An attribute without bodies, and what a comment says of it.
fn plain(attribute: &AttributeProto) -> (String, String) {
    let kind = attribute.r#type();
    let label = label(attribute);
    if let Some(of_call) = &attribute.ref_attr_name {
        return (format!("{label}: {}=@{}", type_name(kind), name(of_call)), String::new());
    }
    let mut comments = Vec::new();
    let mut tensor = |t: &TensorProto| {
        let (data, comment) = tensors::contents(t);
        if !comment.is_empty() {
            comments.push(comment);
        }
        let label = if t.name().is_empty() { String::new() } else { format!(" {}", name(t.name())) };
        format!("{}{label} {}", tensors::ty(t), data.unwrap_or_else(|| "{}".into()))
    };
    let text = |s: &bytes::Bytes| quoted(&String::from_utf8_lossy(s));
    let list = |items: Vec<String>| match items.is_empty() {
        true => None,
        false => Some(format!("[{}]", items.join(", "))),
    };
    let value = match kind {
        AttributeType::Float => Some(float(attribute.f())),
        AttributeType::Int => Some(attribute.i().to_string()),
        AttributeType::String => Some(text(&attribute.s.clone().unwrap_or_default())),
        AttributeType::Tensor => attribute.t.as_ref().map(&mut tensor),
        AttributeType::TypeProto => attribute.tp.as_ref().and_then(ty),
        AttributeType::SparseTensor => {
            attribute.sparse_tensor.as_ref().map(|s| format!("{} {}", sparse_type(s), sparse_data(s)))
        }
        AttributeType::Floats => list(attribute.floats.iter().map(|&f| float(f)).collect()),
        AttributeType::Ints => list(attribute.ints.iter().map(i64::to_string).collect()),
        AttributeType::Strings => list(attribute.strings.iter().map(text).collect()),
        AttributeType::Tensors => list(attribute.tensors.iter().map(&mut tensor).collect()),
        AttributeType::TypeProtos => list(attribute.type_protos.iter().filter_map(ty).collect()),
        AttributeType::SparseTensors => {
            list(attribute.sparse_tensors.iter().map(|s| format!("{} {}", sparse_type(s), sparse_data(s))).collect())
        }
        AttributeType::Graph | AttributeType::Graphs | AttributeType::Undefined => None,
    };
    let text = match value {
        Some(value) => format!("{label}={value}"),
        None => format!("{label}: {}=[]", type_name(kind)),
    };
    (text, comments.join(", "))
}

fn type_name(kind: AttributeType) -> &'static str {
    ATTRIBUTE_TYPES.iter().find(|(_, k)| *k == kind).map_or("ints", |(name, _)| name)
}

/// The shortest text that reads back as the same float and not as an integer.
fn float(f: f32) -> String {
    if f.is_nan() { "nan".into() } else { format!("{f:?}") }
}

/// Whether the attribute says what its absence says.
fn is_default(attribute: &AttributeProto, default: &schema::Default) -> bool {
    use schema::Default;
    if attribute.ref_attr_name.is_some() {
        return false;
    }
    let kind = attribute.r#type();
    match *default {
        Default::None => false,
        Default::Int(i) => kind == AttributeType::Int && attribute.i() == i,
        Default::Float(f) => kind == AttributeType::Float && attribute.f().to_bits() == f.to_bits(),
        Default::Str(s) => kind == AttributeType::String && attribute.s.as_deref() == Some(s.as_bytes()),
        Default::Ints(i) => kind == AttributeType::Ints && attribute.ints == i,
        Default::Floats(f) => kind == AttributeType::Floats && attribute.floats == f,
        Default::Strings(s) => {
            kind == AttributeType::Strings
                && attribute.strings.iter().map(|b| &b[..]).eq(s.iter().map(|s| s.as_bytes()))
        }
    }
}
