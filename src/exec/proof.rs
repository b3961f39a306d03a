//! The proof: two models are run on the same inputs, and every output is compared.
//!
//! Inputs are made up from a seed, open sizes being one and then more than one; or the user gives them. When the
//! original itself refuses what was made up, other sizes are tried. What could not be run is said, never passed over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exec::compare::{Difference, Tolerance, difference};
use crate::exec::data::{Batches, Data};
use crate::exec::demand;
use crate::exec::executor::{At, Cannot, Executor};
use crate::exec::sample::{self, Input, Sizes, Spread};
use crate::ir::{Int, ScopeId, Tensor};
use crate::model::Model;
use crate::ops::is_deterministic;
use crate::rewrite::Exactness;

/// What to run, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What made-up inputs are made from.
    pub seed: u64,
    /// Sizes that the user fixes, by the name of the dimension.
    pub sizes: BTreeMap<String, usize>,
    /// Inputs that the user gives; none are made up then.
    pub data: Option<Data>,
    /// Feeds taken from the user's inputs.
    pub feeds: usize,
    /// No run is started when this much time has passed.
    pub budget: Duration,
    /// No run is started that takes more bytes than this.
    pub memory: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { seed: 0, sizes: BTreeMap::new(), data: None, feeds: 4, budget: Duration::from_secs(60), memory: MEMORY }
    }
}

/// Bytes that a run may take, unless something else is said.
pub const MEMORY: u64 = 4 << 30;

/// Bytes that one made-up input may take.
pub(super) const MAX_INPUT: usize = 1 << 30;

/// Sizes of open dimensions that are tried where small ones are refused: models that scale down need some to scale.
const LARGER: [usize; 6] = [8, 16, 32, 64, 128, 224];

/// What the comparison of two models comes to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// Every output of every run is within the tolerance.
    Same(Account),
    /// Some output is not.
    Different(Account),
    /// The original runs on inputs that the result does not run on.
    Fails {
        /// What the engine says of the result.
        reason: String,
        /// What was run before.
        account: Account,
    },
    /// The engine cannot run the original, or has no such operator as the result uses; nothing is known.
    NotRun {
        /// Why.
        reason: String,
    },
}

/// What was run and what came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// The engine.
    pub engine: String,
    /// The inputs of each run.
    pub runs: Vec<String>,
    /// For every output, the worst of all runs.
    pub outputs: Vec<Difference>,
    /// How far apart outputs may be.
    pub tolerance: Option<Tolerance>,
    /// What was not run and why, and what makes the comparison weak.
    pub notes: Vec<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Verdict {
    /// Whether the two models were run and found to compute the same.
    pub fn is_same(&self) -> bool {
        matches!(self, Verdict::Same(_))
    }

    /// Whether the two models are known not to compute the same.
    pub fn is_different(&self) -> bool {
        matches!(self, Verdict::Different(_) | Verdict::Fails { .. })
    }

    /// What was run.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Verdict::Same(account) | Verdict::Different(account) | Verdict::Fails { account, .. } => Some(account),
            Verdict::NotRun { .. } => None,
        }
    }
}

/// One set of inputs.
struct Feed {
    label: String,
    tensors: Vec<(String, Tensor)>,
}

/// Makes the inputs of a run of the result from the original's inputs and outputs.
pub type Feeding<'f> = dyn Fn(&[(String, Tensor)], &[Tensor]) -> Vec<(String, Tensor)> + 'f;

/// What the original computes: made once, compared with as many results as there are.
pub struct Reference<'a> {
    original: &'a Model,
    outputs: Vec<String>,
    runs: Vec<(Feed, Vec<Tensor>)>,
    notes: Vec<String>,
    plan: &'a Plan,
    /// Whether the engine had something to remark on how it ran.
    remarked: bool,
    seconds: f64,
}

