//! `optimize`: models in, smaller models out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::assign::Assigner;
use crate::cli::account::{self, Account, Delivery};
use crate::cli::args;
use crate::cli::dump::{self, Dump, Dumper};
use crate::cli::jobs::{self, Job};
use crate::cli::precision::{Io as IoArg, Precision};
use crate::cli::progress::Progress;
use crate::cli::quantizing::Ranges;
use crate::cli::shared::{Format, Noise};
use crate::cli::source::{Source, is_stream};
use crate::cli::{End, assigning, engine, guard, lowbit, usage};
use crate::error::Error;
use crate::exec::race::Race;
use crate::ir::Graph;
use crate::lowbit::{Integers, Packer};
use crate::model::Model;
use crate::onnx::{self, IrVersion, ReadOptions, Weights, WriteOptions};
use crate::optimizer::Optimizer;
use crate::passes::pipeline::Observer;
use crate::precision::{Half, Halver, Io};
use crate::prune::{Budget, Pruner};
use crate::quality::{Bounds, OutOfBounds};
use crate::quantize::{Dynamic, Quantizer};
use crate::report::Report;
use crate::sparsify::Sparsifier;
use crate::target::{Profile, Target};

/// What was asked for, once for all models.
struct Request<'a> {
    optimizer: Optimizer,
    read: ReadOptions,
    write: WriteOptions,
    dumps: &'a [Dump],
    /// Something about the output was asked for that a copy of the input would not have.
    is_asked: bool,
    only_edits: bool,
    /// Where the front of assignments goes.
    pareto: Option<&'a Path>,
}

pub(super) fn run(args: &args::Optimize, noise: Noise) -> anyhow::Result<End> {
    let jobs = jobs::plan(args)?;
    let request = request(args)?;
    if let Some(folder) = &args.out_dir {
        fs::create_dir_all(folder).with_context(|| format!("{}: this folder cannot be made", folder.display()))?;
    }
    let progress = Progress::new(jobs.len(), noise);
    let account = |job: &Job| {
        let start = Instant::now();
        let result = guard::run(|| optimize(job, &request, &progress));
        let account = Account::new(job, result, start.elapsed());
        progress.model_done();
        progress.suspend(|| account::tell(&account, args, jobs.len(), noise));
        account
    };
    let accounts: Vec<Account> = match &jobs[..] {
        [job] => vec![account(job)],
        jobs => {
            let pool = rayon::ThreadPoolBuilder::new().stack_size(guard::STACK).build();
            pool.context("no threads can be started")?.install(|| jobs.par_iter().map(account).collect())
        }
    };
    drop(progress);
    let failed = accounts.iter().any(Account::is_failure);
    if let Some(format) = args.report {
        let text = match format {
            Format::Json => account::json(&accounts)?,
            Format::Table => accounts.iter().map(account::table).collect::<Vec<_>>().join("\n"),
        };
        io::stdout().write_all(text.as_bytes())?;
    }
    // A reader of our output that went away before the model was written has seen enough.
    Ok(if failed { End::Failed } else { End::Done })
}

