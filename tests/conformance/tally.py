"""What of a suite passed and what failed, said as it comes and counted at the end."""


class Tally:
    def __init__(self, suite):
        self.suite, self.passed, self.failed = suite, 0, 0

    def add(self, name, wrong, said=""):
        """A case is passed when nothing is wrong with it; with None for `wrong` it does not count."""
        word = "-" if wrong is None else "FAIL" if wrong else "pass"
        reasons = "; ".join([*(wrong or []), *filter(None, [said])])
        print(f"{word:8}{name}{': ' * bool(reasons)}{reasons}", flush=True)
        self.passed += word == "pass"
        self.failed += word == "FAIL"

    def close(self):
        """The line that tests/run counts, and the exit code: nothing that passed is a failure too."""
        print(f"{self.suite}: {self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0
