"""One quantizer on one model, in a process of its own: quantize.py PEER MODEL CALIB OUT. Without MODEL: can it run?

Peers are given what their manuals ask for: models of an older opset than 13 are converted first, onnxruntime gets its
preprocessing, NNCF is told of transformers.
"""

import os
import pathlib
import sys
import tempfile

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))

OLDEST = 13


def inputs_of(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).get_inputs()


def raised(path, folder):
    import onnx
    import onnx.version_converter

    model = onnx.load(path)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset >= OLDEST:
        return path
    to = f"{folder}/raised.onnx"
    result = onnx.version_converter.convert_version(model, OLDEST)
    # Before version 4 every initializer had to be an input, and the converter drops those.
    result.ir_version = max(result.ir_version, 7)
    onnx.save(result, to)
    return to


def reader(given):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rewind()

        def get_next(self):
            return next(self.rest, None)

        def get_first(self):
            return given[0]

        def rewind(self):
            self.rest = iter(given)

        def set_range(self, start_index, end_index):
            self.rest = iter(given[start_index:end_index])

        def __len__(self):
            return len(given)

    return Reader()


def preprocessed(path, folder):
    from onnxruntime.quantization.shape_inference import quant_pre_process

    to, without_shapes = f"{folder}/preprocessed.onnx", {"skip_symbolic_shape": True}
    for how in ({}, without_shapes, without_shapes | {"skip_optimization": True}):
        try:
            quant_pre_process(path, to, **how)
            return to
        except Exception as e:
            print(f"preprocessing {how}: {e}", file=sys.stderr)
    return path


def onnxruntime_static(path, calib, out, folder, method="MinMax", symmetric=False):
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    import samples

    path = preprocessed(path, folder)
    extra = {"ActivationSymmetric": symmetric} | ({"CalibPercentile": 99.99} if method == "Percentile" else {})
    quantize_static(
        path,
        out,
        reader(samples.samples(calib, inputs_of(path))),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        extra_options=extra,
    )


def onnxruntime_dynamic(path, calib, out, folder):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(preprocessed(path, folder), out, weight_type=QuantType.QInt8, per_channel=True)


def nncf(path, calib, out, folder, preset="MIXED"):
    import nncf
    import onnx

    import samples

    model = onnx.load(path)
    given = samples.samples(calib, inputs_of(path))
    ops = [n.op_type for n in model.graph.node]
    transformer = ops.count("Softmax") >= 2 and ops.count("MatMul") >= 6
    result = nncf.quantize(
        model,
        nncf.Dataset(given),
        preset=getattr(nncf.QuantizationPreset, preset),
        subset_size=len(given),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    onnx.save(result, out)


def modelopt(path, calib, out, folder, method="max"):
    import samples
    from modelopt.onnx.quantization import quantize

    given = samples.samples(calib, inputs_of(path))
    quantize(
        path,
        quantize_mode="int8",
        calibration_data_reader=reader(given),
        calibration_method=method,
        calibration_eps=["cpu"],
        output_path=out,
        high_precision_dtype="fp32",
        log_level="WARNING",
    )


PEERS = {
    "ort-minmax-u8s8": (onnxruntime_static, {}),
    "ort-minmax-s8s8": (onnxruntime_static, {"symmetric": True}),
    "ort-entropy-u8s8": (onnxruntime_static, {"method": "Entropy"}),
    "ort-percentile-u8s8": (onnxruntime_static, {"method": "Percentile"}),
    "ort-dynamic": (onnxruntime_dynamic, {}),
    "nncf-mixed": (nncf, {}),
    "nncf-performance": (nncf, {"preset": "PERFORMANCE"}),
    "modelopt-max": (modelopt, {}),
    "modelopt-entropy": (modelopt, {"method": "entropy"}),
}
NEEDS = {nncf: "nncf", modelopt: "modelopt.onnx.quantization"}

if __name__ == "__main__":
    run, how = PEERS[sys.argv[1]]
    if run is not modelopt:
        # onnxruntime's quantizer and NNCF import torch where there is one and do not need it.
        sys.modules.setdefault("torch", None)
    __import__(NEEDS.get(run, "onnxruntime.quantization"))
    if len(sys.argv) > 2:
        model, calib, out = (str(pathlib.Path(name).resolve()) for name in sys.argv[2:5])
        # onnxruntime's leaves files where it runs.
        with tempfile.TemporaryDirectory(prefix="peer-") as scratch:
            os.chdir(scratch)
            run(raised(model, scratch), calib, out, scratch, **how)
