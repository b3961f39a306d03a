//! Calls that no run can execute are refused, never a panic.

use super::*;

#[test]
fn an_older_spelling_is_not_misread() {
    let old = [("axes", Attr::Ints(vec![0]))];
    let refused = fold(OpKind::ReduceMean, &old, &[tensor(&[2], &[1f32, 3.0])]);
    assert!(matches!(refused, Err(Unable::Malformed(_))), "{refused:?}");
    let text = [("axis", Attr::from("0"))];
    assert!(matches!(fold(OpKind::Concat, &text, &[iota(&[1])]), Err(Unable::Malformed(_))));
}

#[test]
fn an_operand_that_is_not_constant_is_named() {
    let mut graph = Graph::default();
    let known = graph.add_constant(ScopeId::MAIN, "", iota(&[2]));
    let open = graph.add_input(ScopeId::MAIN, "x", crate::ir::Type::Unknown);
    let node = graph.add_node(ScopeId::MAIN, OpKind::Add, &[Some(known), Some(open)], 1, 0);
    let got = evaluate(&CallView::new(&graph, node), &[Some(iota(&[2])), None], LIMIT);
    assert_eq!(got.unwrap_err(), Unable::NotConstant(1));
}

/// Every operator on operands of every shape and type that fit nothing in particular.
#[test]
fn no_call_panics() {
    let v = Tensor::vector;
    let odd: Vec<Tensor> = vec![
        v(&[]),
        v(&[i64::MIN, i64::MAX]),
        v(&[-1]),
        Tensor::scalar(i64::MIN),
        Tensor::scalar(1),
        iota(&[2, 3]),
        iota(&[1, 4, 2, 2]),
        tensor::<f32>(&[0, 3], &[]),
        tensor(&[2], &[f32::NAN, f32::INFINITY]),
        tensor(&[], &[half::f16::MAX]),
        bools(&[2], &[1, 0]),
        strings(&[2], &["", "x"]),
        packed(DType::I4, &[3], &[0x87, 0x01]),
        packed(DType::F8E8M0, &[1], &[0xff]),
        packed(DType::C64, &[1], &[0; 8]),
        Tensor::splat(DType::I64, &[1 << 40], &7i64.to_le_bytes()).unwrap(),
        Tensor::splat(DType::U4, &[5, 0], &[7]).unwrap(),
    ];
    let numbers = [i64::MIN, -1, 0, 2, 10, i64::MAX];
    let mut answered = 0;
    for &op in OpKind::ALL.iter().filter(|op| crate::exec::exact::supports(**op)) {
        let schema = crate::ops::schema::newest("", op.name()).unwrap();
        for number in numbers {
            let attrs: Vec<(&'static str, Attr)> = schema
                .attrs
                .iter()
                .filter_map(|a| {
                    use crate::ops::schema::AttrKind;
                    let attr = match a.kind {
                        AttrKind::Int => Attr::Int(number),
                        AttrKind::Ints => Attr::Ints(vec![number, 0]),
                        AttrKind::Float => Attr::Float(f32::MIN_POSITIVE),
                        _ => return None,
                    };
                    (number != 2).then_some((a.name, attr))
                })
                .collect();
            for (i, a) in odd.iter().enumerate() {
                for (j, b) in odd.iter().enumerate() {
                    let c = &odd[(i * 5 + j) % odd.len()];
                    let most = usize::from(schema.max_inputs.min(3));
                    let operands = [Some(a.clone()), Some(b.clone()), Some(c.clone())];
                    answered += usize::from(fold_all(op, &attrs, &operands[..most], 2).is_ok());
                    if most > usize::from(schema.min_inputs.max(1)) {
                        let _ = fold_all(op, &attrs, &operands[..usize::from(schema.min_inputs.max(1))], 1);
                    }
                }
            }
        }
    }
    assert!(answered > 1000, "only {answered} calls were computed");
}
