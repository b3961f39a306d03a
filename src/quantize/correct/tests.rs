//! Small models whose corrections are known.

use std::collections::BTreeSet;

use super::*;
use crate::calibrate::{Calibration, Method, Source};
use crate::exec::Executor;
use crate::exec::tract::Tract;
use crate::ir::{OpKind, ScopeId};
use crate::passes::infer_declared;
use crate::quantize::correct::bench::LADDER;
use crate::quantize::correct::equalize::{Kind, equalize, follow};
use crate::quantize::correct::in_order::correct_in_order;
use crate::quantize::correct::judge::BEST;
use crate::quantize::{Grid, Ranges, Readers, Site, scales};
use crate::text::parse;

fn setting<'a>(probe: &'a Probe, plan: &'a Plan, without: &'a BTreeSet<String>, stepped: usize) -> Setting<'a> {
    let limits = Limits { judged: 8, proven: 8, further: 0, stepped };
    Setting { engine: &Tract, probe, plan, without, limits }
}

/// A model in text, and a plan that gives integers to every layer and to what it reads.
fn planned(text: &str) -> (Model, Plan) {
    let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
    infer_declared(&mut model.graph);
    let mut plan = Plan::default();
    for node in model.graph.schedule(ScopeId::MAIN) {
        if !matches!(model.graph.node(node).op, OpKind::Conv | OpKind::Gemm | OpKind::MatMul) {
            continue;
        }
        let axis = usize::from(model.graph.node(node).op != OpKind::Conv);
        let (group, grid) = (plan.sites.len(), Grid::U8);
        plan.weights.push(WeightSite {
            node,
            slot: 1,
            axis: Some(axis),
            grid: Grid::I8,
            scales: None,
            rule: String::new(),
            bias: crate::target::policy::BiasForm::Float,
        });
        let value = model.graph.operand(node, 0).unwrap();
        let readers = Readers::Some(vec![(node, 0)]);
        plan.sites.push(Site {
            value,
            readers,
            grid,
            group,
            rule: String::new(),
            fixed: None,
            near: false,
            even: None,
        });
    }
    (model, plan)
}

fn given(model: &Model) -> Probe {
    let calibration = Calibration { source: Some(Source::Random(1)), samples: Some(32), ..Calibration::default() };
    calibration.probe(model, &Tract, &|_| 8).unwrap()
}

const UNEVEN: &str = "g (float[1,2,6,6] x) => (float[1,2,6,6] y)
    <float[3,2,1,1] w = {1, 0.7, 0.005, -0.01, -0.02, 0.004}, float[3] b = {0.1, 0.001, 0.002},
     float[2,3,1,1] v = {0.8, 90, -40, -0.5, 100, 60}, float[2] c = {0.3, -0.2}>
    { a = Conv(x, w, b)
      r = Relu(a)
      y = Conv(r, v, c) }";

#[test]
fn uneven_channels_are_equalized_and_the_function_stays() {
    let (float, plan) = planned(UNEVEN);
    let probe = given(&float);
    let none = BTreeSet::new();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 0)).unwrap();
    let (mut model, mut steps) = (float.clone(), Vec::new());
    let mut gathered = seen(&model, &plan, &probe, &Tract).unwrap();
    let ranges = Ranges::Method(Method::MinMax);
    bench.equalize(&mut model, &mut gathered, ranges, &mut steps).unwrap();
    assert_eq!((steps.len(), steps[0].name, steps[0].changes), (1, "equalize-channels", 1));
    assert!(steps[0].kept && steps[0].after > steps[0].before + 5.0, "{steps:?}");
    let mut session = Tract.load(&model).unwrap();
    let same = bench.judge(|feed| Ok(session.run(feed)?)).unwrap();
    assert!(same > BEST - 1e-9, "the function is the same");
    assert!(model.graph.values().count() == float.graph.values().count(), "old weights are gone");
}

#[test]
fn what_divided_channels_hold_follows() {
    let (float, plan) = planned(UNEVEN);
    let probe = given(&float);
    let none = BTreeSet::new();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 0)).unwrap();
    let mut gathered = seen(&float, &plan, &probe, &Tract).unwrap();
    let mut changed = float.clone();
    let divided = equalize(&mut changed, Kind::Channels, &gathered, &bench);
    let following = follow(&changed.graph, &gathered, &divided).unwrap();
    let known = seen(&changed, &plan, &probe, &Tract).unwrap();
    let (known, found) = (&known.tensors["r"], &following.tensors["r"]);
    let of = |s: &crate::calibrate::Statistics| {
        let channels = s.channels.clone().unwrap();
        let ends = channels.min.into_iter().chain(channels.max).chain([s.min, s.max]).map(f64::from);
        ends.chain(channels.mean).chain(channels.power).collect::<Vec<f64>>()
    };
    assert!(of(known).iter().zip(of(found)).all(|(x, y)| (x - y).abs() <= 1e-5 * x.abs()), "{known:?} {found:?}");
    assert!(known.max != gathered.tensors["r"].max && (found.samples, found.histogram.len()) == (8, 0));
    // Where runs take long, histograms are not known then.
    let mut steps = Vec::new();
    bench.equalize(&mut float.clone(), &mut gathered, LADDER[0], &mut steps).unwrap();
    assert!(steps[0].kept && gathered == Gathered::default());
    let mut few = seen(&float, &plan, &probe, &Tract).unwrap();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 8)).unwrap();
    bench.equalize(&mut float.clone(), &mut few, LADDER[0], &mut steps).unwrap();
    assert!(steps[1].kept && !few.tensors["r"].histogram.is_empty());
}

