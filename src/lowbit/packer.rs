//! From a model in float32 to one whose weights have few bits, and what that costs.

use std::sync::Arc;

use crate::calibrate::{Calibration, CalibrationError, Probe, Source};
use crate::choice::{Choice, ChoiceError};
use crate::exec::demand::weights;
use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::Layer;
use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, TensorError};
use crate::lowbit::codes::{Codes, Matrix, Search};
use crate::lowbit::emit::Emitter;
use crate::lowbit::gptq::gptq;
use crate::lowbit::grid::Grid;
use crate::lowbit::levels::{Group, Integers, Method};
use crate::lowbit::reading::{block, round};
use crate::lowbit::scaled::{Trial, apply, factors, scaled};
use crate::lowbit::seen::Seen;
use crate::lowbit::sites::{Site, Wish, sites};
use crate::lowbit::summary::{Kept, Summary};
use crate::model::Model;
use crate::quality::{Bounds, Measured, OutOfBounds, compare};
use crate::target::{self, FewBits, Profile};

/// Says how weights get few bits; [`Packer::run`] does it.
#[derive(Clone)]
pub struct Packer {
    /// What stands for weights.
    pub integers: Integers,
    /// Weights that share a scale, where another number is asked for than [`Integers::group`].
    pub group: Option<Group>,
    /// Whether zero is the middle of the integers, where something else is asked for than
    /// [`Integers::is_symmetric`].
    pub symmetric: Option<bool>,
    /// Whether tables of embeddings, and the product that the output is in a model with such a table, have no more bits
    /// than other weights. Else they have 8: there are few of them, and what they lose all that follows loses.
    pub is_uniform: bool,
    /// Whether weights of kernels of more than one element are to have few bits, too.
    pub kernels: bool,
    /// How integers are found.
    pub method: Method,
    /// What will run the result, and so in which form the integers are written.
    pub target: &'static Profile,
    /// What of the model may have integers.
    pub choice: Choice,
    /// Samples to choose integers with, and to compare on. There may be none.
    pub calibration: Calibration,
    /// What runs them.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// Why weights do not get few bits.
#[derive(Debug, thiserror::Error)]
pub enum LowBitError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The target takes no such weights.
    #[error("{target} takes no weights in {integers}{others}")]
    NotTaken {
        /// The target.
        target: &'static str,
        /// What was asked for.
        integers: &'static str,
        /// What it takes.
        others: String,
    },
    /// The target takes zero in the middle only.
    #[error("{0} takes weights around zero only: --symmetric")]
    Asymmetric(&'static str),
    /// No weight can have them.
    #[error("no weight can be {integers}{why}")]
    Nothing {
        /// What was asked for.
        integers: &'static str,
        /// The reason of the first.
        why: String,
    },
    /// The model does not run on the samples.
    #[error("the model with weights of few bits does not run: {0}")]
    Run(#[from] Cannot),
    /// Integers cannot be written, which is a defect.
    #[error("a defect of onnx-slim: {0}")]
    Tensor(#[from] TensorError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// The result cannot be compared, and bounds were given.
    #[error("--min-sqnr and --max-drop cannot be kept: {0}")]
    NotCompared(Cannot),
}

impl LowBitError {
    /// What to try next, where that is known and not said already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            LowBitError::Bounds(OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. }) => {
                Some("nothing was written; --precision auto gives each layer as many bits as the bound takes")
            }
            LowBitError::Bounds(bounds) => bounds.hint(),
            LowBitError::NotCompared(_) => {
                Some("nothing was written; it is without the bound, and --engine ort may run it")
            }
            LowBitError::Run(_) => Some("without --calib integers are chosen by the weights; --engine ort may run it"),
            _ => None,
        }
    }
}

impl Packer {
    /// These integers for every model, with nothing else asked for.
    pub fn new(integers: Integers, engine: Arc<dyn Executor>) -> Packer {
        Packer {
            integers,
            group: None,
            symmetric: None,
            is_uniform: false,
            kernels: false,
            method: Method::Auto,
            target: &target::ONNX,
            choice: Choice::default(),
            calibration: Calibration::default(),
            engine,
            bounds: Bounds::default(),
        }
    }

