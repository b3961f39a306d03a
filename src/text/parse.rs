//! Text to the file format's messages: models, graphs, functions and nodes.
//!
//! The grammar is that of `onnx.parser`. Beyond it: a quoted name may stand wherever a name stands, a list of
//! tensors or graphs keeps its elements, 2- and 4-bit elements are packed as the format asks, and a tensor that is
//! declared without data where a weight belongs is filled ([`super::fill`]).

use rustc_hash::FxHashSet;

use crate::ir::{DType, count};
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::text::lexer::{Lexer, SyntaxError, Token};

/// How deep graphs, and types, may be nested.
pub(super) const MAX_DEPTH: usize = 64;

/// What a text without a header is taken for.
const DEFAULT_IR_VERSION: i64 = 10;
const DEFAULT_OPSET: i64 = 21;

type Parsed<T> = Result<T, SyntaxError>;

/// Parse a whole text: an optional header, a graph, functions.
pub(super) fn model(text: &str) -> Parsed<ModelProto> {
    let mut parser = Parser::new(text)?;
    let mut model = ModelProto { ir_version: Some(DEFAULT_IR_VERSION), ..ModelProto::default() };
    parser.header(&mut model)?;
    model.graph = Some(parser.graph()?);
    while parser.token != Token::End {
        model.functions.push(parser.function()?);
    }
    if model.opset_import.is_empty() {
        model.opset_import.push(opset("", DEFAULT_OPSET));
        let mut domains = Vec::new();
        model.graph.iter().for_each(|g| collect_domains(&g.node, &mut domains));
        model.functions.iter().for_each(|f| collect_domains(&f.node, &mut domains));
        domains.sort_unstable();
        domains.dedup();
        let imports = domains.into_iter().filter(|d| !d.is_empty()).map(|domain| opset(domain, 1)).collect::<Vec<_>>();
        model.opset_import.extend(imports);
    }
    for function in &mut model.functions {
        if function.opset_import.is_empty() {
            function.opset_import.clone_from(&model.opset_import);
        }
    }
    Ok(model)
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

fn collect_domains<'m>(nodes: &'m [NodeProto], domains: &mut Vec<&'m str>) {
    for node in nodes {
        domains.push(node.domain());
        bodies(node).for_each(|body| collect_domains(&body.node, domains));
    }
}

/// The graphs among the node's attributes.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// A parser with one token in hand.
pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    pub(super) token: Token<'t>,
    /// Where the token in hand starts.
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Bytes that weights without data may still take.
    pub(super) fillable: usize,
}

