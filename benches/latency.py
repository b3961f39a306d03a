#!/usr/bin/env python3
"""How fast models run in onnxruntime and OpenVINO: as they were, as we write them, and as the peers do.

    latency.py [--bin PATH [--ours "FLAG..."]...] [--peers-venv DIR [--peers onnxslim,onnxsim,onnxscript]]
               [--runtimes ort-all,ort-none,openvino] [--threads 1] [--seconds 4] [--repeat 2] [--work DIR]
               [--filter TEXT] [--json FILE] FILE_OR_FOLDER...

--ours gives the flags of `optimize`, once per setting to compare (`--ours="--target onnxruntime --opset 20"`). The
numbers are times relative to the original's: above 1 is slower. Machines are shared, so all variants of a model take
turns in one process, a few milliseconds each, in an order that changes every round; each turn is divided by the
original's of the same round, and the median of that counts. Processor time decides; wall time goes to the JSON file.
`original` is the original once more: what its column differs from 1 is what the machine adds. All this happens
--repeat times, with sessions made anew. A mark says that every repeat agrees: `-` slower by more than 2 %, `+` faster.

Inputs are random (tests/conformance/feeds.py). A variant whose outputs differ is `wrong`, one that does not load
`refused`, and neither counts.

Run it with a python that has tests/requirements.txt; --peers-venv has benches/peers/requirements.txt.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/conformance"))

import onnxruntime

import compare
import engines
import feeds
import measure
import models
import workers

LEVELS = onnxruntime.GraphOptimizationLevel
TURN = 0.004  # seconds that a variant runs before the next one does
REAL = 0.02
FEWEST_ROUNDS = 7


def in_onnxruntime(level):
    def load(path, threads):
        session = engines.session(path, level, threads)
        names = {i.name for i in session.get_inputs()}
        return lambda values: session.run(None, {k: v for k, v in values.items() if k in names})

    return load


def in_openvino(path, threads):
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    compiled = core.compile_model(core.read_model(path), "CPU", config)
    request, names = compiled.create_infer_request(), {n for i in compiled.inputs for n in i.names}

    def run(values):
        given = {k: v for k, v in values.items() if k in names}
        results = request.infer(given, share_inputs=True, share_outputs=True)
        return [results[o] for o in compiled.outputs]

    return run


RUNTIMES = {
    "ort-all": in_onnxruntime(LEVELS.ORT_ENABLE_ALL),
    "ort-basic": in_onnxruntime(LEVELS.ORT_ENABLE_BASIC),
    "ort-none": in_onnxruntime(LEVELS.ORT_DISABLE_ALL),
    "openvino": in_openvino,
}


def loaded(runtime, variants, threads, values):
    """({variant: run}, {variant: why it does not count}); outputs are compared with the first variant's."""
    runs, out, want = {}, {}, None
    for name, path in variants.items():
        try:
            run = RUNTIMES[runtime](path, threads)
            got = [g.copy() if hasattr(g, "copy") else g for g in run(values)]
        except Exception as e:
            out[name] = f"refused: {engines.one_line(e)}"
            continue
        if want is None:
            want = got
        error, why = models.relative_error(list(want), list(got))
        if error > models.RELATIVE:
            out[name] = f"wrong: {why or f'relative error {error:.1e}'}"
        else:
            runs[name] = run
    return runs, out


def turn(run, values, times):
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        run(values)
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


def race(runs, values, seconds):
    """{variant: [median CPU seconds, median of the CPU ratios, median of the wall ratios]}."""
    names = list(runs)
    per_turn = {}
    for n in names:
        turn(runs[n], values, 1)
        per_turn[n] = max(1, min(400, round(TURN / max(min(turn(runs[n], values, 2)[1] for _ in range(3)), 1e-6))))
    took = {n: [] for n in names}
    end = time.perf_counter() + seconds
    k = 0
    while time.perf_counter() < end or k < FEWEST_ROUNDS:
        order = names[k % len(names) :] + names[: k % len(names)]
        for n in order if k % 2 else order[::-1]:
            took[n].append(turn(runs[n], values, per_turn[n]))
        k += 1
    base = took[names[0]]
    middle = lambda n, what: statistics.median(t[what] / b[what] for t, b in zip(took[n], base))
    return {n: [statistics.median(t[0] for t in took[n]), middle(n, 0), middle(n, 1)] for n in names}


def work(job):
    """One model in one runtime, all variants."""
    runtime, variants, threads, seconds = job
    first = next(iter(variants.values()))
    why = "no inputs"
    inputs = feeds.open_inputs(feeds.onnx.load(first, load_external_data=False))
    for size in feeds.SIZES:
        try:
            values = feeds.random_feeds(inputs, feeds.same_size(size))
            RUNTIMES[runtime](first, threads)(values)
            break
        except Exception as e:
            why = engines.one_line(e)
    else:
        return {"why": f"the original is not accepted: {why}"}
    runs, out = loaded(runtime, variants, threads, values)
    if next(iter(variants)) not in runs:
        return {"why": "the original does not agree with itself"}
    return {"times": race(runs, values, seconds), "out": out}


