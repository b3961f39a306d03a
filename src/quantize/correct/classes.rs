//! Tensors whose channels can be measured in another unit each without the function changing.
//!
//! Divide channel `c` of a tensor by `s[c]`: what makes the tensor has to make it that much smaller, what reads it has
//! to take it that much larger, and what passes it on ties the next tensor to the same units. A class is closed under
//! that: its members are all tensors tied to one another, its makers are weights and parameters that are divided, its
//! readers are weights that are multiplied. What does not commute with a positive factor per channel, or shows the
//! tensor to the outside, rules the class out.

use rustc_hash::FxHashSet;

use crate::ir::{DType, Graph, Key, NodeId, OpKind, ScopeId, User, ValueId};
use crate::ops::{CallView, Channels, def};

/// Tensors that share the unit of each of their channels.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// How many channels there are.
    pub(super) size: usize,
    /// The tensors and the axis of their channels.
    pub(super) members: Vec<(ValueId, usize)>,
    /// Constants that are divided by a channel's factor.
    pub(super) makers: Vec<Part>,
    /// Constants that are multiplied by it.
    pub(super) readers: Vec<Part>,
    /// Those of them that are weights of layers.
    pub(super) layers: Vec<Layer>,
    /// Upper bounds of `Clip`, with what they bound.
    pub(super) ceilings: Vec<(f64, ValueId)>,
    /// Whether a maker is a parameter of a normalization or a product by channel, rather than a layer's weight.
    pub(super) is_parametric: bool,
}

/// A constant operand, and where a class's channels are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) node: NodeId,
    pub(super) slot: usize,
    pub(super) place: Place,
}

/// A layer that reads a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Its weight.
    pub(super) weight: Part,
    /// The weight's axis of outputs.
    pub(super) outputs: usize,
    /// What it reads, and the axis of channels.
    pub(super) input: (ValueId, usize),
}

/// Where channels are in a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Along this axis, all of them.
    Axis(usize),
    /// A weight's: along `axis`, group by group where `other`, the axis of the layer's other channels, counts them all.
    Grouped { axis: usize, other: usize, groups: usize },
}

/// The class of `value`'s channels along `axis`. `None` where they are tied to something that cannot follow.
pub(super) fn class(graph: &Graph, value: ValueId, axis: usize) -> Option<Class> {
    let size = size_of(graph, value, axis)?;
    let mut found = Class {
        size,
        members: Vec::new(),
        makers: Vec::new(),
        readers: Vec::new(),
        layers: Vec::new(),
        ceilings: Vec::new(),
        is_parametric: false,
    };
    let mut seen: FxHashSet<ValueId> = FxHashSet::default();
    let mut passed: FxHashSet<NodeId> = FxHashSet::default();
    let mut next = vec![(value, axis)];
    while let Some((value, axis)) = next.pop() {
        if !seen.insert(value) {
            if !found.members.contains(&(value, axis)) {
                return None;
            }
            continue;
        }
        if size_of(graph, value, axis)? != size || graph.value(value).ty.dtype() != Some(DType::F32) {
            return None;
        }
        found.members.push((value, axis));
        let (maker, 0) = graph.producer(value)? else { return None };
        if !found.is_made(graph, maker, axis)? && passed.insert(maker) {
            next.extend(found.passes(graph, maker, axis)?);
        }
        for &user in graph.value(value).users() {
            let User::Node(node, slot) = user else { return None };
            let call = CallView::new(graph, node);
            if call.node().scope() != ScopeId::MAIN {
                return None;
            }
            if matches!(call.node().op, OpKind::Shape | OpKind::Size) || found.is_read(&call, slot, axis)? {
                continue;
            }
            let result_axis = axis_behind(&call, slot, axis)?;
            if passed.insert(node) {
                next.extend(found.passes(graph, node, result_axis)?);
            }
        }
    }
    (!found.layers.is_empty() && !found.makers.is_empty()).then_some(found)
}

