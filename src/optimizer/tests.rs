use std::time::Duration;

use super::*;
use crate::calibrate::Calibration;
use crate::exec::{Cannot, Session, Verdict};
use crate::ir::{DType, OpKind, ScopeId, Shape, Tensor, Type};
use crate::model::OpsetImport;
use crate::quality::Bounds;
use crate::rewrite::var;
use crate::stages::{Account, Around, Basis, Done, Place};
use crate::target;

/// A chain of these operators.
fn chain(ops: &[OpKind]) -> Model {
    let mut model = Model::default();
    let g = &mut model.graph;
    let mut x = g.add_input(ScopeId::MAIN, "x", Type::tensor(DType::F32, Shape::known(&[2])));
    for (i, &op) in ops.iter().enumerate() {
        let node = g.add_node(ScopeId::MAIN, op, &[Some(x)], 1, u32::try_from(i).unwrap());
        g.node_mut(node).name = format!("{op}{i}").into();
        x = g.result(node, 0).unwrap();
    }
    g.add_output(ScopeId::MAIN, "y", x, Type::Unknown);
    model
}

/// "Runs" a model by counting its nodes of one operator.
struct Counts(OpKind);

struct Count(i64);

impl Executor for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        let count = model.graph.nodes().filter(|&n| model.graph.node(n).op == self.0).count();
        Ok(Box::new(Count(i64::try_from(count).unwrap())))
    }
}

impl Session for Count {
    fn run(&mut self, _: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        Ok(vec![Tensor::scalar(self.0)])
    }
}

fn counting(rules: Vec<Rule>, budget: Duration) -> Optimizer {
    let plan = Plan { budget, ..Plan::default() };
    Optimizer::for_target(&target::ONNX).with_rules(rules).checked(Arc::new(Counts(OpKind::Erf)), plan)
}

/// A rule that is wrong: it drops every `Erf`.
fn wrong() -> Vec<Rule> {
    let x = var("x");
    vec![Rule::new("drop-erf", Exactness::Bitwise, OpKind::Erf.of(x), move |m| Ok(m[x]))]
}

#[test]
fn the_edit_at_fault_is_named() {
    let model = chain(&[OpKind::Identity, OpKind::Cosh, OpKind::Erf, OpKind::Identity, OpKind::Erf]);
    let optimizer = counting(wrong(), Duration::from_secs(60));
    let Err(Error::Different { guilty: Some(guilty), .. }) = optimizer.run(model) else { panic!("it is different") };
    assert_eq!((&*guilty.rule, &*guilty.at, &*guilty.disable), ("drop-erf", "Erf2", "drop-erf"));
}

#[test]
fn without_time_the_difference_is_still_one() {
    let result = counting(wrong(), Duration::ZERO).run(chain(&[OpKind::Erf, OpKind::Erf, OpKind::Cosh]));
    assert!(matches!(result, Err(Error::Different { guilty: None, .. })));
}

#[test]
fn a_result_that_is_right_is_proved() {
    let optimizer = counting(Vec::new(), Duration::from_secs(60));
    let done = optimizer.run(chain(&[OpKind::Identity, OpKind::Erf])).unwrap();
    assert!(matches!(done.report.proof, Proof::Run(Verdict::Same(_))));
    assert_eq!(done.model.graph.node_count(), 1);
    let done = optimizer.run(chain(&[OpKind::Erf])).unwrap();
    assert!(matches!(done.report.proof, Proof::Without(Reason::Unchanged)));
}

/// A stage that leaves everything twice.
struct Twice(Calibration);

impl Stage for Twice {
    fn place(&self) -> Place {
        Place::Prune
    }

    fn leaves_work(&self) -> bool {
        true
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.0, engine: Arc::new(Counts(OpKind::Erf)), bounds: Bounds::default() }
    }

    fn run(&self, model: &mut Model, _: &Around<'_>) -> Result<Done, Error> {
        let g = &mut model.graph;
        let output = g.scope(ScopeId::MAIN).outputs()[0].value();
        let (erf, _) = g.producer(output).unwrap();
        let (x, op) = (g.operand(erf, 0), g.node(erf).op);
        let again = g.add_node(ScopeId::MAIN, op, &[x], 1, 100);
        let other = g.result(again, 0);
        let sum = g.add_node(ScopeId::MAIN, OpKind::Add, &[Some(output), other], 1, 101);
        let sum = g.result(sum, 0).unwrap();
        g.set_output(ScopeId::MAIN, 0, sum);
        Ok(Account::Sparsity(crate::sparsify::Summary::default()).into())
    }
}

