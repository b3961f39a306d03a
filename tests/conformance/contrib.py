#!/usr/bin/env python3
"""What we take onnxruntime's own operators for: each is run beside the same thing in ONNX's operators.

    contrib.py --bin PATH [--filter TEXT]

onnxruntime runs both and says whether they are the same; then `onnx-slim check` has to find the same, in the embedded
engine, which knows ONNX's only. Passed: both do.
"""

import argparse
import pathlib
import sys
import tempfile

import onnx
import onnx.parser

import engines
import feeds
import models
import tool

GELU = """
  a = Mul({x}, root)  e = Erf(a)  b = Add(e, one)  c = Mul({x}, half)  {y} = Mul(c, b)"""
NUMBERS = "float root = {0.70710677}, float one = {1}, float half = {0.5}"
NORM = "LayerNormalization<axis = -1, epsilon = 0.001>"
CONV = "(float[2,4,6,6] x, float[4,4,3,3] w, float[4] b, float[2,4,6,6] z)"
GEMM = "(float[5,3] x, float[4,3] w, float[4] b)"
SKIP = "(float[2,5,8] x, float[2,5,8] s, float[8] k, float[8] h, float[8] b)"
HEADS = "(float[2,5,8] q, float[2,6,8] k, float[2,6,8] v, float[24] b, float[1,2,5,6] m)"
PLAIN = "Attention<q_num_heads = 2, kv_num_heads = 2>"
BIASED = """
  z0 = Constant<value_ints = [0]>()  e1 = Constant<value_ints = [8]>()
  e2 = Constant<value_ints = [16]>()  e3 = Constant<value_ints = [24]>()
  bq = Slice(b, z0, e1)  bk = Slice(b, e1, e2)  bv = Slice(b, e2, e3)
  qb = Add(q, bq)  kb = Add(k, bk)  vb = Add(v, bv)"""
PACKED = "(float[2,5,8] x, float[8,24] w, float[24] b, float[2,2,5,5] m, float[2,5] s)"
PARTED = """
  p = MatMul(x, w)  pb = Add(p, b)  sizes = Constant<value_ints = [8, 8, 8]>()  q, k, v = Split<axis = 2>(pb, sizes)"""
SEEN = "zero = Constant<value_float = 0.0>()  seen = Greater(s, zero)"
FILTERED = """
  low = Constant<value_float = -10000.0>()  axes = Constant<value_ints = [1, 2]>()
  f = Where(seen, zero, low)  row = Unsqueeze(f, axes)
  all = Constant<value_ints = [2, 1, 5, 5]>()  m4 = Expand(row, all)"""
EMBED = """(int32[2,5] ids, int32[2,5] types, float[64,8] words, float[9,8] places, float[2,8] kinds, float[8] k,
  float[8] h)"""


def conv_activation(name, attrs, params):
    fused = f'com.microsoft.FusedConv<activation = "{name}"{params}, pads = [1, 1, 1, 1]>'
    spelled = f"c = Conv<pads = [1, 1, 1, 1]>(x, w, b)  y = {name}{attrs}(c)"
    return CONV, "(float[2,4,6,6] y)", f"y = {fused}(x, w, b)", spelled


def gemm_activation(name, attrs, params):
    fused = f'com.microsoft.FusedGemm<activation = "{name}"{params}, transB = 1, alpha = 0.5>'
    spelled = f"c = Gemm<transB = 1, alpha = 0.5>(x, w, b)  y = {name}{attrs}(c)"
    return GEMM, "(float[5,4] y)", f"y = {fused}(x, w, b)", spelled


