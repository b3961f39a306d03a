//! Of which calls a row of a policy speaks.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ir::{Attr, Int, Key, OpKind};
use crate::ops::slice::permutation;
use crate::ops::window::{AUTO_PAD, GROUP};
use crate::ops::{CallView, Channels, Quant, row_of, schema};

/// What has to hold of a call. Sizes that only a run tells are taken to be large enough.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// Operands in these slots are computed.
    pub computed: Vec<usize>,
    /// Operands in these slots are constant.
    pub constant: Vec<usize>,
    /// Operands in these slots are left out.
    pub absent: Vec<usize>,
    /// Operands in these slots are not.
    pub given: Vec<usize>,
    /// How many groups of channels the weight has.
    pub group: Option<Groups>,
    /// The weight's input channels, within a group.
    pub in_at_least: Option<i64>,
    /// The weight's output channels.
    pub out_at_least: Option<i64>,
    /// The larger of both.
    pub either_at_least: Option<i64>,
    /// The same, where it must not be more.
    pub either_at_most: Option<i64>,
    /// The output channels are a multiple of this.
    pub out_multiple: Option<i64>,
    /// Input or output channels are a multiple of this.
    pub either_multiple: Option<i64>,
    /// The weight's window.
    pub kernel: Option<Kernel>,
    /// Every side of the window.
    pub kernel_at_least: Option<i64>,
    /// Of what slides a window: some places of it may lie beyond the operand's borders.
    pub padded: Option<bool>,
    /// Operand 0 is an input of the model.
    pub first: Option<bool>,
    /// Operand 0 comes from an input, along first operands, without a convolution or a product before.
    pub first_layer: Option<bool>,
    /// No result is an output of the model.
    pub inner: Option<bool>,
    /// The rank of operand 0.
    pub rank_at_least: Option<usize>,
    /// The rank of operand 0.
    pub rank_at_most: Option<usize>,
    /// The last but one size of the result, or the product of all but the last.
    pub rows_at_least: Option<i64>,
    /// The same, where it must not be more: what only a run tells is.
    pub rows_at_most: Option<i64>,
    /// The last size of the result.
    pub columns_at_least: Option<i64>,
    /// Of a `Transpose`: only the last two axes change places.
    pub turned: Option<bool>,
    /// Of a `Transpose`, or of a view of what one makes: how many numbers that stand beside one another stay so.
    pub run_at_least: Option<i64>,
    /// The same, where it must not be more: what only a run tells is.
    pub run_at_most: Option<i64>,
    /// Operand 0 is what a `Softmax` makes, moved or not: shares, none of them negative.
    pub shares: Option<bool>,
    /// The opset that is written.
    pub opset_at_least: Option<i64>,
    /// Attributes have these values; an absent one has ONNX's default.
    pub attributes: BTreeMap<String, Value>,
    /// Of a `Clip`, the least number.
    pub clip_from: Option<f64>,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text, or any of several.
    Text(String),
    /// Any of these.
    Texts(Vec<String>),
}

/// How many groups of channels a weight has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// One.
    One,
    /// More.
    Many,
    /// One for each input channel.
    Depthwise,
    /// One for each input channel, with one output channel.
    Single,
}

/// What a weight's window looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// All sides are equal.
    Square,
}

const MIN: Key<f32> = Key::new("min", f32::NEG_INFINITY);

impl Condition {
    /// Why it does not hold of `call` in a model of `opset`; `None` where it holds.
    pub fn fails(&self, call: &CallView<'_>, opset: i64) -> Option<String> {
        self.operands(call)
            .or_else(|| self.weight(call))
            .or_else(|| self.moved(call))
            .or_else(|| self.sizes(call, opset))
            .or_else(|| self.attributes(call))
    }

