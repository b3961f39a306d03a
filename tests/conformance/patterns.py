#!/usr/bin/env python3
"""Optimizes the one-pattern models and holds the node count against the best known form, and the numbers as ever.

    patterns.py --bin PATH [--filter TEXT] [--scope now|later|all] [--jobs 2] [--json FILE]

more   correct, but more nodes than the best known form
fewer  correct on the inputs tried, but fewer nodes than anyone thinks possible: a trap the tool fell into, or a find
The other words are those of run.py. With `--scope all` what is marked `later` is listed and does not fail.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import subprocess
import sys

import models
import verdict
import workers

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures/patterns"


def judge(expected, result):
    """(category, one line) from what models.check found and what the pattern promises."""
    if result["category"] not in ("pass", "grew"):
        return result["category"], result["why"]
    wanted = expected["nodes"] if isinstance(expected["nodes"], list) else [expected["nodes"]]
    (before, after), (old, new) = result["nodes"], result["bytes"]
    if after not in wanted:
        word = "more" if after > max(wanted) else "fewer"
        return word, f"{before} nodes became {after}, the best known is {wanted[0]}"
    if result["category"] == "grew" and not expected["allow_larger"]:
        return "grew", result["why"]
    if new > expected.get("max_bytes", math.inf) * old:
        return "grew", f"{old} bytes became {new}, at most {expected['max_bytes']} of it is promised"
    return "pass", ""


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--filter", default="")
    args.add_argument("--scope", choices=("now", "later", "all"), default="now")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--large", type=pathlib.Path, default=ROOT / "target/patterns", help="where the large ones are generated")
    args.add_argument("--json")
    args = args.parse_args()
    expected = json.loads((FIXTURES / "expected.json").read_text())
    chosen = {
        n: e for n, e in expected.items() if args.filter in n and args.scope in ("all", e["scope"])
    }
    file = lambda n: (args.large if expected[n].get("large") else FIXTURES) / f"{n}.onnx"
    make = FIXTURES / "make.py"
    if not all(file(n).exists() and file(n).stat().st_mtime > make.stat().st_mtime for n in chosen if expected[n].get("large")):
        subprocess.run([sys.executable, make, "--large", args.large], check=True)

    results = {}
    jobs = [(args.bin, file(n), expected[n].get("flags", []), 60) for n in chosen]
    for job, result, why in workers.over(jobs, models.check, args.jobs, timeout=300):
        name = job[1].stem
        result = result or {"category": "invalid", "why": why, "nodes": [None, None], "bytes": [None, None]}
        category, why = judge(expected[name], result)
        results[name] = result | {"category": category, "why": why, "scope": expected[name]["scope"]}

    for name in chosen:
        r = results[name]
        if r["category"] != "pass":
            mark = "" if r["scope"] == "now" else " (later)"
            print(f"{r['category']:8}{name}{mark}: {r['why']} -- {expected[name]['what']}")
        elif r["why"]:
            print(f"pass    {name}: {r['why']}")
    words = ("pass", "more", "fewer", *verdict.CATEGORIES[1:])
    rows = []
    for scope in ("now", "later"):
        counts = collections.Counter(r["category"] for r in results.values() if r["scope"] == scope)
        if counts:
            rows.append([scope, sum(counts.values()), *(counts[w] for w in words)])
    verdict.print_table(["scope", "patterns", *words], rows)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({n: results[n] for n in chosen}, indent=1))
    # A fusion planned for later may be missing; a wrong model may not.
    missing = lambda r: r["scope"] == "later" and r["category"] == "more"
    failed = sum(r["category"] != "pass" and not missing(r) for r in results.values())
    print(f"patterns: {len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
