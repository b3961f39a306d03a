#!/usr/bin/env python3
"""What int8 gains or costs in each runtime, kind by kind: what the cost tables of the profiles come from.

    int8.py [--runtimes onnxruntime,openvino] [--quick] [--seconds 0.15] [--threads 1] [--filter REGEX] [--json FILE]
            [--toml] [--fit FILE...]

One-operator and few-operator models (benches/int8_cases.py) are written in float and in the int8 forms that a runtime
fuses: QuantizeLinear and DequantizeLinear pairs on activations, int8 weights with a scale per channel. A chain of n
equal stages and one of 2n take turns in one process, a few milliseconds each; the difference, divided by n, is the time
of a stage without the call of the runtime and without the borders of the chain. The median over the rounds counts, of
processor time. The table shows the times of a stage, each int8 form relative to float (below 1 is faster), and the
nodes that the runtime makes of a stage: from onnxruntime's optimized model, or from OpenVINO's runtime model with the
precision that each node runs in (pinned to f32: the runtime must not choose bf16 by itself).

Least squares of the relative error then give, for each kind, nanoseconds = call + mac * MACs + element * elements +
position * positions + weight * weights: elements are the activations read and written, positions those of the window of
a Conv in each group, weights the elements of weights. No coefficient is below 0. They are of the processor that this
runs on, and hold nowhere else; the ratios hold about as far as its instruction set does.

--quick takes every third size and fewer rounds: it shows that all this works, not how long things take.
"""

import argparse
import collections
import itertools
import json
import pathlib
import re
import sys
import tempfile
import time

import numpy as np

import int8_cases
import latency
import measure
import workers

TURN = 0.003  # seconds that a model runs before the next one does
FEWEST_ROUNDS = 7
NEGLIGIBLE = 500  # nanoseconds
RUNTIMES = {"onnxruntime": "ort-all", "openvino": "openvino"}


def kernels_in_onnxruntime(path, threads):
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    written = path.with_suffix(".optimized.onnx")
    options.optimized_model_filepath = str(written)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(written, load_external_data=False).graph.node
    names = (n.op_type + (".nchwc" if n.domain == "com.microsoft.nchwc" else "") for n in nodes)
    return collections.Counter(names)


def kernels_in_openvino(path, threads):
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    compiled = core.compile_model(core.read_model(path), "CPU", config)
    found = collections.Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        layer = info["layerType"].astype(str) if "layerType" in info else "?"
        if layer not in ("Const", "Input", "Output", "Result", "Reshape"):
            precision = info["runtimePrecision"].astype(str) if "runtimePrecision" in info else "?"
            found[f"{layer}:{precision}"] += 1
    return found


KERNELS = {"onnxruntime": kernels_in_onnxruntime, "openvino": kernels_in_openvino}


def per_stage(longer, shorter, length):
    """Nodes of one stage: what the longer chain has more."""
    counts = {k: (longer[k] - shorter[k]) / length for k in longer if longer[k] > shorter[k]}
    return " ".join(k + (f"*{v:g}" if v != 1 else "") for k, v in sorted(counts.items(), key=lambda kv: -kv[1]))


def race(runs, seconds):
    """{name: [CPU seconds of one run in each round]}."""
    calls = {}
    for name, run in runs.items():
        latency.turn(lambda _: run(), None, 1)
        once = min(latency.turn(lambda _: run(), None, 2)[1] for _ in range(3))
        calls[name] = max(1, min(400, round(TURN / max(once, 1e-6))))
    names, took = list(runs), {n: [] for n in runs}
    end, k = time.perf_counter() + seconds * len(runs), 0
    while time.perf_counter() < end or k < FEWEST_ROUNDS:
        order = names[k % len(names) :] + names[: k % len(names)]
        for n in order if k % 2 else order[::-1]:
            took[n].append(latency.turn(lambda _: runs[n](), None, calls[n])[0])
        k += 1
    return took


def work(job):
    """One case in one runtime: {variant: [nanoseconds of a stage, its nodes]} and {variant: why it has none}."""
    runtime, index, threads, seconds = job
    case = next(itertools.islice(int8_cases.cases(), index, None))
    load, n = latency.RUNTIMES[RUNTIMES[runtime]], case.length
    rng = np.random.default_rng(0)
    runs, nodes, out, values = {}, {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="int8-") as folder:
        for name, variant in case.variants.items():
            if variant.runtime not in ("", runtime):
                continue
            try:
                found = {}
                for length, based in [(n, False), (2 * n, False), (n, True), (2 * n, True)]:
                    if based and not variant.base:
                        continue
                    path = pathlib.Path(folder) / "model.onnx"
                    shapes = int8_cases.write(path, case, variant, length, based)
                    for k, shape in shapes.items():
                        if k not in values:
                            values[k] = rng.standard_normal(shape).astype(np.float32)
                    run = load(path, threads)
                    run(values)
                    runs[name, length, based] = lambda run=run: run(values)
                    found[length, based] = KERNELS[runtime](path, threads)
                nodes[name] = per_stage(found[2 * n, False], found[n, False], n)
            except Exception as e:
                out[name] = latency.engines.one_line(e)
                runs = {k: v for k, v in runs.items() if k[0] != name}
        took = race(runs, seconds) if runs else {}
    times = {}
    for name in nodes:
        stages = lambda based: np.subtract(took[name, 2 * n, based], took[name, n, based]) / n * 1e9
        times[name] = float(np.median(stages(False) - (stages(True) if case.variants[name].base else 0)))
    return {"times": times, "nodes": nodes, "out": out}


