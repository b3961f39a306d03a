#!/usr/bin/env python3
"""What a fusion gains or costs by itself: the same small computation in two spellings, in each runtime.

    spellings.py [--runtimes ort-all,ort-none,openvino] [--threads 1] [--seconds 2] [--repeat 2] [--filter TEXT]

Prints the time of each later spelling relative to the first one, measured as benches/latency.py measures models. What
is slower in a runtime belongs into `avoids` of its profile in src/target.
"""

import argparse
import pathlib
import statistics
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import latency
import measure

# How often a computation follows itself, so that it is more than the call of the runtime.
TIMES = 4


class Body:
    """Nodes in the making."""

    def __init__(self, seed=0):
        self.nodes, self.weights, self.rng, self.count = [], {}, np.random.default_rng(seed), 0
        self.domains = {"": None}

    def __getattr__(self, op):
        """A call of the operator: the name of its result, or a list of names."""

        def call(*operands, outputs=1, domain="", **attrs):
            names = []
            for _ in range(outputs):
                self.count += 1
                names.append(f"v{self.count}")
            operands = [o if isinstance(o, str) else self.weight(o) for o in operands]
            self.nodes.append(helper.make_node(op, operands, names, domain=domain, **attrs))
            self.domains[domain] = None
            return names[0] if outputs == 1 else names

        return call

    def contrib(self, op, *operands, **attrs):
        return getattr(self, op)(*operands, domain="com.microsoft", **attrs)

    def weight(self, value):
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights[name] = value
        return name

    def random(self, *shape, scale=None):
        scale = scale or (shape[-2] ** -0.5 if len(shape) > 1 else 0.1)
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)


def layer_norm_spelled(b, x, size):
    d = b.Sub(x, b.ReduceMean(x, np.array([-1])))
    v = b.Add(b.ReduceMean(b.Pow(d, 2.0), np.array([-1])), 1e-5)
    return b.Add(b.Mul(b.Div(d, b.Sqrt(v)), b.random(size)), b.random(size))


def rms_norm_spelled(b, x, size):
    v = b.Add(b.ReduceMean(b.Pow(x, 2.0), np.array([-1])), 1e-5)
    return b.Mul(b.Div(x, b.Sqrt(v)), b.random(size))


def gelu_spelled(b, x):
    return b.Mul(b.Mul(x, b.Add(b.Erf(b.Div(x, 2**0.5)), 1.0)), 0.5)


def gelu_tanh_spelled(b, x):
    inner = b.Mul(b.Add(x, b.Mul(b.Pow(x, 3.0), 0.044715)), (2 / np.pi) ** 0.5)
    return b.Mul(b.Mul(x, b.Add(b.Tanh(inner), 1.0)), 0.5)


def kernel(b, channels):
    return b.random(channels, channels, 1, 1, scale=channels**-0.5)


def conv(b, x, channels):
    return b.Conv(x, kernel(b, channels), b.random(channels))


def attention_spelled(b, q, k, v, scale, mask=None):
    scores = b.Mul(b.MatMul(q, b.Transpose(k, perm=[0, 1, 3, 2])), scale)
    if mask is not None:
        scores = b.Add(scores, mask)
    return b.MatMul(b.Softmax(scores, axis=-1), v)


def heads(b, x, length, count, size):
    return b.Transpose(b.Reshape(x, np.array([0, length, count, size])), perm=[0, 2, 1, 3])


def joined(b, x, length, width):
    return b.Reshape(b.Transpose(x, perm=[0, 2, 1, 3]), np.array([0, length, width]))


def projections(b, x, length, width, count, attend):
    """Self-attention from projections to joined heads."""
    size = width // count
    q, k, v = (heads(b, b.MatMul(x, b.random(width, width)), length, count, size) for _ in range(3))
    return joined(b, attend(b, q, k, v), length, width)


