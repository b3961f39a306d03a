//! Every key of a recipe, and the option of the command line that it stands for.

use crate::target::policy;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The table that it stands in; empty for none. A key of pairs is a table of its own.
    pub table: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// The option, without its dashes.
    pub option: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// Options that say the same or the opposite: given on the command line, they count, and this does not.
    pub rivals: &'static [&'static str],
    /// What values are places of files.
    pub paths: Paths,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `true` gives the option.
    Flag,
    /// `false` gives the option.
    Not,
    /// A string or a number.
    Word,
    /// A list, each element of which gives the option once.
    Words,
    /// A list that is one value, with commas.
    Joined,
    /// A table, each key of which gives the option once: the key, this between, and the value or values with commas.
    Pairs(&'static str),
}

/// Which values of a key are paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// None.
    None,
    /// All.
    All,
    /// All but the word that asks for made-up samples.
    Samples,
    /// Those that describe a target.
    Targets,
}

/// What is said for samples that are made up.
pub const RANDOM: &str = "random";

impl Key {
    /// Table and name with a dot between, as people call it.
    pub fn path(&self) -> String {
        if self.table.is_empty() { self.name.to_string() } else { format!("{}.{}", self.table, self.name) }
    }

    /// Whether this value of it is the place of a file.
    pub fn is_path(&self, value: &str) -> bool {
        match self.paths {
            Paths::None => false,
            Paths::All => true,
            Paths::Samples => value != RANDOM,
            Paths::Targets => policy::is_file(value),
        }
    }

    const fn new(table: &'static str, name: &'static str, option: &'static str, form: Form) -> Key {
        Key { table, name, option, form, rivals: &[], paths: Paths::None }
    }

    const fn word(table: &'static str, name: &'static str, option: &'static str) -> Key {
        Key::new(table, name, option, Form::Word)
    }

    const fn flag(table: &'static str, name: &'static str, option: &'static str) -> Key {
        Key::new(table, name, option, Form::Flag)
    }

    const fn rivals(self, rivals: &'static [&'static str]) -> Key {
        Key { rivals, ..self }
    }

    const fn paths(self, paths: Paths) -> Key {
        Key { paths, ..self }
    }
}

/// Every key, in the order in which a recipe is written.
pub static KEYS: &[Key] = &[
    Key::word("", "target", "target").paths(Paths::Targets),
    Key::word("", "opset", "opset"),
    Key::flag("", "allow_unsupported", "allow-unsupported"),
    Key::new("", "input_shapes", "input-shape", Form::Pairs(":")),
    Key::word("edit", "batch", "batch").rivals(&["dynamic-batch"]),
    Key::word("edit", "dynamic_batch", "dynamic-batch").rivals(&["batch"]),
    Key::new("edit", "batch_inputs", "batch-inputs", Form::Words),
    Key::new("edit", "preprocess", "preprocess", Form::Words),
    Key::new("edit", "postprocess", "postprocess", Form::Words),
    Key::new("edit", "inputs", "inputs", Form::Words),
    Key::new("edit", "outputs", "outputs", Form::Words),
    Key::word("edit", "strip", "strip"),
    Key::new("edit", "rename", "rename", Form::Pairs("=")),
    Key::new("edit", "rename_nodes", "rename-node", Form::Pairs("=")),
    Key::new("passes", "disable", "disable", Form::Words),
    Key::new("passes", "only", "only", Form::Words),
    Key::word("pruning", "budget", "prune").rivals(&["ratio"]),
    Key::word("pruning", "importance", "importance"),
    Key::word("pruning", "align", "align"),
    Key::word("pruning", "max_ratio", "max-ratio"),
    Key::word("pruning", "min_channels", "min-channels"),
    Key::new("pruning", "protect", "protect", Form::Words),
    Key::word("pruning", "grouped", "grouped"),
    Key::word("pruning", "heads", "heads"),
    Key::word("pruning", "steps", "steps"),
    Key::word("pruning", "sparsity", "sparsity"),
    Key::word("pruning", "distill", "distill"),
    Key::new("pruning", "recovery", "without-recovery", Form::Not),
    Key::new("pruning", "layers", "layer-ratio", Form::Pairs("=")),
    Key::word("precision", "default", "precision"),
    Key::word("precision", "io", "io"),
    Key::word("precision", "budget", "budget"),
    Key::word("precision", "minimize", "minimize"),
    Key::new("precision", "candidates", "candidates", Form::Joined),
    Key::word("precision", "loss", "loss"),
    Key::new("precision", "only", "quantize-only", Form::Words),
    Key::new("precision", "exclude", "exclude", Form::Words),
    Key::flag("precision", "everywhere", "quantize-all").rivals(&["measure"]),
    Key::word("precision", "measure", "measure").rivals(&["quantize-all"]),
    Key::word("precision", "ranges", "ranges"),
    Key::word("precision", "group_size", "group-size"),
    Key::flag("precision", "symmetric", "symmetric").rivals(&["asymmetric"]),
    Key::flag("precision", "asymmetric", "asymmetric").rivals(&["symmetric"]),
    Key::flag("precision", "same_bits", "same-bits"),
    Key::word("precision", "weight_method", "weight-method"),
    Key::new("precision", "without_corrections", "without-correction", Form::Words),
    Key::new("precision", "layers", "layer-precision", Form::Pairs("=")),
    Key::word("bounds", "min_sqnr", "min-sqnr"),
    Key::word("bounds", "max_drop", "max-drop"),
    Key::word("calibration", "place", "calib").paths(Paths::Samples),
    Key::word("calibration", "samples", "samples"),
    Key::word("calibration", "until_settled", "until-settled"),
    Key::new("calibration", "stats", "stats", Form::Words).paths(Paths::All),
    Key::word("calibration", "scale", "scale"),
    Key::new("calibration", "mean", "mean", Form::Joined),
    Key::new("calibration", "std", "std", Form::Joined),
    Key::word("calibration", "layout", "layout"),
    Key::word("calibration", "resize", "resize"),
    Key::word("calibration", "channel_order", "channel-order"),
    Key::new("check", "run", "no-check", Form::Not).rivals(&["check-data", "check-budget", "check-memory", "engine"]),
    Key::word("check", "data", "check-data").rivals(&["no-check"]).paths(Paths::All),
    Key::word("check", "budget", "check-budget").rivals(&["no-check"]),
    Key::word("check", "memory", "check-memory").rivals(&["no-check"]),
    Key::word("check", "engine", "engine").rivals(&["no-check"]),
    Key::flag("files", "external_data", "external-data"),
    Key::flag("files", "freeze_defaults", "freeze-defaults").rivals(&["keep-defaults"]),
    Key::flag("files", "keep_defaults", "keep-defaults").rivals(&["freeze-defaults"]),
    Key::flag("files", "keep_functions", "keep-functions"),
];