    /// The opset that a model of opset `from` is written in: integers of 4 bits and scales of groups came with 21, those
    /// of 2 bits with 25. Operators of com.microsoft are of no opset.
    pub fn opset_for(&self, from: i64) -> i64 {
        let is_plain = |row: &FewBits| row.forms.iter().any(|(_, form)| *form == target::Form::Dequantized);
        match self.target.few_bits(self.integers.dtype()) {
            Some(row) if is_plain(row) => from.max(match (self.integers, self.group) {
                (Integers::Int2, _) => 25,
                (Integers::Int8, None | Some(Group::Channel)) => 13,
                _ => 21,
            }),
            _ => from,
        }
    }

    /// Give the weights of `model` few bits. `tell` hears how many weights of how many are done.
    ///
    /// # Errors
    /// Where the target takes none or no weight can have any, for a pattern of the choice that matches nothing, for
    /// samples that cannot be read, and for a result that is not as good as it has to be.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, LowBitError> {
        self.rehearsed(model, tell).map(|(summary, _)| summary)
    }

    /// As [`Packer::run`], with what `model` then computes said in float32, where there are samples to run it on.
    ///
    /// # Errors
    /// As [`Packer::run`].
    pub fn rehearsed(
        &self,
        model: &mut Model,
        tell: &dyn Fn(u64, u64),
    ) -> Result<(Summary, Option<Model>), LowBitError> {
        self.written(model, None, tell)
    }

    /// Give the weights of `model` few bits, which are found in what `rehearsal` computes with its own: a model that any
    /// engine runs, of the same calls and weights as far as these are to have them. Returns that with them.
    ///
    /// # Errors
    /// As [`Packer::run`], and where there are no samples.
    pub(crate) fn learned(&self, model: &mut Model, rehearsal: &Model) -> Result<Model, LowBitError> {
        let nothing = || LowBitError::Calibration(CalibrationError::Nothing);
        self.written(model, Some(rehearsal), &|_, _| {})?.1.ok_or_else(nothing)
    }

    fn written(
        &self,
        model: &mut Model,
        given: Option<&Model>,
        tell: &dyn Fn(u64, u64),
    ) -> Result<(Summary, Option<Model>), LowBitError> {
        let row = self.row()?;
        if !self.is_symmetric() && !row.zero_points {
            return Err(LowBitError::Asymmetric(self.target.name));
        }
        let excluded = self.choice.excluded(&model.graph)?;
        let group = self.group.unwrap_or(self.integers.group());
        let wish = Wish { integers: self.integers, row, group, kernels: self.kernels };
        let eight = self.target.few_bits(DType::I8).filter(|_| !self.is_uniform && self.integers.bits() < 8);
        let finer =
            eight.map_or(wish, |row| Wish { integers: Integers::Int8, row, group: Integers::Int8.group(), ..wish });
        let (sites, left) = sites(&model.graph, wish, finer, &excluded);
        let mut summary = Summary {
            integers: self.integers,
            weights: Vec::with_capacity(sites.len()),
            kept: left.into_iter().map(|(why, nodes)| Kept { why, nodes }).collect(),
            bytes: [0; 2],
            samples: 0,
            scaled: 0,
            made_up: false,
            measured: Measured::default(),
            notes: self.other_groups(&sites),
        };
        let probe = self.probe(given.unwrap_or(model), &sites, &mut summary)?;
        // What integers give back in the place of weights, which any engine runs.
        let float = (!probe.held_out.is_empty()).then(|| given.unwrap_or(model).clone());
        let mut rehearsal = float.clone();
        let learns = self.method != Method::Nearest && !probe.tried.is_empty();
        let mut stepper = match &rehearsal {
            Some(rehearsal) if learns => Some(Stepper::new(rehearsal, &probe.tried, &*self.engine)?),
            _ => None,
        };
        summary.samples = if learns { probe.tried.len() } else { 0 };
        let mut written: Vec<&Site> = Vec::with_capacity(sites.len());
        for (done, site) in sites.iter().enumerate() {
            tell(done as u64, sites.len() as u64);
            if let (Some(running), Some(rehearsal)) = (&stepper, &mut rehearsal)
                && let Err(why) = self.scale(model, rehearsal, running, &sites, done, &mut summary)
            {
                self.fails(&why, &mut summary)?;
                stepper = None;
            }
            let Some((matrix, weight)) = matrix(model, site) else {
                summary.keep("its weight is one number, or is not there", &model.graph, site);
                continue;
            };
            if let Some((next, _)) = sites.get(done + 1).and_then(|next| self::matrix(model, next)) {
                model.files.will_need(next.bytes());
            }
            let grid = self.grid(site, weight.dtype());
            let layer = layer(&model.graph, site);
            let mut seen = None;
            if let (Some(running), Some(rehearsal), Some(layer)) = (&mut stepper, &rehearsal, &layer) {
                match running.advance_to(rehearsal, layer.node) {
                    Ok(()) => {
                        let read = running.operand(rehearsal, layer.node, 0);
                        seen = read.and_then(|read| Seen::of(layer, read, has_bias(&model.graph, layer)));
                    }
                    Err(why) => {
                        self.fails(&why, &mut summary)?;
                        stepper = None;
                    }
                }
            }
            let Some((codes, method)) = self.codes(&matrix, &grid, site, seen.as_ref()) else {
                summary.keep("its weight has elements that are not finite", &model.graph, site);
                continue;
            };
            if let Some(rehearsal) = &mut rehearsal {
                let bytes = rehearsal.files.keep(codes.given_back(&matrix));
                rehearsal.graph.set_constant(site.weight, Tensor::raw(weight.dtype(), weight.dims(), bytes)?);
                // What is lost of the mean of what is read, the bias gives back.
                if let (Some(seen), Some(layer)) = (&seen, layer.filter(|layer| has_bias(&model.graph, layer)))
                    && let (Some(bias), Some(reals)) = (layer.bias, matrix.rows())
                {
                    let lost = (reals - codes.reals()).mapv(f64::from).dot(&seen.mean);
                    let biases: Vec<f64> =
                        layer.biases(&model.graph).iter().zip(&lost).map(|(bias, lost)| bias + lost).collect();
                    if let Some(tensor) = layer.bias_tensor(&model.graph, bias, &biases) {
                        rehearsal.graph.own_constant(bias.node, bias.slot, tensor.clone());
                        model.graph.own_constant(bias.node, bias.slot, tensor);
                    }
                }
            }
            summary.add(&model.graph, site, &codes, &weight, method);
            Emitter::new(&mut model.graph, &mut model.files).write(site, &codes)?;
            written.push(site);
            if weight.stored_bytes() >= LARGE {
                model.files.release();
            }
        }
        drop(stepper);
        if let Some(rehearsal) = &mut rehearsal {
            for &site in &written {
                for reader in &site.readers {
                    if let Some(block) = block(&rehearsal.graph, site, reader) {
                        round(&mut rehearsal.graph, reader.node, site.columns, block);
                    }
                }
            }
        }
        tell(sites.len() as u64, sites.len() as u64);
        if summary.weights.is_empty() {
            let why = summary.kept.iter().max_by_key(|kept| kept.nodes.len());
            let why = why.map(|kept| format!(": \"{}\": {}", kept.nodes.first().map_or("", |n| n), kept.why));
            return Err(LowBitError::Nothing { integers: self.integers.dtype().name(), why: why.unwrap_or_default() });
        }
        model.import_domains();
        if let (Some(float), Some(rehearsal), None) = (&float, &rehearsal, given) {
            match compare(float, rehearsal, &probe.held_out, &*self.engine) {
                Ok(outputs) => summary.measured = Measured { held_out: probe.held_out.len(), outputs },
                Err(why) if self.bounds == Bounds::default() => summary.not_compared(&why),
                Err(why) => return Err(LowBitError::NotCompared(why)),
            }
        }
        self.bounds.check(&summary.measured.outputs).map_err(LowBitError::Bounds)?;
        Ok((summary, rehearsal))
    }

    /// A run that was asked for is to succeed. Of one that was not, the report tells that it did not.
    fn fails(&self, why: &Cannot, summary: &mut Summary) -> Result<(), LowBitError> {
        if self.calibration.source.is_some() {
            return Err(LowBitError::Run(why.clone()));
        }
        summary.notes.push(format!("integers were chosen by the weights alone: {why}"));
        Ok(())
    }

    fn is_symmetric(&self) -> bool {
        self.symmetric.unwrap_or(self.integers.is_symmetric())
    }

    /// What the integers of a weight may be.
    fn grid(&self, site: &Site, dtype: DType) -> Grid {
        let is_symmetric = self.is_symmetric() || site.integers != self.integers;
        Grid::of(site.integers.bits(), is_symmetric, site.row.negative_scales, dtype)
    }

    /// Where a normalization stands before this weight and others, give their columns factors, if results lose less with
    /// them.
    fn scale(
        &self,
        model: &mut Model,
        rehearsal: &mut Model,
        stepper: &Stepper<'_>,
        sites: &[Site],
        at: usize,
        summary: &mut Summary,
    ) -> Result<(), Cannot> {
        if !matches!(self.method, Method::Auto | Method::Scaled) {
            return Ok(());
        }
        let layers = |site: &Site| layer(&rehearsal.graph, site);
        let Some(found) = scaled(&rehearsal.graph, sites, &layers, at) else { return Ok(()) };
        // What was read is still to be divided: the stepper itself must not have run the normalization.
        let mut ahead = stepper.clone();
        let mut trials = Vec::with_capacity(found.sites.len());
        for &at in &found.sites {
            let site = &sites[at];
            let Some(layer) = layers(site) else { return Ok(()) };
            let Some((matrix, weight)) = matrix(model, site) else { return Ok(()) };
            ahead.advance_to(rehearsal, layer.node)?;
            let read = ahead.operand(rehearsal, layer.node, 0);
            let seen = read.and_then(|read| Seen::of(&layer, read, has_bias(&rehearsal.graph, &layer)));
            let Some(seen) = seen else { return Ok(()) };
            trials.push(Trial { site, matrix, grid: self.grid(site, weight.dtype()), seen });
        }
        let Some(factors) = factors(&trials, self.method == Method::Auto) else { return Ok(()) };
        drop(trials);
        let mut tried = rehearsal.clone();
        if apply(&mut tried, &found, sites, &factors).is_some() && apply(model, &found, sites, &factors).is_some() {
            *rehearsal = tried;
            summary.scaled += 1;
        }
        Ok(())
    }

    /// Samples to learn from and to compare on: those that are given, or for a model that reads nothing but numbers of
    /// tokens some that are made up, of which one is as good as another. What is made of other numbers says little of
    /// what layers read in use.
    fn probe(&self, model: &Model, sites: &[Site], summary: &mut Summary) -> Result<Probe, LowBitError> {
        let mut calibration = self.calibration.clone();
        if calibration.source.is_none() {
            if !matches!(self.method, Method::Auto) || !reads_tokens(&model.graph) {
                summary.not_compared(&"there are no samples: --calib");
                return Ok(Probe::default());
            }
            if weights(&model.graph) > MOST_WEIGHTS || work(sites) > MOST_WORK {
                summary.not_compared(&"it is too large to learn from samples without being asked to: --calib");
                return Ok(Probe::default());
            }
            (calibration.source, calibration.samples) = (Some(Source::Random(0)), Some(MADE_UP));
        }
        let is_given = self.calibration.source.is_some();
        let mut probe = match calibration.probe(model, &*self.engine, &|_| MOST_SAMPLES) {
            Ok(probe) => probe,
            Err(why) if !is_given => {
                summary.not_compared(&why);
                return Ok(Probe::default());
            }
            Err(why) => return Err(why.into()),
        };
        // A run that nobody asked for may fail.
        if let (false, Some(first)) = (is_given, probe.held_out.first())
            && let Err(why) = self.engine.load(model).and_then(|mut session| session.run(first).map(drop))
        {
            summary.not_compared(&why);
            return Ok(Probe::default());
        }
        summary.made_up = !calibration.source.as_ref().is_some_and(Source::is_real);
        if is_given {
            summary.notes.append(&mut probe.notes);
        }
        if probe.tried.is_empty() {
            probe.tried.clone_from(&probe.held_out);
        }
        if let Some(first) = probe.tried.first() {
            let room = usize::try_from(MOST_BYTES / held_bytes(model, first).max(1)).unwrap_or(usize::MAX).max(2);
            probe.tried.truncate(room);
        }
        Ok(probe)
    }

    /// The integers of a weight, by the best of the methods that may be, and that method.
    fn codes(&self, matrix: &Matrix, grid: &Grid, site: &Site, seen: Option<&Seen>) -> Option<(Codes, Method)> {
        let (group, width) = (site.group, site.integers.width());
        if self.method == Method::Nearest {
            return Some((Codes::of(matrix, grid, group, width, Search::Nearest)?, Method::Nearest));
        }
        let Some(seen) = seen else {
            return Some((Codes::of(matrix, grid, group, width, Search::Refined(None))?, Method::Refined));
        };
        let importance = seen.importance();
        let refined = Codes::of(matrix, grid, group, width, Search::Refined(Some(&importance)))?;
        let rows = matrix.rows()?;
        let swept = match self.method {
            Method::Auto | Method::Gptq => gptq(&rows, &seen.square, grid, group, width),
            _ => None,
        };
        let Some(swept) = swept else { return Some((refined, Method::Refined)) };
        if self.method == Method::Gptq || seen.loss(&(&rows - swept.reals())) < seen.loss(&(&rows - refined.reals())) {
            return Some((swept, Method::Gptq));
        }
        Some((refined, Method::Refined))
    }

    /// What there is to say where the target takes other groups than those that were asked for.
    fn other_groups(&self, sites: &[Site]) -> Vec<String> {
        let Some(asked) = self.group else { return Vec::new() };
        let is_other = |site: &&Site| match asked {
            Group::Columns(asked) => site.group != asked && site.integers == self.integers,
            Group::Channel => site.group < site.columns,
        };
        let others: Vec<&Site> = sites.iter().filter(is_other).collect();
        let Some(first) = others.first() else { return Vec::new() };
        vec![format!(
            "{} weights have a scale for {} columns, not {asked}: {} takes {}",
            others.len(),
            first.group,
            self.target.name,
            if first.row.groups.is_empty() {
                "a scale for an output".into()
            } else {
                format!("{:?}", first.row.groups)
            }
        )]
    }

    /// How the target takes these integers.
    pub(super) fn row(&self) -> Result<&'static FewBits, LowBitError> {
        self.target.few_bits(self.integers.dtype()).ok_or_else(|| {
            let others: Vec<&str> = self.target.few_bits.iter().map(|row| row.dtype.name()).collect();
            let others = if others.is_empty() { String::new() } else { format!(", but in {}", others.join(", ")) };
            LowBitError::NotTaken { target: self.target.name, integers: self.integers.dtype().name(), others }
        })
    }
}

