"""Runs models and reads stored values: onnxruntime with its own optimizer off, or onnx's reference evaluator."""

import os
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

onnxruntime.set_default_logger_severity(4)
warnings.filterwarnings("ignore")
np.seterr(all="ignore")


def load_value(path, typ):
    """A stored test value, by the type its graph input or output declares."""
    with open(path, "rb") as f:
        data = f.read()
    kind = typ.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    if kind == "map_type":
        return numpy_helper.to_dict(onnx.MapProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def session(path, level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, threads=1):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A thread that waits for work would count as one that works.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def onnxruntime_run(path, feeds):
    s = session(path)
    names = {i.name for i in s.get_inputs()} | {i.name for i in s.get_overridable_initializers()}
    return s.run(None, {k: v for k, v in feeds.items() if k in names})


def reference_run(path, feeds):
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    names = {i.name for i in model.graph.input}
    return ReferenceEvaluator(model).run(None, {k: v for k, v in feeds.items() if k in names})


ENGINES = {"onnxruntime": onnxruntime_run, "reference": reference_run}


def first_that_runs(path, feeds, engines=ENGINES):
    """(engine name, outputs), or (None, why not) when no engine can run the model."""
    why = "no engine"
    for name in engines:
        try:
            return name, ENGINES[name](path, feeds)
        except Exception as e:  # engines raise their own types, and plain ones too
            why = one_line(e)
    return None, why


def one_line(error, width=200):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:width] if isinstance(error, BaseException) else text[:width]