impl Class {
    /// Whether `node`, whose result 0 is a member, is where the class begins; `None` where it can be no part of one.
    fn is_made(&mut self, graph: &Graph, node: NodeId, axis: usize) -> Option<bool> {
        let call = CallView::new(graph, node);
        let op = call.node().op;
        match channels_of(&call) {
            Channels::Mixed { weight, out_axis, in_axis, groups, output, bias, .. } if is_layer(op) => {
                if output != axis {
                    return None;
                }
                let place = Place::Grouped { axis: out_axis, other: in_axis, groups };
                // A transposed convolution counts a group's outputs only.
                let place = if op == OpKind::ConvTranspose { place } else { Place::Axis(out_axis) };
                self.add(graph, node, weight, place)?;
                if let Some(bias) = bias {
                    let last = call.rank(bias)?.checked_sub(1)?;
                    self.add(graph, node, bias, Place::Axis(last))?;
                }
                Some(true)
            }
            Channels::Normalized { axes, groups: 1, parameters } if axes[..] == [axis] => {
                if !matches!(op, OpKind::LayerNormalization | OpKind::RMSNormalization) || !call.has(1) {
                    return None;
                }
                for slot in parameters.into_iter().filter(|&slot| call.has(slot)) {
                    let last = call.rank(slot)?.checked_sub(1)?;
                    self.add(graph, node, slot, Place::Axis(last))?;
                }
                self.is_parametric = true;
                Some(true)
            }
            _ if op == OpKind::Mul => match factor(&call, axis) {
                Some((slot, place)) => {
                    self.add(graph, node, slot, place)?;
                    self.is_parametric = true;
                    Some(true)
                }
                None => None,
            },
            _ => Some(false),
        }
    }

    /// Whether `call`, whose operand `slot` is a member, is where the class ends; `None` where it can be no part of one.
    fn is_read(&mut self, call: &CallView<'_>, slot: usize, axis: usize) -> Option<bool> {
        let op = call.node().op;
        match channels_of(call) {
            Channels::Mixed { weight, out_axis, in_axis, groups, input, .. } if is_layer(op) => {
                if input != (slot, axis) {
                    return None;
                }
                let place = Place::Grouped { axis: in_axis, other: out_axis, groups };
                let place = if op == OpKind::ConvTranspose { Place::Axis(in_axis) } else { place };
                let part = Part { node: call.id(), slot: weight, place };
                self.fits(call.graph(), part)?;
                self.readers.push(part);
                self.layers.push(Layer { weight: part, outputs: out_axis, input: (call.operand(slot)?, axis) });
                Some(true)
            }
            _ if op == OpKind::Mul => {
                let (other, place) = factor(call, call.result_dims(0)?.len() - call.rank(slot)? + axis)?;
                let part = Part { node: call.id(), slot: other, place };
                self.fits(call.graph(), part)?;
                self.readers.push(part);
                Some(true)
            }
            _ => Some(false),
        }
    }

