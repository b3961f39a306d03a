//! Assignments keep what they promise.

use super::*;
use crate::exec::Executor;
use crate::exec::tract::Tract;
use crate::ir::DType;
use crate::quality::compare;
use crate::quantize::coverage;
use crate::sensitivity::tests::{NET, net, sensitivity};

fn assigner() -> Assigner {
    Assigner {
        sensitivity: sensitivity(32),
        bounds: Bounds::default(),
        budget: None,
        minimize: Cost::Bytes,
        given: Vec::new(),
        lists_front: false,
    }
}

fn budget(text: &str) -> Assigner {
    Assigner { budget: Some(text.parse().unwrap()), ..assigner() }
}

fn precisions(summary: &Summary) -> Vec<Precision> {
    summary.layers.iter().map(|layer| layer.precision).collect()
}

#[test]
fn a_budget_is_kept() {
    let mut bytes = u64::MAX;
    let mut losses = Vec::new();
    for share in [60, 40, 30, 25] {
        let mut model = net(NET);
        let summary = budget(&format!("bytes={share}%")).run(&mut model, &|_, _| {}).unwrap();
        assert!(summary.costs.bytes <= bytes, "less for less");
        bytes = summary.costs.bytes;
        // Halves of biases and shapes, and zero points, are no weights.
        assert!(bytes as f64 <= 0.01 * f64::from(share) * summary.float.bytes as f64 + 64.0, "{share} {bytes}");
        assert_eq!(census::quick(&model).parameter_bytes, bytes);
        losses.push(summary.loss);
        assert!(Tract.load(&model).is_ok());
    }
    assert!(losses.last() > losses.first(), "{losses:?}");
    let little = budget("bytes=1%").run(&mut net(NET), &|_, _| {}).unwrap_err();
    assert!(matches!(&little, AssignError::TooLittle { .. }), "{little}");
}

#[test]
fn bits_and_operations_are_counted() {
    let summary = budget("avg-bits=6").run(&mut net(NET), &|_, _| {}).unwrap();
    assert!(summary.costs.bits <= 6.0 && summary.costs.bits >= 4.0, "{:?}", summary.costs);
    let summary = budget("bitops=10%").run(&mut net(NET), &|_, _| {}).unwrap();
    assert!(10 * summary.costs.bitops <= summary.float.bitops);
    // Of an image of 25 places: 32·2·9·25 + 2·32·32·25, and 32·4 multiplications of 32 bits each.
    assert_eq!(summary.float.bitops, (32 * 18 * 25 + 2 * 32 * 32 * 25 + 128) * 1024);
}

#[test]
fn a_bound_is_kept_at_less_cost_than_float32() {
    let float = net(NET);
    for least in [15.0, 30.0, 50.0] {
        let mut model = float.clone();
        let bounds = Bounds { min_sqnr: Some(least), max_drop: None };
        let asked = Assigner { bounds, ..assigner() };
        let (summary, rehearsal) = asked.rehearsed(&mut model, &|_, _| {}).unwrap();
        assert!(summary.sqnr.unwrap() >= least && summary.measured.outputs[0].sqnr >= least);
        // On samples that were never seen.
        let others = crate::calibrate::Calibration {
            source: Some(crate::calibrate::Source::Random(77)),
            samples: Some(64),
            ..Default::default()
        };
        let fresh = others.probe(&float, &Tract, &|_| 64).unwrap().tried;
        let found = compare(&float, &rehearsal, &fresh, &Tract).unwrap();
        assert!(found[0].sqnr >= least, "{least}: {found:?}");
        assert!(summary.costs.bytes < summary.float.bytes);
        let cheapest = summary.uniform.iter().filter(|u| u.meets).map(|u| u.costs.bytes).min();
        assert!(cheapest.is_none_or(|cheapest| summary.costs.bytes <= cheapest + 64), "{:?}", summary.uniform);
    }
}

