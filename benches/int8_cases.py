"""The computations that benches/int8.py measures, each in float and in the int8 forms that runtimes take."""

import dataclasses
import typing

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import spellings

OPSET = 20
# Activations are about normal: their range, in either direction.
RANGE = 6.0
# Keeps one value in 64 of a large result, so that handing out the result is not what is measured.
THINNED = 8


class Body(spellings.Body):
    """Nodes in the making, in one of three modes: float, u8 (activations with a zero point) and i8 (symmetric)."""

    def __init__(self, mode, shape):
        super().__init__()
        self.mode = mode
        self.inputs, self.results, self.given, self.paired = {"x": shape}, [], {}, set()

    def parameters(self, relu=False, scale=None, symmetric=False):
        if symmetric or self.mode == "i8":
            return np.float32(scale or RANGE / 127), np.int8(0)
        zero = 0 if relu else 128
        return np.float32(scale or RANGE / (255 - zero)), np.uint8(zero)

    def pair(self, x, **how):
        """What int8 puts on a tensor, once: QuantizeLinear and DequantizeLinear. Nothing in float."""
        if self.mode == "float" or x in self.paired:
            return x
        parameters = [self.weight(p) for p in self.parameters(**how)]
        y = self.DequantizeLinear(self.QuantizeLinear(x, *parameters), *parameters)
        self.paired.add(y)
        return y

    def only(self, wanted, x, **how):
        return self.pair(x, **how) if wanted else x

    def kernel(self, shape, axis, fan_in, quantized=True):
        """A weight, stored as int8 with a scale per channel of the axis."""
        w = (self.rng.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(np.float32)
        if self.mode == "float" or not quantized:
            return self.weight(w)
        return self.DequantizeLinear(*self.stored(w, axis), axis=axis)

    def stored(self, w, axis):
        others = tuple(k for k in range(w.ndim) if k != axis % w.ndim)
        scale = (np.abs(w).max(axis=others) / 127).astype(np.float32)
        along = scale.reshape([-1 if k == axis % w.ndim else 1 for k in range(w.ndim)])
        stored = np.clip(np.round(w / along), -127, 127).astype(np.int8)
        return self.weight(stored), self.weight(scale), self.weight(np.zeros(scale.shape, np.int8))

    def second(self, name, shape, **how):
        """A further input, the same for all stages."""
        if name not in self.given:
            self.inputs[name] = shape
            self.given[name] = self.pair(name, **how)
        return self.given[name]

    def result(self, y, thin=True):
        """An output beside the chain; large ones are thinned."""
        if thin:
            axes = 2
            y = self.MaxPool(y, kernel_shape=[1] * axes, strides=[THINNED] * axes)
        self.results.append(y)


@dataclasses.dataclass
class Variant:
    mode: str
    stage: typing.Callable  # (body, x) -> what the next stage gets
    base: typing.Callable = None  # a stage whose time is not counted
    runtime: str = ""  # only there


@dataclasses.dataclass
class Case:
    kind: str
    label: str
    shape: list
    variants: dict
    macs: float = 0  # of one stage
    elements: float = 0  # activations that one stage reads and writes
    length: int = 0
    positions: float = 0  # of windows of a Conv
    weights: float = 0  # elements of the weights
    # Comes once, before the chain: a Conv puts activations into the layout that the runtime computes Convs in.
    before: typing.Callable = lambda b, x: x

    def __post_init__(self):
        # Long enough to be more than the call of the runtime, short enough to be measured often.
        guess = self.macs * 0.02 + self.elements * 0.3 + 1000
        self.length = self.length or max(2, min(8, round(4e5 / guess)))


def write(path, case, variant, length, based=False):
    """A chain of as many stages, or of what is not counted in them; gives the shapes of its inputs."""
    body = Body(variant.mode, case.shape)
    x = case.before(body, body.pair("x"))
    for _ in range(length):
        x = (variant.base if based else variant.stage)(body, x)
    if x not in body.inputs and not body.results:
        body.results.append(x)
    outputs = []
    for k, name in enumerate(body.results):
        outputs.append(f"y{k}")
        body.nodes.append(helper.make_node("Identity", [name], [f"y{k}"]))
    stored = {n.output[0] for n in body.nodes if n.op_type == "QuantizeLinear"}
    types = [TensorProto.UINT8 if name in stored else TensorProto.FLOAT for name in body.results]
    inputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in body.inputs.items()]
    weights = [numpy_helper.from_array(v, k) for k, v in body.weights.items()]
    results = [helper.make_tensor_value_info(o, t, None) for o, t in zip(outputs, types)]
    graph = helper.make_graph(body.nodes, "chain", inputs, results, weights)
    imports = [helper.make_opsetid("", OPSET)] + [helper.make_opsetid(d, 1) for d in body.domains if d]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    onnx.save(model, path)
    return body.inputs


