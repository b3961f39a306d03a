"""onnxruntime's quantizers for weights of 4 bits, one on one model, in a process of its own: lowbit.py PEER MODEL CALIB OUT.
Without MODEL: can it run? Groups of 32 throughout."""

import sys

GROUP = 32
PEERS = ["rtn", "rtn-asymmetric", "hqq", "k-quant", "gptq"]


def config(peer, model, calib):
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    if peer == "hqq":
        import torch  # noqa: F401

        return nbits.HQQWeightOnlyQuantConfig(block_size=GROUP, bits=4)
    if peer == "k-quant":
        return nbits.KQuantWeightOnlyQuantConfig()
    if peer == "gptq":
        import torch  # noqa: F401

        return nbits.GPTQWeightOnlyQuantConfig(calibration_data_reader=reader(model, calib), block_size=GROUP)
    return nbits.DefaultWeightOnlyQuantConfig(block_size=GROUP, is_symmetric=peer == "rtn")


def reader(model, calib):
    import numpy
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    arrays = numpy.load(calib)
    names = [i.name for i in onnx.load(model).graph.input]

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rewind()

        def rewind(self):
            self.left = iter(range(len(arrays[names[0]])))

        def get_next(self):
            at = next(self.left, None)
            return None if at is None else {name: arrays[name][at : at + 1] for name in names}

    return Reader()


def main():
    peer = sys.argv[1]
    if len(sys.argv) == 2:
        from onnxruntime.quantization import matmul_nbits_quantizer  # noqa: F401

        if peer in ("hqq", "gptq"):
            import torch  # noqa: F401
        return
    model, calib, out = sys.argv[2:]
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        onnx.load(model), block_size=GROUP, is_symmetric=peer == "rtn", algo_config=config(peer, model, calib)
    )
    quantizer.process()
    quantizer.model.save_model_to_file(out, False)


main()