#[test]
fn what_is_given_is_what_becomes() {
    let mut model = net(NET);
    let given = |given: &[(&str, Precision)]| Assigner {
        given: given.iter().map(|(pattern, precision)| (pattern.to_string(), *precision)).collect(),
        ..assigner()
    };
    let asked = given(&[("*", Precision::Int8), ("left", Precision::Fp16), ("name:right", Precision::Int4)]);
    let summary = asked.run(&mut model, &|_, _| {}).unwrap();
    assert_eq!(precisions(&summary), [Precision::Int8, Precision::Fp16, Precision::Int4, Precision::Int8]);
    let found = coverage(&model.graph);
    // What has weights of four bits reads what its neighbour quantized.
    assert_eq!((found.integer, found.weighted), (3, 4));
    let dtypes: Vec<&str> =
        model.graph.values().filter_map(|v| model.graph.constant(v)).map(|t| t.dtype().name()).collect();
    assert!(dtypes.contains(&"int4") && dtypes.contains(&"float16"), "{dtypes:?}");
    let refused = given(&[("nothing", Precision::Int8)]).run(&mut net(NET), &|_, _| {}).unwrap_err();
    assert!(matches!(refused, AssignError::Choice(_)));
    let text = NET.replace("s = Add(l, k)", "[pair] q = MatMul(l, k) s = Add(q, k)");
    let refused = given(&[("pair", Precision::Int4)]).run(&mut net(&text), &|_, _| {}).unwrap_err();
    assert_eq!(refused.to_string(), "\"pair\" cannot be int4: it has no weights");
}

#[test]
fn two_kinds_of_halves_meet() {
    let text = NET.replace(": 21]", ": 22]");
    let candidates = vec![Precision::Fp16, Precision::Bf16];
    let sensitivity = Sensitivity { candidates, ..sensitivity(16) };
    let given = [("*", Precision::Fp16), ("left", Precision::Bf16)]
        .map(|(pattern, precision)| (pattern.to_string(), precision));
    let asked = Assigner { sensitivity: sensitivity.clone(), given: given.to_vec(), ..assigner() };
    let mut model = net(&text);
    let (summary, rehearsal) = asked.rehearsed(&mut model, &|_, _| {}).unwrap();
    assert_eq!(precisions(&summary), [Precision::Fp16, Precision::Bf16, Precision::Fp16, Precision::Fp16]);
    let graph = &model.graph;
    let read = |name: &str| -> Vec<DType> {
        let node = graph.nodes().find(|&node| graph.label(node) == name).unwrap();
        graph.operands(node).flatten().filter_map(|value| graph.value(value).ty.dtype()).collect()
    };
    assert_eq!(read("left"), [DType::BF16, DType::BF16]);
    assert_eq!(read("right"), [DType::F16, DType::F16]);
    assert!(Tract.load(&rehearsal).is_ok());
    // What bfloat16 rounds off is some 18 dB more than float16 does.
    assert!((30.0..60.0).contains(&summary.measured.outputs[0].sqnr), "{:?}", summary.measured.outputs);
    // Where float16 fits, bfloat16 costs the same and loses more.
    let bounds = Bounds { min_sqnr: Some(20.0), max_drop: None };
    let found = Assigner { sensitivity, bounds, ..assigner() }.run(&mut net(&text), &|_, _| {}).unwrap();
    assert!(found.layers.iter().all(|l| l.precision == Precision::Fp16 && !l.effects.contains_key(&Precision::Bf16)));
}

#[test]
fn weights_lie_in_halves() {
    let given = [("*", Precision::Fp16Weights), ("left", Precision::Fp16), ("right", Precision::Int8Weights)];
    let given = given.map(|(pattern, precision)| (pattern.to_string(), precision)).to_vec();
    let float = net(NET);
    let mut model = float.clone();
    let sensitivity = Sensitivity { candidates: given.iter().map(|(_, p)| *p).collect(), ..sensitivity(16) };
    let (summary, rehearsal) =
        Assigner { sensitivity: sensitivity.clone(), given, ..assigner() }.rehearsed(&mut model, &|_, _| {}).unwrap();
    let [stored, half] = [Precision::Fp16Weights, Precision::Fp16];
    assert_eq!(precisions(&summary), [stored, half, Precision::Int8Weights, stored]);
    let graph = &model.graph;
    let casts = graph.nodes().filter(|&node| graph.node(node).op == crate::ir::OpKind::Cast);
    let of_constants = casts.filter(|&node| graph.operand(node, 0).is_some_and(|v| graph.constant(v).is_some()));
    assert_eq!(of_constants.count(), 2);
    let same = |a: &Model, b: &Model| {
        let others = crate::calibrate::Calibration {
            source: Some(crate::calibrate::Source::Random(77)),
            samples: Some(16),
            ..Default::default()
        };
        let fresh = others.probe(&float, &Tract, &|_| 16).unwrap().tried;
        compare(a, b, &fresh, &Tract).unwrap()[0].sqnr
    };
    assert!(same(&rehearsal, &model) > 60.0);
    // Nothing but weights is rounded, so that a bound is kept that is out of reach for what computes in halves.
    let tight = |precision: Precision| {
        let sensitivity = Sensitivity { candidates: vec![precision], ..sensitivity.clone() };
        let given = vec![("*".to_string(), precision)];
        let mut model = float.clone();
        let summary = Assigner { sensitivity, given, ..assigner() }.run(&mut model, &|_, _| {}).unwrap();
        (summary.measured.outputs[0].sqnr, summary.costs.bytes)
    };
    let ((weights, bytes), (all, as_many)) = (tight(stored), tight(half));
    assert!(weights > all + 1.0 && bytes.abs_diff(as_many) < 256, "{weights} {all} {bytes} {as_many}");
    let error = Assigner { given: vec![("pair".into(), stored)], ..assigner() };
    let sensitivity = Sensitivity { candidates: vec![stored], ..error.sensitivity.clone() };
    let text = NET.replace("s = Add(l, k)", "[pair] q = MatMul(l, k) s = Add(q, k)");
    let error = Assigner { sensitivity, ..error }.run(&mut net(&text), &|_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "\"pair\" cannot be fp16-weights: it has no weights");
}

