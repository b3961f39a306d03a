#!/usr/bin/env python3
"""Edits models and runs the results in onnxruntime: against the original, and against numpy.

    editing.py --bin PATH [--filter TEXT]

Models are those of fixtures/models, and some made here: a classifier and a transformer that are exported for one
sample, with everything that exporters compute from that written down as numbers.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "fixtures"))

import tool  # noqa: E402
from tally import Tally  # noqa: E402
from builder import FLOAT, INT64, Graph  # noqa: E402

CASES = []


def case(function):
    CASES.append(function)
    return function


class Bench:
    """The binary, a folder, and runs of both."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)

    def save(self, graph, name):
        path = self.folder / f"{name}.onnx"
        onnx.save(graph.model(), path)
        return path

    def edit(self, path, *flags, verb="edit"):
        """The path of the edited model."""
        out = self.folder / f"{pathlib.Path(path).stem}.out.onnx"
        ran = tool.run(self.binary, verb, path, "-o", out, *flags)
        assert ran.failure is None, f"{verb} {' '.join(map(str, flags))}: {ran.failure}"
        onnx.checker.check_model(onnx.load(out), full_check=True)
        return out

    def refuse(self, path, *flags, why):
        out = self.folder / "refused.onnx"
        ran = tool.run(self.binary, "edit", path, "-o", out, *flags)
        assert ran.code == 1 and why in ran.stderr, f"{flags}: exit {ran.code}, {ran.stderr}"
        assert not out.exists()


def run(path, feed, outputs=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, feed)


def same(expected, got, what, tolerance=2e-4):
    assert len(expected) == len(got), f"{what}: {len(got)} outputs, not {len(expected)}"
    for i, (a, b) in enumerate(zip(expected, got)):
        assert a.shape == b.shape and a.dtype == b.dtype, f"{what}, output {i}: {b.dtype}{b.shape}, not {a.dtype}{a.shape}"
        if a.dtype.kind == "f":
            scale = max(1.0, float(np.abs(a).max(initial=0.0)))
            worst = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))
            assert worst <= tolerance * scale, f"{what}, output {i}: off by {worst}"
        else:
            assert np.array_equal(a, b), f"{what}, output {i}"


def names(path):
    graph = onnx.load(path).graph
    return [i.name for i in graph.input], [o.name for o in graph.output]


