//! What operators take in real numbers and in integers.

use serde::Deserialize;

use crate::ir::{NodeId, OpKind};
use crate::ops::CallView;
use crate::target::Condition;

/// What calls of some operators take.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// What reports call it.
    pub rule: String,
    /// The operators.
    pub ops: Vec<OpKind>,
    /// Of which calls it speaks.
    pub when: Condition,
    /// An operand is the result of one of these; none stands for any.
    pub behind: Vec<OpKind>,
    /// In real numbers.
    pub float: Time,
    /// In integers; `None` where there is no telling.
    pub int8: Option<Time>,
    /// With integers for operands and a real result, where that is not [`Cost::int8`] and a `DequantizeLinear`.
    pub real_out: Option<Time>,
    /// What it takes more in real numbers when what it stands behind has integers, as the runtime does not take the
    /// two together any more.
    pub unfused: Option<Time>,
    /// What it takes more in integers when its operand is made in real numbers.
    pub entered: Option<Time>,
}

/// What integers take where they begin and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Borders {
    /// What reports call it.
    pub rule: String,
    /// A `QuantizeLinear`; elements are those of the tensor.
    pub quantize: Time,
    /// A `DequantizeLinear`.
    pub dequantize: Time,
    /// A `QuantizeLinear` of a tensor that products alone read, where that takes less: these want no layout of their own.
    pub products: Option<Time>,
    /// What either takes more for a tensor of four dimensions or more, where integers want their channels elsewhere.
    pub layout: Time,
    /// What a layer takes more with halves: the runtime has no kernels for them and converts what it reads and makes.
    pub half: Time,
    /// Operators that make integers of their result, or real numbers, without taking longer.
    pub fused_behind: Vec<OpKind>,
    /// Whether rows of costs count what makes integers of operands whose pairs stand near.
    pub counts_near: bool,
    /// Operators in real numbers that the runtime gives integers of its own where they stand between both.
    pub converts: Vec<OpKind>,
}

/// Nanoseconds: a fixed number, and so many for each of what a call is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// For the call.
    pub call: f64,
    /// For each multiply-accumulate.
    pub mac: f64,
    /// For each element of computed operands and results.
    pub element: f64,
    /// For each place of a convolution's result, in each of its groups; depthwise is one group.
    pub position: f64,
    /// For each element of the weight.
    pub weight: f64,
}

/// What a call is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Multiply-accumulates.
    pub macs: f64,
    /// Elements of computed operands and results.
    pub elements: f64,
    /// Places of a convolution's result, in each of its groups.
    pub positions: f64,
    /// Elements of the weight.
    pub weights: f64,
}

impl Time {
    /// Nanoseconds of a call of this size.
    pub fn of(&self, size: &Size) -> f64 {
        self.call
            + self.mac * size.macs
            + self.element * size.elements
            + self.position * size.positions
            + self.weight * size.weights
    }

    /// Whether these are times.
    pub(super) fn is_valid(&self) -> bool {
        let parts = [self.call, self.mac, self.element, self.position, self.weight];
        parts.iter().all(|x| (0.0..=MOST).contains(x))
    }
}

/// No operator takes a second for one of its parts.
const MOST: f64 = 1e9;

impl Cost {
    /// Whether it speaks of `call` in a model of `opset`.
    pub fn speaks_of(&self, call: &CallView<'_>, opset: i64) -> bool {
        let op_of = |node: NodeId| call.graph().node(node).op;
        let stands = || {
            let makers = (0..call.operand_count()).filter_map(|slot| call.graph().producer(call.operand(slot)?));
            makers.into_iter().any(|(maker, _)| self.behind.contains(&op_of(maker)))
        };
        self.ops.contains(&call.node().op)
            && (self.behind.is_empty() || stands())
            && self.when.fails(call, opset).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_sum_of_its_parts() {
        let time = Time { call: 100.0, mac: 0.5, element: 2.0, position: 3.0, weight: 4.0 };
        let size = Size { macs: 10.0, elements: 20.0, positions: 30.0, weights: 40.0 };
        assert_eq!(time.of(&size), 100.0 + 5.0 + 40.0 + 90.0 + 160.0);
        assert!(time.is_valid());
        assert!(![-1.0, f64::NAN, f64::INFINITY].iter().any(|&mac| Time { mac, ..time }.is_valid()));
    }
}
