"""Which kernels runtimes choose: how many weighted operators they run in integers, and which in floats."""

import pathlib
import tempfile

import onnx
import onnxruntime


FLOAT = {"Conv", "ConvTranspose", "MatMul", "Gemm", "FusedConv", "FusedMatMul", "FusedGemm", "LSTM", "GRU", "RNN"}
INTEGER = {
    "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM",
}  # fmt: skip


def in_onnxruntime(path):
    """(operators in integers, operators in floats), after all its optimizations."""
    with tempfile.TemporaryDirectory(prefix="kernels-") as folder:
        to = pathlib.Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(to)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        ops = [n.op_type for n in onnx.load(to, load_external_data=False).graph.node]
    return [o for o in ops if o in INTEGER], [o for o in ops if o in FLOAT]


LAYERS = {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "LSTMSequence", "GRUSequence"}


def in_openvino(compiled):
    """The same of a model that is compiled: the layers' types with the precision they run in."""
    ints, floats = [], []
    for op in compiled.get_runtime_model().get_ops():
        info = {k: str(op.get_rt_info()[k].astype(str)) for k in ("layerType", "runtimePrecision") if k in op.get_rt_info()}
        if info.get("layerType") in LAYERS:
            is_integer = info["runtimePrecision"].lower() in ("i8", "u8")
            (ints if is_integer else floats).append(f"{info['layerType']}:{info['runtimePrecision']}")
    return ints, floats