#[test]
fn cheap_calls_follow_the_layers_around_them() {
    let halves = |patterns: &[&str]| -> Vec<String> {
        let given = patterns.iter().map(|pattern| (pattern.to_string(), Precision::Fp16)).collect();
        let mut model = net(NET);
        Assigner { given, ..assigner() }.run(&mut model, &|_, _| {}).unwrap();
        let graph = &model.graph;
        let is_half = |node: &NodeId| {
            graph.node(*node).op != crate::ir::OpKind::Cast
                && graph.result(*node, 0).and_then(|v| graph.value(v).ty.dtype()) == Some(DType::F16)
        };
        graph.schedule(crate::ir::ScopeId::MAIN).iter().filter(|n| is_half(n)).map(|n| graph.label(*n)).collect()
    };
    assert_eq!(halves(&["*"]), ["first", "r", "left", "right", "k", "s", "p", "f", "head"]);
    // The last layer has none: its readers' sum takes one Cast, its two operands would take one each; and what follows
    // gains nothing by halves.
    assert_eq!(halves(&["first", "left", "right"]), ["first", "r", "left", "right", "k", "s"]);
    assert_eq!(halves(&["left"]), ["left"]);
}

#[test]
fn what_a_search_takes_is_told() {
    let bounds = Bounds { max_drop: Some(5.0), ..Bounds::default() };
    let summary = Assigner { bounds, ..assigner() }.run(&mut net(NET), &|_, _| {}).unwrap();
    let parts: Vec<&str> = summary.efforts.iter().map(|effort| effort.part).collect();
    let expected = ["statistics and ranges", "the float model", "measuring layers", "one precision for all"];
    assert_eq!(parts[..4], expected);
    assert_eq!(parts[4..], ["the search", "verification"]);
    let sum: f64 = summary.efforts.iter().map(|effort| effort.forwards).sum();
    assert!((sum - summary.forwards).abs() < 1e-9 && summary.efforts.iter().all(|effort| effort.forwards > 0.0));
    assert!(summary.drop.unwrap() <= 5.0, "{summary:?}");
    let numbers = NET.replace("[head] y = MatMul(f, head)", "z = Unsqueeze(f, one) y = Identity(z)");
    let numbers = numbers.replace("float[n,4] y", "float[n,1,32] y").replace("float[32,4] head, ", "");
    let numbers = numbers.replace("int64[2] shape", "int64[1] one = {1}, int64[2] shape");
    let error = Assigner { bounds, ..assigner() }.run(&mut net(&numbers), &|_, _| {}).unwrap_err();
    assert!(matches!(error, AssignError::Bounds(crate::quality::OutOfBounds::NoScores)), "{error}");
}

#[test]
fn tables_are_layers() {
    let text = r#"<ir_version: 8, opset_import: ["" : 21]> g (int64[n,6] x) => (float[n,6,32] y)
        <float[64,32] table, float[32,32] head>
        { [look_up] e = Gather(table, x)
          [head] y = MatMul(e, head) }"#;
    let given = vec![("*".to_string(), Precision::Int8Weights)];
    let mut model = net(text);
    let summary = Assigner { given, ..assigner() }.run(&mut model, &|_, _| {}).unwrap();
    assert_eq!(precisions(&summary), [Precision::Int8Weights; 2]);
    assert!(summary.costs.bytes * 3 < summary.float.bytes, "{:?}", summary.costs);
    let bounds = Bounds { min_sqnr: Some(20.0), max_drop: None };
    let found = Assigner { bounds, ..assigner() }.run(&mut net(text), &|_, _| {}).unwrap();
    assert!(found.layers[0].precision > Precision::Bf16, "{:?}", found.layers);
}

