//! A model as functions of its weights: what it makes of a sample, and how a loss of that follows them.

use std::ops::Range;
use std::sync::Arc;

use crate::distill::kernel::Kernel;
use crate::distill::pairwise::add_each;
use crate::distill::pointwise::Pointwise;
use crate::gram::Layer;
use crate::ir::Graph;

/// Multiplications in a product that take as long as one element that is read by a table, and as one function like an
/// exponential.
const MOVED: f64 = 8.0;
const CALLED: f64 = 64.0;

/// Where a call reads an operand.
#[derive(Clone)]
pub(super) enum Read {
    /// What was given or made, by slot.
    Slot(usize),
    Fixed(Arc<[f32]>),
    Parameters(Range<usize>),
}

/// A call with one result.
pub(super) struct Call {
    pub(super) kernel: Kernel,
    pub(super) reads: Vec<Read>,
    pub(super) result: usize,
}

/// A layer whose weight changes.
pub(super) struct Changing {
    pub(super) layer: Layer,
    pub(super) weight: Range<usize>,
    pub(super) bias: Option<Range<usize>>,
    /// Where its result is.
    pub(super) result: usize,
}

/// A model on samples of known sizes.
pub(super) struct Net {
    pub(super) calls: Vec<Call>,
    /// Elements of each slot.
    pub(super) sizes: Vec<usize>,
    /// Whether what is in a slot follows parameters that change.
    pub(super) follows: Vec<bool>,
    /// The slots that each sample gives.
    pub(super) given: Vec<usize>,
    /// The slots that are compared.
    pub(super) heads: Vec<usize>,
    /// All weights and biases, as layers read them.
    pub(super) parameters: Vec<f32>,
    pub(super) changing: Vec<Changing>,
}

impl Net {
    /// Multiplications of one run, or what takes as long.
    pub(super) fn work(&self) -> f64 {
        let of = |call: &Call| {
            let elements = self.sizes[call.result] as f64;
            match &call.kernel {
                Kernel::Linear(linear) => linear.work() + MOVED * elements,
                Kernel::Product { k, .. } => elements * *k as f64,
                Kernel::Pointwise(Pointwise::Clip(..)) | Kernel::Same => elements,
                Kernel::Pointwise(_) | Kernel::Softmax(_) => CALLED * elements,
                _ => MOVED * elements,
            }
        };
        self.calls.iter().map(of).sum()
    }

    /// What all slots hold where these are given. `None` where sizes do not fit.
    pub(super) fn forward(&self, parameters: &[f32], given: Vec<Vec<f32>>) -> Option<Vec<Vec<f32>>> {
        let mut slots: Vec<Vec<f32>> = vec![Vec::new(); self.sizes.len()];
        for (&slot, elements) in self.given.iter().zip(given) {
            slots[slot] = elements;
        }
        for call in &self.calls {
            let mut result = vec![0.0; self.sizes[call.result]];
            let reads: Vec<&[f32]> = call.reads.iter().map(|read| elements(read, &slots, parameters)).collect();
            call.kernel.forward(parameters, &reads, &mut result)?;
            slots[call.result] = result;
        }
        Some(slots)
    }

    /// Add to `slopes` how a loss follows the parameters, where it follows what heads hold by `of_heads`.
    pub(super) fn backward(
        &self,
        parameters: &[f32],
        slots: &[Vec<f32>],
        of_heads: Vec<Vec<f32>>,
        slopes: &mut [f32],
    ) -> Option<()> {
        let mut of_slots: Vec<Option<Vec<f32>>> = vec![None; self.sizes.len()];
        for (&head, of_head) in self.heads.iter().zip(of_heads) {
            add(&mut of_slots[head], of_head);
        }
        for call in self.calls.iter().rev().filter(|call| self.follows[call.result]) {
            let Some(of_result) = of_slots[call.result].take() else { continue };
            let reads: Vec<&[f32]> = call.reads.iter().map(|read| elements(read, slots, parameters)).collect();
            let wanted = |read: &Read| match read {
                Read::Slot(slot) => self.follows[*slot],
                Read::Fixed(_) => false,
                Read::Parameters(_) => true,
            };
            let mut of_reads: Vec<Option<Vec<f32>>> =
                call.reads.iter().zip(&reads).map(|(read, x)| wanted(read).then(|| vec![0.0; x.len()])).collect();
            let result = (&slots[call.result][..], &of_result[..]);
            call.kernel.backward(parameters, &reads, result, &mut of_reads, slopes)?;
            for (read, of_read) in call.reads.iter().zip(of_reads) {
                match (read, of_read) {
                    (Read::Slot(slot), Some(of_read)) => add(&mut of_slots[*slot], of_read),
                    (Read::Parameters(range), Some(of_read)) => {
                        add_each(&mut slopes[range.clone()], &of_read);
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    /// Give the layers of `graph` these parameters. `None` where one cannot be written.
    pub(super) fn write(&self, parameters: &[f32], graph: &mut Graph) -> Option<()> {
        for Changing { layer, weight, bias, .. } in &self.changing {
            let (outputs, columns) = (layer.outputs, layer.columns());
            let weight = ndarray::ArrayView2::from_shape((outputs, columns), &parameters[weight.clone()]).ok()?;
            let biases: Option<Vec<f64>> =
                bias.clone().map(|bias| parameters[bias].iter().map(|&b| f64::from(b)).collect());
            layer.put(graph, weight, biases.as_deref())?;
        }
        Some(())
    }
}

fn elements<'a>(read: &'a Read, slots: &'a [Vec<f32>], parameters: &'a [f32]) -> &'a [f32] {
    match read {
        Read::Slot(slot) => &slots[*slot],
        Read::Fixed(elements) => elements,
        Read::Parameters(range) => &parameters[range.clone()],
    }
}

fn add(to: &mut Option<Vec<f32>>, more: Vec<f32>) {
    match to {
        Some(to) => add_each(to, &more),
        None => *to = Some(more),
    }
}
