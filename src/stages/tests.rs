use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use npyz::WriterBuilder;

use super::*;
use crate::calibrate::Source;
use crate::exec::tract::Tract;
use crate::exec::{Cannot, Imaging, Session};
use crate::ir::{DType, OpKind, Tensor};
use crate::optimizer::Optimizer;
use crate::precision::Half;
use crate::target::{self, Profile};
use crate::text::parse;

/// Counts the models that it is given.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Executor for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Tract.load(model)
    }
}

/// A stage that makes all weights a hundredth larger.
struct Larger {
    place: Place,
    calibration: Calibration,
    engine: Arc<Counting>,
    bounds: Bounds,
    needs: Needs,
}

impl Stage for Larger {
    fn place(&self) -> Place {
        self.place
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let (before, g) = (model.clone(), &mut model.graph);
        for value in g.values().collect::<Vec<_>>() {
            let Some(weight) = g.constant(value) else { continue };
            assert_eq!(weight.dtype(), DType::F32, "a stage is given what it needs");
            let elements: Vec<f32> = weight.reals().unwrap().iter().map(|x| (x * 1.01) as f32).collect();
            let larger = Tensor::f32s(weight.dims(), &elements).unwrap();
            g.set_constant(value, larger);
        }
        let calibration = around.shared(&self.calibration);
        let feeds = calibration.probe(&before, &Tract, &|_| 0).unwrap().held_out;
        let outputs = crate::quality::compare(&before, model, &feeds, &Tract).unwrap();
        self.bounds.check(&outputs).expect("by itself it is within the bound");
        Ok(Account::Sparsity(sparsity::Summary {
            measured: Measured { held_out: feeds.len(), outputs },
            ..Default::default()
        })
        .into())
    }
}

fn model() -> Model {
    let text = r#"<ir_version: 8, opset_import: ["" : 17]>
        g (float[n,4] x) => (float[n,4] y) <float[4,4] w> { a = Sigmoid(x) b = Mul(a, x) y = MatMul(b, w) }"#;
    parse(text).unwrap()
}

/// Sixteen samples for it.
fn samples() -> (tempfile::TempDir, Calibration) {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("x.npy")).unwrap();
    let mut array = npyz::WriteOptions::new().default_dtype().shape(&[16, 4]).writer(file).begin_nd().unwrap();
    array.extend((0..64u8).map(|i| f32::from(i % 13) - 6.0)).unwrap();
    array.finish().unwrap();
    let source = Some(Source::open(folder.path(), Imaging::default()).unwrap());
    (folder, Calibration { source, ..Calibration::default() })
}

/// What becomes of the model with stages at these places, the first of which has these needs.
fn run(places: &[Place], bounds: Bounds, needs: Needs) -> (Result<crate::optimizer::Outcome, Error>, usize) {
    run_for(&target::ONNXRUNTIME, model(), places, bounds, needs)
}

fn run_for(
    target: &'static Profile,
    model: Model,
    places: &[Place],
    bounds: Bounds,
    needs: Needs,
) -> (Result<crate::optimizer::Outcome, Error>, usize) {
    let (_folder, calibration) = samples();
    let engine = Arc::new(Counting::default());
    let mut optimizer = Optimizer::for_target(target).unchecked();
    for (i, &place) in places.iter().enumerate() {
        let (calibration, engine) = (calibration.clone(), engine.clone());
        let needs = if i == 0 { needs } else { Needs::default() };
        optimizer = optimizer.staged(Larger { place, calibration, engine, bounds, needs });
    }
    let done = optimizer.run(model);
    (done, engine.0.load(Ordering::Relaxed))
}

#[test]
fn each_stage_is_told_against_the_original() {
    let places = [Place::Halve, Place::Prune, Place::Quantize];
    let (done, loads) = run(&places, Bounds::default(), Needs::default());
    let stands = done.unwrap().report.stages;
    let names: Vec<&str> = stands.iter().map(|stand| stand.stage).collect();
    assert_eq!(names, ["original", "optimize", "prune", "quantize", "halve"]);
    for (stand, times) in stands[2..].iter().zip(1..) {
        let far = -20.0 * (1.01f64.powi(times) - 1.0).log10();
        assert!((stand.measured.outputs[0].sqnr - far).abs() < 0.1, "{stand:?}");
        assert_eq!((stand.measured.held_out, stand.macs, stand.parameter_bytes), (2, Some(16), 64));
    }
    // The original once, and what the last two stages left.
    assert_eq!(loads, 3);
}

#[test]
fn a_bound_holds_for_all_stages_together() {
    let bounds = Bounds { min_sqnr: Some(38.0), max_drop: None };
    assert!(run(&[Place::Prune], bounds, Needs::default()).0.is_ok());
    let error = run(&[Place::Prune, Place::Halve], bounds, Needs::default()).0.unwrap_err();
    assert!(matches!(error, Error::Together { stage: "halve", .. }), "{error}");
    assert!(error.to_string().starts_with("behind halve, with what was done before it: output \"y\" is 33.9 dB"));
}

#[test]
fn what_runs_before_a_stage_is_as_it_needs_it() {
    let ops = |needs| {
        let model = run(&[Place::Quantize], Bounds::default(), needs).0.unwrap().model;
        model.graph.nodes().map(|n| model.graph.node(n).op).collect::<Vec<_>>()
    };
    assert!(ops(Needs::default()).contains(&OpKind::Custom), "the target has one operator for x · sigmoid(x)");
    assert!(!ops(Needs { plain: true, ..Needs::default() }).contains(&OpKind::Custom));
    assert!(!ops(Needs { holds_back: &["fuse-"], ..Needs::default() }).contains(&OpKind::Custom));
}