#[test]
fn what_is_merged_behind_a_stage_is_proved_too() {
    // To who counts, of two one is less.
    let stage = Twice(Calibration::default());
    let result = counting(Vec::new(), Duration::from_secs(60)).staged(stage).run(chain(&[OpKind::Cosh, OpKind::Erf]));
    let Err(Error::Different { guilty: Some(guilty), .. }) = result else { panic!("it is different") };
    assert_eq!((&*guilty.rule, &*guilty.disable), ("merge-calls", "merge-duplicates"));
}

/// `x · tanh(softplus(x))`, which is `Mish` from opset 18 on.
fn mish(opset: i64) -> Model {
    let mut model = chain(&[OpKind::Softplus, OpKind::Tanh]);
    model.opset_imports = vec![OpsetImport { domain: String::new(), version: opset }];
    gated(&mut model.graph);
    model
}

/// Multiply the output by the input.
fn gated(g: &mut Graph) {
    let (x, gate) = (g.scope(ScopeId::MAIN).inputs()[0], g.scope(ScopeId::MAIN).outputs()[0].value());
    let product = g.add_node(ScopeId::MAIN, OpKind::Mul, &[Some(x), Some(gate)], 1, 9);
    let y = g.result(product, 0).unwrap();
    g.set_output(ScopeId::MAIN, 0, y);
}

#[test]
fn a_newer_opset_lets_more_rules_fire() {
    let run = |optimizer: Optimizer| {
        let done = optimizer.unchecked().run(mish(17)).unwrap();
        (done.model.opset(), done.model.graph.node_count(), done.report.notes)
    };
    let new = || Optimizer::for_target(&target::ONNX);
    let note = "opset 18 would let more be fused, once: --opset 18".to_string();
    assert_eq!(run(new()), (17, 3, vec![note]));
    assert_eq!(run(new().opset(18)), (18, 1, vec![]));
    assert_eq!(run(new().opset(21)), (21, 1, vec![]));
    let at = |opset| new().opset(opset).unchecked().run(mish(17));
    assert!(matches!(at(0), Err(Error::OlderOpset { opset: 0, oldest: 1, .. })));
    let beyond = target::ONNX.newest_opset + 1;
    assert!(matches!(at(beyond), Err(Error::NewerOpset { opset, newest, .. }) if opset == beyond && newest < beyond));
}

#[test]
fn what_the_target_avoids_is_not_brought_in() {
    static WITHOUT_MISH: Profile = Profile { avoids: &[OpKind::Mish], ..target::ONNX };
    static OF_17: Profile = Profile { newest_opset: 17, ..target::ONNX };
    let done = Optimizer::for_target(&WITHOUT_MISH).unchecked().run(mish(18)).unwrap();
    assert_eq!(done.model.graph.node_count(), 3);
    let reasons: Vec<&String> =
        done.report.steps.iter().filter_map(|s| s.declined.get("fuse-mish")).flat_map(|d| d.keys()).collect();
    assert_eq!(reasons, ["the target does better without Mish"]);
    let done = Optimizer::for_target(&OF_17).unchecked().run(mish(17)).unwrap();
    assert!(done.report.notes.is_empty(), "a newer opset is of no use to it");
}

#[test]
fn what_only_the_target_has_is_imported_and_said() {
    let silu = || {
        let mut model = chain(&[OpKind::Sigmoid]);
        model.opset_imports = vec![OpsetImport { domain: String::new(), version: 17 }];
        gated(&mut model.graph);
        model
    };
    let run = |target| {
        let done = Optimizer::for_target(target).unchecked().run(silu()).unwrap();
        let imports: Vec<String> = done.model.opset_imports.iter().map(|o| o.domain.clone()).collect();
        (done.model.graph.node_count(), imports, done.report.notes.len())
    };
    assert_eq!(run(&target::ONNXRUNTIME), (1, vec![String::new(), CONTRIB.to_string()], 1));
    assert_eq!(run(&target::TENSORRT).1, [String::new()]);
}

#[test]
fn names_choose_what_runs() {
    let run = |optimizer: Optimizer| {
        let done = optimizer.unchecked().run(chain(&[OpKind::Identity, OpKind::Erf])).unwrap();
        done.model.graph.nodes().map(|n| done.model.graph.node(n).op).collect::<Vec<_>>()
    };
    let new = || Optimizer::for_target(&target::ONNX).with_rules(wrong());
    assert_eq!(run(new()), []);
    assert_eq!(run(new().without("drop-erf")), [OpKind::Erf]);
    assert_eq!(run(new().only("drop-erf")), [OpKind::Identity]);
    assert_eq!(run(new().only("simplify")), [OpKind::Erf]);
    assert_eq!(run(new().only("simplify").without("drop-identity")), [OpKind::Identity, OpKind::Erf]);
    assert!(
        matches!(new().only("drop-erv").check_names(), Err(Error::NoSuchRule { similar, .. }) if similar == ["drop-erf"])
    );
}
