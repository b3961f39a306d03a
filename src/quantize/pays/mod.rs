//! Where integers pay: what a policy places, less what the target would run slower for it.
//!
//! Operators gain or lose by integers, and what lies between real numbers and integers costs: a `QuantizeLinear` or a
//! `DequantizeLinear` for every tensor that one makes and another reads. Which operators should have integers, so that
//! all of it together takes the least, is a cut of a network between those with and those without: exact, and found by
//! the greatest flow. Integers count a little more than they take, which makes every connected region of them earn that
//! much; what is next to such a region and gains or loses next to nothing goes with it. Then the policy is asked again, without what was taken out: who shares a scale with whom and who follows whom
//! is its own matter.

mod field;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::choice::{Choice, ChoiceError};
use crate::ir::{Graph, NodeId, ValueId};
use crate::quantize::pays::field::{Field, Pin};
use crate::quantize::{Plan, TakenOut, place_without};
use crate::target::Policy;
use crate::target::policy::Borders;

/// What a run takes, as the target's costs have it. What no row of costs speaks of counts nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Nanoseconds in real numbers.
    pub float_ns: f64,
    /// Nanoseconds as it was quantized.
    pub integer_ns: f64,
    /// Nanoseconds with integers wherever the target takes them.
    pub everywhere_ns: f64,
    /// Operators that could have integers and would lose by them.
    pub taken_out: usize,
}

/// Places integers where they pay.
pub struct Paying<'a> {
    /// The model's graph.
    pub graph: &'a Graph,
    /// The same with the sizes of a run; `None` where nobody knows them, and integers are placed wherever they can be.
    pub run: Option<&'a Graph>,
    /// How the target wants its integers.
    pub policy: &'a Policy,
    /// The opset that is written.
    pub opset: i64,
    /// What may have them.
    pub choice: &'a Choice,
    /// Whether they are placed wherever they can be.
    pub everywhere: bool,
}

/// A region of integers has a core that takes this share of the time of real numbers at most: costs are not known
/// better.
const CORE: f64 = 0.9;

/// A model with integers takes this share of its time without them at most: what is gained on less is lost again.
const MODEL: f64 = 0.92;

/// What is next to a core has integers too, unless that takes clearly longer.
const BESIDE: f64 = 1.1;

/// Each time that something is taken out, others may lose who they followed.
const ROUNDS: usize = 6;

/// What is pinned to keep the runtime from quantizing by itself may leave another operator between integers.
const PINNINGS: usize = 16;

impl Paying<'_> {
    /// What gets integers, when those `unfit` get none, and what it takes.
    ///
    /// # Errors
    /// For a pattern of the choice that nothing matches.
    pub fn place(&self, unfit: &FxHashSet<ValueId>) -> Result<(Plan, Option<Estimate>), ChoiceError> {
        let mut taken = TakenOut::default();
        // Sizes of a run say what rows of the policy ask for, where the model leaves them open.
        let sized = self.run.unwrap_or(self.graph);
        let place = |taken: &TakenOut| place_without(sized, self.policy, self.opset, self.choice, unfit, taken);
        let mut plan = place(&taken)?;
        let Some(borders) = self.policy.borders.as_ref() else { return Ok((plan, None)) };
        let mut estimate: Option<Estimate> = None;
        for _ in 0..ROUNDS {
            let field = self.field(borders, &plan);
            let everywhere = vec![true; field.parts.len()];
            let estimate = estimate.get_or_insert_with(|| Estimate {
                float_ns: field.total(&vec![false; field.parts.len()]),
                everywhere_ns: field.total(&everywhere),
                ..Estimate::default()
            });
            estimate.integer_ns = field.total(&everywhere);
            let Some(kept) = self.kept(&field) else { break };
            let out = reasons(&field, &everywhere, &kept);
            if out.is_empty() {
                break;
            }
            taken.extend(out);
            plan = place(&taken)?;
            estimate.taken_out = taken.len();
            estimate.integer_ns = self.field(borders, &plan).all_integers();
        }
        let mut estimate = estimate.filter(|_| self.run.is_some());
        if let Some(estimate) = &mut estimate
            && !self.everywhere
            && !plan.is_empty()
            && estimate.integer_ns > MODEL * estimate.float_ns
        {
            let why = "of the whole model's time integers here would save too little";
            let heads = self.field(borders, &plan).parts.into_iter().map(|part| part.head);
            taken.extend(heads.map(|head| (head, (borders.rule.clone(), why.to_string()))));
            plan = place(&taken)?;
            estimate.taken_out = taken.len();
            estimate.integer_ns = estimate.float_ns;
        }
        Ok((plan, estimate))
    }

    fn field<'a>(&'a self, borders: &'a Borders, plan: &Plan) -> Field<'a> {
        Field::of(self.run.unwrap_or(self.graph), self.policy, borders, self.opset, plan)
    }

    /// Which parts keep their integers; `None` where that cannot be told.
    fn kept(&self, field: &Field<'_>) -> Option<Vec<bool>> {
        let is_decided = self.everywhere || self.run.is_none();
        let mut pins: FxHashMap<usize, Pin> = FxHashMap::default();
        let find = |pins: &FxHashMap<usize, Pin>| match is_decided {
            true => Some((0..field.parts.len()).map(|part| pins.get(&part) != Some(&Pin::Reals)).collect()),
            false => paying(field, pins),
        };
        let mut kept: Vec<bool> = find(&pins)?;
        for _ in 0..PINNINGS {
            let converted = field.converted(&kept);
            if converted.is_empty() {
                break;
            }
            pins.extend(converted);
            kept = find(&pins)?;
        }
        Some(kept)
    }
}

