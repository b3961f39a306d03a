#!/usr/bin/env python3
"""Gives layers of trained models a precision each, and asks on samples that nobody saw whether bounds are kept.

    assign.py --bin PATH [--models REGEX] [--drops 0.5,1,3] [--sqnrs 20,30,40] [--by sqnr] [--minimize bytes]
              [--target onnx] [--split all|even|odd] [--flags FLAGS] [--time] [--peer] [--work DIR] [--json FILE] FOLDER

FOLDER has a MANIFEST.json as benches/quantize.py wants it. Of each model and bound: whether the bound is kept on the
evaluation set (in onnxruntime), what the assignment costs beside float32, what the cheapest single precision costs that
keeps the bound there, which nobody knows beforehand, and the cheapest that the tool itself believes in; then, at the same
number of bytes, what an assignment loses that ranks layers by the error of their weights. Models whose first output has
two axes are bound by --max-drop, others, or all with --by sqnr, by --min-sqnr; of those with labels for each row the
perplexity is told. With --split only every other sample of the evaluation set counts: what is tried out is tried on one
half and told of the other. With --time, the float model, each single precision and the assignment take turns in
onnxruntime, on one sample and one thread, and the processor time of each is told as a share of the float model's, beside
what the costs of the target say. With --peer, onnxconverter-common's auto_mixed_precision does its search on the same float
model beside it, with the same bound: what either takes in runs and CPU time, and what the results take in bytes.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort

ort.set_default_logger_severity(4)
UNIFORM = ["fp16", "int8-weights", "int8", "int4"]


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def outputs(path, data):
    s = session(path)
    names = [i.name for i in s.get_inputs()]
    fixed = s.get_inputs()[0].shape[0]
    batch = fixed if isinstance(fixed, int) else 50
    count = len(data[names[0]])
    runs = [s.run(None, {k: data[k][i : i + batch] for k in names}) for i in range(0, count, batch)]
    return [np.concatenate([r[k] for r in runs]) for k in range(len(runs[0]))]


def log_softmax(z):
    z = z.astype(np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def judged(want, got, data):
    """Disagreement in percent, the least SQNR in dB, KL of the first output, and top-1 where there are labels."""
    worst = np.inf
    for a, b in zip(want, got):
        if a.dtype.kind == "f":
            a, b = a.astype(np.float64), b.astype(np.float64)
            noise = float(((a - b) ** 2).sum())
            worst = min(worst, 10 * np.log10(float((a**2).sum()) / noise)) if noise > 0 else worst
    first, other = want[0], got[0]
    found = {"sqnr": worst}
    if first.ndim == 2 and first.shape[1] > 1:
        found["drop"] = 100 * float((first.argmax(-1) != other.argmax(-1)).mean())
    p, q = log_softmax(first), log_softmax(other)
    found["kl"] = float((np.exp(p) * (p - q)).sum(-1).mean())
    if "labels" in data and first.ndim == 2:
        found["top1"] = 100 * float((other.argmax(-1) == data["labels"]).mean())
    elif "labels" in data and data["labels"].shape == first.shape[:-1]:
        found["ppl"] = float(np.exp(-np.take_along_axis(q, data["labels"][..., None].astype(np.int64), -1).mean()))
    return found


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Tool:
    def __init__(self, args, row, work):
        self.args, self.work = args, work
        folder = pathlib.Path(args.folder)
        self.model, self.calib = folder / row["file"], folder / row["calib"]

    def __call__(self, name, *flags):
        """The report of an assignment, and where the model is; or why there is none."""
        out = self.work / f"{name}.onnx"
        command = [self.args.bin, "optimize", self.model, "-o", out, "--calib", self.calib, "--target", self.args.target]
        command += ["--no-check", "--report", "json", *flags, *shlex.split(self.args.flags)]
        start = cpu_of_children()
        p = subprocess.run([os.fspath(c) for c in command], capture_output=True, text=True)
        cpu = cpu_of_children() - start
        if p.returncode:
            return None, " ".join(p.stderr.split())[:200]
        return {**json.loads(p.stdout)["assignment"], "cpu": cpu, "path": out}, None


    def plain(self):
        """The model as it is written with nothing narrower."""
        out = self.work / "plain.onnx"
        command = [self.args.bin, "optimize", self.model, "-o", out, "--target", self.args.target, "--no-check", "-q"]
        subprocess.run([os.fspath(c) for c in command], check=True)
        return out


def peer(model, data, want, bound, work):
    """auto_mixed_precision with the same bound, on the samples to calibrate with."""
    from onnxconverter_common import auto_mixed_precision

    names = [i.name for i in onnx.load(model).graph.input]
    count = min(64, len(data[names[0]]))
    fixed = session(model).get_inputs()[0].shape[0]
    # It runs the model on one feed as often as it asks.
    size = fixed if isinstance(fixed, int) else count
    feed = {k: data[k][:size] for k in names}
    runs = 0

    def keeps(a, b):
        nonlocal runs
        runs += 1
        found = judged([np.asarray(a[0])], [np.asarray(b[0])], {})
        kind, limit = bound
        return found["drop"] <= limit if kind == "drop" else found["sqnr"] >= limit

    start = time.process_time()
    try:
        # It tells of every attempt.
        with contextlib.redirect_stdout(io.StringIO()):
            done = auto_mixed_precision.auto_convert_mixed_precision(
                onnx.load(model), feed, validate_fn=keeps, keep_io_types=True
            )
    except Exception as e:
        return {"error": " ".join(str(e).split())[:120]}
    out = work / "peer.onnx"
    onnx.save(done, out)
    return {"cpu": time.process_time() - start, "forwards": runs * size, "bytes": constants(out), "path": out}


def constants(path):
    sizes = {onnx.TensorProto.INT4: 0.5, onnx.TensorProto.UINT4: 0.5}
    total = 0
    for t in onnx.load(path).graph.initializer:
        each = sizes.get(t.data_type) or np.dtype(onnx.helper.tensor_dtype_to_np_dtype(t.data_type)).itemsize
        total += each * int(np.prod(t.dims))
    return int(total)


def times(paths, data, seconds=4.0, turn=0.004):
    """Processor time of each model on one sample as a share of the first one's: they take turns."""
    sessions = [session(path) for path in paths]
    feed = {i.name: data[i.name][:1] for i in sessions[0].get_inputs()}

    def took(one):
        start, count = time.process_time(), 0
        while count == 0 or time.process_time() - start < turn:
            one.run(None, feed)
            count += 1
        return (time.process_time() - start) / count

    for one in sessions:
        took(one)
    rounds, end = [], time.process_time() + seconds
    while len(rounds) < 7 or time.process_time() < end:
        order = np.random.permutation(len(sessions))
        found = dict(zip(order, [took(sessions[at]) for at in order]))
        rounds.append([found[at] / found[0] for at in range(len(sessions))])
    return [float(share) for share in np.median(rounds, axis=0)]


