//! `LSTM`, `GRU` and `RNN`: a cell run along sequences, each of its own length where an operand says so.
//!
//! Behind the end of a sequence the results are zeros, and the last state is the one at its end; backwards, a sequence
//! is read from its own end.

use crate::exec::exact::args::Args;
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Attr, DType, Key, OpKind, Tensor};

const HIDDEN_SIZE: Key<i64> = Key::new("hidden_size", 0);
const DIRECTION: Key<&str> = Key::new("direction", "forward");
const LAYOUT: Key<bool> = Key::new("layout", false);
const CLIP: Key<f32> = Key::new("clip", 0.0);
const INPUT_FORGET: Key<bool> = Key::new("input_forget", false);
const LINEAR_BEFORE_RESET: Key<bool> = Key::new("linear_before_reset", false);

type Function = fn(f64) -> f64;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The functions of one direction, and its weights.
struct Cell<'a> {
    op: OpKind,
    hidden: usize,
    /// `f`, `g` and `h`, as far as the operator has them.
    functions: &'a [Function],
    /// Rows of all gates over an element of the sequence, and over the state.
    weights: [&'a [f64]; 2],
    /// What is added to either.
    biases: Option<[&'a [f64]; 2]>,
    /// How gates see the cell's state.
    peepholes: Option<&'a [f64]>,
    resets_late: bool,
}

/// What a cell remembers.
struct State {
    shown: Vec<f64>,
    kept: Vec<f64>,
}

pub(super) fn recurrent(args: &Args<'_>) -> Result<Folded, Unable> {
    let (node, x) = (args.node(), args.tensor(0)?);
    let misfit = || Unable::malformed("the operands do not fit each other");
    let (&[first, second, input], &[directions, rows, width], &[_, _, hidden]) =
        (x.dims(), args.tensor(1)?.dims(), args.tensor(2)?.dims())
    else {
        return Err(misfit());
    };
    let batch_first = LAYOUT.of(node);
    let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
    let (gates, names): (usize, &[&str]) = match args.op() {
        OpKind::LSTM => (4, &["Sigmoid", "Tanh", "Tanh"]),
        OpKind::GRU => (3, &["Sigmoid", "Tanh"]),
        _ => (1, &["Tanh"]),
    };
    let backwards: &[bool] = match args.text(DIRECTION).as_ref() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        _ => return Err(misfit()),
    };
    let state_dims = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let absent_or = |slot: usize, dims: &[usize]| args.optional(slot).is_none_or(|t| t.dims() == dims);
    let doubled = rows.checked_mul(2).ok_or_else(misfit)?;
    if width != input
        || gates.checked_mul(hidden) != Some(rows)
        || directions != backwards.len()
        || args.tensor(2)?.dims() != [directions, rows, hidden]
        || HIDDEN_SIZE.get(node).is_some_and(|h| usize::try_from(h) != Ok(hidden))
        || !absent_or(3, &[directions, doubled])
        || !absent_or(5, &state_dims)
        || !absent_or(6, &state_dims)
        || !absent_or(7, &[directions, rows - rows / gates])
    {
        return Err(misfit());
    }
    // Where in a cell these act, runtimes do not agree.
    if CLIP.of(node) != 0.0 || INPUT_FORGET.of(node) {
        return Err(Unable::NoKernel);
    }
    let functions = functions(args, names, directions)?;
    let lengths = match args.optional_ints(4)? {
        Some(lengths) => args.dims(&lengths)?.to_vec(),
        None => vec![steps; batch],
    };
    if lengths.len() != batch || lengths.iter().any(|&l| l > steps) {
        return Err(misfit());
    }
    if lengths.contains(&0) {
        return Err(Unable::Undefined("the last state of an empty sequence"));
    }
    let y_dims = match batch_first {
        true => [batch, steps, directions, hidden],
        false => [steps, directions, batch, hidden],
    };
    let total = args.room_for(DType::F64, &y_dims)?;
    args.room(DType::F64, doubled)?;
    let optional = |slot: usize| args.optional(slot).map(|_| args.floats(slot)).transpose();
    let (elements, over_input, over_state) = (args.floats(0)?, args.floats(1)?, args.floats(2)?);
    let (biases, shown, kept, peepholes) = (optional(3)?, optional(5)?, optional(6)?, optional(7)?);
    let (mut y, mut last) = (vec![0.0; total], vec![0.0; directions * batch * hidden]);
    let mut last_kept = last.clone();
    for (direction, &backwards) in backwards.iter().enumerate() {
        let of = |all: &'_ [f64], size: usize| direction * size..direction * size + size.min(all.len());
        let bias = biases.as_ref().map(|b| b[of(b, doubled)].split_at(rows));
        let cell = Cell {
            op: args.op(),
            hidden,
            functions: &functions[direction * names.len()..][..names.len()],
            weights: [&over_input[of(&over_input, rows * input)], &over_state[of(&over_state, rows * hidden)]],
            biases: bias.map(|(w, r)| [w, r]),
            peepholes: peepholes.as_ref().map(|p| &p[of(p, 3 * hidden)]),
            resets_late: LINEAR_BEFORE_RESET.of(node),
        };
        for (sequence, &length) in lengths.iter().enumerate() {
            let at = if batch_first { sequence * directions + direction } else { direction * batch + sequence };
            let own = at * hidden..(at + 1) * hidden;
            let initial = |all: &Option<Vec<f64>>| all.as_ref().map_or(vec![0.0; hidden], |a| a[own.clone()].to_vec());
            let mut state = State { shown: initial(&shown), kept: initial(&kept) };
            for step in 0..length {
                let step = if backwards { length - 1 - step } else { step };
                let (read, written) = match batch_first {
                    true => (sequence * steps + step, (sequence * steps + step) * directions + direction),
                    false => (step * batch + sequence, (step * directions + direction) * batch + sequence),
                };
                cell.step(&elements[read * input..(read + 1) * input], &mut state);
                y[written * hidden..(written + 1) * hidden].copy_from_slice(&state.shown);
            }
            last[own.clone()].copy_from_slice(&state.shown);
            last_kept[own].copy_from_slice(&state.kept);
        }
    }
    let tensor = |dims: &[usize], reals: &[f64]| Tensor::rounded(x.dtype(), dims, reals).map_err(|_| Unable::NoKernel);
    let mut folded = Folded::rounding(tensor(&y_dims, &y)?);
    folded.results.extend([tensor(&state_dims, &last)?, tensor(&state_dims, &last_kept)?]);
    folded.results.truncate(args.results());
    Ok(folded)
}