# Stages -------------------------------------------------------------------------------------------------------------


def conv(b, x, c, to=None, k=3, group=1, stride=1, relu=True, out=True, quantized=True, width=None):
    """Conv and Relu, or Conv alone; `out`: with a pair on the output, `quantized`: with an int8 weight."""
    to, axes = to or c, 1 if width else 2
    window = [k] * axes
    w = b.kernel([to, c // group, *window], 0, c // group * k**axes, quantized)
    y = b.Conv(x, w, b.random(to), kernel_shape=window, pads=[k // 2] * 2 * axes, strides=[stride] * axes, group=group)
    y = b.Relu(y) if relu else y
    return b.only(out, y, relu=relu)


def conv_variants(**how):
    return {
        "float": Variant("float", lambda b, x: conv(b, x, **how)),
        "int8": Variant("u8", lambda b, x: conv(b, x, **how)),
        "int8 zero point": Variant("u8", lambda b, x: conv(b, x, relu=False, **how)),
    }


def aside(stage):
    """Computes beside the chain: for what does not keep the shape."""

    def beside(b, x):
        b.result(stage(b, x))
        return x

    return beside


def in_modes(stage, *modes):
    names = {"float": "float", "u8": "int8", "i8": "int8 symmetric"}
    return {names[m]: Variant(m, stage) for m in modes or ("float", "u8")}


def square(c, hw):
    return [1, c, hw, hw]


def conv_case(kind, c, hw, note="", **how):
    """A Conv that keeps the shape."""
    k, group, n = how.get("k", 3), how.get("group", 1), hw * hw
    macs = k * k * c * c // group * n
    # Each group has windows of its own, but the groups of a depthwise Conv are its channels.
    positions = n * group if group < c else n
    label, variants = f"{c}x{hw}x{hw}{note}", conv_variants(c=c, **how)
    return Case(kind, label, square(c, hw), variants, macs, 2 * c * n, positions=positions, weights=macs // n)


def convolutions():
    for c, hw in (8, 56), (16, 56), (32, 28), (32, 56), (64, 14), (64, 28), (64, 56), (128, 14), (128, 28), (256, 7):
        yield conv_case("conv", c, hw)
    for c, hw in (256, 14), (512, 7), (8, 16), (16, 32), (32, 8), (32, 16), (64, 4), (64, 8), (128, 4), (128, 7):
        yield conv_case("conv", c, hw)
    for c, hw in (8, 56), (16, 56), (16, 112), (32, 28), (64, 14), (64, 28), (64, 56), (128, 14), (128, 28), (256, 7):
        yield conv_case("pointwise", c, hw, k=1)
    for c, hw in (256, 14), (512, 7), (512, 14), (16, 16), (32, 8), (32, 16), (64, 8), (128, 4), (128, 7), (256, 4):
        yield conv_case("pointwise", c, hw, k=1)
    for c, wide, hw in (16, 96, 56), (24, 144, 28), (32, 192, 28), (64, 384, 14), (160, 960, 7):

        def there_and_back(b, x, c=c, wide=wide):
            return conv(b, conv(b, x, c, wide, 1), wide, c, 1)

        n, variants = hw * hw, in_modes(there_and_back)
        label, macs, elements = f"{c}, {wide}, {c} x{hw}x{hw}", 2 * c * wide * n, 2 * (c + wide) * n
        yield Case("pointwise", label, square(c, hw), variants, macs, elements, positions=2 * n, weights=macs // n)
    for c, hw in (16, 112), (32, 28), (32, 56), (64, 28), (96, 56), (128, 14), (144, 28), (256, 14), (384, 14):
        yield conv_case("depthwise", c, hw, group=c)
    for c, hw in (512, 7), (960, 7), (32, 16), (64, 8), (96, 16), (192, 8), (384, 4):
        yield conv_case("depthwise", c, hw, group=c)
    for c, hw in (96, 28), (240, 14), (672, 7):
        yield conv_case("depthwise", c, hw, ", 5x5", group=c, k=5)
    for c, hw, g in (64, 28, 4), (64, 56, 2), (128, 14, 8), (128, 28, 32), (256, 14, 32):
        yield conv_case("grouped", c, hw, f", {g} groups", group=g)
    for c, to, hw, k, s in (
        (1, 8, 28, 3, 1),
        (1, 32, 28, 3, 1),
        (3, 16, 32, 3, 1),
        (3, 16, 112, 3, 2),
        (3, 32, 224, 3, 2),
        (3, 64, 224, 7, 2),
    ):
        n = (hw // s) ** 2
        variants = in_modes(aside(lambda b, x, c=c, to=to, k=k, s=s: conv(b, x, c, to, k, stride=s)))
        label, macs = f"{c} to {to} x{hw}x{hw}, {k}x{k}, stride {s}", k * k * c * to * n
        elements = c * hw * hw + to * n
        yield Case("first conv", label, square(c, hw), variants, macs, elements, positions=n, weights=macs // n)
    for c, length, k in (64, 256, 3), (128, 256, 5), (256, 128, 9):
        variants, macs = conv_variants(c=c, k=k, width=length), k * c * c * length
        label, shape = f"{c}x{length}, {k}", [1, c, length]
        yield Case("conv 1-D", label, shape, variants, macs, 2 * c * length, positions=length, weights=macs // length)
    for c, hw in (16, 56), (64, 14), (64, 28), (128, 14):

        def grow(b, x, c=c):
            w = b.kernel([c, c, 2, 2], 1, c)
            return b.pair(b.ConvTranspose(x, w, b.random(c), kernel_shape=[2, 2], strides=[2, 2]))

        variants = in_modes(aside(grow), "float", "u8", "i8")
        n = hw * hw
        yield Case("conv transpose", f"{c}x{hw}x{hw}", square(c, hw), variants, 4 * c * c * n, 5 * c * n)


def matmul(b, x, k, n, out=True, bias=False, between=False):
    """`bias`: True for a float one, "int32" for one that is stored as the products are; `between`: a pair before it."""
    y = b.only(between, b.MatMul(x, b.kernel([k, n], 1, k)))
    if bias == "int32" and b.mode != "float":
        stored = b.rng.integers(-1000, 1000, n).astype(np.int32)
        scale = np.full(n, 1e-3, np.float32)
        y = b.Add(y, b.DequantizeLinear(stored, scale, np.zeros(n, np.int32), axis=0))
    elif bias:
        y = b.Add(y, b.random(n))
    return b.only(out, y)


def dynamic(b, x, k, n):
    """A product with an int8 weight whose activations are quantized as they come."""
    w = (b.rng.standard_normal([k, n]) * (2 / k) ** 0.5).astype(np.float32)
    values, scale, zero = b.stored(w, 1)
    q, s, z = b.DynamicQuantizeLinear(x, outputs=3)
    product = b.Cast(b.MatMulInteger(q, values, z, zero), to=TensorProto.FLOAT)
    return b.Mul(product, b.Mul(s, scale))


def products():
    sizes = (1, 64, 64), (1, 256, 256), (1, 1024, 1024), (1, 768, 3072), (16, 128, 128), (64, 256, 256), (256, 64, 64)
    for rows, k, n in (*sizes, (196, 192, 768)):

        def gemm(b, x, k=k, n=n):
            for a, c in ((k, n), (n, k)) if k != n else ((k, n),):
                w = b.kernel([c, a], 0, a)
                x = b.pair(b.Gemm(x, w, b.random(c), transB=1))
            return x

        times = 2 if k != n else 1
        # OpenVINO makes one node of a chain of these, as models rarely have it.
        variants = {
            "float": Variant("float", gemm, runtime="onnxruntime"),
            "int8": Variant("u8", gemm, runtime="onnxruntime"),
        }
        label, weights, elements = f"{rows} x {k} x {n}", times * k * n, times * rows * (k + n)
        yield Case("gemm", label, [rows, k], variants, rows * weights, elements, weights=weights)
    sizes = (1, 64, 64), (1, 256, 256), (1, 1024, 1024), (1, 768, 3072), (8, 64, 64), (32, 32, 32), (32, 128, 128)
    larger = (64, 256, 256), (128, 64, 256), (197, 192, 192), (128, 256, 1024), (128, 768, 768), (64, 768, 3072)
    for rows, k, n in (*sizes, *larger, (256, 32, 128)):
        steps = ((k, n), (n, k)) if k != n else ((k, n),)

        def through(step, steps=steps):
            def stage(b, x):
                for a, c in steps:
                    x = step(b, x, a, c)
                return x

            return stage

        # Neg keeps the next pair away from the product.
        entered = lambda b, x, a, c: b.Neg(matmul(b, b.pair(x), a, c, out=False))
        variants = {
            "float": Variant("float", through(matmul)),
            "int8": Variant("u8", through(matmul)),
            "int8 symmetric": Variant("i8", through(matmul)),
            "float out": Variant("u8", through(entered), through(lambda b, x, a, c: b.Neg(x))),
            "dynamic": Variant("float", through(dynamic), runtime="onnxruntime"),
            "weight only": Variant("u8", through(lambda b, x, a, c: matmul(b, x, a, c, out=False))),
        }
        label, weights, elements = f"{rows} x {k} x {n}", len(steps) * k * n, len(steps) * rows * (k + n)
        yield Case("matmul", label, [1, rows, k], variants, rows * weights, elements, weights=weights)
    for heads, length, size in (1, 256, 64), (3, 197, 64), (4, 32, 32), (4, 64, 32), (8, 256, 64), (12, 128, 64):

        def both(b, x, heads=heads, length=length, size=size, mixed=False):
            # Each product has a right operand of its own, as in models: onnxruntime makes u8 of i8 that is used once.
            b.inputs["k"], b.inputs["v"] = [1, heads, size, length], [1, heads, length, size]
            how = lambda: {"symmetric": mixed, "scale": RANGE / 127 * (1 + 0.001 * len(b.nodes))}
            scores = b.pair(b.MatMul(x, b.pair("k", **how())), scale=RANGE / 16)
            return b.pair(b.MatMul(scores, b.pair("v", **how())), scale=RANGE)

        macs, elements = 2 * heads * length * length * size, heads * (4 * length * size + 2 * length * length)
        label, shape = f"{heads} heads, {length} x {size}", [1, heads, length, size]
        variants = in_modes(both, "float", "u8", "i8")
        # The left operand with a zero point, the right one without.
        variants["int8 right symmetric"] = Variant("u8", lambda b, x, f=both: f(b, x, mixed=True))
        yield Case("matmul of two", label, shape, variants, macs, elements)


def hard_swish(b, x):
    return b.HardSwish(x)


def swish(b, x):
    return b.Mul(x, b.Sigmoid(x))


ACTIVATIONS = {
    "neg": lambda b, x: b.Neg(x),  # nothing knows how to fuse it
    "hard swish": hard_swish,
    "swish": swish,
    "leaky relu": lambda b, x: b.LeakyRelu(x, alpha=0.1),
    "sigmoid": lambda b, x: b.Sigmoid(x),
    "clip": lambda b, x: b.Clip(x, np.float32(-1), np.float32(3)),
}
FEATURES = (16, 32), (16, 56), (32, 28), (64, 8), (64, 28), (64, 56), (96, 28), (128, 14)


def behind_a_conv(kind, c, hw, stage, elements, relu=True):
    """The operator where it stands in models: what it costs beside the Conv that it follows."""

    def first(b, x):
        return conv(b, x, c, k=1, relu=relu)

    def both(b, x):
        return stage(b, first(b, x), x)

    def unpaired(b, x):
        return stage(b, conv(b, x, c, k=1, relu=relu, out=False), x)

    variants = {"float": Variant("float", both, first), "int8": Variant("u8", both, first)}
    if not relu:
        variants["int8 without a pair between"] = Variant("u8", unpaired, first)
    return Case(f"{kind} behind a Conv", f"{c}x{hw}x{hw}", square(c, hw), variants, 0, elements, 4, before=first)


def elementwise():
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nearest = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}

    def double(b, x):
        y = b.pair(b.Resize(x, "", np.float32([1, 1, 2, 2]), **nearest), relu=True)
        return conv(b, y, b.inputs["x"][1], stride=2)

    def windowed(b, x):
        return conv(b, x, b.inputs["x"][1])

    def plain(b, x):
        return conv(b, x, b.inputs["x"][1], k=1)

    def mean(b, y, x=None):
        b.result(b.pair(b.GlobalAveragePool(y), relu=True), thin=False)
        return y

    def joined(b, x):
        c = b.inputs["x"][1]
        halves = [conv(b, x, c, c // 2, 1) for _ in range(2)]
        return b.pair(b.Concat(*halves, axis=1), relu=True)

    def gate(b, y, x=None):
        return b.pair(b.Mul(y, b.second("z", [1, b.inputs["x"][1], 1, 1])))

    def sum(b, y, x):
        return b.pair(b.Add(y, x))

    def largest(b, y, x=None):
        return b.pair(b.MaxPool(y, **window), relu=True)

    def average(b, y, x=None):
        return b.pair(b.AveragePool(y, **window), relu=True)

    def halved(b, y, x=None):
        b.result(b.pair(b.MaxPool(y, kernel_shape=[2, 2], strides=[2, 2]), relu=True))
        return y

    for c, hw in FEATURES:
        n, label, shape = c * hw * hw, f"{c}x{hw}x{hw}", square(c, hw)
        for op in "Add", "Mul":
            stage = lambda b, x, op=op, s=shape: b.pair(getattr(b, op)(x, b.second("z", s)))
            yield Case(op.lower(), label, shape, in_modes(stage, "float", "u8", "i8"), 0, 3 * n)
        yield Case("mul by a gate", label, shape, in_modes(gate), 0, 2 * n)
        yield Case("max pool", f"{label}, 3x3", shape, in_modes(largest), 0, 2 * n)
        yield Case("average pool", f"{label}, 3x3", shape, in_modes(average), 0, 2 * n)
        yield behind_a_conv("add", c, hw, sum, 3 * n)
        yield behind_a_conv("mul by a gate", c, hw, gate, 2 * n)
        yield behind_a_conv("max pool 3x3", c, hw, largest, 2 * n)
        yield behind_a_conv("max pool 2x2 stride 2", c, hw, halved, 1.25 * n)
        yield behind_a_conv("average pool 3x3", c, hw, average, 2 * n)
        yield behind_a_conv("global average pool", c, hw, mean, n)
        # Against one Conv of as many channels, and against a Conv of as many results.
        for kind, stage, base, elements in (
            ("concat of two Convs", joined, plain, 2 * n),
            ("resize nearest before a Conv", double, windowed, 5 * n),
        ):
            variants = {"float": Variant("float", stage, base), "int8": Variant("u8", stage, base)}
            yield Case(kind, label, shape, variants, 0, elements, 4, before=plain)
        for name, function in ACTIVATIONS.items():
            activated = lambda b, y, x, f=function: b.pair(f(b, y))
            yield behind_a_conv(name, c, hw, activated, 2 * n, relu=False)
    for n in 1000, 10_000, 50_000, 200_000, 800_000:
        shape = [1, n // 100, 10, 10]
        step = lambda b: np.float32(RANGE / 128 * (1 + 0.01 * len(b.nodes)))

        def enter(b, x):
            b.result(b.QuantizeLinear(x, step(b), np.uint8(128)), thin=False)
            return x

        def leave(b, x):
            if "q" not in b.given:
                b.given["q"] = b.QuantizeLinear(x, np.float32(RANGE / 128), np.uint8(128))
            b.result(b.DequantizeLinear(b.given["q"], step(b), np.uint8(128)), thin=False)
            return x

        yield Case("quantize", f"{n}", shape, {"int8": Variant("float", enter)}, 0, n, 4)
        yield Case("dequantize", f"{n}", shape, {"int8": Variant("float", leave)}, 0, n, 4)
    negated = lambda b, x: b.Neg(x)
    activations = {
        "relu": lambda b, x: b.Relu(x),
        "clip": lambda b, x: b.Clip(x, np.float32(0), np.float32(6)),
        "hard swish": hard_swish,
        "hard sigmoid": lambda b, x: b.HardSigmoid(x, alpha=1 / 6, beta=0.5),
        "sigmoid": lambda b, x: b.Sigmoid(x),
        "swish": swish,
        "leaky relu": ACTIVATIONS["leaky relu"],
        "gelu": lambda b, x: b.Gelu(x),
        "softmax": lambda b, x: b.Softmax(x, axis=-1),
        "layer norm": lambda b, x: b.LayerNormalization(x, b.random(x_size(b)), b.random(x_size(b))),
    }
    x_size = lambda b: b.inputs["x"][-1]
    for name, function in activations.items():
        rows = name in ("gelu", "softmax", "layer norm")
        for shape in ([1, 197, 192], [1, 128, 768]) if rows else ([1, 16, 56, 56], [1, 64, 14, 14]):
            alone = lambda b, x, f=function: f(b, b.Neg(x))
            paired = lambda b, x, f=function: b.pair(f(b, b.Neg(x)))
            variants = {"float": Variant("float", alone, negated), "between": Variant("u8", paired, negated)}
            n = int(np.prod(shape))
            yield Case(name, "x".join(map(str, shape)), shape, variants, 0, 2 * n)


def squeeze_excite(b, x, c, quantized):
    small = max(8, c // 4)
    q = lambda y, **how: b.only(quantized, y, **how)
    y = q(b.GlobalAveragePool(x))
    y = conv(b, y, c, small, 1, out=quantized, quantized=quantized)
    y = b.Conv(y, b.kernel([c, small, 1, 1], 0, small, quantized), b.random(c))
    y = q(b.HardSigmoid(q(y), alpha=1 / 6, beta=0.5))
    return b.Mul(x, y)


def inverted(b, x, c, wide, what, act, gate):
    """A MobileNet block; `what` says which parts are int8."""
    has = what.__contains__
    relu = act is None

    def layer(x, a, n, k, group, part, last=False):
        # onnxruntime quantizes the weight of a Conv that is left in float between pairs, by itself.
        out = has(part) and has("outputs")
        x = b.only(has(part), x, relu=relu)
        y = conv(b, x, a, n, k, group, relu=relu and not last, out=out, quantized=has(part))
        if relu or last:
            return y
        y = act(b, y)
        return b.only(has("activation"), y)

    y = layer(x, c, wide, 1, 1, "pointwise")
    y = layer(y, wide, wide, 3, wide, "depthwise")
    if gate:
        y = b.only(has("gate"), squeeze_excite(b, y, wide, has("gate")))
    y = layer(y, wide, c, 1, 1, "pointwise", last=True)
    return b.only(has("sum"), b.Add(x, y))


def patterns():
    """What models are made of: here fusions count, and what stands between."""
    for c, hw in (16, 32), (64, 28), (128, 14), (256, 7):

        def block(b, x, c=c, sum=True, second=True, skip=True):
            y = conv(b, conv(b, x, c), c, relu=False, out=second)
            return b.only(sum, b.Relu(b.Add(b.only(not skip, x), y)), relu=True)

        variants = {
            "float": Variant("float", block),
            "int8": Variant("u8", block),
            "sum in float": Variant("u8", lambda b, x, block=block: block(b, b.pair(x, relu=True), sum=False)),
            "second conv without pair": Variant("u8", lambda b, x, block=block: block(b, x, second=False)),
        }
        case = Case("residual block", f"{c}x{hw}x{hw}", square(c, hw), variants, 18 * c * c * hw * hw, length=2)
        yield dataclasses.replace(case, before=lambda b, x, c=c: conv(b, x, c, k=1))
    for c, hw in (32, 28), (128, 14), (512, 7), (16, 112):
        for name in "hard swish", "swish", "leaky relu":

            def behind(b, x, c=c, act=ACTIVATIONS[name], k=1, out=True, after=True):
                y = act(b, conv(b, x, c, k=k, relu=False, out=out))
                return b.only(after, y)

            n = hw * hw
            for k in 1, 3:
                variants = {
                    "float": Variant("float", lambda b, x, f=behind, k=k: f(b, x, k=k)),
                    "int8": Variant("u8", lambda b, x, f=behind, k=k: f(b, x, k=k)),
                    "no pair on the Conv's output": Variant("u8", lambda b, x, f=behind, k=k: f(b, x, k=k, out=False)),
                }
                label = f"{c}x{hw}x{hw}, {k}x{k}"
                yield Case(f"conv, {name}", label, square(c, hw), variants, c * c * n * k * k, length=2)
    for c, hw in (64, 28), (256, 14), (16, 56):
        # Neg keeps the next pair away from the Conv.
        left = lambda b, x, c=c: b.Neg(conv(b, b.pair(x), c, out=False))
        negated = lambda b, x: b.Neg(x)
        variants = {
            "float": Variant("float", lambda b, x, c=c: conv(b, x, c)),
            "int8": Variant("u8", lambda b, x, c=c: conv(b, x, c)),
            "no pair on the output": Variant("u8", left, negated),
        }
        yield Case("conv with a float output", f"{c}x{hw}x{hw}", square(c, hw), variants, 9 * c * c * hw * hw, length=2)
    for c, wide, hw in (16, 96, 56), (24, 144, 28), (64, 384, 14), (160, 960, 7):
        everything = {"pointwise", "depthwise", "outputs", "sum", "activation", "gate"}
        n = hw * hw
        macs = (2 * c * wide + 9 * wide) * n
        for name, act, gate in (
            ("relu", None, False),
            ("hard swish", hard_swish, False),
            ("hard swish, gate", hard_swish, True),
        ):

            def part(what, c=c, wide=wide, act=act, gate=gate):
                return lambda b, x: inverted(b, x, c, wide, what, act, gate)

            variants = {
                "float": Variant("float", part(everything)),
                "int8": Variant("u8", part(everything)),
                "float sum": Variant("u8", part(everything - {"sum"})),
                "pointwise": Variant("u8", part({"pointwise", "outputs", "sum"})),
            }
            if gate:
                variants["float gate"] = Variant("u8", part(everything - {"gate"}))
            if act:
                variants["no pair on Conv outputs"] = Variant("u8", part(everything - {"outputs"}))
            case = Case(f"inverted, {name}", f"{c}, {wide} x{hw}x{hw}", square(c, hw), variants, macs, length=2)
            yield dataclasses.replace(case, before=lambda b, x, c=c: conv(b, x, c, k=1, relu=False))
    for c, hw in (32, 28), (64, 28), (128, 14):

        def inception(b, x, c=c, out=True):
            left = conv(b, x, c, c // 2, 1)
            right = conv(b, x, c, c // 2, 3)
            return b.only(out, b.Concat(left, right, axis=1), relu=True)

        variants = in_modes(inception)
        case = Case("convs, concat", f"{c}x{hw}x{hw}", square(c, hw), variants, 5 * c * c * hw * hw, length=2)
        yield dataclasses.replace(case, before=lambda b, x, c=c: conv(b, x, c, k=1))
    for rows, width in (16, 128), (128, 256), (197, 192), (128, 768):

        def feed_forward(b, x, n=width, product=matmul, out=False, into=True):
            y = b.LayerNormalization(x, b.random(n), b.random(n))
            y = product(b, b.only(into, y), n, 4 * n, out)
            y = b.Gelu(y)
            return b.Add(x, product(b, b.only(into, y), 4 * n, n, out))

        def biased(b, x, k, n, out):
            return matmul(b, x, k, n, out, bias=True)

        def stored_bias(b, x, k, n, out):
            return matmul(b, x, k, n, out, bias="int32")

        def before_bias(b, x, k, n, out):
            return matmul(b, x, k, n, out, bias=True, between=True)

        def dynamically(b, x, k, n, out):
            return b.Add(dynamic(b, x, k, n), b.random(n))

        f = feed_forward
        variants = {
            "float": Variant("float", lambda b, x, f=f: f(b, x, product=biased)),
            "int8": Variant("u8", lambda b, x, f=f: f(b, x, product=biased)),
            "int8 symmetric": Variant("i8", lambda b, x, f=f: f(b, x, product=biased)),
            "int8, pairs on outputs": Variant("u8", lambda b, x, f=f: f(b, x, product=biased, out=True)),
            "int8, int32 bias": Variant("u8", lambda b, x, f=f: f(b, x, product=stored_bias)),
            "int8, pairs before the bias": Variant("u8", lambda b, x, f=f: f(b, x, product=before_bias)),
            "dynamic": Variant("float", lambda b, x, f=f: f(b, x, product=dynamically), runtime="onnxruntime"),
            "weight only": Variant("u8", lambda b, x, f=f: f(b, x, product=biased, into=False)),
        }
        macs = 8 * rows * width * width
        yield Case("feed forward", f"{rows} x {width}", [1, rows, width], variants, macs, length=2)
    for length, width, heads in (32, 128, 4), (197, 192, 3), (128, 256, 8), (128, 768, 12):

        def attend(b, x, length=length, n=width, heads=heads, inner=False, out=False, bias=True, mixed=False):
            size = n // heads
            y = b.pair(b.LayerNormalization(x, b.random(n), b.random(n)))
            head = lambda y, perm: b.Transpose(b.Reshape(y, np.array([0, length, heads, size])), perm=perm)
            q, k, v = (matmul(b, y, n, n, out=out, bias=bias) for _ in range(3))
            q, k, v = head(q, [0, 2, 1, 3]), head(k, [0, 2, 3, 1]), head(v, [0, 2, 1, 3])
            right = {"symmetric": mixed}
            s = b.MatMul(b.only(inner and not out, q), b.only(inner and not out, k, **right))
            s = b.Softmax(b.Mul(s, size**-0.5), axis=-1)
            o = b.MatMul(b.only(inner, s, scale=1 / 127), b.only(inner and not out, v, **right))
            o = b.Reshape(b.Transpose(o, perm=[0, 2, 1, 3]), np.array([0, length, n]))
            return b.Add(x, matmul(b, b.pair(o), n, n, out=out, bias=bias))

        a = attend
        mixed = lambda b, x, a=a: a(b, x, inner=True, bias="int32", mixed=True)
        variants = {
            "float": Variant("float", a),
            "int8 projections": Variant("u8", a),
            "int8 symmetric projections": Variant("i8", a),
            "int8 projections, pairs on outputs": Variant("u8", lambda b, x, a=a: a(b, x, out=True)),
            "int8 projections, int32 bias": Variant("u8", lambda b, x, a=a: a(b, x, bias="int32")),
            "int8, int32 bias": Variant("u8", lambda b, x, a=a: a(b, x, inner=True, bias="int32")),
            "int8, int32 bias, right symmetric": Variant("u8", mixed),
            "int8": Variant("u8", lambda b, x, a=a: a(b, x, inner=True, out=True)),
            "int8 symmetric": Variant("i8", lambda b, x, a=a: a(b, x, inner=True, out=True)),
            "int8 symmetric, int32 bias": Variant("i8", lambda b, x, a=a: a(b, x, inner=True, bias="int32")),
        }
        macs = 4 * length * width * width + 2 * length * length * width
        yield Case("attention", f"{length} x {width}, {heads} heads", [1, length, width], variants, macs, length=2)
    for steps, width in (1, 128), (32, 64), (32, 128), (64, 256):

        def recurrent(b, x, n=width, steps=steps):
            w = [b.random(1, 4 * n, n, scale=n**-0.5) for _ in range(2)]
            y = b.LSTM(x, *w, b.random(1, 8 * n), hidden_size=n)
            return b.Squeeze(y, np.array([1]))

        def recurrent_dynamic(b, x, n=width, steps=steps):
            w = [b.random(1, n, 4 * n, scale=n**-0.5) for _ in range(2)]
            scales = [np.abs(v).max(axis=1) / 127 for v in w]
            stored = [np.round(v / s[:, None]).astype(np.int8) for v, s in zip(w, scales)]
            more = [o for s in scales for o in (s.astype(np.float32), np.zeros(s.shape, np.int8))]
            y = b.contrib("DynamicQuantizeLSTM", x, *stored, b.random(1, 8 * n), "", "", "", "", *more, hidden_size=n)
            return b.Squeeze(y, np.array([1]))

        variants = {
            "float": Variant("float", recurrent),
            "dynamic": Variant("float", recurrent_dynamic, runtime="onnxruntime"),
        }
        yield Case("lstm", f"{steps} x {width}", [steps, 1, width], variants, 8 * steps * width * width, length=2)


def cases():
    yield from convolutions()
    yield from products()
    yield from elementwise()
    yield from patterns()
