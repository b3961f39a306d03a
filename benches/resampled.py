#!/usr/bin/env python3
"""How often a bound that was kept on a few samples is kept on others: samples to calibrate with are drawn again and again.

    resampled.py --bin PATH [--drops 1,3] [--sqnrs 25,40] [--draws 10] [--samples 128] [--target onnx] [--json FILE]
                 MODEL POOL.npz [MODEL POOL.npz]...

Of a pool of samples some are drawn, `optimize --precision auto` chooses precisions on these for a bound, and all others
say, in onnxruntime, what the result loses. Models whose first output has two axes are bound by --max-drop, others by
--min-sqnr. For each model and bound: in how many draws it was kept on the others, the mean of what was said to be likely
and of what was found, and what the result costs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from assign import judged, keeps, outputs, session


def drawn(pool, names, count, seed):
    """As many samples, and all others."""
    order = np.random.default_rng(seed).permutation(len(pool[names[0]]))
    parts = order[:count], order[count:]
    return [{k: pool[k][np.sort(part)] for k in names} for part in parts]


def run(args, model, bound, few, folder):
    np.savez(folder / "few.npz", **few)
    flag = {"drop": "--max-drop", "sqnr": "--min-sqnr"}[bound[0]]
    command = [args.bin, "optimize", model, "-o", folder / "m.onnx", "--calib", folder / "few.npz", "--no-check"]
    command += ["--target", args.target, "--precision", "auto", flag, bound[1], "--report", "json"]
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    return json.loads(p.stdout)["assignment"] if p.returncode == 0 else " ".join(p.stderr.split())[:200]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="target/release/onnx-slim")
    p.add_argument("--drops", default="1,3")
    p.add_argument("--sqnrs", default="25,40")
    p.add_argument("--draws", type=int, default=10)
    p.add_argument("--samples", type=int, default=128)
    p.add_argument("--target", default="onnx")
    p.add_argument("--json", type=pathlib.Path)
    p.add_argument("pairs", nargs="+", metavar="MODEL POOL.npz")
    args = p.parse_args()
    rows = []
    print("| model | bound | kept on the others | likely, mean | found, mean | worst | bytes, mean |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for model, pool in zip(args.pairs[::2], args.pairs[1::2]):
        names = [i.name for i in session(model).get_inputs()]
        pool = dict(np.load(pool))
        first = {k: pool[k][:2] for k in names}
        kind = "drop" if "drop" in judged(outputs(model, first), outputs(model, first), {}) else "sqnr"
        for limit in map(float, (args.drops if kind == "drop" else args.sqnrs).split(",")):
            bound, done = (kind, limit), []
            for seed in range(args.draws):
                few, others = drawn(pool, names, args.samples, seed)
                with tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    told = run(args, model, bound, few, folder)
                    if isinstance(told, str):
                        print(f"{model} {bound}: {told}", file=sys.stderr)
                        continue
                    found = judged(outputs(model, others), outputs(folder / "m.onnx", others), {})
                share = told["costs"]["bytes"] / told["float"]["bytes"]
                done.append({"likely": told[kind], "found": found[kind], "kept": keeps(found, bound), "bytes": share})
            rows.append({"model": model, "bound": bound, "draws": done})
            mean = lambda key: np.mean([draw[key] for draw in done]) if done else np.nan
            worst = (max if kind == "drop" else min)([draw["found"] for draw in done], default=np.nan)
            print(f"| {pathlib.Path(model).stem} | {kind} {limit:g} | {sum(d['kept'] for d in done)} of {len(done)} "
                  f"| {mean('likely'):.2f} | {mean('found'):.2f} | {worst:.2f} | {100 * mean('bytes'):.1f} % |", flush=True)
    count = [sum(d["kept"] for row in rows for d in row["draws"]), sum(len(row["draws"]) for row in rows)]
    print(f"\nkept in {count[0]} of {count[1]}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
