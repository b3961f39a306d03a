//! The table: what holds of a model, a goal and a device, what it decides, why, and where that is known from.

use std::fmt::{self, Display, Write as _};

use crate::advise::{Device, Goal, Traits};

/// One row.
#[derive(Debug)]
pub struct Row {
    /// What reasons call it.
    pub name: &'static str,
    /// For these goals; empty for all.
    pub goals: &'static [Goal],
    /// On these devices; empty for all.
    pub devices: &'static [Device],
    /// All of this has to hold of the model.
    pub when: &'static [When],
    /// What it decides.
    pub says: Says,
    /// Why.
    pub why: &'static str,
    /// Where that is known from.
    pub source: &'static str,
}

/// What a row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// A key of a recipe has this value.
    Set(&'static str, &'static str),
    /// A key is not in the recipe.
    Keep(&'static str),
    /// Nothing: it is for people.
    Remark,
}

/// What may hold of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// There are samples.
    Samples,
    /// There are none.
    NoSamples,
    /// Half of the work or more is in convolutions.
    Convolutional,
    /// A quarter of the convolutions or more have a channel each.
    Depthwise,
    /// Fewer have.
    NotDepthwise,
    /// Half of the parameters or more are matrices.
    Matrices,
    /// It has layers with a state.
    Recurrent,
    /// It attends, and half of its parameters or more are matrices.
    Attending,
    /// So many bytes of parameters or more.
    Large(u64),
    /// Fewer.
    Small(u64),
    /// Some of it has integers.
    Reduced,
    /// None of it has.
    Whole,
    /// An input has a size that is open.
    Open,
}

impl When {
    fn holds(self, traits: &Traits) -> bool {
        match self {
            When::Samples => traits.samples,
            When::NoSamples => !traits.samples,
            When::Convolutional => traits.convolutions >= 0.5,
            When::Depthwise => traits.depthwise >= 0.25,
            When::NotDepthwise => traits.depthwise < 0.25,
            When::Matrices => traits.matrices >= 0.5,
            When::Recurrent => traits.recurrent > 0,
            When::Attending => traits.attention > 0 && traits.matrices >= 0.5,
            When::Large(bytes) => traits.parameter_bytes >= bytes,
            When::Small(bytes) => traits.parameter_bytes < bytes,
            When::Reduced => traits.is_reduced,
            When::Whole => !traits.is_reduced,
            When::Open => !traits.open.is_empty(),
        }
    }
}

impl Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: u64| match bytes {
            bytes if bytes >= 1 << 30 => format!("{} GiB", bytes >> 30),
            bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
            bytes => format!("{} KiB", bytes >> 10),
        };
        match self {
            When::Samples => f.write_str("samples"),
            When::NoSamples => f.write_str("no samples"),
            When::Convolutional => f.write_str("half of the work in convolutions"),
            When::Depthwise => f.write_str("a quarter of them depthwise"),
            When::NotDepthwise => f.write_str("few of them depthwise"),
            When::Matrices => f.write_str("half of the parameters in matrices"),
            When::Recurrent => f.write_str("recurrent layers"),
            When::Attending => f.write_str("attention, half of the parameters in matrices"),
            When::Large(bytes) => write!(f, "{} of parameters or more", size(*bytes)),
            When::Small(bytes) => write!(f, "less than {} of parameters", size(*bytes)),
            When::Reduced => f.write_str("integers already"),
            When::Whole => f.write_str("none of it in integers"),
            When::Open => f.write_str("open sizes"),
        }
    }
}

impl Row {
    /// Whether it has something to say.
    pub fn holds(&self, traits: &Traits, goal: Goal, device: Device) -> bool {
        (self.goals.is_empty() || self.goals.contains(&goal))
            && (self.devices.is_empty() || self.devices.contains(&device))
            && self.when.iter().all(|when| when.holds(traits))
    }
}

use Device::{Cpu, Edge, Gpu, Npu};
use Goal::{Cost, Latency, Size};
use Says::{Keep, Remark, Set};
use When::{
    Attending, Convolutional, Depthwise, Large, Matrices, NoSamples, NotDepthwise, Open, Recurrent, Reduced, Samples,
    Small, Whole,
};

const TARGET: &str = "target";
const PRECISION: &str = "precision.default";
const BUDGET: &str = "pruning.budget";
const SPARSITY: &str = "pruning.sparsity";

