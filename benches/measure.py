"""CPU seconds and peak memory of a fresh process."""

import dataclasses
import math
import os
import signal
import subprocess
import tempfile
import threading
import time


@dataclasses.dataclass
class Cost:
    code: int  # negative: the signal that ended it
    cpu: float  # seconds, user and system
    wall: float
    rss: float  # MB
    message: str


def run(command, timeout=600, cwd=None, said=None):
    """Only this process and the ones it waited for; what it prints goes into the open file `said`, if there is one.

    A child starts as a copy of its parent and the peak counts that, so whoever calls this must be small itself: no
    numpy here. The floor is about 10 MB.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        p = subprocess.Popen(
            [os.fspath(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=said or subprocess.DEVNULL,
            stderr=errors,
            cwd=cwd,
        )
        timer = threading.Timer(timeout, lambda: p.send_signal(signal.SIGKILL))
        timer.start()
        _, status, used = os.wait4(p.pid, 0)
        timer.cancel()
        wall = time.perf_counter() - start
        p.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        message = " ".join(errors.read()[-400:].decode("utf8", "replace").split())
    return Cost(p.returncode, used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, message)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def print_table(columns, rows):
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[k]) for r in [list(columns), *rows]) for k in range(len(columns))]
    for r in [columns, *rows]:
        print("  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(r, widths))), flush=True)