    fn operands(&self, call: &CallView<'_>) -> Option<String> {
        let is_constant = |slot: usize| call.is_weight(slot);
        if let Some(slot) = self.computed.iter().find(|&&s| !call.has(s) || is_constant(s)) {
            return Some(format!("operand {slot} is constant"));
        }
        if let Some(slot) = self.constant.iter().find(|&&s| call.has(s) && !is_constant(s)) {
            return Some(format!("operand {slot} is computed"));
        }
        if let Some(slot) = self.absent.iter().find(|&&s| call.has(s)) {
            return Some(format!("operand {slot} is given"));
        }
        if let Some(slot) = self.given.iter().find(|&&s| !call.has(s)) {
            return Some(format!("operand {slot} is left out"));
        }
        let graph = call.graph();
        let is_input = call.operand(0).is_some_and(|v| graph.producer(v).is_none() && graph.constant(v).is_none());
        if self.first.is_some_and(|first| first != is_input) {
            let what = if is_input { "it reads an input of the model" } else { "it reads no input of the model" };
            return Some(what.into());
        }
        let is_output = graph.results(call.id()).iter().flatten().any(|&v| graph.is_output(v));
        if self.inner.is_some_and(|inner| inner == is_output) {
            return Some("its result is an output of the model".into());
        }
        if self.first_layer.is_some_and(|first| first == follows_layer(call)) {
            let what =
                if self.first_layer == Some(true) { "there is a layer before it" } else { "it is the first layer" };
            return Some(what.into());
        }
        if self.shares.is_some_and(|shares| shares != has_shares(call)) {
            let what =
                if self.shares == Some(true) { "no Softmax makes its operand" } else { "a Softmax makes its operand" };
            return Some(what.into());
        }
        None
    }

    /// What is asked of how a `Transpose` moves numbers.
    fn moved(&self, call: &CallView<'_>) -> Option<String> {
        if self.turned.is_none() && self.run_at_least.is_none() && self.run_at_most.is_none() {
            return None;
        }
        let Some(call) = transposing(call) else { return Some("no Transpose moves its numbers".into()) };
        let Some(axes) = permutation(&call) else { return Some("where it moves numbers is not known".into()) };
        let stays = axes.iter().enumerate().rev().take_while(|&(to, &from)| to == from).count();
        let is_turned = match axes[..] {
            [ref batch @ .., a, b] => {
                (a, b) == (axes.len() - 1, axes.len() - 2) && batch.iter().enumerate().all(|(to, &from)| to == from)
            }
            _ => false,
        };
        if self.turned.is_some_and(|turned| turned != is_turned) {
            let what = if is_turned { "its last two axes change places" } else { "other axes than its last two move" };
            return Some(what.into());
        }
        let dims = call.dims(0).map(|dims| &dims[dims.len() - stays..]);
        let run = dims.and_then(|dims| dims.iter().try_fold(1i64, |n, d| n.checked_mul(d.known()?)));
        if let Some(least) = self.run_at_least.filter(|&least| run.is_some_and(|run| run < least)) {
            return Some(format!("fewer than {least} numbers stay beside one another"));
        }
        if let Some(most) = self.run_at_most.filter(|&most| run.is_none_or(|run| run > most)) {
            return Some(format!("more than {most} numbers stay beside one another"));
        }
        None
    }

