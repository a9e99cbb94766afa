"""Run one test suite in this process, and write how each test ends as it ends.

    python [-m deferrous] child.py --report FILE [options] trial MODULE
    python [-m deferrous] child.py --report FILE [options] pytest PATH [option of pytest ...]

The report has a JSON object a line: `{"start": id}`, `{"id", "outcome", "detail"}`, and
`{"finished": true}` when all is done; so whatever becomes of the process, what is known stays
known. The outcomes are passed, skipped, todo (failed, as the test itself expects), failed, error.

Needs nothing but trial or pytest; it runs where the suite's program is installed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Report:
    """Writes the outcomes down, one for each test, and ends the process if a test hangs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._file = open(options.report, "a", buffering=1, encoding="utf-8")
        # What is captured during a test would be lost with the process.
        self._stderr = os.fdopen(os.dup(2), "w")
        faulthandler.enable(self._stderr)
        self._seconds = options.seconds
        self._current: str | None = None
        self._outcome = ""
        self._details: list[str] = []
        self._done = set()
        if options.done:
            self._done = set(json.loads(Path(options.done).read_text(encoding="utf-8")))
        self._match = options.match

    def wanted(self, name: str) -> bool:
        return name not in self._done and self._match in name

    def tell(self, **record: object) -> None:
        self._file.write(json.dumps(record) + "\n")

    def start(self, name: str) -> None:
        self._current, self._outcome, self._details = name, "", []
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stderr)
        self.tell(start=name)

    def note(self, name: str, outcome: str, detail: str) -> None:
        """Take in what is told of a test, or of a class, or of the reactor. The worst counts."""
        if name != self._current:
            self.tell(id=name, outcome=outcome, detail=detail)
            return
        if self._outcome in ("", "passed") or outcome in ("failed", "error"):
            self._outcome = outcome
        self._details.append(detail)

    def stop(self, name: str) -> None:
        faulthandler.cancel_dump_traceback_later()
        outcome = self._outcome or "error"
        detail = "\n".join(self._details) if self._outcome else "it ended without any result"
        self.tell(id=name, outcome=outcome, detail=detail)
        self._current = None


def run_trial(options: argparse.Namespace, report: Report) -> int:
    from twisted.trial import reporter, runner

    class Reporter(reporter.TestResult):
        """Passes on what trial says."""

        def describe(self, error):
            try:
                return self._getFailure(error).getTraceback()
            except Exception as problem:
                return f"{error!r} (and it cannot be formatted: {problem!r})"

        def startTest(self, test):
            super().startTest(test)
            report.start(test.id())

        def stopTest(self, test):
            super().stopTest(test)
            report.stop(test.id())

        def addSuccess(self, test):
            super().addSuccess(test)
            report.note(test.id(), "passed", "")

        def addFailure(self, test, fail):
            report.note(test.id(), "failed", self.describe(fail))

        def addError(self, test, error):
            report.note(test.id(), "error", self.describe(error))

        def addSkip(self, test, reason):
            report.note(test.id(), "skipped", str(reason))

        def addExpectedFailure(self, test, error, todo=None):
            report.note(test.id(), "todo", self.describe(error))

        def addUnexpectedSuccess(self, test, todo=None):
            report.note(test.id(), "failed", f"it passed, and was expected to fail: {todo}")

    if options.suite == "canaries":
        sys.path.append(str(HERE))
    suite = runner.TestLoader().loadByName(options.suite)
    tests = [test for test in runner._iterateTests(suite) if report.wanted(test.id())]
    runner.TrialRunner(
        lambda stream, tbformat, rterrors, publisher: Reporter(),
        stream=sys.stdout,
        workingDirectory=os.path.join(os.getcwd(), "_trial_temp"),
    ).run(runner.TestSuite(tests))
    return 0


def run_pytest(options: argparse.Namespace, report: Report) -> int:
    import pytest

    class Outcomes:
        """Passes on what pytest says."""

        def pytest_collection_modifyitems(self, config, items):
            items[:] = [item for item in items if report.wanted(item.nodeid)]

        def pytest_collectreport(self, report):
            if report.failed:
                self.note(report, "error")
            elif report.skipped:
                self.note(report, "skipped")

        def pytest_runtest_logstart(self, nodeid):
            report.start(nodeid)

        def pytest_runtest_logreport(self, report):
            if hasattr(report, "wasxfail"):
                # Under `strict`, a test that passes is a failed one without this attribute.
                self.note(report, "todo" if report.skipped else "passed")
            elif report.skipped:
                self.note(report, "skipped")
            elif report.failed:
                self.note(report, "failed" if report.when == "call" else "error")
            elif report.when == "call":
                self.note(report, "passed")

        def pytest_runtest_logfinish(self, nodeid):
            report.stop(nodeid)

        def note(self, about, outcome):
            report.note(about.nodeid, outcome, about.longreprtext)

    arguments = ["-p", "no:faulthandler", "-p", "no:cacheprovider", *options.arguments]
    if not options.deferrous:
        arguments += ["-p", "no:deferrous"]  # Installed, it is loaded.
    status = int(pytest.main([*arguments, options.suite], plugins=[Outcomes()]))
    nothing, failed = pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED
    return 0 if status in (0, nothing, failed, pytest.ExitCode.INTERRUPTED) else status


def find_strays() -> list[str]:
    """List the names in Twisted's loaded modules that still mean Twisted's own classes."""
    import deferrous
    import deferrous.failure

    # Functions are patched by some programs.
    ours = {"Deferred": deferrous.Deferred, "Failure": deferrous.failure.Failure}
    return [
        f"{module_name}.{name}"
        for module_name, module in sorted(sys.modules.items())
        if module_name.startswith("twisted.")
        for name, value in ours.items()
        if name in vars(module) and vars(module)[name] is not value
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", required=True, help="where the outcomes go")
    parser.add_argument("--done", help="a JSON list of tests to leave out")
    parser.add_argument("--match", default="", help="only tests with this in their id")
    parser.add_argument("--seconds", type=float, default=150.0, help="for each test")
    parser.add_argument("--deferrous", action="store_true", help="see that it runs on deferrous")
    parser.add_argument("runner", choices=["trial", "pytest"])
    parser.add_argument("suite")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    # Only installed packages and the suite's own folder can be imported.
    sys.path[0] = os.getcwd()
    report = Report(options)
    ours = "deferrous.twisted" in sys.modules and sys.modules["deferrous.twisted"].installed()
    if ours != options.deferrous:
        sys.exit(f"on deferrous: {ours}; wanted: {options.deferrous}")
    status = (run_trial if options.runner == "trial" else run_pytest)(options, report)
    strays = find_strays() if options.deferrous else []
    if strays:
        detail = "these still mean Twisted's own: " + ", ".join(strays)
        report.tell(id="(the comparison)", outcome="error", detail=detail)
    report.tell(finished=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
