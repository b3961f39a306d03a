#!/usr/bin/env python3
"""Gives the weights of a model of several gigabytes 4 bits: peak memory, and how many megabytes a second go through.

    lowbit_scale.py --bin PATH [--gigabytes 6] [--work DIR] [--side 4096] [--target onnxruntime] [-- FLAG...]

The model is a chain of products with an embedding before it, its weights in one file beside it: random numbers, each
weight's another part of the same, so that they are written at the speed of the disk. What is written is read back: a
few weights of the result have to be what the float ones are, but for what 4 bits lose. The time of a plain copy of the
weights (read and written, then synchronized) is what the disk itself takes. All of it is deleted in the end.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import measure


def write_model(folder, gigabytes, side):
    """In a process of its own: this one must stay small to measure memory."""
    import numpy as np
    import onnx
    from onnx import TensorProto as T
    from onnx import helper

    rng = np.random.default_rng(7)
    base = rng.standard_normal(2 * side * side, dtype=np.float32) / np.float32(side**0.5)
    count = max(2, round(gigabytes * 2**30 / (side * side * 4)))
    tensors, nodes, x = [], [], None
    with open(folder / "weights.bin", "wb") as data:
        for k in range(count):
            tensor = T(name=f"w{k}", data_type=T.FLOAT, dims=[side, side])
            place = {"location": "weights.bin", "offset": data.tell(), "length": side * side * 4}
            tensor.data_location = T.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            start = k * 7919 * 16 % (side * side)
            data.write(memoryview(base[start : start + side * side]).cast("B"))
            tensors.append(tensor)
            if x is None:
                nodes.append(helper.make_node("Gather", ["w0", "ids"], ["x0"]))
            else:
                nodes.append(helper.make_node("MatMul", [x, f"w{k}"], [f"x{k}"], f"layer{k}"))
            x = f"x{k}"
    ins = [helper.make_tensor_value_info("ids", T.INT64, ["batch", "length"])]
    outs = [helper.make_tensor_value_info(x, T.FLOAT, ["batch", "length", side])]
    graph = helper.make_graph(nodes, "large", ins, outs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    print(count)


def compare(folder, side):
    """How far some weights of the result are from what they were, as a part of what they are."""
    import numpy as np
    import onnx
    from onnx import external_data_helper as external
    from onnx import numpy_helper

    model, worst = onnx.load(folder / "int4.onnx", load_external_data=False), 0.0
    tensors = {t.name: t for t in model.graph.initializer}

    def array(name):
        if tensors[name].HasField("data_location") and tensors[name].data_location == onnx.TensorProto.EXTERNAL:
            external.load_external_data_for_tensor(tensors[name], str(folder))
        return numpy_helper.to_array(tensors[name])

    packed = [n for n in model.graph.node if n.op_type == "MatMulNBits"]
    floats = np.memmap(folder / "weights.bin", np.float32, "r")
    for node in packed[:: max(1, len(packed) // 4)]:
        index = int(node.output[0].removeprefix("x"))
        at = {a.name: a.i for a in node.attribute}
        codes, scales = array(node.input[1]), array(node.input[2]).reshape(side, -1, 1)
        assert at["bits"] == 4 or index == len(packed), "only the last product has more bits"
        if at["bits"] != 4:
            continue
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(side, -1, at["block_size"]).astype(np.int16)
        zero = 8
        if len(node.input) > 3 and node.input[3]:
            zeros = array(node.input[3]).reshape(side, -1)
            zero = np.stack([zeros & 15, zeros >> 4], -1).reshape(side, -1, 1).astype(np.int16)
        back = ((codes - zero) * scales).reshape(side, side).T
        weight = floats[index * side * side : (index + 1) * side * side].reshape(side, side)
        worst = max(worst, float(np.linalg.norm(back - weight) / np.linalg.norm(weight)))
    print(len(packed), worst)


def copied(folder):
    """Seconds that reading and writing the weights takes."""
    start = time.perf_counter()
    with open(folder / "weights.bin", "rb") as source, open(folder / "copy.bin", "wb") as target:
        while piece := source.read(1 << 24):
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    took = time.perf_counter() - start
    (folder / "copy.bin").unlink()
    return took


def helper(*question):
    command = [sys.executable, __file__, "--helper", *map(str, question)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def main():
    if sys.argv[1:2] == ["--helper"]:
        what, folder, *numbers = sys.argv[2:]
        folder = pathlib.Path(folder)
        return write_model(folder, float(numbers[0]), int(numbers[1])) if what == "write" else compare(folder, int(numbers[0]))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--gigabytes", type=float, default=6)
    p.add_argument("--side", type=int, default=4096)
    p.add_argument("--target", default="onnxruntime")
    p.add_argument("--work", type=pathlib.Path)
    p.add_argument("flags", nargs="*")
    args = p.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir=args.work, prefix="lowbit-"))
    try:
        (count,) = helper("write", folder, args.gigabytes, args.side)
        size = (folder / "weights.bin").stat().st_size
        print(f"{count} weights, {size / 1e9:.2f} GB", flush=True)
        seconds = copied(folder)
        print(f"copied in {seconds:.1f} s: {size / 1e6 / seconds:.0f} MB/s", flush=True)
        command = [args.bin, "optimize", folder / "model.onnx", "-o", folder / "int4.onnx", "--target", args.target]
        cost = measure.run([*command, "--precision", "int4", "--no-check", *args.flags], timeout=3600)
        if cost.code:
            sys.exit(f"failed: {cost.message}")
        written = sum((folder / name).stat().st_size for name in ("int4.onnx", "int4.onnx.data") if (folder / name).exists())
        print(f"int4 in {cost.wall:.1f} s ({cost.cpu:.1f} s of processors): {size / 1e6 / cost.wall:.0f} MB/s")
        print(f"peak {cost.rss:.0f} MB, {written / 1e9:.2f} GB written")
        if args.target == "onnxruntime":
            products, worst = helper("compare", folder, args.side)
            print(f"{products} MatMulNBits, weights {100 * float(worst):.2f} % off at the most")
            if float(worst) > 0.12:
                sys.exit("more than 4 bits lose")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
