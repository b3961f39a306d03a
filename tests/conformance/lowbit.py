#!/usr/bin/env python3
"""Asks the runtimes whether they run weights of few bits as such, and compute what the integers stand for.

    lowbit.py --bin PATH [--filter TEXT] [--keep FOLDER]

A small language model is made (a table of embeddings, normalizations, products with and without a bias, one of a weight
that lies transposed, and a last product whose weight is the table or one of its own) and gets weights of few bits for
each target. Every result has to pass onnx's strict checker, but for operators of com.microsoft. In onnxruntime every
product with such a weight has to be a MatMulNBits of the graph that it runs, also where it finds a DequantizeLinear of
a weight [K,N]; in OpenVINO a FullyConnected or Gather that reads integers. Either has to compute what the float model
computes with the weights that the integers stand for, as this file reads them, or nearly that where a MatMulNBits is
asked to round what it multiplies them with. For TensorRT `onnx-slim check` has to find nothing that it cannot run.
"""

import argparse
import collections
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import engines
import precision
import tool
from tally import Tally

VOCABULARY, WIDTH, WIDE = 80, 128, 256
BITS = {T.INT4: 4, T.UINT4: 4, T.INT8: 8, T.UINT8: 8, 25: 2, 26: 2}
SIGNED = {T.INT4, T.INT8, 26}


def model(tied):
    """Rows of tokens in, scores out."""
    rng = np.random.default_rng(3)
    normal = lambda *dims: rng.standard_normal(dims, dtype=np.float32)
    scale = lambda a: a / np.float32(np.sqrt(a.shape[0]))
    weights = {
        "table": normal(VOCABULARY, WIDTH),
        "g": 1 + normal(WIDTH) / 4,
        "b": normal(WIDTH) / 4,
        "w1": scale(normal(WIDTH, WIDE)),
        "c1": normal(WIDE),
        "w2": scale(normal(WIDE, WIDTH)),
        "w3": scale(normal(WIDTH, WIDTH)).T.copy(),
        "c3": normal(WIDTH),
        "rows": np.array([-1, WIDTH]),
        "head": scale(normal(WIDTH, VOCABULARY)),
    }
    nodes = [
        h.make_node("Gather", ["table", "ids"], ["h0"], "embed"),
        h.make_node("LayerNormalization", ["h0", "g", "b"], ["n1"], "norm"),
        h.make_node("MatMul", ["n1", "w1"], ["p1"], "up"),
        h.make_node("Add", ["p1", "c1"], ["q1"]),
        h.make_node("Relu", ["q1"], ["r1"]),
        h.make_node("MatMul", ["r1", "w2"], ["p2"], "down"),
        h.make_node("Add", ["h0", "p2"], ["h1"]),
        h.make_node("Reshape", ["h1", "rows"], ["f"]),
        h.make_node("Gemm", ["f", "w3", "c3"], ["p3"], "mix", transB=1),
        h.make_node("Tanh", ["p3"], ["r3"]),
    ]
    if tied:
        nodes += [h.make_node("Transpose", ["table"], ["t"]), h.make_node("MatMul", ["r3", "t"], ["scores"], "head")]
        del weights["head"]
    else:
        nodes.append(h.make_node("MatMul", ["r3", "head"], ["scores"], "head"))
    ins = [h.make_tensor_value_info("ids", T.INT64, ["batch", 6])]
    outs = [h.make_tensor_value_info("scores", T.FLOAT, ["tokens", VOCABULARY])]
    inits = [nh.from_array(np.asarray(v), k) for k, v in weights.items()]
    made = h.make_model(h.make_graph(nodes, "g", ins, outs, inits), opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def integers(tensor):
    """The integers of a tensor, whatever their bits."""
    raw, bits = np.frombuffer(tensor.raw_data, np.uint8), BITS[tensor.data_type]
    per = 8 // bits
    codes = np.stack([(raw >> (bits * p)) & ((1 << bits) - 1) for p in range(per)], -1).reshape(-1).astype(np.int32)
    codes = codes[: int(np.prod(tensor.dims))].reshape(tuple(tensor.dims))
    return np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes) if tensor.data_type in SIGNED else codes


def unpacked(array, bits, columns):
    per = 8 // bits
    array = np.asarray(array, np.uint8)
    split = np.stack([(array >> (bits * p)) & ((1 << bits) - 1) for p in range(per)], -1)
    return split.reshape(array.shape[0], -1)[:, :columns].astype(np.int32)