TERMS = ("call", "mac", "element", "position", "weight")


def fit(amounts, took):
    """([nanoseconds per term], median of the relative error): least squares, without terms that would be below 0."""
    amounts, took = np.array(amounts, float), np.array(took)
    sound = took > -NEGLIGIBLE  # the machine was busy with something else
    amounts, took = amounts[sound], np.maximum(took[sound], 0)
    # What takes no time to speak of may be off by more than itself.
    weights = 1 / np.maximum(took, NEGLIGIBLE)
    best = float("inf"), np.zeros(len(TERMS)), 0.0
    terms = [k for k in range(len(TERMS)) if amounts[:, k].any()]
    for count in range(1, max(1, len(took) // 2) + 1):
        for some in map(list, itertools.combinations(terms, count)):
            found, *_ = np.linalg.lstsq(amounts[:, some] * weights[:, None], took * weights, rcond=None)
            if (found < 0).any():
                continue
            rates = np.zeros(len(TERMS))
            rates[some] = found
            errors = np.abs(amounts @ rates - took) * weights
            if (errors**2).sum() < best[0]:
                best = (errors**2).sum(), rates, float(np.median(errors))
    return best[1], best[2]


def fits(results):
    """{(runtime, kind, form): (sizes, rates, error)}; models of several operators have none."""
    cases = {(c.kind, c.label): c for c in int8_cases.cases()}
    amounts, took = collections.defaultdict(list), collections.defaultdict(list)
    for r in results:
        case = cases.get((r["kind"], r["size"]))
        for name, ns in r["times"].items():
            if case and case.elements:
                key = r["runtime"], case.kind, name
                amounts[key].append([1, case.macs, case.elements, case.positions, case.weights])
                took[key].append(ns)
    return {key: (len(v), *fit(amounts[key], v)) for key, v in took.items() if len(v) > 1}


def print_fits(results, toml):
    found = fits(results)
    rows = []
    for key, (sizes, rates, error) in found.items():
        rows.append([*key, sizes, *(f"{r:.{p}f}" for r, p in zip(rates, (0, 4, 3, 2, 3))), f"{error:.0%}"])
    measure.print_table(["runtime", "kind", "form", "sizes", *(f"ns/{t}" for t in TERMS), "error"], rows)
    if not toml:
        return
    for runtime in dict.fromkeys(r for r, _, _ in found):
        print(f"\n# {runtime}")
        for kind in dict.fromkeys(k for r, k, _ in found if r == runtime):
            print(f'\n[[cost]]\nkind = "{kind}"')
            for (r, k, form), (_, rates, _) in found.items():
                if (r, k) == (runtime, kind):
                    listed = ", ".join(f"{t} = {float(f'{v:.3g}')!r}" for t, v in zip(TERMS, rates) if v)
                    print(f'{form.replace(" ", "-").replace(",", "")} = {{ {listed} }}')


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--runtimes", default=",".join(RUNTIMES), type=lambda t: t.split(","))
    args.add_argument("--quick", action="store_true")
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--seconds", type=float, default=0.15, help="per model")
    args.add_argument("--filter", default=re.compile(""), type=re.compile, help="a regular expression, found in kinds")
    args.add_argument("--json")
    args.add_argument("--fit", nargs="+", help="fits what --json wrote, of all these files, instead of measuring")
    args.add_argument("--toml", action="store_true", help="prints the coefficients as cost tables of profiles too")
    parser, args = args, args.parse_args()
    if args.fit:
        print_fits([r for f in args.fit for r in json.loads(pathlib.Path(f).read_text())], args.toml)
        return
    if unknown := set(args.runtimes) - set(RUNTIMES):
        parser.error(f"no runtime named {', '.join(sorted(unknown))}; there are {', '.join(RUNTIMES)}")
    cases = [(k, c) for k, c in enumerate(int8_cases.cases()) if args.filter.search(c.kind)]
    if args.quick:
        cases, args.seconds = cases[::3], args.seconds / 10
    jobs = [(r, k, args.threads, args.seconds) for k, _ in cases for r in args.runtimes]
    by_index, results, refused = dict(cases), [], []
    columns = ["kind", "size", "runtime", "form", "us", "ratio", "nodes of a stage"]
    print("  ".join(columns))
    for (runtime, index, *_), result, why in workers.over(jobs, work, 1, timeout=300):
        case = by_index[index]
        if result is None:
            refused.append(f"{case.kind} {case.label} in {runtime}: {why}")
            continue
        refused += [f"{case.kind} {case.label}, {name} in {runtime}: {why}" for name, why in result["out"].items()]
        float_ns = result["times"].get("float")
        for name, ns in result["times"].items():
            ratio = f"{ns / float_ns:.2f}" if float_ns and name != "float" else ""
            row = [case.kind, case.label, runtime, name, f"{ns / 1000:.1f}", ratio, result["nodes"][name]]
            print("  ".join(row), flush=True)
        same = {"runtime": runtime, "kind": case.kind, "size": case.label}
        results.append(same | {"times": result["times"], "nodes": result["nodes"]})
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1))
    print()
    print_fits(results, args.toml)
    for line in refused:
        print(f"not measured: {line}")


if __name__ == "__main__":
    main()
