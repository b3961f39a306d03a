//! Some rows of the matrix of patches that a layer reads on all samples, block by block.

use std::ops::Range;

use bytes::Bytes;
use ndarray::Array2;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use rustc_hash::FxHashMap;

use crate::gram::layer::Layer;
use crate::gram::places::Places;
use crate::ir::{DType, Tensor};
use crate::random::Random;

/// Rows that are made at a time.
pub const BLOCK: usize = 1024;

/// Rows that say enough: with more, sums hardly change.
pub const MOST_ROWS: usize = 12_000;

/// Picked rows of patches.
pub struct Patches<'a> {
    layer: &'a Layer,
    elements: Vec<Elements<'a>>,
    places: Vec<Places>,
    /// For each sample, which of `places` fit it.
    of_sample: Vec<usize>,
    /// Sample and row, ascending.
    picked: Vec<(usize, usize)>,
}

/// The elements of a tensor as they lie there.
enum Elements<'a> {
    Single(Bytes),
    Other(&'a Tensor),
}

impl Elements<'_> {
    fn of(tensor: &Tensor) -> Option<Elements<'_>> {
        match tensor.dtype() {
            DType::F32 => Some(Elements::Single(tensor.bytes()?)),
            DType::F16 | DType::BF16 | DType::F64 => Some(Elements::Other(tensor)),
            _ => None,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&dyn Fn(usize) -> f32) -> T) -> T {
        match self {
            Elements::Single(bytes) => {
                let elements = bytes.as_chunks::<4>().0;
                work(&|i| f32::from_le_bytes(elements[i]))
            }
            Elements::Other(tensor) => work(&|i| tensor.real(i).unwrap_or_default() as f32),
        }
    }
}

impl<'a> Patches<'a> {
    /// At most about `most` rows of what `layer` reads, where that is `tensors`: from every sample as many, spread over
    /// its places, which of them `seed` says. `None` where a tensor does not fit the layer.
    pub fn of(layer: &'a Layer, tensors: &'a [Tensor], most: usize, seed: u64) -> Option<Patches<'a>> {
        let mut known: FxHashMap<&[usize], usize> = FxHashMap::default();
        let (mut places, mut of_sample) = (Vec::new(), Vec::with_capacity(tensors.len()));
        for tensor in tensors {
            let index = match known.get(tensor.dims()) {
                Some(&index) => index,
                None => {
                    places.push(layer.places(tensor.dims())?);
                    known.insert(tensor.dims(), places.len() - 1);
                    places.len() - 1
                }
            };
            of_sample.push(index);
        }
        let elements = tensors.iter().map(Elements::of).collect::<Option<_>>()?;
        let mut random = Random::new(seed, "patches");
        let mut picked = Vec::new();
        for (sample, &index) in of_sample.iter().enumerate() {
            // Of the samples that are left, each gives its part of the rows that are left.
            let share = (most.saturating_sub(picked.len()) / (of_sample.len() - sample)).max(1);
            picked.extend(spread(places[index].rows, share, &mut random).map(|row| (sample, row)));
        }
        Some(Patches { layer, elements, places, of_sample, picked })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.picked.len()
    }

    /// Where all rows of a sample are.
    pub fn places(&self, sample: usize) -> &Places {
        &self.places[self.of_sample[sample]]
    }

    /// The rows in blocks.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows();
        (0..rows.div_ceil(BLOCK)).map(move |i| i * BLOCK..rows.min((i + 1) * BLOCK))
    }

    /// Patches of a group of channels, one per row.
    pub fn block(&self, rows: Range<usize>, group: usize) -> Array2<f32> {
        let (columns, first) = (self.layer.columns(), group * (self.layer.channels / self.layer.groups));
        self.read(rows, columns, |places, row, get, offsets, patch| places.patch(row, first, get, offsets, patch))
    }

    /// Tensors of the size of the layer's results, or of results of another number of outputs, read where the rows have
    /// theirs. `None` where they are of other sizes.
    pub fn results<'t>(&'t self, tensors: &'t [Tensor], outputs: usize) -> Option<Results<'t>> {
        let mut elements = Vec::with_capacity(tensors.len());
        for (sample, tensor) in tensors.iter().enumerate() {
            if sample >= self.of_sample.len() || tensor.len() != self.places(sample).rows.checked_mul(outputs)? {
                return None;
            }
            elements.push(Elements::of(tensor)?);
        }
        (elements.len() == self.of_sample.len()).then_some(Results { patches: self, elements, outputs })
    }

    fn read(
        &self,
        rows: Range<usize>,
        columns: usize,
        work: impl Fn(&Places, usize, &dyn Fn(usize) -> f32, &mut Vec<usize>, &mut [f32]) + Sync,
    ) -> Array2<f32> {
        let picked = &self.picked[rows];
        let mut block = Array2::zeros((picked.len(), columns));
        if let Some(slice) = block.as_slice_mut() {
            slice.par_chunks_mut(columns.max(1)).zip(picked.par_iter()).for_each_init(
                Vec::new,
                |offsets, (patch, &(sample, row))| {
                    self.elements[sample].with(|get| work(self.places(sample), row, get, offsets, patch));
                },
            );
        }
        block
    }
}