/// Run both models and compare what they compute.
///
/// `exactness` is the loosest of the edits that made `result` of `original`.
pub fn compare(original: &Model, result: &Model, exactness: Exactness, engine: &dyn Executor, plan: &Plan) -> Verdict {
    match Reference::run(original, engine, plan) {
        Ok(reference) => reference.compare(result, exactness, engine),
        Err(reason) => Verdict::NotRun { reason },
    }
}

impl<'a> Reference<'a> {
    /// Run `original` as `plan` says.
    ///
    /// # Errors
    /// Says why, when it cannot be run at all.
    pub fn run(original: &'a Model, engine: &dyn Executor, plan: &'a Plan) -> Result<Reference<'a>, String> {
        let start = Instant::now();
        let inputs = sample::inputs(original)?;
        let loaded = affordable(original, &[], engine, plan).and_then(|()| engine.load(original));
        let mut session = loaded.map_err(|e| e.to_string())?;
        let mut reference = Reference {
            original,
            outputs: output_names(original),
            runs: Vec::new(),
            notes: Vec::new(),
            plan,
            remarked: false,
            seconds: 0.0,
        };
        let rounds = rounds(&inputs, plan)?;
        let mut refusal = None;
        let count = rounds.len();
        for (index, round) in rounds.into_iter().enumerate() {
            // Half of the time is the result's.
            if index > 0 && start.elapsed() > plan.budget / 2 {
                reference.notes.push(format!("{} of {count} runs: the time is up", index));
                break;
            }
            let mut first_refusal = None;
            let mut done = false;
            for feed in round {
                let Some(feed) = feed() else { continue };
                if first_refusal.is_some() && start.elapsed() > plan.budget / 2 {
                    break;
                }
                let outputs =
                    affordable(original, &feed.tensors, engine, plan).and_then(|()| session.run(&feed.tensors));
                match outputs.and_then(|outputs| declared(original, engine, outputs)) {
                    Ok(outputs) => {
                        if let Some((label, reason)) = first_refusal.take() {
                            reference.notes.push(format!("the original refuses {label}: {reason}"));
                        }
                        reference.note_weakness(&feed, &outputs);
                        reference.runs.push((feed, outputs));
                        done = true;
                        break;
                    }
                    Err(cannot) => {
                        first_refusal.get_or_insert((feed.label, cannot.reason.clone()));
                        refusal.get_or_insert(cannot);
                    }
                }
            }
            if let Some((label, reason)) = first_refusal.filter(|_| !done) {
                reference.notes.push(format!("the original refuses {label}: {reason}"));
            }
        }
        reference.notes.extend(session.remark().map(|r| format!("the original is {r}")));
        reference.remarked = session.remark().is_some();
        reference.seconds = start.elapsed().as_secs_f64();
        if reference.runs.is_empty() {
            return Err(refusal.map_or_else(|| "there are no inputs to run it on".into(), |c| c.to_string()));
        }
        Ok(reference)
    }

    /// Say when outputs hold nothing that could differ.
    fn note_weakness(&mut self, feed: &Feed, outputs: &[Tensor]) {
        for (name, tensor) in self.outputs.iter().zip(outputs) {
            let is_nan = tensor.dtype().is_float()
                && tensor.len() > 0
                && (0..tensor.len()).all(|i| tensor.real(i).is_some_and(f64::is_nan));
            if is_nan {
                self.notes.push(format!("output \"{name}\" is NaN throughout on {}", feed.label));
            }
        }
    }

    /// For each run: what it is called, the inputs, and what the original makes of them.
    pub fn runs(&self) -> impl Iterator<Item = (&str, &[(String, Tensor)], &[Tensor])> {
        self.runs.iter().map(|(feed, outputs)| (&*feed.label, &feed.tensors[..], &outputs[..]))
    }

    /// The inputs of the first run, and what the original makes of them.
    pub fn first(&self) -> Option<(&[(String, Tensor)], &[Tensor])> {
        self.runs.first().map(|(feed, outputs)| (&feed.tensors[..], &outputs[..]))
    }

    /// The names of the original's outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Run `result` on the same inputs and compare.
    pub fn compare(&self, result: &Model, exactness: Exactness, engine: &dyn Executor) -> Verdict {
        let places = self.places(result);
        self.compare_at(result, exactness, engine, places, &|given, _| given.to_vec())
    }

    /// Run `result` on what `feed` makes of the original's inputs and outputs, and compare the outputs that both have.
    pub fn compare_fed(
        &self,
        result: &Model,
        exactness: Exactness,
        engine: &dyn Executor,
        feed: &Feeding<'_>,
    ) -> Verdict {
        let shown = output_names(result);
        let places = self.outputs.iter().map(|name| shown.iter().position(|n| n == name)).collect();
        self.compare_at(result, exactness, engine, Ok(places), feed)
    }

    fn compare_at(
        &self,
        result: &Model,
        exactness: Exactness,
        engine: &dyn Executor,
        places: Result<Vec<Option<usize>>, Vec<Difference>>,
        feeding: &Feeding<'_>,
    ) -> Verdict {
        let start = Instant::now();
        let tolerance = Tolerance::of(exactness, [&self.original.graph, &result.graph]);
        let mut account = Account {
            engine: engine.name().to_string(),
            notes: self.notes.clone(),
            tolerance: Some(tolerance),
            ..Account::default()
        };
        let places = match places {
            Ok(places) => places,
            Err(missing) => {
                account.outputs = missing;
                return Verdict::Different(account);
            }
        };
        let loaded = affordable(result, &[], engine, self.plan).and_then(|()| engine.load(result));
        let mut session = match loaded {
            Ok(session) => session,
            Err(cannot) => {
                return Verdict::NotRun { reason: format!("the original runs; of the result, {cannot}") };
            }
        };
        let mut worst: Vec<Option<Difference>> = vec![None; self.outputs.len()];
        let mut failure = None;
        for (index, (feed, expected)) in self.runs.iter().enumerate() {
            let elapsed = self.seconds + start.elapsed().as_secs_f64();
            if index > 0 && elapsed > self.plan.budget.as_secs_f64() {
                account.notes.push(format!("{index} of {} runs compared: the time is up", self.runs.len()));
                break;
            }
            let tensors = feeding(&feed.tensors, expected);
            let outputs = affordable(result, &tensors, engine, self.plan).and_then(|()| session.run(&tensors));
            let outputs = match outputs {
                Ok(outputs) => outputs,
                Err(cannot) => {
                    failure = Some(format!("on {}, {cannot}", feed.label));
                    break;
                }
            };
            account.runs.push(feed.label.clone());
            // Run in two ways, even equal models round in two ways.
            let tolerance = match session.remark().is_some() == self.remarked {
                true => tolerance,
                false => Tolerance::of(exactness.max(Exactness::Rounding), [&self.original.graph, &result.graph]),
            };
            for (slot, name) in self.outputs.iter().enumerate() {
                let place = places.get(slot).copied().flatten();
                let (Some(a), Some(b)) = (expected.get(slot), place.and_then(|p| outputs.get(p))) else { continue };
                let found = difference(name, a, b, tolerance);
                match &mut worst[slot] {
                    Some(old) => old.merge(found),
                    none => *none = Some(found),
                }
            }
        }
        account.notes.extend(session.remark().map(|r| format!("the result is {r}")));
        account.outputs = worst.into_iter().flatten().collect();
        account.seconds = self.seconds + start.elapsed().as_secs_f64();
        if account.outputs.iter().any(|d| !d.within) {
            // Engines draw numbers in an order of their own.
            let random = self.original.graph.nodes().find(|&n| !is_deterministic(&self.original.graph, n));
            return match random {
                Some(node) => Verdict::NotRun { reason: format!("{} is random", At::of(&self.original.graph, node)) },
                None => Verdict::Different(account),
            };
        }
        match failure {
            Some(reason) => Verdict::Fails { reason, account },
            None => Verdict::Same(account),
        }
    }

    /// Where the result shows each of the original's outputs.
    fn places(&self, result: &Model) -> Result<Vec<Option<usize>>, Vec<Difference>> {
        let shown = output_names(result);
        let mut missing = Vec::new();
        let mut places = Vec::new();
        for name in &self.outputs {
            match shown.iter().position(|n| n == name) {
                Some(place) => places.push(Some(place)),
                None => missing.push(Difference {
                    output: name.clone(),
                    within: false,
                    max_abs: 0.0,
                    max_share: 0.0,
                    differing: 0,
                    elements: 0,
                    reason: Some("the result does not have it".into()),
                }),
            }
        }
        if missing.is_empty() { Ok(places) } else { Err(missing) }
    }
}

