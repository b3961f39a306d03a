//! Random small networks of the parts that real ones are made of, as text.

use std::fmt::Write as _;

/// Numbers that choices are made from; 0 when there are no more.
pub struct Choices<'a>(pub std::slice::Iter<'a, u16>);

impl Choices<'_> {
    /// Below `n`, which is positive.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |&choice| usize::from(choice) % n)
    }
}

/// An activation `[2, channels, size, size]`.
#[derive(Clone)]
struct Plane {
    name: String,
    channels: usize,
    size: usize,
}

/// A network while it grows.
struct Network {
    weights: String,
    calls: String,
    names: usize,
}

impl Network {
    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// A float weight without data.
    fn weight(&mut self, kind: &str, dims: &[usize]) -> String {
        let name = self.name(kind);
        let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
        let _ = writeln!(self.weights, ", float[{}] {name}", dims.join(","));
        name
    }

    fn ints(&mut self, elements: &[i64]) -> String {
        let name = self.name("i");
        let list: Vec<String> = elements.iter().map(ToString::to_string).collect();
        let _ = writeln!(self.weights, ", int64[{}] {name} = {{{}}}", elements.len(), list.join(", "));
        name
    }

    fn call(&mut self, op: &str, operands: &str) -> String {
        let result = self.name("t");
        let _ = writeln!(self.calls, "  {result} = {op}({operands})");
        result
    }

    fn plane(&mut self, op: &str, operands: &str, channels: usize, size: usize) -> Plane {
        Plane { name: self.call(op, operands), channels, size }
    }

    /// A convolution, with a bias or without.
    fn conv(&mut self, x: &Plane, channels: usize, choices: &mut Choices<'_>) -> Plane {
        let wide = choices.below(2) == 1;
        let kernel = if wide { 3 } else { 1 };
        let pads = usize::from(wide);
        let w = self.weight("w", &[channels, x.channels, kernel, kernel]);
        let op = format!("Conv<pads = [{pads}, {pads}, {pads}, {pads}]>");
        let mut operands = format!("{}, {w}", x.name);
        if choices.below(2) == 1 {
            let b = self.weight("b", &[channels]);
            let _ = write!(operands, ", {b}");
        }
        self.plane(&op, &operands, channels, x.size)
    }

    /// Something that acts on each element.
    fn activation(&mut self, x: &Plane, choices: &mut Choices<'_>) -> Plane {
        const OPS: [&str; 8] =
            ["Sigmoid", "Relu", "Tanh", "HardSwish", "Identity", "Softplus", "LeakyRelu<alpha = 0.3>", "Neg"];
        self.plane(OPS[choices.below(OPS.len())], &x.name, x.channels, x.size)
    }

    /// Attention over the places of a plane, its channels in heads.
    fn attention(&mut self, x: &Plane, heads: usize, choices: &mut Choices<'_>) -> Plane {
        let (places, wide) = (x.size * x.size, heads * 2);
        let (p, h) = (signed(places), signed(heads));
        let flat = self.ints(&[0, 0, p]);
        let rows = self.call("Reshape", &format!("{}, {flat}", x.name));
        let rows = self.call("Transpose<perm = [0, 2, 1]>", &rows);
        let part = |network: &mut Network, perm: &str| {
            let w = network.weight("w", &[x.channels, wide]);
            let b = network.weight("b", &[wide]);
            let y = network.call("MatMul", &format!("{rows}, {w}"));
            let y = network.call("Add", &format!("{b}, {y}"));
            let apart = network.ints(&[0, p, h, -1]);
            let y = network.call("Reshape", &format!("{y}, {apart}"));
            network.call(&format!("Transpose<perm = [{perm}]>"), &y)
        };
        let (q, k, v) = (part(self, "0, 2, 1, 3"), part(self, "0, 2, 3, 1"), part(self, "0, 2, 1, 3"));
        let scores = self.call("MatMul", &format!("{q}, {k}"));
        let shares = self.call("Softmax<axis = -1>", &scores);
        let mixed = self.call("MatMul", &format!("{shares}, {v}"));
        let mixed = self.call("Transpose<perm = [0, 2, 1, 3]>", &mixed);
        let together = self.ints(&[0, p, if choices.below(2) == 0 { -1 } else { signed(wide) }]);
        let mixed = self.call("Reshape", &format!("{mixed}, {together}"));
        let w = self.weight("w", &[wide, x.channels]);
        let out = self.call("MatMul", &format!("{mixed}, {w}"));
        let out = self.call("Transpose<perm = [0, 2, 1]>", &out);
        let square = self.ints(&[0, 0, signed(x.size), signed(x.size)]);
        self.plane("Reshape", &format!("{out}, {square}"), x.channels, x.size)
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).expect("networks are small")
}