/// Samples that are taken.
const MOST_SAMPLES: usize = 512;

/// Bytes that an engine takes for the weights of a model that is run unasked.
const MOST_WEIGHTS: u128 = 1 << 29;

/// Products of numbers that are made unasked to see what columns go together: about a minute's.
const MOST_WORK: f64 = 4e11;

/// Products of numbers that sweeps over all these weights take.
fn work(sites: &[Site]) -> f64 {
    let of = |site: &Site| (site.columns as f64).powi(2) * (3.0 * site.columns as f64 + 2.0 * site.outputs as f64);
    sites.iter().map(of).sum()
}

/// Samples that are made up.
const MADE_UP: usize = 32;

/// Bytes that tensors of all samples may take.
const MOST_BYTES: u128 = 1 << 30;

/// Weights of so many bytes are let go of when they have been read.
const LARGE: usize = 1 << 20;

/// Columns whose second moments are held.
const MOST_COLUMNS: usize = 8192;

fn matrix(model: &Model, site: &Site) -> Option<(Matrix, Tensor)> {
    let weight = model.graph.constant(site.weight)?.clone();
    Some((Matrix::of(&weight, site.outputs, site.columns, site.is_by_output)?, weight))
}

/// Whether every input is of integers, in a model without loops, of which nobody knows how many
/// turns they make of what is made up.
fn reads_tokens(graph: &Graph) -> bool {
    let is_integer = |dtype: Option<DType>| dtype.is_some_and(|dtype| dtype.is_integer() || dtype == DType::Bool);
    let mut inputs = graph.scope(ScopeId::MAIN).inputs().iter();
    let is_loop = |node: NodeId| matches!(graph.node(node).op, OpKind::Loop | OpKind::Scan);
    inputs.all(|&input| is_integer(graph.value(input).ty.dtype())) && !graph.nodes().any(is_loop)
}

/// The layer that alone multiplies with the weight.
fn layer(graph: &Graph, site: &Site) -> Option<Layer> {
    let [reader] = &site.readers[..] else { return None };
    let layer = Layer::of(graph, reader.node).ok()?;
    (layer.groups == 1 && layer.columns() == site.columns && site.columns <= MOST_COLUMNS).then_some(layer)
}

/// Whether numbers are added to the layer's result.
fn has_bias(graph: &Graph, layer: &Layer) -> bool {
    layer.bias.is_some_and(|bias| graph.operand(bias.node, bias.slot).is_some())
}
