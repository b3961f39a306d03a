//! Reads a policy, and says where it is wrong.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use crate::ir::{DType, OpKind};
use crate::ops::schema;
use crate::similar::similar;
use crate::target::policy::condition::Condition;
use crate::target::policy::cost::{Borders, Cost, Time};
use crate::target::policy::row::{
    BiasForm, Fuse, IntegerType, Needs, Never, Operands, Output, Pairs, Real, Role, Row, Types, WeightForm, Weights,
};
use crate::target::policy::tables::{
    BordersTable, CostTable, File, FuseTable, Integer, NeverTable, Op, OpTable, RealTable, Slots, SlotsWord, TypeTable,
};
use crate::target::{self, Policy, Target};

/// Why a file is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", at(.file, *.line))]
pub struct PolicyError {
    /// The file; empty where there is none.
    pub file: String,
    /// The line, from 1; 0 where no line in particular is wrong.
    pub line: usize,
    /// What is wrong, and what may be meant.
    pub what: String,
}

fn at(file: &str, line: usize) -> String {
    match (file, line) {
        ("", _) => String::new(),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}:{line}: "),
    }
}

impl PolicyError {
    pub(super) fn no_target(text: &str, similar: &[String]) -> PolicyError {
        let what = format!("there is no target \"{text}\"{}; a file of your own ends in .toml", meant(similar));
        PolicyError { file: String::new(), line: 0, what }
    }
}

pub(super) fn meant(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!(", but {}", similar.join(", ")) }
}

/// The most bytes that a file may have.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn file(path: &Path) -> Result<Target, PolicyError> {
    let file = path.display().to_string();
    let fault = |what: String| PolicyError { file: file.clone(), line: 0, what };
    let size = std::fs::metadata(path).map_err(|e| fault(e.to_string()))?.len();
    if size > MOST_BYTES {
        return Err(fault("this is too large for a description of a target".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fault(e.to_string()))?;
    parse(&file, &text)
}

pub(super) fn parse(file: &str, text: &str) -> Result<Target, PolicyError> {
    let source = Source { file, text };
    let read = source.read()?;
    let Some(base) = &read.extends else {
        return Err(source.fault(0..0, "extends is missing: which target of the tool it is most like"));
    };
    let Some(profile) = target::by_name(base.get_ref()) else {
        let similar = similar(base.get_ref(), target::ALL.iter().map(|t| t.name));
        let what = format!("there is no target \"{}\"{}", base.get_ref(), meant(&similar));
        return Err(source.fault(base.span(), &what));
    };
    let policy = source.resolve(read, Some(Policy::of(profile)))?;
    Ok(Target { profile, policy })
}

pub(super) fn built_in(file: &str, text: &str) -> Result<Policy, PolicyError> {
    let source = Source { file, text };
    let read = source.read()?;
    source.resolve(read, None)
}

struct Source<'t> {
    file: &'t str,
    text: &'t str,
}