/// What a run takes in nanoseconds, part by part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    /// In real numbers and in integers, by the node that a part is of.
    pub parts: FxHashMap<NodeId, [f64; 2]>,
    /// What no part takes.
    pub rest: f64,
    /// From real numbers to integers or back: for a tensor, and for each of its elements.
    pub border: [f64; 2],
    /// What a layer takes more with halves: for its result, and for each of its elements.
    pub half: [f64; 2],
}

/// What the parts of `plan` take. `None` where nothing is known of the target's costs. `sized` has the sizes of a run.
pub(crate) fn latencies(sized: &Graph, policy: &Policy, opset: i64, plan: &Plan) -> Option<Latencies> {
    let borders = policy.borders.as_ref()?;
    let field = Field::of(sized, policy, borders, opset, plan);
    let reals = field.total(&vec![false; field.parts.len()]);
    let in_parts: f64 = field.parts.iter().map(|part| part.float).sum();
    let mean = |of: fn(&crate::target::policy::Time) -> f64| (of(&borders.quantize) + of(&borders.dequantize)) / 2.0;
    Some(Latencies {
        parts: field.parts.iter().map(|part| (part.head, [part.float, part.int8])).collect(),
        rest: (reals - in_parts).max(0.0),
        border: [mean(|time| time.call), mean(|time| time.element)],
        half: [borders.half.call, borders.half.element],
    })
}

/// The parts that pay, and those beside them that do not lose.
fn paying(field: &Field<'_>, pins: &FxHashMap<usize, Pin>) -> Option<Vec<bool>> {
    let core = field.paying(CORE, pins)?;
    let mut pins = pins.clone();
    for part in (0..core.len()).filter(|&part| core[part]) {
        pins.insert(part, Pin::Integers);
    }
    let mut kept = field.paying(BESIDE, &pins)?;
    for region in field.regions(&kept) {
        if !region.iter().any(|&part| core[part]) {
            for part in region {
                kept[part] = false;
            }
        }
    }
    Some(kept)
}

impl Field<'_> {
    fn all_integers(&self) -> f64 {
        self.total(&vec![true; self.parts.len()])
    }
}