def keeps(found, bound):
    kind, limit = bound
    # What numpy compares is no bool that JSON knows.
    return bool(found[kind] <= limit if kind == "drop" else found[kind] >= limit)


def counted(costs, float_costs, minimize):
    """What an assignment costs as a share of float32."""
    share = lambda what: costs[what] / float_costs[what]
    if minimize == "balance":
        return (share("bytes") + share("nanoseconds" if "nanoseconds" in costs else "bitops")) / 2
    return share({"latency": "nanoseconds"}.get(minimize, minimize))


def examine(args, row, rows):
    name = row["file"].removesuffix(".onnx")
    work = pathlib.Path(args.work) / name
    work.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(args.folder)
    data = dict(np.load(folder / row["eval"]))
    if args.split != "all":
        data = {k: v[args.split == "odd" :: 2] for k, v in data.items()}
    tool = Tool(args, row, work)
    want = outputs(folder / row["file"], data)
    float_found = judged(want, want, data)
    kind = "drop" if "drop" in float_found and args.by == "auto" else "sqnr"
    uniform = {}
    for precision in UNIFORM:
        done, why = tool(f"uniform-{precision}", "--layer-precision", f"*={precision}")
        if done:
            found = judged(want, outputs(done["path"], data), data)
            # A precision that no layer can have is float32.
            if any(layer["precision"] == precision for layer in done["layers"]):
                uniform[precision] = (done["costs"], found, done["path"])
        else:
            print(f"{name}: uniform {precision}: {why}", file=sys.stderr)
    for limit in map(float, (args.drops if kind == "drop" else args.sqnrs).split(",")):
        bound = (kind, limit)
        flag = "--max-drop" if kind == "drop" else "--min-sqnr"
        cache = work / "cache.json"
        cache.unlink(missing_ok=True)
        auto = ["--precision", "auto"]
        done, why = tool(
            f"auto-{limit}", *auto, flag, str(limit), "--minimize", args.minimize, "--cache", cache
        )
        if not done:
            print(f"{name} {kind} {limit}: {why}", file=sys.stderr)
            rows.append({"model": name, "bound": f"{kind} {limit:g}", "error": why})
            continue
        found = judged(want, outputs(done["path"], data), data)
        cost = lambda costs: counted(costs, done["float"], args.minimize)
        kept = {p: u for p, u in uniform.items() if keeps(u[1], bound)}
        best = min(kept, key=lambda p: cost(kept[p][0]), default=None)
        trusted = {u["precision"]: cost(u["costs"]) for u in done["uniform"] if u["meets"]}
        safe = min(trusted, key=trusted.get, default=None)
        line = {
            "model": name,
            "bound": f"{kind} {limit:g}",
            "kept": keeps(found, bound),
            kind: found[kind],
            "top1": found.get("top1"),
            "top1 float": float_found.get("top1"),
            "cost": cost(done["costs"]),
            "uniform": best,
            "uniform cost": cost(kept[best][0]) if best else 1.0,
            "trusted": safe,
            "trusted cost": trusted[safe] if safe else 1.0,
            "likely": done.get("drop") if kind == "drop" else done.get("sqnr"),
            "ppl": found.get("ppl"),
            "ppl float": float_found.get("ppl"),
            "layers": " ".join(
                f"{sum(layer['precision'] == p for layer in done['layers'])} {p}"
                for p in dict.fromkeys(layer["precision"] for layer in done["layers"])
            ),
            "kl": found["kl"],
            "predicted": done["predicted"],
            "measured": done["loss"],
            "forwards": done["forwards"],
            "seconds": done["seconds"],
            "cpu": done["cpu"],
            "bytes": constants(done["path"]),
            "pass": done["pass_seconds"],
            "verdicts": done["verdicts"],
            "efforts": done.get("efforts"),
            "samples": len(np.load(folder / row["calib"])[list(data)[0]]),
        }
        if args.time:
            names = list(uniform)
            found = times([tool.plain(), done["path"], *(uniform[p][2] for p in names)], data)
            said = lambda costs: costs["nanoseconds"] / done["float"]["nanoseconds"] if "nanoseconds" in costs else None
            line["time"] = {"auto": found[1], **dict(zip(names, found[2:]))}
            line["time said"] = {"auto": said(done["costs"]), **{p: said(uniform[p][0]) for p in names}}
            line["keep it"] = ["auto"] * line["kept"] + list(kept)
        # At this number of bytes, by what outputs lose and by how far weights are from what they were.
        budget = ["--budget", f"bytes={done['costs']['bytes']}"]
        for by in () if args.time else ("auto", "weights"):
            known = ["--cache", cache] if by == "auto" else []
            other, why = tool(f"{by}-{limit}-budget", *auto, *budget, "--loss", by, *known)
            line[f"kl by {by}"] = judged(want, outputs(other["path"], data), data)["kl"] if other else why
        if args.peer:
            told = peer(folder / row["file"], np.load(folder / row["calib"]), want, bound, work)
            if "path" in told:
                told |= judged(want, outputs(told.pop("path"), data), data)
            line["peer"] = told
        rows.append(line)
        print(json.dumps(line), flush=True)


