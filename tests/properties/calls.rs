//! Which call comes next: operators with operands and attributes that mostly fit, drawn from numbers.

use onnx_slim::ir::{Attr, DType, OpKind as O, Tensor, ValueId};

use crate::grow::{Dice, Grower, Known, Plan, broadcast, plan, tensor};

impl Grower {
    /// A call to add, and whether its results are exact if its operands are.
    pub fn propose(&mut self, dice: &mut Dice<'_>) -> Option<(Plan, bool)> {
        let float = |k: &Known| matches!(k.dtype(), DType::F32 | DType::F16);
        let number = |k: &Known| k.dtype() != DType::Bool;
        let f32_of = |rank: usize| move |k: &Known| k.dtype() == DType::F32 && k.rank() == rank;
        Some(match dice.below(36) {
            0 | 1 => {
                let op =
                    *dice.one(&[O::Relu, O::Neg, O::Abs, O::Identity, O::Sigmoid, O::Tanh, O::Sqrt, O::Dropout])?;
                let x = self.pick(dice, |k| float(k) && (op != O::Sqrt || k.all(|x| x > 0.1)))?;
                let results = if op == O::Dropout { 1 + dice.below(2) } else { 1 };
                (plan(op, [x.id]).results(results), !matches!(op, O::Sigmoid | O::Tanh | O::Sqrt))
            }
            2..=6 => {
                let op = *dice.one(&[O::Add, O::Mul, O::Sub, O::Div])?;
                let x = self.pick(dice, number)?;
                let y = self.other(dice, &x);
                let (a, b) = if dice.chance(3) { (y, x.id) } else { (x.id, y) };
                if op == O::Div && !self.is_far_from_zero(b) {
                    return None;
                }
                (plan(op, [a, b]), false)
            }
            7 => {
                let op = *dice.one(&[O::Min, O::Max, O::Sum, O::Mean])?;
                let x = self.pick(dice, |k| if matches!(op, O::Sum | O::Mean) { float(k) } else { number(k) })?;
                let operands: Vec<ValueId> =
                    [x.id].into_iter().chain((0..dice.below(3)).map(|_| self.other(dice, &x))).collect();
                (plan(op, operands), matches!(op, O::Min | O::Max))
            }
            8 => {
                let x = self.pick(dice, number)?;
                let low = dice.int(-2, 1) as f64;
                let high = low + dice.int(0, 6) as f64;
                let (low, high) = (tensor(x.dtype(), &[], &[low]), tensor(x.dtype(), &[], &[high]));
                let mut call = plan(O::Clip, [x.id]);
                let which = dice.below(4);
                call.operands.push((which != 1).then(|| self.constant(low)));
                if which != 2 {
                    let high = self.constant(high);
                    call.operands.push(Some(high));
                }
                (call, true)
            }
            9 => {
                let x = self.pick(dice, |_| true)?;
                let y = self.other(dice, &x);
                let (a, b) = if dice.chance(2) { (y, x.id) } else { (x.id, y) };
                let broadcasts = |c: &Known| c.dtype() == DType::Bool && broadcast(&x, c);
                let condition = match self.pick(dice, broadcasts) {
                    Some(condition) if !dice.chance(3) => condition.id,
                    _ => self.weight(dice, DType::Bool, &[]),
                };
                (plan(O::Where, [condition, a, b]), true)
            }
            10 => {
                let op = *dice.one(&[O::Greater, O::LessOrEqual, O::Equal, O::Not, O::And, O::Or])?;
                if matches!(op, O::Not | O::And | O::Or) {
                    let x = self.pick(dice, |k| k.dtype() == DType::Bool)?;
                    let y = self.other(dice, &x);
                    return Some((if op == O::Not { plan(op, [x.id]) } else { plan(op, [x.id, y]) }, true));
                }
                // A comparison may go the other way when the two are rounded differently.
                let x = self.pick(dice, |k| number(k) && k.exact)?;
                let zero = self.weight(dice, x.dtype(), &[]);
                (plan(op, [x.id, zero]), true)
            }
            11 | 12 => {
                let to = *dice.one(&[DType::F32, DType::I64, DType::I32, DType::F16])?;
                let whole_part_is_safe =
                    |k: &Known| k.exact || to.is_float() || k.all(|x| (x - x.round()).abs() > 0.02);
                let x = self.pick(dice, whole_part_is_safe)?;
                (plan(O::Cast, [x.id]).with("to", Attr::Int(to.code().into())), true)
            }
            13 | 14 => {
                let x = self.pick(dice, |k| k.rank() > 1)?;
                let mut perm: Vec<i64> = (0..i64::try_from(x.rank()).ok()?).collect();
                if dice.chance(2) {
                    // Channels to the end, and back.
                    if dice.chance(2) { perm[1..].rotate_left(1) } else { perm[1..].rotate_right(1) }
                } else {
                    for i in (1..perm.len()).rev() {
                        let j = dice.below(i + 1);
                        perm.swap(i, j);
                    }
                }
                (plan(O::Transpose, [x.id]).with("perm", Attr::Ints(perm)), true)
            }
            15 | 16 => self.reshape(dice)?,
            17 => {
                let x = self.pick(dice, |k| k.rank() < 5)?;
                let axis = dice.int(-i64::try_from(x.rank()).ok()? - 1, i64::try_from(x.rank()).ok()?);
                let axes = self.ints(&[axis]);
                (plan(O::Unsqueeze, [x.id, axes]), true)
            }
            18 => {
                let x = self.pick(dice, |k| k.dims().contains(&Some(1)))?;
                let ones: Vec<i64> =
                    x.dims().iter().enumerate().filter(|(_, d)| **d == Some(1)).map(|(i, _)| i as i64).collect();
                let axes = if dice.chance(2) { ones } else { vec![*dice.one(&ones)?] };
                let axes = self.ints(&axes);
                (plan(O::Squeeze, [x.id, axes]), true)
            }
            19 | 20 => {
                let x = self.pick(dice, |k| k.rank() > 0)?;
                let axis = dice.int(-i64::try_from(x.rank()).ok()?, i64::try_from(x.rank()).ok()? - 1);
                let step = *dice.one(&[1, 1, 2, -1])?;
                let (start, end) = if step > 0 {
                    (*dice.one(&[0, 1, 2, -2, -3])?, *dice.one(&[i64::MAX, -1, 3, 2, 4])?)
                } else {
                    (*dice.one(&[-1, 2])?, *dice.one(&[i64::MIN, 0, -4])?)
                };
                let operands = [[start], [end], [axis], [step]].map(|e| self.ints(&e));
                (plan(O::Slice, [x.id].into_iter().chain(operands)), true)
            }
            21 | 22 => {
                let x = self.pick(dice, |k| k.rank() > 0)?;
                let axis = dice.below(x.rank());
                let fits = |y: &Known| {
                    let others = |k: &Known| {
                        let tensors = k.tensors.iter();
                        tensors
                            .map(|t| {
                                let mut d = t.dims().to_vec();
                                d.remove(axis);
                                d
                            })
                            .collect::<Vec<_>>()
                    };
                    y.dtype() == x.dtype() && y.rank() == x.rank() && others(y) == others(&x)
                };
                let mut operands = vec![x.id];
                for _ in 0..dice.below(3) {
                    operands.push(self.pick(dice, fits)?.id);
                }
                if let Some(mut dims) = x.dims().into_iter().collect::<Option<Vec<usize>>>()
                    && dice.chance(3)
                {
                    dims[axis] = 1 + dice.below(2);
                    operands.push(self.weight(dice, x.dtype(), &dims));
                }
                if dice.chance(3) {
                    operands.reverse();
                }
                (plan(O::Concat, operands).with("axis", Attr::Int(axis as i64)), true)
            }
            23 => {
                let x = self.pick(dice, |k| k.dims().iter().any(|d| d.is_some_and(|d| d > 1)))?;
                let axes: Vec<(usize, usize)> =
                    x.dims().iter().enumerate().filter_map(|(i, d)| d.filter(|d| *d > 1).map(|d| (i, d))).collect();
                let &(axis, size) = dice.one(&axes)?;
                let first = 1 + dice.below(size - 1);
                let rest = size - first;
                let sizes = if rest > 1 && dice.chance(2) { vec![first, 1, rest - 1] } else { vec![first, rest] };
                let sizes: Vec<i64> = sizes.into_iter().map(|s| s as i64).collect();
                let results = sizes.len();
                let split = self.ints(&sizes);
                let call = plan(O::Split, [x.id, split]).with("axis", Attr::Int(axis as i64)).results(results);
                if dice.chance(2) {
                    // Put together again, perhaps with something in between.
                    let parts = self.add(call, true);
                    let mut parts: Vec<ValueId> = parts.iter().map(|k| k.id).collect();
                    if parts.is_empty() {
                        return None;
                    }
                    if dice.chance(3) {
                        parts.pop();
                    }
                    return Some((plan(O::Concat, parts).with("axis", Attr::Int(axis as i64)), true));
                }
                (call, true)
            }
            24 | 25 => {
                let x = self.pick(dice, |k| k.rank() > 0 && number(k))?;
                let rank = x.rank();
                let mut pads = vec![0; 2 * rank];
                for _ in 0..dice.below(4) {
                    let side = dice.below(2 * rank);
                    pads[side] = dice.int(0, 2);
                }
                let mode = *dice.one(&["constant", "constant", "constant", "edge", "reflect"])?;
                let pads = self.ints(&pads);
                let mut call = plan(O::Pad, [x.id, pads]).with("mode", Attr::Str(mode.into()));
                if mode == "constant" && dice.chance(2) {
                    let fill = self.filled(dice, x.dtype(), &[]);
                    let fill = self.constant(fill);
                    call.operands.push(Some(fill));
                }
                (call, true)
            }
            26 => {
                let x = self.pick(dice, |k| k.rank() < 4)?;
                let mut target: Vec<i64> =
                    x.dims().iter().map(|d| if *d == Some(1) && dice.chance(2) { 3 } else { 1 }).collect();
                if dice.chance(3) {
                    target.insert(0, dice.int(1, 2));
                }
                let target = match self.pick(dice, |k| broadcast(&x, k)) {
                    // To the shape of something else.
                    Some(like) if dice.chance(2) => self.add(plan(O::Shape, [like.id]), true).first()?.id,
                    _ => self.ints(&target),
                };
                (plan(O::Expand, [x.id, target]), true)
            }
            27 => {
                let x = self.pick(dice, |k| k.dims().iter().any(Option::is_some))?;
                let axes: Vec<(usize, usize)> =
                    x.dims().iter().enumerate().filter_map(|(i, d)| d.map(|d| (i, d))).collect();
                let &(axis, size) = dice.one(&axes)?;
                let size = i64::try_from(size).ok()?;
                let indices = match dice.below(3) {
                    0 => Tensor::scalar(dice.int(-size, size - 1)),
                    1 => Tensor::vector(&[dice.int(-size, size - 1)]),
                    _ => Tensor::vector(&(0..size).collect::<Vec<_>>()),
                };
                let indices = self.constant(indices);
                (plan(O::Gather, [x.id, indices]).with("axis", Attr::Int(axis as i64)), true)
            }
            28 | 29 => {
                let op = *dice.one(&[O::ReduceSum, O::ReduceMean, O::ReduceMax, O::ReduceMin])?;
                let x = self.pick(dice, |k| float(k) && k.rank() > 0)?;
                let rank = i64::try_from(x.rank()).ok()?;
                let mut call = plan(op, [x.id]).with("keepdims", Attr::Int(dice.int(0, 1)));
                let first = dice.int(0, rank - 1);
                let axes = match dice.below(4) {
                    0 => vec![first - rank],
                    1 => (first..rank).collect(),
                    2 => vec![first],
                    _ => Vec::new(),
                };
                if !axes.is_empty() {
                    let axes = self.ints(&axes);
                    call.operands.push(Some(axes));
                }
                (call, matches!(op, O::ReduceMax | O::ReduceMin))
            }
            30 => {
                let x =
                    self.pick(dice, |k| k.dtype() == DType::F32 && k.rank() > 1 && k.dims().last() != Some(&None))?;
                let inner = x.dims().last().copied().flatten()?;
                let columns = *dice.one(&[inner, 3, 1])?;
                let weight = self.weight(dice, DType::F32, &[inner, columns]);
                let bias = self.weight(dice, DType::F32, &[columns]);
                let call = plan(O::MatMul, [x.id, weight]);
                if dice.chance(2) {
                    return Some((call, false));
                }
                let product = self.add(call, false).first()?.id;
                (plan(O::Add, [product, bias]), false)
            }
            31 => {
                let x = self.pick(dice, |k| f32_of(2)(k) && k.dims()[1].is_some())?;
                let inner = x.dims()[1]?;
                let columns = *dice.one(&[inner, 3])?;
                let transposed = dice.int(0, 1);
                let dims = if transposed == 1 { [columns, inner] } else { [inner, columns] };
                let weight = self.weight(dice, DType::F32, &dims);
                let mut call = plan(O::Gemm, [x.id, weight]).with("transB", Attr::Int(transposed));
                if dice.chance(2) {
                    call = call.with("alpha", Attr::Float(*dice.one(&[0.5, 2.0, 1.0])?));
                }
                if dice.chance(2) {
                    let bias = self.weight(dice, DType::F32, &[columns]);
                    call.operands.push(Some(bias));
                    call = call.with("beta", Attr::Float(*dice.one(&[1.0, 0.5])?));
                }
                (call, false)
            }
            32 | 33 => {
                let x =
                    self.pick(dice, |k| matches!(k.rank(), 3 | 4) && k.dtype() == DType::F32 && k.dims()[1].is_some())?;
                let (channels, spatial) = (x.dims()[1]?, x.rank() - 2);
                let groups = if channels % 2 == 0 && dice.chance(3) { 2 } else { 1 };
                let groups = if dice.chance(4) { channels } else { groups };
                let kernel = *dice.one(&[1, 3])?;
                let results = *dice.one(&[1, 2])? * if dice.chance(2) { channels } else { groups };
                if results % groups != 0 {
                    return None;
                }
                let mut dims = vec![results, channels / groups];
                dims.extend(vec![kernel; spatial]);
                let weight = self.weight(dice, DType::F32, &dims);
                let pads = if kernel == 3 { *dice.one(&[1, 0])? } else { 0 };
                let mut call = plan(O::Conv, [x.id, weight])
                    .with("group", Attr::Int(groups as i64))
                    .with("pads", Attr::Ints(vec![pads; 2 * spatial]))
                    .with("kernel_shape", Attr::Ints(vec![kernel as i64; spatial]));
                if dice.chance(2) {
                    let bias = self.weight(dice, DType::F32, &[results]);
                    call.operands.push(Some(bias));
                }
                (call, false)
            }
            34 => {
                let x = self.pick(dice, |k| k.dtype() == DType::F32 && k.rank() > 1 && k.dims()[1].is_some())?;
                if let (true, 3 | 4) = (dice.chance(2), x.rank()) {
                    let spatial = x.rank() - 2;
                    let op = *dice.one(&[O::MaxPool, O::AveragePool, O::GlobalAveragePool])?;
                    let mut call = plan(op, [x.id]);
                    if op != O::GlobalAveragePool {
                        let pads = dice.int(0, 1);
                        call = call
                            .with("kernel_shape", Attr::Ints(vec![*dice.one(&[2, 1, 3])?; spatial]))
                            .with("pads", Attr::Ints(vec![pads; 2 * spatial]));
                        if op == O::AveragePool {
                            call = call.with("count_include_pad", Attr::Int(dice.int(0, 1)));
                        }
                    }
                    return Some((call, false));
                }
                let channels = x.dims()[1]?;
                let three = [0; 3].map(|_| self.weight(dice, DType::F32, &[channels]));
                let variance: Vec<f64> = (0..channels).map(|i| 0.5 + 0.25 * (i % 5) as f64).collect();
                let variance = self.constant(tensor(DType::F32, &[channels], &variance));
                (plan(O::BatchNormalization, [x.id].into_iter().chain(three).chain([variance])), false)
            }
            _ => {
                // A reshape to sizes that are computed.
                let x = self.pick(dice, |k| k.rank() > 1)?;
                let shape = self.add(plan(O::Shape, [x.id]), true).first()?.id;
                let zero = self.constant(if dice.chance(2) { Tensor::vector(&[0]) } else { Tensor::scalar(0) });
                let first = self.add(plan(O::Gather, [shape, zero]), true);
                let mut first = first.first()?.clone();
                if first.rank() == 0 {
                    let axes = self.ints(&[0]);
                    first = self.add(plan(O::Unsqueeze, [first.id, axes]), true).first()?.clone();
                }
                let rest = match dice.below(3) {
                    0 => vec![-1],
                    1 => vec![-1, 2],
                    _ => vec![2, -1],
                };
                let rest = self.ints(&rest);
                let order = if dice.chance(3) { [rest, first.id] } else { [first.id, rest] };
                let target = self.add(plan(O::Concat, order).with("axis", Attr::Int(0)), true).first()?.id;
                (plan(O::Reshape, [x.id, target]), true)
            }
        })
    }

    fn reshape(&mut self, dice: &mut Dice<'_>) -> Option<(Plan, bool)> {
        let x = self.pick(dice, |k| k.rank() > 0)?;
        let dims = x.dims();
        // Leading sizes stay: 0 copies what is open.
        let mut target: Vec<i64> = dims.iter().map(|d| d.map_or(0, |d| d as i64)).collect();
        let axis = dice.below(dims.len());
        match dice.below(5) {
            0 => target = vec![-1],
            1 if axis + 1 < dims.len() => {
                // Two axes become one.
                target.splice(axis..axis + 2, [-1]);
            }
            2 if dims[axis].is_some_and(|d| d % 2 == 0) => {
                target.splice(axis..=axis, [2, dims[axis]? as i64 / 2]);
            }
            3 => target.insert(axis, 1),
            4 if dims.len() > 1 => target = vec![if axis == 0 { 0 } else { -1 }, if axis == 0 { -1 } else { 2 }],
            _ => target[axis] = -1,
        }
        let target = self.ints(&target);
        Some((plan(O::Reshape, [x.id, target]), true))
    }
}
