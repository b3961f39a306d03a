"""How good a quantized model is: its outputs in onnxruntime beside the float model's, and how much of it is integers."""

import math
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnx.numpy_helper
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/conformance"))

import kernels
import samples

# Between a DequantizeLinear and who reads it these change no number.
MOVES = {
    "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Expand", "Identity", "MaxPool",
    "Gather", "Concat", "Tile", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
# The operand that is the weight, where that is not the second.
WEIGHT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
EXACT = 100.0  # dB, where outputs are equal
FEW = 16  # samples are enough to see that another runtime computes the same


def session(path, level="ORT_ENABLE_ALL", written=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if written:
        options.optimized_model_filepath = str(written)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Judge:
    """Knows a float model, its outputs on samples that no tool saw, and what its first output is to say of them."""

    def __init__(self, model, held_out, metric=None, most=None):
        own = session(model)
        self.feeds = samples.samples(held_out, own.get_inputs(), most)
        self.names = [o.name for o in own.get_outputs()]
        self.outputs = [own.run(self.names, f) for f in self.feeds]
        self.labels = samples.labels(held_out)
        self.kind = metric or ""
        self.value = self.metric(self.outputs)

    def __call__(self, path):
        own = session(path)
        got = [own.run(self.names, f) for f in self.feeds]
        result = {"outputs": {}, "metric": self.metric(got), "agree": agreement(self.outputs, got)}
        for k, name in enumerate(self.names):
            if self.outputs[0][k].dtype.kind == "f":
                result["outputs"][name] = closeness([o[k] for o in self.outputs], [g[k] for g in got])
        ratios = [o["sqnr"] for o in result["outputs"].values()]
        result["sqnr"] = float(numpy.mean(ratios)) if ratios else math.nan
        result["cosine"] = min((o["cosine"] for o in result["outputs"].values()), default=math.nan)
        result["openvino dB"] = self.in_openvino(path)
        result["coverage"] = coverage(path, self.feeds[0])
        result["kernels"] = [len(k) for k in kernels.in_onnxruntime(path)]
        return result

    def in_openvino(self, path):
        """dB of the first samples there; none where OpenVINO is not installed or does not run it."""
        try:
            import openvino

            run = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            got = [[out[k] for k in range(len(self.names))] for out in map(run, self.feeds[:FEW])]
        except Exception:
            return None
        floats = [k for k in range(len(self.names)) if self.outputs[0][k].dtype.kind == "f"]
        ratios = [closeness([o[k] for o in self.outputs[:FEW]], [g[k] for g in got])["sqnr"] for k in floats]
        return float(numpy.mean(ratios)) if ratios else None

    def metric(self, outputs):
        """Top-1, perplexity or mean intersection over union of the first output, where there are labels."""
        if self.labels is None or self.kind.startswith("none"):
            return None
        first = numpy.concatenate([o[0] for o in outputs])
        labels = self.labels[: len(outputs)]
        if "perplex" in self.kind:
            rows = first.reshape(-1, first.shape[-1]).astype(numpy.float64)
            rows -= rows.max(-1, keepdims=True)
            chosen = rows[numpy.arange(labels.size), labels.reshape(-1)]
            return float(numpy.exp(numpy.mean(numpy.log(numpy.exp(rows).sum(-1)) - chosen)))
        if "iou" in self.kind:
            said = first.argmax(1)
            both = [((said == c) & (labels == c), (said == c) | (labels == c)) for c in numpy.unique(labels)]
            return float(numpy.mean([b.sum() / max(1, e.sum()) for b, e in both]))
        return float((first.reshape(len(labels), -1).argmax(-1) == labels).mean()) if labels.ndim == 1 else None


def closeness(want, got):
    signal = noise = dot = other = 0.0
    for a, b in zip(want, got):
        a, b = (x.astype(numpy.float64).ravel() for x in (a, b))
        signal, noise = signal + a @ a, noise + (a - b) @ (a - b)
        dot, other = dot + a @ b, other + b @ b
    if not math.isfinite(noise):
        return {"sqnr": -EXACT, "cosine": 0.0}
    ratio = EXACT if noise == 0 else -EXACT if signal == 0 else 10 * math.log10(signal / noise)
    norm = math.sqrt(signal * other)
    return {"sqnr": float(min(EXACT, ratio)), "cosine": float(dot / norm) if norm else float(signal == other)}


def agreement(want, got):
    """How often the largest of the last axis of the first output is the same one."""
    if want[0][0].dtype.kind != "f" or want[0][0].ndim < 2 or want[0][0].shape[-1] < 2:
        return None
    same = [a[0].argmax(-1) == b[0].argmax(-1) for a, b in zip(want, got)]
    return float(numpy.mean(numpy.concatenate([s.ravel() for s in same])))


def coverage(path, feed):
    """Share of the multiply-accumulates of the main graph whose operands are integers, or whose operator is."""
    model = onnx.load(path)
    graph = model.graph
    made = {o: n for n in graph.node for o in n.output}
    stored = {t.name for t in graph.initializer}
    stored |= {o for n in graph.node if n.op_type == "Constant" for o in n.output}
    shapes = shapes_of(model, feed)

    def quantized(name, depth=0):
        maker = made.get(name)
        if maker is None or depth > 50:
            return False
        if maker.op_type == "DequantizeLinear":
            # A weight in integers, or what a QuantizeLinear made.
            return True
        operands = maker.input if maker.op_type == "Concat" else maker.input[:1]
        return maker.op_type in MOVES and all(quantized(i, depth + 1) for i in operands)

    total = integers = 0
    for node in graph.node:
        count = macs(node, shapes)
        total += count
        if node.op_type in kernels.INTEGER or (node.op_type in kernels.FLOAT and all(map(quantized, node.input[:2]))):
            integers += count
    return integers / total if total else 0.0


def macs(node, shapes):
    op = node.op_type
    if op not in kernels.FLOAT and op not in kernels.INTEGER:
        return 0
    weight = shapes.get(node.input[WEIGHT.get(op, 1)])
    first, result = shapes.get(node.input[0]), shapes.get(next((o for o in node.output if o), None))
    if weight is None or first is None or result is None:
        return 0
    if op.endswith(("LSTM", "GRU", "RNN")):
        return first[0] * first[1] * (math.prod(weight) + math.prod(shapes.get(node.input[2], ())))
    if op == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])
    if "Conv" in op:
        return math.prod(result) * math.prod(weight[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(result) * (first[-2] if transposed else first[-1])


def shapes_of(model, feed):
    """Of what weighted operators read and make, from a run as the file says."""
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    weighted = [n for n in model.graph.node if n.op_type in kernels.FLOAT | kernels.INTEGER]
    wanted = [t for n in weighted for t in (*n.input, *n.output)]
    wanted = [t for t in dict.fromkeys(wanted) if t and t not in shapes and t not in feed]
    shown = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=t) for t in wanted if t not in shown)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(model, file.name)
        values = session(file.name, "ORT_DISABLE_ALL").run(wanted, feed) if wanted else []
    shapes.update(zip(wanted, (v.shape for v in values)))
    shapes.update((n, v.shape) for n, v in feed.items())
    return shapes