def dequantized(source):
    """The model with the real numbers that integers stand for, in operators of ONNX alone, and how many of each form."""
    m = onnx.load(source)
    m.graph.ClearField("value_info")
    tensors = {t.name: t for t in m.graph.initializer}
    nodes, added, views, count = [], [], {}, collections.Counter()

    def constant(name, array):
        added.append(nh.from_array(np.ascontiguousarray(array.astype(np.float32)), name))
        return name

    for node in m.graph.node:
        at = {a.name: a.i for a in node.attribute}
        if node.op_type == "Reshape" and node.input[0] in tensors:
            dims = [int(d) for d in nh.to_array(tensors[node.input[1]])]
            views[node.output[0]] = nh.to_array(tensors[node.input[0]]).reshape(dims)
        elif node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            looks_up = node.op_type == "GatherBlockQuantized"
            packed = node.input[0 if looks_up else 1]
            codes = views[packed] if packed in views else nh.to_array(tensors[packed])
            scales = nh.to_array(tensors[node.input[2]])
            rows, groups = len(codes), scales.size // len(codes)
            codes = unpacked(codes.reshape(rows, -1), at["bits"], None)
            zeros = np.full((rows, groups), 1 << (at["bits"] - 1))
            if len(node.input) > 3 and node.input[3]:
                zeros = unpacked(nh.to_array(tensors[node.input[3]]).reshape(rows, -1), at["bits"], groups)
            spread = lambda a: np.repeat(a.reshape(rows, groups), at["block_size"], 1)
            real = (codes - spread(zeros)) * spread(scales)
            name = constant(node.output[0] + "_real", real if looks_up else real[:, : at["K"]].T)
            if looks_up:
                nodes.append(h.make_node("Gather", [name, node.input[1]], node.output))
            else:
                bias = node.input[5] if len(node.input) > 5 else ""
                product = node.output[0] + ("_product" if bias else "")
                nodes.append(h.make_node("MatMul", [node.input[0], name], [product]))
                if bias:
                    nodes.append(h.make_node("Add", [product, bias], node.output))
            count[node.op_type] += 1
        elif node.op_type == "DequantizeLinear":
            codes, scales = integers(tensors[node.input[0]]), nh.to_array(tensors[node.input[1]])
            zeros = integers(tensors[node.input[2]]) if len(node.input) > 2 else np.zeros_like(scales)
            if "block_size" in at:
                spread = lambda a: np.repeat(a, at["block_size"], at["axis"])
            else:
                spread = lambda a: a.reshape([-1 if k == at["axis"] else 1 for k in range(codes.ndim)])
            constant(node.output[0], (codes - spread(zeros)) * spread(scales))
            count["DequantizeLinear"] += 1
        else:
            nodes.append(node)
    del m.graph.node[:]
    m.graph.node.extend(nodes)
    m.graph.initializer.extend(added)
    return m, count


def kernels(path, folder):
    """Operators of the graph that onnxruntime runs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return collections.Counter(n.op_type for n in onnx.load(folder / "optimized.onnx").graph.node)


def compressed(path):
    """What of the model that OpenVINO's CPU plugin runs reads integers: kinds of nodes, and whether weights are turned."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds, turned = collections.Counter(), 0
    for op in compiled.get_runtime_model().get_ordered_ops():
        kind = op.get_rt_info()["layerType"]
        kind = kind if isinstance(kind, str) else str(kind.astype(str))
        makers = [i.get_source_output().get_node() for i in op.inputs()]
        small = [m for m in makers if m.get_output_element_type(0).get_type_name() in ("i4", "u4", "i8", "u8", "u2")]
        if kind in ("FullyConnected", "Gather", "MatMul", "Convolution"):
            kinds[kind + (" of integers" if small else "")] += 1
        turned += kind == "Transpose" and any("Const" in str(m.get_rt_info()["layerType"]) for m in small)
    return kinds, turned


# Flags, products with weights, and lookups, for a model whose last product has a weight of its own.
CASES = {
    "onnxruntime": [["int4"], ["uint4"], ["uint4", "--group-size", "128"], ["int4", "--asymmetric"], ["int8-weights"]]
    + [["int2"], ["int4", "--group-size", "channel"], ["int4", "--same-bits"]],
    "openvino": [["int4"], ["uint4"], ["int4", "--group-size", "128"], ["int8-weights"], ["uint4", "--same-bits"]],
    "onnx": [["int4"], ["uint4"], ["uint4", "--group-size", "channel"], ["int8-weights"], ["int4", "--same-bits"], ["int2"]],
    "tensorrt": [["int4"], ["int4", "--group-size", "128"], ["int8-weights"]],
}
# Without a word about it OpenVINO rounds what a product reads to 8 bits, in groups.
LEAST = {"onnxruntime": 90.0, "openvino": 30.0}
# Where a MatMulNBits is asked to round what it reads to 8 bits.
ROUNDED = 35.0