/// What is taken out, each with the rule and the reason.
fn reasons(field: &Field<'_>, before: &[bool], kept: &[bool]) -> Vec<(NodeId, (String, String))> {
    let mut found = Vec::new();
    let mut at = kept.to_vec();
    let out: Vec<bool> = before.iter().zip(kept).map(|(before, kept)| *before && !kept).collect();
    for region in field.regions(&out) {
        let (float, int8) = field.both(&region, &mut at);
        let times = match int8 / float {
            ratio if ratio.is_finite() && ratio >= 1.05 => format!("integers would take {ratio:.1} times as long here"),
            ratio if ratio.is_finite() && ratio > CORE => "integers would gain too little here".to_string(),
            _ => "the runtime would give its neighbour integers of its own".to_string(),
        };
        let (float, int8) = (float / 1000.0, int8 / 1000.0);
        for &part in &region {
            let part = &field.parts[part];
            found.push((part.head, (part.rule.clone(), format!("{times}: {int8:.1} µs, and {float:.1} without"))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::target::Policy;
    use crate::text::parse;

    /// Convolutions of 8x8 maps, `[cost]` in nanoseconds by their output channels, and borders of 100.
    fn policy(more: &str) -> Policy {
        let text = format!(
            r#"
            name = "made-up"
            extends = "onnx"
            [borders]
            rule = "C-0"
            quantize = {{ call = 100 }}
            dequantize = {{ call = 100 }}
            {more}
            [[cost]]
            rule = "C-1"
            ops = ["Conv"]
            when = {{ out_at_least = 8 }}
            float = {{ call = 1000 }}
            int8 = {{ call = 250 }}
            [[cost]]
            rule = "C-2"
            ops = ["Conv"]
            float = {{ call = 1000 }}
            int8 = {{ call = 1800 }}
            "#
        );
        Policy::parse("made-up.toml", &text).unwrap().policy
    }

    /// Quantize `body` of named nodes: which of them have integers, why others have none, and the estimate.
    fn of(policy: &Policy, choice: &Choice, everywhere: bool, body: &str) -> (Vec<String>, Vec<String>, Estimate) {
        let text = format!(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,8,8] x) => (float y)
            <float[8,8,1,1] wide, float[4,8,1,1] thin, float[8,4,1,1] back, float[8,8] square> {{ {body} }}"#
        );
        let mut model = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        infer_declared(&mut model.graph);
        let graph = &model.graph;
        let paying = Paying { graph, run: Some(graph), policy, opset: 17, choice, everywhere };
        let (plan, estimate) = paying.place(&FxHashSet::default()).unwrap();
        let mut names: Vec<String> = plan.integer.iter().map(|&n| graph.label(n)).collect();
        names.sort();
        let kept = plan.kept.iter().map(|k| format!("{} {}: {}", k.rule, graph.label(k.node), k.why)).collect();
        (names, kept, estimate.unwrap())
    }

    fn chosen(body: &str) -> (Vec<String>, Vec<String>, Estimate) {
        of(&policy(""), &Choice::default(), false, body)
    }

    #[test]
    fn what_pays_stays() {
        let (integer, kept, estimate) = chosen("a = Conv(x, wide) y = Conv(a, wide)");
        assert_eq!(integer, ["a", "y"]);
        assert_eq!(kept, [""; 0]);
        let expected = Estimate { float_ns: 2000.0, integer_ns: 700.0, everywhere_ns: 700.0, taken_out: 0 };
        assert_eq!(estimate, expected);
    }

    #[test]
    fn what_loses_goes_with_its_reason() {
        let (integer, kept, estimate) = chosen("y = Conv(x, thin)");
        assert_eq!(integer, [""; 0]);
        assert_eq!(kept, ["C-2 y: integers would take 2.0 times as long here: 2.0 µs, and 1.0 without"]);
        let expected = Estimate { float_ns: 1000.0, integer_ns: 1000.0, everywhere_ns: 2000.0, taken_out: 1 };
        assert_eq!(estimate, expected);
    }

    #[test]
    fn a_region_that_gains_too_little_goes() {
        // 250 + 650 + 100 + 100 instead of 1150.
        let heavy = policy(
            "[[cost]]\nrule = \"C-3\"\nops = [\"Relu\"]\nfloat = {}\n[[cost]]\nrule = \"C-4\"\nops = [\"Conv\"]\nfloat = { call = 1150 }\nint8 = { call = 900 }",
        );
        let (integer, kept, _) = of(&heavy, &Choice::default(), false, "y = Conv(x, wide)");
        assert_eq!(integer, [""; 0]);
        assert_eq!(kept, ["C-4 y: integers would gain too little here: 1.1 µs, and 1.1 without"]);
    }

    #[test]
    fn an_end_is_cut() {
        let (integer, kept, estimate) = chosen("a = Conv(x, thin) b = Conv(a, back) y = Conv(b, wide)");
        assert_eq!(integer, ["b", "y"]);
        assert_eq!(kept, ["C-2 a: integers would take 1.7 times as long here: 1.9 µs, and 1.1 without"]);
        assert_eq!((estimate.integer_ns, estimate.taken_out), (1700.0, 1));
    }

    #[test]
    fn a_loss_within_a_region_is_worth_less_than_leaving_it() {
        let body = "z = Conv(x, wide) a = Conv(z, wide) b = Conv(a, thin) c = Conv(b, back) y = Conv(c, wide)";
        assert_eq!(chosen(body).0, ["a", "c", "y", "z"]);
        let dear = policy("layout = { call = 400 }");
        assert_eq!(of(&dear, &Choice::default(), false, body).0, ["a", "b", "c", "y", "z"]);
    }

    #[test]
    fn the_runtime_gets_no_chance_to_quantize_by_itself() {
        let policy = policy("converts = [\"Conv\"]");
        let (integer, ..) =
            of(&policy, &Choice::default(), false, "a = Conv(x, wide) b = Conv(a, thin) y = Conv(b, back)");
        assert_eq!(integer, ["a", "b", "y"]);
        // What the user excludes stays real, and so does its reader, whatever it gains.
        let choice = Choice { exclude: vec!["b".into()], ..Choice::default() };
        let body = "a = Conv(x, wide) b = Conv(a, wide) c = Relu(b) d = Conv(c, wide) y = Conv(d, wide)";
        for everywhere in [false, true] {
            let (integer, kept, _) = of(&policy, &choice, everywhere, body);
            assert_eq!(integer, ["a", "y"]);
            assert!(kept.iter().any(|k| k.contains("d: the runtime would give its neighbour integers")), "{kept:?}");
        }
    }

    #[test]
    fn an_operator_that_is_slow_to_enter_stays_real() {
        let costs = |entered: u32| {
            let row = format!(
                "[[cost]]\nrule = \"C-3\"\nops = [\"MaxPool\"]\nfloat = {{}}\nentered = {{ call = {entered} }}"
            );
            policy(&row)
        };
        let pool = "MaxPool <kernel_shape = [1, 1]>";
        let before = format!("r = Sigmoid(x) p = {pool}(r) y = Conv(p, wide)");
        let behind = format!("a = Conv(x, wide) p = {pool}(a) y = Conv(p, wide)");
        let of = |entered, body: &str| of(&costs(entered), &Choice::default(), false, body).0;
        assert_eq!(of(0, &before), ["p", "y"]);
        // Whether it has integers or what reads it: the runtime moves them to before it.
        assert_eq!(of(2000, &before), [""; 0]);
        assert_eq!(of(2000, &behind), ["a", "p", "y"]);
    }

    #[test]
    fn a_model_that_hardly_gains_stays_real() {
        let of = |sigmoid: u32| {
            let row = format!("[[cost]]\nrule = \"C-3\"\nops = [\"Sigmoid\"]\nfloat = {{ call = {sigmoid} }}");
            of(&policy(&row), &Choice::default(), false, "a = Conv(x, wide) y = Sigmoid(a)")
        };
        assert_eq!(of(1000).0, ["a"]);
        let (integer, kept, estimate) = of(10_000);
        assert_eq!(integer, [""; 0]);
        assert!(kept.iter().any(|k| k.starts_with("C-0 a: of the whole model's time")), "{kept:?}");
        assert_eq!((estimate.float_ns, estimate.integer_ns), (11_000.0, 11_000.0));
    }

    #[test]
    fn pairs_near_their_reader_are_counted_there() {
        // 500 instead of 600, and 100 for the operands' pair.
        let policy = |counts_near: bool| {
            let text = format!(
                r#"
                name = "made-up"
                extends = "onnx"
                [types.symmetric]
                dtype = "int8"
                symmetric = true
                [borders]
                rule = "C-0"
                quantize = {{ call = 100 }}
                dequantize = {{ call = 100 }}
                fused_behind = ["MatMul"]
                counts_near = {counts_near}
                [[cost]]
                rule = "C-1"
                ops = ["MatMul"]
                float = {{ call = 600 }}
                int8 = {{ call = 500 }}
                [[op]]
                rule = "A-1"
                ops = ["MatMul"]
                role = "leads"
                operands = [0, 1]
                types = ["symmetric"]
                near = true
                "#
            );
            Policy::parse("made-up.toml", &text).unwrap().policy
        };
        let of = |counts_near| of(&policy(counts_near), &Choice::default(), false, "y = MatMul(x, x)");
        assert_eq!(of(true).0, ["y"]);
        assert_eq!(of(false).1, ["C-1 y: integers would gain too little here: 0.6 µs, and 0.6 without"]);
    }

    #[test]
    fn what_products_alone_read_becomes_integers_for_less() {
        let policy = |products: &str| {
            let text = format!(
                r#"
                name = "made-up"
                extends = "openvino"
                [borders]
                rule = "C-0"
                quantize = {{ call = 100 }}
                dequantize = {{}}
                {products}
                [[cost]]
                rule = "C-1"
                ops = ["MatMul"]
                float = {{ call = 600 }}
                int8 = {{ call = 500 }}
                "#
            );
            Policy::parse("made-up.toml", &text).unwrap().policy
        };
        let of = |products: &str, body: &str| of(&policy(products), &Choice::default(), false, body).0;
        let body = "y = MatMul(x, square)";
        assert_eq!(of("", body), [""; 0]);
        assert_eq!(of("products = { call = 10 }", body), ["y"]);
    }

    #[test]
    fn everywhere_is_everywhere() {
        let (integer, kept, estimate) = of(&policy(""), &Choice::default(), true, "y = Conv(x, thin)");
        assert_eq!((integer, kept), (vec!["y".to_string()], vec![]));
        assert_eq!((estimate.integer_ns, estimate.taken_out), (2000.0, 0));
    }

    #[test]
    fn nothing_is_said_of_targets_without_costs() {
        let mut policy = policy("");
        policy.borders = None;
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,8,8] x) => (float[1,4,8,8] y)
            <float[4,8,1,1] thin> { y = Conv(x, thin) }"#,
        );
        let graph = &model.unwrap().graph;
        let choice = &Choice::default();
        let paying = Paying { graph, run: Some(graph), policy: &policy, opset: 17, choice, everywhere: false };
        let (plan, estimate) = paying.place(&FxHashSet::default()).unwrap();
        assert_eq!((plan.integer.len(), estimate), (1, None));
    }
}
