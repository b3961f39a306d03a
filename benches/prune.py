#!/usr/bin/env python3
"""Prunes models with onnx-slim: how much is left, how accurate it is, what it takes, and how fast runtimes run it.

    prune.py --bin PATH [--ours "NAME=FLAGS"...] [--models REGEX] [--latency [--seconds 4]] [--work DIR] [--json FILE]
             FOLDER... | --model FILE --calib FILE --eval FILE [--metric top1|perplexity|miou]
    prune.py --bin PATH --groups FOLDER...

A FOLDER has a MANIFEST.json: a list of {"file", "calib", "eval", "fp32_metric": {"kind"}} with .npz files, an array per
input with a leading axis of samples, and labels in "labels". --ours gives the flags of `prune`, once per setting. The
first of the settings that are there without it is what tools do that rank by weights and leave the rest to training:
no samples, nothing repaired.

`macs` is what is left of the multiply-accumulates, `params` of the constants' elements. Accuracy is measured in
onnxruntime on samples that were not used: the metric where there are labels, the ratio of signal to error in dB, and
how often the largest score is the same one. `cpu` and `MB` are of the whole process. With --latency, the last columns
are processor time of the dense model over the pruned one's, one thread, all variants of a model taking turns: above 1
is faster.

With --groups, nothing is pruned: for each model of the folders, how long it takes to tell which channels can only be
removed together, the best of three. Run it with a python that has tests/requirements.txt.
"""

import json
import re
import shlex
import subprocess
import tempfile

import measure
from judging import raced
from trained import compare, options, shown

SETTINGS = [
    "by weights 0.5=--ratio 0.5 --importance l2 --without-recovery",
    "0.3=--ratio 0.3",
    "0.5=--ratio 0.5",
    "macs=0.5=--prune macs=0.5",
    "macs=0.25=--prune macs=0.25",
    "macs=0.5 int8=--prune macs=0.5 --target onnxruntime --precision int8",
]


def split(setting):
    """The name, which may hold a `=`, and the flags."""
    name, _, flags = setting.partition("=--")
    return name, ["--" + flags.split(" ")[0], *shlex.split(" ".join(flags.split(" ")[1:]))] if flags else []


def pruned(args, model, calib, flags, out):
    command = [args.bin, "prune", model, "--calib", calib, "-o", out, "--report", "json", *flags]
    with tempfile.TemporaryFile() as said:
        cost = measure.run(command, timeout=args.timeout, said=said)
        said.seek(0)
        told = said.read()
    row = {"cpu": cost.cpu, "wall": cost.wall, "rss": cost.rss, "file": str(out)}
    if cost.code or not out.exists():
        return row | {"error": cost.message[-300:] or f"exit code {cost.code}"}
    report = json.loads(told)
    left = report["after"]["parameters"] / max(1, report["before"]["parameters"])
    return row | {"macs": report["pruning"]["macs"], "params": left, "structure": report["pruning"].get("structure")}


def one_model(name, model, calib, held_out, kind, args, folder, ask):
    given = (model, held_out, kind, None)
    reference = ask("float", *given)
    rows = {"dense": reference}
    if "error" in reference:
        return rows
    for setting in args.ours or SETTINGS:
        setting, flags = split(setting)
        out = folder / name / setting.replace("/", "_") / "model.onnx"
        out.parent.mkdir(parents=True, exist_ok=True)
        row = rows[setting] = pruned(args, model, calib, flags, out)
        if "error" not in row:
            row |= ask("quantized", *given, out)
    if args.latency:
        raced(rows, "dense", model, held_out, args.seconds)
    return rows


def cells(row):
    percent = lambda share: f"{100 * share:.0f} %"
    return [
        percent(row.get("macs", 1.0)), percent(row.get("params", 1.0)), shown(row.get("metric"), 4),
        shown(row.get("sqnr"), 1), shown(row.get("agree"), 4), shown(row.get("cpu"), 1), shown(row.get("wall"), 1),
        shown(row.get("rss"), 0),
    ]  # fmt: skip


def groups(args):
    rows = []
    for model in sorted(m for folder in args.folders for m in folder.glob("*.onnx") if re.search(args.models, m.stem)):
        command = [args.bin, "inspect", model, "--groups", "--json"]
        runs = [subprocess.run([*map(str, command)], capture_output=True, text=True) for _ in range(3)]
        if failed := next((run for run in runs if run.returncode), None):
            rows.append([model.stem, "FAILED: " + failed.stderr.strip()[-60:], "", ""])
            continue
        found = [json.loads(run.stdout) for run in runs]
        classes = sum(group["classes"] for group in found[0]["groups"])
        best = min(one["milliseconds"] for one in found)
        rows.append([model.stem, str(len(found[0]["groups"])), str(classes), f"{best:.1f}"])
    measure.print_table(["", "groups", "classes", "ms"], rows)


def main():
    p = options(__doc__)
    p.add_argument("--groups", action="store_true")
    args = p.parse_args()
    if args.groups:
        return groups(args)
    compare(args, ["", "macs", "params", "metric", "dB", "agree", "cpu", "s", "MB"], one_model, cells)


if __name__ == "__main__":
    main()
