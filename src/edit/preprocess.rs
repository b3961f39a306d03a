//! What a caller does with an image before it is the model's input becomes part of the model.
//!
//! The new input, under the old name, takes what a camera or a decoder gives: bytes, channels last, in another order,
//! of another size. Behind it stand, in this order and as far as they are asked for, a `Transpose`, a `Gather` of the
//! channels, a `Cast`, a `Resize`, and `(x − mean/scale) · scale/std`. The multiplication stands last, as the optimizer
//! moves it into the weights of a convolution whatever its padding is.

use rustc_hash::FxHashSet;

use super::EditFault;
use crate::exec::Layout;
use crate::interface::TypeText;
use crate::ir::{DType, Graph, Int, OpKind, ScopeId, Shape, Tensor, Type, ValueId};
use crate::ops::infer_node;

/// The size of the images that a caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    /// This height and width.
    Fixed(usize, usize),
    /// Any, and another for each run.
    Any,
}

/// What to do with an input: `(x · scale − mean) / std` of what the caller passes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// The input; none for the only one.
    pub input: Option<String>,
    /// One for each channel or one for all; empty for 0.
    pub mean: Vec<f64>,
    /// One for each channel or one for all; empty for 1.
    pub std: Vec<f64>,
    /// What an element is multiplied by first.
    pub scale: f64,
    /// The type that the caller passes; none for the model's own.
    pub dtype: Option<DType>,
    /// The layout that the caller passes.
    pub layout: Layout,
    /// The layout that the model takes.
    pub model_layout: Layout,
    /// Whether the caller passes the channels in the opposite order: BGR to a model of RGB.
    pub swapped: bool,
    /// The size of the caller's images, where it is another than the model's.
    pub size: Option<ImageSize>,
}

impl Default for Preprocess {
    fn default() -> Preprocess {
        Preprocess {
            input: None,
            mean: Vec::new(),
            std: Vec::new(),
            scale: 1.0,
            dtype: None,
            layout: Layout::Nchw,
            model_layout: Layout::Nchw,
            swapped: false,
            size: None,
        }
    }
}

impl Preprocess {
    /// Whether elements are computed with, and not only moved.
    fn computes(&self) -> bool {
        !self.mean.is_empty() || !self.std.is_empty() || self.scale != 1.0 || self.size.is_some()
    }

    /// Whether it matters which axis is which.
    fn is_of_image(&self) -> bool {
        self.layout != self.model_layout
            || self.swapped
            || self.size.is_some()
            || self.mean.len() > 1
            || self.std.len() > 1
    }
}