    /// What `node`, which commutes with factors along `axis` of its result 0, ties together.
    fn passes(&mut self, graph: &Graph, node: NodeId, axis: usize) -> Option<Vec<(ValueId, usize)>> {
        const SIDE: Key<&str> = Key::new("mode", "constant");
        const PLACES: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
        let call = CallView::new(graph, node);
        let mut tied = vec![(graph.result(node, 0)?, axis)];
        let rank = call.result_dims(0)?.len();
        match call.node().op {
            OpKind::Relu | OpKind::LeakyRelu | OpKind::Identity | OpKind::Neg | OpKind::Abs => {
                tied.push((call.operand(0)?, axis));
            }
            OpKind::PRelu => {
                call.constant(1)?;
                tied.push((call.operand(0)?, axis));
            }
            OpKind::Clip => {
                let low = if call.has(1) { call.constant(1)?.item()? } else { f64::NEG_INFINITY };
                let high = if call.has(2) { call.constant(2)?.item()? } else { f64::INFINITY };
                // Another lower bound than none and zero would have to follow each channel.
                if !(low == 0.0 || low == f64::NEG_INFINITY) || high <= 0.0 || high.is_nan() {
                    return None;
                }
                if high.is_finite() {
                    self.ceilings.push((high, graph.result(node, 0)?));
                }
                tied.push((call.operand(0)?, axis));
            }
            OpKind::Add | OpKind::Sub => {
                for slot in 0..2 {
                    let operand_rank = call.rank(slot)?;
                    let axis = (axis + operand_rank).checked_sub(rank);
                    if call.constant(slot).is_some() {
                        self.add(graph, node, slot, Place::Axis(axis?))?;
                    } else {
                        tied.push((call.operand(slot)?, axis?));
                    }
                }
            }
            OpKind::Concat => {
                let Channels::Joined { axis: joined } = channels_of(&call) else { return None };
                if joined == axis {
                    return None;
                }
                for slot in 0..call.operand_count() {
                    tied.push((call.operand(slot)?, axis));
                }
            }
            op => {
                let is_padding = op == OpKind::Pad && (SIDE.of(call.node()) != "constant" || !call.has(2));
                let is_resizing = op == OpKind::Resize && PLACES.of(call.node()) != "tf_crop_and_resize";
                if !is_homogeneous(op) && !is_padding && !is_resizing {
                    return None;
                }
                let Channels::Moved(axes) = channels_of(&call) else { return None };
                tied.push((call.operand(0)?, (*axes.get(axis)?)?));
            }
        }
        Some(tied)
    }

    fn add(&mut self, graph: &Graph, node: NodeId, slot: usize, place: Place) -> Option<()> {
        let part = Part { node, slot, place };
        self.fits(graph, part)?;
        self.makers.push(part);
        Some(())
    }

    /// Whether a constant has an element, or slice, for each channel.
    fn fits(&self, graph: &Graph, part: Part) -> Option<()> {
        let tensor = graph.constant(graph.operand(part.node, part.slot)?)?;
        let size = match part.place {
            Place::Axis(axis) => *tensor.dims().get(axis)?,
            Place::Grouped { axis, groups, .. } => tensor.dims().get(axis)?.checked_mul(groups)?,
        };
        (tensor.dtype() == DType::F32 && size == self.size).then_some(())
    }
}

fn channels_of(call: &CallView<'_>) -> Channels {
    (def(call.node().op).channels)(call)
}

/// Layers whose weights can take factors: they are linear and have no activation inside.
fn is_layer(op: OpKind) -> bool {
    matches!(op, OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul)
}

/// Data movement, and reductions to which a positive factor of all elements is the same before or after.
fn is_homogeneous(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::MaxPool
            | OpKind::AveragePool
            | OpKind::GlobalMaxPool
            | OpKind::GlobalAveragePool
            | OpKind::ReduceMean
            | OpKind::ReduceMax
            | OpKind::ReduceMin
            | OpKind::ReduceSum
            | OpKind::Reshape
            | OpKind::Flatten
            | OpKind::Squeeze
            | OpKind::Unsqueeze
            | OpKind::Transpose
            | OpKind::Slice
    )
}

/// The constant operand of a product that has one element for each index along `axis` of its result.
fn factor(call: &CallView<'_>, axis: usize) -> Option<(usize, Place)> {
    let dims = call.result_dims(0)?;
    let slot = (0..2).find(|&slot| call.constant(slot).is_some())?;
    let constant = call.constant(slot)?;
    let axis_there = (axis + constant.rank()).checked_sub(dims.len())?;
    let spans = constant.dims().iter().enumerate().all(|(at, &n)| at == axis_there || n == 1);
    // The other operand keeps its shape.
    let same_rank = call.rank(1 - slot)? == dims.len();
    (spans && same_rank).then_some((slot, Place::Axis(axis_there)))
}

/// The axis of result 0 where `axis` of operand `slot` goes.
fn axis_behind(call: &CallView<'_>, slot: usize, axis: usize) -> Option<usize> {
    match channels_of(call) {
        Channels::Moved(axes) if slot == 0 => axes.iter().position(|&from| from == Some(axis)),
        Channels::Tied => (call.result_dims(0)?.len() + axis).checked_sub(call.rank(slot)?),
        Channels::Joined { .. } => Some(axis),
        _ => None,
    }
}