#[test]
fn what_is_left_out_by_name_is_not_done() {
    let (mut float, plan) = planned(UNEVEN);
    let probe = given(&float);
    let without = ["equalize-channels", "smooth-activations", "choose-ranges", "correct-biases"];
    let without: BTreeSet<String> = without.into_iter().map(str::to_string).collect();
    let model = float.clone();
    let bench = Bench::new(&model, setting(&probe, &plan, &without, 0)).unwrap();
    let mut gathered = seen(&float, &plan, &probe, &Tract).unwrap();
    let mut steps = Vec::new();
    let first = Ranges::Method(Method::MinMax);
    bench.equalize(&mut float, &mut gathered, first, &mut steps).unwrap();
    let (chosen, known, _) = bench.choose_ranges(&float, &gathered, &mut steps).unwrap();
    assert_eq!((&chosen, known), (&scales(&float.graph, &plan, &gathered, first).unwrap(), None));
    bench.correct_biases(&mut float, &gathered, &chosen, known, &mut steps).unwrap();
    assert_eq!(steps, []);
}

#[test]
fn a_bias_takes_back_what_rounding_takes_away() {
    // Behind a Relu means are positive, and 0.0038 is just below half a step of 1/127.
    let (float, plan) = planned(
        "g (float[4,4] x) => (float[4,2] y)
        <float[4,2] w = {1, 0.0038, 0.0038, 1, 0.0038, 0.0038, 0.0038, 0.0038}, float[2] b = {0, 0}>
        { r = Relu(x)
          y = Gemm(r, w, b) }",
    );
    let probe = given(&float);
    let none = BTreeSet::new();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 0)).unwrap();
    let (mut model, mut steps) = (float.clone(), Vec::new());
    let gathered = seen(&model, &plan, &probe, &Tract).unwrap();
    let scales = scales(&model.graph, &plan, &gathered, Method::MinMax).unwrap();
    bench.correct_biases(&mut model, &gathered, &scales, None, &mut steps).unwrap();
    assert!(steps[0].kept && steps[0].changes == 1, "{steps:?}");
    let call = model.graph.schedule(ScopeId::MAIN)[1];
    let bias = model.graph.operand(call, 2).and_then(|b| model.graph.constant(b)?.reals()).unwrap();
    // Three weights of 0.0038 each, times the mean of a normal distribution's positive part.
    assert!(bias.iter().all(|b| (0.003..0.006).contains(b)), "{bias:?}");
}

#[test]
fn biases_corrected_in_order_see_what_pads() {
    // Every weight of the first layer is rounded up, by nearly half a step; elements that pad are none of a mean.
    let (float, plan) = planned(
        "g (float[1,1,3,3] x) => (float[1,1,3,3] y)
        <float[2,1,3,3] w = {1, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042,
                             0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 1},
         float[1,2,1,1] v = {1, 0.0042}>
        { r = Relu(x)
          a = Conv <pads = [1, 1, 1, 1]> (r, w)
          y = Conv(a, v) }",
    );
    let probe = given(&float);
    let gathered = seen(&float, &plan, &probe, &Tract).unwrap();
    let scales = scales(&float.graph, &plan, &gathered, Method::MinMax).unwrap();
    let (corrected, changes) = correct_in_order(&float, &plan, &scales, &probe.tried, &Tract).unwrap();
    assert_eq!(changes, 2);
    let none = BTreeSet::new();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 8)).unwrap();
    let (before, after) = (bench.quantized(&float, &scales).unwrap(), bench.quantized(&corrected, &scales).unwrap());
    assert!(after > before, "{before} {after}");
    let (mut model, mut steps) = (float.clone(), Vec::new());
    bench.correct_biases(&mut model, &gathered, &scales, Some(before), &mut steps).unwrap();
    assert!(steps[0].kept && steps[0].after >= after && steps[0].before == before, "{steps:?}");
}

#[test]
fn ranges_are_no_worse_than_the_first_rung() {
    let (float, plan) = planned(UNEVEN);
    let probe = given(&float);
    let none = BTreeSet::new();
    let bench = Bench::new(&float, setting(&probe, &plan, &none, 0)).unwrap();
    let gathered = seen(&float, &plan, &probe, &Tract).unwrap();
    let mut steps = Vec::new();
    let (chosen, known, _) = bench.choose_ranges(&float, &gathered, &mut steps).unwrap();
    let first = scales(&float.graph, &plan, &gathered, LADDER[0]).unwrap();
    assert!(steps[0].after >= steps[0].before && steps[0].kept == (chosen != first), "{steps:?}");
    let again = bench.quantized(&float, &chosen).unwrap();
    assert_eq!(known, Some(again), "of all samples, as far as they were needed to choose or not");
}

#[test]
fn weights_that_are_no_numbers_are_left_alone() {
    for bad in ["nan", "inf", "0"] {
        let text = UNEVEN.replace("0.8, 90, -40, -0.5, 100, 60", &[bad; 6].join(", "));
        let (float, plan) = planned(&text);
        let probe = given(&float);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, setting(&probe, &plan, &none, 0)).unwrap();
        let (mut model, mut steps) = (float.clone(), Vec::new());
        let mut gathered = seen(&model, &plan, &probe, &Tract).unwrap();
        bench.equalize(&mut model, &mut gathered, LADDER[0], &mut steps).unwrap();
        assert_eq!(steps, [], "{bad}");
    }
}