/// The text of a network that `choices` make.
pub fn grow(choices: &mut Choices<'_>) -> String {
    let mut network = Network { weights: String::new(), calls: String::new(), names: 0 };
    let x = Plane { name: "x".into(), channels: 3, size: 4 };
    let channels = 4 + choices.below(5);
    let mut planes = vec![network.conv(&x, channels, choices)];
    for _ in 0..2 + choices.below(7) {
        let x = planes[planes.len() - 1 - choices.below(planes.len().min(2))].clone();
        let made = step(&mut network, &planes, &x, choices);
        let made = if choices.below(3) == 0 { network.activation(&made, choices) } else { made };
        planes.push(made);
    }
    let last = planes[planes.len() - 1].clone();
    let result = if choices.below(2) == 0 {
        network.conv(&last, 2, choices).name
    } else {
        let flat = network.call("Flatten", &last.name);
        let w = network.weight("w", &[2, last.channels * last.size * last.size]);
        network.call("Gemm<transB = 1>", &format!("{flat}, {w}"))
    };
    let Network { weights, calls, .. } = network;
    format!(
        "<ir_version: 10, opset_import: [\"\": 21]>\ng (float[2,3,4,4] x) => (float[] y)\n\
         < float one = {{1}}\n{weights}>\n{{\n{calls}  y = Identity({result})\n}}\n"
    )
}

