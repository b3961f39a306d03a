"""Runs the binary under test."""

import dataclasses
import os
import resource
import signal
import subprocess


@dataclasses.dataclass
class Ran:
    code: int | None  # None: it ran over its time and was killed
    stdout: bytes
    stderr: str

    @property
    def failure(self):
        """None for exit code 0, else (category, one line). A panic or a signal is `died`, a refusal `error`."""
        if self.code == 0:
            return None
        said = " ".join(self.stderr.split())[:200] or "no message"
        if self.code is None:
            return "died", "ran out of time"
        if self.code < 0:
            return "died", f"{signal.Signals(-self.code).name}: {said}"
        if self.code == 101:
            return "died", f"panic: {said}"
        if self.code == 1:
            return "error", said
        return "error", f"exit {self.code}: {said}"


def run(binary, *args, timeout=60, memory=None, cwd=None, stdin=None):
    """`memory` limits the address space in bytes."""
    limit = (lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))) if memory else None
    try:
        p = subprocess.run(
            [os.fspath(a) for a in (binary, *args)],
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            preexec_fn=limit,
        )
    except subprocess.TimeoutExpired as e:
        return Ran(None, b"", (e.stderr or b"").decode("utf8", "replace"))
    return Ran(p.returncode, p.stdout, p.stderr.decode("utf8", "replace"))
