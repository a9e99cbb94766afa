"""Run Twisted's own tests of its Deferred and its Failure against deferrous.

    python tests/twisted/run.py                     every suite, with the counts
    python tests/twisted/run.py -v -k returnValue   some tests, with their tracebacks
    python tests/twisted/run.py --stock             the same on Twisted as it is

Each suite runs twice, in processes of its own: once on Twisted as it is, once with
deferrous put in the place of ``twisted.internet.defer`` and ``twisted.python.failure``
before anything imports them. What passes there must pass here, test by test, except
for the tests that ``expected.txt`` lists; and a listed test must fail. A process that
crashes or hangs costs the test it was in, and a new one goes on with the rest.

Never put an ``__init__.py`` beside this file: pytest has ``tests/`` on ``sys.path``,
and a regular package named ``twisted`` there would hide the real one.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.txt"

SUITES = (
    "twisted.test.test_defer",
    "twisted.internet.test.test_inlinecb",
    "twisted.internet.test.test_defer_await",
    "twisted.internet.test.test_defer_yieldfrom",
    "twisted.test.test_failure",
)

#: The runner's own alarm: tests of which we know how they must end.
CANARIES = "canaries"

TEST_SECONDS = 30.0
SUITE_SECONDS = 600.0

GOOD = ("passed", "skipped", "todo")


# --------------------------------------------------------------------------------------
# The child: one suite in a process of its own, its results as JSON lines.


def child(options: argparse.Namespace) -> int:
    """Run one suite and write its results, a JSON object a line, to the report."""
    # Only what is installed may be imported: not this folder, not the caller's.
    sys.path[:] = [p for p in sys.path if p and Path(p).resolve() != HERE]

    report = open(options.report, "a", buffering=1, encoding="utf-8")

    def tell(**record: object) -> None:
        report.write(json.dumps(record) + "\n")

    if not options.stock:
        early = [name for name in REPLACED if name in sys.modules]
        if early:
            raise SystemExit(f"imported before the replacement: {early}")
        from deferrous.twisted import install

        install()

    # From here on, whatever imports Deferred or Failure gets ours.
    if options.child == CANARIES:
        sys.path.append(str(HERE))

    from twisted.trial import reporter, runner

    class Reporter(reporter.TestResult):
        """Tells of each test when it starts and how it ended."""

        current: str | None = None
        outcome = ""
        details: list[str]

        def startTest(self, test):
            super().startTest(test)
            self.current, self.outcome, self.details = test.id(), "", []
            faulthandler.dump_traceback_later(options.seconds, exit=True)
            tell(start=self.current)

        def stopTest(self, test):
            super().stopTest(test)
            faulthandler.cancel_dump_traceback_later()
            outcome = self.outcome or "failed"
            detail = "\n".join(self.details) or "it ended without any result"
            tell(id=self.current, outcome=outcome, detail=detail)
            self.current = None

        def note(self, test, outcome, detail):
            if test.id() != self.current:  # of a class or of the reactor, not of a test
                tell(id=test.id(), outcome=outcome, detail=detail)
                return
            if self.outcome in ("", "passed") or outcome == "failed":
                self.outcome = outcome
            self.details.append(detail)

        def describe(self, error):
            try:
                return self._getFailure(error).getTraceback()
            except Exception as problem:
                return f"{error!r} (and it cannot be formatted: {problem!r})"

        def addSuccess(self, test):
            super().addSuccess(test)
            self.note(test, "passed", "")

        def addFailure(self, test, fail):
            self.note(test, "failed", self.describe(fail))

        def addError(self, test, error):
            self.note(test, "failed", self.describe(error))

        def addSkip(self, test, reason):
            self.note(test, "skipped", str(reason))

        def addExpectedFailure(self, test, error, todo=None):
            self.note(test, "todo", self.describe(error))

        def addUnexpectedSuccess(self, test, todo=None):
            self.note(test, "failed", f"it passed, and was expected to fail: {todo}")

    suite = runner.TestLoader().loadByName(options.child)
    tests = list(runner._iterateTests(suite))
    strays = [] if options.stock else find_strays()
    tell(version=sys.version, strays=strays, where=where_from(options.stock))
    if strays:
        return 3

    done = set(json.loads(Path(options.skip).read_text(encoding="utf-8")))
    tests = [t for t in tests if t.id() not in done and options.match in t.id()]
    runner.TrialRunner(
        lambda stream, tbformat, rterrors, publisher: Reporter(),
        stream=sys.stdout,
        workingDirectory=os.path.join(os.getcwd(), "trial"),
    ).run(runner.TestSuite(tests))
    tell(finished=True)
    return 0


REPLACED = ("twisted.internet.defer", "twisted.python.failure")


def find_strays() -> list[str]:
    """Names in Twisted's loaded modules that still mean Twisted's own classes."""
    import deferrous
    import deferrous.failure

    ours = {
        "Deferred": deferrous.Deferred,
        "inlineCallbacks": deferrous.inlineCallbacks,
        "Failure": deferrous.failure.Failure,
    }
    return [
        f"{module_name}.{name}"
        for module_name, module in sorted(sys.modules.items())
        if module_name.startswith("twisted.")
        for name, value in ours.items()
        if name in vars(module) and vars(module)[name] is not value
    ]


def where_from(stock: bool) -> str:
    if stock:
        import twisted

        return f"Twisted {twisted.__version__}"
    import deferrous

    return str(deferrous.__file__)


# --------------------------------------------------------------------------------------
# The parent: children, and what to make of their results.


@dataclass
class Result:
    outcome: str  # passed, failed, skipped, todo (failed, as the test itself expects)
    detail: str = ""


def run_suite(
    name: str, *, stock: bool, match: str = "", seconds: float = TEST_SECONDS
) -> dict[str, Result]:
    """All results of one suite by test id, whatever happens to its process."""
    results: dict[str, Result] = {}
    deadline = time.monotonic() + SUITE_SECONDS
    with tempfile.TemporaryDirectory(prefix="deferrous-suite-") as folder:
        for attempt in range(1000):
            report = Path(folder, f"report-{attempt}")
            skip = Path(folder, "skip")
            skip.write_text(json.dumps(sorted(results)), encoding="utf-8")
            end = start_child(
                name,
                [f"--report={report}", f"--skip={skip}", f"--seconds={seconds}"]
                + ([f"--match={match}"] if match else [])
                + (["--stock"] if stock else []),
                folder,
                deadline - time.monotonic(),
            )
            started, finished = read_report(report, results)
            if started is not None:
                # It died or hung in this test: that is how the test ended.
                results[started] = Result("failed", end or "the process ended in it")
            elif finished and not end:
                break
            else:
                # Not in a test: before the first, or after the last at exit.
                when = "at exit" if finished else "outside any test"
                problem = Result("failed", f"{when}: {end or 'no results'}")
                results[f"{name} ({when})"] = problem
                break
    return results


def start_child(name: str, arguments: list[str], folder: str, seconds: float) -> str | None:
    """Run one child to its end; None if it ended well, else how it did."""
    command = [sys.executable, "-X", "faulthandler", str(HERE / "run.py")]
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    # Files, not pipes: what a dead child's own children hold open cannot block us.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, "--child", name, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait(max(seconds, 1.0))
            how = None if status == 0 else describe_status(status)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            how = "killed: the suite took too long"
        except BaseException:
            process.kill()
            process.wait()
            raise
        if how is None:
            return None
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        return "\n".join([how, *text.splitlines()[-40:]])


def describe_status(status: int) -> str:
    if status >= 0:
        return f"the process exited with status {status}"
    try:
        return f"the process was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"the process was killed by signal {-status}"


def read_report(path: Path, results: dict[str, Result]) -> tuple[str | None, bool]:
    """Take in a report; the test that was running at its end, and was it the end?"""
    started: str | None = None
    finished = False
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that the process died in
            continue
        if "start" in record:
            started = record["start"]
        elif "id" in record:
            add(results, record["id"], Result(record["outcome"], record["detail"]))
            if record["id"] == started:
                started = None
        elif record.get("strays"):
            problem = "these still mean Twisted's own: " + ", ".join(record["strays"])
            results["(replacement)"] = Result("failed", problem)
        elif "finished" in record:
            finished = True
    return started, finished


def add(results: dict[str, Result], name: str, result: Result) -> None:
    """A test that is told of twice failed if it failed once."""
    if name not in results or results[name].outcome != "failed":
        results[name] = result


@dataclass
class Expected:
    """A line of expected.txt: a test that cannot pass yet, why, and who will see to it.

    Test id | Pythons ("all", or versions: "3.10 3.11") | point ("never" too) | reason
    """

    test: str
    pythons: str
    point: str
    reason: str

    def holds_here(self) -> bool:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.pythons == "all" or here in self.pythons.split()


def read_expected(path: Path = EXPECTED) -> dict[str, Expected]:
    """The list of the tests that are expected to fail on this Python."""
    listed: dict[str, Expected] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = [part.strip() for part in line.split("|", 3)]
        if len(fields) != 4 or not all(fields):
            raise ValueError(f"{path}:{number}: want: test | pythons | point | reason")
        entry = Expected(*fields)
        if entry.test in listed:
            raise ValueError(f"{path}:{number}: {entry.test} is listed twice")
        if entry.holds_here():
            listed[entry.test] = entry
    return listed


@dataclass
class Verdict:
    """One suite, compared."""

    suite: str
    run: int = 0
    passed: int = 0
    skipped: int = 0
    listed: int = 0
    stock_fails: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        extra = ""
        if self.skipped:
            extra += f", {self.skipped} skipped (as on Twisted)"
        if self.stock_fails:
            extra += f", {self.stock_fails} that fail on Twisted too"
        if self.problems:
            extra += f", {len(self.problems)} WRONG"
        counts = f"{self.run} run, {self.passed} passed, {self.listed} listed"
        return f"{self.suite}: {counts}{extra}"


def compare(
    suite: str,
    stock: dict[str, Result],
    ours: dict[str, Result],
    listed: dict[str, Expected],
) -> Verdict:
    """Hold our results against Twisted's, and both against the list."""
    verdict = Verdict(suite)
    absent = [name for name in stock if name not in ours]
    for name in sorted({*stock, *ours}):
        theirs = stock.get(name, Result("absent"))
        mine = ours.get(name, Result("absent"))
        if name in ours and name in stock:
            verdict.run += 1
        entry = listed.get(name)
        good = mine.outcome in GOOD and mine.outcome in ("passed", theirs.outcome)
        if theirs.outcome == "failed" and entry is None:
            verdict.stock_fails += 1
            verdict.passed += mine.outcome == "passed"
        elif good and entry is not None:
            problem = f"listed (point {entry.point}: {entry.reason}), but it passes"
            verdict.problems.append((name, problem))
        elif good:
            verdict.passed += mine.outcome == "passed"
            verdict.skipped += mine.outcome != "passed"
        elif entry is not None:
            verdict.listed += 1
        elif name not in absent:
            problem = f"{mine.outcome}; on Twisted: {theirs.outcome}\n{mine.detail}"
            verdict.problems.append((name, problem))
    if absent:
        missing = "did not run on deferrous: " + " ".join(sorted(absent))
        verdict.problems.append((f"{len(absent)} of {suite}", missing))
    if not any(result.outcome == "passed" for result in stock.values()):
        verdict.problems.append((suite, "nothing passes on Twisted itself"))
    return verdict


