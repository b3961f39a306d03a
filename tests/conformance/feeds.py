"""Seeded inputs for a model nobody wrote inputs for."""

import numpy as np
import onnx

import engines
import verdict

# Tried in this order for the dims a model leaves open. The first axis stays small: it is nearly always the batch.
SIZES = (2, 1, 8, 16, 32, 64, 128, 224)
# One size for everything hides a rewrite that takes one dim for another; these go to the open dims one by one.
DISTINCT = (3, 5, 7, 11, 13, 17)


def same_size(size):
    return lambda axis, k: min(size, 2) if axis == 0 else size


def distinct_size(axis, k):
    return DISTINCT[k % len(DISTINCT)]


def concrete(shape, size, named):
    """The dims with the open ones filled; a dim name means the same size everywhere in the model.

    `size` says how large an open dim is by its axis and by how many were filled before it; `named` collects them.
    """
    dims = []
    for axis, d in enumerate(shape.dim):
        if d.HasField("dim_value"):
            dims.append(d.dim_value)
            continue
        key = d.dim_param or len(named)
        dims.append(named.setdefault(key, size(axis, len(named))))
    return dims


def fill(name, dtype, shape, rng):
    """Values a model is likely to accept: masks are ones, positions count up, other integers are small."""
    name = name.lower()
    if dtype == np.object_:
        return np.full(shape, "a", dtype=object)
    if dtype == np.bool_:
        return np.ones(shape, np.bool_)
    if np.issubdtype(dtype, np.integer):
        if "mask" in name:
            return np.ones(shape, dtype)
        if "position" in name and shape:
            return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
        if "type" in name or "segment" in name:
            return rng.integers(0, 2, shape).astype(dtype)
        if "id" in name or "token" in name:
            return rng.integers(0, 64, shape).astype(dtype)
        return rng.integers(0, 3, shape).astype(dtype)
    if "mask" in name:
        return np.ones(shape, dtype)
    return rng.standard_normal(shape).astype(dtype)


def random_feeds(inputs, size, seed=0):
    rng, named = np.random.default_rng(seed), {}
    feeds = {}
    for i in inputs:
        t = i.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type)
        feeds[i.name] = fill(i.name, dtype, concrete(t.shape, size, named), rng)
    return feeds


def open_inputs(model):
    """The inputs somebody has to feed."""
    weights = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
    return [i for i in model.graph.input if i.name not in weights]


def accepted(path):
    """(engine, [(feeds, outputs)]) with the sizes with which the model runs, or (None, why none does).

    The first engine and the first size that work, and then distinct sizes if the model takes them too.
    """
    inputs, why = open_inputs(onnx.load(path, load_external_data=False)), "it runs in no engine"
    if other := [i for i in inputs if not i.type.HasField("tensor_type")]:
        return None, f"no inputs for {verdict.type_text(other[0].type)}"
    is_open = any(not d.HasField("dim_value") for i in inputs for d in i.type.tensor_type.shape.dim)
    for engine, run in engines.ENGINES.items():
        for size in SIZES if is_open else SIZES[:1]:
            feeds = random_feeds(inputs, same_size(size))
            try:
                runs = [(feeds, run(path, feeds))]
            except Exception as e:
                why = f"{why}; {engine}: {engines.one_line(e, 100)}" if size == SIZES[0] else why
                continue
            feeds = random_feeds(inputs, distinct_size)
            if is_open:
                try:
                    runs.append((feeds, run(path, feeds)))
                except Exception:
                    pass  # the model ties its open dims to each other
            return engine, runs
    return None, why
