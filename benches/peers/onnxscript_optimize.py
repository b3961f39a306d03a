"""onnxscript's default optimizer, which has no command of its own: onnxscript_optimize.py IN OUT"""

import sys

import onnx
import onnxscript.optimizer

onnx.save(onnxscript.optimizer.optimize(onnx.load(sys.argv[1])), sys.argv[2])
