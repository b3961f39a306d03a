//! How weights get few bits, as the command line says it.

use clap::{Args, ValueEnum};

use crate::cli::precision::{Precision, QUANTIZING};
use crate::lowbit::{Group, Integers, Method, Packer};

/// How weights get few bits.
#[derive(Debug, Default, Args)]
pub(super) struct LowBits {
    /// Weights of an output that share a scale, with weights of few bits: 16, 32, 64, 128, or channel for all
    /// [default: 32 for 4 bits, 16 for 2 bits, channel for 8; where the target takes others, the next]
    #[arg(help_heading = QUANTIZING, long, value_name = "N")]
    pub group_size: Option<Group>,
    /// Have zero in the middle of a weight's integers [default with int4, int2 and int8-weights]
    #[arg(help_heading = QUANTIZING, long, conflicts_with = "asymmetric")]
    pub symmetric: bool,
    /// Give every group of weights a zero point of its own [default with uint4]
    #[arg(help_heading = QUANTIZING, long)]
    pub asymmetric: bool,
    /// Give tables of embeddings, and the product that the output of a model with such a table is, as few bits as other
    /// weights, not 8
    #[arg(help_heading = QUANTIZING, long)]
    pub same_bits: bool,
    /// How a weight's integers are found
    #[arg(help_heading = QUANTIZING, long, value_enum)]
    pub weight_method: Option<MethodArg>,
}

/// How a weight's integers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodArg {
    /// The best of those below for each layer, as far as there are samples
    Auto,
    /// The nearest, from the least to the largest weight of a group
    Rtn,
    /// The nearest, with the scale that a group errs least with
    Refined,
    /// Channels that matter more get more of the steps; needs samples
    Awq,
    /// Later columns make up for what earlier ones lose; needs samples
    Gptq,
}

impl LowBits {
    /// An option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.group_size.is_some(), "--group-size"),
            (self.symmetric, "--symmetric"),
            (self.asymmetric, "--asymmetric"),
            (self.same_bits, "--same-bits"),
            (self.weight_method.is_some(), "--weight-method"),
        ];
        given.into_iter().find(|(is, _)| *is).map(|(_, option)| option)
    }

    /// Whether what is asked for can be done without samples.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn check_without_samples(&self) -> Result<(), &'static str> {
        match self.weight_method {
            Some(MethodArg::Awq) => Err("--weight-method awq sees on samples which channels matter: --calib PLACE"),
            Some(MethodArg::Gptq) => Err("--weight-method gptq sees on samples what weights lose: --calib PLACE"),
            _ => Ok(()),
        }
    }

    /// With what is asked for here.
    pub(super) fn asked_of(&self, packer: Packer) -> Packer {
        let symmetric = if self.symmetric { Some(true) } else { self.asymmetric.then_some(false) };
        let method = match self.weight_method {
            None | Some(MethodArg::Auto) => Method::Auto,
            Some(MethodArg::Rtn) => Method::Nearest,
            Some(MethodArg::Refined) => Method::Refined,
            Some(MethodArg::Awq) => Method::Scaled,
            Some(MethodArg::Gptq) => Method::Gptq,
        };
        Packer { group: self.group_size, symmetric, method, is_uniform: self.same_bits, ..packer }
    }
}

/// What stands for weights with this precision, where it is one of few bits.
pub(super) fn integers(precision: Option<Precision>) -> Option<Integers> {
    match precision? {
        Precision::Int8Weights => Some(Integers::Int8),
        Precision::Int4 => Some(Integers::Int4),
        Precision::Uint4 => Some(Integers::Uint4),
        Precision::Int2 => Some(Integers::Int2),
        _ => None,
    }
}
