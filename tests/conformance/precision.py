#!/usr/bin/env python3
"""Asks the runtimes whether models that `optimize --precision` gave halves are valid, run, and compute nearly the same.

    precision.py --bin PATH [--least-sqnr DB] [--peer] [--filter TEXT] [--keep FOLDER] [MODEL]...

Each model (without any: those in fixtures/models) becomes float16, and float16 in its weights alone. Either result has to
pass onnx's strict checker, load in onnxruntime and in OpenVINO, and be near the float model on the same inputs, in both,
or the report has to say why not: noise comes from everywhere, or what would help makes weights larger. Its constants take
at most 51 % of the float model's bytes, apart from those that the report says stay float32. bfloat16 has to pass the
checker. What computes or only lies in halves then gets integers like the float model (--calib random): it has to run
wherever that does, be about as near, and be no larger than it was. With --peer and onnxconverter-common installed, no model may have more Casts than that leaves in the same graph,
where what it leaves runs at all and nothing had to stay float32.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx

import engines
import feeds
import tool
from tally import Tally

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of float16, of what the report names as what had to stay, and of weights alone.
LEAST = 50.0
# Bytes of constants beside those of the float model.
MOST = 0.51
# Of so few bytes of float32 constants, those too small for a Cast of their own are too large a part.
SMALL = 16384


# What a report may say where float32 here and there does not bring the noise down.
SAID = ["noise comes from everywhere", "weights take more bytes than they did"]


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from nodes_of(body)


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from graphs_of(body)


def casts(model):
    return sum(n.op_type == "Cast" for n in nodes_of(model.graph))


def float_bytes(model):
    """Bytes of float constants."""
    kinds = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.BFLOAT16: 2}
    tensors = [t for g in graphs_of(model.graph) for t in g.initializer]
    return sum(kinds.get(t.data_type, 0) * int(np.prod(t.dims)) for t in tensors)


def sqnr(want, got):
    """The least signal over noise of all float outputs, in dB."""
    worst = np.inf
    for a, b in zip(want, got):
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype.kind != "f" or a.size == 0:
            continue
        if a.shape != b.shape:
            return -np.inf
        a, b = a.astype(np.float64), b.astype(np.float64)
        there = np.isfinite(a)
        noise, signal = float(((a - b)[there] ** 2).sum()), float((a[there] ** 2).sum())
        if noise > 0 or not np.isfinite(noise):
            worst = min(worst, 10 * np.log10(signal / noise) if signal > 0 and np.isfinite(noise) else -np.inf)
    return worst


def in_onnxruntime(path, given, *level):
    names = {i.name for i in onnx.load(path, load_external_data=False).graph.input}
    return engines.session(path, *level).run(None, {k: v for k, v in given.items() if k in names})


def optimized(path, given):
    """In onnxruntime with all optimizations, without which release 1.31 computes products of 4 bits and halves wrongly."""
    return in_onnxruntime(path, given, engines.onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)


def in_openvino(path, given):
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [i.name for i in onnx.load(path, load_external_data=False).graph.input]
    out = compiled([given[name] for name in names if name in given])
    return [out[k] for k in range(len(compiled.outputs))]


RUNTIMES = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def convert(binary, source, result, *flags):
    ran = tool.run(binary, "optimize", source, "-o", result, "--no-check", "--report", "json", *flags, timeout=1200)
    if ran.failure:
        return None, ran.failure[1]
    report = json.loads(ran.stdout)
    return (report[0] if isinstance(report, list) else report), None


# What models in halves get beside.
INTEGERS = [
    ("int8", "onnxruntime"),
    ("int8", "openvino"),
    ("int8", "tensorrt"),
    ("int4", "onnxruntime"),
    ("int8-dynamic", "openvino"),
]
# Bytes that a file may grow by, and the share of it: Casts of weights that stay real, where the runtime is slow in halves.
ROOM = 4096
CASTS = 0.08
# So many dB less than what the float model has are chance: ranges and corrections are others.
CHANCE = 8.0
# What has so much is good enough, whatever the float model has.
PLENTY = 30.0


def with_integers(args, folder, name, given, want):
    """What is wrong with what a model in halves becomes, and a line about it; beside what the float model becomes."""
    wrong, found = [], []
    for precision, target in INTEGERS:
        flags = ["--precision", precision, "--target", target, "--allow-unsupported"]
        if precision != "int8-dynamic":
            flags += ["--calib", "random"]
        results = {source: folder / f"{source}.{precision}.{target}.onnx" for source in ("float", name)}
        whys = {source: convert(args.bin, folder / f"{source}.onnx", path, *flags)[1] for source, path in results.items()}
        label = f"{name}, {precision} for {target}"
        if whys["float"]:
            continue
        if whys[name]:
            wrong.append(f"{label}: {whys[name]}")
            continue
        was, now = ((folder / f"{name}.onnx").stat().st_size, results[name].stat().st_size)
        # Weights that repeat one number take nothing in any float, and are spelled out for some runtimes' integers.
        grows = results["float"].stat().st_size > (folder / "float.onnx").stat().st_size + ROOM
        if now > was * (1 + CASTS) + ROOM and not grows:
            wrong.append(f"{label}: {now} bytes, and it had {was}")
        run = in_openvino if target == "openvino" else optimized
        try:
            least = min(PLENTY, sqnr(want, run(results["float"], given)) - CHANCE)
        except Exception:
            continue  # What the float model becomes does not run either.
        try:
            db = sqnr(want, run(results[name], given))
        except Exception as e:
            wrong.append(f"{label}: {engines.one_line(e)}")
            continue
        if run is in_openvino:
            # A runtime that computes something else of integers does so of the float model's, too.
            try:
                least = max(least, min(PLENTY, sqnr(want, optimized(results[name], given)) - CHANCE))
            except Exception:
                pass  # onnxruntime does not run it, and says nothing of it.
        found.append(f"{precision} {db:.0f}")
        if not db >= least:
            wrong.append(f"{label}: {db:.1f} dB, {least:.1f} are to be had")
    return wrong, f" ({', '.join(found)} dB)" if found else ""


def peers_casts(path, folder, given):
    """How many Casts onnxconverter-common leaves; None where it fails or makes what does not run."""
    try:
        from onnxconverter_common import float16

        other = float16.convert_float_to_float16(onnx.load(path), keep_io_types=True)
        onnx.save(other, folder / "peer.onnx")
        in_onnxruntime(folder / "peer.onnx", given)
        return casts(other)
    except Exception:
        return None


def examine(args, source, folder):
    """What is wrong, and a line about what was found."""
    path = folder / "float.onnx"
    _, why = convert(args.bin, source, path)
    if why:
        return [f"float32: {why}"], ""
    model = onnx.load(path)
    engine, runs = feeds.accepted(path)
    given, want = runs[0] if engine else (None, None)
    wrong, said = [], []
    for precision in ("fp16", "fp16-weights", "bf16"):
        result = folder / f"{precision}.onnx"
        report, why = convert(args.bin, source, result, "--precision", precision)
        if report is None:
            # Where nothing can be a half it is said, and that is all there is to it.
            if "nothing of the model can be" not in why:
                wrong.append(f"{precision}: {why}")
            continue
        done, half = report["precision"], onnx.load(result)
        try:
            onnx.checker.check_model(str(result), full_check=True)
        except Exception as e:
            # What the checker refuses of the float model it may refuse here.
            try:
                onnx.checker.check_model(str(path), full_check=True)
                wrong.append(f"{precision}: {engines.one_line(e)}")
            except Exception:
                pass
        was, now = float_bytes(model), float_bytes(half)
        if precision != "bf16" and not done["kept"] and was > SMALL and now > MOST * was:
            wrong.append(f"{precision}: {now} bytes of {was}")
        line = f"{precision} {now}/{was} bytes"
        if engine is None or precision == "bf16":
            said.append(line)
            continue
        for name, run in RUNTIMES.items():
            try:
                run(path, given)
            except Exception:
                continue  # It does not run the float model either.
            try:
                db = sqnr(want, run(result, given))
            except Exception as e:
                wrong.append(f"{precision}: {name}: {engines.one_line(e)}")
                continue
            line += f", {name} {db:.1f} dB"
            told = [words for words in SAID if any(words in note for note in done.get("notes", []))]
            if db < args.least_sqnr and told:
                line += f", as is said: {told[0]}"
            elif db < args.least_sqnr:
                wrong.append(f"{precision}: {name} gives {db:.1f} dB")
        if precision == "fp16" and args.peer:
            theirs, ours = peers_casts(path, folder, given), casts(half)
            line += f", {ours} casts, the peer {theirs}"
            if theirs is not None and ours > theirs and not done["kept"]:
                wrong.append(f"{precision}: {ours} casts, the peer leaves {theirs}")
        if not wrong:
            more, told = with_integers(args, folder, precision, given, want)
            wrong += more
            line += told
        said.append(line)
    return wrong, "; ".join(said) + ("" if engine else f"; not run: {runs}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--least-sqnr", type=float, default=LEAST)
    p.add_argument("--peer", action="store_true")
    p.add_argument("--filter", default="")
    p.add_argument("--keep", type=pathlib.Path, help="leave the models here")
    p.add_argument("models", nargs="*", type=pathlib.Path)
    args = p.parse_args()
    tally = Tally("precision")
    for source in args.models or sorted((ROOT / "fixtures/models").glob("*.onnx")):
        if args.filter not in source.name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = args.keep / source.stem if args.keep else pathlib.Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            wrong, line = examine(args, source, folder)
        tally.add(source.stem, wrong, line)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