/// Other inputs for `model`, of the same sizes as `like`. `None` where they cannot be made up.
pub fn more_inputs(model: &Model, like: &[(String, Tensor)], seed: u64) -> Option<Vec<(String, Tensor)>> {
    let inputs = sample::inputs(model).ok()?;
    let fill = |(name, tensor): &(String, Tensor)| {
        let input = inputs.iter().find(|input| input.name == *name)?;
        Some((name.clone(), input.fill(tensor.dims(), Spread::Normal, seed, MAX_INPUT)?))
    };
    like.iter().map(fill).collect()
}

/// `a` and then `b` along `axis`. `None` for tensors that are not of one type and shape, or have elements of less than
/// a byte.
pub fn join_along(a: &Tensor, b: &Tensor, axis: usize) -> Option<Tensor> {
    let mut dims = a.dims().to_vec();
    if a.dtype() != b.dtype() || a.dims() != b.dims() {
        return None;
    }
    let inner = dims.get(axis..)?.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let along = dims.get_mut(axis)?;
    *along = along.checked_mul(2)?;
    if let (Some(a), Some(b)) = (a.as_strings(), b.as_strings()) {
        let chunks = a.chunks(inner.max(1)).zip(b.chunks(inner.max(1)));
        return Tensor::strings(&dims, chunks.flat_map(|(a, b)| a.iter().chain(b).cloned()).collect()).ok();
    }
    if !a.dtype().bits().is_multiple_of(8) {
        return None;
    }
    let part = a.dtype().byte_len(inner)?.max(1);
    let (left, right) = (a.bytes()?, b.bytes()?);
    let joined: Vec<u8> = left.chunks(part).zip(right.chunks(part)).flat_map(|(a, b)| [a, b].concat()).collect();
    Tensor::raw(a.dtype(), &dims, joined.into()).ok()
}

