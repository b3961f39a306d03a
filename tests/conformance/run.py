#!/usr/bin/env python3
"""Optimizes every case of the conformance sets and holds the result against the stored outputs.

    run.py --bin PATH [--sets node,simple,...] [--filter TEXT] [--limit N] [--jobs 2] [--no-check] [--json FILE]

pass     valid, same interface, same numbers as stored or as the original computes in the same engine
wrong    runs, other numbers, shapes or types
invalid  exit code 0, but the file does not load, is not valid where the original is, or does not run
iface    an input or output changed its name, place, type or shape
error    exit code 1 or 2
died     a panic, a signal, or more than a minute
grew     correct, but the file is larger: by a byte without a node less, or by 4 KB with one

What the original computes is kept beside each case, so only the first run is slow.
"""

import argparse
import collections
import json
import os
import pathlib
import pickle
import sys
import tempfile

import onnx
import onnxruntime

import engines
import generate
import tool
import verdict
import workers

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSIONS = (onnx.__version__, onnxruntime.__version__, 1)


def stored(case, stem, declared):
    values = {}
    for k, v in enumerate(declared):
        file = case / f"{stem}_{k}.pb"
        if file.exists():
            values[v.name] = engines.load_value(file, v.type)
    return values


def baseline(case, model):
    """What the original computes: (engine, outputs, repeatable). Kept in the case's folder.

    `outputs` is None when they equal the stored ones, so that the stored ones are not kept twice.
    """
    kept = case / "baseline.pickle"
    if kept.exists():
        versions, value = pickle.loads(kept.read_bytes())
        if versions == VERSIONS:
            return value
    feeds = stored(case, "input", model.graph.input)
    want = list(stored(case, "output", model.graph.output).values())
    engine, outputs = engines.first_that_runs(case / "model.onnx", feeds)
    if engine is None:
        value = (None, None, True)
    elif verdict.all_different(want, outputs) is None:
        value = (engine, None, True)
    else:
        again = engines.ENGINES[engine](case / "model.onnx", feeds)
        value = (engine, outputs, verdict.all_different(outputs, again) is None)
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_bytes(pickle.dumps((VERSIONS, value)))
    part.replace(kept)
    return value


def judge(case, optimized):
    """(category, one line) for an optimized file."""
    before = onnx.load(case / "model.onnx")
    try:
        after = onnx.load(optimized)
    except Exception as e:
        return "invalid", engines.one_line(e)
    original = case / "model.onnx"
    if why := verdict.invalidity(before, optimized, after, lambda: verdict.checker_accepts(original)):
        return "invalid", why
    if why := verdict.interface_change(before, after):
        return "iface", why
    engine, original_outputs, repeatable = baseline(case, before)
    feeds = stored(case, "input", before.graph.input)
    want = list(stored(case, "output", before.graph.output).values())
    ran, got = engines.first_that_runs(optimized, feeds, [engine] if engine else engines.ENGINES)
    if ran is None:
        if engine is None:
            return "pass", "no engine runs it; checked as a file"
        return "invalid", f"no longer runs in {engine}: {got}"
    only_types = verdict.is_random(before) or not repeatable
    answers = [want] if original_outputs is None else [want, original_outputs]
    differences = [verdict.all_different(a, got, only_types) for a in answers]
    if all(differences):
        return "wrong", differences[-1]
    grown = os.path.getsize(optimized) - os.path.getsize(original)
    fewer = verdict.node_count(after) < verdict.node_count(before)
    if grown > (verdict.SMALL_GROWTH if fewer else 0):
        return "grew", f"{os.path.getsize(original)} bytes became {os.path.getsize(original) + grown}"
    return "pass", ""


def check(job):
    """One case in a worker: optimize, then judge. Returns (category, why, nodes before, nodes after)."""
    binary, case, timeout, flags = job
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        optimized = pathlib.Path(folder) / "model.onnx"
        failure = tool.run(binary, "optimize", case / "model.onnx", "-o", optimized, *flags, timeout=timeout).failure
        if failure is None and not optimized.exists():
            failure = "error", "exit code 0 and no file written"
        if failure:
            return (*failure, None, None)
        category, why = judge(case, optimized)
        count = lambda p: verdict.node_count(onnx.load(p))
        after = None if category == "invalid" else count(optimized)
        return category, why, count(case / "model.onnx"), after


def sample(cases, limit):
    """`limit` of the cases, spread evenly."""
    return cases if not limit or len(cases) <= limit else [cases[k * len(cases) // limit] for k in range(limit)]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--sets", default=",".join(generate.SETS))
    args.add_argument("--filter", default="", help="only cases whose name has this text")
    args.add_argument("--limit", type=int, default=0, help="at most this many cases of a set, spread evenly")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--timeout", type=float, default=60, help="seconds for one optimize")
    args.add_argument("--no-check", action="store_true", help="without the tool's own comparison, which takes longest")
    args.add_argument("--data", default=ROOT / "target/conformance", help="where the sets are generated")
    args.add_argument("--json", help="write every verdict here")
    args = args.parse_args()
    sets = args.sets.split(",")
    if unknown := set(sets) - set(generate.SETS):
        sys.exit(f"no set named {', '.join(sorted(unknown))}; there are {', '.join(generate.SETS)}")

    cases = generate.ensure(args.data, sets)
    jobs = []
    flags = ["--no-check"] if args.no_check else []
    for name in sets:
        chosen = sample([c for c in cases[name] if args.filter in c.name], args.limit)
        jobs += [(args.bin, case, args.timeout, flags) for case in chosen]
    results = collections.defaultdict(dict)
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=args.timeout + 120):
        case = job[1]
        results[case.parent.name][case.name] = result or ("invalid", why, None, None)

    total = collections.Counter()
    rows = []
    for name in sets:
        verdicts = results[name]
        count = collections.Counter(v[0] for v in verdicts.values())
        counted = [v for v in verdicts.values() if v[2] is not None and v[3] is not None]
        empty = sum(v[3] == 0 for v in counted)
        nodes = f"{sum(v[2] for v in counted)} -> {sum(v[3] for v in counted)}"
        rows.append([name, len(verdicts), *(count[c] for c in verdict.CATEGORIES), nodes, empty])
        total += count
    for name in sets:
        for case, (category, why, *_) in sorted(results[name].items()):
            if category != "pass":
                print(f"{category:8}{name}/{case}: {why}")
    verdict.print_table(["set", "cases", *verdict.CATEGORIES, "nodes", "no nodes left"], rows)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({s: dict(sorted(results[s].items())) for s in sets}, indent=0))
    failed = sum(total.values()) - total["pass"]
    print(f"conformance: {total['pass']} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
