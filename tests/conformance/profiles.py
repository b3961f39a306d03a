#!/usr/bin/env python3
"""Holds what the target profiles say against what the runtimes do, one operator at a time.

    profiles.py --bin PATH [--targets openvino,onnxruntime] [--filter TEXT] [--limit N] [--jobs 2] [--opset N]

Every case of the node set is given to `check --target` and to `optimize --target`, and original and result to the
runtime of that name.

pass     the runtime takes what was written and computes the stored numbers, or both refuse the model
missed   the profile lets through what the runtime refuses or computes otherwise
needless the profile refuses what the runtime takes and computes right
wrong    the runtime takes the original and computes the stored numbers; of the result it does not
error    no answer but a crash

With --opset every case is written in that opset, where that can be said.

Then each operator of com.microsoft that is lowered is written for a target that has none of them, and original and
result run in onnxruntime.
"""

import argparse
import collections
import os
import pathlib
import sys
import tempfile

import numpy as np
import onnx

import engines
import generate
import run as conformance
import tool
import verdict
import workers

# What the stored numbers leave open, or the runtime rounds otherwise: which of equal elements come first, random
# numbers, empty reductions, and how a run hands over types that numpy has not.
LENIENT = ("top_k_same", "empty_set", "iou_threshold_boundary", "training_dropout", "int2", "BFLOAT16",
           "bfloat16", "bf16", "FLOAT8", "FLOAT4", "e8m0", "float8", "e4m3", "e5m2", "INT4", "int4", "INT2", "float4")

# Rows about what goes wrong with some numbers only.
ON_PURPOSE = ("bitshift", "local_window")


def in_onnxruntime(path):
    session = engines.session(path)
    names = {i.name for i in session.get_inputs()}
    return lambda feeds: session.run(None, {k: v for k, v in feeds.items() if k in names})


def in_openvino(path):
    import openvino

    model = openvino.Core().read_model(path)
    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    )

    def run(feeds):
        named = {}
        for k, port in enumerate(compiled.inputs):
            name = next((n for n in port.names if n in feeds), list(feeds)[k])
            named[port] = np.array(feeds[name], copy=True)
        results = compiled(named)
        return [np.array(results[o]) for o in compiled.outputs]

    return run


RUNTIMES = {"openvino": in_openvino, "onnxruntime": in_onnxruntime}


def outcome(runtime, path, feeds, want):
    """"right", "other numbers" or why the runtime refuses."""
    try:
        got = RUNTIMES[runtime](path)(feeds)
    except Exception as e:
        return engines.one_line(e, 160)
    if len(got) != len(want):
        return "right"  # results that nobody reads are left out
    if verdict.all_different(want, got) is None:
        return "right"
    return "right" if all(near(w, g) for w, g in zip(want, got)) else "other numbers"