    /// What is asked of the weight.
    fn weight(&self, call: &CallView<'_>) -> Option<String> {
        let is_asked = self.group.is_some()
            || self.kernel.is_some()
            || [
                self.in_at_least,
                self.out_at_least,
                self.either_at_least,
                self.either_at_most,
                self.out_multiple,
                self.either_multiple,
                self.kernel_at_least,
            ]
            .iter()
            .any(Option::is_some);
        if !is_asked {
            return None;
        }
        let (weight, axis) = match (row_of(call.node()).quant)(call) {
            Quant::Kernel { weight, axis } => (weight, axis),
            _ => return Some("its weight is computed".into()),
        };
        let Some(dims) = call.dims(weight) else { return Some("the shape of its weight is not known".into()) };
        let size = |axis: usize| dims.get(axis).and_then(Int::known).unwrap_or(i64::MAX);
        let in_axis = match (row_of(call.node()).channels)(call) {
            Channels::Mixed { in_axis, .. } => in_axis,
            _ => return Some("its channels are not known".into()),
        };
        let groups = GROUP.of(call.node());
        let (inputs, outputs) = (size(in_axis), size(axis));
        match self.group {
            Some(Groups::One) if groups != 1 => return Some("its channels are in groups".into()),
            Some(Groups::Many) if groups == 1 => return Some("its channels are in one group".into()),
            Some(Groups::Depthwise) if groups == 1 || inputs != 1 => return Some("it is not depthwise".into()),
            Some(Groups::Single) if groups == 1 || inputs != 1 || outputs != groups => {
                return Some("its groups have more than one channel".into());
            }
            _ => {}
        }
        let few = |what: &str, least: i64| Some(format!("it has fewer than {least} {what} channels"));
        if let Some(least) = self.in_at_least.filter(|&least| inputs < least) {
            return few("input", least);
        }
        if let Some(least) = self.out_at_least.filter(|&least| outputs < least) {
            return few("output", least);
        }
        if let Some(least) = self.either_at_least.filter(|&least| inputs.max(outputs) < least) {
            return few("input and output", least);
        }
        if let Some(most) = self.either_at_most.filter(|&most| inputs.max(outputs) > most) {
            return Some(format!("it has more than {most} input or output channels"));
        }
        let odd = |n: i64, multiple: i64| n.checked_rem(multiple) != Some(0);
        if let Some(multiple) = self.out_multiple.filter(|&m| odd(outputs, m)) {
            return Some(format!("its output channels are no multiple of {multiple}"));
        }
        if let Some(multiple) = self.either_multiple.filter(|&m| odd(outputs, m) && odd(inputs, m)) {
            return Some(format!("neither input nor output channels are a multiple of {multiple}"));
        }
        let window = dims.get(2..).unwrap_or_default();
        if self.kernel == Some(Kernel::Square) && window.windows(2).any(|pair| pair[0] != pair[1]) {
            return Some("its window is not square".into());
        }
        if let Some(least) = self.kernel_at_least.filter(|&l| window.iter().any(|d| d.known().is_some_and(|d| d < l))) {
            return Some(format!("its window has fewer than {least} places along an axis"));
        }
        None
    }

    fn sizes(&self, call: &CallView<'_>, opset: i64) -> Option<String> {
        let rank = call.rank(0);
        if self.rank_at_least.is_some_and(|least| rank.is_some_and(|rank| rank < least))
            || self.rank_at_most.is_some_and(|most| rank.is_some_and(|rank| rank > most))
        {
            return Some(format!("its operand has {} dimensions", rank.unwrap_or_default()));
        }
        if let Some([batch @ .., columns]) = call.result_dims(0) {
            let small = |n: Option<i64>, least: Option<i64>| least.filter(|&least| n.is_some_and(|n| n < least));
            let rows = batch.iter().try_fold(1i64, |n, d| n.checked_mul(d.known()?));
            if let Some(least) = small(rows, self.rows_at_least) {
                return Some(format!("its result has fewer than {least} rows"));
            }
            if let Some(most) = self.rows_at_most.filter(|&most| rows.is_none_or(|rows| rows > most)) {
                return Some(format!("its result has more than {most} rows"));
            }
            if let Some(least) = small(columns.known(), self.columns_at_least) {
                return Some(format!("its result has fewer than {least} columns"));
            }
        }
        self.opset_at_least.filter(|&least| opset < least).map(|least| format!("that takes opset {least}"))
    }

