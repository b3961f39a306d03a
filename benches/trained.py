"""Benchmarks over models with samples: which models, by which options, and a table for each of them."""

import argparse
import json
import math
import pathlib
import re
import sys
import tempfile

import judging
import measure


def resolved(path):
    return pathlib.Path(path).resolve()


def options(doc):
    """A parser with what all of them take. Paths are made absolute, as tools may run in other folders."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="*", type=resolved)
    p.add_argument("--bin", required=True, type=resolved)
    p.add_argument("--ours", action="append", metavar="NAME=FLAGS")
    p.add_argument("--models", default="", metavar="REGEX")
    p.add_argument("--model", type=resolved)
    p.add_argument("--calib", type=resolved)
    p.add_argument("--eval", type=resolved)
    p.add_argument("--metric", default="")
    p.add_argument("--latency", action="store_true")
    p.add_argument("--seconds", type=float, default=4.0, help="per model and runtime")
    p.add_argument("--timeout", type=float, default=1800)
    p.add_argument("--work", type=resolved, help="keeps what was written")
    p.add_argument("--json", type=pathlib.Path)
    return p


def manifest(folder):
    for row in json.loads((folder / "MANIFEST.json").read_text()):
        if row.get("calib") and row.get("eval"):
            kind = str((row.get("fp32_metric") or {}).get("kind", ""))
            paths = (folder / row[k] for k in ("file", "calib", "eval"))
            yield row.get("name") or pathlib.Path(row["file"]).stem, *paths, kind


def models(args):
    """(name, model, calibration, evaluation, kind of metric) of each that was asked for."""
    found = [m for folder in args.folders for m in manifest(folder)]
    if args.model and not (args.calib and args.eval):
        sys.exit("--model goes with --calib and --eval")
    if args.model:
        found.append((args.model.stem, args.model, args.calib, args.eval, args.metric))
    found = [m for m in found if re.search(args.models, m[0])]
    return found or sys.exit("no models")


def shown(value, digits=2, unit=1):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value * unit:.{digits}f}"


def compare(args, columns, one_model, cells):
    """Print a table for each model: `one_model(name, model, calib, held_out, kind, args, folder, ask)` gives its rows, and
    `cells(row)` what stands in them behind their names and before their speeds."""
    columns = [*columns, *(judging.RUNTIMES.values() if args.latency else [])]
    results = {}
    ask = judging.Helper()
    with tempfile.TemporaryDirectory() as temporary:
        for name, *rest in models(args):
            rows = results[name] = one_model(name, *rest, args, args.work or pathlib.Path(temporary), ask)
            print(f"\n{name}")
            table = []
            for tool, row in rows.items():
                if "error" in row:
                    table.append([tool, "FAILED: " + row["error"][-70:], *[""] * (len(columns) - 2)])
                else:
                    times = [shown(row.get(r)) for r in judging.RUNTIMES] if args.latency else []
                    table.append([tool, *cells(row), *times])
            measure.print_table(columns, table)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1))
    ask.close()
