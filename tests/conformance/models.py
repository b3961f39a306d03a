#!/usr/bin/env python3
"""Optimizes real models and compares: interface, validity, numbers, nodes and bytes.

    models.py --bin PATH FILE_OR_FOLDER... [--best peers.json] [--jobs 2] [--filter TEXT] [--json FILE] [-- FLAG...]

`--best` is {model name: node count, or {tool: node count}} as `benches/compare.py --best` writes it; the last column is
the smallest count any of them reached. Flags after `--` go to `optimize`.

Numbers are equal when the largest difference is below 1e-3 of the largest value of that output: what a few hundred
layers of f32 sums in another order leave, and one tenth of what a wrong weight makes. Where moving the inputs by 1e-6
already moves the original by that much, ten times that is allowed, and `unstable` says so.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx

import engines
import feeds as inputs
import tool
import verdict
import workers

RELATIVE = 1e-3


def relative_error(want, got):
    """(largest difference / largest value, why not comparable)."""
    if isinstance(want, list):
        if not isinstance(got, list) or len(want) != len(got):
            return math.inf, f"{verdict.describe(want)} became {verdict.describe(got)}"
        each = [relative_error(w, g) for w, g in zip(want, got)]
        return max(each, default=(0.0, None), key=lambda e: e[0])
    if want is None or got is None:
        return (0.0, None) if want is got else (math.inf, "an optional output appeared or went")
    if (why := verdict.difference(want, got, only_types=True)) is not None:
        return math.inf, why
    if want.size == 0:
        return 0.0, None
    if want.dtype.kind not in "fV":
        why = verdict.difference(want, got)
        return (math.inf, why) if why else (0.0, None)
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        return math.inf, "nan or infinity moved"
    if not finite.any():
        return 0.0, None
    largest = np.abs(want[finite]).max()
    return float(np.abs(want[finite] - got[finite]).max() / max(largest, 1e-12)), None


def noise(engine, path, feeds, want):
    """How much the original's outputs move when its float inputs move by 1e-6; infinite when shapes or integers do."""
    rng = np.random.default_rng(1)
    nudge = lambda v: (v * (1 + 1e-6 * rng.standard_normal(v.shape))).astype(v.dtype) if v.dtype.kind in "fV" else v
    got = engines.ENGINES[engine](path, {k: nudge(v) for k, v in feeds.items()})
    return relative_error(want, got)[0]


def file_bytes(path, model):
    """The file and the external data it names."""
    named = set()
    for graph in verdict.bodies(model.graph):
        for tensor in graph.initializer:
            named |= {e.value for e in tensor.external_data if e.key == "location"}
    files = [path, *(path.parent / n for n in named)]
    return sum(f.stat().st_size for f in files if f.exists())


def check(job):
    """One model in a worker: a dict with `category`, `why`, node counts, bytes, error and seconds."""
    binary, path, flags, timeout = job
    before = onnx.load(path, load_external_data=False)
    result = {"nodes": [verdict.node_count(before), None], "bytes": [file_bytes(path, before), None]}
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        optimized = pathlib.Path(folder) / "model.onnx"
        start = time.perf_counter()
        failure = tool.run(binary, "optimize", path, "-o", optimized, *flags, timeout=timeout).failure
        result["seconds"] = time.perf_counter() - start
        if failure is None and not optimized.exists():
            failure = "error", "exit code 0 and no file written"
        category, why = failure or judge(path, before, optimized, result, may_add=added_domains(flags))
    return result | {"category": category, "why": why}


def added_domains(flags):
    """The domains that a result of `optimize` with these flags may use besides those of the original."""
    return frozenset({"com.microsoft"} if "onnxruntime" in flags else ())