/// A model in halves, behind stages that need float32: which they were, what its weights are, and what it computes in.
fn in_halves(
    text: &str,
    target: &'static Profile,
    place: Place,
    widens: Widens,
) -> (Vec<&'static str>, String, String) {
    let needs = Needs { widens, ..Needs::default() };
    let outcome = run_for(target, parse(text).unwrap(), &[place], Bounds::default(), needs).0.unwrap();
    let [weights, computed] = types(&outcome.model);
    (outcome.report.stages.iter().map(|stand| stand.stage).collect(), weights, computed)
}

/// What a model's weights are, and what its products compute in.
fn types(model: &Model) -> [String; 2] {
    let graph = &model.graph;
    let types = |values: Vec<crate::ir::ValueId>| {
        let mut types: Vec<&str> = values.iter().map(|&v| graph.value(v).ty.dtype().unwrap().name()).collect();
        types.sort_unstable();
        types.dedup();
        types.join(" ")
    };
    let products = graph.nodes().filter(|&n| graph.node(n).op == OpKind::MatMul);
    let computed = types(products.map(|n| graph.result(n, 0).unwrap()).collect());
    [types(graph.values().filter(|&v| graph.constant(v).is_some()).collect()), computed]
}

const IN_HALVES: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
    g (float16[n,4] x) => (float16[n,32] y) <float16[4,32] w> { a = Sigmoid(x) y = MatMul(a, w) }"#;
const STORED_IN_HALVES: &str = r#"<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,4096] y) <float16[4,4096] w> { v = Cast<to = 1>(w) a = Sigmoid(x) y = MatMul(a, v) }"#;

#[test]
fn what_was_in_halves_is_again() {
    let of = |text, target, widens| in_halves(text, target, Place::Quantize, widens);
    let stages = || vec!["original", "optimize", "quantize", "restore"];
    let both = |ty: &str, computed: &str| (stages(), ty.to_string(), computed.to_string());
    assert_eq!(of(IN_HALVES, &target::TENSORRT, Widens::All), both("float16", "float16"));
    assert_eq!(of(IN_HALVES, &target::ONNXRUNTIME, Widens::All), both("float16", "float"), "it is slow in halves");
    for widens in [Widens::Stored, Widens::All] {
        assert_eq!(of(STORED_IN_HALVES, &target::TENSORRT, widens), both("float16", "float"), "nothing computed so");
    }
}

#[test]
fn halves_become_other_halves() {
    let of = |half, text: &str| {
        let halver = crate::precision::Halver::new(half, Arc::new(Tract));
        types(&Optimizer::for_target(&target::ONNX).halved(halver).run(parse(text).unwrap()).unwrap().model)
    };
    assert_eq!(of(Half::F16, IN_HALVES), ["float16", "float16"]);
    assert_eq!(of(Half::BF16, IN_HALVES), ["bfloat16", "bfloat16"]);
    assert_eq!(of(Half::Weights, IN_HALVES), ["float16", "float"], "computed in float32 from here on");
    assert_eq!(of(Half::F16, STORED_IN_HALVES), ["float16", "float16"]);
}

#[test]
fn it_is_said_why_halves_stay() {
    let text = r#"<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>
        g (float16[n,4] x) => (float16[n,4] y) { a = Sigmoid(x) y = com.example.Op(a) }"#;
    let halver = crate::precision::Halver::new(Half::Weights, Arc::new(Tract));
    let done = Optimizer::for_target(&target::ONNX).halved(halver).run(parse(text).unwrap()).unwrap();
    let why = "what is in half precision was left as it is: an operator of another domain reads or makes it";
    assert!(done.report.notes.iter().any(|note| note == why), "{:?}", done.report.notes);
}

#[test]
fn a_stage_for_halves_has_the_last_word() {
    let (stages, ..) = in_halves(STORED_IN_HALVES, &target::TENSORRT, Place::Halve, Widens::Stored);
    assert_eq!(stages, ["original", "optimize", "halve"]);
}

#[test]
fn of_two_stages_for_one_place_the_last_counts() {
    let stands = run(&[Place::Prune, Place::Prune], Bounds::default(), Needs::default()).0.unwrap().report.stages;
    assert_eq!(stands.len(), 3);
}

#[test]
fn samples_are_read_once() {
    let (folder, calibration) = samples();
    let pool = Pool::default();
    let around = Around { given: None, rehearsal: None, pool: &pool, tell: &|_, _| {} };
    let (model, shared) = (model(), around.shared(&calibration));
    let alone = calibration.probe(&model, &Tract, &|_| 5).unwrap();
    let wanted = crate::calibrate::Wanted::all();
    let gathered = calibration.gathered(&model, &wanted, &Tract, &|_, _| {}, None, None).unwrap().gathered;
    assert_eq!(shared.probe(&model, &Tract, &|_| 1).unwrap().held_out, alone.held_out);
    drop(folder);
    let again = around.shared(&calibration).probe(&model, &Tract, &|_| 5).unwrap();
    assert_eq!((again.tried.len(), &again.tried, &again.held_out), (5, &alone.tried, &alone.held_out));
    let from_memory = shared.gathered(&model, &wanted, &Tract, &|_, _| {}, None, None).unwrap().gathered;
    assert_eq!((from_memory.runs, from_memory.tensors), (gathered.runs, gathered.tensors));
    // Other samples are not these.
    let fewer = Calibration { samples: Some(3), ..around.shared(&calibration) };
    assert!(fewer.probe(&model, &Tract, &|_| 5).is_err(), "the files are gone");
}