/// Put what is asked for in front of an input.
///
/// # Errors
/// When the input is not there or is not such an image.
pub(super) fn preprocess(graph: &mut Graph, asked: &Preprocess) -> Result<(), EditFault> {
    let old = find(graph, asked)?;
    let name = graph.value(old).name.to_string();
    let unfit = |why: String| EditFault::Unfit { what: format!("input \"{name}\""), why };
    let ty = graph.value(old).ty.clone();
    let said = TypeText(&ty).to_string();
    let Type::Tensor { dtype: Some(dtype), shape } = &ty else { return Err(unfit(format!("it is {said}, no tensor"))) };
    let dtype = *dtype;
    if graph.value(old).default().is_some() {
        return Err(unfit("callers may leave it out".into()));
    }
    let passed = asked.dtype.unwrap_or(dtype);
    if asked.computes() && !matches!(dtype, DType::F32 | DType::F16 | DType::F64 | DType::BF16) {
        return Err(unfit(format!("it is {said}, and only floats are computed with")));
    }
    let dims = shape.dims().map(<[Int]>::to_vec);
    let is_image = dims.as_ref().is_some_and(|d| d.len() == 4);
    if asked.is_of_image() && !is_image {
        return Err(unfit(format!("it is {said}, which has no four dimensions")));
    }
    let dims = dims.ok_or_else(|| unfit(format!("it is {said}, of unknown rank")))?;
    let (mean, factor) = normalization(asked, &dims).map_err(unfit)?;

    let mut given = dims.clone();
    let height = asked.model_layout.height();
    if let Some(size) = asked.size {
        let [h, w] = match size {
            ImageSize::Fixed(h, w) => [Int::from(h), Int::from(w)],
            ImageSize::Any => ["height", "width"].map(|axis| Int::named(format!("{name}_{axis}"))),
        };
        let own = dims[height..height + 2].iter().map(Int::known).collect::<Option<Vec<i64>>>();
        if own.is_none() {
            return Err(unfit(format!("it is {said}: there is no size to resize to")));
        }
        (given[height], given[height + 1]) = (h, w);
    }
    // From the caller's layout to the model's, and the sizes the other way.
    let perm: Option<[usize; 4]> = match (asked.layout, asked.model_layout) {
        (Layout::Nhwc, Layout::Nchw) => Some([0, 3, 1, 2]),
        (Layout::Nchw, Layout::Nhwc) => Some([0, 2, 3, 1]),
        _ => None,
    };
    let given = match perm {
        None => given,
        Some(perm) => {
            let mut before = given.clone();
            for (to, &from) in perm.iter().enumerate() {
                before[from] = given[to].clone();
            }
            before
        }
    };
    let new = graph.add_input(ScopeId::MAIN, &name, Type::tensor(passed, Shape::of(given)));
    let mut chain = Chain { graph, at: new };
    if let Some(perm) = perm {
        chain.call(OpKind::Transpose, &[], &[("perm", perm.iter().map(|&p| p as i64).collect::<Vec<_>>().into())]);
    }
    if asked.swapped {
        let count = dims[asked.model_layout.channels()].known();
        let count = count.filter(|&n| n <= 64).ok_or_else(|| unfit(format!("it is {said}: how many channels?")))?;
        let reversed =
            chain.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&(0..count).rev().collect::<Vec<_>>()));
        let axis = asked.model_layout.channels() as i64;
        chain.call(OpKind::Gather, &[Some(reversed)], &[("axis", axis.into())]);
    }
    if passed != dtype {
        chain.call(OpKind::Cast, &[], &[("to", i64::from(dtype.code()).into())]);
    }
    if asked.size.is_some() {
        resize(&mut chain, asked.model_layout, &dims)
            .ok_or_else(|| unfit(format!("it is {said}: not all sizes are known")))?;
    }
    for (op, operand, neutral) in [(OpKind::Sub, mean, 0.0), (OpKind::Mul, factor, 1.0)] {
        if operand.iter().all(|&x| x == neutral) {
            continue;
        }
        let shape: Vec<usize> = match operand.len() {
            1 => Vec::new(),
            n if asked.model_layout == Layout::Nchw => vec![n, 1, 1],
            n => vec![n],
        };
        let tensor = Tensor::rounded(dtype, &shape, &operand).map_err(|e| unfit(e.to_string()))?;
        let constant = chain.graph.add_constant(ScopeId::MAIN, "", tensor);
        chain.call(op, &[Some(constant)], &[]);
    }
    let result = chain.at;
    while let Some(&user) = graph.value(old).users().last() {
        graph.replace_use(user, result);
        // The chain itself does not read the old input, so this ends.
    }
    let place = graph.scope(ScopeId::MAIN).inputs().iter().position(|&i| i == old).unwrap_or_default();
    graph.remove_input(ScopeId::MAIN, place);
    // It stands last, and goes where the old one stood; which have been before that, a sort leaves in order.
    let before: FxHashSet<ValueId> = graph.scope(ScopeId::MAIN).inputs()[..place].iter().copied().collect();
    let rank = |input: &ValueId| match before.contains(input) {
        true => 0,
        false if *input == new => 1,
        false => 2,
    };
    graph.sort_inputs(ScopeId::MAIN, rank);
    Ok(())
}

