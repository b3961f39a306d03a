#!/usr/bin/env python3
"""How the cost grows: graphs of 1,000, 10,000 and 100,000 nodes, and a model with 3 GB of external weights.

    scale.py --bin PATH [--nodes 1000,10000,100000] [--gigabytes 3] [--work DIR] [--repeat 3] [-- FLAG...]

The graphs are residual chains that share their constants, with identities and constant expressions to fold in every
block; half of the nodes can go. Runs `optimize --no-check` in fresh processes, the cheapest of the repeats counts.
Growth is the cost per ten times the nodes: 10 is linear, and the part that starts the process makes it less.

The weights of the large model are random and all different, and every one is read back from the result and compared.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

import measure

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIDE = 4096  # a weight is SIDE x SIDE f32: 64 MB


def random_weight(rng, np):
    return rng.standard_normal((SIDE, SIDE), dtype=np.float32) / 64


def write_graph(path, nodes):
    """Blocks of ten nodes, five of which do nothing or compute a constant."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(5)
    weights = {
        "one": np.float32(1),
        "zero": np.zeros(16, np.float32),
        "shape": np.array([0, 16], np.int64),
        **{f"w{k}": rng.standard_normal((16, 16)).astype(np.float32) / 4 for k in range(8)},
        **{f"b{k}": rng.standard_normal(16).astype(np.float32) for k in range(8)},
    }
    listed = []
    x = "x"
    for block in range(nodes // 10):
        n = lambda k: f"block{block}/{k}"
        add = lambda op, *ins, **at: (listed.append(helper.make_node(op, ins, [n(op)], n(op), **at)), n(op))[1]
        kept = add("Identity", x)
        y = add("MatMul", kept, f"w{block % 8}")
        bias = add("Mul", f"b{block % 8}", "one")
        listed.append(helper.make_node("Add", [y, bias], [n("biased")], n("biased")))
        y = add("Relu", n("biased"))
        y = add("Sub", y, "zero")
        y = add("Reshape", y, "shape")
        y = add("Tanh", y)
        y = add("Div", y, "one")
        listed.append(helper.make_node("Add", [y, kept], [n("out")], n("out")))
        x = n("out")
    listed[-1].output[0] = "y"
    io = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16])
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(listed, "chain", [io("x")], [io("y")], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_large(path, gigabytes):
    """A chain of MatMuls whose weights lie in one file beside the model."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    count = max(1, round(gigabytes * 2**30 / (SIDE * SIDE * 4)))
    rng = np.random.default_rng(5)
    tensors, nodes, x = [], [], "x"
    with open(path.with_name("weights.bin"), "wb") as data:
        for k in range(count):
            t = TensorProto(name=f"w{k}", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE])
            t.data_location = TensorProto.EXTERNAL
            place = {"location": "weights.bin", "offset": data.tell(), "length": SIDE * SIDE * 4}
            for key, value in place.items():
                t.external_data.add(key=key, value=str(value))
            tensors.append(t)
            random_weight(rng, np).tofile(data)
            nodes.append(helper.make_node("Identity", [x], [f"same{k}"]))
            nodes.append(helper.make_node("MatMul", [f"same{k}", f"w{k}"], [f"y{k}"]))
            x = f"y{k}"
    nodes[-1].output[0] = "y"
    io = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", SIDE])
    graph = helper.make_graph(nodes, "large", [io("x")], [io("y")], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def same_weights(before, after):
    """How many weights of the large model are in the result, byte for byte, in the order of the MatMuls."""
    import numpy as np
    import onnx

    rng = np.random.default_rng(5)
    model = onnx.load(after, load_external_data=False)
    by_name = {t.name: t for t in model.graph.initializer}
    right = 0
    for node in model.graph.node:
        if node.op_type != "MatMul":
            continue
        t = by_name[node.input[1]]
        fields = {e.key: e.value for e in t.external_data}
        want = random_weight(rng, np)
        if "location" in fields:
            name = after.parent / fields["location"]
            got = np.fromfile(name, np.float32, SIDE * SIDE, offset=int(fields.get("offset", 0)))
        else:
            got = np.frombuffer(t.raw_data, np.float32)
        right += got.size == want.size and bool((got.view(np.uint32) == want.ravel().view(np.uint32)).all())
    return right


def helper_process(*words):
    """Generation and checks need numpy; this process must stay small to measure memory."""
    p = subprocess.run([sys.executable, __file__, "--helper", *map(str, words)], stdout=subprocess.PIPE, check=True, text=True)
    return p.stdout.strip()


def helper_main(what, path, argument):
    path = pathlib.Path(path)
    if what == "graph":
        write_graph(path, int(argument))
    elif what == "large":
        write_large(path, float(argument))
    elif what == "weights":
        print(same_weights(path, pathlib.Path(argument)))
    elif what == "nodes":
        import onnx

        try:
            print(len(onnx.load(path, load_external_data=False).graph.node))
        except Exception as e:
            print(f"unreadable, {path.stat().st_size / 1e6:.0f} MB: {e}")


def size(folder):
    return sum(f.stat().st_size for f in folder.iterdir())


def cheapest(binary, path, out, flags, repeat):
    best = None
    for _ in range(repeat):
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir(parents=True)
        cost = measure.run([binary, "optimize", path, "-o", out, "--no-check", *flags], timeout=3600)
        if best is None or cost.cpu < best.cpu:
            best = cost
        if cost.code:
            break
    return best


def main():
    if sys.argv[1:2] == ["--helper"]:
        return helper_main(*sys.argv[2:])
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--nodes", default="1000,10000,100000")
    args.add_argument("--gigabytes", type=float, default=3)
    args.add_argument("--work", type=pathlib.Path, default=ROOT / "target/scale")
    args.add_argument("--repeat", type=int, default=3)
    flags = words[split + 1 :]
    args = args.parse_args(words[:split])

    jobs = [(f"{n} nodes", "graph", int(n)) for n in args.nodes.split(",") if n]
    if args.gigabytes:
        jobs.append((f"{args.gigabytes:g} GB", "large", args.gigabytes))
    rows, previous = [], None
    for label, kind, amount in jobs:
        folder = args.work / label.replace(" ", "-")
        path, out = folder / "in/model.onnx", folder / "out/model.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            helper_process(kind, path, amount)
        megabytes = size(path.parent) / 1e6
        cost = cheapest(args.bin, path, out, flags + (["--external-data"] if kind == "large" else []), args.repeat)
        row = [label, f"{megabytes:.1f}", f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{cost.rss:.0f}"]
        row += [f"{megabytes / max(cost.cpu, 1e-3):.0f}", f"{megabytes / max(cost.wall, 1e-3):.0f}"]
        row.append(f"{cost.rss / megabytes:.2f}")
        growth = "-"
        if kind == "graph":
            if previous:
                growth = f"{cost.cpu / max(previous.cpu, 1e-3):.1f}"
            previous = cost
        row.append(growth)
        if cost.code or not out.exists():
            row += ["-", "-", f"exit {cost.code}: {cost.message[:80]}"]
        else:
            before, after = helper_process("nodes", path, ""), helper_process("nodes", out, "")
            said = "" if after.isdigit() else after
            if kind == "large" and not said:
                right = int(helper_process("weights", path, out))
                said = f"{right} of {int(before) // 2} weights are the same"
            row += [f"{before} -> {after if after.isdigit() else '-'}", f"{size(out.parent) / 1e6 / megabytes:.3f}", said]
        rows.append(row)
        shutil.rmtree(out.parent, ignore_errors=True)
        if kind == "large":
            shutil.rmtree(path.parent)
    columns = ["model", "MB", "CPU s", "wall s", "peak MB", "MB/CPU s", "MB/s", "peak/size", "growth", "nodes", "bytes", ""]
    measure.print_table(columns, rows)


if __name__ == "__main__":
    main()
