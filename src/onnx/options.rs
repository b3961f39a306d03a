//! What a reader chooses where a file leaves a choice.

/// What to do where a file leaves a choice.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Inputs with a default value.
    pub defaults: Defaults,
    /// Operators that the model defines itself.
    pub functions: Functions,
}

/// What an initializer means that is a graph input too (IR version 4 and newer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defaults {
    /// Constants where the file lists every initializer as an input, as old exporters did without meaning anything by
    /// it; values that callers may override where it lists only some.
    #[default]
    Meant,
    /// A value that callers may override.
    Overridable,
    /// A constant: the input goes.
    Frozen,
}

/// What becomes of functions that the model defines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Functions {
    /// Calls are replaced by the function's nodes.
    #[default]
    Inlined,
    /// Calls stay calls.
    Kept,
}