fn find(graph: &Graph, asked: &Preprocess) -> Result<ValueId, EditFault> {
    let inputs = graph.scope(ScopeId::MAIN).inputs();
    let known = || inputs.iter().map(|&i| format!("\"{}\"", graph.value(i).name)).collect::<Vec<_>>();
    match &asked.input {
        Some(name) => inputs
            .iter()
            .copied()
            .find(|&i| *graph.value(i).name == **name)
            .ok_or_else(|| crate::interface::ShapeFault::NoInput { input: name.clone(), known: known() }.into()),
        None => match inputs {
            [input] => Ok(*input),
            _ => Err(EditFault::WhichOne { what: "--preprocess", known: known() }),
        },
    }
}

/// What to subtract and what to multiply by then.
fn normalization(asked: &Preprocess, dims: &[Int]) -> Result<(Vec<f64>, Vec<f64>), String> {
    let channels = dims.get(asked.model_layout.channels()).and_then(Int::known);
    for (what, list) in [("mean", &asked.mean), ("std", &asked.std)] {
        if list.len() > 1 && channels.is_some_and(|n| usize::try_from(n) != Ok(list.len())) {
            return Err(format!("it has {} channels, {what} has {}", channels.unwrap_or_default(), list.len()));
        }
    }
    let all = asked.mean.iter().chain(&asked.std).chain([&asked.scale]);
    if all.into_iter().any(|x| !x.is_finite()) || asked.scale == 0.0 || asked.std.contains(&0.0) {
        return Err("mean, std and scale are to be finite, and std and scale not 0".into());
    }
    let mean: Vec<f64> = asked.mean.iter().map(|m| m / asked.scale).collect();
    let factor: Vec<f64> = match &asked.std[..] {
        [] => vec![asked.scale],
        std => std.iter().map(|s| asked.scale / s).collect(),
    };
    Ok((if mean.is_empty() { vec![0.0] } else { mean }, factor))
}

/// Linear interpolation between the centres of pixels, to the model's size.
fn resize(chain: &mut Chain<'_>, layout: Layout, dims: &[Int]) -> Option<()> {
    let height = layout.height();
    // Batch and channels stay; where their sizes are open they are asked for in the run.
    let mut sizes = Vec::with_capacity(dims.len());
    let shape = chain.at;
    for (axis, dim) in dims.iter().enumerate() {
        let is_resized = (height..height + 2).contains(&axis);
        match dim.known() {
            Some(n) => sizes.push(chain.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[n]))),
            None if is_resized => return None,
            None => {
                let shape = chain.add(OpKind::Shape, &[Some(shape)], &[]);
                let axis = i64::try_from(axis).ok()?;
                let axis = chain.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[axis]));
                sizes.push(chain.add(OpKind::Gather, &[Some(shape), Some(axis)], &[]));
            }
        }
    }
    let known: Option<Vec<i64>> = dims.iter().map(Int::known).collect();
    let sizes = match known {
        Some(known) => chain.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&known)),
        None => {
            let operands: Vec<Option<ValueId>> = sizes.into_iter().map(Some).collect();
            chain.add(OpKind::Concat, &operands, &[("axis", 0.into())])
        }
    };
    let attrs = [("mode", "linear".into()), ("coordinate_transformation_mode", "half_pixel".into())];
    chain.call(OpKind::Resize, &[None, None, Some(sizes)], &attrs);
    Some(())
}

/// Calls one behind the other.
struct Chain<'g> {
    graph: &'g mut Graph,
    at: ValueId,
}