def sizes(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def classifier():
    """Convolutions, a view with the batch in it, a dense layer."""
    g = Graph("classifier")
    x = g.input("image", [1, 3, 16, 16])
    h = g.Relu(g.Conv(x, g.weight(g.normal(8, 3, 3, 3)), g.weight(g.normal(8)), pads=[1, 1, 1, 1], strides=[2, 2]))
    h = g.Reshape(h, g.ints(1, 2, 4, 8, 8))
    h = g.Reshape(g.Transpose(h, perm=[0, 2, 1, 3, 4]), g.ints(1, 8, 8, 8))
    h = g.GlobalAveragePool(g.Relu(g.Conv(h, g.weight(g.normal(12, 8, 3, 3)), pads=[0, 0, 0, 0])))
    h = g.Reshape(h, g.ints(1, 12))
    y = g.Gemm(h, g.weight(g.normal(12, 5)), g.weight(g.normal(5)))
    g.output(y, [1, 5], name="scores")
    return g


def transformer():
    """Patches, a class token, two heads whose sizes are numbers, all for one image."""
    g = Graph("transformer")
    x = g.input("image", [1, 3, 8, 8])
    h = g.Conv(x, g.weight(g.normal(8, 3, 4, 4)), strides=[4, 4])
    h = g.Transpose(g.Reshape(h, g.ints(1, 8, 4)), perm=[0, 2, 1])
    h = g.Add(g.Concat(g.weight(g.normal(1, 1, 8)), h, axis=1), g.weight(g.normal(1, 5, 8)))
    q, k, v = (g.Reshape(g.MatMul(h, g.weight(g.normal(8, 8))), g.ints(1, 5, 2, 4)) for _ in range(3))
    q, v = (g.Transpose(t, perm=[0, 2, 1, 3]) for t in (q, v))
    scores = g.MatMul(q, g.Transpose(k, perm=[0, 2, 3, 1]))
    h = g.MatMul(g.Softmax(g.Div(scores, g.scalar(2.0)), axis=-1), v)
    h = g.Reshape(g.Transpose(h, perm=[0, 2, 1, 3]), g.ints(1, 5, 8))
    # As torch.nn.MultiheadAttention does it: the sequence first, and all tokens of all images as rows.
    h = g.Reshape(g.Transpose(h, perm=[1, 0, 2]), g.ints(5, 8))
    h = g.Transpose(g.Reshape(g.Gemm(h, g.weight(g.normal(8, 8))), g.ints(5, 1, 8)), perm=[1, 0, 2])
    y = g.MatMul(g.Gather(h, g.scalar(0, np.int64), axis=1), g.weight(g.normal(8, 5)))
    g.output(y, [1, 5], name="scores")
    return g


def images(n, size, seed=3):
    return np.random.default_rng(seed).normal(size=(n, 3, size, size)).astype(np.float32)


@case
def cut_fixtures(bench):
    for path in sorted((ROOT / "fixtures/models").glob("*_block.onnx")):
        model = onnx.load(path)
        computed = [o for n in model.graph.node for o in n.output if o and n.op_type in ("Conv", "MatMul", "Relu", "Add")]
        middle, rng = computed[len(computed) // 2], np.random.default_rng(5)
        feed = {}
        for i in model.graph.input:
            shape = [d.dim_value or 2 for d in i.type.tensor_type.shape.dim]
            kind = i.type.tensor_type.elem_type
            feed[i.name] = rng.integers(0, 2, shape) if kind == INT64 else rng.normal(size=shape).astype(np.float32)
        probe = bench.folder / "probe.onnx"
        model.graph.output.append(onnx.ValueInfoProto(name=middle))
        onnx.save(model, probe)
        expected = run(probe, feed, [middle])
        for verb in ("edit", "optimize"):
            out = bench.edit(path, "--outputs", middle, verb=verb)
            inputs, outputs = names(out)
            assert outputs == [middle] and set(inputs) <= set(feed), f"{path.stem}: {inputs} => {outputs}"
            same(expected, run(out, {n: feed[n] for n in inputs}), f"{path.stem} cut at {middle} by {verb}")


@case
def cut_inside(bench):
    path = bench.save(classifier(), "classifier")
    model = onnx.load(path)
    pooled = next(n.output[0] for n in model.graph.node if n.op_type == "GlobalAveragePool")
    x = images(1, 16)
    back = bench.edit(path, "--outputs", pooled)
    between = run(back, {"image": x})
    head = bench.edit(path, "--inputs", pooled)
    assert names(head) == ([pooled], ["scores"])
    same(run(path, {"image": x}), run(head, {pooled: between[0]}), "the two parts")


@case
def rename(bench):
    path = bench.save(classifier(), "renamed")
    x = images(1, 16)
    for verb in ("edit", "optimize"):
        out = bench.edit(path, "--rename", "image=x", "--rename", "scores=y", verb=verb)
        assert names(out) == (["x"], ["y"])
        same(run(path, {"image": x}), run(out, {"x": x}), f"renamed by {verb}")


def batches(bench, graph, size, name):
    path = bench.save(graph, name)
    x = images(6, size)
    alone = [np.concatenate(parts) for parts in zip(*(run(path, {"image": x[i : i + 1]}) for i in range(6)))]
    for verb in ("edit", "optimize"):
        out = bench.edit(path, "--dynamic-batch=n", verb=verb)
        graph = onnx.load(out).graph
        assert sizes(graph.input[0])[0] == "n" and sizes(graph.output[0]) == ["n", 5], sizes(graph.output[0])
        for n in (1, 2, 6):
            same([a[:n] for a in alone], run(out, {"image": x[:n]}), f"{name} by {verb}, batch {n}")
        out = bench.edit(path, "--batch", "3", verb=verb)
        assert sizes(onnx.load(out).graph.output[0]) == [3, 5]
        same([a[:3] for a in alone], run(out, {"image": x[:3]}), f"{name} by {verb}, batch of 3")


@case
def batch_of_a_classifier(bench):
    batches(bench, classifier(), 16, "classifier")


@case
def batch_of_a_transformer(bench):
    batches(bench, transformer(), 8, "transformer")


@case
def batch_that_mixes(bench):
    g = Graph("mixes")
    x = g.input("image", [1, 4])
    g.output(g.Sub(x, g.ReduceMean(x, axes=[0])), [1, 4], name="y")
    path = bench.save(g, "mixes")
    bench.refuse(path, "--dynamic-batch", why='output "y": two batches at once and one after the other')


PLAIN = "scale=1/255,mean=0.485,0.456,0.406,std=0.229,0.224,0.225"


def prepared(pixels):
    """NHWC bytes, BGR, as the model's NCHW floats."""
    x = pixels[..., ::-1].astype(np.float32) / 255
    x = (x - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)).astype(np.float32)


@case
def preprocess(bench):
    path = bench.save(classifier(), "prepared")
    pixels = np.random.default_rng(9).integers(0, 256, (1, 16, 16, 3), np.uint8)
    expected = run(path, {"image": prepared(pixels)})
    for verb in ("edit", "optimize"):
        for prefix in ("", "image:"):
            out = bench.edit(path, "--preprocess", f"{prefix}{PLAIN},input=uint8,layout=nhwc,channel-order=bgr", verb=verb)
            graph = onnx.load(out).graph
            assert names(out)[0] == ["image"] and sizes(graph.input[0]) == [1, 16, 16, 3]
            same(expected, run(out, {"image": pixels}), f"pixels by {verb}")
    assert sum(n.op_type == "Mul" for n in graph.node) == 0, "the scale goes into the convolution"
    floats = images(1, 16)
    out = bench.edit(path, "--preprocess", "mean=0.5,std=2")
    same(run(path, {"image": (floats - 0.5) / 2}), run(out, {"image": floats}), "one mean for all")


@case
def preprocess_and_batch(bench):
    path = bench.save(transformer(), "both")
    pixels = np.random.default_rng(9).integers(0, 256, (4, 8, 8, 3), np.uint8)
    alone = np.concatenate([run(path, {"image": prepared(pixels[i : i + 1])})[0] for i in range(4)])
    flags = ("--preprocess", f"{PLAIN},input=uint8,layout=nhwc,channel-order=bgr", "--postprocess", "argmax")
    for verb in ("edit", "optimize"):
        out = bench.edit(path, *flags, "--dynamic-batch", "--rename", "scores=class", verb=verb)
        assert names(out) == (["image"], ["class"])
        same([alone.argmax(1)], run(out, {"image": pixels}), f"pixels to classes by {verb}")


@case
def preprocess_resized(bench):
    path = bench.save(classifier(), "resized")
    # Twice the size: half-pixel linear interpolation is then the mean of the four pixels around each centre.
    pixels = np.random.default_rng(9).integers(0, 256, (1, 32, 32, 3), np.uint8)
    means = pixels.astype(np.float32).reshape(1, 16, 2, 16, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    expected = run(path, {"image": np.ascontiguousarray(means / np.float32(255))})
    for size in ("32x32", "any"):
        for verb in ("edit", "optimize"):
            flags = f"scale=1/255,input=uint8,layout=nhwc,resize={size}"
            out = bench.edit(path, "--preprocess", flags, verb=verb)
            same(expected, run(out, {"image": pixels}), f"resized from {size} by {verb}")


@case
def postprocess(bench):
    path = bench.save(classifier(), "answers")
    x = images(1, 16)
    (scores,) = run(path, {"image": x})
    e = np.exp(scores - scores.max())
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    for step, expected in [
        ("softmax", [e / e.sum()]),
        ("scores:argmax", [scores.argmax(1)]),
        ("topk=2", [np.take_along_axis(scores, order, 1), order]),
    ]:
        for verb in ("edit", "optimize"):
            out = bench.edit(path, "--postprocess", step, verb=verb)
            assert names(out)[1] == ["scores", "scores_indices"][: len(expected)]
            same(expected, run(out, {"image": x}), f"{step} by {verb}")


@case
def join(bench):
    path = bench.save(classifier(), "apart")
    x = images(1, 16)
    model = onnx.load(path)
    pooled = next(n.output[0] for n in model.graph.node if n.op_type == "GlobalAveragePool")
    head = bench.edit(path, "--inputs", pooled).rename(bench.folder / "head.onnx")
    back = bench.edit(path, "--outputs", pooled).rename(bench.folder / "back.onnx")
    out = bench.folder / "joined.onnx"

    def joined(*arguments):
        ran = tool.run(bench.binary, "join", *arguments, "-o", out)
        assert ran.failure is None, ran.failure
        onnx.checker.check_model(onnx.load(out), full_check=True)
        return out

    expected, between = run(path, {"image": x}), run(back, {"image": x})
    same(expected, run(joined(back, head), {"image": x}), "by name")
    same(between + expected, run(joined(back, head, "--outputs", f"{pooled},scores"), {"image": x}), "both outputs")
    # Twice the same model, whose names all clash.
    g = Graph("twice", opset=11)
    v = g.input("x", ["n", 4])
    g.output(g.Softmax(g.MatMul(v, g.weight(g.normal(4, 4)))), ["n", 4], name="y")
    one = bench.save(g, "one")
    v = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    (once,) = run(one, {"x": v})
    same(run(one, {"x": once}), run(joined(one, one), {"x": v}), "a model after itself")
    assert names(out) == (["x"], ["one/y"])
    # An older opset before a newer one.
    g = Graph("newer", opset=17)
    u = g.input("u", ["m", 4])
    g.output(g.LayerNormalization(u, g.weight(np.ones(4, np.float32))), ["m", 4], name="z")
    newer = bench.save(g, "newer")
    same(run(newer, {"u": once}), run(joined(one, newer), {"x": v}), "opset 11 before 17")


@case
def strip(bench):
    path = bench.save(classifier(), "remarks")
    model = onnx.load(path)
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "a remark"
    model.graph.node[0].metadata_props.add(key="stack", value="x" * 1000)
    model.graph.initializer[0].doc_string = model.graph.input[0].doc_string = "a remark"
    model.metadata_props.add(key="classes", value="cat,dog")
    model.ir_version = 10
    onnx.save(model, path)
    x = images(1, 16)
    for verb in ("edit", "optimize"):
        kept = bench.edit(path, "--strip", verb=verb).read_bytes()
        assert b"a remark" not in kept and b"xxxx" not in kept and b"cat,dog" in kept
        out = bench.edit(path, "--strip=all", verb=verb)
        assert b"cat,dog" not in out.read_bytes()
        same(run(path, {"image": x}), run(out, {"image": x}), f"stripped by {verb}")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--filter", default="")
    args = args.parse_args()
    tally = Tally("editing")
    for function in CASES:
        if args.filter not in function.__name__:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                function(Bench(args.bin, folder))
                tally.add(function.__name__, [])
            except Exception as e:
                tally.add(function.__name__, [" ".join(str(e).split())[:600]])
    sys.exit(tally.close())


if __name__ == "__main__":
    main()
