#!/usr/bin/env python3
"""Removes the same share of channels from torchvision's models with onnx-slim and with Torch-Pruning.

    torch_pruning_beside.py --bin PATH --exports FOLDER [--ratio 0.3] [NAME...]

FOLDER has NAME.onnx, an export of torchvision's NAME; without names, all that torchvision knows are taken. Both rank by
the size of weights and repair nothing: this is about whether a model can be cut, how long that takes and how much is
left, not about accuracy. Torch-Pruning gets what its own guide asks for: an example input, and the last layer left alone.
`ok` means of Torch-Pruning that the result runs and has an output of the size that it had, and of onnx-slim that the
result was found equal to the original with the removed channels masked by zeros. Seconds are of the whole process for onnx-slim
(reading, optimizing, cutting, comparing with the masked original, writing) and of building the dependency graph, ranking
and cutting for Torch-Pruning, whose result stays in memory. Run it with a python that has torch, torchvision and
torch_pruning.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import measure


def ours(binary, model, ratio, folder):
    out = folder / "out.onnx"
    command = [binary, "prune", model, "-o", out, "--report", "json", "--importance", "l2", "--ratio", str(ratio)]
    start = time.monotonic()
    run = subprocess.run([*map(str, command), "--align", "1"], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if run.returncode:
        return "FAILED: " + run.stderr.strip()[-50:], seconds, None
    pruning = json.loads(run.stdout)["pruning"]
    verdict = pruning.get("structure", {}).get("verdict", "not compared")
    return "ok" if verdict == "same" else verdict, seconds, pruning["macs"]


def theirs(name, ratio):
    import torch
    import torch_pruning
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    example = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        size = model(example).shape
    before = torch_pruning.utils.count_ops_and_params(model, example)[0]
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000]
    start = time.monotonic()
    try:
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        pruner = torch_pruning.pruner.BasePruner(
            model, example, importance=importance, pruning_ratio=ratio, ignored_layers=last
        )
        pruner.step()
        seconds = time.monotonic() - start
        with torch.no_grad():
            after = model(example).shape
    except Exception as e:
        return f"FAILED: {type(e).__name__} {str(e)[:40]}", time.monotonic() - start, None
    left = torch_pruning.utils.count_ops_and_params(model, example)[0] / before
    return "ok" if after == size else "other sizes", seconds, left


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, type=pathlib.Path)
    p.add_argument("--exports", required=True, type=pathlib.Path)
    p.add_argument("--ratio", type=float, default=0.3)
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    import torchvision

    known = set(torchvision.models.list_models(torchvision.models))
    names = args.names or sorted(f.stem for f in args.exports.glob("*.onnx") if f.stem in known)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            of_both = [ours(args.bin, args.exports / f"{name}.onnx", args.ratio, pathlib.Path(folder))]
            of_both.append(theirs(name, args.ratio))
            cells = [[said, f"{s:.1f}", "" if left is None else f"{100 * left:.0f} %"] for said, s, left in of_both]
            rows.append([name, *cells[0], *cells[1]])
    measure.print_table(["", "onnx-slim", "s", "macs", "Torch-Pruning", "s", "macs"], rows)


if __name__ == "__main__":
    main()