/// Whether a run has the memory that it takes, as far as that can be told.
fn affordable(model: &Model, inputs: &[(String, Tensor)], engine: &dyn Executor, plan: &Plan) -> Result<(), Cannot> {
    let bytes = demand::memory(model, inputs);
    if bytes <= plan.memory.into() {
        return Ok(());
    }
    let gib = |bytes: u128| bytes as f64 / (1u64 << 30) as f64;
    let reason = format!("a run takes {:.1} GiB, and {:.1} GiB are allowed", gib(bytes), gib(plan.memory.into()));
    Err(Cannot::new(engine.name(), reason))
}

/// The outputs, unless they are not what the model declares: it does not mean to be run on such inputs then, and what
/// is optimized for its declared outputs need not do the same.
fn declared(model: &Model, engine: &dyn Executor, outputs: Vec<Tensor>) -> Result<Vec<Tensor>, Cannot> {
    for (output, tensor) in model.graph.scope(ScopeId::MAIN).outputs().iter().zip(&outputs) {
        let Some(dims) = output.declared.shape().dims() else { continue };
        let size = |(dim, &size): (&Int, &usize)| dim.known().is_none_or(|d| usize::try_from(d) == Ok(size));
        if dims.len() != tensor.rank() || !dims.iter().zip(tensor.dims()).all(size) {
            let dims: Vec<String> = dims.iter().map(Int::to_string).collect();
            let declared = format!("output \"{}\" is {tensor}, but declared as [{}]", output.name, dims.join(","));
            return Err(Cannot::new(engine.name(), declared));
        }
    }
    Ok(outputs)
}

