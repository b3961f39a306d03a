//! What several rules share: the algebra of broadcasting, of slices, pads and reductions, and of linear operators.

pub(super) mod attention;
pub(super) mod axes;
pub(super) mod bounds;
pub(super) mod broadcast;
pub(super) mod elementwise;
pub(super) mod formula;
pub(super) mod grid;
pub(super) mod layout;
pub(super) mod linear;
pub(super) mod matrix;
pub(super) mod norm;
pub(super) mod numbers;
pub(super) mod pads;
pub(super) mod parts;
pub(super) mod readers;
pub(super) mod reductions;
pub(super) mod rotary;
pub(super) mod slices;
pub(super) mod uniform;
pub(super) mod views;
