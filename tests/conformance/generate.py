#!/usr/bin/env python3
"""Writes the conformance sets from the installed onnx package.

    generate.py OUTDIR [SET...]

node          one operator each, with stored inputs and outputs
simple        small graphs: sequences, If, strings
pytorch       old exports that ship inside the package, opset 6 and IR 3
node_const    the node set with every tensor input turned into an initializer: the constant folder computes the answer
node_partial  the node set with only the first input left an input: what real graphs look like to a rewrite

A case is OUTDIR/SET/CASE/{model.onnx, input_K.pb, output_K.pb}. OUTDIR/SET/VERSION names the onnx version it came
from; a set that is there for the installed version is left alone.
"""

import argparse
import pathlib
import shutil
import sys
import warnings

import onnx
from onnx import numpy_helper

SETS = ("node", "simple", "pytorch", "node_const", "node_partial")
LAYOUT = 1  # raise when the files written below change


def stamp():
    return f"onnx {onnx.__version__} layout {LAYOUT}\n"


def to_proto(value, typ):
    """The stored form of a test value: the protobuf message that fits its declared type."""
    if isinstance(value, onnx.TensorProto):
        return value
    kind = typ.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value)
    if kind == "optional_type":
        return numpy_helper.from_optional(value)
    if kind == "map_type":
        return numpy_helper.from_dict(value)
    return numpy_helper.from_array(value)


def write_case(folder, model, inputs, outputs):
    """`inputs` and `outputs` are serialized messages in the order of the graph's own lists."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    for stem, values in (("input", inputs), ("output", outputs)):
        for k, data in enumerate(values):
            (folder / f"{stem}_{k}.pb").write_bytes(data)


def from_generators(out, cases):
    for case in cases:
        inputs, outputs = case.data_sets[0]
        graph = case.model.graph
        write_case(
            out / case.name,
            case.model,
            [to_proto(v, d.type).SerializeToString(deterministic=True) for v, d in zip(inputs, graph.input)],
            [to_proto(v, d.type).SerializeToString(deterministic=True) for v, d in zip(outputs, graph.output)],
        )


def node(out, _root):
    from onnx.backend.test.case.node import collect_testcases

    from_generators(out, collect_testcases())


def simple(out, _root):
    from onnx.backend.test.case.model import collect_testcases

    from_generators(out, [c for c in collect_testcases() if c.model is not None])


def pytorch(out, _root):
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for source in sorted([*data.glob("pytorch-converted/*"), *data.glob("pytorch-operator/*")]):
        stored = source / "test_data_set_0"
        read = lambda stem: [(stored / f"{stem}_{k}.pb").read_bytes() for k in range(len(list(stored.glob(f"{stem}_*.pb"))))]
        write_case(out / source.name, onnx.load(source / "model.onnx"), read("input"), read("output"))


def frozen(out, root, keep):
    """The node set with all inputs after the first `keep` as initializers; cases with anything but tensors stay out."""
    for source in sorted((root / "node").iterdir()):
        if not source.is_dir():
            continue
        model = onnx.load(source / "model.onnx")
        declared = list(model.graph.input)
        stored = [source / f"input_{k}.pb" for k in range(len(declared))]
        if len(declared) <= keep or not all(d.type.HasField("tensor_type") for d in declared):
            continue
        if not all(f.exists() for f in stored):
            continue
        del model.graph.input[keep:]
        for file, value in list(zip(stored, declared))[keep:]:
            tensor = model.graph.initializer.add()
            tensor.ParseFromString(file.read_bytes())
            tensor.name = value.name
        model.ir_version = max(model.ir_version, 4)  # before IR 4 an initializer had to be an input too
        outputs = [source / f"output_{k}.pb" for k in range(len(model.graph.output))]
        write_case(out / source.name, model, [f.read_bytes() for f in stored[:keep]], [f.read_bytes() for f in outputs])


MAKERS = {
    "node": node,
    "simple": simple,
    "pytorch": pytorch,
    "node_const": lambda out, root: frozen(out, root, keep=0),
    "node_partial": lambda out, root: frozen(out, root, keep=1),
}


def ensure(root, sets=SETS):
    """Writes the sets that are missing or come from another onnx version; returns the cases of each set."""
    root = pathlib.Path(root)
    wanted = [s for s in SETS if s in sets or (s == "node" and {"node_const", "node_partial"} & set(sets))]
    for name in wanted:
        out = root / name
        version = out / "VERSION"
        if version.exists() and version.read_text() == stamp():
            continue
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the generators divide by zero on purpose
            MAKERS[name](out, root)
        version.write_text(stamp())
    return {s: sorted(p for p in (root / s).iterdir() if p.is_dir()) for s in sets}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("outdir")
    args.add_argument("sets", nargs="*", metavar="SET", default=list(SETS))
    args = args.parse_args()
    unknown = set(args.sets) - set(SETS)
    if unknown:
        sys.exit(f"no set named {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    for name, cases in ensure(args.outdir, args.sets).items():
        print(f"{name:14}{len(cases):6}")


if __name__ == "__main__":
    main()
