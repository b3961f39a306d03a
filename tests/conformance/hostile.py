#!/usr/bin/env python3
"""Gives the files of fixtures/bad to every command: no crash, no hang, no exhausted machine, no half-written output.

    hostile.py --bin PATH [--filter TEXT] [--jobs 2] [--timeout 20] [--memory 4]

Exit code 0 or 1; after exit 1 nothing is written and stderr names the file and fits a screen, without control
characters; after exit 0 the output is not a bomb. What reaches outside the model's folder must be refused.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import tempfile

import tool
import verdict
import workers

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES, COLUMNS = 40, 200  # one screen, wide

# Exit code 0 would mean that the tool made something up, or read what is not the model's.
REFUSED = {
    *("empty", "plain-text", "noise", "picture", "zipped", "large-file-pointer", "no-graph", "cycle", "reads-itself"),
    *("truncated-half", "truncated-early", "length-past-the-end", "length-of-2-to-the-64", "endless-varint"),
    *("dangling-input", "dangling-output", "two-nodes-write-one-name", "function-calls-itself", "functions-call-each-other"),
    *("weight-too-short", "weight-dims-negative", "weight-dims-enormous", "weight-dims-overflowing"),
    *("external-missing", "external-short", "external-absolute", "external-far-dot-dot", "external-symlink"),
    *("there-is-no-such-file", "bad"),  # and the folder itself
    *("external-folder", "external-device", "external-offset-past-the-end", "external-offset-overflowing"),
}
GROWTH = 10 << 20  # the files have 100 KB at most: a result of this size is a bomb that went off

BOUND = ["--calib", "random", "--samples", "4", "--min-sqnr", "20"]

COMMANDS = {
    "optimize": lambda file: ["optimize", file, "-o", "out.onnx", "--check-budget", "3"],
    "unchecked": lambda file: ["optimize", file, "-o", "out.onnx", "--no-check"],
    "edit": lambda file: ["edit", file, "-o", "out.onnx", "--dynamic-batch", "--strip", "--check-budget", "3"],
    "prune": lambda file: ["prune", file, "-o", "out.onnx", "--ratio", "0.3", "--check-budget", "3"],
    "halve": lambda file: ["optimize", file, "-o", "out.onnx", "--precision", "fp16", "--no-check"],
    "pack": lambda file: ["optimize", file, "-o", "out.onnx", "--precision", "int4", "--no-check"],
    "assign": lambda file: ["optimize", file, "-o", "out.onnx", "--precision", "auto", *BOUND, "--no-check"],
    "sensitivity": lambda file: ["sensitivity", file, "--calib", "random", "--samples", "2"],
    "advise": lambda file: ["advise", file, "--goal", "size", "--device", "cpu"],
    "inspect": lambda file: ["inspect", file],
    "groups": lambda file: ["inspect", file, "--groups"],
    "check": lambda file: ["check", file, file, "--budget", "3"],
}


def check(job):
    """[(command, what is wrong)] for one file."""
    binary, file, timeout, memory = job
    wrong = []
    for command, arguments in COMMANDS.items():
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            ran = tool.run(binary, *arguments(file), timeout=timeout, memory=memory, cwd=folder)
            written = {p.name: p.stat().st_size for p in pathlib.Path(folder).iterdir()}
        for problem in problems(ran, command, file, written):
            wrong.append((command, problem))
    return wrong


def problems(ran, command, file, written):
    if ran.code not in (0, 1):
        yield ran.failure[1] if ran.code is None or ran.code < 0 or ran.code == 101 else f"exit {ran.code}"
        return
    if ran.code == 0:
        if file.stem in REFUSED and command not in ("inspect", "groups", "advise"):
            yield "accepted"
        if sum(written.values()) > GROWTH:
            yield f"wrote {sum(written.values())} bytes"
        if command in ("optimize", "unchecked") and "out.onnx" not in written:
            yield "exit code 0 and no file written"
        return
    if written:
        yield f"exit 1 and wrote {', '.join(sorted(written))}"
    if "panicked at" in ran.stderr:
        yield "a panic is part of the message"
    # `check` of a file with itself prints a difference on stdout; a refusal goes to stderr.
    if file.name not in ran.stderr and file.name.encode() not in ran.stdout:
        yield f"the message does not name the file: {' '.join(ran.stderr.split())[:120] or 'empty'}"
    lines = ran.stderr.splitlines()
    if len(lines) > LINES or any(len(line) > LINES * COLUMNS for line in lines) or len(ran.stderr) > LINES * COLUMNS:
        yield f"the message is {len(lines)} lines, {len(ran.stderr)} characters"
    if any(ord(c) < 32 and c not in "\n\t" for c in ran.stderr):
        yield "the message has control characters"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--files", default=ROOT / "fixtures/bad", type=pathlib.Path)
    args.add_argument("--filter", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--timeout", type=float, default=20)
    args.add_argument("--memory", type=float, default=4, help="GB of address space")
    args.add_argument("--json")
    args = args.parse_args()
    # A folder and a file that is not there are hostile too.
    files = [*sorted(args.files.glob("*.onnx")), args.files, args.files / "there-is-no-such-file.onnx"]
    files = [f for f in files if args.filter in f.stem]
    results = {}
    jobs = [(args.bin, f, args.timeout, int(args.memory * 2**30)) for f in files]
    for job, result, why in workers.over(jobs, check, args.jobs, timeout=args.timeout * len(COMMANDS)):
        results[job[1].name] = [("run", why)] if why else result

    totals = collections.Counter()
    alike = collections.defaultdict(list)
    for name, wrong in sorted(results.items()):
        totals.update(command for command, _ in wrong)
        by_problem = collections.defaultdict(list)
        for command, problem in wrong:
            by_problem[problem].append(command)
        for problem, commands in by_problem.items():
            alike[f"{', '.join(commands)}: {problem}"].append(name)
    for problem, names in alike.items():
        print(f"{problem}\n    {', '.join(names)}")
    verdict.print_table(["command", "files", "problems"], [[c, len(files), totals[c]] for c in COMMANDS])
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))
    failed = sum(bool(w) for w in results.values())
    print(f"hostile: {len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