def examine(args, target, flags, tied, folder):
    source, result = folder / "float.onnx", folder / "few.onnx"
    onnx.save(model(tied), source)
    flags = ["--precision", *flags, "--target", target, "--no-check"]
    ran = tool.run(args.bin, "optimize", source, "-o", result, *flags, timeout=600)
    if ran.failure:
        return [ran.failure[1]], ""
    wrong, said = [], []
    if target != "onnxruntime":
        try:
            onnx.checker.check_model(str(result), full_check=True)
        except Exception as e:
            wrong.append(engines.one_line(e))
    float_model, count = dequantized(result)
    onnx.save(float_model, folder / "dequantized.onnx")
    given = {"ids": np.random.default_rng(5).integers(0, VOCABULARY, (3, 6))}
    want = engines.session(folder / "dequantized.onnx").run(None, given)
    products = 4
    if target == "onnxruntime":
        expected = {"MatMulNBits": products, "GatherBlockQuantized": 1}
    else:
        expected = {"DequantizeLinear": products + 1}
    if dict(count) != expected:
        wrong.append(f"{dict(count)}, not {expected}")
    if target == "tensorrt":
        checked = tool.run(args.bin, "check", result, "--target", target, timeout=600)
        if checked.failure:
            wrong.append(f"check: {checked.failure[1]}")
    names = {"onnxruntime": ["onnxruntime"], "openvino": ["openvino"]}.get(target, ["onnxruntime", "openvino"])
    for name in names:
        if name == "openvino" and "int2" in flags:
            continue  # It has no such type.
        try:
            db = precision.sqnr(want, precision.RUNTIMES[name](result, given))
        except Exception as e:
            wrong.append(f"{name}: {engines.one_line(e)}")
            continue
        said.append(f"{name} {db:.1f} dB")
        rounds = any(a.name == "accuracy_level" and a.i == 4 for n in onnx.load(result).graph.node for a in n.attribute)
        if db < (ROUNDED if rounds else LEAST[name]):
            wrong.append(f"{name} is {db:.1f} dB off what the integers stand for")
    if target == "onnxruntime":
        found = kernels(result, folder)
        if (found["MatMulNBits"], found["GatherBlockQuantized"]) != (products, 1) or found["MatMul"] or found["Gemm"]:
            wrong.append(f"onnxruntime runs {dict(found)}")
    if target == "onnx" and "int2" not in flags:
        # The last product's, where its weight is its own: a Gemm with an activation behind it or a sum in it, and one
        # with transB, it does not fuse with a DequantizeLinear.
        found = kernels(result, folder)["MatMulNBits"]
        said.append(f"{found} MatMulNBits")
        if found < (0 if tied else 1):
            wrong.append(f"onnxruntime makes {found} MatMulNBits")
    if target == "openvino":
        kinds, turned = compressed(result)
        said.append(", ".join(f"{n} {kind}" for kind, n in kinds.items()))
        # A table with zero points that a product reads too it makes real numbers of for the product.
        least = products - 1 if tied and "--same-bits" in flags else products
        if kinds["FullyConnected of integers"] < least or turned:
            wrong.append(f"OpenVINO runs {dict(kinds)}, {turned} weights transposed")
    return wrong, "; ".join(said)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--filter", default="")
    p.add_argument("--keep", type=pathlib.Path, help="leave the models here")
    args = p.parse_args()
    tally = Tally("lowbit")
    for target, settings in CASES.items():
        for flags in settings:
            for tied in (False, True):
                name = f"{target} {' '.join(flags)}{' tied' if tied else ''}"
                if args.filter not in name:
                    continue
                with tempfile.TemporaryDirectory() as temporary:
                    folder = args.keep / name.replace(" ", "_") if args.keep else pathlib.Path(temporary)
                    folder.mkdir(parents=True, exist_ok=True)
                    wrong, line = examine(args, target, flags, tied, folder)
                tally.add(name, wrong, line)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
