//! Dimension colouring: which indices, of which axes, of all tensors of a graph can only be removed together.
//!
//! Every index of every axis is an atom; the ties of each call make atoms one. What is one with an atom of a graph
//! input or output, or of an axis that some operator says nothing about, is fixed. What is left falls into classes, the
//! smallest units that can be removed: all slices, of all tensors, of one class go at once.

mod calling;
mod painter;
mod ties;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, NodeId, ValueId};
use crate::prune::colour::painter::Painter;

/// A class of indices; classes are numbered from 1 on, 0 stands for those that stay.
pub type Class = u32;

/// The class of each index of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// All of them stay.
    Fixed,
    /// Of each index, 0 where it stays.
    Of(Arc<[Class]>),
}

/// How convolutions in groups lose channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouped {
    /// Whichever gives the smaller units.
    #[default]
    Finer,
    /// Whole groups.
    Whole,
    /// The same channels of every group.
    Within,
}

/// Along which factor of a `Reshape` channels are removed where nothing else tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factor {
    /// The outermost: whole heads.
    #[default]
    Outer,
    /// The innermost: the same part of every head.
    Inner,
}

/// What a caller decides about classes.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Of convolutions in groups.
    pub grouped: Grouped,
    /// Of views.
    pub factor: Factor,
    /// Tensors that keep all of their indices.
    pub protected: FxHashSet<ValueId>,
}

/// Calls of one operator that kept something from being removable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How many calls.
    pub calls: usize,
    /// The first of them.
    pub first: NodeId,
}

/// A graph's classes.
#[derive(Clone, Debug)]
pub struct Colouring {
    axes: FxHashMap<ValueId, Vec<Axis>>,
    classes: usize,
    /// Operators about whose axes nothing is known, where that fixed something.
    pub stopped: BTreeMap<String, Stopped>,
    /// Convolutions in groups that lose the same channels of every group.
    pub within: FxHashSet<NodeId>,
}

impl Colouring {
    /// The classes of the main graph's tensors. Shapes must have been inferred.
    pub fn of(graph: &Graph, choices: &Choices) -> Colouring {
        let mut painter = Painter::new(graph, choices);
        painter.paint();
        painter.finish()
    }

    /// The classes along each axis of `value`; none for a tensor of unknown rank or one that no call of the main graph
    /// has to do with.
    pub fn axes(&self, value: ValueId) -> &[Axis] {
        self.axes.get(&value).map_or(&[], Vec::as_slice)
    }

    /// The classes along one axis, where it has any.
    pub fn classes_of(&self, value: ValueId, axis: usize) -> Option<&Arc<[Class]>> {
        match self.axes(value).get(axis)? {
            Axis::Fixed => None,
            Axis::Of(classes) => Some(classes),
        }
    }

    /// All tensors with their axes.
    pub fn tensors(&self) -> impl Iterator<Item = (ValueId, &[Axis])> {
        self.axes.iter().map(|(value, axes)| (*value, axes.as_slice()))
    }

    /// How many classes there are; the last has this number.
    pub fn class_count(&self) -> usize {
        self.classes
    }
}