# name: inputs, outputs, the operator, the same in others, and numbers that the latter needs.
CASES = {
    "FusedConv Relu": conv_activation("Relu", "", ""),
    "FusedConv Tanh": conv_activation("Tanh", "", ""),
    "FusedConv Sigmoid": conv_activation("Sigmoid", "", ""),
    "FusedConv LeakyRelu": conv_activation("LeakyRelu", "<alpha = 0.3>", ", activation_params = [0.3]"),
    "FusedConv HardSigmoid": conv_activation(
        "HardSigmoid", "<alpha = 0.3, beta = 0.4>", ", activation_params = [0.3, 0.4]"
    ),
    "FusedConv Clip": (
        CONV,
        "(float[2,4,4,4] y)",
        'y = com.microsoft.FusedConv<activation = "Clip", activation_params = [0.0, 0.5]>(x, w)',
        "c = Conv(x, w)  y = Clip(c, low, half)",
        "float low = {0}, float half = {0.5}",
    ),
    "FusedConv sum": (
        CONV,
        "(float[2,4,6,6] y)",
        'y = com.microsoft.FusedConv<activation = "Relu", pads = [1, 1, 1, 1]>(x, w, , z)',
        "c = Conv<pads = [1, 1, 1, 1]>(x, w)  d = Add(c, z)  y = Relu(d)",
    ),
    "FusedGemm Relu": gemm_activation("Relu", "", ""),
    "FusedGemm Tanh": gemm_activation("Tanh", "", ""),
    "FusedGemm Sigmoid": gemm_activation("Sigmoid", "", ""),
    "FusedGemm LeakyRelu": gemm_activation("LeakyRelu", "<alpha = 0.3>", ", activation_alpha = 0.3"),
    "FusedGemm HardSigmoid": gemm_activation(
        "HardSigmoid", "<alpha = 0.3, beta = 0.4>", ", activation_alpha = 0.3, activation_beta = 0.4"
    ),
    "FusedMatMul": (
        "(float[2,3,4,5] a, float[2,3,6,4] b)",
        "(float[2,3,5,6] y)",
        "y = com.microsoft.FusedMatMul<transA = 1, transB = 1, alpha = 0.5>(a, b)",
        """s = Transpose<perm = [0, 1, 3, 2]>(a)  t = Transpose<perm = [0, 1, 3, 2]>(b)
  p = MatMul(s, t)  y = Mul(p, half)""",
        "float half = {0.5}",
    ),
    "FusedMatMul broadcast": (
        "(float[2,3,5,4] a, float[6,4] b)",
        "(float[2,3,5,6] y)",
        "y = com.microsoft.FusedMatMul<transB = 1>(a, b)",
        "t = Transpose<perm = [1, 0]>(b)  y = MatMul(a, t)",
    ),
    "QuickGelu": (
        "(float[2,8] x)",
        "(float[2,8] y)",
        "y = com.microsoft.QuickGelu(x)",
        "a = Mul(x, k)  s = Sigmoid(a)  y = Mul(x, s)",
        "float k = {1.702}",
    ),
    "QuickGelu alpha": (
        "(float[2,8] x)",
        "(float[2,8] y)",
        "y = com.microsoft.QuickGelu<alpha = 1.0>(x)",
        "s = Sigmoid(x)  y = Mul(x, s)",
    ),
    "Gelu": ("(float[2,8] x)", "(float[2,8] y)", "y = com.microsoft.Gelu(x)", GELU.format(x="x", y="y"), NUMBERS),
    "BiasGelu": (
        "(float[2,8] x, float[8] b0)",
        "(float[2,8] y)",
        "y = com.microsoft.BiasGelu(x, b0)",
        "s = Add(x, b0)" + GELU.format(x="s", y="y"),
        NUMBERS,
    ),
    "FastGelu": (
        "(float[2,8] x, float[8] b0)",
        "(float[2,8] y)",
        "y = com.microsoft.FastGelu(x, b0)",
        'p = Add(x, b0)  y = Gelu<approximate = "tanh">(p)',
    ),
    "SkipLayerNormalization": (
        SKIP,
        "(float[2,5,8] y)",
        "y = com.microsoft.SkipLayerNormalization<epsilon = 0.001>(x, s, k, h)",
        f"t = Add(x, s)  y = {NORM}(t, k, h)",
    ),
    "SkipLayerNormalization sum": (
        SKIP,
        "(float[2,5,8] y, float[2,5,8] u)",
        "y, m, i, u = com.microsoft.SkipLayerNormalization<epsilon = 0.001>(x, s, k, h, b)",
        f"t = Add(x, s)  u = Add(t, b)  y = {NORM}(u, k, h)",
    ),
    "SkipLayerNormalization default": (
        SKIP,
        "(float[2,5,8] y)",
        "y = com.microsoft.SkipLayerNormalization(x, s, k)",
        "t = Add(x, s)  y = LayerNormalization<axis = -1, epsilon = 0.000000000001>(t, k)",
    ),
    "SkipSimplifiedLayerNormalization": (
        SKIP,
        "(float[2,5,8] y, float[2,5,8] u)",
        "y, m, i, u = com.microsoft.SkipSimplifiedLayerNormalization<epsilon = 0.001>(x, s, k, b)",
        "t = Add(x, s)  u = Add(t, b)  y = RMSNormalization<axis = -1, epsilon = 0.001>(u, k)",
    ),
    "SimplifiedLayerNormalization": (
        "(float[2,5,8] x, float[8] k)",
        "(float[2,5,8] y)",
        "y = SimplifiedLayerNormalization<axis = -1, epsilon = 0.001>(x, k)",
        "y = RMSNormalization<axis = -1, epsilon = 0.001>(x, k)",
    ),
    "EmbedLayerNormalization": (
        EMBED,
        "(float[2,5,8] y)",
        "y, c = com.microsoft.EmbedLayerNormalization<epsilon = 0.001>(ids, types, words, places, kinds, k, h)",
        f"""z = Constant<value_ints = [0]>()  n = Constant<value_ints = [5]>()
  w = Gather(words, ids)  r = Slice(places, z, n, z)  t = Gather(kinds, types)
  a = Add(w, r)  b = Add(a, t)  y = {NORM}(b, k, h)""",
    ),
    "EmbedLayerNormalization without segments": (
        EMBED,
        "(float[2,5,8] y)",
        "y, c = com.microsoft.EmbedLayerNormalization<epsilon = 0.001>(ids, , words, places, , k, h, , types)",
        f"w = Gather(words, ids)  r = Gather(places, types)  a = Add(w, r)  y = {NORM}(a, k, h)",
    ),
    "MultiHeadAttention": (
        HEADS,
        "(float[2,5,8] y)",
        "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v)",
        f"y = {PLAIN}(q, k, v)",
    ),
    "MultiHeadAttention scale": (
        HEADS,
        "(float[2,5,8] y)",
        "y = com.microsoft.MultiHeadAttention<num_heads = 2, scale = 0.3>(q, k, v, , , m)",
        "y = Attention<q_num_heads = 2, kv_num_heads = 2, scale = 0.3>(q, k, v, m)",
    ),
    "MultiHeadAttention bias": (
        HEADS,
        "(float[2,5,8] y)",
        "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b)",
        f"{BIASED}  y = {PLAIN}(qb, kb, vb)",
    ),
    "EmbedLayerNormalization counts": (
        EMBED,
        "(float[2,5,8] y, int32[2] c)",
        """z = Constant<value = int32 {0}>()  more = Greater(types, z)  mask = Cast<to = 6>(more)
  y, c = com.microsoft.EmbedLayerNormalization<epsilon = 0.001>(ids, , words, places, , k, h, mask, types)""",
        f"""z = Constant<value = int32 {{0}}>()  more = Greater(types, z)  mask = Cast<to = 6>(more)
  one = Constant<value_ints = [1]>()  c = ReduceSum<keepdims = 0>(mask, one)
  w = Gather(words, ids)  r = Gather(places, types)  a = Add(w, r)  y = {NORM}(a, k, h)""",
    ),
    "Attention": (
        PACKED,
        "(float[2,5,8] y)",
        "y = com.microsoft.Attention<num_heads = 2>(x, w, b)",
        f"{PARTED}  y = {PLAIN}(q, k, v)",
    ),
    "Attention causal": (
        PACKED,
        "(float[2,5,8] y)",
        "y = com.microsoft.Attention<num_heads = 2, unidirectional = 1, scale = 0.3>(x, w, b)",
        f"{PARTED}  y = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1, scale = 0.3>(q, k, v)",
    ),
    "Attention added": (
        PACKED,
        "(float[2,5,8] y)",
        "y = com.microsoft.Attention<num_heads = 2>(x, w, b, , , m)",
        f"{PARTED}  y = {PLAIN}(q, k, v, m)",
    ),
    "Attention mask": (
        PACKED,
        "(float[2,5,8] y)",
        f"{SEEN}  mask = Cast<to = 6>(seen)  y = com.microsoft.Attention<num_heads = 2>(x, w, b, mask)",
        f"{SEEN}{FILTERED}{PARTED}  y = {PLAIN}(q, k, v, m4)",
    ),
    "Attention counts": (
        PACKED,
        "(float[2,5,8] y)",
        """counts = Constant<value = int32[2] {3, 5}>()
  y = com.microsoft.Attention<num_heads = 2>(x, w, b, counts)""",
        f"""zero = Constant<value_float = 0.0>()
  keys = Constant<value = int32[1,5] {{0, 1, 2, 3, 4}}>()  counts = Constant<value = int32[2,1] {{3, 5}}>()
  seen = Less(keys, counts){FILTERED}{PARTED}  y = {PLAIN}(q, k, v, m4)""",
    ),
}