def worse(r):
    a, b = r.get("kl by auto"), r.get("kl by weights")
    return isinstance(a, float) and isinstance(b, float) and a > 1.01 * b


def table(rows, minimize):
    def number(x, digits=2):
        return "-" if x is None or isinstance(x, str) else f"{x:.{digits}e}" if 0 < abs(x) < 0.01 else f"{x:.{digits}f}"

    print(f"\n| model | bound | likely | on the evaluation set | {minimize} | cheapest single that keeps it | its {minimize} "
          f"| cheapest believed in | its {minimize} | layers | KL, same bytes: by outputs | by weights "
          "| forwards | passes over all samples | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        if "error" in r:
            print(f"| {r['model']} | {r['bound']} | {r['error']} |")
            continue
        kind = "drop" if "drop" in r else "sqnr"
        ppl = f" (perplexity {r['ppl']:.3f}, float {r['ppl float']:.3f})" if r.get("ppl") else ""
        print(
            f"| {r['model']} | {r['bound']} | {number(r['likely'])} | {r[kind]:.2f}{'' if r['kept'] else ' NOT KEPT'}{ppl} "
            f"| {100 * r['cost']:.1f} % | {r['uniform'] or 'float32'} | {100 * r['uniform cost']:.1f} % "
            f"| {r['trusted'] or 'float32'} | {100 * r['trusted cost']:.1f} % | {r['layers']} | {number(r.get('kl by auto'))} | "
            f"{number(r.get('kl by weights'))} | {r['forwards']:.0f} | {r['forwards'] / r['samples']:.1f} | {r['seconds']:.1f} |"
        )
    for r in rows:
        if "time" in r:
            told = lambda p: f"{p} {r['time'][p]:.2f} (said {number(r['time said'][p])})"
            print(f"time, {r['model']} {r['bound']}: " + ", ".join(
                told(p) + ("" if p in r["keep it"] else " bound not kept") for p in r["time"]))
        if "peer" in r:
            told = r["peer"]
            both = lambda k: f"{k} {told[k]:.5g} beside {r[k]:.5g} ({told[k] / r[k]:.1f} times)"
            quality = ", ".join(f"{k} {told[k]:.3g} beside {r[k]:.3g}" for k in ("drop", "sqnr", "kl") if k in told and k in r)
            print(f"peer, {r['model']} {r['bound']}: " + (
                told.get("error") or f"{', '.join(map(both, ('forwards', 'cpu', 'bytes')))}; {quality}"))
    done = [r for r in rows if "error" not in r]
    count = lambda test: sum(bool(test(r)) for r in done)
    # A name or a scale more is no difference.
    than = lambda other: lambda r: r["cost"] > 1.005 * r[other]
    print(f"\n{len(done)} of {len(rows)}: {count(lambda r: r['kept'])} keep the bound; "
          f"{count(lambda r: r['cost'] < r['uniform cost'] - 1e-9)} cost less than the cheapest single precision that does, "
          f"{count(than('uniform cost'))} more; "
          f"{count(than('trusted cost'))} cost more than one that is believed in; "
          f"KL is larger than by errors of weights in {count(lambda r: worse(r))}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--bin", default="target/release/onnx-slim")
    p.add_argument("--models", default=".")
    p.add_argument("--drops", default="0.5,1,3")
    p.add_argument("--sqnrs", default="20,30,40")
    p.add_argument("--by", default="auto", choices=["auto", "sqnr"], help="what all models are bound by")
    p.add_argument("--minimize", default="bytes", choices=["balance", "bytes", "bitops", "latency"])
    p.add_argument("--target", default="onnx")
    p.add_argument("--split", default="all", choices=["all", "even", "odd"])
    p.add_argument("--flags", default="", help="more options of the tool")
    p.add_argument("--time", action="store_true", help="measure how long results take")
    p.add_argument("--peer", action="store_true")
    p.add_argument("--work", default="/tmp/assign-bench")
    p.add_argument("--json", type=pathlib.Path)
    args = p.parse_args()
    manifest = json.loads((pathlib.Path(args.folder) / "MANIFEST.json").read_text())
    rows = []
    for row in manifest:
        if re.search(args.models, row["file"]) and row.get("calib") and row.get("eval"):
            try:
                examine(args, row, rows)
            except Exception as e:
                print(f"{row['file']}: {type(e).__name__}: {e}", file=sys.stderr)
    table(rows, args.minimize)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
