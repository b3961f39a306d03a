//! `Relu` of what is never negative is that value: the result of `Abs`, `Exp`, `HardSigmoid`, `Sigmoid` or `Softmax`.

use crate::ir::OpKind::{Abs, Exp, HardSigmoid, Relu, Sigmoid, Softmax};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call};

pub fn rule() -> Rule {
    let relu = call("relu");
    let pattern = Relu.of(any_of(&[Abs, Exp, HardSigmoid, Sigmoid, Softmax])).bind(relu);
    Rule::new("drop-relu", Exactness::Bitwise, pattern, move |m| m.call(relu).operand(0).ok_or(Skip::NotThis))
        .even_if_shared()
}