fn output_names(model: &Model) -> Vec<String> {
    model.graph.scope(ScopeId::MAIN).outputs().iter().map(|o| o.name.to_string()).collect()
}

/// Makes inputs when they are needed; `None` when they would be too large.
type Maker<'a> = Box<dyn Fn() -> Option<Feed> + 'a>;

/// The runs to make: for each, the ways to make its inputs, of which the first that the original takes is used.
fn rounds<'a>(inputs: &'a [Input], plan: &'a Plan) -> Result<Vec<Vec<Maker<'a>>>, String> {
    if let Some(data) = &plan.data {
        let feeds = data
            .feeds(inputs, Batches::OneAndTwo, &data.notes())
            .and_then(|feeds| feeds.take(plan.feeds).map(|feed| Ok(feed?.0)).collect::<Result<Vec<_>, _>>());
        let feeds = feeds.map_err(|e| e.to_string())?;
        let maker = |(i, tensors): (usize, Vec<(String, Tensor)>)| -> Vec<Maker<'a>> {
            vec![Box::new(move || Some(Feed { label: format!("sample {i}"), tensors: tensors.clone() }))]
        };
        return Ok(feeds.into_iter().enumerate().map(maker).collect());
    }
    let open: Vec<(String, bool)> =
        sample::symbols(inputs).into_iter().filter(|(name, _)| !plan.sizes.contains_key(name)).collect();
    let made = |sizes: Sizes, spread: Spread, round: u64| -> Maker<'a> {
        Box::new(move || {
            let sizes: Sizes = plan.sizes.iter().chain(&sizes).map(|(n, s)| (n.clone(), *s)).collect();
            let seed = plan.seed.wrapping_add(round);
            let fill =
                |input: &Input| Some((input.name.clone(), input.fill(&input.sizes(&sizes)?, spread, seed, MAX_INPUT)?));
            Some(Feed { label: label(&sizes, spread), tensors: inputs.iter().map(fill).collect::<Option<_>>()? })
        })
    };
    let all = |n: usize| open.iter().map(|(name, _)| (name.clone(), n)).collect::<Sizes>();
    // The first size of an input is most often the batch, which may be small where the others may not.
    let batch = |b: usize, n: usize| {
        open.iter().map(|(name, is_first)| (name.clone(), if *is_first { b } else { n })).collect::<Sizes>()
    };
    let distinct = || open.iter().zip(2..).map(|((name, _), n)| (name.clone(), n)).collect::<Sizes>();
    let mut small = vec![all(1)];
    let mut large = vec![distinct(), all(2)];
    for n in LARGER {
        small.extend([batch(1, n), all(n)]);
        large.extend([batch(2, n), batch(n, n * 2)]);
    }
    let round = |mut choices: Vec<Sizes>, spread: Spread, index: u64| -> Vec<Maker<'a>> {
        let mut tried: Vec<Sizes> = Vec::new();
        choices.retain(|c| {
            !tried.contains(c) && {
                tried.push(c.clone());
                true
            }
        });
        choices.into_iter().map(|sizes| made(sizes, spread, index)).collect()
    };
    Ok(vec![round(small, Spread::Normal, 0), round(large, Spread::Unit, 1)])
}

