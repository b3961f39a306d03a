#!/usr/bin/env python3
"""Quantizes models with onnx-slim and with its peers in the same run: accuracy, cost, and speed in runtimes.

    quantize.py --bin PATH [--ours "NAME=FLAGS"...] [--peers-venv DIR] [--modelopt-venv DIR] [--peers LIST]
                [--models REGEX] [--samples 64] [--evaluate N] [--latency [--seconds 4]] [--repeat 1]
                [--work DIR] [--json FILE] [--markdown FILE]
                FOLDER... | --model FILE --calib FILE --eval FILE [--metric top1|perplexity|miou]

A FOLDER has a MANIFEST.json: a list of {"file", "calib", "eval", "fp32_metric": {"kind"}} with .npz files, an array per
input with a leading axis of samples, and labels in "labels". --ours gives the flags of `quantize`, once per setting
(`--ours "ort=--target onnxruntime"`). Each quantizer is a fresh process, timed whole with its own peak of memory.

Accuracy is measured in onnxruntime with all its optimizations, on samples that no tool saw: the ratio of signal to
quantization noise in dB (mean of the float outputs), the same in OpenVINO on a few samples, the least cosine, how often the largest score is the same one,
and the metric where there are labels. `int` is the share of multiply-accumulates with integer operands; `kernels` how
many weighted operators onnxruntime then runs in integers and in floats. With --latency, the last columns are processor
time of the float model over the quantized one's, one thread, all variants of a model taking turns (benches/latency.py):
above 1 is faster. OpenVINO is held to f32, as it would otherwise compare with bf16 on some machines.

Run it with a python that has tests/requirements.txt; --peers-venv has benches/peers/quantizers.txt. Without nncf or
modelopt in the environments that are given, those peers are left out, and that is said.
"""

import dataclasses
import json
import math
import os
import pathlib
import shlex
import statistics
import tempfile

import measure
from judging import RUNTIMES, Helper, raced
from trained import models, options, shown

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ["ort-minmax-u8s8", "ort-minmax-s8s8", "ort-entropy-u8s8", "ort-percentile-u8s8", "nncf-mixed", "modelopt-max"]
PEERS_OF_ALL = {*PEERS, "ort-dynamic", "nncf-performance", "modelopt-entropy"}
def tools_of(args):
    """{name: command}, and what is left out."""
    tools, out = {}, []
    for setting in args.ours or ["onnx-slim="]:
        name, _, flags = setting.partition("=")
        flags = shlex.split(flags)
        tools[name] = lambda m, c, o, f=flags: [args.bin, "quantize", m, "--calib", c, "-o", o, "--no-check", *f]
    for peer in args.peers.split(",") if args.peers_venv or args.modelopt_venv else []:
        venv = args.modelopt_venv if peer.startswith("modelopt") else args.peers_venv
        python = venv and venv / "bin/python"
        script = HERE / "peers/quantize.py"
        if not python:
            out.append(f"{peer}: no environment is given")
        elif (cost := measure.run([python, script, peer])).code:
            out.append(f"{peer}: {cost.message[-160:]}")
        else:
            tools[peer] = lambda m, c, o, p=peer, python=python: [python, script, p, m, c, o]
    return tools, out


def quantized(is_peer, command, out, args):
    """What it took to write `out`. With --work, what a peer wrote before from as many samples is used again."""
    kept = out.parent.parent / f"{out.parent.name}.json"
    if is_peer and args.work and kept.exists():
        found = json.loads(kept.read_text())
        if found.pop("samples") == args.samples and (found["code"] or out.exists()):
            return measure.Cost(**found)
    costs = []
    for _ in range(args.repeat):
        out.unlink(missing_ok=True)
        costs.append(measure.run(command, timeout=args.timeout))
    cost = min(costs, key=lambda c: c.cpu)
    kept.write_text(json.dumps(dataclasses.asdict(cost) | {"samples": args.samples}))
    return cost


def one_model(name, model, calib, held_out, kind, tools, args, folder, ask):
    """{tool: what came of it}."""
    given = (model, held_out, kind, args.evaluate)
    reference = ask("float", *given)
    if "error" in reference:
        return {"float": reference}
    rows = {"float": reference | {"bytes": model.stat().st_size}}
    few = folder / f"{name}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    if "error" in (trimmed := ask("trim", calib, few, args.samples)):
        return {"float": trimmed}
    for tool, command in tools.items():
        out = folder / name / tool / "model.onnx"
        out.parent.mkdir(parents=True, exist_ok=True)
        cost = quantized(tool in PEERS_OF_ALL, command(model, few, out), out, args)
        row = rows[tool] = {"cpu": cost.cpu, "wall": cost.wall, "rss": cost.rss, "file": str(out)}
        if cost.code or not out.exists():
            row["error"] = cost.message[-300:] or f"exit code {cost.code}"
        else:
            row |= ask("quantized", *given, out) | {"bytes": sum(f.stat().st_size for f in out.parent.iterdir())}
    if args.latency:
        raced(rows, "float", model, held_out, args.seconds)
    return rows