fn request(args: &args::Optimize) -> anyhow::Result<Request<'_>> {
    let target = Target::open(&args.target).map_err(|error| usage(args.verb(), error))?;
    let target_profile = target.profile;
    let mut optimizer = Optimizer::for_target(target.profile);
    let edits = args.edits.asked();
    if edits.batch.is_none() && !args.edits.batch_inputs.is_empty() {
        return Err(usage(args.verb(), "--batch-inputs goes with --batch or --dynamic-batch"));
    }
    let is_edited = !edits.is_empty();
    let only_edits = args.verb == args::OptimizeVerb::Edit;
    if only_edits && !is_edited {
        return Err(usage(args.verb(), "no edit is asked for"));
    }
    optimizer = optimizer.edited(edits);
    if only_edits {
        optimizer = optimizer.only_edits();
    }
    let is_quantized = args.verb == args::OptimizeVerb::Quantize || args.quantizing.precision.is_some();
    let half = half(args);
    if let Some(option) = args.quantizing.low_bits.given()
        && lowbit::integers(args.quantizing.precision).is_none()
    {
        let why = format!("{option} goes with --precision int4, uint4, int8-weights or int2");
        return Err(usage(args.verb(), why));
    }
    let assigning = &args.quantizing.assigning;
    let is_assigned = args.quantizing.precision == Some(Precision::Auto) || !assigning.layer_precision.is_empty();
    if (half.is_none() || is_assigned) && args.quantizing.io != IoArg::Keep {
        return Err(usage(args.verb(), "--io goes with --precision fp16 or bf16 for all layers"));
    }
    if let (false, Some(option)) = (is_assigned, assigning.given()) {
        return Err(usage(args.verb(), format!("{option} goes with --precision auto")));
    }
    let mut takes_ranges = false;
    if is_assigned {
        optimizer = optimizer.assigned(assigner(args, target)?);
    } else if args.quantizing.precision == Some(Precision::Int8Dynamic) {
        optimizer = optimizer.quantized_dynamically(dynamic(args, target.profile)?);
    } else if let Some(integers) = lowbit::integers(args.quantizing.precision) {
        optimizer = optimizer.packed(packer(args, integers, target.profile)?);
    } else if let Some(half) = half {
        optimizer = optimizer.halved(halver(args, half, target.profile)?);
    } else if is_quantized {
        optimizer = optimizer.quantized(quantizer(args, target)?);
        takes_ranges = true;
    }
    if !takes_ranges && args.quantizing.measure.is_some() {
        return Err(usage(
            args.verb(),
            "--measure goes with --precision int8: nothing else is left out where it does not pay",
        ));
    }
    if !takes_ranges && args.quantizing.ranges.is_some() {
        return Err(usage(args.verb(), "--ranges goes with --precision int8: the others take no ranges from samples"));
    }
    let budget = args.pruning.budget();
    if args.verb == args::OptimizeVerb::Prune && budget.is_none() && args.pruning.sparsity.is_none() {
        return Err(usage(args.verb(), "how much is to go: --ratio RATIO, --prune BUDGET or --sparsity N:M"));
    }
    if let Some(budget) = budget {
        optimizer = optimizer.pruned(pruner(args, budget, target_profile)?);
    }
    if let Some(pattern) = args.pruning.sparsity {
        optimizer = optimizer.sparse(Sparsifier {
            pattern,
            calibration: args.quantizing.calibration.calibration()?,
            engine: engine::bounded(&args.proof)?,
            bounds: bounds(args),
            gain: target_profile.sparsity,
        });
    }
    if let Some(opset) = args.opset {
        optimizer = optimizer.opset(opset);
    }
    if args.allow_unsupported {
        optimizer = optimizer.allow_unsupported();
    }
    for name in &args.disable {
        optimizer = optimizer.without(name);
    }
    for name in &args.only {
        optimizer = optimizer.only(name);
    }
    let proof = &args.proof;
    optimizer = match proof.no_check {
        true => optimizer.unchecked(),
        false => {
            let plan = engine::plan(proof.check_data.as_deref(), proof.check_budget, proof.check_memory)?;
            optimizer.checked(engine::executor(proof.engine)?, plan)
        }
    };
    // A slip in a rule's name is the command line's fault, not a model's.
    optimizer.check_names().map_err(|error| usage(args.verb(), error_with_hint(&error)))?;
    for dump in &args.dump_after {
        optimizer.check_pass(&dump.pass).map_err(|error| usage(args.verb(), error_with_hint(&error)))?;
    }
    dump::prepare(&args.dump_after)?;
    let files = &args.files;
    let read = files.reading();
    let is_asked = is_quantized
        || is_assigned
        || budget.is_some()
        || args.pruning.sparsity.is_some()
        || is_edited
        || args.opset.is_some()
        || files.freeze_defaults
        || files.external_data;
    let weights = if files.external_data { Weights::Beside } else { Weights::Inside };
    let ir_version = if only_edits { IrVersion::Kept } else { IrVersion::Lowest };
    let write = WriteOptions { weights, ir_version };
    let pareto = assigning.pareto.as_deref();
    Ok(Request { optimizer, read, write, dumps: &args.dump_after, is_asked, only_edits, pareto })
}

/// How models get integers.
fn quantizer(args: &args::Optimize, target: Target) -> anyhow::Result<Quantizer> {
    let calibration = &args.quantizing.calibration;
    if !calibration.is_given() {
        return Err(usage(args.verb(), "samples are needed to see what tensors hold: --calib PLACE"));
    }
    if args.quantizing.measure.is_some() {
        if args.inputs.len() > 1 {
            return Err(usage(args.verb(), "--measure takes one model at a time: others would disturb it"));
        }
        if calibration.calib.is_none() {
            return Err(usage(args.verb(), "--measure runs a sample: --calib PLACE"));
        }
    }
    let race = args.quantizing.measure.as_ref().map(|python| Race::new(&target.policy.name, python)).transpose();
    Ok(Quantizer {
        race: race.map_err(|error| usage(args.verb(), error))?,
        policy: target.policy,
        choice: args.quantizing.choosing.choice(),
        calibration: calibration.calibration()?,
        method: args.quantizing.ranges.and_then(Ranges::method),
        everywhere: args.quantizing.quantize_all,
        without: args.quantizing.without_correction.iter().cloned().collect(),
        engine: engine::bounded(&args.proof)?,
        bounds: bounds(args),
    })
}