/// The functions of each direction one after another.
fn functions(args: &Args<'_>, default: &[&str], directions: usize) -> Result<Vec<Function>, Unable> {
    let known = |name: &str| -> Option<Function> {
        Some(match name {
            "Sigmoid" => sigmoid,
            "Tanh" => f64::tanh,
            "Relu" => |x| x.max(0.0),
            _ => return None,
        })
    };
    let named: Option<Vec<Function>> = match args.node().attr("activations") {
        None => default.repeat(directions).iter().map(|name| known(name)).collect(),
        Some(Attr::Strs(names)) if names.len() == default.len() * directions => {
            names.iter().map(|name| known(&String::from_utf8_lossy(name))).collect()
        }
        Some(_) => None,
    };
    named.ok_or(Unable::NoKernel)
}

impl Cell<'_> {
    /// Row `row` of the weights over `part` of what a cell sees, with its bias.
    fn row(&self, part: usize, row: usize, seen: &[f64]) -> f64 {
        let weights = &self.weights[part][row * seen.len()..(row + 1) * seen.len()];
        let sum: f64 = weights.iter().zip(seen).map(|(w, s)| w * s).sum();
        sum + self.biases.map_or(0.0, |b| b[part][row])
    }

    fn step(&self, x: &[f64], state: &mut State) {
        let n = self.hidden;
        let (f, g) = (self.functions[0], self.functions.get(1).copied());
        let both = |row: usize, shown: &[f64]| self.row(0, row, x) + self.row(1, row, shown);
        let shown = match (self.op, g) {
            (OpKind::LSTM, Some(g)) => {
                let peep =
                    |gate: usize, unit: usize, kept: f64| self.peepholes.map_or(0.0, |p| p[gate * n + unit] * kept);
                let h = self.functions.get(2).copied().unwrap_or(g);
                let unit = |unit: usize, kept: &mut f64| {
                    let gate = |gate: usize| both(gate * n + unit, &state.shown);
                    let (enters, stays) = (f(gate(0) + peep(0, unit, *kept)), f(gate(2) + peep(2, unit, *kept)));
                    *kept = stays * *kept + enters * g(gate(3));
                    f(gate(1) + peep(1, unit, *kept)) * h(*kept)
                };
                state.kept.iter_mut().enumerate().map(|(i, kept)| unit(i, kept)).collect()
            }
            (OpKind::GRU, Some(g)) => {
                let gate = |gate: usize, unit: usize| f(both(gate * n + unit, &state.shown));
                let resets: Vec<f64> = (0..n).map(|unit| gate(1, unit)).collect();
                let left: Vec<f64> = state.shown.iter().zip(&resets).map(|(s, r)| s * r).collect();
                let unit = |unit: usize| {
                    let recalled = match self.resets_late {
                        true => resets[unit] * self.row(1, 2 * n + unit, &state.shown),
                        false => self.row(1, 2 * n + unit, &left),
                    };
                    let (keeps, new) = (gate(0, unit), g(self.row(0, 2 * n + unit, x) + recalled));
                    (1.0 - keeps) * new + keeps * state.shown[unit]
                };
                (0..n).map(unit).collect()
            }
            _ => (0..n).map(|unit| f(both(unit, &state.shown))).collect(),
        };
        state.shown = shown;
    }
}
