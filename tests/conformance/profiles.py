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

With --opset every case is also written in that opset, where that can be said.
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
LENIENT = ("bfloat16", "bf16", "FLOAT8", "FLOAT4", "e8m0", "float8", "e4m3", "e5m2", "INT4", "int4", "INT2", "float4")

# Rows about what goes wrong with some numbers only.
ON_PURPOSE = ("bitshift",)


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
        return [np.asarray(results[o]) for o in compiled.outputs]

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
    return "right" if verdict.all_different(want, got) is None else "other numbers"


def isolated(*args):
    """`outcome` in a process of its own: runtimes abort on what they do not know."""
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
    cases = conformance.sample([c for c in cases if args.filter in c.name], args.limit)
    jobs = [(args.bin, case, runtime, args.opset) for case in cases for runtime in args.targets]
    total = collections.Counter()
    results = []
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=180):
        category, line = result or ("error", why)
        total[category] += 1
        if category != "pass":
            results.append(f"{category:9}{job[1].name} for {job[2]}: {' '.join(line.split())[:200]}")
    print("\n".join(sorted(results)))
    failed = sum(total.values()) - total["pass"]
    print(f"profiles: {total['pass']} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