/// How layers get a precision each.
fn assigner(args: &args::Optimize, target: Target) -> anyhow::Result<Assigner> {
    let quantizing = &args.quantizing;
    // What layers compute in that no pattern names.
    let is_quantize = args.verb == args::OptimizeVerb::Quantize;
    let default = match quantizing.precision.or(is_quantize.then_some(Precision::Int8)) {
        None | Some(Precision::Auto) => None,
        Some(precision) => match precision.of_layers() {
            Ok(precision) => Some(("*".to_string(), precision)),
            Err(why) => return Err(usage(args.verb(), format!("--precision with --layer-precision: {why}"))),
        },
    };
    if quantizing.assigning.pareto.is_some() && args.inputs.len() > 1 {
        return Err(usage(args.verb(), "--pareto names one file, but there are several models"));
    }
    if quantizing.assigning.cache.is_some() && args.inputs.len() > 1 {
        return Err(usage(args.verb(), "--cache names one file, but there are several models"));
    }
    let (choice, calibration) = (quantizing.choosing.choice(), quantizing.calibration.calibration()?);
    let engine = engine::bounded(&args.proof)?;
    let assigner = quantizing.assigning.assigner(target, choice, calibration, engine, bounds(args));
    let mut assigner = assigner.map_err(|why| usage(args.verb(), why))?;
    if let Some((pattern, precision)) = default.filter(|_| !assigner.given.is_empty()) {
        if !assigner.sensitivity.candidates.contains(&precision) {
            assigner.sensitivity.candidates.push(precision);
        }
        // The last pattern that matches counts.
        assigner.given.insert(0, (pattern, precision));
    }
    Ok(assigner)
}

/// How models lose channels.
fn pruner(args: &args::Optimize, budget: Budget, target: &Profile) -> anyhow::Result<Pruner> {
    let proof = &args.proof;
    let check = match proof.no_check {
        true => None,
        false => Some(engine::plan(None, proof.check_budget, proof.check_memory)?),
    };
    let bounds = bounds(args);
    if budget == Budget::Auto && bounds == Bounds::default() {
        return Err(usage(
            args.verb(),
            "--prune auto goes as far as a bound allows: --min-sqnr DB or --max-drop PERCENT",
        ));
    }
    let calibration = args.quantizing.calibration.calibration()?;
    if calibration.source.is_none() && bounds != Bounds::default() {
        return Err(usage(args.verb(), OutOfBounds::NothingToCompare));
    }
    let engine = engine::bounded(proof)?;
    Ok(args.pruning.pruner(budget, target.channel_multiple, engine, calibration, check, bounds))
}

/// How models get integers without samples.
fn dynamic(args: &args::Optimize, target: &Profile) -> anyhow::Result<Dynamic> {
    let engine = engine::bounded(&args.proof)?;
    let dynamic = Dynamic::for_target(target, engine).map_err(|error| usage(args.verb(), error))?;
    let bounds = bounds(args);
    let calibration = args.quantizing.calibration.calibration()?;
    if calibration.source.is_none() && bounds != Bounds::default() {
        return Err(usage(args.verb(), OutOfBounds::NothingToCompare));
    }
    Ok(Dynamic { choice: args.quantizing.choosing.choice(), calibration, bounds, ..dynamic })
}

/// What takes the place of float32, if anything is to.
fn half(args: &args::Optimize) -> Option<Half> {
    match args.quantizing.precision? {
        Precision::Fp16 => Some(Half::F16),
        Precision::Bf16 => Some(Half::BF16),
        Precision::Fp16Weights => Some(Half::Weights),
        _ => None,
    }
}

/// How models get halves.
fn halver(args: &args::Optimize, half: Half, target: &'static Profile) -> anyhow::Result<Halver> {
    let io = match args.quantizing.io {
        IoArg::Keep => Io::Keep,
        IoArg::Convert => Io::Convert,
    };
    Ok(Halver {
        target,
        io,
        choice: args.quantizing.choosing.choice(),
        calibration: args.quantizing.calibration.calibration()?,
        bounds: bounds(args),
        ..Halver::new(half, engine::bounded(&args.proof)?)
    })
}

