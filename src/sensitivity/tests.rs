//! What is measured of layers piece by piece is what whole runs would tell.

use super::*;
use crate::calibrate::Source;
use crate::exec::Stepper;
use crate::exec::tract::Tract;
use crate::passes::infer_declared;
use crate::quality::loss::mean;
use crate::sensitivity::dress::dress;
use crate::target;
use crate::text::parse;

/// Two branches that meet, and what comes behind: layers before, beside and behind one another.
pub(crate) const NET: &str = r#"<ir_version: 8, opset_import: ["" : 21]>
    g (float[n,2,5,5] x) => (float[n,4] y)
    <float[32,2,3,3] w, float[32] b, float[32,32,1,1] v, float[32,32,1,1] u, float[32,4] head, int64[2] shape = {0, -1}>
    { [first] a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
      r = Relu(a)
      [left] l = Conv(r, v)
      [right] t = Conv(r, u)
      k = Relu(t)
      s = Add(l, k)
      p = GlobalAveragePool(s)
      f = Reshape(p, shape)
      [head] y = MatMul(f, head) }"#;

pub(crate) fn net(text: &str) -> Model {
    let mut model = parse(text).unwrap();
    infer_declared(&mut model.graph);
    model
}

pub(crate) fn sensitivity(samples: usize) -> Sensitivity {
    let calibration = Calibration {
        source: Some(Source::Random(3)),
        samples: Some(samples),
        verifies: true,
        ..Calibration::default()
    };
    Sensitivity {
        target: &target::ONNX,
        policy: Policy::of(&target::ONNX),
        candidates: vec![Precision::Fp16, Precision::Int8Weights, Precision::Int8, Precision::Int4],
        choice: Choice::default(),
        calibration,
        engine: Arc::new(Tract),
        measure: Measure::Auto,
        cache: None,
    }
}

#[test]
fn losses_are_those_of_whole_runs() {
    let model = net(NET);
    let measured = sensitivity(8).measured(&model, &|_, _| {}, true).unwrap();
    let Measured { ground, layers, candidates, effects, heads, samples, .. } = &measured;
    assert_eq!(layers.iter().map(|layer| &*layer.name).collect::<Vec<_>>(), ["first", "left", "right", "head"]);
    let run = |model: &Model| {
        let mut stepper = Stepper::new(model, &ground.probe.tried[..*samples], &Tract).unwrap();
        stepper.reach(model, &heads.values()).unwrap();
        heads.values().iter().map(|&v| stepper.of(v).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let clean = run(&ground.model);
    let mut followed = 0;
    for ((layer, candidates), effects) in layers.iter().zip(candidates).zip(effects) {
        assert_eq!(effects.keys().copied().collect::<Vec<_>>(), {
            let mut candidates = candidates.clone();
            candidates.sort();
            candidates
        });
        for (&precision, effect) in effects {
            let mut whole = ground.model.clone();
            let is_layer = |node| layers.iter().any(|layer| layer.node == node);
            let users = whole.graph.value(whole.graph.result(layer.node, 0).unwrap()).users().to_vec();
            let dressed = dress(&mut whole.graph, layer.node, layer, precision, ground, &is_layer).unwrap();
            users.iter().for_each(|&user| whole.graph.replace_use(user, dressed[0].unwrap()));
            let values = heads.values();
            let shown = if values[0] == ground.model.graph.result(layer.node, 0).unwrap() {
                dressed[0].unwrap()
            } else {
                values[0]
            };
            let mut stepper = Stepper::new(&whole, &ground.probe.tried[..*samples], &Tract).unwrap();
            stepper.reach(&whole, &[shown]).unwrap();
            let got = [stepper.of(shown).unwrap()];
            let loss = mean(&heads.losses(&[&clean[0]], &got));
            if effect.skipped {
                let told = (loss - effect.loss).abs() <= 0.5 * loss + 1e-6;
                assert!(effect.loss <= 1e-4 && told, "{} {precision}: {loss} {effect:?}", layer.name);
                continue;
            }
            followed += 1;
            assert!((loss - effect.loss).abs() <= 1e-3 * loss + 1e-9, "{} {precision}: {loss} {effect:?}", layer.name);
        }
    }
    assert!(followed >= 8, "{followed}");
}

/// Whether both have the same effects, up to how files spell numbers.
fn alike(a: &Summary, b: &Summary) -> bool {
    let losses = |summary: &Summary| -> Vec<(String, Precision, f64)> {
        let of = |l: &LayerReport| l.effects.iter().map(|(p, e)| (l.node.clone(), *p, e.loss)).collect::<Vec<_>>();
        summary.layers.iter().flat_map(of).collect()
    };
    let (a, b) = (losses(a), losses(b));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| (&a.0, a.1) == (&b.0, b.1) && (a.2 - b.2).abs() <= 1e-12 * b.2.abs())
}

#[test]
fn what_was_measured_is_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.json");
    let model = net(NET);
    let asked = Sensitivity { cache: Some(file.clone()), ..sensitivity(8) };
    let once = asked.run(&model, &|_, _| {}).unwrap();
    let twice = asked.run(&model, &|_, _| {}).unwrap();
    assert!(once.forwards > 8.0 && twice.forwards == 0.0);
    assert!(alike(&once, &twice));
    // Of a run that was cut short some layers are there.
    let cut: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let mut cut = cut.as_object().unwrap().clone();
    cut["layers"].as_object_mut().unwrap().remove("2");
    std::fs::write(&file, serde_json::to_string(&cut).unwrap()).unwrap();
    let resumed = asked.run(&model, &|_, _| {}).unwrap();
    assert!(resumed.forwards > 0.0 && resumed.forwards < once.forwards);
    assert!(alike(&resumed, &once));
    // Another model has nothing of it.
    let other = net(&NET.replace("pads = [1, 1, 1, 1]", "pads = [0, 0, 0, 0]"));
    assert!(asked.run(&other, &|_, _| {}).unwrap().forwards > 8.0);
}

#[test]
fn there_has_to_be_something_to_measure() {
    let none = net(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }"#);
    assert!(matches!(sensitivity(4).run(&none, &|_, _| {}), Err(SensitivityError::NoLayers)));
    let integers = net(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,4] x) => (int64[n,1] y)
        <float[4,4] w> { a = MatMul(x, w) y = ArgMax <axis = 1> (a) }"#);
    assert!(matches!(sensitivity(4).run(&integers, &|_, _| {}), Err(SensitivityError::NoOutputs)));
}

#[test]
fn measures_by_weights_run_nothing() {
    let asked = Sensitivity { measure: Measure::Weights, ..sensitivity(8) };
    let found = asked.run(&net(NET), &|_, _| {}).unwrap();
    assert_eq!((found.forwards, found.measure), (0.0, "weights"));
    let int8 = |layer: &LayerReport| layer.effects[&Precision::Int8].loss;
    assert!(found.layers.iter().all(|layer| int8(layer) > 0.0 && int8(layer) < 1e-3));
    let local = Sensitivity { measure: Measure::Local, ..sensitivity(8) }.run(&net(NET), &|_, _| {}).unwrap();
    assert!(local.layers.iter().all(|layer| layer.effects.values().all(|effect| effect.loss == effect.local)));
}