/// Every row, in the order in which they are tried.
pub static ROWS: &[Row] = &[
    Row {
        name: "A1",
        goals: &[],
        devices: &[Gpu],
        when: &[],
        says: Set(TARGET, "tensorrt"),
        why: "the one target here that runs on a graphics processor, with halves and integers",
        source: "src/target/tensorrt.rs",
    },
    Row {
        name: "A2",
        goals: &[],
        devices: &[Edge],
        when: &[],
        says: Set(TARGET, "tflite"),
        why: "small devices run LiteRT, for which a converter reads the result",
        source: "src/target/tflite.rs",
    },
    Row {
        name: "A3",
        goals: &[],
        devices: &[Npu],
        when: &[],
        says: Set(TARGET, "openvino"),
        why: "of the targets here the one with a plugin for such devices; a description of another goes into a file of \
              your own: --target npu.toml",
        source: "src/target/openvino.rs, README: Targets of your own",
    },
    Row {
        name: "A4",
        goals: &[],
        devices: &[Cpu],
        when: &[],
        says: Set(TARGET, "onnxruntime"),
        why: "it took less time than OpenVINO in float32 on five of six small models with one thread, and has operators \
              for integers without samples, for LSTM and for weights of 4 bits",
        source: "src/target/onnxruntime.rs, measured in releases 1.31 and 2026.4",
    },
    Row {
        name: "B1",
        goals: &[],
        devices: &[],
        when: &[Reduced],
        says: Keep(PRECISION),
        why: "what has integers already is left as it is",
        source: "README: Where integers go",
    },
    Row {
        name: "B2",
        goals: &[Latency, Cost],
        devices: &[Cpu],
        when: &[Small(64 << 10)],
        says: Keep(PRECISION),
        why: "products of 16x16 to 32x32 weights take as long in integers as in float32: 0.94 to 1.42 times as fast",
        source: "src/quantize/dynamic.rs, measured in onnxruntime 1.31",
    },
    Row {
        name: "B3",
        goals: &[Size, Cost],
        devices: &[Cpu, Gpu, Npu],
        when: &[Attending, Large(256 << 20)],
        says: Set(PRECISION, "int4"),
        why: "weights are most of the file and of the memory of a model of language, and 4 bits are an eighth of them; \
              all else stays as it was",
        source: "src/target/few_bits.rs; OV-R10, TRT-T7",
    },
    Row {
        name: "B4",
        goals: &[],
        devices: &[Cpu, Npu],
        when: &[Samples],
        says: Set(PRECISION, "int8"),
        why: "samples tell ranges: a mean loss of 0.0 to 0.1 points of top-1 on eleven models, and what does not get \
              faster by integers keeps its real numbers",
        source: "README: Compared",
    },
    Row {
        name: "B5",
        goals: &[],
        devices: &[Npu],
        when: &[Samples, Whole],
        says: Set("precision.everywhere", "true"),
        why: "what integers cost and bring was measured on processors: such a device takes all that it can run in them",
        source: "src/target/policies/openvino.toml",
    },
    Row {
        name: "B6",
        goals: &[],
        devices: &[Edge],
        when: &[Samples],
        says: Set(PRECISION, "int8"),
        why: "a quarter of the file, and the kernels of LiteRT for integers are what most small devices have",
        source: "src/target/policies/tflite.toml",
    },
    Row {
        name: "B7",
        goals: &[],
        devices: &[Gpu],
        when: &[Samples, Convolutional, NotDepthwise],
        says: Set(PRECISION, "int8"),
        why: "convolutions of 16 channels and more gain by integers; a mean loss of 0.1 points of top-1 on eleven models",
        source: "README: Compared; TRT-X1",
    },
    Row {
        name: "B8",
        goals: &[Size],
        devices: &[Gpu],
        when: &[Samples],
        says: Set(PRECISION, "int8"),
        why: "a quarter of the file",
        source: "README: Compared",
    },
    Row {
        name: "B9",
        goals: &[],
        devices: &[Gpu],
        when: &[],
        says: Set(PRECISION, "fp16"),
        why: "halves need no samples, halve the memory that a run waits for, and are fast on all such devices; calls that \
              would lose too much stay float32",
        source: "README: Half precision",
    },
    Row {
        name: "B10",
        goals: &[],
        devices: &[Cpu],
        when: &[NoSamples, Matrices],
        says: Set(PRECISION, "int8-dynamic"),
        why: "no samples are needed, and a product with a 768x768 weight is 2.3 to 3.5 times as fast",
        source: "src/quantize/dynamic.rs, measured in onnxruntime 1.31; ORT-F9",
    },
    Row {
        name: "B11",
        goals: &[],
        devices: &[Cpu],
        when: &[NoSamples, Recurrent],
        says: Set(PRECISION, "int8-dynamic"),
        why: "onnxruntime has an LSTM with weights of integers that needs no samples",
        source: "src/quantize/dynamic.rs; ORT-F9",
    },
    Row {
        name: "B12",
        goals: &[Size],
        devices: &[Cpu, Edge, Npu],
        when: &[NoSamples],
        says: Set(PRECISION, "fp16-weights"),
        why: "half of the file; it is computed in float32, which is no slower",
        source: "README: Half precision",
    },
    Row {
        name: "B13",
        goals: &[],
        devices: &[Npu, Edge],
        when: &[NoSamples],
        says: Set(PRECISION, "fp16-weights"),
        why: "such devices compute in halves or integers; without samples the weights are halves, and the device \
              decides on the rest",
        source: "documentation of OpenVINO and LiteRT; not measured",
    },
    Row {
        name: "B14",
        goals: &[Latency, Cost],
        devices: &[Cpu],
        when: &[NoSamples],
        says: Keep(PRECISION),
        why: "halves take longer there, and integers of convolutions need samples: --calib PLACE",
        source: "ORT-F10",
    },
    Row {
        name: "C1",
        goals: &[],
        devices: &[],
        when: &[Reduced],
        says: Keep(BUDGET),
        why: "what pruning costs and brings is known of models without integers alone",
        source: "README: Pruning",
    },
    Row {
        name: "C2",
        goals: &[Cost],
        devices: &[Cpu, Edge],
        when: &[Samples, Convolutional, NotDepthwise, Large(256 << 10)],
        says: Set(BUDGET, "macs=0.5"),
        why: "half of the work for 0.6 points of top-1 on a ResNet, 1.2 to 1.4 times as fast; take this line out where no \
              loss is allowed",
        source: "README: Pruning",
    },
    Row {
        name: "C3",
        goals: &[Cost],
        devices: &[Cpu, Edge],
        when: &[Samples, Convolutional, Depthwise],
        says: Keep(BUDGET),
        why: "a network of depthwise convolutions with half of its work took longer in onnxruntime: 0.82 times as fast",
        source: "README: Pruning",
    },
    Row {
        name: "C4",
        goals: &[Latency, Size],
        devices: &[],
        when: &[Samples, Convolutional],
        says: Keep(BUDGET),
        why: "fewer channels cost accuracy where integers hardly do: --prune where that is not enough",
        source: "README: Pruning",
    },
    Row {
        name: "C5",
        goals: &[],
        devices: &[Gpu],
        when: &[Samples],
        says: Keep(SPARSITY),
        why: "2:4 zeros are faster on Ampere and newer alone, and cost accuracy: --sparsity 2:4 where that is the device",
        source: "src/target/tensorrt.rs",
    },
    Row {
        name: "D1",
        goals: &[],
        devices: &[],
        when: &[Large(2 << 30)],
        says: Set("files.external_data", "true"),
        why: "a file of more than 2 GiB is no ONNX model; weights lie beside it",
        source: "the protobuf format",
    },
    Row {
        name: "D2",
        goals: &[],
        devices: &[Npu, Edge],
        when: &[Open],
        says: Remark,
        why: "such devices want sizes that are numbers: add input_shapes, such as x = [1, 3, 224, 224]",
        source: "README: Using it",
    },
    Row {
        name: "D3",
        goals: &[],
        devices: &[],
        when: &[NoSamples],
        says: Remark,
        why: "with samples of what the model will see (--calib PLACE) the advice may be another one, and its result is \
              measured",
        source: "README: Quantizing",
    },
];

/// The table as Markdown has it.
pub fn markdown() -> String {
    let mut text = String::from("| | goal | device | where | recipe | why | known from |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for row in ROWS {
        let list = |items: Vec<String>| if items.is_empty() { "any".to_string() } else { items.join(", ") };
        let says = match row.says {
            Set(key, word) => format!("`{key} = {word}`"),
            Keep(key) => format!("no `{key}`"),
            Remark => String::new(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {says} | {} | {} |",
            row.name,
            list(row.goals.iter().map(Goal::to_string).collect()),
            list(row.devices.iter().map(Device::to_string).collect()),
            row.when.iter().map(When::to_string).collect::<Vec<_>>().join(", "),
            row.why,
            row.source
        );
    }
    text
}