/// How weights get few bits.
fn packer(args: &args::Optimize, integers: Integers, target: &'static Profile) -> anyhow::Result<Packer> {
    let bounds = bounds(args);
    let calibration = args.quantizing.calibration.calibration()?;
    if calibration.source.is_none() {
        if bounds != Bounds::default() {
            return Err(usage(args.verb(), OutOfBounds::NothingToCompare));
        }
        args.quantizing.low_bits.check_without_samples().map_err(|why| usage(args.verb(), why))?;
    }
    let choice = args.quantizing.choosing.choice();
    let packer = Packer { target, choice, calibration, bounds, ..Packer::new(integers, engine::bounded(&args.proof)?) };
    Ok(args.quantizing.low_bits.asked_of(packer))
}

/// How good a quantized model has to be.
fn bounds(args: &args::Optimize) -> Bounds {
    Bounds { min_sqnr: args.quantizing.min_sqnr, max_drop: args.quantizing.max_drop }
}

fn error_with_hint(error: &Error) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}"))
}

/// Optimize one model and write it.
fn optimize(job: &Job, request: &Request<'_>, progress: &Progress) -> anyhow::Result<account::Optimized> {
    let source = Source::open(&job.input)?;
    progress.step("read");
    let model = source.read(&request.read)?;
    let opset = model.opset();
    let mut steps = Steps { progress, dumper: Dumper::new(request.dumps, &job.input, &model) };
    let done = request.optimizer.run_observed(model, &mut steps)?;
    steps.dumper.finish()?;
    let (model, mut report) = (done.model, done.report);
    if let (Some(file), Some(found)) = (request.pareto, &report.accounts.assignment) {
        assigning::write_front(file, found)?;
    }
    progress.step("write");
    let must = request.is_asked || opset != model.opset() || report.lowered();
    let helps = must || is_better(&model, &report)?;
    let delivery = if helps {
        let written = model.write_with(&job.output, &request.write).map_err(Error::from)?;
        report.opset = written.opset;
        report.after.nodes = written.ops.values().sum();
        report.after.ops = written.ops;
        report.after.file_bytes = written.bytes;
        if request.only_edits { Delivery::Edited } else { Delivery::Optimized }
    } else {
        report.after = report.before.clone();
        copy(&source, job, &model, request)?;
        Delivery::Copied
    };
    Ok(account::Optimized { delivery, report })
}

/// Whether the file would be smaller, or have a node less that computes something; with an edit, whether it would be no
/// larger. Reading alone can be such a gain: functions are inlined and constants are spelled as initializers.
fn is_better(model: &Model, report: &Report) -> anyhow::Result<bool> {
    let computing = |ops: &BTreeMap<String, usize>| -> usize {
        ops.iter().filter(|(op, _)| *op != "Constant").map(|(_, count)| count).sum()
    };
    let (bytes, ops) = model.foretell().map_err(Error::from)?;
    let most = if report.changed() { model.file_bytes } else { model.file_bytes.saturating_sub(1) };
    Ok(bytes <= most || computing(&ops) < computing(&report.before.ops))
}

/// Put the input itself where the output should be. `read` is what was read from it.
fn copy(source: &Source<'_>, job: &Job, read: &Model, request: &Request<'_>) -> anyhow::Result<()> {
    let at = || job.output.display().to_string();
    match source {
        Source::Stream(bytes) if is_stream(&job.output) => io::stdout().write_all(bytes)?,
        Source::Stream(bytes) => onnx::replace(&job.output, |file| file.write_all(bytes)).with_context(at)?,
        Source::File(_) if job.is_in_place() => {}
        Source::File(path) => {
            let mut file = File::open(path).with_context(|| path.display().to_string())?;
            let is_whole = file.metadata().is_ok_and(|m| m.len() == read.file_bytes);
            if !is_whole {
                // The weights lie in other files, which a copy elsewhere would not find.
                source.read(&request.read)?.write_with(&job.output, &request.write).map_err(Error::from)?;
            } else if is_stream(&job.output) {
                io::copy(&mut file, &mut io::stdout().lock())?;
            } else {
                onnx::replace(&job.output, |out| io::copy(&mut file, out)).with_context(at)?;
            }
        }
    }
    Ok(())
}

/// Tells the progress line of each step, and writes the texts that were asked for.
struct Steps<'a> {
    progress: &'a Progress,
    dumper: Dumper<'a>,
}

impl Observer for Steps<'_> {
    fn started(&mut self, pass: &'static str) {
        self.progress.step(pass);
    }

    fn finished(&mut self, pass: &'static str, graph: &Graph) {
        self.dumper.after(pass, graph);
    }

    fn sampled(&mut self, done: u64, total: u64) {
        self.progress.samples(done, total);
    }
}