/// What tensors hold beside the rows of [`Patches`].
pub struct Results<'a> {
    patches: &'a Patches<'a>,
    elements: Vec<Elements<'a>>,
    outputs: usize,
}

impl Results<'_> {
    /// What these outputs are, one row for each row of patches. There are more outputs than the largest of them.
    pub fn block(&self, rows: Range<usize>, which: &[usize]) -> Array2<f32> {
        let picked = &self.patches.picked[rows];
        let mut block = Array2::zeros((picked.len(), which.len()));
        if let Some(slice) = block.as_slice_mut() {
            slice.par_chunks_mut(which.len().max(1)).zip(picked).for_each(|(target, &(sample, row))| {
                let places = self.patches.places(sample);
                let first = places.result(row, self.outputs);
                self.elements[sample].with(|get| {
                    for (target, &output) in target.iter_mut().zip(which) {
                        *target = get(first + output * places.output_stride);
                    }
                });
            });
        }
        block
    }
}

/// At most `most` of the numbers below `n`, ascending, one from each of as many equal parts.
fn spread(n: usize, most: usize, random: &mut Random) -> impl Iterator<Item = usize> {
    let count = n.min(most);
    (0..count).map(move |i| {
        let (low, high) = (i * n / count, (i + 1) * n / count);
        low + random.below((high - low) as u64) as usize
    })
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use ndarray::Axis;

    use super::*;
    use crate::exec::Executor;
    use crate::exec::tract::Tract;
    use crate::gram::layer::WEIGHT;
    use crate::ir::{NodeId, ScopeId};
    use crate::model::Model;
    use crate::text::parse;

    /// A model of one layer with a weight and inputs of random numbers, and the layer.
    fn layer(call: &str, weight: &str, input: &str) -> (Model, NodeId, Layer) {
        let text = format!(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[{input}] x) => (float[] y) <float[{weight}] w>
            {{ y = {call} }}"#
        );
        let mut model = parse(&text).unwrap();
        crate::passes::infer_declared(&mut model.graph);
        let node = model.graph.schedule(ScopeId::MAIN)[0];
        let value = model.graph.operand(node, WEIGHT).unwrap();
        let dims = model.graph.constant(value).unwrap().dims().to_vec();
        model.graph.set_constant(value, normal(&dims, 1));
        let layer = Layer::of(&model.graph, node).unwrap();
        (model, node, layer)
    }

    fn normal(dims: &[usize], seed: u64) -> Tensor {
        let mut random = Random::new(seed, "patches");
        Tensor::f32s(dims, &(0..dims.iter().product()).map(|_| random.normal() as f32).collect::<Vec<f32>>()).unwrap()
    }

    /// Patches times weights are what the engine computes.
    fn agrees(call: &str, weight: &str, input: &[usize]) {
        let sizes = vec!["n"; input.len()].iter().enumerate().map(|(i, n)| format!("{n}{i}")).collect::<Vec<_>>();
        let (mut model, node, layer) = layer(call, weight, &sizes.join(","));
        let g = &model.graph;
        let matrix = layer.matrix(g.constant(g.operand(node, WEIGHT).unwrap()).unwrap()).unwrap();
        let inputs: Vec<Tensor> = (0..3).map(|seed| normal(input, seed + 5)).collect();
        let mut session = Tract.load(&model).unwrap();
        let results: Vec<Tensor> =
            inputs.iter().map(|x| session.run(&[("x".to_string(), x.clone())]).unwrap().remove(0)).collect();
        for most in [usize::MAX, 7] {
            let patches = Patches::of(&layer, &inputs, most, 3).unwrap();
            let all: usize = (0..3).map(|s| patches.places(s).rows).sum();
            assert_eq!(patches.rows(), all.min(most), "{call}");
            for group in 0..layer.groups {
                let outputs: Vec<usize> =
                    (group * layer.outputs_of_group()..(group + 1) * layer.outputs_of_group()).collect();
                let want = patches.results(&results, layer.outputs).unwrap().block(0..patches.rows(), &outputs);
                let weight = matrix.select(Axis(0), &outputs);
                let got = patches.block(0..patches.rows(), group).dot(&weight.t());
                assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-4), "{call}: {want} {got}");
            }
        }
        // The matrix is the weight, and goes back where it came from.
        let halves = matrix.mapv(|x| x / 2.0);
        layer.put(&mut model.graph, halves.view(), None).unwrap();
        let mut session = Tract.load(&model).unwrap();
        let after = session.run(&[("x".to_string(), inputs[0].clone())]).unwrap();
        let (a, b) = (results[0].reals().unwrap(), after[0].reals().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a / 2.0 - b).abs() < 1e-4), "{call}");
    }

    #[test]
    fn patches_times_weights_are_results() {
        for (call, weight, input) in [
            ("Conv(x, w)", "4,3,3,2", &[2, 3, 6, 5][..]),
            ("Conv <strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 2]> (x, w)", "4,3,3,2", &[1, 3, 7, 6]),
            ("Conv <group = 2, pads = [1, 1, 1, 1]> (x, w)", "4,2,3,3", &[1, 4, 5, 5]),
            ("Conv <group = 3, auto_pad = \"SAME_UPPER\", strides = [2, 2]> (x, w)", "6,1,3,3", &[1, 3, 6, 5]),
            ("Conv <auto_pad = \"SAME_LOWER\", strides = [2, 2]> (x, w)", "2,3,2,4", &[1, 3, 6, 5]),
            ("Conv <auto_pad = \"VALID\">(x, w)", "2,3,2,2", &[1, 3, 6, 5]),
            ("Conv <pads = [2, 0]> (x, w)", "4,3,3", &[2, 3, 6]),
            ("Conv <strides = [1, 2, 1]> (x, w)", "2,2,2,3,2", &[1, 2, 3, 6, 4]),
            ("ConvTranspose(x, w)", "3,4,3,2", &[2, 3, 4, 5]),
            (
                "ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 0], dilations = [1, 2]> (x, w)",
                "3,2,3,2",
                &[1, 3, 4, 3],
            ),
            ("ConvTranspose <group = 2, strides = [2, 2]> (x, w)", "4,3,2,2", &[1, 4, 3, 3]),
            ("MatMul(x, w)", "5,4", &[2, 3, 5]),
            ("Gemm(x, w)", "5,4", &[3, 5]),
            ("Gemm <transB = 1, alpha = 0.5> (x, w)", "4,5", &[3, 5]),
            ("Gemm <transA = 1> (x, w)", "5,4", &[5, 3]),
        ] {
            agrees(call, weight, input);
        }
    }

    #[test]
    fn what_is_no_layer_says_why() {
        for (call, weight, input, why) in [
            ("Relu(x)", "2,2", "1,2", "it is no convolution or matrix product"),
            ("MatMul(w, x)", "2,2", "2,1", "its weight is not constant"),
            ("MatMul(x, w)", "2,2,2", "1,2", "its weight is no matrix"),
            ("MatMul(x, w)", "2,2", "2", "what it reads is no matrix"),
            ("Conv(x, w, x)", "2,2,2", "1,2,3", "what it adds is not one constant number per output"),
            ("Gemm <alpha = 0.0> (x, w)", "2,2", "2,2", "its factor is zero"),
            ("ConvTranspose <auto_pad = \"SAME_UPPER\"> (x, w)", "2,2,2", "1,2,3", "its padding follows from its size"),
            ("Conv <group = 0> (x, w)", "2,2,2", "1,2,3", "its group is malformed"),
            ("Conv <pads = [-1, 0]> (x, w)", "2,2,2", "1,2,3", "its padding is negative"),
        ] {
            let text = format!(
                r#"<ir_version: 8, opset_import: ["" : 17]> g (float[{input}] x) => (float[] y) <float[{weight}] w>
                {{ y = {call} }}"#
            );
            let mut model = parse(&text).unwrap();
            crate::passes::infer_declared(&mut model.graph);
            let node = model.graph.schedule(ScopeId::MAIN)[0];
            assert_eq!(Layer::of(&model.graph, node).err(), Some(why), "{call}");
        }
    }

    #[test]
    fn rows_are_spread_over_samples_and_places() {
        let (_, _, layer) = layer("MatMul(x, w)", "2,2", "n,2");
        let inputs = [normal(&[1, 2], 1), normal(&[100, 2], 2), normal(&[100, 2], 3)];
        let patches = Patches::of(&layer, &inputs, 21, 4).unwrap();
        let of = |sample: usize| patches.picked.iter().filter(|p| p.0 == sample).map(|p| p.1).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(1).len(), of(2).len()), (1, 10, 10));
        assert!(of(1).iter().enumerate().all(|(i, row)| row / 10 == i));
        let again = Patches::of(&layer, &inputs, 21, 4).unwrap();
        assert_eq!(patches.picked, again.picked);
        assert!(Patches::of(&layer, &[normal(&[1, 3], 1)], 21, 4).is_none());
    }
}