def judge(path, before, optimized, result, types=verdict.type_text, may_add=frozenset()):
    """(category, one line); fills in `result`. `types` says which part of the interface's types must stay."""
    try:
        after = onnx.load(optimized, load_external_data=False)
    except Exception as e:
        return "invalid", engines.one_line(e)
    result["nodes"][1] = verdict.node_count(after)
    result["bytes"][1] = sum(f.stat().st_size for f in optimized.parent.iterdir())
    if why := verdict.invalidity(before, optimized, after, lambda: verdict.checker_accepts(path), may_add):
        return "invalid", why
    if why := verdict.interface_change(before, after, types):
        return "iface", why
    category, why = compare(path, optimized, result)
    # A domain of its own is named in the file, and at each of its nodes.
    if category == "pass" and result["bytes"][1] > result["bytes"][0] + (verdict.SMALL_GROWTH if may_add else 0):
        return "grew", f"{result['bytes'][0]} bytes became {result['bytes'][1]}"
    return category, why


def compare(path, optimized, result):
    """The numbers. `pass` with a reason is a weaker pass: it could not be run, or the original is unstable."""
    engine, runs = inputs.accepted(path)
    if engine is None:
        return "pass", f"not run: {runs}"
    result["error"], weaker = 0.0, ""
    for feeds, want in runs:
        try:
            got = engines.ENGINES[engine](optimized, feeds)
        except Exception as e:
            return "invalid", f"no longer runs in {engine}: {engines.one_line(e)}"
        error, why = relative_error(want, got)
        result["error"] = max(result["error"], error)
        if error > RELATIVE:
            moves = noise(engine, path, feeds, want)
            if error > 10 * moves:
                return "wrong", why or f"relative error {error:.1e}"
            weaker = f"unstable: moving the inputs by 1e-6 moves the original by {moves:.1e}"
    return "pass", weaker


def best_counts(file):
    """{model name: smallest node count any tool reached}."""
    counts = {}
    for name, value in json.loads(pathlib.Path(file).read_text()).items():
        values = [v for v in (value.values() if isinstance(value, dict) else [value]) if isinstance(v, (int, float))]
        if values:
            counts[name] = min(values)
    return counts


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def main():
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    own, flags = words[:split], words[split + 1 :]
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("paths", nargs="+", type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--best")
    args.add_argument("--filter", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--timeout", type=float, default=300)
    args.add_argument("--json")
    args = args.parse_args(own)
    files = [f for p in args.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if args.filter in f.stem and not f.name.startswith(".")]
    best = best_counts(args.best) if args.best else {}

    results = {}
    jobs = [(args.bin, f, flags, args.timeout) for f in files]
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=args.timeout + 300):
        results[job[1]] = result or {"category": "invalid", "why": why, "nodes": [None, None], "bytes": [None, None]}

    rows, ratios, against = [], [], []
    for file in files:
        r = results[file]
        (n0, n1), (b0, b1) = r["nodes"], r["bytes"]
        peer = best.get(file.stem)
        correct = r["category"] in ("pass", "grew")
        if correct and n0 and n1:
            ratios.append(n1 / n0)
            if peer:
                against.append(n1 / peer)
        rows.append([
            file.stem,
            r["category"],
            n0,
            n1 if n1 is not None else "-",
            f"{n1 / n0:.3f}" if n0 and n1 is not None else "-",
            peer or "-",
            f"{b1 / b0:.3f}" if b0 and b1 else "-",
            f"{r['error']:.0e}" if "error" in r else "-",
            f"{r.get('seconds', 0):.1f}",
        ])
    verdict.print_table(["model", "verdict", "nodes", "after", "ratio", "best peer", "bytes", "error", "s"], rows)
    for file in files:
        if why := results[file]["why"]:
            print(f"{results[file]['category']:8}{file.stem}: {why}")
    print(f"nodes after/before, geometric mean over {len(ratios)}: {geometric_mean(ratios):.3f}")
    if against:
        fewer, equal = sum(a < 1 for a in against), sum(a == 1 for a in against)
        print(
            f"nodes / best peer, geometric mean over {len(against)}: {geometric_mean(against):.3f}"
            f" (fewer on {fewer}, equal on {equal}, more on {len(against) - fewer - equal})"
        )
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({f.stem: results[f] for f in files}, indent=1))
    count = collections.Counter(r["category"] for r in results.values())
    failed = len(files) - count["pass"]
    print(f"models: {count['pass']} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
