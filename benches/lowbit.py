#!/usr/bin/env python3
"""Gives the weights of models 4 bits with onnx-slim and with onnxruntime's own quantizers, in the same run.

    lowbit.py --bin PATH [--peers-python PYTHON] [--peers LIST] [--ours "NAME=FLAGS"...] [--models REGEX]
              [--latency [--seconds 4]] [--work DIR] [--json FILE]
              FOLDER... | --model FILE --calib FILE --eval FILE [--metric top1|perplexity]

A FOLDER has a MANIFEST.json: a list of {"file", "calib", "eval", "fp32_metric": {"kind"}} with .npz files, an array per
input with a leading axis of samples, and labels in "labels". --ours gives the flags of `optimize`, once per setting;
where `--calib` is among them, the samples follow. The metric (perplexity or top-1), the ratio of signal to error in dB
and how often the largest score is the same one are measured in onnxruntime on samples that no tool saw. `lost` is how
much larger the perplexity is than the float model's, or how much less top-1 is. `nbits` counts the MatMulNBits that
onnxruntime runs, `kB` is the file, `cpu` and `MB` are of the whole process. With --latency the last columns are
processor time of the float model over the other's, one thread, all taking turns: above 1 is faster.

Run it with a python that has tests/requirements.txt. PYTHON has onnxruntime, and torch for hqq and gptq; a peer that
cannot run is named.
"""

import pathlib
import shlex

import measure
from judging import raced
from trained import compare, options, shown

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ["rtn", "rtn-asymmetric", "hqq", "k-quant", "gptq"]
SETTINGS = [
    "uint4=--precision uint4",
    "uint4 data=--precision uint4 --calib",
    "int4=--precision int4",
    "int4 data=--precision int4 --calib",
    "uint4 rtn=--precision uint4 --weight-method rtn",
    "uint4 refined=--precision uint4 --weight-method refined",
    "uint4 all=--precision uint4 --same-bits",
    "uint4 all data=--precision uint4 --same-bits --calib",
]


def commands(args, model, calib, out):
    """{name: command}"""
    made = {}
    for setting in args.ours or SETTINGS:
        name, _, flags = setting.partition("=--")
        flags = shlex.split("--" + flags)
        if "--calib" in flags:
            flags.insert(flags.index("--calib") + 1, str(calib))
        made[name] = lambda o, f=flags: [args.bin, "optimize", model, "-o", o, "--target", "onnxruntime", "--no-check", *f]
    for peer in args.peers.split(",") if args.peers_python else []:
        made[f"onnxruntime {peer}"] = lambda o, p=peer: [args.peers_python, HERE / "peers/lowbit.py", p, model, calib, o]
    return made


def products(path):
    """MatMulNBits of the file: in a process that must stay small, counted by name."""
    return pathlib.Path(path).read_bytes().count(b"\x22\x0bMatMulNBits")


def one_model(name, model, calib, held_out, kind, args, folder, ask):
    reference = ask("float", model, held_out, kind, None)
    rows = {"float": reference | {"bytes": model.stat().st_size}}
    if "error" in reference:
        return rows
    for tool, command in commands(args, model, calib, folder).items():
        out = folder / name / tool.replace(" ", "_") / "model.onnx"
        out.parent.mkdir(parents=True, exist_ok=True)
        cost = measure.run(command(out), timeout=args.timeout, cwd=out.parent)
        row = rows[tool] = {"cpu": cost.cpu, "wall": cost.wall, "rss": cost.rss, "file": str(out)}
        if cost.code or not out.exists():
            row["error"] = cost.message[-200:] or f"exit code {cost.code}"
            continue
        row |= {"bytes": out.stat().st_size, "nbits": products(out)}
        row |= ask("quantized", model, held_out, kind, None, out)
        before, after = reference.get("metric"), row.get("metric")
        if before and after:
            row["lost"] = 100 * (after / before - 1) if "perplex" in kind else 100 * (before - after)
    if args.latency:
        raced(rows, "float", model, held_out, args.seconds)
    return rows


def cells(row):
    return [
        shown(row.get("metric"), 4), shown(row.get("lost"), 2), shown(row.get("sqnr"), 1), shown(row.get("agree"), 4),
        shown(row["bytes"] / 1000, 0), str(row.get("nbits", "")), shown(row.get("cpu"), 1), shown(row.get("wall"), 1),
        shown(row.get("rss"), 0),
    ]  # fmt: skip


def main():
    p = options(__doc__)
    p.add_argument("--peers-python", type=lambda b: pathlib.Path(b).absolute())
    p.add_argument("--peers", default=",".join(PEERS))
    args = p.parse_args()
    for peer in args.peers.split(",") if args.peers_python else []:
        if (cost := measure.run([args.peers_python, HERE / "peers/lowbit.py", peer])).code:
            print(f"{peer} cannot run: {cost.message[-160:]}")
    compare(args, ["", "metric", "lost %", "dB", "agree", "kB", "nbits", "cpu", "s", "MB"], one_model, cells)


if __name__ == "__main__":
    main()
