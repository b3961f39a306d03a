"""Runs a function over many jobs in processes that stay alive, and survives the ones that do not."""

import collections
import multiprocessing
import multiprocessing.connection
import time


def _serve(pipe, work, setup):
    state = setup() if setup else None
    while (job := pipe.recv()) is not None:
        pipe.send(work(job) if state is None else work(job, state))


class _Worker:
    def __init__(self, context, work, setup):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, setup), daemon=True)
        self.process.start()
        theirs.close()
        self.job = None

    def give(self, job):
        self.job, self.since = job, time.monotonic()
        self.pipe.send(job)

    def end(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()


def over(jobs, work, count, timeout, setup=None):
    """Yields (job, result, None), or (job, None, why) when the worker died of the job or ran over `timeout` seconds.

    `work` and `setup` must be importable by name: a worker is a fresh process. `setup` runs once in each.
    """
    context = multiprocessing.get_context("spawn")
    left = collections.deque(jobs)
    spawn = lambda: _Worker(context, work, setup)
    workers = [spawn() for _ in range(min(count, len(left)))]
    try:
        for w in workers:
            w.give(left.popleft())
        while workers:
            ready = multiprocessing.connection.wait([w.pipe for w in workers], timeout=1)
            for k, w in list(enumerate(workers)):
                outcome = None
                if w.pipe in ready:
                    try:
                        outcome = (w.job, w.pipe.recv(), None)
                    except EOFError:
                        w.process.join()
                        outcome = (w.job, None, f"the verifying process ended with {w.process.exitcode}")
                elif time.monotonic() - w.since > timeout:
                    outcome = (w.job, None, f"the verifying process took more than {timeout} s")
                if outcome is None:
                    continue
                yield outcome
                if outcome[2]:
                    w.end()
                    workers[k] = w = spawn() if left else None
                if w is None:
                    continue
                if left:
                    w.give(left.popleft())
                else:
                    w.end()
                    workers[k] = None
            workers = [w for w in workers if w]
    finally:
        for w in workers:
            if w:
                w.end()
