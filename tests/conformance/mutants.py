#!/usr/bin/env python3
"""Breaks the conformance models in small ways and optimizes them, with the proof: no crash, no hang, no bomb.

    mutants.py --bin PATH [--count 1000] [--seed 1] [--filter TEXT] [--jobs 2] [--timeout 30] [--memory 6] [--keep DIR]

A mutant is a case of the sets `node` and `node_partial` with one to three changes: an attribute's value, an operand
left out, doubled or exchanged for another, a declared or stored shape, an element type, the data of a weight, the
opset. Seeded: a number names a mutant for good, as long as the onnx package is the same. What holds of fixtures/bad
holds of them, but that they may well be accepted. --keep saves those that fail.
"""

import argparse
import collections
import os
import pathlib
import random
import sys
import tempfile

import onnx

import generate
import hostile
import tool
import workers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETS = ("node", "node_partial")
INTEGERS = [-(2**63), -(2**31), -100, -7, -2, -1, 0, 1, 2, 3, 5, 9, 64, 1000, 2**31 - 1, 2**31, 2**40, 2**63 - 1]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"), 1e9]
TEXTS = ["", "NOTSET", "SAME_UPPER", "VALID", "linear", "cubic", "reflect", "none", "add", "i,j->ij", "\u00e9", "x" * 300]


def attribute(nodes, rng):
    """Another value of the same type, a list made longer or shorter, or the attribute gone."""
    having = [n for n in nodes if n.attribute]
    if not having:
        return
    node = rng.choice(having)
    a = rng.choice(node.attribute)
    how = rng.random()
    if how < 0.1:
        node.attribute.remove(a)
    elif a.type == onnx.AttributeProto.INT:
        a.i = rng.choice(INTEGERS)
    elif a.type == onnx.AttributeProto.FLOAT:
        a.f = rng.choice(FLOATS)
    elif a.type == onnx.AttributeProto.STRING:
        a.s = rng.choice(TEXTS).encode()
    elif a.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        values, choices = (a.ints, INTEGERS) if a.type == onnx.AttributeProto.INTS else (a.floats, FLOATS)
        if how < 0.3 or not values:
            values.append(rng.choice(choices))
        elif how < 0.5:
            values.pop()
        else:
            values[rng.randrange(len(values))] = rng.choice(choices)
    elif a.type == onnx.AttributeProto.TENSOR:
        tensor(a.t, rng)


def operand(nodes, rng):
    node = rng.choice(nodes)
    names = node.input if rng.random() < 0.8 else node.output
    if not names:
        return
    k = rng.randrange(len(names))
    how = rng.random()
    if how < 0.3:
        names[k] = ""
    elif how < 0.5:
        del names[k]
    elif how < 0.8:
        names[k] = rng.choice(list(names))
    else:
        names.append(rng.choice(list(names)))


def operator(nodes, rng):
    node = rng.choice(nodes)
    node.op_type = rng.choice(["Identity", "Relu", "Reshape", "Conv", "MatMul", "Add", "Concat", "Loop", "Softmax"])


def declared(graph, rng):
    """An input or output of another shape or element type."""
    value = rng.choice([*graph.input, *graph.output] or [None])
    if value is None or not value.type.HasField("tensor_type"):
        return
    t = value.type.tensor_type
    if rng.random() < 0.3:
        t.elem_type = rng.choice([0, 1, 2, 6, 7, 8, 9, 10, 11, 16, 17, 21, 99])
    elif not t.shape.dim or rng.random() < 0.2:
        t.shape.dim.add().dim_value = rng.choice([0, 1, 2, 3])
    elif rng.random() < 0.3:
        t.shape.dim.pop()
    else:
        d = rng.choice(t.shape.dim)
        if rng.random() < 0.3:
            d.dim_param = "n"
        else:
            d.dim_value = rng.choice(INTEGERS)


def tensor(t, rng):
    """A weight of other dimensions, element type or data."""
    how = rng.random()
    if how < 0.3 and t.dims:
        t.dims[rng.randrange(len(t.dims))] = rng.choice(INTEGERS)
    elif how < 0.4:
        t.data_type = rng.choice([0, 1, 6, 7, 9, 10, 11, 16, 22])
    elif how < 0.5:
        t.dims.append(rng.choice([0, 1, 2]))
    elif t.raw_data:
        data = bytearray(t.raw_data)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 2, 127, 128, 255])
        t.raw_data = bytes(data)
    elif t.int64_data:
        t.int64_data[rng.randrange(len(t.int64_data))] = rng.choice(INTEGERS)


def mutant(model, rng):
    """`model` with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        graph, nodes = model.graph, list(model.graph.node)
        how = rng.random()
        if how < 0.35 and nodes:
            attribute(nodes, rng)
        elif how < 0.55 and nodes:
            operand(nodes, rng)
        elif how < 0.6 and nodes:
            operator(nodes, rng)
        elif how < 0.8:
            declared(graph, rng)
        elif how < 0.95 and graph.initializer:
            tensor(rng.choice(graph.initializer), rng)
        elif model.opset_import:
            rng.choice(model.opset_import).version = rng.choice([1, 5, 7, 10, 13, 18, 21, 24])
    return model


def check(job):
    """[what is wrong] with one mutant."""
    binary, case, number, timeout, memory, keep = job
    data = mutant(onnx.load(case), random.Random(number)).SerializeToString()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        file = pathlib.Path(folder, "mutant.onnx")
        file.write_bytes(data)
        command = ["optimize", file.name, "-o", "out.onnx", "--check-budget", "2"]
        ran = tool.run(binary, *command, timeout=timeout, memory=memory, cwd=folder)
        written = {p.name: p.stat().st_size for p in pathlib.Path(folder).iterdir() if p != file}
    wrong = list(hostile.problems(ran, "optimize", file, written))
    if wrong and keep:
        pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
        pathlib.Path(keep, f"{number}-{case.parent.name}.onnx").write_bytes(data)
    return wrong


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--data", type=pathlib.Path, default=ROOT / "target/conformance")
    args.add_argument("--count", type=int, default=1000)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--filter", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args.add_argument("--timeout", type=float, default=30)
    args.add_argument("--memory", type=float, default=6, help="GB of address space")
    args.add_argument("--keep")
    args = args.parse_args()
    cases = [c / "model.onnx" for found in generate.ensure(args.data, SETS).values() for c in found if args.filter in c.name]
    pick = random.Random(args.seed)
    jobs = [
        (args.bin, pick.choice(cases), args.seed * 1_000_000 + k, args.timeout, int(args.memory * 2**30), args.keep)
        for k in range(args.count)
    ]
    failed, alike = 0, collections.defaultdict(list)
    for job, wrong, why in workers.over(jobs, check, args.jobs, timeout=args.timeout * 4):
        wrong = [why] if why else wrong
        failed += bool(wrong)
        for problem in wrong:
            alike[problem[:150]].append(f"{job[2]} {job[1].parent.name}")
    for problem, names in alike.items():
        print(f"{problem}\n    {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}")
    print(f"mutants: {len(jobs) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