def packed_attention(b, x, width, count, **attrs):
    q, k, v = (b.MatMul(x, b.random(width, width)) for _ in range(3))
    return b.Attention(q, k, v, q_num_heads=count, kv_num_heads=count, scale=(width // count) ** -0.5, **attrs)


def causal(length):
    return np.triu(np.full((1, 1, length, length), -1e9, np.float32), 1)


def cases():
    """(name, opset, shape of the input, {spelling: function of body and input})."""
    for shape in [1, 65, 64], [1, 128, 768], [8, 16, 256]:
        n, length = shape[-1], shape[-2]
        at = "x".join(map(str, shape))
        yield f"LayerNormalization {at}", 18, shape, {
            "spelled": lambda b, x, n=n: layer_norm_spelled(b, x, n),
            "LayerNormalization": lambda b, x, n=n: b.LayerNormalization(x, b.random(n), b.random(n)),
        }
        yield f"RMSNormalization {at}", 23, shape, {
            "spelled": lambda b, x, n=n: rms_norm_spelled(b, x, n),
            "RMSNormalization": lambda b, x, n=n: b.RMSNormalization(x, b.random(n)),
        }
        yield f"Gelu {at}", 20, shape, {"spelled": gelu_spelled, "Gelu": lambda b, x: b.Gelu(x)}
        yield f"Gelu behind a bias {at}", 20, shape, {
            "spelled": lambda b, x, n=n: gelu_spelled(b, b.Add(b.MatMul(x, b.random(n, n)), b.random(n))),
            "Gelu": lambda b, x, n=n: b.Gelu(b.Add(b.MatMul(x, b.random(n, n)), b.random(n))),
        }
        yield f"Gelu, tanh {at}", 20, shape, {
            "spelled": gelu_tanh_spelled,
            "Gelu": lambda b, x: b.Gelu(x, approximate="tanh"),
        }
        count = max(1, n // 64)
        attend = lambda b, q, k, v, n=n, c=count: attention_spelled(b, q, k, v, (n // c) ** -0.5)
        four = lambda b, q, k, v, n=n, c=count: b.Attention(q, k, v, scale=(n // c) ** -0.5)
        yield f"Attention {at}", 23, shape, {
            "spelled": lambda b, x, n=n, l=length, c=count, a=attend: projections(b, x, l, n, c, a),
            "4 axes": lambda b, x, n=n, l=length, c=count, a=four: projections(b, x, l, n, c, a),
            "3 axes": lambda b, x, n=n, c=count: packed_attention(b, x, n, c),
            "MultiHeadAttention": lambda b, x, n=n, c=count: b.contrib(
                "MultiHeadAttention", *(b.MatMul(x, b.random(n, n)) for _ in range(3)), num_heads=c
            ),
        }
        masked = lambda b, q, k, v, n=n, c=count, l=length: attention_spelled(b, q, k, v, (n // c) ** -0.5, causal(l))
        four = lambda b, q, k, v, n=n, c=count, l=length: b.Attention(q, k, v, causal(l), scale=(n // c) ** -0.5)
        yield f"Attention, masked {at}", 23, shape, {
            "spelled": lambda b, x, n=n, l=length, c=count, a=masked: projections(b, x, l, n, c, a),
            "4 axes": lambda b, x, n=n, l=length, c=count, a=four: projections(b, x, l, n, c, a),
            "MultiHeadAttention": lambda b, x, n=n, c=count, l=length: b.contrib(
                "MultiHeadAttention", *(b.MatMul(x, b.random(n, n)) for _ in range(3)), "", "", causal(l), num_heads=c
            ),
        }

        def three(b, x, n=n):
            q, k, v = (b.MatMul(x, b.random(n, n)) for _ in range(3))
            return b.Add(b.Mul(q, k), v)

        def one(b, x, n=n):
            w = np.concatenate([b.random(n, n) for _ in range(3)], axis=1)
            q, k, v = b.Split(b.MatMul(x, w), np.array([n, n, n]), axis=-1, outputs=3)
            return b.Add(b.Mul(q, k), v)

        yield f"parallel MatMuls {at}", 18, shape, {"three": three, "one": one}

        def slices(b, x, n=n):
            half = n // 2
            return b.Concat(
                b.Slice(x, np.array([half]), np.array([n]), np.array([-1])),
                b.Slice(x, np.array([0]), np.array([half]), np.array([-1])),
                axis=-1,
            )

        def split(b, x, n=n):
            left, right = b.Split(x, np.array([n // 2, n // 2]), axis=-1, outputs=2)
            return b.Concat(right, left, axis=-1)

        yield f"Slices {at}", 18, shape, {"Slices": slices, "Split": split}

        skip = lambda b, x, n=n: b.LayerNormalization(b.Add(x, b.MatMul(x, b.random(n, n))), b.random(n), b.random(n))

        def skip_fused(b, x, n=n):
            product = b.MatMul(x, b.random(n, n))
            return b.contrib("SkipLayerNormalization", product, x, b.random(n), b.random(n), epsilon=1e-5)

        yield f"sum, LayerNormalization {at}", 17, shape, {"two": skip, "SkipLayerNormalization": skip_fused}

        def biased(b, x, n=n):
            product = b.Add(b.MatMul(x, b.random(n, n)), b.random(n))
            return b.LayerNormalization(b.Add(x, product), b.random(n), b.random(n))

        def biased_fused(b, x, n=n):
            product, bias = b.MatMul(x, b.random(n, n)), b.random(n)
            return b.contrib("SkipLayerNormalization", product, x, b.random(n), b.random(n), bias, epsilon=1e-5)

        yield f"biased sum, LayerNormalization {at}", 17, shape, {
            "three": biased,
            "SkipLayerNormalization": biased_fused,
        }

        def residual(b, x, n=n):
            y = b.Add(b.Add(b.MatMul(x, b.random(n, n)), b.random(n)), x)
            return b.Add(y, b.LayerNormalization(y, b.random(n), b.random(n)))

        def residual_fused(b, x, n=n):
            product, bias = b.MatMul(x, b.random(n, n)), b.random(n)
            y, _, _, z = b.contrib(
                "SkipLayerNormalization", product, x, b.random(n), b.random(n), bias, epsilon=1e-5, outputs=4
            )
            return b.Add(z, y)

        yield f"residual sum, LayerNormalization {at}", 17, shape, {
            "three": residual,
            "SkipLayerNormalization": residual_fused,
        }
        yield f"sum, RMSNormalization {at}", 23, shape, {
            "two": lambda b, x, n=n: b.RMSNormalization(b.Add(x, b.MatMul(x, b.random(n, n))), b.random(n)),
            "SkipSimplifiedLayerNormalization": lambda b, x, n=n: b.contrib(
                "SkipSimplifiedLayerNormalization", b.MatMul(x, b.random(n, n)), x, b.random(n), epsilon=1e-5
            ),
        }
        yield f"bias, Gelu {at}", 20, shape, {
            "two": lambda b, x, n=n: b.Gelu(b.Add(b.MatMul(x, b.random(n, n)), b.random(n))),
            "BiasGelu": lambda b, x, n=n: b.contrib("BiasGelu", b.MatMul(x, b.random(n, n)), b.random(n)),
        }
        yield f"bias, Gelu, tanh {at}", 20, shape, {
            "two": lambda b, x, n=n: b.Gelu(b.Add(b.MatMul(x, b.random(n, n)), b.random(n)), approximate="tanh"),
            "FastGelu": lambda b, x, n=n: b.contrib("FastGelu", b.MatMul(x, b.random(n, n)), b.random(n)),
        }
        yield f"transposed product {at}", 17, shape, {
            "two": lambda b, x: b.Softmax(b.MatMul(x, b.Transpose(x, perm=[0, 2, 1]))),
            "FusedMatMul": lambda b, x: b.Softmax(b.contrib("FusedMatMul", x, x, transB=1)),
        } if n == length else {
            "two": lambda b, x: b.MatMul(b.Softmax(b.Mul(b.MatMul(x, b.Transpose(x, perm=[0, 2, 1])), 0.125)), x),
            "FusedMatMul": lambda b, x: b.MatMul(b.Softmax(b.contrib("FusedMatMul", x, x, transB=1, alpha=0.125)), x),
        }

        def one_by_one(b, x, what, n=n, c=count, **attrs):
            w, bias = [b.random(n, n) for _ in range(3)], [b.random(n) for _ in range(3)]
            q, k, v = (b.Add(b.MatMul(x, w[i]), bias[i]) for i in range(3))
            if what == "Attention":
                return b.Attention(q, k, v, q_num_heads=c, kv_num_heads=c)
            return b.contrib("MultiHeadAttention", q, k, v, num_heads=c)

        def biases_inside(b, x, n=n, c=count):
            w, bias = [b.random(n, n) for _ in range(3)], [b.random(n) for _ in range(3)]
            products = (b.MatMul(x, w[i]) for i in range(3))
            return b.contrib("MultiHeadAttention", *products, np.concatenate(bias), num_heads=c)

        def products_inside(b, x, n=n, c=count):
            w, bias = [b.random(n, n) for _ in range(3)], [b.random(n) for _ in range(3)]
            return b.contrib("Attention", x, np.concatenate(w, axis=1), np.concatenate(bias), num_heads=c)

        def merged(b, x, what, n=n, c=count):
            w, bias = [b.random(n, n) for _ in range(3)], [b.random(n) for _ in range(3)]
            all = b.Add(b.MatMul(x, np.concatenate(w, axis=1)), np.concatenate(bias))
            q, k, v = b.Split(all, np.array([n, n, n]), axis=-1, outputs=3)
            if what == "Attention":
                return b.Attention(q, k, v, q_num_heads=c, kv_num_heads=c)
            return b.contrib("MultiHeadAttention", q, k, v, num_heads=c)

        yield f"self-attention {at}", 23, shape, {
            "Attention": lambda b, x, f=one_by_one: f(b, x, "Attention"),
            "Split, Attention": lambda b, x, f=merged: f(b, x, "Attention"),
            "MultiHeadAttention": lambda b, x, f=one_by_one: f(b, x, "MultiHeadAttention"),
            "Split, MultiHeadAttention": lambda b, x, f=merged: f(b, x, "MultiHeadAttention"),
            "biases in MultiHeadAttention": biases_inside,
            "com.microsoft Attention": products_inside,
        }

    for shape in [1, 16, 56, 56], [1, 96, 14, 14], [1, 256, 20, 20]:
        c, at = shape[1], "x".join(map(str, shape))
        div = lambda b, x: b.Div(b.Mul(x, b.Clip(b.Add(x, 3.0), np.float32(0), np.float32(6))), 6.0)
        by_gate = lambda b, x: b.Mul(x, b.HardSigmoid(x, alpha=1 / 6, beta=0.5))
        hard_gate = lambda b, x: b.Div(b.Clip(b.Add(x, 3.0), np.float32(0), np.float32(6)), 6.0)
        acts = {
            "HardSwish": (14, {"clip": div, "HardSigmoid": by_gate, "HardSwish": lambda b, x: b.HardSwish(x)}),
            "HardSigmoid": (14, {
                "clip": hard_gate,
                "HardSigmoid": lambda b, x: b.HardSigmoid(x, alpha=1 / 6, beta=0.5),
            }),
            "Mish": (18, {
                "spelled": lambda b, x: b.Mul(x, b.Tanh(b.Softplus(x))),
                "Mish": lambda b, x: b.Mish(x),
            }),
            "Swish": (24, {
                "spelled": lambda b, x: b.Mul(x, b.Sigmoid(x)),
                "Swish": lambda b, x: b.Swish(x),
                "QuickGelu": lambda b, x: b.contrib("QuickGelu", x, alpha=1.0),
            }),
            "Softplus": (14, {
                "spelled": lambda b, x: b.Log(b.Add(b.Exp(x), 1.0)),
                "Softplus": lambda b, x: b.Softplus(x),
            }),
            "Gelu": (20, {"spelled": gelu_spelled, "Gelu": lambda b, x: b.Gelu(x)}),
        }
        for name, (opset, spellings) in acts.items():
            yield f"{name} {at}", opset, shape, spellings
            behind = {k: (lambda b, x, f=f, c=c: f(b, conv(b, x, c))) for k, f in spellings.items()}
            yield f"{name} behind a Conv {at}", opset, shape, behind

        for name, attrs in {
            "Relu": {},
            "Sigmoid": {},
            "HardSigmoid": {"alpha": 1 / 6, "beta": 0.5},
            "LeakyRelu": {"alpha": 0.1},
        }.items():
            inside = {"activation": name} | ({"activation_params": [*attrs.values()]} if attrs else {})
            yield f"Conv, {name} {at}", 17, shape, {
                "two": lambda b, x, c=c, n=name, a=attrs: getattr(b, n)(conv(b, x, c), **a),
                "FusedConv": lambda b, x, c=c, a=inside: b.contrib("FusedConv", x, kernel(b, c), b.random(c), **a),
            }

        yield f"Conv, Clip {at}", 17, shape, {
            "two": lambda b, x, c=c: b.Clip(conv(b, x, c), np.float32(0), np.float32(6)),
            "FusedConv": lambda b, x, c=c: b.contrib(
                "FusedConv", x, kernel(b, c), b.random(c), activation="Clip", activation_params=[0.0, 6.0]
            ),
        }
        yield f"Conv, sum, Relu {at}", 17, shape, {
            "three": lambda b, x, c=c: b.Relu(b.Add(conv(b, x, c), x)),
            "FusedConv, Relu": lambda b, x, c=c: b.Relu(b.contrib("FusedConv", x, kernel(b, c), b.random(c), x)),
            "FusedConv": lambda b, x, c=c: b.contrib(
                "FusedConv", x, kernel(b, c), b.random(c), x, activation="Relu"
            ),
        }
        yield f"Conv, sum {at}", 17, shape, {
            "two": lambda b, x, c=c: b.Sigmoid(b.Add(conv(b, x, c), x)),
            "FusedConv": lambda b, x, c=c: b.Sigmoid(b.contrib("FusedConv", x, kernel(b, c), b.random(c), x)),
        }

        def two(b, x, c=c):
            w, bias = [kernel(b, c) for _ in range(2)], b.random(2, c)
            return b.Add(*(b.Conv(x, w[k], bias[k]) for k in range(2)))

        def one(b, x, c=c):
            w, bias = [kernel(b, c) for _ in range(2)], b.random(2, c)
            return b.Conv(x, w[0] + w[1], bias[0] + bias[1])

        yield f"parallel Convs {at}", 18, shape, {"two": two, "one": one}

    for rows, n in (1, 512), (128, 256), (197, 768):
        yield f"Gemm {rows}x{n}", 17, [rows, n], {
            "MatMul, Add": lambda b, x, n=n: b.Add(b.MatMul(x, b.random(n, n)), b.random(n)),
            "Gemm": lambda b, x, n=n: b.Gemm(x, b.random(n, n), b.random(n)),
            "Gemm, transposed": lambda b, x, n=n: b.Gemm(
                x, np.ascontiguousarray(b.random(n, n).T), b.random(n), transB=1
            ),
        }

        def flat(b, x, n=n, rows=rows):
            y = b.Gemm(b.Reshape(x, np.array([-1, n])), b.random(n, n), b.random(n))
            return b.Reshape(y, np.array([1, rows, n]))

        yield f"Gemm, Relu {rows}x{n}", 17, [rows, n], {
            "two": lambda b, x, n=n: b.Relu(b.Gemm(x, b.random(n, n), b.random(n))),
            "FusedGemm": lambda b, x, n=n: b.contrib("FusedGemm", x, b.random(n, n), b.random(n), activation="Relu"),
        }
        yield f"batched product {rows}x{n}", 17, [1, rows, n], {
            "Reshape, Gemm, Reshape": flat,
            "MatMul, Add": lambda b, x, n=n: b.Add(b.MatMul(x, b.random(n, n)), b.random(n)),
        }


def write(path, opset, shape, spelling):
    body, x = Body(), "x"
    for _ in range(TIMES):
        x = spelling(body, x)
    body.nodes.append(helper.make_node("Identity", [x], ["y"]))
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    weights = [numpy_helper.from_array(v, k) for k, v in body.weights.items()]
    graph = helper.make_graph(body.nodes, "spelling", [info("x")], [info("y")], weights)
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, 1) for d in body.domains if d]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    onnx.save(model, path)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--runtimes", default="ort-all,ort-none,openvino", type=lambda t: t.split(","))
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--seconds", type=float, default=2, help="per case, runtime and repeat")
    args.add_argument("--repeat", type=int, default=2)
    args.add_argument("--filter", default="")
    args = args.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="spellings-") as folder:
        for name, opset, shape, spellings in cases():
            if args.filter not in name:
                continue
            paths = {}
            for k, (label, spelling) in enumerate(spellings.items()):
                paths[label] = pathlib.Path(folder) / f"{k}.onnx"
                write(paths[label], opset, shape, spelling)
            for runtime in args.runtimes:
                results = [latency.work((runtime, paths, args.threads, args.seconds)) for _ in range(args.repeat)]
                first, *others = paths
                if why := next((r["why"] for r in results if "why" in r), None):
                    rows.append([name, runtime, first, "", "", why])
                    continue
                ms = f"{statistics.median(r['times'][first][0] for r in results) * 1e3 / TIMES:.4f}"
                for other in others:
                    ratios = [r["times"][other][1] for r in results if other in r["times"]]
                    said = results[0]["out"].get(other, "")
                    rows.append([name, runtime, f"{other} / {first}", ms, latency.cell(ratios), said[:60]])
                measure.print_table(["", "", "", "CPU ms", "ratio", ""], rows[-len(others) :])
    print()
    measure.print_table(["computation", "runtime", "spellings", "CPU ms", "ratio", ""], rows)


if __name__ == "__main__":
    main()