def judge(suite: str, *, match: str = "") -> tuple[Verdict, dict[str, Result]]:
    """Run one suite on both and compare; the verdict and our results."""
    listed = {
        name: entry
        for name, entry in read_expected().items()
        if name.startswith(suite + ".") and match in name
    }
    stock = run_suite(suite, stock=True, match=match)
    ours = run_suite(suite, stock=False, match=match)
    if match and not stock and not ours and not listed:
        return Verdict(suite), ours
    verdict = compare(suite, stock, ours, listed)
    for name in sorted({*listed} - {*stock}):
        verdict.problems.append((name, "listed, but Twisted has no such test"))
    return verdict, ours


def misplaced() -> list[str]:
    """Listed tests that belong to none of the suites."""
    prefixes = tuple(f"{suite}." for suite in SUITES)
    return [name for name in read_expected() if not name.startswith(prefixes)]


def check_canaries(*, stock: bool, seconds: float = 3.0) -> list[str]:
    """What the runner fails to notice: [] when every canary ended as it must.

    Trial itself stands on the Deferreds that it tests; were they so broken that no
    failure comes through, every suite would pass.
    """
    results = run_suite(CANARIES, stock=stock, seconds=seconds)
    wrong = []
    for kind, outcome in (("passes", "passed"), ("fails", "failed")):
        found = {name: r for name, r in results.items() if name.endswith(f"_{kind}")}
        if not found:
            wrong.append(f"no canary that {kind} was run: {results}")
        for name, result in found.items():
            if result.outcome != outcome:
                wrong.append(f"{name}: {result.outcome}, not {outcome}\n{result.detail}")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", help=f"of: {', '.join(SUITES)}")
    parser.add_argument("--stock", action="store_true", help="on Twisted as it is")
    parser.add_argument("-k", "--match", default="", help="tests with this in their id")
    parser.add_argument("-v", "--verbose", action="store_true", help="whole tracebacks")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--report", help=argparse.SUPPRESS)
    parser.add_argument("--skip", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return child(options)

    def show(name: str, detail: str) -> None:
        lines = detail.rstrip().splitlines() or [""]
        if not options.verbose and len(lines) > 2:
            lines = [lines[0], lines[-1]]
        print(f"  {name}", *lines, sep="\n    ", flush=True)

    wrong = False
    total = Verdict("in all")
    suites = options.suites or SUITES
    if not options.suites and not options.match:
        alarms = check_canaries(stock=options.stock)
        alarms += [f"listed, but in no suite: {name}" for name in misplaced()]
        for alarm in alarms:
            wrong = True
            show("(the runner itself)", alarm)
    for suite in suites:
        if options.stock:
            results = run_suite(suite, stock=True, match=options.match)
            verdict = compare(suite, results, results, {})
            for name, result in results.items():
                if result.outcome not in GOOD:
                    wrong = True
                    show(name, result.detail)
        else:
            verdict, results = judge(suite, match=options.match)
        print(verdict, flush=True)
        for name, problem in verdict.problems:
            wrong = True
            show(name, problem)
        total.run += verdict.run
        total.passed += verdict.passed
        total.skipped += verdict.skipped
        total.listed += verdict.listed
        total.stock_fails += verdict.stock_fails
        total.problems += verdict.problems
    print(total)
    if total.run == 0:
        print("no test was run")
        wrong = True
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