def written(args, file, folder):
    """{variant: path}, the original first and once more, and {variant: why it was not written}."""
    commands = compare.commands(args.bin, args.peers_venv) if args.peers_venv else {}
    tools = {p: commands[p] for p in args.peers.split(",") if args.peers_venv and p}
    if args.bin:
        for flags in args.ours or [""]:
            name = flags.strip() or "onnx-slim"
            tools[name] = lambda i, o, f=flags.split(): [args.bin, "optimize", i, "-o", o, *f]
    variants, out = {"base": file, "original": file}, {}
    for tool, command in tools.items():
        path = folder / file.stem / tool.replace(" ", "") / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.exists() and path.stat().st_mtime > file.stat().st_mtime
        if not (fresh and tool in commands):
            path.unlink(missing_ok=True)
            cost = measure.run(command(file, path), timeout=600)
            if cost.code or not path.exists():
                out[tool] = f"not written: {cost.message[:160]}"
                continue
        variants[tool] = path
    return variants, out


def cell(ratios):
    """The middle of the repeats, with a mark where all of them say the same."""
    if not ratios:
        return ". "
    mark = "-" if all(r > 1 + REAL for r in ratios) else "+" if all(r < 1 - REAL for r in ratios) else " "
    return f"{statistics.median(ratios):.3f}{mark}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--ours", action="append")
    args.add_argument("--peers-venv", type=lambda p: pathlib.Path(p).absolute())
    args.add_argument("--peers", default="onnxslim,onnxsim,onnxscript")
    args.add_argument("--runtimes", default="ort-all,ort-none,openvino", type=lambda t: t.split(","))
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--seconds", type=float, default=4, help="per model, runtime and repeat")
    args.add_argument("--repeat", type=int, default=2)
    args.add_argument("--work", type=pathlib.Path, help="keeps what was written; peers' results are used again")
    args.add_argument("--filter", default="")
    args.add_argument("--json")
    args.add_argument("paths", nargs="+", type=lambda p: pathlib.Path(p).resolve())
    parser, args = args, args.parse_args()
    if unknown := set(args.runtimes) - set(RUNTIMES):
        parser.error(f"no runtime named {', '.join(sorted(unknown))}; there are {', '.join(RUNTIMES)}")
    files = [f for p in args.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if args.filter in f.stem and not f.name.startswith(".")]

    results, excluded, tools = {}, [], []
    with tempfile.TemporaryDirectory(prefix="latency-") as scratch:
        folder = args.work or pathlib.Path(scratch)
        for file in files:
            variants, out = written(args, file, folder)
            tools += [t for t in [*variants, *out] if t not in tools and t != "base"]
            excluded += [f"{file.stem}: {t}: {why}" for t, why in out.items()]
            jobs = [(r, variants, args.threads, args.seconds) for _ in range(args.repeat) for r in args.runtimes]
            for job, result, why in workers.over(jobs, work, 1, timeout=600 + 20 * args.seconds):
                result = result or {"why": why}
                if "why" in result:
                    excluded.append(f"{file.stem} in {job[0]}: {result['why']}")
                    continue
                excluded += [f"{file.stem} in {job[0]}: {t}: {why}" for t, why in result["out"].items()]
                results.setdefault((file.stem, job[0]), []).append(result["times"])
            table = []
            for runtime in args.runtimes:
                repeats = results.get((file.stem, runtime), [])
                shown = [cell([r[t][1] for r in repeats if t in r]) for t in tools]
                ms = f"{statistics.median(r['base'][0] for r in repeats) * 1e3:.3f}" if repeats else "."
                table.append([file.stem, runtime, ms, *shown])
            measure.print_table(["model", "runtime", "CPU ms", *tools], table)
            if args.json:
                listed = [{"model": m, "runtime": r, "repeats": v} for (m, r), v in results.items()]
                pathlib.Path(args.json).write_text(json.dumps(listed, indent=1))

    print()
    ratio = lambda repeats, tool: statistics.median(r[tool][1] for r in repeats)
    rows = []
    for runtime in args.runtimes:
        of = [v for (_, r), v in results.items() if r == runtime]
        both = [v for v in of if all(t in r for r in v for t in tools)]
        means = [measure.geometric_mean([ratio(v, t) for v in both]) for t in tools]
        rows.append([runtime, len(both), *(f"{m:.3f}" for m in means)])
    measure.print_table(["geometric means", "models", *tools], rows)
    for tool in tools[1:]:
        have = {k: v for k, v in results.items() if all(tool in r for r in v)}
        slower = {k: v for k, v in have.items() if cell([r[tool][1] for r in v]).endswith("-")}
        faster = sum(cell([r[tool][1] for r in v]).endswith("+") for v in have.values())
        print(f"{tool}: faster {faster}, slower {len(slower)} of {len(have)}")
        for (model, runtime), v in sorted(slower.items(), key=lambda kv: -ratio(kv[1], tool))[:8]:
            print(f"    {ratio(v, tool):.3f}  {model} in {runtime} (the original again: {ratio(v, 'original'):.3f})")
    for line in dict.fromkeys(excluded):
        print(f"not counted: {line}")


if __name__ == "__main__":
    main()