    fn attributes(&self, call: &CallView<'_>) -> Option<String> {
        for (name, wanted) in &self.attributes {
            let attr = call.node().attr(name).cloned().or_else(|| default_of(call.node().op, name));
            let holds = match (wanted, attr) {
                (Value::Int(n), Some(Attr::Int(m))) => *n == m,
                (Value::Float(n), Some(Attr::Float(m))) => (*n as f32) == m,
                (Value::Int(n), Some(Attr::Float(m))) => (*n as f32) == m,
                (Value::Text(text), Some(Attr::Str(s))) => text.as_bytes() == &*s,
                (Value::Texts(texts), Some(Attr::Str(s))) => texts.iter().any(|text| text.as_bytes() == &*s),
                _ => false,
            };
            if !holds {
                return Some(format!("its {name} is another"));
            }
        }
        if self.padded.is_some_and(|padded| padded != is_padded(call)) {
            let what = if self.padded == Some(true) { "it is not padded" } else { "it is padded" };
            return Some(what.into());
        }
        if let Some(from) = self.clip_from {
            let least = match call.has(1) {
                true => call.constant(1).and_then(|t| t.item()),
                false => Some(f64::from(MIN.of(call.node()))),
            };
            if least != Some(from) {
                return Some(format!("it does not clip at {from}"));
            }
        }
        None
    }
}

/// Whether a window's places may lie beyond the borders of operand 0.
fn is_padded(call: &CallView<'_>) -> bool {
    let by_hand = matches!(call.node().attr("pads"), Some(Attr::Ints(pads)) if pads.iter().any(|&pad| pad != 0));
    match AUTO_PAD.of(call.node()).as_ref() {
        "NOTSET" | "" => by_hand,
        way => way != "VALID",
    }
}

/// The `Transpose` whose result `call` views, or which it is.
fn transposing<'g>(call: &CallView<'g>) -> Option<CallView<'g>> {
    use OpKind::{Flatten, Identity, Reshape, Squeeze, Transpose, Unsqueeze};
    let graph = call.graph();
    let mut at = call.id();
    for _ in 0..MOVES {
        match graph.node(at).op {
            Transpose => return Some(CallView::new(graph, at)),
            Flatten | Identity | Reshape | Squeeze | Unsqueeze => at = graph.producer(graph.operand(at, 0)?)?.0,
            _ => return None,
        }
    }
    None
}

/// Whether a convolution or a product stands before `call`, along first operands; where an input is too far, none does.
fn follows_layer(call: &CallView<'_>) -> bool {
    use OpKind::{Conv, ConvTranspose, Gemm, MatMul};
    let graph = call.graph();
    let mut at = call.operand(0);
    for _ in 0..FAR {
        let Some((maker, _)) = at.and_then(|value| graph.producer(value)) else { return false };
        if matches!(graph.node(maker).op, Conv | ConvTranspose | Gemm | MatMul) {
            return true;
        }
        at = graph.operand(maker, 0);
    }
    false
}

/// How many calls are looked past on the way to an input.
const FAR: usize = 64;

/// Whether operand 0 is what a `Softmax` makes, moved or not.
fn has_shares(call: &CallView<'_>) -> bool {
    use OpKind::{Identity, Reshape, Softmax, Squeeze, Transpose, Unsqueeze};
    let graph = call.graph();
    let mut at = call.operand(0);
    for _ in 0..MOVES {
        let Some((maker, _)) = at.and_then(|value| graph.producer(value)) else { return false };
        match graph.node(maker).op {
            Softmax => return true,
            Identity | Reshape | Squeeze | Transpose | Unsqueeze => at = graph.operand(maker, 0),
            _ => return false,
        }
    }
    false
}

/// How many moves are looked past.
const MOVES: usize = 4;

/// What ONNX says that an absent attribute is.
fn default_of(op: OpKind, name: &str) -> Option<Attr> {
    match schema::newest("", op.name())?.attr(name)?.default {
        schema::Default::Int(n) => Some(Attr::Int(n)),
        schema::Default::Float(x) => Some(Attr::Float(x)),
        schema::Default::Str(text) => Some(Attr::Str(text.as_bytes().into())),
        _ => None,
    }
}