impl Source<'_> {
    fn read(&self) -> Result<File, PolicyError> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            self.fault(span, &said(error.message()))
        })
    }

    fn fault(&self, span: Range<usize>, what: &str) -> PolicyError {
        let line = match span.end {
            0 => 0,
            _ => 1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|&&b| b == b'\n').count(),
        };
        PolicyError { file: self.file.into(), line, what: what.into() }
    }

    /// What the file and the policy that it extends say together.
    fn resolve(&self, read: File, base: Option<Policy>) -> Result<Policy, PolicyError> {
        let extends = base.is_some();
        let mut policy = base.unwrap_or_else(|| Policy {
            name: String::new(),
            types: Vec::new(),
            weights: Weights {
                dtype: DType::I8,
                form: WeightForm::Integers,
                per_channel: true,
                bias: BiasForm::Float,
                repeated: false,
            },
            keeps_axes: false,
            rows: Vec::new(),
            fuses: Vec::new(),
            reals: Vec::new(),
            nevers: Vec::new(),
            costs: Vec::new(),
            borders: None,
        });
        policy.name = read.name;
        policy.keeps_axes = read.keeps_axes.unwrap_or(policy.keeps_axes);
        for (name, TypeTable { dtype: Integer(dtype), symmetric }) in read.types {
            let ty = IntegerType { name, dtype, symmetric };
            match policy.types.iter_mut().find(|t| t.name == ty.name) {
                Some(old) => *old = ty,
                None => policy.types.push(ty),
            }
        }
        if let Some(table) = read.weights {
            let weights = &mut policy.weights;
            if let Some(dtype) = table.dtype {
                if dtype.get_ref().0 != DType::I8 {
                    return Err(self.fault(dtype.span(), "weights are int8"));
                }
                weights.dtype = dtype.get_ref().0;
            }
            weights.form = table.form.unwrap_or(weights.form);
            weights.per_channel = table.per_channel.unwrap_or(weights.per_channel);
            weights.bias = table.bias.unwrap_or(weights.bias);
            weights.repeated = table.repeated.unwrap_or(weights.repeated);
        }
        let rows: Vec<Row> = read.op.into_iter().map(|t| self.row(t, &policy.types)).collect::<Result<_, _>>()?;
        let mut fuses = Vec::new();
        for FuseTable { rule, ops, behind, when } in read.fuse {
            let ops = kinds(ops);
            let when = self.condition(when, &ops)?;
            fuses.push(Fuse { rule, ops, behind: kinds(behind), when });
        }
        let mut reals = Vec::new();
        for RealTable { rule, ops, when, sized, through, why } in read.real {
            let ops = kinds(ops);
            let when = self.condition(when, &ops)?;
            reals.push(Real { rule, ops, when, sized, through: kinds(through), why });
        }
        let mut nevers = Vec::new();
        for table in read.never {
            let span = table.span();
            let NeverTable { rule, ops, pattern, why } = table.into_inner();
            if ops.is_empty() == pattern.is_none() {
                return Err(self.fault(span, "this has ops or a pattern, one of both"));
            }
            nevers.push(Never { rule, ops: kinds(ops), pattern, why });
        }
        if extends {
            // A row that brings an operator in is meant, whatever the base says of it.
            let named = |op: &OpKind| rows.iter().any(|row| row.role != Role::Float && row.ops.contains(op));
            for never in &mut policy.nevers {
                never.ops.retain(|op| !named(op));
            }
            policy.nevers.retain(|never| never.pattern.is_some() || !never.ops.is_empty());
        }
        let costs: Vec<Cost> = read.cost.into_iter().map(|t| self.cost(t)).collect::<Result<_, _>>()?;
        policy.costs.splice(0..0, costs);
        if let Some(table) = read.borders {
            policy.borders = Some(self.borders(table)?);
        }
        policy.rows.splice(0..0, rows);
        policy.fuses.splice(0..0, fuses);
        policy.reals.splice(0..0, reals);
        policy.nevers.splice(0..0, nevers);
        Ok(policy)
    }

    fn row(&self, table: Spanned<OpTable>, types: &[IntegerType]) -> Result<Row, PolicyError> {
        let span = table.span();
        let table = table.into_inner();
        let ops = kinds(table.ops);
        if ops.is_empty() {
            return Err(self.fault(span, "ops names no operator"));
        }
        let indices = self.types(&table.types, types)?;
        let mut operand_types = BTreeMap::new();
        for (slot, names) in &table.operand_types {
            let found = self.types(names, types)?;
            if found.is_empty() {
                return Err(self.fault(span, &format!("operand_types names no type for operand {slot}")));
            }
            operand_types.insert(*slot, found);
        }
        let even = self.types(table.even.as_slice(), types)?.first().copied();
        if even.is_some_and(|even| !types[even].symmetric || !indices.contains(&even)) {
            return Err(self.fault(span, "even is none of its types that are symmetric"));
        }
        if indices.is_empty() && matches!(table.role, Role::Leads | Role::Follows) {
            return Err(self.fault(span, "types is missing"));
        }
        let fixed = match (table.scale, table.zero_point) {
            (None, None) => None,
            (Some(scale), Some(zero)) if scale.is_normal() && scale > 0.0 => {
                if indices.len() != 1 {
                    return Err(self.fault(span, "a scale that is given goes with one type"));
                }
                let dtype = types[indices[0]].dtype;
                let bits = dtype.bits().min(16);
                let least = if dtype.is_signed_integer() { -(1i64 << (bits - 1)) } else { 0 };
                if !(least..least + (1 << bits)).contains(&zero) {
                    return Err(self.fault(span, "zero_point is none of the type's integers"));
                }
                Some((scale, zero))
            }
            (Some(_), Some(_)) => return Err(self.fault(span, "scale is not a positive number")),
            _ => return Err(self.fault(span, "scale and zero_point go together")),
        };
        let operands = match table.operands {
            None => Operands::Slots(vec![0]),
            Some(Slots::List(slots)) if slots.iter().all(|&s| s < 256) => Operands::Slots(slots),
            Some(Slots::List(_)) => return Err(self.fault(span, "no operator has so many operands")),
            Some(Slots::Word(SlotsWord::All)) => Operands::All,
            Some(Slots::Word(SlotsWord::Skip)) => Operands::Skip,
        };
        Ok(Row {
            when: self.condition(table.when, &ops)?,
            rule: table.rule,
            ops,
            role: table.role,
            operands,
            types: indices,
            operand_types,
            even,
            output: table.output.unwrap_or(Output::IfRead),
            needs: table.needs.unwrap_or(if table.role == Role::Passes { Needs::Readers } else { Needs::Operands }),
            constants: table.constants,
            pairs: table.pairs.unwrap_or(Pairs::Both),
            shares: table.shares.unwrap_or(table.role == Role::Passes),
            near: table.near,
            fixed,
            per_channel: table.per_channel,
            bias: table.bias,
            why: table.why.unwrap_or_else(|| "the target computes it in real numbers".into()),
        })
    }

    /// The types that are called so.
    fn types(&self, names: &[Spanned<String>], types: &[IntegerType]) -> Result<Types, PolicyError> {
        let index = |name: &Spanned<String>| {
            types.iter().position(|t| t.name == *name.get_ref()).ok_or_else(|| {
                let similar = similar(name.get_ref(), types.iter().map(|t| t.name.as_str()));
                self.fault(name.span(), &format!("there is no type \"{}\"{}", name.get_ref(), meant(&similar)))
            })
        };
        names.iter().map(index).collect()
    }

    fn cost(&self, table: Spanned<CostTable>) -> Result<Cost, PolicyError> {
        let span = table.span();
        let CostTable { rule, ops, when, behind, float, int8, real_out, unfused, entered } = table.into_inner();
        let ops = kinds(ops);
        if ops.is_empty() {
            return Err(self.fault(span, "ops names no operator"));
        }
        self.times(&span, [Some(float), int8, real_out, unfused, entered].into_iter().flatten())?;
        Ok(Cost {
            when: self.condition(when, &ops)?,
            rule,
            ops,
            behind: kinds(behind),
            float,
            int8,
            real_out,
            unfused,
            entered,
        })
    }

    fn borders(&self, table: Spanned<BordersTable>) -> Result<Borders, PolicyError> {
        let span = table.span();
        let BordersTable { rule, quantize, dequantize, products, layout, half, fused_behind, counts_near, converts } =
            table.into_inner();
        self.times(&span, [quantize, dequantize, layout, half].into_iter().chain(products))?;
        let (fused_behind, converts) = (kinds(fused_behind), kinds(converts));
        Ok(Borders { rule, quantize, dequantize, products, layout, half, fused_behind, counts_near, converts })
    }

    fn times(&self, span: &Range<usize>, times: impl IntoIterator<Item = Time>) -> Result<(), PolicyError> {
        match times.into_iter().all(|time| time.is_valid()) {
            true => Ok(()),
            false => Err(self.fault(span.clone(), "a time is a number of nanoseconds, from 0 to 1e9")),
        }
    }

    /// Whether its attributes are those of some of `ops`.
    fn condition(&self, condition: Option<Spanned<Condition>>, ops: &[OpKind]) -> Result<Condition, PolicyError> {
        let Some(condition) = condition else { return Ok(Condition::default()) };
        let span = condition.span();
        let attrs = || ops.iter().filter_map(|op| schema::newest("", op.name())).flat_map(|s| s.attrs.iter());
        for name in condition.get_ref().attributes.keys() {
            if !attrs().any(|a| a.name == name) {
                let similar = similar(name, attrs().map(|a| a.name));
                return Err(self.fault(span, &format!("there is no attribute \"{name}\"{}", meant(&similar))));
            }
        }
        Ok(condition.into_inner())
    }
}

