#!/usr/bin/env python3
"""Quantizes small models for each target and runs them in onnxruntime and OpenVINO, with their own optimizers on.

    quantize.py --bin PATH [--filter TEXT] [--jobs 2]

The models are those of fixtures/calibrated/make.py. For each target the result has to pass onnx's checker, to have
integers of the types that the target takes, and to stay near the float model on samples that were not calibrated on, in
both runtimes. In the runtime that it was made for, every operator that was given integers has to run in integers: what
onnxruntime makes of the model is read from its optimized graph, what OpenVINO makes of it from its compiled one.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

import engines
import kernels
import tool
import workers
from tally import Tally

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = ("residual_cnn", "depthwise_cnn", "transformer", "recurrent")
STATIC, DYNAMIC = "int8", "int8-dynamic"
# dB that outputs keep in any runtime. Nothing was trained, so what a scheme loses is what rounding loses.
LEAST = {("transformer", STATIC): 22, ("transformer", DYNAMIC): 25}
ELSE = 35
# A runtime of integers throughout rounds everything, sums and shares of attention too.
LEAST_THROUGHOUT = {"transformer": 21}
INT8, UINT8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8
# Types of integers that a target takes.
TYPES = {"tensorrt": {INT8}, "tflite": {INT8}, "openvino": {INT8, UINT8}, "onnxruntime": {INT8, UINT8}}
JOBS = [(m, t, STATIC) for m in MODELS for t in ("onnxruntime", "openvino", "tensorrt", "tflite")]
JOBS += [(m, t, DYNAMIC) for m in ("transformer", "recurrent") for t in ("onnxruntime", "openvino")]


def samples(path):
    stored = np.load(path)
    count = min(len(stored[k]) for k in stored.files)
    whole = {k: stored[k].ndim == 4 and k == "frames" for k in stored.files}
    return [{k: stored[k][i] if whole[k] else stored[k][i : i + 1] for k in stored.files} for i in range(count)]


def in_onnxruntime(path):
    session = engines.session(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    return lambda feed: session.run(None, feed)[0]


def compiled(path):
    import openvino

    core = openvino.Core()
    # Its default is to compute in a shorter type where the processor has one.
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"})


def sqnr(want, got):
    noise = sum(float(np.sum((a.astype(np.float64) - b) ** 2)) for a, b in zip(want, got))
    return 10 * np.log10(sum(float(np.sum(a.astype(np.float64) ** 2)) for a in want) / max(noise, 1e-30))


def integers(model):
    """Types of integers, and whether a zero point is something else than zero."""
    constants = {t.name: t for t in model.graph.initializer}
    types, shifted = set(), False
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.data_type != onnx.TensorProto.INT32:
            types.add(zero.data_type)
            shifted |= bool(np.any(onnx.numpy_helper.to_array(zero)))
    return types, shifted


def wrong(folder, name, target, precision, binary):
    """What is wrong, a line each, and what was found."""
    float_model, result = folder / f"{name}.onnx", folder / f"{name}.{target}.{precision}.onnx"
    flags = ["--target", target, "--precision", precision, "--report", "json", "--no-check", "--allow-unsupported"]
    # So small a model gains nothing by integers.
    data = ["--calib", folder / f"{name}_calib.npz", "--quantize-all"] if precision == STATIC else []
    ran = tool.run(binary, "quantize", float_model, "-o", result, *flags, *data, timeout=600)
    if ran.failure:
        return [": ".join(ran.failure)], ""
    report = json.loads(ran.stdout)["quantization"]
    inspected = json.loads(tool.run(binary, "inspect", result, "--json").stdout)["integers"]
    found, said = [], []
    model = onnx.load(result)
    onnx.checker.check_model(model, full_check=True)
    coverage = report["coverage"]
    # The share is one of a sample's sizes there and of nominal ones here.
    if [inspected[k] for k in ("integer", "weighted")] != [coverage[k] for k in ("integer", "weighted")]:
        found.append(f"inspect finds {inspected}, the report says {coverage}")
    types, shifted = integers(model)
    if types - TYPES[target] or (target == "tensorrt" and shifted):
        found.append(f"integers of types {types}, {'some' if shifted else 'none'} around another number than zero")
    weights = report["weights"]
    if not weights:
        found.append("no weight became integers")
    stored = sum(t.data_type == INT8 and len(t.dims) > 1 and np.prod(t.dims) > 100 for t in model.graph.initializer)
    if not stored:
        found.append("no weight is stored as integers")

    feeds = samples(folder / f"{name}_eval.npz")
    want = [in_onnxruntime(float_model)(f) for f in feeds]
    least = LEAST.get((name, precision), ELSE)
    if target == "tflite":
        least = LEAST_THROUGHOUT.get(name, least)
    runtimes = {"onnxruntime": in_onnxruntime(result)}
    # OpenVINO knows no operator that only onnxruntime has.
    if not any(n.domain for n in model.graph.node):
        network = compiled(result)
        runtimes["openvino"] = lambda feed: network(feed)[network.outputs[0]]
    for runtime, run in runtimes.items():
        near = sqnr(want, [run(f) for f in feeds])
        said.append(f"{near:.1f} dB in {runtime}")
        if near < least:
            found.append(f"{near:.1f} dB in {runtime}, {least} are the least")
    floats = coverage["weighted"] - coverage["integer"]
    if target == "onnxruntime":
        ints, others = kernels.in_onnxruntime(result)
        said.append(f"{len(ints)} operators in integers, {len(others)} in floats")
        if len(others) > floats or not ints:
            found.append(f"{coverage} were quantized, onnxruntime runs {ints} in integers and {others} in floats")
        if precision == DYNAMIC and not set(ints) & {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}:
            found.append(f"onnxruntime fuses none of {ints}")
    if target == "openvino":
        ints, others = kernels.in_openvino(network)
        said.append(f"{len(ints)} layers in integers, {len(others)} in floats")
        # Where it quantizes activations itself, the file says nothing of them.
        given = weights if precision == DYNAMIC else coverage["integer"]
        taken = [o for o in others if o.startswith(("Convolution", "FullyConnected", "Deconvolution"))]
        most = max(0, coverage["weighted"] - given)
        if not ints or len(taken) > most:
            found.append(f"{given} were quantized, OpenVINO runs {ints} in integers and {others} in floats")
    return found, ", ".join(said)


def check(job):
    binary, folder, name, target, precision = job
    try:
        found, said = wrong(pathlib.Path(folder), name, target, precision, binary)
    except Exception as e:
        return [engines.one_line(e)], ""
    return found, said


def refused(binary, folder):
    """What the command line has to refuse, a case each: (name, what is wrong)."""
    model, calib = folder / "residual_cnn.onnx", folder / "residual_cnn_calib.npz"
    out, stats = folder / "refused.onnx", folder / "stats.json"
    tool.run(binary, "quantize", model, "-o", folder / "saved.onnx", "--calib", calib, "--save-stats", stats, timeout=600)
    cases = [
        ([], 2, "--calib"),
        (["--precision", "int8-dynamic", "--target", "tensorrt"], 2, "does not quantize activations while a model runs"),
        (["--precision", "int8-dynamic", "--target", "onnxruntime", "--min-sqnr", "9"], 2, "--calib"),
        (["--calib", calib, "--min-sqnr", "90"], 1, "at least 90 dB"),
        (["--calib", folder / "transformer_calib.npz"], 1, "image"),
        # Statistics say what ranges are, not what a result is worth.
        (["--stats", stats, "--min-sqnr", "9"], 1, "need samples"),
    ]
    for args, code, words in cases:
        ran = tool.run(binary, "quantize", model, "-o", out, *args, timeout=600)
        is_refused = ran.code == code and words in ran.stderr and not out.exists()
        wrong = [] if is_refused else [f"exit {ran.code}: {' '.join(ran.stderr.split())[:300]}"]
        yield f"refused: {words}", wrong


def measured(binary, folder):
    """What `--measure` has to find: that it asks the runtime itself, and keeps what its own figures say. As `refused`."""
    data = ["--calib", folder / "transformer_calib.npz", "--no-check"]
    for target in ("onnxruntime", "openvino"):
        result = folder / f"measured.{target}.onnx"
        flags = ["--target", target, f"--measure={sys.executable}", "--report", "json", *data]
        ran = tool.run(binary, "quantize", folder / "transformer.onnx", "-o", result, *flags, timeout=600)
        if ran.failure:
            yield f"--measure, {target}", [": ".join(ran.failure)]
            continue
        report = json.loads(ran.stdout)["quantization"]
        found, types = report["measurement"], integers(onnx.load(result))[0]
        turns = {t["integers"]: t for t in found["turns"]}
        version = onnxruntime.__version__ if target == "onnxruntime" else __import__("openvino").__version__
        kept = turns.get(found["kept"], {"share": [9] * 3})
        wrong = {
            "not this runtime": found["runtime"] != f"{target} {version}",
            "no model in real numbers": "nowhere" not in turns or "everywhere" not in turns,
            "too few rounds": found["rounds"] < 9,
            "no times": any(t["median_us"] <= 0 for t in turns.values()),
            "what is kept is not faster": found["kept"] != "nowhere" and kept["share"][1] > 0.98,
            "another model was written": bool(types) != (found["kept"] != "nowhere"),
            "the figures are not told": not any("measured in" in note for note in report["notes"]),
        }
        wrong = [why for why, is_so in wrong.items() if is_so]
        yield f"--measure, {target}", [*wrong, str(found)] if wrong else []
    bare = folder / "bare"
    bare.write_text("#!/bin/sh\nexec python3 -S \"$@\"\n")
    bare.chmod(0o755)
    cases = [
        (["--target", "onnxruntime", f"--measure={bare}", *data], 1, "has no onnxruntime"),
        (["--target", "onnxruntime", "--measure=/nowhere/python", *data], 1, "cannot be run"),
        (["--target", "tensorrt", "--measure", *data], 2, "--measure is for onnxruntime and openvino"),
        (["--target", "openvino", "--measure", "--quantize-all", *data], 2, "cannot be used with"),
    ]
    for flags, code, words in cases:
        out = folder / "refused.onnx"
        ran = tool.run(binary, "quantize", folder / "transformer.onnx", "-o", out, *flags, timeout=600)
        is_refused = ran.code == code and words in ran.stderr and not out.exists()
        wrong = [] if is_refused else [f"exit {ran.code}: {' '.join(ran.stderr.split())[:300]}"]
        yield f"refused: {words}", wrong


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--filter", default="", help="of NAME/TARGET/PRECISION")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args = args.parse_args()
    jobs = [j for j in JOBS if args.filter in "/".join(j)]
    tally = Tally("quantize")
    with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
        subprocess.run([sys.executable, ROOT / "fixtures/calibrated/make.py", folder], check=True)
        for job, result, why in workers.over([(args.bin, folder, *j) for j in jobs], check, args.jobs, timeout=900):
            tally.add("/".join(job[2:]), *(result or ([f"died: {why}"],)))
        folder = pathlib.Path(folder)
        for name, found in [*refused(args.bin, folder), *measured(args.bin, folder)] if not args.filter else []:
            tally.add(name, found)
    sys.exit(tally.close())


if __name__ == "__main__":
    main()
