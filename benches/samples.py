"""Samples of a model's inputs from an .npz file."""

import re

import numpy

LABELS = ("labels", "label", "y", "targets", "target")


def samples(path, inputs, most=None):
    """A dict of inputs per sample. Arrays have a leading axis of samples, over whole inputs or as their batch."""
    stored = numpy.load(path, allow_pickle=False)
    arrays = {i.name: stored[key] for i in inputs if (key := key_of(i.name, stored.files))}
    if len(inputs) == 1 and not arrays:
        other = [k for k in stored.files if not re.search("label|target|^y$", k, re.I)]
        arrays = {inputs[0].name: stored[other[0]]} if other else {}
    if missing := [i.name for i in inputs if i.name not in arrays]:
        raise ValueError(f"{path} has no arrays for {', '.join(missing)}; it has {', '.join(stored.files)}")
    count = min(map(len, arrays.values()))
    ranks = {i.name: len(i.shape) for i in inputs}

    def cut(name, k):
        whole = arrays[name].ndim == ranks[name] + 1
        return numpy.ascontiguousarray(arrays[name][k] if whole else arrays[name][k : k + 1])

    return [{n: cut(n, k) for n in arrays} for k in range(min(count, most or count))]


def key_of(name, keys):
    return next((k for k in (name, f"input:{name}", name.replace("/", "_")) if k in keys), None)


def labels(path):
    stored = numpy.load(path, allow_pickle=False)
    return next((stored[k] for k in stored.files if k.lower() in LABELS), None)


def trimmed(path, to, most):
    """The first `most` samples in a file of their own, so that every tool sees the same."""
    stored = numpy.load(path, allow_pickle=False)
    numpy.savez(to, **{k: stored[k][:most] if stored[k].ndim else stored[k] for k in stored.files})
