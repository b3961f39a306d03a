//! What several rules share: the algebra of broadcasting, of slices, pads and reductions, and of linear operators.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod axes;
pub(crate) mod blocks;
pub(crate) mod bounds;
pub(crate) mod branch;
pub(crate) mod broadcast;
pub(crate) mod elementwise;
pub(crate) mod formula;
pub(crate) mod heads;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod matrix;
pub(crate) mod norm;
pub(crate) mod numbers;
pub(crate) mod pads;
pub(crate) mod parts;
pub(crate) mod product;
pub(crate) mod quantized;
pub(crate) mod readers;
pub(crate) mod reductions;
pub(crate) mod slices;
pub(crate) mod softmax;
pub(crate) mod spelled_out;
pub(crate) mod uniform;
pub(crate) mod views;