def near(want, got):
    """Whether a runtime's own rounding may be all that differs: a hundredth of the largest number, one integer step."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return False
    if want.dtype.kind in "iu":
        return bool((np.abs(want.astype(np.int64) - got.astype(np.int64)) <= 1).all())
    if want.dtype.kind != "f":
        return bool((want == got).all())
    largest = np.abs(want[np.isfinite(want)]).max(initial=1e-3)
    return bool(np.isclose(want, got, rtol=0, atol=largest / 100, equal_nan=True).all())


def isolated(*args):
    """`outcome` in a process of its own: runtimes abort on what they do not know."""
    if args[0] == "openvino":
        import openvino  # noqa: F401  once, not in every process

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, outcome(*args).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode("utf8", "replace")
    os.waitpid(child, 0)
    return said or "the runtime died"


def check(job):
    binary, case, runtime, opset = job
    model = onnx.load(case / "model.onnx")
    try:
        feeds = conformance.stored(case, "input", model.graph.input)
        want = list(conformance.stored(case, "output", model.graph.output).values())
    except Exception as e:
        return "pass", f"its numbers cannot be read: {engines.one_line(e)}"
    if verdict.is_random(model) or any(not isinstance(v, np.ndarray) for v in [*feeds.values(), *want]):
        return "pass", "nothing to compare"
    flags = ["--target", runtime, "--no-check", *(["--opset", str(opset)] if opset else [])]
    before = isolated(runtime, case / "model.onnx", feeds, want)
    with tempfile.TemporaryDirectory(prefix="profiles-") as folder:
        written = pathlib.Path(folder) / "model.onnx"
        ran = tool.run(binary, "optimize", case / "model.onnx", "-o", written, *flags)
        refused = ran.failure is not None and "cannot run" in ran.stderr
        if ran.failure and not refused:
            return ran.failure
        if refused:
            needless = before == "right" and not opset and not any(w in case.name for w in ON_PURPOSE)
            return ("needless", ran.stderr) if needless else ("pass", "both refuse it")
        after = isolated(runtime, written, feeds, want)
    if after == "right" or any(word in case.name for word in LENIENT):
        return "pass", ""
    if before == "right":
        return "wrong", after
    return "missed", after


def contrib():
    """(name, model, feeds, largest difference) of operators of com.microsoft that are lowered."""
    from onnx import TensorProto as T
    from onnx import helper as h

    rng = np.random.default_rng(7)
    real = lambda *dims: rng.standard_normal(dims).astype(np.float32)
    quantized = lambda *dims: rng.integers(0, 256, dims).astype(np.uint8)
    scale = lambda s: np.array(s, np.float32)
    zero = lambda z: np.array(z, np.uint8)
    image, weight = real(1, 2, 6, 6), real(3, 2, 3, 3)
    q, p = quantized(1, 4, 5, 5), quantized(1, 4, 5, 5)
    s, t, u, z = scale(0.02), scale(0.03), scale(0.05), zero(120)
    cases = [
        ("Gelu", [real(3, 4)], {}),
        ("BiasGelu", [real(3, 4), real(4)], {}),
        ("FastGelu", [real(3, 4), real(4)], {}),
        ("QuickGelu", [real(3, 4)], {"alpha": 1.5}),
        ("FusedConv", [image, weight, real(3)], {"activation": "Relu"}),
        ("FusedConv", [image, weight, real(3), real(1, 3, 4, 4)], {"activation": "Tanh"}),
        ("FusedConv", [image, weight], {"activation": "Clip", "activation_params": [-0.5, 0.5]}),
        ("FusedConv", [image, weight], {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}),
        ("QLinearAdd", [q, s, z, p, t, z, u, z], {}),
        ("QLinearMul", [q, s, z, p, t, z, u, z], {}),
        ("QLinearSigmoid", [q, s, z, scale(1 / 256), zero(0)], {}),
        ("QLinearLeakyRelu", [q, s, z, t, z], {"alpha": 0.2}),
        ("QLinearGlobalAveragePool", [q, s, z, t, z], {"channels_last": 0}),
    ]
    for k, (op, operands, attrs) in enumerate(cases):
        fed = [0, 3] if op in ("QLinearAdd", "QLinearMul") else [0]
        names = [f"x{i}" for i in range(len(operands))]
        kind = lambda a: T.UINT8 if a.dtype == np.uint8 else T.FLOAT
        graph = h.make_graph(
            [h.make_node(op, names, ["y"], domain="com.microsoft", **attrs)],
            "g",
            [h.make_tensor_value_info(names[i], kind(operands[i]), operands[i].shape) for i in fed],
            [h.make_tensor_value_info("y", kind(operands[0]), None)],
            [onnx.numpy_helper.from_array(a, n) for i, (n, a) in enumerate(zip(names, operands)) if i not in fed],
        )
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)])
        model.ir_version = 8
        yield f"{op} {k}", model, {names[i]: operands[i] for i in fed}, 1 if op.startswith("QLinear") else 1e-5


def check_contrib(binary):
    """One line for each that fails, and how many there are."""
    failed, count = [], 0
    for name, model, feeds, most in contrib():
        count += 1
        with tempfile.TemporaryDirectory(prefix="profiles-") as folder:
            before, after = pathlib.Path(folder) / "before.onnx", pathlib.Path(folder) / "after.onnx"
            onnx.save(model, before)
            flags = ["--target", "tensorrt", "--allow-unsupported", "--no-check"]
            ran = tool.run(binary, "optimize", before, "-o", after, *flags)
            if ran.failure:
                failed.append(f"error    {name}: {ran.failure[1]}")
                continue
            if any(n.domain == "com.microsoft" for n in onnx.load(after).graph.node):
                failed.append(f"missed   {name}: it is there still")
                continue
            want, got = in_onnxruntime(before)(feeds)[0], in_onnxruntime(after)(feeds)[0]
            apart = np.abs(want.astype(np.float64) - got.astype(np.float64)).max()
            if want.shape != got.shape or apart > most:
                failed.append(f"wrong    {name}: {apart} apart")
    return failed, count


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--targets", default=",".join(RUNTIMES), type=lambda t: t.split(","))
    args.add_argument("--filter", default="")
    args.add_argument("--limit", type=int, default=0)
    args.add_argument("--opset", type=int, default=0)
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--data", default=conformance.ROOT / "target/conformance")
    args = args.parse_args()
    cases = generate.ensure(args.data, ["node"])["node"]
    # What a function expands to is an operator's own cases again.
    cases = [c for c in cases if args.filter in c.name and "_expanded" not in c.name]
    cases = conformance.sample(cases, args.limit)
    jobs = [(args.bin, case, runtime, args.opset) for case in cases for runtime in args.targets]
    total = collections.Counter()
    results = []
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=180):
        category, line = result or ("error", why)
        total[category] += 1
        if category != "pass":
            results.append(f"{category:9}{job[1].name} for {job[2]}: {' '.join(line.split())[:200]}")
    lines, count = check_contrib(args.bin) if not args.filter else ([], 0)
    total["pass"] += count - len(lines)
    total["wrong"] += len(lines)
    print("\n".join(sorted(results) + lines))
    failed = sum(total.values()) - total["pass"]
    print(f"profiles: {total['pass']} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