fn size_of(graph: &Graph, value: ValueId, axis: usize) -> Option<usize> {
    usize::try_from(graph.value(value).ty.shape().dims()?.get(axis)?.known()?).ok().filter(|&n| n > 0)
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::Executor;
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::model::Model;
    use crate::passes::infer_declared;
    use crate::quantize::correct::factors::apply;
    use crate::random::Random;
    use crate::text::parse;

    fn model(text: &str) -> Model {
        let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
        infer_declared(&mut model.graph);
        model
    }

    fn of(model: &Model, name: &str, axis: usize) -> Option<Class> {
        let g = &model.graph;
        class(g, g.values().find(|&v| g.value_label(v) == name).unwrap(), axis)
    }

    /// The class of `name`'s channels, whose units are changed; outputs are the same but for rounding.
    fn preserved(text: &str, name: &str, axis: usize, input: &[usize]) -> Class {
        let float = model(text);
        let class = of(&float, name, axis).unwrap();
        let factors: Vec<f64> = (0..class.size).map(|c| [0.25, 3.0, 0.8, 10.0][c % 4]).collect();
        let mut changed = float.clone();
        apply(&mut changed.graph, &class, &factors).unwrap();
        let mut random = Random::new(1, "classes");
        let elements: Vec<f32> = (0..input.iter().product()).map(|_| random.normal() as f32).collect();
        let feed = [("x".to_string(), Tensor::f32s(input, &elements).unwrap())];
        let run = |model: &Model| Tract.load(model).unwrap().run(&feed).unwrap()[0].reals().unwrap();
        let (a, b) = (run(&float), run(&changed));
        let largest = a.iter().fold(0f64, |m, x| m.max(x.abs()));
        assert!(largest > 0.0 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * largest), "{a:?} {b:?}");
        class
    }

    #[test]
    fn between_convolutions_weights_and_biases_take_the_units() {
        let class = preserved(
            "g (float[1,2,3,3] x) => (float[1,2,2,2] y)
            <float[3,2,1,1] w = {1, 2, -3, 4, 5, 6}, float[3] b = {1, -2, 3},
             float[2,3,2,2] v = {1,2,3,4,5,6,7,8,9,1,2,3,4,-5,6,7,8,9,1,2,3,4,5,6}>
            { a = Conv(x, w, b)
              r = LeakyRelu(a)
              y = Conv(r, v) }",
            "r",
            1,
            &[1, 2, 3, 3],
        );
        assert_eq!((class.size, class.members.len(), class.makers.len(), class.readers.len()), (3, 2, 2, 1));
        assert!(!class.is_parametric);
    }

    #[test]
    fn a_residual_sum_ties_both_ways_and_a_depthwise_convolution_parts_them() {
        let class = preserved(
            "g (float[1,2,3,3] x) => (float[1,1,1,1] y)
            <float[2,2,1,1] w = {1, 2, -3, 4}, float[2] b = {1, -2}, float[2,1,3,3] d = {1,2,3,4,5,6,7,8,9,1,2,3,4,-5,6,7,8,9},
             float[2,2,1,1] u = {2, 1, 1, -4}, float[1,2,1,1] v = {3, -2}, float[2,1,1] k = {0.5, 2}>
            { a = Conv(x, w, b)
              e = Conv <group = 2, pads = [1, 1, 1, 1]> (a, d)
              f = Relu(e)
              h = Conv(f, u)
              s = Add(a, h)
              t = Sub(s, k)
              p = GlobalAveragePool(t)
              y = Conv(p, v) }",
            "s",
            1,
            &[1, 2, 3, 3],
        );
        // a, h, s, t and p; made by w with b, u and k; read by d and v.
        assert_eq!((class.members.len(), class.makers.len(), class.layers.len()), (5, 4, 2));
    }

    #[test]
    fn groups_and_transposed_weights_are_read_by_their_own_channels() {
        preserved(
            "g (float[1,2,3,3] x) => (float[1,4,3,3] y)
            <float[4,2,1,1] w = {1, 2, -3, 4, 5, 6, 7, 8}, float[4,2,1,1] v = {1, -2, 3, 4, -5, 6, 7, -8}>
            { a = Conv(x, w)
              r = Relu(a)
              y = Conv <group = 2> (r, v) }",
            "r",
            1,
            &[1, 2, 3, 3],
        );
        preserved(
            "g (float[1,4,2,2] x) => (float[1,2,2,2] y)
            <float[4,2,1,1] w = {1, 2, -3, 4, 5, 6, 7, 8}, float[4,1,1,1] u = {2, 1, 1, -4}, float[2,4,1,1] v = {1, -2, 3, 4, -5, 6, 7, -8}>
            { a = ConvTranspose <group = 2> (x, w)
              r = Relu(a)
              b = ConvTranspose <group = 4> (r, u)
              y = Conv(b, v) }",
            "r",
            1,
            &[1, 4, 2, 2],
        );
    }

    #[test]
    fn behind_a_normalization_its_parameters_take_the_units() {
        let class = preserved(
            "g (float[2,3] x) => (float[2,2] y)
            <float[3] scale = {1, 2, 3}, float[3] bias = {1, 0, -1}, float[3,2] w = {1, 2, 3, 4, 5, 6}, float[3,2] v = {1,-1,1,2,1,1}>
            { n = LayerNormalization(x, scale, bias)
              a = MatMul(n, w)
              b = Gemm(n, v)
              y = Add(a, b) }",
            "n",
            1,
            &[2, 3],
        );
        assert!(class.is_parametric && class.layers.len() == 2 && class.makers.len() == 2);
        let class = preserved(
            "g (float[2,3] x) => (float[2,2] y)
            <float[3] k = {1, 2, 3}, float[3] c = {1, 0, -1}, float[3,2] w = {1, 2, 3, 4, 5, 6}>
            { m = Mul(x, k)
              n = Add(m, c)
              y = MatMul(n, w) }",
            "n",
            1,
            &[2, 3],
        );
        assert!(class.is_parametric && class.makers.len() == 2);
    }

    #[test]
    fn a_bound_is_noted() {
        let text = |low: &str| {
            format!(
                "g (float[1,2] x) => (float[1,2] y)
                <float[2,2] w = {{1, 2, 3, 4}}, float[2,2] v = {{1, 2, 3, 4}}, float low = {{{low}}}, float six = {{6}}>
                {{ a = MatMul(x, w)
                  c = Clip(a, low, six)
                  y = MatMul(c, v) }}"
            )
        };
        assert_eq!(of(&model(&text("0")), "c", 1).unwrap().ceilings[0].0, 6.0);
        assert!(of(&model(&text("-1")), "c", 1).is_none());
    }

    #[test]
    fn what_does_not_follow_rules_a_class_out() {
        let with = |rest: &str| {
            of(
                &model(&format!(
                    "g (float[1,2] x) => (float[1,2] y)
                    <float[2,2] w = {{1, 2, 3, 4}}, float[2,2] v = {{1, 2, 3, 4}}, float one = {{1}}>
                    {{ a = MatMul(x, w)
                      {rest} }}"
                )),
                "a",
                1,
            )
        };
        assert!(with("y = MatMul(a, v)").is_some());
        for rest in [
            "s = Sigmoid(a) y = MatMul(s, v)",
            "s = Softmax(a) y = MatMul(s, v)",
            "s = Add(a, one) y = MatMul(s, v)",
            "s = Mul(a, a) y = MatMul(s, v)",
            "s = Add(a, x) y = MatMul(s, v)",
            "y = Relu(a)",
            "b = MatMul(a, v) y = Add(b, a)",
            "b = Transpose(a) s = Add(a, b) y = MatMul(s, v)",
        ] {
            assert!(with(rest).is_none(), "{rest}");
        }
    }
}
