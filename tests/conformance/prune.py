#!/usr/bin/env python3
"""Prunes models and compares what is left with the original in which zeros stand where it sums over what went.

    prune.py --bin PATH [FILE_OR_FOLDER...] [--ratio 0.3] [--filter TEXT] [--jobs 2] [-- FLAG...]

Without files the models are those of fixtures/calibrated/make.py and fixtures/contrib/make.py. Channels are chosen at random, and weights are not
repaired, so the two compute the same. What went is read from the weights alone: each weight of the result is found in
the same layer of the original, element by element, which tells the indices that are left along its axes; then the
input of every layer is multiplied by a mask of those that it still sums over. Nothing that the tool says of its cut
is taken from it. Both run in onnxruntime and have to agree to 1e-4 of an output's largest element (or to ten times as
much as moving the inputs by 1e-6 moves it), and to differ from the original.

A result also has to pass onnx's checker with strict shape inference, to keep its interface, and to be smaller, and the
tool's own comparison of structures must not have found anything. Flags after `--` go to `prune`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

import engines
import feeds as inputs
import models
import tool
import verdict
import workers
from tally import Tally

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RELATIVE = 1e-4
# What the tool says where every channel is tied to an input or output: there is nothing to compare.
NOTHING = "no channel of the model can be removed"
# What is said where it shows in no output that something went.
NO_DIFFERENCE = "what went makes no difference"
# Weights of which none is larger are taken to be near zero.
SMALL = 1e-2
SELECTIONS = ("NonMaxSuppression", "TopK", "NonZero", "RoiAlign")
# Operators with a weight, and where it is; of those of integers, what is zero of operand 0.
WEIGHTED = {op: (0, 1) for op in ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")}
WEIGHTED |= {op: (1,) for op in ("FusedConv", "FusedMatMul", "Attention", "QAttention")}
WEIGHTED |= {op: (3,) for op in ("QLinearConv", "QLinearMatMul", "QGemm")}
ZEROS = {"QLinearConv": 2, "QLinearMatMul": 2, "QGemm": 2, "QAttention": 6}
# Operators that sum over the last axes of operands that are no weights, with those operands.
SUMS = {op: (0,) for op in ("ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")}
SUMS |= {op: (0,) for op in ("RMSNormalization", "SimplifiedLayerNormalization", "LpNormalization")}
SUMS["SkipSimplifiedLayerNormalization"] = (0, 1)
# The same of products: of two operands that are both computed, or whatever they are.
PRODUCTS = ("MatMul", "Einsum")


class Unclear(Exception):
    """Why weights do not tell what went."""


def attributes(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def constants(model):
    found = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and (value := attributes(node).get("value")) is not None:
            found[node.output[0]] = value
        # A table that is read both ways.
        elif node.op_type == "Transpose" and node.input[0] in found:
            turned = numpy_helper.to_array(found[node.input[0]]).transpose(attributes(node).get("perm"))
            found[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(turned), node.output[0])
    return found


def places(whole, part):
    """For each axis, the indices of `whole` that `part` is made of."""
    if whole.shape == part.shape:
        return [np.arange(n) for n in whole.shape]
    values, at, times = np.unique(whole, return_index=True, return_counts=True)
    found = np.minimum(np.searchsorted(values, part), len(values) - 1)
    if not np.array_equal(values[found], part):
        raise Unclear("a weight has elements that the original's has not")
    # Of an array of more than one axis, numpy 2.4.6 gets coordinates wrong behind its first 8192 elements.
    coordinates = np.unravel_index(at[found].ravel(), whole.shape)
    kept = []
    for axis, indices in enumerate(coordinates):
        size = part.shape[axis]
        if size == whole.shape[axis]:
            kept.append(np.arange(size))
            continue
        # An element that occurs once tells where its slice was; -1 where there is none.
        indices = np.where(times[found] == 1, indices.reshape(part.shape), -1)
        kept.append(np.moveaxis(indices, axis, 0).reshape(size, -1).max(axis=1))
    for axis in range(part.ndim):
        by_content(whole, part, kept, axis)
    if not np.array_equal(whole[np.ix_(*kept)], part):
        raise Unclear("a weight is no part of the original's")
    return kept


def by_content(whole, part, kept, axis):
    """Find the slices along `axis` that have no element of their own by all that is known of them."""
    others = [k >= 0 for k in kept]
    others[axis] = np.ones(len(kept[axis]), bool)
    known = part[np.ix_(*others)]
    if not known.size:
        raise Unclear("a weight has few elements that occur once")
    rows = [k[o] for k, o in zip(kept, others)]
    rows[axis] = np.arange(whole.shape[axis])
    slices, known = np.moveaxis(whole[np.ix_(*rows)], axis, 0), np.moveaxis(known, axis, 0)
    for i in np.flatnonzero(kept[axis] < 0):
        start = kept[axis][i - 1] + 1 if i else 0
        like = [j for j in range(start, len(slices)) if np.array_equal(slices[j], known[i])]
        if not like:
            raise Unclear("a weight is no part of the original's")
        kept[axis][i] = like[0]


def layers(model, known):
    """Calls with a constant weight: {operator: [(place, node, its weight's slot)]}."""
    found = {op: [] for op in WEIGHTED}
    for place, node in enumerate(model.graph.node):
        if node.op_type not in WEIGHTED or node.op_type == "Attention" and not node.domain:
            continue
        slots = [i for i in WEIGHTED[node.op_type] if i < len(node.input) and node.input[i] in known]
        if slots:
            found[node.op_type].append((place, node, slots[-1]))
    return found


def pairs(dense, pruned):
    """The same layers of both, by their order, or where some went, by their names."""
    for op in WEIGHTED:
        if len(dense[op]) == len(pruned[op]):
            yield from zip(dense[op], pruned[op])
            continue
        named = {layer[1].name: layer for layer in pruned[op] if layer[1].name}
        for layer in dense[op]:
            if layer[1].name not in named:
                raise Unclear(f"{op} {layer[1].name!r} is not in the result")
            yield layer, named[layer[1].name]


def sums(node, slot, kept, rank):
    """(operand, axis from the back, indices that are left) of what a layer sums over."""
    values = attributes(node)
    if node.op_type in ("Conv", "FusedConv", "QLinearConv"):
        groups = values.get("group", 1)
        if groups > 1:
            # Groups that went whole are not summed over by those that are left.
            per_group = kept[1][1]
            left = (np.arange(groups)[:, None] * per_group + kept[1][0]).ravel()
            return [(0, rank - 1, left, groups * per_group)]
        return [(0, rank - 1, *kept[1])]
    if node.op_type == "ConvTranspose":
        return [(0, rank - 1, *kept[0])]
    if node.op_type in ("Gemm", "QGemm"):
        return [(0, 2 if values.get("transA", 0) else 1, *kept[1 if values.get("transB", 0) else 0])]
    if node.op_type == "FusedMatMul":
        return [(0, 2 if values.get("transA", 0) else 1, *kept[-1 if values.get("transB", 0) else -2])]
    if node.op_type in ("Attention", "QAttention"):
        return [(0, 1, *kept[0])]
    if node.op_type in ("MatMul", "QLinearMatMul"):
        if slot:
            return [(0, 1, *kept[max(0, rank - 2)])]
        return [(1, 2, *kept[-1])]
    return [(0, 1, *kept[2])]


def is_product(node, known):
    """Whether a node sums over the last axis of its first operand, and the weights of layers do not tell it."""
    if node.op_type == "Einsum":
        terms, _, result = attributes(node)["equation"].decode().replace(" ", "").partition("->")
        return terms.split(",")[0][-1:] not in result
    return node.op_type == "MatMul" and not known.keys() & set(node.input)


def summed(model, known, run):
    """For each operator that sums without a weight, its calls in order: (place, node, sizes of its first operand)."""
    found = {op: [] for op in (*SUMS, *PRODUCTS)}
    for place, node in enumerate(model.graph.node):
        if node.op_type in SUMS or is_product(node, known):
            found[node.op_type].append((place, node))
    names = {calls[1].input[0] for of_op in found.values() for calls in of_op}
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    names = sorted(names - {o.name for o in model.graph.output})
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    outputs = [o.name for o in shown.graph.output]
    sizes = {name: value.shape for name, value in zip(outputs, run(shown), strict=True)}
    return {op: [(place, node, sizes[node.input[0]]) for place, node in calls] for op, calls in found.items()}


def sums_last(node, rank, known):
    """Whether a node sums over the last axis."""
    if not node.op_type.startswith("Reduce"):
        return True
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in known:
        axes = numpy_helper.to_array(known[node.input[1]])
    return axes is None or rank - 1 in [axis % rank for axis in axes]


def behind(model, place, masks):
    """What layers sum over that read a node's result, or what calls without a weight make of it."""
    reached, found = set(model.graph.node[place].output), []
    for at in range(place + 1, len(model.graph.node)):
        node = model.graph.node[at]
        if not reached.intersection(node.input):
            continue
        if at in masks:
            found += masks[at]
        else:
            reached.update(node.output)
    return found


def ahead(model, place, layers):
    """The layers that make what a node reads first, as it is or through calls without a weight."""
    wanted, found = {model.graph.node[place].input[0]}, []
    for at in reversed(range(place)):
        node = model.graph.node[at]
        if not wanted.intersection(node.output):
            continue
        if at in layers:
            found.append(at)
        else:
            wanted.update(node.input)
    return found


def inner(left, size, whole, part):
    """Which `part` of `whole` indices are left of an axis, when `left` of `size` are where it is the inner of two."""
    if size % whole:
        return None
    outer, found = np.unique(left // whole), np.unique(left % whole)
    is_product = np.array_equal(left, (outer[:, None] * whole + found).ravel())
    return found if is_product and len(found) == part else None


def contracted(dense, calls, after, made):
    """Masks of products, of those indices that are left of what is computed before."""
    if len(calls) != len(after):
        raise Unclear(f"there are {len(calls)} products without a weight, and {len(after)} in the result")
    for (place, node, whole), (_, _, part) in zip(calls, after):
        if not whole or whole[-1] == part[-1]:
            continue
        lists = [inner(*made[at], whole[-1], part[-1]) for at in ahead(dense, place, made)]
        lists = [found for found in lists if found is not None]
        if not lists or any(not np.array_equal(one, lists[0]) for one in lists):
            raise Unclear(f"{node.op_type} {node.name!r} loses some of {whole[-1]}, and layers do not tell which")
        yield place, [(0, 1, lists[0], whole[-1])]


def made_by(node, kept):
    """The indices that are left of a layer's outputs, and how many there were."""
    if node.op_type in ("Conv", "FusedConv", "QLinearConv"):
        return kept[0]
    if node.op_type in ("Gemm", "QGemm"):
        return kept[0 if attributes(node).get("transB", 0) else 1]
    return kept[-1]


def reduced(dense, pruned, masks, made, run):
    """Masks of what sums over the last axis without a weight: those of the layers behind it, of as many of as many."""
    of_dense = constants(dense)
    before, after = summed(dense, of_dense, run), summed(pruned, constants(pruned), run)
    for op in PRODUCTS:
        yield from contracted(dense, before.pop(op), after[op], made)
    for op, calls in before.items():
        if len(calls) != len(after[op]):
            raise Unclear(f"there are {len(calls)} {op}, and {len(after[op])} in the result")
        for (place, node, whole), (_, _, part) in zip(calls, after[op]):
            if not whole or whole[-1] == part[-1] or not sums_last(node, len(whole), of_dense):
                continue
            near = behind(dense, place, masks) or [mask for of_node in masks.values() for mask in of_node]
            lists = [left for _, _, left, size in near if (size, len(left)) == (whole[-1], part[-1])]
            if not lists or any(not np.array_equal(one, lists[0]) for one in lists):
                raise Unclear(f"{op} {node.name!r} loses some of {whole[-1]}, and layers do not tell which")
            yield place, [(operand, 1, lists[0], whole[-1]) for operand in SUMS[op]]


def masked(dense, pruned, run):
    """Put zeros into the original; into how many inputs. `run` gives the outputs of a model."""
    of_dense, of_pruned = constants(dense), constants(pruned)
    masks, made = {}, {}
    for (place, node, slot), (_, other, other_slot) in pairs(layers(dense, of_dense), layers(pruned, of_pruned)):
        whole = numpy_helper.to_array(of_dense[node.input[slot]])
        part = numpy_helper.to_array(of_pruned[other.input[other_slot]])
        if slot != other_slot or whole.ndim != part.ndim:
            raise Unclear(f"{node.op_type} {node.name!r} has another weight")
        kept = [(indices, size) for indices, size in zip(places(whole, part), whole.shape)]
        found = sums(node, slot, kept, whole.ndim)
        made[place] = made_by(node, kept)
        if node.op_type in ("LSTM", "GRU", "RNN"):
            whole = numpy_helper.to_array(of_dense[node.input[2]])
            part = numpy_helper.to_array(of_pruned[other.input[2]])
            found.append((2, 1, places(whole, part)[2], whole.shape[2]))
        masks[place] = [(operand, back, left, size) for operand, back, left, size in found if len(left) < size]
    if not any(masks.values()):
        raise Unclear("no layer with a constant weight sums over less")
    for place, found in list(reduced(dense, pruned, masks, made, run)):
        masks[place] = found
    nodes, count = [], 0
    for place, node in enumerate(dense.graph.node):
        node = onnx.NodeProto.FromString(node.SerializeToString())
        for operand, back, left, size in masks.get(place, []):
            count += 1
            mask = np.zeros([size] + [1] * (back - 1), np.float32)
            mask[left] = 1
            if (weight := of_dense.get(node.input[operand])) is not None:
                mask = mask.astype(numpy_helper.to_array(weight).dtype)
            op, operands = "Mul", [node.input[operand], f"mask {count}"]
            if (slot := ZEROS.get(node.op_type)) is not None:
                op, operands, mask = "Where", [f"mask {count}", node.input[operand], node.input[slot]], mask > 0
            dense.graph.initializer.append(numpy_helper.from_array(mask, f"mask {count}"))
            nodes.append(helper.make_node(op, operands, [f"masked {count}"]))
            node.input[operand] = f"masked {count}"
        nodes.append(node)
    del dense.graph.node[:]
    dense.graph.node.extend(nodes)
    del dense.graph.value_info[:]
    return count


def differs(engine, pruned, runs):
    """How far the pruned model is from the original."""
    return max(relative(of_dense, engines.ENGINES[engine](pruned, feeds)) for feeds, of_dense in runs)


def show_heads(dense, pruned):
    """Make outputs of what layers compute behind which there is none but behind a selection; how many there are."""
    of_dense, of_pruned = constants(dense), constants(pruned)
    found = layers(dense, of_dense)
    places = {place for of_op in found.values() for place, *_ in of_op}
    read = set()
    for place in reversed(range(len(dense.graph.node))):
        node = dense.graph.node[place]
        goes_on = place in places or node.op_type not in SELECTIONS and read.intersection(node.output)
        if goes_on:
            read.update(node.input)
    count = 0
    for (_, one, _), (_, other, _) in pairs(found, layers(pruned, of_pruned)):
        if one.output[0] not in read:
            count += 1
            for model, node in ((dense, one), (pruned, other)):
                model.graph.output.append(helper.make_empty_tensor_value_info(node.output[0]))
    return count


def relative(want, got):
    worst = 0.0
    for a, b in zip(want, got, strict=True):
        if a.shape != b.shape:
            return np.inf
        if a.dtype.kind == "f" and a.size:
            a, b = a.astype(np.float64), b.astype(np.float64)
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-12)))
    return worst


def runs_of(path, dense):
    """As `inputs.accepted`, on samples where they are beside the model."""
    stored = path.with_name(f"{path.stem}_eval.npz")
    ranks = {i.name: len(i.type.tensor_type.shape.dim) for i in inputs.open_inputs(onnx.load(dense))}
    if stored.exists() and set((arrays := np.load(stored)).files) == set(ranks):
        sample = lambda k, i: np.asarray(arrays[k][i] if arrays[k].ndim > ranks[k] else arrays[k][i : i + 1])
        feeds = [{k: sample(k, i) for k in ranks} for i in range(2)]
        return "onnxruntime", [(feed, engines.onnxruntime_run(dense, feed)) for feed in feeds]
    return inputs.accepted(dense)


def wrong(folder, path, binary, flags):
    """What is wrong, a line each, and what was found."""
    dense, pruned, zeros = (folder / f"{kind}.onnx" for kind in ("dense", "pruned", "masked"))
    if (ran := tool.run(binary, "optimize", path, "-o", dense, "--no-check", timeout=600)).failure:
        return [": ".join(ran.failure)], ""
    own = ["--importance", "random", "--without-recovery", "--align", "1", "--report", "json"]
    ran = tool.run(binary, "prune", path, "-o", pruned, *own, *flags, timeout=900)
    if ran.failure:
        if NOTHING in ran.stderr:
            return None, NOTHING
        return [": ".join(ran.failure)], ""
    report = json.loads(ran.stdout)["pruning"]
    found = []
    own = report.get("structure", {"verdict": "nothing"})
    if own["verdict"] not in ("same", "not_run"):
        found.append(f"the tool's own comparison says {own['verdict']}: {own.get('reason')}")
    before, after = onnx.load(dense), onnx.load(pruned)
    onnx.checker.check_model(after, full_check=True)
    if why := verdict.interface_change(onnx.load(path), after):
        found.append(why)
    sizes = [f.stat().st_size for f in (dense, pruned)]
    if sizes[1] >= sizes[0]:
        found.append(f"{sizes[0]} bytes became {sizes[1]}")
    said = f"bytes {sizes[1] / sizes[0]:.3f}, macs {report['macs']:.3f}"
    if own["verdict"] == "not_run":
        said += f", not compared by the tool: {own['reason']}"
    engine, runs = runs_of(path, dense)
    if engine is None:
        return [*found, f"not run: {runs}"], said
    # Selections hide what they read: of an untrained detector nothing may be left, or the same for any input.
    shown = any(np.size(value) for _, of_dense in runs for value in of_dense)
    if not shown or differs(engine, pruned, runs) <= RELATIVE:
        count = show_heads(before, after)
        said += f", {count} layers before selections shown"
        onnx.save(before, dense)
        onnx.save(after, pruned)
        runs = [(feeds, engines.ENGINES[engine](dense, feeds)) for feeds, _ in runs]

    def run(model):
        onnx.save(model, zeros)
        return engines.ENGINES[engine](zeros, runs[0][0])

    try:
        count = masked(before, after, run)
    except Unclear as why:
        return [*found, f"not compared: {why}"], said
    onnx.save(before, zeros)
    error = distance = 0.0
    for feeds, of_dense in runs:
        want, got = (engines.ENGINES[engine](file, feeds) for file in (zeros, pruned))
        error, distance = max(error, relative(want, got)), max(distance, relative(of_dense, got))
        if error > RELATIVE and error > 10 * models.noise(engine, zeros, feeds, want):
            found.append(f"an output is {error:.1e} from what zeros make of the original")
            break
    said += f", {count} masks, error {error:.0e}, {distance:.0e} from the original"
    if distance <= RELATIVE:
        found.append(NO_DIFFERENCE)
    return found, said


def grown(path, folder):
    """A copy in which weights are large that nearly are zero, as scales of layers are before training."""
    model = onnx.load(path)
    for t in model.graph.initializer:
        values = numpy_helper.to_array(t)
        largest = np.abs(values).max() if values.dtype.kind == "f" and values.size > 1 else 0
        if 0 < largest < SMALL:
            fan = values[0].size if values.ndim > 1 else 4
            t.CopyFrom(numpy_helper.from_array((values * (2 / np.sqrt(fan) / largest)).astype(values.dtype), t.name))
    onnx.save(model, folder / path.name)
    return folder / path.name


def check(job):
    binary, path, flags = job
    try:
        with tempfile.TemporaryDirectory(prefix="prune-") as folder:
            folder = pathlib.Path(folder)
            found, said = wrong(folder, path, binary, flags)
            if found == [NO_DIFFERENCE]:
                found, said = wrong(folder, grown(path, folder), binary, flags)
                said += ", with small weights grown"
            return found, said
    except Exception as e:
        return [engines.one_line(e)], ""


def main():
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    own, flags = words[:split], words[split + 1 :]
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bin", required=True, type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("paths", nargs="*", type=lambda p: pathlib.Path(p).resolve())
    args.add_argument("--ratio", default="0.3")
    args.add_argument("--filter", default="")
    args.add_argument("--jobs", type=int, default=os.cpu_count())
    args = args.parse_args(own)
    flags = ["--ratio", args.ratio, *flags]
    tally = Tally("prune")
    with tempfile.TemporaryDirectory(prefix="prune-") as folder:
        paths = args.paths
        if not paths:
            for kind in ("calibrated", "contrib"):
                subprocess.run([sys.executable, ROOT / f"fixtures/{kind}/make.py", folder], check=True)
            paths = [pathlib.Path(folder)]
        files = [f for p in paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
        jobs = [(args.bin, f, flags) for f in files if args.filter in f.stem]
        for job, result, why in workers.over(jobs, check, args.jobs, timeout=1800):
            tally.add(job[1].stem, *(result or ([f"died: {why}"],)))
    sys.exit(tally.close())


if __name__ == "__main__":
    main()
