"""Twisted's own tests about Deferreds, run on both; and tests of the comparison itself.

`python -m tests.compare` has the rest of Twisted's, and other programs'.
"""

import json
import os
import sys
from collections import Counter

import pytest

from .environments import here
from .programs import PROGRAMS
from .suites import Result, Suite
from .verdict import Verdict, compare, judge, read_exceptions

#: About Deferreds, Failures, generators, coroutines, threads and what else stands on them directly.
SUITES = [
    "twisted._threads.test.test_*",
    "twisted.internet.test.test_asyncioreactor",
    "twisted.internet.test.test_core",
    "twisted.internet.test.test_defer_*",
    "twisted.internet.test.test_inlinecb",
    "twisted.internet.test.test_threads",
    "twisted.logger.test.test_format",
    "twisted.logger.test.test_json",
    "twisted.logger.test.test_legacy",
    "twisted.logger.test.test_logger",
    "twisted.logger.test.test_stdlib",
    "twisted.test.test_cooperator",
    "twisted.test.test_defer",
    "twisted.test.test_failure",
    "twisted.test.test_log",
    "twisted.test.test_task",
    "twisted.test.test_threadpool",
    "twisted.test.test_threads",
    "twisted.trial.test.test_assertions",
    "twisted.trial.test.test_asyncassertions",
    "twisted.trial.test.test_deferred",
    "twisted.trial.test.test_keyboard",
    "twisted.trial.test.test_log",
    "twisted.trial.test.test_reporter",
    "twisted.trial.test.test_runner",
    "twisted.trial.test.test_suppression",
    "twisted.trial.test.test_tests",
    "twisted.trial.test.test_util",
    "twisted.trial.test.test_warning",
]


def suites():
    """All of these; a pattern that nothing is of is in their place."""
    for pattern in SUITES:
        yield from here(PROGRAMS["twisted"], patterns=[pattern]) or [pattern]


@pytest.mark.parametrize("suite", [*suites()], ids=lambda suite: getattr(suite, "name", suite))
def test_twisted(suite, record_property):
    verdict = judge(suite, read_exceptions().get("twisted", {}))
    record_property("twisted_suite", str(verdict))
    problems = [f"{each.test}: {each}\n{each.ours.detail}" for each in verdict.differing]
    assert verdict.good, "\n\n".join([str(verdict), *problems])
    assert verdict.stock["passed"] > 0


@pytest.mark.skipif(os.name == "nt", reason="the canaries crash by a signal")
@pytest.mark.parametrize("stock", [True, False], ids=["twisted", "deferrous"])
def test_failures_crashes_and_hangs_come_through(stock):
    """trial itself stands on the Deferreds that it tests: it must not say that all is well."""
    suite = Suite("canaries", python=sys.executable, test_seconds=5.0)
    results = suite.run(stock=stock)
    endings = {
        "passes": {"passed"},
        "fails": {"failed", "error"},
        "dies": {"died"},
    }
    kinds = Counter()
    for name, result in results.items():
        kind = name.rpartition("_")[2]
        kinds[kind] += 1
        assert result.outcome in endings[kind], (name, result)
    assert kinds == {"passes": 3, "fails": 9, "dies": 2}, results


PYTEST_MODULE = """
import os, pytest
def test_passes(): pass
def test_fails(): assert not 1
def test_skipped(): pytest.skip("not now")
@pytest.mark.xfail
def test_todo(): assert 0
@pytest.fixture
def broken(): 1 / 0
def test_error(broken): pass
def test_dies(): os.abort()
def test_passes_after_all():
    import sys
    from twisted.internet import defer
    deferrous = sys.modules.get("deferrous")
    assert (getattr(deferrous, "Deferred", None) is defer.Deferred) == bool(
        os.environ.get("DEFERROUS_INSTALL")
    )
"""


@pytest.mark.parametrize("stock", [True, False], ids=["twisted", "deferrous"])
def test_pytest_modules(stock, tmp_path):
    (tmp_path / "test_it.py").write_text(PYTEST_MODULE)
    suite = Suite("test_it.py", "pytest", arguments=["-q"], files=[tmp_path / "test_it.py"])
    found = {name.partition("::")[2]: each.outcome for name, each in suite.run(stock=stock).items()}
    expected = {f"test_{kind}": kind for kind in ("skipped", "todo", "error")} | {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_dies": "died",
        "test_passes_after_all": "passed",
    }
    assert found == expected


PASSED, FAILED, ERROR, SKIPPED, DIED = map(Result, ("passed", "failed", "error", "skipped", "died"))


@pytest.mark.parametrize(
    ("stock", "ours", "listed", "good"),
    [
        (PASSED, PASSED, False, True),
        (PASSED, FAILED, False, False),
        (PASSED, SKIPPED, False, False),
        (PASSED, DIED, False, False),
        (PASSED, None, False, False),
        (PASSED, FAILED, True, True),
        (PASSED, PASSED, True, False),
        (SKIPPED, SKIPPED, False, True),
        (SKIPPED, PASSED, False, True),
        (SKIPPED, FAILED, False, False),
        (FAILED, FAILED, False, True),
        (FAILED, ERROR, False, True),
        (FAILED, PASSED, False, True),
        (None, FAILED, False, False),
        (None, PASSED, False, True),
    ],
)
def test_verdict(stock, ours, listed, good):
    verdict = compare(
        "suite",
        {"b": PASSED} | ({"a": stock} if stock else {}),
        {"b": PASSED} | ({"a": ours} if ours else {}),
        {"a": "reason"} if listed else {},
    )
    assert verdict.good == good
    assert [each.test for each in verdict.excepted] == (["a"] if listed and good else [])


def test_verdicts_become_json():
    total = Verdict("program")
    total.add(compare("suite", {"a": PASSED, "b": FAILED}, {"a": FAILED}, {}))
    found = json.loads(json.dumps(total.as_dict()))
    assert found["stock"] == {"passed": 1, "failed": 1} and found["ours"] == {"failed": 1}
    assert found["outcomes"] == {"suite": {"a": ["passed", "failed"], "b": ["failed", "absent"]}}
    assert [each["test"] for each in found["differing"]] == ["a"]


class Alternating:
    """A suite whose results on deferrous are these, one run after the other."""

    name = "suite"

    def __init__(self, *ours):
        self.ours = list(ours)

    def run(self, *, stock, match):
        return {"a": PASSED if stock else self.ours.pop(0)}


def test_what_differs_is_run_again():
    flaky = judge(Alternating(FAILED, PASSED), {})
    assert flaky.good and [each.test for each in flaky.flaky] == ["a"]
    wrong = judge(Alternating(FAILED, DIED), {})
    assert not wrong.good and [each.test for each in wrong.differing] == ["a"]
    suite = Alternating(PASSED, FAILED)
    assert judge(suite, {}).good and suite.ours == [FAILED]


def test_exceptions_are_read(tmp_path):
    path = tmp_path / "exceptions.txt"
    path.write_text("# remark\n\nx | a.b | why | not\ny | a.b | old\n")
    assert read_exceptions(path) == {"x": {"a.b": "why | not"}, "y": {"a.b": "old"}}
    for wrong in ("x | a.b\n", "x | a | why\nx | a | why\n"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"exceptions\.txt:\d"):
            read_exceptions(path)


def test_exceptions_are_of_programs_that_there_are():
    assert {*read_exceptions()} <= {*PROGRAMS}
