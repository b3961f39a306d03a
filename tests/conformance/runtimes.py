#!/usr/bin/env python3
"""Runs what `optimize` writes in the runtimes people run it in, as they run it: with their own optimizer on.

    runtimes.py --bin PATH FILE_OR_FOLDER... [--targets openvino,onnxruntime] [--jobs 2] [--filter TEXT]

Each model is written for each target. The runtime of that name loads original and result, both run on the same inputs,
and every output is compared as models.py compares. A runtime that does not take the original says nothing about the
result: the model is skipped for it, and the reason printed.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

import engines
import feeds
import models
import tool
import workers


def in_onnxruntime(path):
    session = engines.session(path, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    return lambda values: session.run(None, values)


def in_openvino(path):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    # Openvino's own default is to compute in a shorter type where the processor has one; what is left of a difference
    # then would be its, not ours.
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"})

    def run(values):
        results = compiled(values)
        return [np.asarray(results[o]) for o in compiled.outputs]

    return run


RUNTIMES = {"openvino": in_openvino, "onnxruntime": in_onnxruntime}


def sizes(path):
    """Inputs to try: the first that the original accepts is taken, and the distinct sizes if it accepts them too."""
    inputs = feeds.open_inputs(onnx.load(path, load_external_data=False))
    for size in feeds.SIZES:
        yield feeds.random_feeds(inputs, feeds.same_size(size))
    yield feeds.random_feeds(inputs, feeds.distinct_size)


def run_original(runtime, path):
    """([(feeds, outputs)], None), or (None, why the runtime does not take the model)."""
    try:
        run = RUNTIMES[runtime](path)
    except Exception as e:
        return None, engines.one_line(e)
    runs, why = [], "no inputs"
    *same, distinct = sizes(path)
    for values in same:
        try:
            runs.append((values, run(values)))
            break
        except Exception as e:
            why = engines.one_line(e)
    if not runs:
        return None, why
    try:
        runs.append((distinct, run(distinct)))
    except Exception:
        pass  # the model ties its open dims to each other
    return runs, None


def check(job):
    """(category, one line): `pass`, `skip` or what is wrong."""
    binary, path, runtime, timeout = job
    runs, why = run_original(runtime, path)
    if runs is None:
        return "skip", f"the original is not accepted: {why}"
    with tempfile.TemporaryDirectory(prefix="runtimes-") as folder:
        optimized = pathlib.Path(folder) / "model.onnx"
        ran = tool.run(binary, "optimize", path, "-o", optimized, "--target", runtime, timeout=timeout)
        if ran.failure:
            return ran.failure
        try:
            run = RUNTIMES[runtime](optimized)
        except Exception as e:
            return "refused", engines.one_line(e)
        worst = 0.0
        for values, want in runs:
            try:
                got = run(values)
            except Exception as e:
                return "refused", engines.one_line(e)
            error, why = models.relative_error(list(want), list(got))
            if error > models.RELATIVE:
                return "wrong", why or f"relative error {error:.1e}"
            worst = max(worst, error)
    return "pass", f"{len(runs)} sets of inputs, relative error {worst:.0e}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("paths", nargs="+", type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--targets", default=",".join(RUNTIMES), type=lambda t: t.split(","))
    args.add_argument("--filter", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--timeout", type=float, default=300)
    parser, args = args, args.parse_args()
    if unknown := set(args.targets) - set(RUNTIMES):
        parser.error(f"no runtime named {', '.join(sorted(unknown))}; there are {', '.join(RUNTIMES)}")
    files = [f for p in args.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if args.filter in f.stem and not f.name.startswith(".")]

    jobs = [(args.bin, f, runtime, args.timeout) for f in files for runtime in args.targets]
    results = {}
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=args.timeout + 300):
        results[job[1:3]] = result or ("died", why)
    for (file, runtime), (category, why) in sorted(results.items()):
        print(f"{category:8}{file.stem} in {runtime}: {why}")
    categories = [category for category, _ in results.values()]
    passed, skipped = categories.count("pass"), categories.count("skip")
    failed = len(categories) - passed - skipped
    print(f"runtimes: {passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    # A runtime that takes nothing at all is not installed, and nothing was tested.
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
