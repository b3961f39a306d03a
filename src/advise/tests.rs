use super::*;
use crate::passes::infer_declared;
use crate::text::parse;

fn traits(inputs: &str, constants: &str, body: &str) -> Traits {
    let text =
        format!("<ir_version: 8, opset_import: [\"\" : 17]> g ({inputs}) => (float[] y) <{constants}> {{ {body} }}");
    let mut model = parse(&text).unwrap();
    infer_declared(&mut model.graph);
    Traits::of(&model, false)
}

#[test]
fn a_model_is_seen_as_it_is() {
    let conv = traits(
        "float[1,8,4,4] x",
        "float[16,8,3,3] w, float[16,1,3,3] d, float[8,16,1,1] p",
        "a = Conv(x, w) b = Conv <group = 16, pads = [1, 1, 1, 1]> (a, d) y = Conv(b, p)",
    );
    assert_eq!((conv.convolutions, conv.matrices, conv.open.len()), (1.0, 0.0, 0));
    assert!((conv.depthwise - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!((conv.parameters, conv.macs), (1152 + 144 + 128, Some(4 * (1152 + 144 + 128))));
    let text = traits(
        "int64[n,t] ids",
        "float[100,8] table, float[8,8] w, float[8,100] head",
        "e = Gather(table, ids) q = MatMul(e, w) s = Softmax(q) y = MatMul(s, head)",
    );
    assert_eq!((text.matrices, text.attention, text.macs, text.open), (1.0, 1, None, vec!["ids".to_string()]));
    let reduced =
        traits("float[4] x", "float s = {0.1}, uint8 z = {0}", "q = QuantizeLinear(x, s, z) y = Cast <to = 1> (q)");
    assert!(reduced.is_reduced && !conv.is_reduced);
    assert_eq!(traits("float[4] x", "", "y = Relu(x)").convolutions, 0.0);
}

/// Models of many kinds.
fn kinds() -> Vec<Traits> {
    let mut kinds = Vec::new();
    for samples in [false, true] {
        for bytes in [1 << 10, 1 << 20, 1 << 30, 4 << 30] {
            let base = Traits { samples, parameter_bytes: bytes, parameters: bytes / 4, ..Traits::default() };
            kinds.push(base.clone());
            kinds.push(Traits { convolutions: 1.0, ..base.clone() });
            kinds.push(Traits { convolutions: 1.0, depthwise: 0.5, open: vec!["x".into()], ..base.clone() });
            kinds.push(Traits { matrices: 0.9, attention: 4, ..base.clone() });
            kinds.push(Traits { matrices: 0.9, is_reduced: true, ..base.clone() });
            kinds.push(Traits { recurrent: 1, ..base });
        }
    }
    kinds
}

const GOALS: [Goal; 3] = [Goal::Latency, Goal::Size, Goal::Cost];
const DEVICES: [Device; 4] = [Device::Gpu, Device::Cpu, Device::Edge, Device::Npu];

/// Advice for every kind of model, every goal and every device.
fn all() -> Vec<Advice> {
    let for_one = |traits: Traits| {
        let place = traits.samples.then_some("samples.npz");
        GOALS.iter().flat_map(|&goal| DEVICES.map(|device| advise(traits.clone(), goal, device, place))).collect()
    };
    kinds().into_iter().flat_map(|traits: Traits| -> Vec<Advice> { for_one(traits) }).collect()
}

#[test]
fn what_is_printed_is_the_recipe() {
    for advice in all() {
        let text = advice.commented();
        assert_eq!(Recipe::parse("r.toml", &text).unwrap(), advice.recipe, "{text}");
        assert!(advice.recipe.entries().iter().any(|entry| entry.key.name == "target"));
        let needs = ["int8", "macs=0.5"].iter().any(|word| text.contains(&format!("= \"{word}\"\n")));
        assert!(!needs || text.contains("place = \"samples.npz\""), "{text}");
    }
}

#[test]
fn every_row_decides_something() {
    let said: Vec<&str> = all().iter().flat_map(|advice| advice.reasons.iter().map(|r| r.row)).collect();
    for (i, row) in ROWS.iter().enumerate() {
        assert!(said.contains(&row.name), "{} never has a say", row.name);
        assert!(ROWS[..i].iter().all(|other| other.name != row.name), "{} stands twice", row.name);
        assert!(!row.why.is_empty() && !row.source.is_empty(), "{}", row.name);
        if let Says::Set(key, _) | Says::Keep(key) = row.says {
            assert!(KEYS.iter().any(|known| known.path() == key), "{}: there is no {key}", row.name);
        }
    }
}

#[test]
fn a_name_of_an_input_ends_no_remark() {
    let hostile = Traits { open: vec!["x\ntarget = \"tflite\"\r".into()], ..Traits::default() };
    let advice = advise(hostile, Goal::Size, Device::Cpu, Some("a\"b\nc"));
    assert_eq!(Recipe::parse("r.toml", &advice.commented()).unwrap(), advice.recipe);
}

#[test]
fn the_table_has_a_line_for_each_row() {
    let table = markdown();
    assert_eq!(table.lines().count(), ROWS.len() + 2);
    assert!(table.lines().all(|line| line.matches('|').count() == 8), "{table}");
}