/// One more part behind `x`.
fn step(network: &mut Network, planes: &[Plane], x: &Plane, choices: &mut Choices<'_>) -> Plane {
    let Plane { name, channels, size } = x.clone();
    let same = |network: &mut Network, op: &str, operands: &str| network.plane(op, operands, channels, size);
    match choices.below(19) {
        1 => {
            let y = network.conv(x, channels, choices);
            let like: Vec<&Plane> = planes.iter().filter(|p| (p.channels, p.size) == (channels, size)).collect();
            let other = like[choices.below(like.len())].name.clone();
            same(network, "Add", &format!("{other}, {}", y.name))
        }
        2 => {
            let like: Vec<&Plane> = planes.iter().filter(|p| p.size == size).collect();
            let other = like[choices.below(like.len())].clone();
            let operands = format!("{}, {name}", other.name);
            network.plane("Concat<axis = 1>", &operands, channels + other.channels, size)
        }
        3 if channels >= 2 => {
            let first = 1 + choices.below(channels - 1);
            let sizes = network.ints(&[signed(first), signed(channels - first)]);
            let (a, b) = (network.name("t"), network.name("t"));
            let _ = writeln!(network.calls, "  {a}, {b} = Split<axis = 1>({name}, {sizes})");
            same(network, "Concat<axis = 1>", &format!("{b}, {a}"))
        }
        4 => {
            let times = 1 + choices.below(2);
            let w = network.weight("w", &[channels * times, 1, 3, 3]);
            let b = network.weight("b", &[channels * times]);
            let op = format!("Conv<group = {channels}, pads = [1, 1, 1, 1]>");
            network.plane(&op, &format!("{name}, {w}, {b}"), channels * times, size)
        }
        5 if channels.is_multiple_of(2) => {
            let groups = if channels.is_multiple_of(4) && choices.below(2) == 0 { channels / 2 } else { 2 };
            let per_group = 1 + choices.below(3);
            let w = network.weight("w", &[groups * per_group, channels / groups, 1, 1]);
            network.plane(&format!("Conv<group = {groups}>"), &format!("{name}, {w}"), groups * per_group, size)
        }
        6 => {
            let mean = network.plane("GlobalAveragePool", &name, channels, 1);
            let hidden = 2 + choices.below(3);
            let hidden = network.conv(&Plane { size: 1, ..mean }, hidden, &mut Choices([].iter()));
            let hidden = network.activation(&hidden, choices);
            let gate = network.conv(&hidden, channels, &mut Choices([].iter()));
            let gate = network.call("HardSigmoid", &gate.name);
            same(network, "Mul", &format!("{gate}, {name}"))
        }
        7 if channels.is_multiple_of(2) => {
            let (half, s) = (signed(channels / 2), signed(size));
            let (apart, together) = (network.ints(&[0, 2, half, s, s]), network.ints(&[0, -1, s, s]));
            let y = network.call("Reshape", &format!("{name}, {apart}"));
            let y = network.call("Transpose<perm = [0, 2, 1, 3, 4]>", &y);
            same(network, "Reshape", &format!("{y}, {together}"))
        }
        8 => {
            let [scale, b, mean, var] = ["scale", "b", "m", "var"].map(|kind| network.weight(kind, &[channels]));
            same(network, "BatchNormalization", &format!("{name}, {scale}, {b}, {mean}, {var}"))
        }
        9 if channels >= 3 => {
            let (start, step) = (choices.below(2), 1 + choices.below(2));
            let bounds = [signed(start), signed(channels), 1, signed(step)].map(|bound| network.ints(&[bound]));
            let left = (channels - start).div_ceil(step);
            network.plane("Slice", &format!("{name}, {}", bounds.join(", ")), left, size)
        }
        10 => {
            let indices: Vec<i64> = (0..channels).map(|_| signed(choices.below(channels))).collect();
            let indices = network.ints(&indices);
            same(network, "Gather<axis = 1>", &format!("{name}, {indices}"))
        }
        11 => {
            let slope = network.weight("w", &[channels, 1, 1]);
            same(network, if choices.below(2) == 0 { "PRelu" } else { "Mul" }, &format!("{name}, {slope}"))
        }
        12 if channels.is_multiple_of(4) && size == 4 => {
            let mode = if choices.below(2) == 0 { "DCR" } else { "CRD" };
            let op = format!("DepthToSpace<blocksize = 2, mode = \"{mode}\">");
            network.plane(&op, &name, channels / 4, size * 2)
        }
        13 if channels.is_multiple_of(2) => {
            let [scale, b] = ["scale", "b"].map(|kind| network.weight(kind, &[channels]));
            let op = match choices.below(2) {
                0 => format!("GroupNormalization<num_groups = {}>", channels / 2),
                _ => "InstanceNormalization".to_string(),
            };
            same(network, &op, &format!("{name}, {scale}, {b}"))
        }
        14 => {
            let made = 2 + choices.below(4);
            let w = network.weight("w", &[channels, made, 3, 3]);
            network.plane("ConvTranspose<pads = [1, 1, 1, 1]>", &format!("{name}, {w}"), made, size)
        }
        15 => {
            let y = network.call("Transpose<perm = [0, 2, 3, 1]>", &name);
            let made = 2 + choices.below(6);
            let w = network.weight("w", &[channels, made]);
            let y = network.call("MatMul", &format!("{y}, {w}"));
            network.plane("Transpose<perm = [0, 3, 1, 2]>", &y, made, size)
        }
        16 => {
            let heads = 2 + choices.below(2);
            network.attention(x, heads, choices)
        }
        18 => {
            let axes = network.ints(&[1]);
            let op = ["ReduceMean", "ReduceL2", "ReduceSum"][choices.below(3)];
            let y = network.call(op, &format!("{name}, {axes}"));
            let gate = network.call("HardSigmoid", &y);
            same(network, "Mul", &format!("{gate}, {name}"))
        }
        17 if size > 2 => network.plane("SpaceToDepth<blocksize = 2>", &name, channels * 4, size / 2),
        _ => {
            let made = 3 + choices.below(6);
            network.conv(x, made, choices)
        }
    }
}