impl Chain<'_> {
    /// Call `op` with what there is so far and `others`; its result is what there is then.
    fn call(&mut self, op: OpKind, others: &[Option<ValueId>], attrs: &[(&'static str, crate::ir::Attr)]) {
        let operands: Vec<Option<ValueId>> = [Some(self.at)].into_iter().chain(others.iter().copied()).collect();
        self.at = self.add(op, &operands, attrs);
    }

    fn add(&mut self, op: OpKind, operands: &[Option<ValueId>], attrs: &[(&'static str, crate::ir::Attr)]) -> ValueId {
        let node = self.graph.add_node(ScopeId::MAIN, op, operands, 1, 0);
        for (name, attr) in attrs {
            self.graph.set_attr(node, *name, attr.clone());
        }
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("it was made with a result")
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::{Executor, Session, tract::Tract};
    use crate::model::Model;
    use crate::text;

    const CONV: &str = "g (float[n,2,2,2] x, float[2] other) => (float[n,2,2,2] y) { h = Relu(x)  y = Identity(h) }";

    fn model(graph: &str) -> Model {
        text::parse(&format!("<ir_version: 8, opset_import: [\"\" : 17]> {graph}")).unwrap()
    }

    fn asked() -> Preprocess {
        Preprocess { input: Some("x".into()), ..Preprocess::default() }
    }

    #[test]
    fn pixels_are_normalized_in_the_model_s_order() {
        let mut m = model(CONV);
        let bgr = Preprocess {
            mean: vec![1.0, 2.0],
            std: vec![2.0, 4.0],
            scale: 0.5,
            dtype: Some(DType::U8),
            layout: Layout::Nhwc,
            swapped: true,
            ..asked()
        };
        preprocess(&mut m.graph, &bgr).unwrap();
        let inputs = m.graph.scope(ScopeId::MAIN).inputs().to_vec();
        assert_eq!(TypeText(&m.graph.value(inputs[0]).ty).to_string(), "uint8[n,2,2,2]");
        assert_eq!((&*m.graph.value(inputs[0]).name, &*m.graph.value(inputs[1]).name), ("x", "other"));
        let mut session: Box<dyn Session> = Tract.load(&m).unwrap();
        let pixels = Tensor::raw(DType::U8, &[1, 2, 2, 2], vec![10, 20, 30, 40, 50, 60, 70, 80].into()).unwrap();
        let other = Tensor::f32s(&[2], &[0.0, 0.0]).unwrap();
        let y = session.run(&[("x".into(), pixels), ("other".into(), other)]).unwrap();
        // Channel 0 of the model is the second byte: (20 · 0.5 − 1) / 2.
        assert_eq!(y[0].reals().unwrap(), [4.5, 9.5, 14.5, 19.5, 0.75, 3.25, 5.75, 8.25]);
    }

    #[test]
    fn what_is_no_such_image_is_refused() {
        let refused =
            |graph: &str, asked: Preprocess| preprocess(&mut model(graph).graph, &asked).unwrap_err().to_string();
        let two = || vec![1.0, 2.0, 3.0];
        for (graph, asked, why) in [
            (
                CONV,
                Preprocess { input: None, ..asked() },
                "--preprocess does not say which of \"x\", \"other\" it is for",
            ),
            (
                CONV,
                Preprocess { input: Some("q".into()), ..asked() },
                "the model has no input \"q\"; its inputs are \"x\", \"other\"",
            ),
            (
                CONV,
                Preprocess { mean: two(), ..asked() },
                "input \"x\" cannot be prepared so: it has 2 channels, mean has 3",
            ),
            (
                CONV,
                Preprocess { std: vec![0.0], ..asked() },
                "input \"x\" cannot be prepared so: mean, std and scale are to be finite, and std and scale not 0",
            ),
            (
                "g (int64[2] x) => (int64[2] y) { y = Abs(x) }",
                Preprocess { scale: 2.0, ..asked() },
                "input \"x\" cannot be prepared so: it is int64[2], and only floats are computed with",
            ),
            (
                "g (float[2] x) => (float[2] y) { y = Abs(x) }",
                Preprocess { layout: Layout::Nhwc, ..asked() },
                "input \"x\" cannot be prepared so: it is float[2], which has no four dimensions",
            ),
            (
                "g (float[1,3,h,w] x) => (float[1,3,h,w] y) { y = Abs(x) }",
                Preprocess { size: Some(ImageSize::Any), ..asked() },
                "input \"x\" cannot be prepared so: it is float[1,3,h,w]: there is no size to resize to",
            ),
        ] {
            assert_eq!(refused(graph, asked), why);
        }
    }
}
