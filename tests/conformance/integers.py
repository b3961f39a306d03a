#!/usr/bin/env python3
"""Asks the runtimes whether they compute in integers what `quantize --target` gave integers.

    integers.py --bin PATH [--targets onnxruntime,openvino] [--filter TEXT] [--keep FOLDER]

Each small network below is quantized for each target on samples made here, and loaded in the runtime of that name with
its own optimizer on. Every convolution and product that has an integer weight has to run in integers: in onnxruntime's
optimized graph as QLinearConv, QGemm, MatMulIntegerToFloat or QLinearMatMul, in OpenVINO's runtime model with a precision
of 8 bits. The result is run there beside the float model, too: outputs have to be near.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import engines
import tool
from tally import Tally

SAMPLES = 16
# Signal over noise in dB that 8 bits give a network of a few layers.
NEAR = 18.0


class Net:
    """Nodes in the making. Every call of an operator's name adds a node and gives its result's name."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def __getattr__(self, op):
        def call(*operands, **attributes):
            results = attributes.pop("results", 1)
            names = [f"t{len(self.nodes)}_{k}" for k in range(results)]
            self.nodes.append(helper.make_node(op, operands, names, name=f"n{len(self.nodes)}", **attributes))
            return names[0] if results == 1 else names

        return call

    def weight(self, *shape, scale=None):
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        data = self.rng.standard_normal(shape) * (scale or (2 / fan_in) ** 0.5)
        return self.constant(data.astype(np.float32))

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def conv(self, x, inputs, outputs, kernel=3, group=1, bias=0.1, **attributes):
        pad = kernel // 2
        w, b = self.weight(outputs, inputs // group, kernel, kernel), self.weight(outputs, scale=bias)
        return self.Conv(x, w, b, pads=[pad] * 4, group=group, **attributes)

    def linear(self, x, inputs, outputs):
        return self.Add(self.MatMul(x, self.weight(inputs, outputs)), self.weight(outputs, scale=0.1))


def residual(net, x):
    x = net.Relu(net.conv(x, 3, 16))
    for _ in range(2):
        y = net.Relu(net.conv(x, 16, 16))
        x = net.Relu(net.Add(net.conv(y, 16, 16), x))
    x = net.Relu(net.Add(net.conv(x, 16, 32), net.conv(x, 16, 32, 1)))
    x = net.Flatten(net.GlobalAveragePool(x))
    return net.Gemm(x, net.weight(10, 32), net.weight(10, scale=0.1), transB=1)


def bottleneck(net, x):
    six = [net.constant(np.float32(v)) for v in (0, 6)]
    x = net.Clip(net.conv(x, 3, 16), *six)
    for _ in range(2):
        y = net.Clip(net.conv(x, 16, 48, 1), *six)
        y = net.Clip(net.conv(y, 48, 48, group=48), *six)
        x = net.Add(x, net.conv(y, 48, 16, 1))
    return net.conv(x, 16, 8, 1)


def joined(net, x):
    x = net.Relu(net.conv(x, 3, 16))
    a = net.MaxPool(x, kernel_shape=[3, 3], pads=[1] * 4)
    b = net.Relu(net.conv(x, 16, 16, 1))
    c = net.AveragePool(x, kernel_shape=[3, 3], pads=[1] * 4)
    x = net.Concat(a, b, c, axis=1)
    a, b = net.Split(net.conv(x, 48, 32, 1), axis=1, num_outputs=2, results=2)
    return net.conv(net.Concat(b, a, axis=1), 32, 16, 1)


def resized(net, x):
    x = net.Relu(net.conv(x, 3, 16, strides=[2, 2]))
    y = net.Relu(net.conv(x, 16, 16))
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    y = net.Resize(y, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return net.conv(y, 16, 8)


def transposed(net, x):
    x = net.Relu(net.conv(x, 3, 16, strides=[2, 2]))
    x = net.Relu(net.ConvTranspose(x, net.weight(16, 16, 2, 2), strides=[2, 2]))
    return net.conv(x, 16, 8)


def gated(net, x):
    x = net.Relu(net.conv(x, 3, 16))
    g = net.Relu(net.conv(net.GlobalAveragePool(x), 16, 8, 1))
    x = net.Mul(x, net.Sigmoid(net.conv(g, 8, 16, 1)))
    return net.conv(net.HardSwish(net.conv(x, 16, 16)), 16, 8)


def smooth(net, x):
    x = net.conv(x, 3, 16)
    x = net.Mul(x, net.Sigmoid(x))
    x = net.LeakyRelu(net.conv(x, 16, 16), alpha=0.1)
    return net.conv(x, 16, 8)


def attention(net, x):
    x = net.Transpose(net.Reshape(net.conv(x, 3, 32, strides=[2, 2]), net.constant(np.array([0, 32, -1]))), perm=[0, 2, 1])
    y = net.LayerNormalization(x, net.weight(32), net.weight(32), axis=-1)
    heads = net.constant(np.array([0, 0, 4, 8]))
    q, k, v = (net.Reshape(net.linear(y, 32, 32), heads) for _ in range(3))
    q, v = (net.Transpose(t, perm=[0, 2, 1, 3]) for t in (q, v))
    k = net.Transpose(k, perm=[0, 2, 3, 1])
    scores = net.Softmax(net.Mul(net.MatMul(q, k), net.constant(np.float32(8**-0.5))), axis=-1)
    y = net.Transpose(net.MatMul(scores, v), perm=[0, 2, 1, 3])
    x = net.Add(x, net.linear(net.Reshape(y, net.constant(np.array([0, 0, 32]))), 32, 32))
    y = net.LayerNormalization(x, net.weight(32), net.weight(32), axis=-1)
    return net.Add(x, net.linear(net.Gelu(net.linear(y, 32, 64)), 64, 32))


def heads(net, x):
    # Queries, keys and values from one product, as optimized exports have them. OpenVINO makes one kernel of both products
    # and of what moves heads, unless it has to move integers before or behind them.
    x = net.Transpose(net.Reshape(net.conv(x, 3, 32, strides=[2, 2]), net.constant(np.array([0, 32, -1]))), perm=[0, 2, 1])
    y = net.LayerNormalization(x, net.weight(32), net.weight(32), axis=-1)
    y = net.Reshape(net.linear(y, 32, 96), net.constant(np.array([0, 0, 12, 8])))
    q, k, v = net.Split(net.Transpose(y, perm=[0, 2, 1, 3]), axis=1, num_outputs=3, results=3)
    scores = net.MatMul(q, net.Transpose(k, perm=[0, 1, 3, 2]))
    scores = net.Softmax(net.Mul(scores, net.constant(np.float32(8**-0.5))), axis=-1)
    y = net.Reshape(net.Transpose(net.MatMul(scores, v), perm=[0, 2, 1, 3]), net.constant(np.array([0, 0, 32])))
    return net.Add(x, net.linear(y, 32, 32))


def wrong_of_heads(kinds):
    if not kinds["Subgraph:i8"]:
        return "no kernel computes attention in integers"
    moved = [kind for kind in ("Transpose:i8", "Transpose:u8") if kinds[kind]]
    return f"it moves integers: {moved}" if moved else None


heads.wrong = {"openvino": wrong_of_heads}


def few_rows(net, x):
    # OpenVINO makes one kernel of such products; in integers, what it gives without biases is none of their results.
    x = net.Flatten(net.AveragePool(net.conv(x, 3, 8, strides=[2, 2]), kernel_shape=[4, 4], strides=[4, 4]))
    x = net.Relu(net.MatMul(x, net.weight(32, 64)))
    x = net.Tanh(net.MatMul(x, net.weight(64, 32)))
    return net.Softmax(net.MatMul(x, net.weight(32, 10)), axis=-1)


few_rows.batch = 4



def averaged(net, x):
    # Borders count as zeros, which is another integer than 0 here.
    x = net.AveragePool(net.conv(x, 3, 16, bias=1.0), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    x = net.AveragePool(net.conv(x, 16, 16, bias=1.0), kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)
    return net.conv(x, 16, 8)


def reordered(net, x):
    # Parts of channels that change places must not become a Gather there; what a ReduceMin makes stays real.
    a, b = net.Split(net.conv(x, 3, 16), net.constant(np.array([4, 12])), axis=1, results=2)
    x = net.Relu(net.conv(net.Concat(b, a, axis=1), 16, 16, 1))
    least = net.ReduceMin(net.conv(x, 16, 16), net.constant(np.array([3])), keepdims=1)
    return net.conv(least, 16, 8, 1)


def rolled(net, x):
    # Taken into a layer behind it, another order of channels is not to be its inverse.
    order = net.constant(np.roll(np.arange(16), 3))
    return net.conv(net.Gather(net.Sigmoid(net.conv(x, 3, 16)), order, axis=1), 16, 8, 1)


def class_token(net, x):
    # OpenVINO asks the first convolution how large a batch is, and loses its bias where integers are made of its result.
    return tokens(net, net.Relu(net.conv(net.Relu(net.conv(x, 3, 16, bias=1.0, strides=[2, 2])), 16, 32)))


def class_token_of_sums(net, x):
    first = net.Relu(net.conv(x, 3, 32, bias=1.0, strides=[2, 2]))
    x = net.Relu(net.Add(net.conv(net.Relu(net.conv(first, 32, 32)), 32, 32), first))
    return tokens(net, net.Relu(net.conv(net.MaxPool(x, kernel_shape=[1, 1]), 32, 32)))


def class_token_of_pools(net, x):
    x = net.MaxPool(net.conv(x, 3, 16, bias=1.0), kernel_shape=[2, 2], strides=[2, 2])
    x = net.AveragePool(net.conv(x, 16, 32), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return tokens(net, net.Relu(net.conv(x, 32, 32)))


def tokens(net, x):
    x = net.Reshape(net.conv(x, 32, 32, kernel=1), net.constant(np.array([0, 32, 64])))
    x = net.Transpose(x, perm=[0, 2, 1])
    one = net.constant(np.array([1]))
    batch = net.Slice(net.Shape(x), net.constant(np.array([0])), one)
    token = net.Expand(net.weight(1, 1, 32), net.Concat(batch, one, one, axis=0))
    return net.linear(net.Concat(token, x, axis=1), 32, 8)


NETS = [residual, bottleneck, joined, resized, transposed, gated, smooth, attention, heads, few_rows, averaged]
NETS += [reordered, rolled, class_token, class_token_of_sums, class_token_of_pools]


def model(make, path):
    net = Net(7)
    y = make(net, "x")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [getattr(make, "batch", "N"), 3, 16, 16])
    y = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    graph = helper.make_graph(net.nodes, make.__name__, [x], [y], net.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


INTEGER_KERNELS = {"QLinearConv", "QGemm", "MatMulIntegerToFloat", "QLinearMatMul"}


def in_onnxruntime(path, folder):
    """Integer kernels of products in the optimized graph, and real ones."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    kinds, integer = collections.Counter(n.op_type for n in nodes), sum(n.op_type in INTEGER_KERNELS for n in nodes)
    return kinds, integer, lambda x: engines.session(path).run(None, {"x": x})[0]


def in_openvino(path, _folder):
    """Products in the runtime model that run in 8 bits, and all."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds, said = collections.Counter(), lambda node, what: node.get_rt_info()[what].astype(str)
    for node in compiled.get_runtime_model().get_ordered_ops():
        makers = [i.get_source_output().get_node() for i in node.inputs()]
        # What is made of weights is made once.
        if not makers or any(said(maker, "layerType") != "Const" for maker in makers):
            kinds[f"{said(node, 'layerType')}:{said(node, 'runtimePrecision')}"] += 1
    products = ("Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul")
    integer = sum(n for kind, n in kinds.items() if kind.split(":")[0] in products and kind.endswith((":u8", ":i8")))
    return kinds, integer, lambda x: compiled([x])[0]


RUNTIMES = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def examine(binary, make, target, folder):
    """None, or what is wrong; and a line about what was found."""
    path, result, samples = folder / "float.onnx", folder / f"{target}.onnx", folder / "samples.npz"
    model(make, path)
    x = np.random.default_rng(3).standard_normal((SAMPLES, 3, 16, 16)).astype(np.float32)
    np.savez(samples, x=x)
    # So small a network gains nothing by integers.
    flags = ["--no-check", "--quantize-all", "--report", "json"]
    ran = tool.run(binary, "quantize", path, "--target", target, "--calib", samples, "-o", result, *flags)
    if ran.failure:
        return ran.failure[1], ""
    report = json.loads(ran.stdout)
    report = report[0] if isinstance(report, list) else report
    placed = len([w for w in report["quantization"]["placement"]["weights"] if w["slot"] in (0, 1)])
    kinds, integer, run = RUNTIMES[target](result, folder)
    line = f"{placed} weights, {integer} integer kernels"
    if placed == 0:
        return "nothing has integers", line
    if integer < placed:
        return f"{placed} weights have integers, {integer} kernels compute with them: {dict(kinds)}", line
    if wrong := getattr(make, "wrong", {}).get(target, lambda _: None)(kinds):
        return f"{wrong}: {dict(kinds)}", line
    parts = np.split(x, SAMPLES // getattr(make, "batch", SAMPLES))
    a = np.concatenate([engines.session(path).run(None, {"x": part})[0] for part in parts])
    b = np.concatenate([run(part) for part in parts])
    noise = 10 * np.log10(float((a**2).sum()) / max(float(((a - b) ** 2).sum()), 1e-30))
    return None if noise >= NEAR else f"the output is {noise:.1f} dB beside its noise", f"{line}, {noise:.1f} dB"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--targets", default="onnxruntime,openvino")
    p.add_argument("--filter", default="")
    p.add_argument("--keep", type=pathlib.Path, help="leave the models here")
    args = p.parse_args()
    tally = Tally("integers")
    for make in NETS:
        for target in args.targets.split(","):
            name = f"{make.__name__} {target}"
            if args.filter not in name:
                continue
            with tempfile.TemporaryDirectory() as temporary:
                folder = args.keep / make.__name__ if args.keep else pathlib.Path(temporary)
                folder.mkdir(parents=True, exist_ok=True)
                wrong, line = examine(args.bin, make, target, folder)
            tally.add(name, [wrong] if wrong else [], line)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
