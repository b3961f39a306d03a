//! The options that say what a model is to be before it is optimized.

use clap::{Args, ValueEnum};

use crate::cli::preparing;
use crate::edit::{self, Batch, Postprocess, Preprocess, Rename, Strip};
use crate::interface::Size;

/// Under this the help lists the edits.
const EDITING: &str = "Editing";

/// What a model is to be before it is optimized.
#[derive(Debug, Args)]
pub(super) struct Edits {
    /// Fix or name the sizes of an input: `x:1,3,224,224`, `x:batch,3,h,w`; once per input
    #[arg(help_heading = EDITING, long, value_name = "NAME:SIZES", value_parser = input_shape)]
    pub input_shape: Vec<(String, Vec<Size>)>,
    /// Run on batches of this size: the first size of the inputs, and what was computed from it at export
    #[arg(help_heading = EDITING, long, value_name = "N", conflicts_with = "dynamic_batch", value_parser = batch_size)]
    pub batch: Option<Size>,
    /// Run on batches of any size, and call that size NAME
    #[arg(help_heading = EDITING, long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "batch", value_parser = size_name)]
    pub dynamic_batch: Option<Size>,
    /// The inputs that have the batch as their first size, or as another: `state:1` [default: those whose first size is
    /// the first input's]
    #[arg(help_heading = EDITING, long, value_name = "NAME,NAME…", value_parser = some)]
    pub batch_inputs: Vec<String>,
    /// Take images as they come: `scale=1/255,mean=0.485,0.456,0.406,std=0.229,0.224,0.225,input=uint8,layout=nhwc,
    /// channel-order=bgr,resize=480x640` puts (x·scale − mean)/std and the rest of it before an input
    #[arg(help_heading = EDITING, long, value_name = "[INPUT:]KEY=VALUE,…", value_parser = preparing::before)]
    pub preprocess: Vec<Preprocess>,
    /// Give an output as it is used: softmax, argmax, topk=5 or nhwc
    #[arg(help_heading = EDITING, long, value_name = "[OUTPUT:]STEP", value_parser = preparing::after)]
    pub postprocess: Vec<Postprocess>,
    /// Begin at these tensors: what stands before them is cut away
    #[arg(help_heading = EDITING, id = "begin", long = "inputs", value_name = "NAME,NAME…", value_parser = some)]
    pub inputs: Vec<String>,
    /// End at these tensors: what they do not depend on is cut away
    #[arg(help_heading = EDITING, id = "end", long = "outputs", value_name = "NAME,NAME…", value_parser = some)]
    pub outputs: Vec<String>,
    /// Give an input, an output or another tensor another name
    #[arg(help_heading = EDITING, long, value_name = "OLD=NEW", value_parser = rename)]
    pub rename: Vec<Rename>,
    /// Give a node another name
    #[arg(help_heading = EDITING, long, value_name = "OLD=NEW", value_parser = rename)]
    pub rename_node: Vec<Rename>,
    /// Take away documentation, metadata of nodes and values, and how the model is trained; with `all`, the model's own
    /// metadata too
    #[arg(help_heading = EDITING, long, value_name = "WHAT", num_args = 0..=1, require_equals = true, value_enum)]
    #[arg(default_missing_value = "remarks")]
    pub strip: Option<Stripped>,
}

/// What is taken away of what no run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Stripped {
    /// What is said of the graph
    Remarks,
    /// What is said of the graph and of the model
    All,
}

impl Edits {
    /// In the terms of the library.
    pub(super) fn asked(&self) -> edit::Edits {
        let size = self.batch.as_ref().or(self.dynamic_batch.as_ref());
        edit::Edits {
            batch: size.map(|size| Batch { size: size.clone(), inputs: self.batch_inputs.clone() }),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            shapes: self.input_shape.clone(),
            preprocess: self.preprocess.clone(),
            postprocess: self.postprocess.clone(),
            rename: self.rename.clone(),
            rename_nodes: self.rename_node.clone(),
            strip: self.strip.map(|what| match what {
                Stripped::Remarks => Strip::Remarks,
                Stripped::All => Strip::All,
            }),
        }
    }
}

fn input_shape(text: &str) -> Result<(String, Vec<Size>), String> {
    // Names of inputs may hold colons ("images:0"); sizes do not.
    let (name, sizes) = text.rsplit_once(':').ok_or("expected NAME:SIZES, such as x:1,3,224,224")?;
    if name.is_empty() {
        return Err("expected the name of an input before the colon".into());
    }
    if sizes.trim().is_empty() {
        return Ok((name.into(), Vec::new()));
    }
    let sizes = sizes.split(',').map(|size| match size.trim() {
        "" => Err("a size is missing between the commas".to_string()),
        size if size.starts_with(['-', '+', '?']) => Err(format!("{size} is not a size; an open one gets a name")),
        size if size.starts_with(|c: char| c.is_ascii_digit()) => match size.parse::<usize>() {
            Ok(n) if i64::try_from(n).is_ok() => Ok(Size::Number(n)),
            _ => Err(format!("{size} is not a size")),
        },
        size => Ok(Size::Name(size.into())),
    });
    Ok((name.into(), sizes.collect::<Result<_, _>>()?))
}

fn batch_size(text: &str) -> Result<Size, String> {
    match text.parse::<usize>() {
        Ok(n) if n > 0 && i64::try_from(n).is_ok() => Ok(Size::Number(n)),
        _ => Err("expected a number of samples".into()),
    }
}

fn size_name(text: &str) -> Result<Size, String> {
    let is_name = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if is_name { Ok(Size::Name(text.into())) } else { Err("expected a name for the size".into()) }
}

/// Names in a list.
pub(super) fn some(text: &str) -> Result<String, String> {
    match text.split(',').all(|name| !name.trim().is_empty()) {
        true => Ok(text.into()),
        false => Err("a name is missing".into()),
    }
}

/// An old name and a new one.
pub(super) fn rename(text: &str) -> Result<Rename, String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok(Rename { old: old.into(), new: new.into() }),
        _ => Err("expected OLD=NEW".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_shapes_are_numbers_and_names() {
        let (name, sizes) = input_shape("images:0:batch,3,224, 224").unwrap();
        assert_eq!(name, "images:0");
        assert_eq!(sizes, [Size::from("batch"), Size::from(3), Size::from(224), Size::from(224)]);
        assert_eq!(input_shape("scalar:").unwrap().1, []);
        for wrong in ["x", ":1,2", "x:1,,2", "x:-1", "x:3x", "x:99999999999999999999"] {
            assert!(input_shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_given_in_lists_and_pairs() {
        assert_eq!(some("a,b"), Ok("a,b".into()));
        assert_eq!(rename("a=b=c"), Ok(Rename { old: "a".into(), new: "b=c".into() }));
        for wrong in ["", "a,", ",a", " "] {
            assert!(some(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a", "a=", "=b"] {
            assert!(rename(wrong).is_err(), "{wrong}");
        }
    }
}
