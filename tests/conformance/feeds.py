"""Seeded inputs for a model nobody wrote inputs for."""

import ml_dtypes
import numpy as np

import engines

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bfloat16)": ml_dtypes.bfloat16,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}

# Tried in this order for the dims a model leaves open. The first axis stays small: it is nearly always the batch.
SIZES = (2, 1, 8, 16, 32, 64, 128, 224)


def concrete(shape, size, named):
    """The shape with its open dims filled; a dim name means the same size everywhere in the model."""
    dims = []
    for axis, d in enumerate(shape):
        if isinstance(d, int):
            dims.append(d)
            continue
        value = min(size, 2) if axis == 0 else size
        dims.append(named.setdefault(d, value) if isinstance(d, str) else value)
    return dims


def fill(name, dtype, shape, rng):
    """Values a model is likely to accept: masks are ones, positions count up, other integers are small."""
    name = name.lower()
    if dtype is np.object_:
        return np.full(shape, "a", dtype=object)
    if dtype is np.bool_:
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
    """`inputs` as an onnxruntime session lists them."""
    rng, named = np.random.default_rng(seed), {}
    return {i.name: fill(i.name, DTYPES[i.type], concrete(i.shape, size, named), rng) for i in inputs}


def first_accepted(path):
    """(feeds, outputs) for the first size with which the model runs unoptimized in onnxruntime."""
    session, error = engines.session(path), None
    for size in SIZES:
        feeds = random_feeds(session.get_inputs(), size)
        try:
            return feeds, session.run(None, feeds)
        except Exception as e:
            error = error or e
        if not any(not isinstance(d, int) for i in session.get_inputs() for d in i.shape):
            break
    raise error