#[test]
fn points_of_the_front_can_be_made_again() {
    let summary = Assigner { lists_front: true, ..budget("bytes=30%") }.run(&mut net(NET), &|_, _| {}).unwrap();
    assert!(summary.front.len() > 3);
    assert!(summary.front.is_sorted_by(|a, b| a.cost < b.cost && a.predicted > b.predicted));
    let point = summary.front.iter().rev().find(|p| p.cost <= 0.3 * summary.float.bytes as f64).unwrap();
    let given = point.layers.iter().map(|(name, precision)| (name.clone(), *precision)).collect();
    let again = Assigner { given, ..assigner() }.run(&mut net(NET), &|_, _| {}).unwrap();
    let named: BTreeMap<String, Precision> =
        again.layers.iter().filter(|l| l.precision != Precision::Fp32).map(|l| (l.node.clone(), l.precision)).collect();
    assert_eq!(named, point.layers);
}

#[test]
fn how_far_to_go_has_to_be_said() {
    assert!(matches!(assigner().run(&mut net(NET), &|_, _| {}), Err(AssignError::NoGoal)));
    let latency =
        Assigner { minimize: Cost::Latency, bounds: Bounds { min_sqnr: Some(30.0), max_drop: None }, ..assigner() };
    let asked = Assigner {
        sensitivity: Sensitivity {
            target: &crate::target::TFLITE,
            policy: crate::target::Policy::of(&crate::target::TFLITE),
            ..latency.sensitivity.clone()
        },
        ..latency
    };
    assert!(matches!(asked.run(&mut net(NET), &|_, _| {}), Err(AssignError::NoLatency { .. })));
}

#[test]
fn bytes_and_time_are_weighed_together() {
    let candidates = vec![Precision::Int8Weights, Precision::Int8];
    let run = |minimize: Cost| {
        let sensitivity = Sensitivity { candidates: candidates.clone(), ..sensitivity(32) };
        let bounds = Bounds { min_sqnr: Some(15.0), max_drop: None };
        Assigner { sensitivity, minimize, bounds, ..assigner() }.run(&mut net(NET), &|_, _| {}).unwrap()
    };
    let (bytes, both) = (run(Cost::Bytes), run(Cost::Balance));
    let of = |summary: &Summary| {
        let time = |costs: &Costed| costs.nanoseconds.unwrap();
        let bytes = summary.costs.bytes as f64 / summary.float.bytes as f64;
        [bytes, time(&summary.costs) / time(&summary.float)]
    };
    let ([bytes, slower], [more, faster]) = (of(&bytes), of(&both));
    // Integers of activations save no bytes, so that they are of no use to who counts nothing else.
    assert!(bytes <= more && faster < slower && more + faster < bytes + slower, "{bytes} {slower} {more} {faster}");
}

#[test]
fn queries_keys_and_values_have_one_precision() {
    let text = r#"<ir_version: 8, opset_import: ["" : 21]> g (float[n,4,32] x) => (float[n,4,32] y)
        <float[32,32] wq, float[32,32] wk, float[32,32] wv, float[32,32] wo>
        { [q] q = MatMul(x, wq) [k] k = MatMul(x, wk) [v] v = MatMul(x, wv)
          t = Transpose <perm = [0, 2, 1]> (k)
          [scores] s = MatMul(q, t)
          p = Softmax(s)
          [values] c = MatMul(p, v)
          [out] y = MatMul(c, wo) }"#;
    let measured = sensitivity(8).measured(&net(text), &|_, _| {}, false).unwrap();
    let found = units(&measured);
    assert!(found.iter().any(|unit| unit.layers == [0, 1, 2]), "{found:?}");
    for share in [60, 40, 28] {
        let summary = budget(&format!("bytes={share}%")).run(&mut net(text), &|_, _| {}).unwrap();
        let of = precisions(&summary);
        assert!(of[0] == of[1] && of[1] == of[2], "{of:?}");
    }
}

#[test]
fn the_account_is_told_in_lines() {
    let summary = Assigner { bounds: Bounds { min_sqnr: Some(30.0), max_drop: None }, ..assigner() }
        .run(&mut net(NET), &|_, _| {})
        .unwrap();
    let lines = summary.lines();
    assert!(lines[0].starts_with("4 layers: ") && lines[1].starts_with("loss (kl) "), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("beside it, int8 in 4 layers: ")), "{lines:?}");
    assert_eq!(summary.rows().len(), 4);
    assert!(serde_json::to_value(&summary).unwrap()["layers"][0]["effects"]["int8"]["loss"].is_number());
}