def write(path, inputs, outputs, body, numbers=""):
    head = '<ir_version: 11, opset_import: ["": 23, "com.microsoft": 1]>'
    given = f"<{numbers}>" if numbers else ""
    onnx.save(onnx.parser.parse_model(f"{head}\ng {inputs} => {outputs} {given} {{\n{body}\n}}"), path)


def check(binary, folder, inputs, outputs, fused, spelled, numbers=""):
    """None, or what is wrong."""
    paths = folder / "fused.onnx", folder / "spelled.onnx"
    write(paths[0], inputs, outputs, fused)
    write(paths[1], inputs, outputs, spelled, numbers)
    values = feeds.random_feeds(feeds.open_inputs(onnx.load(paths[0])), feeds.same_size(2))
    want, got = (engines.onnxruntime_run(p, values) for p in paths)
    error, why = models.relative_error(list(want), list(got))
    if error > 1e-5:
        return f"onnxruntime: {why or f'relative error {error:.1e}'}"
    ran = tool.run(binary, "check", *paths)
    return None if ran.code == 0 else " ".join((ran.stdout.decode() + ran.stderr).split())[-200:]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--filter", default="")
    args = args.parse_args()
    chosen = {name: case for name, case in CASES.items() if args.filter in name}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="contrib-") as folder:
        for name, case in chosen.items():
            try:
                why = check(args.bin, pathlib.Path(folder), *case)
            except Exception as e:
                why = engines.one_line(e)
            if why:
                failed += 1
                print(f"{name}: {why}")
    print(f"contrib: {len(chosen) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
