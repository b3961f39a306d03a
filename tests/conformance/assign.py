#!/usr/bin/env python3
"""Asks the runtimes whether models whose layers have different precisions are valid, run, and compute nearly the same.

    assign.py --bin PATH [--least-sqnr DB] [--filter TEXT] [MODEL]...

Each model (without any: those of fixtures/models that have layers) is given precisions layer by layer in turn, beginning
with each of them, and one that is found within a budget of bytes: for each target that is a runtime here, and for none.
The results have to pass onnx's strict checker and run in the target's runtime, in onnxruntime and OpenVINO for none, near
the float model.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import onnx

import feeds
import precision
import tool
from tally import Tally

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Weights of four bits and made-up samples: what is wired wrongly has far less.
LEAST = 8.0
TURNS = ["int8", "fp16", "int8-weights", "fp16-weights", "int4", "fp32"]
RUNTIMES = {"onnx": ["onnxruntime", "openvino"], "onnxruntime": ["onnxruntime"], "openvino": ["openvino"]}


def layers(args, source, target):
    """Each layer's name, with the precisions that it can have."""
    ran = tool.run(
        args.bin, "sensitivity", source, "--calib", "random", "--samples", "4", "--target", target,
        "--loss", "weights", "--candidates", ",".join(TURNS[:-1]), "--report", "json", timeout=600,
    )
    if ran.failure:
        return None, ran.failure[1]
    found = json.loads(ran.stdout)["layers"]
    return {layer["node"]: ["fp32", *layer["effects"]] for layer in found}, None


def examine(args, source, folder):
    """What is wrong, and how much was looked at; None where there is nothing to look at."""
    wrong, looked = [], 0
    for target, runtimes in RUNTIMES.items():
        found, why = layers(args, source, target)
        if found is None:
            if "has no layers" in why or "no outputs of floats" in why or "cannot run" in why or "opset" in why:
                return None
            return [f"{target}: {why}"], looked
        names = sorted(found)
        mixes = {"auto": ["--precision", "auto", "--budget", "bytes=45%"]}
        for first in range(len(TURNS)):
            given = []
            for place, name in enumerate(names):
                turn = TURNS[(first + place) % len(TURNS)]
                if turn in found[name]:
                    given.append(f"--layer-precision=name:{name}={turn}")
            mixes[TURNS[first]] = given
        float_path = folder / "float.onnx"
        why = precision.convert(args.bin, source, float_path)[1]
        if why:
            return [f"float32: {why}"], looked
        engine, runs = feeds.accepted(float_path)
        for mix, flags in mixes.items():
            if not flags:
                continue
            result = folder / f"{target}-{mix}.onnx"
            flags = ["--calib", "random", "--samples", "8", "--target", target, *flags]
            report, why = precision.convert(args.bin, source, result, *flags)
            if report is None:
                # Halves of other constants may leave less room than there is.
                if "less than the least" not in why:
                    wrong.append(f"{target} {mix}: {why}")
                continue
            looked += 1
            try:
                onnx.checker.check_model(str(result), full_check=target != "onnxruntime")
            except Exception as e:
                wrong.append(f"{target} {mix}: {' '.join(str(e).split())[:200]}")
            if engine is None:
                continue
            given, want = runs[0]
            for runtime in runtimes:
                try:
                    ratio = precision.sqnr(want, precision.RUNTIMES[runtime](result, given))
                except Exception as e:
                    wrong.append(f"{target} {mix}: {runtime}: {' '.join(str(e).split())[:200]}")
                    continue
                if ratio < args.least_sqnr:
                    wrong.append(f"{target} {mix}: {runtime}: {ratio:.1f} dB")
    return wrong, looked


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--least-sqnr", type=float, default=LEAST)
    p.add_argument("--filter", default="")
    p.add_argument("models", nargs="*", type=pathlib.Path)
    args = p.parse_args()
    tally = Tally("assign")
    for source in args.models or sorted((ROOT / "fixtures/models").glob("*.onnx")):
        if args.filter not in source.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = examine(args, source, pathlib.Path(folder))
        if found is None:
            continue
        wrong, looked = found
        tally.add(source.stem, wrong, f"{looked} mixes")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