fn kinds(ops: Vec<Op>) -> Vec<OpKind> {
    ops.into_iter().map(|Op(kind)| kind).collect()
}

/// A message of the reader; where a key or a word is not known, with those that it may be a slip of.
fn said(message: &str) -> String {
    let message = message.trim_end();
    for kind in ["unknown field `", "unknown variant `"] {
        let Some((name, known)) = message.strip_prefix(kind).and_then(|rest| rest.split_once('`')) else { continue };
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let similar = similar(name, known.iter().copied());
        return match similar.is_empty() {
            true => format!("\"{name}\" is not known here: {} are", known.join(", ")),
            false => format!("\"{name}\" is not known here{}", meant(&similar)),
        };
    }
    message.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        match Policy::parse("npu.toml", text) {
            Ok(_) => panic!("this is taken for a policy: {text}"),
            Err(error) => error.to_string(),
        }
    }

    const HEAD: &str = "name = \"n\"\nextends = \"openvino\"\n";

    #[test]
    fn every_policy_of_the_tool_is_read() {
        for profile in target::ALL {
            let policy = Policy::of(profile);
            assert!(!policy.rows.is_empty() && !policy.types.is_empty(), "{}", profile.name);
            for row in &policy.rows {
                assert!(row.rule.contains('-') && row.types.iter().all(|&t| t < policy.types.len()), "{}", row.rule);
            }
        }
    }

    #[test]
    fn errors_name_file_line_and_what_may_be_meant() {
        let op = |rest: &str| wrong(&format!("{HEAD}[[op]]\nrule = \"A\"\n{rest}\n"));
        assert_eq!(wrong("name = \"n\"\n"), "npu.toml: extends is missing: which target of the tool it is most like");
        assert_eq!(
            wrong("name = \"n\"\nextends = \"opnvino\"\n"),
            "npu.toml:2: there is no target \"opnvino\", but openvino"
        );
        assert_eq!(wrong(&format!("{HEAD}[weigths]\n")), "npu.toml:3: \"weigths\" is not known here, but weights");
        assert_eq!(
            wrong(&format!("{HEAD}[[price]]\nop = 1\n")),
            "npu.toml:3: \"price\" is not known here: name, extends, types, weights, keeps_axes, op, fuse, real, never, borders, cost are"
        );
        assert_eq!(op("ops = [\"Conf\"]\nrole = \"leads\""), "npu.toml:5: there is no operator \"Conf\", but Conv");
        assert_eq!(op("ops = [\"Conv\"]\nrole = \"lead\""), "npu.toml:6: \"lead\" is not known here, but leads");
        assert_eq!(op("ops = [\"Conv\"]\nrole = \"leads\""), "npu.toml:3: types is missing");
        assert_eq!(
            op("ops = [\"Conv\"]\nrole = \"leads\"\ntypes = [\"activatoin\"]"),
            "npu.toml:7: there is no type \"activatoin\", but activation"
        );
        let own = |types: &str| {
            op(&format!("ops = [\"MatMul\"]\nrole = \"leads\"\ntypes = [\"symmetric\"]\noperand_types = {types}"))
        };
        assert_eq!(own("{ 0 = [\"symetric\"] }"), "npu.toml:8: there is no type \"symetric\", but symmetric");
        assert_eq!(own("{ 1 = [] }"), "npu.toml:3: operand_types names no type for operand 1");
        let even = |name: &str| {
            op(&format!("ops = [\"Conv\"]\nrole = \"leads\"\ntypes = [\"activation\"]\neven = \"{name}\""))
        };
        assert_eq!(even("symetric"), "npu.toml:8: there is no type \"symetric\", but symmetric");
        for name in ["symmetric", "activation"] {
            assert_eq!(even(name), "npu.toml:3: even is none of its types that are symmetric");
        }
        assert!(own("{ first = [\"symmetric\"] }").starts_with("npu.toml:"));
        assert_eq!(
            op("ops = [\"Conv\"]\nrole = \"leads\"\nwhen = { goup = \"one\" }"),
            "npu.toml:7: \"goup\" is not known here, but group"
        );
        assert_eq!(
            op("ops = [\"Resize\"]\nrole = \"passes\"\nwhen = { attributes = { mod = \"nearest\" } }"),
            "npu.toml:7: there is no attribute \"mod\", but coordinate_transformation_mode, mode, nearest_mode"
        );
    }

    #[test]
    fn costs_are_times() {
        let cost = |rest: &str| wrong(&format!("{HEAD}[[cost]]\nrule = \"A\"\n{rest}\n"));
        assert_eq!(cost("ops = []\nfloat = {}"), "npu.toml:3: ops names no operator");
        assert_eq!(cost("ops = [\"Conv\"]\nfloat = { macs = 1 }"), "npu.toml:6: \"macs\" is not known here, but mac");
        for time in ["-1", "nan", "inf", "2e9"] {
            let fault = cost(&format!("ops = [\"Conv\"]\nfloat = {{}}\nint8 = {{ call = {time} }}"));
            assert_eq!(fault, "npu.toml:3: a time is a number of nanoseconds, from 0 to 1e9");
        }
        let borders = wrong(&format!("{HEAD}[borders]\nrule = \"A\"\nquantize = {{ call = -1 }}\ndequantize = {{}}\n"));
        assert_eq!(borders, "npu.toml:3: a time is a number of nanoseconds, from 0 to 1e9");
    }

    #[test]
    fn hostile_files_are_errors() {
        let op = |rest: &str| wrong(&format!("{HEAD}[[op]]\nrule = \"A\"\nops = [\"Softmax\"]\n{rest}\n"));
        assert!(op("role = \"follows\"\ntypes = [\"activation\"]\nscale = 0.0\nzero_point = 0").contains("positive"));
        assert!(op("role = \"follows\"\ntypes = [\"activation\"]\nscale = nan\nzero_point = 0").contains("positive"));
        assert!(
            op("role = \"follows\"\ntypes = [\"activation\"]\nscale = 1.0\nzero_point = 256").contains("zero_point")
        );
        assert!(op("role = \"follows\"\ntypes = [\"activation\"]\nscale = 1.0").contains("together"));
        assert!(
            op("role = \"follows\"\ntypes = [\"activation\", \"symmetric\"]\nscale = 1.0\nzero_point = 0")
                .contains("one type")
        );
        assert!(op("role = \"follows\"\ntypes = [\"activation\"]\noperands = [99999999]").contains("operands"));
        assert!(op("role = \"follows\"\noperands = [-1]").starts_with("npu.toml:7"));
        assert!(wrong(&format!("{HEAD}[types.x]\ndtype = \"float\"\nsymmetric = true\n")).contains("int16"));
        assert!(wrong(&format!("{HEAD}[weights]\ndtype = \"uint8\"\n")).contains("int8"));
        assert!(wrong(&format!("{HEAD}[[never]]\nrule = \"A\"\nwhy = \"b\"\n")).contains("pattern"));
        for text in ["", "\0", "[", "name", "name = [[[[[[[[", "= 1", "\u{feff}x"] {
            assert!(wrong(text).starts_with("npu.toml"), "{text}");
        }
        let deep = format!("name = {}1{}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(wrong(&deep).starts_with("npu.toml"));
    }

    #[test]
    fn own_rows_come_first_and_bring_operators_back_in() {
        let text = format!(
            "{HEAD}[types.mine]\ndtype = \"int8\"\nsymmetric = false\n[[op]]\nrule = \"A\"\nops = [\"Softmax\"]\nrole = \"leads\"\n\
             types = [\"mine\"]\n"
        );
        let Target { profile, policy } = Policy::parse("npu.toml", &text).unwrap();
        assert_eq!((profile.name, policy.name.as_str()), ("openvino", "n"));
        assert_eq!(policy.rows[0].rule, "A");
        let ty = &policy.types[policy.rows[0].types[0]];
        assert_eq!((ty.name.as_str(), ty.dtype, ty.symmetric), ("mine", DType::I8, false));
        assert!(policy.nevers.iter().all(|never| !never.ops.contains(&OpKind::Softmax)));
        assert!(policy.nevers.iter().any(|never| never.ops.contains(&OpKind::Sigmoid)));
    }
}
