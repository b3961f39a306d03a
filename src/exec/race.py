"""Times models in a runtime, taking turns: race.py RUNTIME SECONDS FOLDER.

FOLDER has 0.onnx, 1.onnx, …, and feed.json: [{"name", "dtype", "dims", "file"}], with elements in FILE as they lie in
memory. Prints {"version", "times": [[seconds of processor time, one per round], …]}, one list per model, or {"missing"}
or {"failed", "model"}. One thread, and OpenVINO in float32, which it would otherwise not be compared in everywhere.
"""

import json
import pathlib
import sys
import time

FEWEST, MOST = 9, 400  # rounds
TURN = 0.004  # seconds that a model runs before the next one does


def say(**what):
    print(json.dumps(what))
    sys.exit()


def in_onnxruntime(runtime, path, feed):
    runtime.set_default_logger_severity(4)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {i.name: feed[i.name] for i in session.get_inputs() if i.name in feed}
    return lambda: session.run(None, given)


def in_openvino(runtime, path, feed):
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"}
    compiled = runtime.Core().compile_model(str(path), "CPU", config)
    given = {port: feed[name] for port in compiled.inputs for name in port.get_names() if name in feed}
    request = compiled.create_infer_request()
    return lambda: request.infer(given)


def main(name, seconds, folder):
    try:
        import numpy

        runtime = __import__(name)
    except ImportError as error:
        say(missing=str(error))
    feed = {}
    for tensor in json.loads((folder / "feed.json").read_text()):
        elements = numpy.fromfile(folder / tensor["file"], dtype=tensor["dtype"])
        feed[tensor["name"]] = elements.reshape(tensor["dims"])
    load = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}[name]
    runs, turns = [], []
    for index in range(sum(path.suffix == ".onnx" for path in folder.iterdir())):
        try:
            run = load(runtime, folder / f"{index}.onnx", feed)
            run()
            start = time.process_time()
            run()
            once = time.process_time() - start
        except Exception as error:
            say(failed=" ".join(f"{type(error).__name__}: {error}".split())[:400], model=index)
        runs.append(run)
        turns.append(max(1, min(1000, int(TURN / max(once, 1e-6)))))
    times = [[] for _ in runs]
    end = time.monotonic() + seconds
    for round in range(MOST):
        if round >= FEWEST and time.monotonic() >= end:
            break
        for place in range(len(runs)):
            # Who comes first changes from round to round.
            index = (round + place) % len(runs)
            start = time.process_time()
            for _ in range(turns[index]):
                runs[index]()
            times[index].append((time.process_time() - start) / turns[index])
    say(version=str(runtime.__version__), times=times)


main(sys.argv[1], float(sys.argv[2]), pathlib.Path(sys.argv[3]))