/// What stands between `<` and `>` after a graph's outputs, and the inputs' defaults, in order.
enum Declared {
    Weight(Box<TensorProto>),
    Sparse(Box<SparseTensorProto>),
    /// Without data, and the place where it stands.
    Value(usize, Box<ValueInfoProto>),
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Parsed<Parser<'t>> {
        let mut lexer = Lexer::new(text);
        let (at, token) = lexer.next()?;
        Ok(Parser { lexer, token, at, depth: 0, fillable: super::fill::MAX_BYTES })
    }

    /// An error at byte `at`.
    pub(super) fn error_at<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(SyntaxError::new(self.lexer.text, at, message.into()))
    }

    /// An error at the token in hand: `wanted` was expected.
    pub(super) fn expected<T>(&self, wanted: &str) -> Parsed<T> {
        self.error_at(self.at, format!("expected {wanted}, found {}", self.token))
    }

    /// The token in hand; the next one takes its place.
    pub(super) fn advance(&mut self) -> Parsed<Token<'t>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    pub(super) fn is(&self, mark: char) -> bool {
        self.token == Token::Mark(mark)
    }

    /// Step over `mark` if it is in hand.
    pub(super) fn eat(&mut self, mark: char) -> Parsed<bool> {
        let is = self.is(mark);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    /// Step over `mark`, which must be in hand.
    pub(super) fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark)? { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }

    /// Step over the end of a list: `mark`, or a comma was forgotten.
    pub(super) fn close(&mut self, mark: char) -> Parsed<()> {
        if self.eat(mark)? { Ok(()) } else { self.expected(&format!("`,` or `{mark}`")) }
    }

    /// `item`s separated by commas up to `close`; there may be none.
    pub(super) fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.eat(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.eat(',')? {
                return self.close(close);
            }
        }
    }

    /// A name, bare or quoted; `what` says of what.
    pub(super) fn name(&mut self, what: &str) -> Parsed<String> {
        match &self.token {
            Token::Ident(name) => {
                let name = (*name).to_string();
                self.advance()?;
                Ok(name)
            }
            Token::Str(name) => {
                let name = name.to_string();
                self.advance()?;
                Ok(name)
            }
            _ => self.expected(what),
        }
    }

    /// A string between quotes; `what` says which.
    pub(super) fn string(&mut self, what: &str) -> Parsed<String> {
        if matches!(self.token, Token::Str(_)) { self.name(what) } else { self.expected(what) }
    }

    /// A whole number; `what` says which.
    pub(super) fn integer(&mut self, what: &str) -> Parsed<i64> {
        let Token::Int(text) = self.token else { return self.expected(what) };
        match text.parse() {
            Ok(number) => self.advance().map(|_| number),
            Err(_) => self.error_at(self.at, format!("{text} does not fit a 64-bit integer")),
        }
    }

    /// Run `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return self.error_at(self.at, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// `<ir_version: 10, opset_import: ["": 21], …>`
    fn header(&mut self, model: &mut ModelProto) -> Parsed<()> {
        if !self.eat('<')? {
            return Ok(());
        }
        self.list('>', |p| {
            let at = p.at;
            let key = p.name("a field of the model")?;
            p.mark(':')?;
            match key.as_str() {
                "ir_version" => model.ir_version = Some(p.integer("the IR version")?),
                "opset_import" => model.opset_import = p.opsets()?,
                "producer_name" => model.producer_name = Some(p.string("the producer's name in quotes")?),
                "producer_version" => model.producer_version = Some(p.string("the producer's version in quotes")?),
                "domain" => model.domain = Some(p.string("the domain in quotes")?),
                "model_version" => model.model_version = Some(p.integer("the model's version")?),
                "doc_string" => model.doc_string = Some(p.string("the documentation in quotes")?),
                "metadata_props" => model.metadata_props = p.properties()?,
                other => return p.error_at(at, format!("a model has no field `{other}`")),
            }
            Ok(())
        })
    }

    /// `["": 21, "com.microsoft": 1]`
    fn opsets(&mut self) -> Parsed<Vec<OperatorSetIdProto>> {
        let mut opsets = Vec::new();
        self.mark('[')?;
        self.list(']', |p| {
            let domain = p.string("a domain in quotes")?;
            p.mark(':')?;
            opsets.push(opset(&domain, p.integer("an opset version")?));
            Ok(())
        })?;
        Ok(opsets)
    }

    /// `["key": "value", …]`
    pub(super) fn properties(&mut self) -> Parsed<Vec<StringStringEntryProto>> {
        let mut entries = Vec::new();
        self.mark('[')?;
        self.list(']', |p| {
            let key = p.string("a key in quotes")?;
            p.mark(':')?;
            entries.push(StringStringEntryProto { key: Some(key), value: Some(p.string("a value in quotes")?) });
            Ok(())
        })?;
        Ok(entries)
    }

    /// `name (inputs) => (outputs) <weights and types> { nodes }`
    fn graph(&mut self) -> Parsed<GraphProto> {
        let name = self.name("the graph's name")?;
        self.graph_named(name)
    }

    /// The rest of a graph after its name.
    pub(super) fn graph_named(&mut self, name: String) -> Parsed<GraphProto> {
        self.nested(|p| {
            let mut graph = GraphProto { name: Some(name), ..GraphProto::default() };
            let mut declared = Vec::new();
            p.mark('(')?;
            p.list(')', |p| {
                let (at, value) = (p.at, p.value("an input")?);
                if p.is('=') {
                    declared.push(p.initializer(at, &value)?);
                }
                graph.input.push(value);
                Ok(())
            })?;
            p.arrow()?;
            p.mark('(')?;
            p.list(')', |p| p.value("an output").map(|v| graph.output.push(v)))?;
            if p.eat('<')? {
                p.list('>', |p| {
                    let (at, value) = (p.at, p.value("a weight or a value with its type")?);
                    declared.push(if p.is('=') {
                        p.initializer(at, &value)?
                    } else {
                        Declared::Value(at, Box::new(value))
                    });
                    Ok(())
                })?;
            }
            graph.node = p.nodes()?;
            p.settle(&mut graph, declared)?;
            Ok(graph)
        })
    }

    fn arrow(&mut self) -> Parsed<()> {
        if self.token != Token::Arrow {
            return self.expected("`=>`");
        }
        self.advance().map(|_| ())
    }

    /// `= data` after the value that is declared at byte `at`.
    fn initializer(&mut self, at: usize, value: &ValueInfoProto) -> Parsed<Declared> {
        self.mark('=')?;
        let Some(ty) = &value.r#type else { return self.error_at(at, "a weight needs a type before its name") };
        if let Some(type_proto::Value::SparseTensorType(ty)) = &ty.value {
            return self.sparse_data(at, ty, Some(value.name().into())).map(|t| Declared::Sparse(Box::new(t)));
        }
        self.tensor_data(at, ty, value.name()).map(|t| Declared::Weight(Box::new(t)))
    }

    /// Tell weights without data from types of results, and fill the weights.
    fn settle(&mut self, graph: &mut GraphProto, declared: Vec<Declared>) -> Parsed<()> {
        let mut made: FxHashSet<&str> = graph.input.iter().map(ValueInfoProto::name).collect();
        made.extend(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
        let mut read: FxHashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        collect_reads(&graph.node, &mut read);
        for item in declared {
            match item {
                Declared::Weight(tensor) => graph.initializer.push(*tensor),
                Declared::Sparse(tensor) => graph.sparse_initializer.push(*tensor),
                Declared::Value(at, value) if read.contains(value.name()) && !made.contains(value.name()) => {
                    let ty = value.r#type.clone().unwrap_or_default();
                    graph.initializer.push(self.filled(at, &ty, value.name())?);
                }
                Declared::Value(_, value) => graph.value_info.push(*value),
            }
        }
        Ok(())
    }

    /// `float[N,3] x`; the type may be left out.
    fn value(&mut self, what: &str) -> Parsed<ValueInfoProto> {
        let r#type = if self.at_type() { Some(self.ty()?) } else { None };
        let name = self.name(if r#type.is_some() { "a name" } else { what })?;
        Ok(ValueInfoProto { name: Some(name), r#type, ..ValueInfoProto::default() })
    }

    /// `{ nodes }`
    fn nodes(&mut self) -> Parsed<Vec<NodeProto>> {
        self.mark('{')?;
        let mut nodes = Vec::new();
        while !self.eat('}')? {
            if self.token == Token::End {
                return self.expected("a node or `}`");
            }
            nodes.push(self.node()?);
        }
        Ok(nodes)
    }

    /// `[name] y, z = domain.Op:overload <attributes> (x, , w)`; attributes may also stand last.
    fn node(&mut self) -> Parsed<NodeProto> {
        let mut node = NodeProto::default();
        if self.eat('[')? {
            node.name = Some(if self.is(']') { String::new() } else { self.name("the node's name")? });
            self.mark(']')?;
        }
        node.output = self.slots()?;
        if !self.eat('=')? {
            return self.expected(if node.output.is_empty() { "a node or `}`" } else { "`,` or `=`" });
        }
        let mut path = vec![self.name("an operator")?];
        while self.eat('.')? {
            path.push(self.name("the rest of the operator's name")?);
        }
        node.op_type = path.pop();
        node.domain = (!path.is_empty()).then(|| path.join("."));
        if self.eat(':')? {
            node.overload = Some(self.name("the overload's name")?);
        }
        node.attribute = self.attributes()?;
        if !self.eat('(')? {
            return self.expected("`(` and the operands");
        }
        node.input = self.slots()?;
        self.close(')')?;
        if node.attribute.is_empty() {
            node.attribute = self.attributes()?;
        }
        Ok(node)
    }

    /// Names separated by commas. Nothing before a comma, or `""`, is a slot that is left out.
    fn slots(&mut self) -> Parsed<Vec<String>> {
        let mut names = Vec::new();
        loop {
            match self.token {
                Token::Ident(_) | Token::Str(_) => names.push(self.name("a name")?),
                Token::Mark(',') => names.push(String::new()),
                _ => break,
            }
            if !self.eat(',')? {
                break;
            }
        }
        Ok(names)
    }

    /// `<axis = 1, …>`, or nothing.
    fn attributes(&mut self) -> Parsed<Vec<AttributeProto>> {
        let mut attributes = Vec::new();
        if self.eat('<')? {
            self.list('>', |p| p.attribute().map(|a| attributes.push(a)))?;
        }
        Ok(attributes)
    }

    /// `<domain: "d", opset_import: […]> name <attributes> (x) => (y) <types> { nodes }`
    fn function(&mut self) -> Parsed<FunctionProto> {
        let mut function = FunctionProto::default();
        if self.eat('<')? {
            self.list('>', |p| {
                let at = p.at;
                let key = p.name("a field of the function")?;
                p.mark(':')?;
                match key.as_str() {
                    "domain" => function.domain = Some(p.string("the domain in quotes")?),
                    "overload" => function.overload = Some(p.string("the overload in quotes")?),
                    "opset_import" => function.opset_import = p.opsets()?,
                    "doc_string" => function.doc_string = Some(p.string("the documentation in quotes")?),
                    other => return p.error_at(at, format!("a function has no field `{other}`")),
                }
                Ok(())
            })?;
        }
        function.name = Some(self.name("the function's name")?);
        if self.eat('<')? {
            self.list('>', |p| {
                let name = p.name("an attribute")?;
                if p.is(':') || p.is('=') {
                    function.attribute_proto.push(p.attribute_named(name)?);
                } else {
                    function.attribute.push(name);
                }
                Ok(())
            })?;
        }
        let mut types = Vec::new();
        function.input = self.parameters(&mut types)?;
        self.arrow()?;
        function.output = self.parameters(&mut types)?;
        if self.eat('<')? {
            self.list('>', |p| p.value("a value with its type").map(|v| types.push(v)))?;
        }
        function.value_info = types;
        function.node = self.nodes()?;
        Ok(function)
    }

    /// `(x, float[N] y)`: names, and in `types` those that have one.
    fn parameters(&mut self, types: &mut Vec<ValueInfoProto>) -> Parsed<Vec<String>> {
        let mut names = Vec::new();
        self.mark('(')?;
        self.list(')', |p| {
            let value = p.value("a parameter")?;
            names.push(value.name().to_string());
            if value.r#type.is_some() {
                types.push(value);
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// The type and, where a tensor must have them, the sizes.
    pub(super) fn filled(&mut self, at: usize, ty: &TypeProto, name: &str) -> Parsed<TensorProto> {
        let (dtype, dims) = self.tensor_type(at, ty)?;
        let count = count(&dims);
        // A string, the only element without a fixed length, counts as a header and a few letters.
        let size = count.and_then(|n| if dtype == DType::String { n.checked_mul(40) } else { dtype.byte_len(n) });
        let Some(left) = size.and_then(|size| self.fillable.checked_sub(size)) else {
            return self.error_at(at, format!("weights without data may take {} bytes", super::fill::MAX_BYTES));
        };
        self.fillable = left;
        Ok(super::fill::tensor(name, dtype, &dims))
    }
}

/// Every name that the nodes and their bodies read.
fn collect_reads<'m>(nodes: &'m [NodeProto], read: &mut FxHashSet<&'m str>) {
    for node in nodes {
        read.extend(node.input.iter().map(String::as_str));
        for body in bodies(node) {
            read.extend(body.output.iter().map(ValueInfoProto::name));
            collect_reads(&body.node, read);
        }
    }
}
