#!/usr/bin/env python3
"""Runs onnx-slim and its peers over the same models in the same run: CPU seconds, peak memory, nodes, and correctness.

    compare.py --bin PATH --peers-venv DIR [--repeat 3] [--peers onnxslim,onnxsim,ort-basic,onnxscript]
               [--json FILE] [--best FILE] FILE_OR_FOLDER...

Each run is a fresh process; of the repeats the cheapest counts. CPU seconds, because machines are shared. `onnx-slim` is
the default with its proof, `no-check` without. Ratios are peer / onnx-slim over the models both get right: above 1 means
that the peer is dearer. --best writes {model: {peer: nodes}} of the correct results for tests/conformance/models.py.

Run it with a python that has tests/requirements.txt; --peers-venv has benches/peers/requirements.txt.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import measure

HERE = pathlib.Path(__file__).resolve().parent
OURS = ("onnx-slim", "no-check")


def commands(binary, venv):
    python = venv / "bin/python"
    return {
        "onnx-slim": lambda i, o: [binary, "optimize", i, "-o", o],
        "no-check": lambda i, o: [binary, "optimize", i, "-o", o, "--no-check"],
        "onnxslim": lambda i, o: [venv / "bin/onnxslim", i, o],
        "onnxsim": lambda i, o: [venv / "bin/onnxsim", i, o],
        "ort-basic": lambda i, o: [python, HERE / "peers/ort_basic.py", i, o],
        "onnxscript": lambda i, o: [python, HERE / "peers/onnxscript_optimize.py", i, o],
    }


class Judge:
    """The conformance code in a process of its own: this one must stay small to measure memory."""

    def __init__(self):
        self.p = subprocess.Popen(
            [sys.executable, __file__, "--judge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, before, after):
        self.p.stdin.write(json.dumps([str(before), str(after)]) + "\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            self.__init__()
            return {"category": "invalid", "why": "the judge died", "nodes": [None, None], "bytes": [None, None]}
        return json.loads(line)


def judge():
    sys.path.insert(0, str(HERE.parent / "tests/conformance"))
    import functools

    import feeds
    import models
    import onnx
    import verdict

    feeds.accepted = functools.lru_cache(maxsize=1)(feeds.accepted)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        before, after = map(pathlib.Path, json.loads(line))
        original = onnx.load(before, load_external_data=False)
        result = {"nodes": [verdict.node_count(original), None], "bytes": [models.file_bytes(before, original), None]}
        try:
            # Peers may resolve an open dim: that costs nobody anything here.
            category, why = models.judge(before, original, after, result, verdict.element_text)
        except Exception as e:
            category, why = "invalid", repr(e)[:200]
        answers.write(json.dumps(result | {"category": category, "why": why}) + "\n")
        answers.flush()


def correct(r):
    return r["category"] in ("pass", "grew")


def main():
    if sys.argv[1:] == ["--judge"]:
        return judge()
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", type=lambda p: pathlib.Path(p).resolve(), help="without it only the peers run")
    args.add_argument("--peers-venv", required=True, type=lambda p: pathlib.Path(p).absolute())
    args.add_argument("--peers", default="onnxslim,onnxsim,ort-basic,onnxscript")
    args.add_argument("--repeat", type=int, default=3)
    args.add_argument("--timeout", type=float, default=600)
    args.add_argument("--filter", default="")
    args.add_argument("--json")
    args.add_argument("--best")
    args.add_argument("paths", nargs="+", type=lambda p: pathlib.Path(p).resolve())
    args = args.parse_args()
    files = [f for p in args.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if args.filter in f.stem and not f.name.startswith(".")]
    peers = [p for p in args.peers.split(",") if p]
    tools = [*(OURS if args.bin else ()), *peers]
    command = commands(args.bin, args.peers_venv)
    ask = Judge()

    results, columns = {}, ["model", "tool", "nodes", "after", "CPU s", "MB", "verdict"]
    for file in files:
        row = results[file.stem] = {}
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            out = {t: pathlib.Path(folder) / t / "model.onnx" for t in tools}
            costs = {t: [] for t in tools}
            for k in range(args.repeat):
                for t in tools:  # in turn, so that a busy minute hits everyone
                    if costs[t] and (costs[t][-1].code or costs[t][-1].cpu > 30):
                        continue
                    out[t].parent.mkdir(exist_ok=True)
                    for old in out[t].parent.iterdir():
                        old.unlink()
                    costs[t].append(measure.run(command[t](file, out[t]), timeout=args.timeout))
            for t in tools:
                last = costs[t][-1]
                if last.code or not out[t].exists():
                    why = last.message or f"exit {last.code}"
                    r = {"category": "died" if last.code < 0 else "error", "why": why, "nodes": [None, None]}
                else:
                    r = ask(file, out[t])
                row[t] = r | {"cpu": min(c.cpu for c in costs[t]), "rss": min(c.rss for c in costs[t])}
        table = []
        for t in tools:
            r = row[t]
            count = r["nodes"][1] if r["nodes"][1] is not None else "-"
            before = next((x["nodes"][0] for x in row.values() if x["nodes"][0]), "-")
            said = r["category"] + ("" if correct(r) else f": {r['why'][:60]}")
            table.append([file.stem, t, before, count, f"{r['cpu']:.2f}", f"{r['rss']:.0f}", said])
        measure.print_table(columns, table)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(results, indent=1))

    print()
    summary = []
    for t in tools:
        good = [r for row in results.values() if correct(r := row[t])]
        cells = [t, f"{len(good)}/{len(files)}"]
        cells.append(f"{measure.geometric_mean([max(r['nodes'][1], 1) / max(r['nodes'][0], 1) for r in good]):.3f}")
        for what in (lambda r: max(r["nodes"][1], 1), lambda r: r["cpu"], lambda r: r["rss"]):
            for ours in OURS if args.bin else ():
                both = [(row[t], row[ours]) for row in results.values() if correct(row[t]) and correct(row[ours])]
                cells.append(f"{measure.geometric_mean([what(a) / what(b) for a, b in both]):.2f}")
        summary.append(cells)
    ratios = [f"{w} / {o}" for w in ("nodes", "CPU", "memory") for o in OURS] if args.bin else []
    measure.print_table(["geometric means", "correct", "after/before", *ratios], summary)
    if args.best:
        best = {n: {t: row[t]["nodes"][1] for t in peers if correct(row[t])} for n, row in results.items()}
        pathlib.Path(args.best).write_text(json.dumps(best, indent=0) + "\n")


if __name__ == "__main__":
    main()