def cells(tool, row, base, latency):
    if "error" in row:
        cost = [shown(row.get("cpu")), shown(row.get("rss"), 0)]
        return [tool, "FAILED", "", "", "", "", "", "", "", *cost, *[""] * (len(RUNTIMES) if latency else 0)]
    if tool == "float":
        first = [shown(row["metric"], 4), "", "", "", "", "", "", "1.00", "", ""]
    else:
        first = [
            shown(row["metric"], 4), shown(row["agree"], 4), shown(row["sqnr"], 1), shown(row["openvino dB"], 1),
            shown(row["cosine"], 4),
            shown(row["coverage"], 0, 100) + " %", "/".join(map(str, row["kernels"])),
            shown(row["bytes"] / base["bytes"]), shown(row["cpu"]), shown(row["rss"], 0),
        ]  # fmt: skip
    times = [f"{shown(row.get(f'{r} ms'), 3)} ms" if tool == "float" else shown(row.get(r)) for r in RUNTIMES]
    return [tool, *first, *(times if latency else [])]


def markdown(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(str(c) for c in line) + " |\n" for line in lines)


def summary(results, kinds, tools, ours):
    done = lambda model, tool: tool in results[model] and "error" not in results[model][tool]
    models = [m for m in results if "error" not in results[m]["float"]]
    peers = [t for t in tools if t not in ours and t != "ort-dynamic"]
    common = [m for m in models if all(done(m, t) for t in tools)]
    rows = []
    for tool in tools:
        own = [results[m][tool] for m in models if done(m, tool)]
        drops = [
            100 * (before - after)
            for m in models
            if "perplex" not in kinds[m] and done(m, tool) and (before := results[m]["float"]["metric"]) and (after := results[m][tool]["metric"])
        ]
        best = at_cover = 0
        for m in models if tool in ours else []:
            rivals = [results[m][p] for p in peers if done(m, p)]
            if not done(m, tool):
                continue
            top = max(rivals, key=lambda r: r["sqnr"], default={"sqnr": -math.inf, "coverage": 0})
            best += results[m][tool]["sqnr"] >= top["sqnr"]
            at_cover += results[m][tool]["sqnr"] >= top["sqnr"] and results[m][tool]["coverage"] >= top["coverage"] - 0.005
        middle = lambda rows, key: statistics.median([r[key] for r in rows if r.get(key) is not None] or [math.nan])
        rows.append([
            tool, f"{len(own)}/{len(models)}", shown(middle([results[m][tool] for m in common], "sqnr"), 1),
            shown(middle(own, "sqnr"), 1), shown(middle(own, "coverage"), 0, 100) + " %",
            shown(statistics.mean(drops) if drops else None), shown(max(drops, default=None)),
            shown(middle(own, "cpu")), shown(middle(own, "rss"), 0),
            *(shown(middle(own, r)) for r in RUNTIMES),
            f"{best}/{len(models)}" if tool in ours and peers else "",
            f"{at_cover}/{len(models)}" if tool in ours and peers else "",
        ])  # fmt: skip
    columns = [
        "tool", "done", f"median dB of the {len(common)} all do", "median dB", "int", "mean drop, points", "worst", "CPU s",
        "MB", *RUNTIMES.values(), "≥ best peer", "and with its int",
    ]  # fmt: skip
    return markdown(columns, rows)


def main():
    parser = options(__doc__)
    parser.add_argument("--peers-venv", type=lambda p: pathlib.Path(p).absolute())
    parser.add_argument("--modelopt-venv", type=lambda p: pathlib.Path(p).absolute())
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--evaluate", type=int, help="samples of the held-out set that are used")
    parser.add_argument("--repeat", type=int, default=1, help="the cheapest run counts")
    parser.add_argument("--markdown", type=pathlib.Path)
    args = parser.parse_args()
    jobs = models(args)
    tools, out = tools_of(args)
    ours = [t for t in tools if t not in args.peers.split(",")]
    columns = ["model", "tool", "metric", "agree", "dB", "OV dB", "cosine", "int", "kernels", "size", "CPU s", "MB"]
    columns += RUNTIMES.values() if args.latency else []
    ask, results, kinds, table = Helper(), {}, {}, []
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        for name, model, calib, held_out, kind in jobs:
            kinds[name] = kind
            rows = results[name] = one_model(
                name, model, calib, held_out, kind, tools, args, args.work or pathlib.Path(scratch), ask
            )
            new = [[name, *cells(t, r, rows["float"], args.latency)] for t, r in rows.items()]
            measure.print_table(columns, new)
            for tool, row in rows.items():
                if "error" in row:
                    print(f"    {tool}: {row['error']}")
            table += new
            if args.json:
                args.json.write_text(json.dumps(results, indent=1))
            text = markdown(columns, table) + "\n" + summary(results, kinds, list(tools), ours)
            text += "".join(f"\nleft out: {line}" for line in out)
            failures = [(m, t, r["error"]) for m, rows in results.items() for t, r in rows.items() if "error" in r]
            text += "".join(f"\nfailed: {m}: {t}: {why[-160:]}" for m, t, why in failures)
            if args.markdown:
                args.markdown.write_text(text + "\n")
    print("\n" + summary(results, kinds, list(tools), ours))
    for line in out:
        print(f"left out: {line}")


if __name__ == "__main__":
    main()