fn label(sizes: &Sizes, spread: Spread) -> String {
    let spread = match spread {
        Spread::Normal => "normal inputs",
        Spread::Unit => "inputs between 0 and 1",
    };
    if sizes.is_empty() {
        return spread.to_string();
    }
    let sizes: Vec<String> = sizes.iter().map(|(name, n)| format!("{name}={n}")).collect();
    format!("{spread} with {}", sizes.join(", "))
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    fn verdict(original: &str, result: &str) -> Verdict {
        let header = r#"<ir_version: 8, opset_import: ["" : 17]> "#;
        let model = |text: &str| parse(&format!("{header}{text}")).unwrap();
        compare(&model(original), &model(result), Exactness::Bitwise, &Tract, &Plan::default())
    }

    #[test]
    fn equal_models_are_the_same() {
        let text = "g (float[n,4] x) => (float[n,4] y) { y = Softmax(x) }";
        let Verdict::Same(account) = verdict(text, text) else { panic!("not the same") };
        assert_eq!(account.runs, ["normal inputs with n=1", "inputs between 0 and 1 with n=2"]);
        assert_eq!((account.engine.as_str(), account.outputs[0].differing), ("tract", 0));
        assert!(account.notes.is_empty(), "{:?}", account.notes);
    }

    #[test]
    fn a_changed_function_is_found() {
        let verdict = verdict(
            "g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Abs(x) }",
            "g (float[2] x) => (float[2] y, float[2] z) { y = Identity(x)  z = Abs(x) }",
        );
        let Verdict::Different(account) = verdict else { panic!("not different") };
        assert_eq!(account.outputs.iter().map(|o| o.within).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_size_that_was_baked_in_is_found() {
        let verdict = verdict(
            "g (float[n,4] x) => (float[n,2,2] y) <int64[3] to = {0, 2, 2}> { y = Reshape(x, to) }",
            "g (float[n,4] x) => (float[n,2,2] y) <int64[3] to = {1, 2, 2}> { y = Reshape(x, to) }",
        );
        assert!(matches!(verdict, Verdict::Fails { .. }), "{verdict:?}");
    }

    #[test]
    fn inputs_that_contradict_the_declared_outputs_prove_nothing() {
        let text = "g (float[1] x, int64[1] n) => (float[6] y) { y = Expand(x, n) }";
        let Verdict::NotRun { reason } = verdict(text, text) else { panic!("run on sizes that are not meant") };
        assert!(reason.ends_with("but declared as [6]"), "{reason}");
    }

    #[test]
    fn a_missing_output_is_a_difference() {
        let verdict = verdict(
            "g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Abs(x) }",
            "g (float[2] x) => (float[2] y) { y = Relu(x) }",
        );
        let Verdict::Different(account) = verdict else { panic!("not different") };
        assert_eq!(account.outputs[0].reason.as_deref(), Some("the result does not have it"));
    }

    #[test]
    fn sizes_that_the_original_refuses_are_left_out_and_said() {
        let text = "g (float[1,n] x) => (float[1,2] y) <float[8,2] w> { y = MatMul(x, w) }";
        let verdict = verdict(text, text);
        let account = verdict.account().unwrap();
        assert!(verdict.is_same() && account.runs[0].ends_with("n=8"), "{account:?}");
        assert!(account.notes[0].starts_with("the original refuses normal inputs with n=1"), "{:?}", account.notes);
    }

    #[test]
    fn what_the_engine_lacks_is_no_verdict() {
        let text = "g (bfloat16[2] x) => (bfloat16[2] y) { y = Softmax(x) }";
        assert!(matches!(verdict(text, text), Verdict::NotRun { .. }));
    }

    #[test]
    fn random_outputs_are_not_compared() {
        let verdict = verdict(
            "g (float[2] x) => (float[2] y) { r = RandomNormal <shape = [2], seed = 1.0> ()  y = Add(r, x) }",
            "g (float[2] x) => (float[2] y) { r = RandomNormal <shape = [2], seed = 2.0> ()  y = Add(r, x) }",
        );
        let Verdict::NotRun { reason } = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason, "RandomNormal \"r\" is random");
    }

    #[test]
    fn a_vacuous_comparison_is_said() {
        let text = "g (float[2] x) => (float[2] y) <float minus = {-1}> { a = Abs(x)  b = Mul(a, minus)  y = Sqrt(b) }";
        let verdict = verdict(text, text);
        assert!(verdict.account().unwrap().notes[0].contains("is NaN throughout"));
    }
}