#[test]
fn integers_of_few_bits_are_found_on_samples() {
    let given = [("*", Precision::Int4), ("left", Precision::Int8Weights), ("right", Precision::Int8)];
    let given = given.map(|(pattern, precision)| (pattern.to_string(), precision)).to_vec();
    let asked = Assigner { given, ..assigner() };
    let float = net(NET);
    let mut model = float.clone();
    let (summary, rehearsal) = asked.rehearsed(&mut model, &|_, _| {}).unwrap();
    // What is written computes what was rehearsed.
    let others = crate::calibrate::Calibration {
        source: Some(crate::calibrate::Source::Random(77)),
        samples: Some(16),
        ..Default::default()
    };
    let fresh = others.probe(&float, &Tract, &|_| 16).unwrap().tried;
    let found = compare(&rehearsal, &model, &fresh, &Tract).unwrap();
    assert!(found[0].sqnr > 60.0, "{found:?}");
    // Weights by themselves lose more.
    let measured = asked.sensitivity.prepared(&float, &|_, _| {}).unwrap();
    let loss = |depth| {
        let realized = asked.realize(&measured, &precisions(&summary), depth).unwrap();
        compare(&float, &realized.rehearsal, &fresh, &Tract).unwrap()[0].sqnr
    };
    let [by_itself, learned] = [realize::Depth::Corrected, realize::Depth::Learned].map(loss);
    assert!(learned > by_itself, "{learned} {by_itself}");
}

#[test]
fn a_budget_of_time_has_room_for_what_lies_between() {
    let candidates = vec![Precision::Int8, Precision::Int8Weights];
    for share in [95, 80, 60] {
        let sensitivity = Sensitivity { candidates: candidates.clone(), ..sensitivity(16) };
        let asked = Assigner { sensitivity, ..budget(&format!("latency={share}%")) };
        let summary = match asked.run(&mut net(NET), &|_, _| {}) {
            Ok(summary) => summary,
            Err(AssignError::TooLittle { .. }) => continue,
            Err(why) => panic!("{why}"),
        };
        let [now, float] = [&summary.costs, &summary.float].map(|costs| costs.nanoseconds.unwrap());
        assert!(now <= 0.01 * f64::from(share) * float, "{share}: {now} {float}");
    }
    let measured = sensitivity(8).measured(&net(NET), &|_, _| {}, false).unwrap();
    let costs = Costs::of(&measured, assigner().latency(&measured));
    let mixed = [Precision::Int8, Precision::Fp32, Precision::Int8, Precision::Fp32];
    let layers: u64 = (0..4).map(|layer| costs.layer(layer, mixed[layer], Cost::Latency)).sum();
    assert!(costs.all(&mixed, Cost::Latency) > layers + costs.beside(Cost::Latency));
}

/// What equalizes channels for integers of activations is not there where no layer has these.
#[test]
fn few_bits_alone_are_those_of_the_model_as_it_was() {
    let scales: Vec<&str> = (0..32).map(|column| if column == 3 { "60" } else { "1" }).collect();
    let model = net(&format!(
        r#"<ir_version: 8, opset_import: ["" : 21]>
        g (float[n,8,32] x) => (float[n,8,32] y) <float[32] s = {{{}}}, float[32] b, float[32,64] v, float[64,32] w>
        {{ h = LayerNormalization(x, s, b) [up] a = MatMul(h, v) r = Relu(a) [down] y = MatMul(r, w) }}"#,
        scales.join(", ")
    ));
    let asked = Assigner { given: vec![("*".into(), Precision::Int4)], ..assigner() };
    let summary = asked.run(&mut model.clone(), &|_, _| {}).unwrap();
    assert!(summary.corrections.iter().any(|step| step.kept), "{:?}", summary.corrections);
    let packer = asked.sensitivity.packer(Precision::Int4.few_bits().unwrap());
    let packer = crate::lowbit::Packer { calibration: asked.sensitivity.calibration.clone(), ..packer };
    let plain = packer.run(&mut model.clone(), &|_, _| {}).unwrap();
    let [found, expected] = [&summary.measured, &plain.measured].map(|measured| measured.outputs[0].sqnr);
    assert!(found > expected - 0.5, "{found} {expected}");
}
