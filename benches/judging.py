"""What a model gives and how fast it is, found out in a process of its own: whoever asks must stay small."""

import json
import os
import subprocess
import sys

RUNTIMES = {"ort-all": "ORT ×", "openvino": "OV ×"}


class Helper:
    """Asks the process that has numpy and runtimes: this one must stay small to measure memory."""

    def __init__(self):
        self.p = None

    def __call__(self, *question):
        if self.p is None or self.p.poll() is not None:
            self.p = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        try:
            self.p.stdin.write(json.dumps([os.fspath(q) if isinstance(q, os.PathLike) else q for q in question]) + "\n")
            self.p.stdin.flush()
            line = self.p.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the judge died"}

    def close(self):
        if self.p is not None:
            self.p.communicate()


def help_out():
    import quality
    import samples

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    known = {}

    def judge(model, held_out, metric, most):
        key = (model, held_out)
        if key not in known:
            known.clear()
            known[key] = quality.Judge(model, held_out, metric, most)
        return known[key]

    def answer(what, *rest):
        if what == "trim":
            samples.trimmed(*rest)
            return {}
        if what == "float":
            float_model = judge(*rest)
            return {"metric": float_model.value, "samples": len(float_model.feeds)}
        if what == "quantized":
            *float_model, path = rest
            return judge(*float_model)(path)
        return speed(*rest)

    for line in sys.stdin:
        try:
            result = answer(*json.loads(line))
        except Exception as e:
            result = {"error": " ".join(f"{type(e).__name__}: {e}".split())[:300]}
        answers.write(json.dumps(result) + "\n")
        answers.flush()


def speed(runtime, variants, held_out, seconds):
    """{variant: processor time of the first over its own}, and its time for the first."""
    import latency
    import quality
    import samples

    first = next(iter(variants.values()))
    feed = samples.samples(held_out, quality.session(first, "ORT_DISABLE_ALL").get_inputs(), 1)[0]
    runs, failed = {}, {}
    for name, path in variants.items():
        try:
            runs[name] = latency.RUNTIMES[runtime](path, 1)
            runs[name](feed)
        except Exception as e:
            runs.pop(name, None)
            failed[name] = " ".join(str(e).split())[:200]
    times = latency.race(runs, feed, seconds)
    return {"ms": times[next(iter(times))][0] * 1e3, "times": {n: 1 / t[1] for n, t in times.items()}, "failed": failed}


def raced(rows, base, model, held_out, seconds):
    """Put into each row how much faster it is than the first in each runtime; the first's own time is in milliseconds."""
    variants = {base: str(model)} | {t: r["file"] for t, r in rows.items() if t != base and "error" not in r}
    for runtime in RUNTIMES:
        racer = Helper()
        result = racer("speed", runtime, variants, held_out, seconds)
        racer.close()
        for name, ratio in result.get("times", {}).items():
            rows[name][runtime] = ratio
        rows[base][f"{runtime} ms"] = result.get("ms")
        for name, why in result.get("failed", {}).items():
            rows[name][f"{runtime} failed"] = why


if __name__ == "__main__":
    help_out()
