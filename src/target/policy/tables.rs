//! The tables of a policy's file, as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::ir::{DType, OpKind};
use crate::similar::similar;
use crate::target::policy::condition::Condition;
use crate::target::policy::cost::Time;
use crate::target::policy::read::meant;
use crate::target::policy::row::{BiasForm, Needs, Output, Pairs, Pattern, Role, WeightForm};

/// What a file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) extends: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) types: BTreeMap<String, TypeTable>,
    pub(super) weights: Option<WeightsTable>,
    pub(super) keeps_axes: Option<bool>,
    #[serde(default)]
    pub(super) op: Vec<Spanned<OpTable>>,
    #[serde(default)]
    pub(super) fuse: Vec<FuseTable>,
    #[serde(default)]
    pub(super) real: Vec<RealTable>,
    #[serde(default)]
    pub(super) never: Vec<Spanned<NeverTable>>,
    pub(super) borders: Option<Spanned<BordersTable>>,
    #[serde(default)]
    pub(super) cost: Vec<Spanned<CostTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypeTable {
    pub(super) dtype: Integer,
    pub(super) symmetric: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightsTable {
    pub(super) dtype: Option<Spanned<Integer>>,
    pub(super) form: Option<WeightForm>,
    pub(super) per_channel: Option<bool>,
    pub(super) bias: Option<BiasForm>,
    pub(super) repeated: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpTable {
    pub(super) rule: String,
    pub(super) ops: Vec<Op>,
    pub(super) role: Role,
    pub(super) when: Option<Spanned<Condition>>,
    pub(super) operands: Option<Slots>,
    #[serde(default)]
    pub(super) types: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) operand_types: BTreeMap<usize, Vec<Spanned<String>>>,
    pub(super) even: Option<Spanned<String>>,
    pub(super) output: Option<Output>,
    pub(super) needs: Option<Needs>,
    #[serde(default)]
    pub(super) constants: bool,
    pub(super) pairs: Option<Pairs>,
    pub(super) shares: Option<bool>,
    #[serde(default)]
    pub(super) near: bool,
    pub(super) scale: Option<f32>,
    pub(super) zero_point: Option<i64>,
    pub(super) per_channel: Option<bool>,
    pub(super) bias: Option<BiasForm>,
    pub(super) why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FuseTable {
    pub(super) rule: String,
    pub(super) ops: Vec<Op>,
    #[serde(default)]
    pub(super) behind: Vec<Op>,
    pub(super) when: Option<Spanned<Condition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RealTable {
    pub(super) rule: String,
    pub(super) ops: Vec<Op>,
    pub(super) when: Option<Spanned<Condition>>,
    #[serde(default)]
    pub(super) sized: bool,
    #[serde(default)]
    pub(super) through: Vec<Op>,
    pub(super) why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeverTable {
    pub(super) rule: String,
    #[serde(default)]
    pub(super) ops: Vec<Op>,
    pub(super) pattern: Option<Pattern>,
    pub(super) why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BordersTable {
    pub(super) rule: String,
    pub(super) quantize: Time,
    pub(super) dequantize: Time,
    pub(super) products: Option<Time>,
    #[serde(default)]
    pub(super) layout: Time,
    #[serde(default)]
    pub(super) half: Time,
    #[serde(default)]
    pub(super) fused_behind: Vec<Op>,
    #[serde(default)]
    pub(super) counts_near: bool,
    #[serde(default)]
    pub(super) converts: Vec<Op>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CostTable {
    pub(super) rule: String,
    pub(super) ops: Vec<Op>,
    pub(super) when: Option<Spanned<Condition>>,
    #[serde(default)]
    pub(super) behind: Vec<Op>,
    pub(super) float: Time,
    pub(super) int8: Option<Time>,
    pub(super) real_out: Option<Time>,
    pub(super) unfused: Option<Time>,
    pub(super) entered: Option<Time>,
}

/// An operator by ONNX's name.
pub(super) struct Op(pub(super) OpKind);

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Op, D::Error> {
        let name = String::deserialize(from)?;
        OpKind::from_name(&name).map(Op).ok_or_else(|| {
            let similar = similar(&name, OpKind::ALL.iter().map(|op| op.name()));
            serde::de::Error::custom(format!("there is no operator \"{name}\"{}", meant(&similar)))
        })
    }
}

/// An integer type by ONNX's name.
#[derive(Clone, Copy)]
pub(super) struct Integer(pub(super) DType);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Integer, D::Error> {
        let name = String::deserialize(from)?;
        let known = [DType::I8, DType::U8, DType::I16, DType::U16];
        known.into_iter().find(|t| t.name() == name).map(Integer).ok_or_else(|| {
            let names = known.map(DType::name).join(", ");
            serde::de::Error::custom(format!("\"{name}\" is none of {names}"))
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected slots, \"all\" or \"skip\"")]
pub(super) enum Slots {
    List(Vec<usize>),
    Word(SlotsWord),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SlotsWord {
    All,
    Skip,
}
