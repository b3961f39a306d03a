//! What several rules share: the algebra of broadcasting, of views and of linear operators.

pub(super) mod axes;
pub(super) mod broadcast;
pub(super) mod linear;
pub(super) mod numbers;
pub(super) mod readers;
