"""Twisted's own tests, run on deferrous; see run.py, which does the work."""

import os

import pytest
import run


@pytest.mark.parametrize("suite", run.SUITES)
def test_suite(suite, record_property):
    verdict, _ = run.judge(suite)
    record_property("twisted_suite", str(verdict))
    report = "\n\n".join(f"{name}: {problem}" for name, problem in verdict.problems)
    assert not verdict.problems, f"{verdict}\n\n{report}"


def test_list_names_only_tests_of_the_suites():
    assert run.misplaced() == []


@pytest.mark.skipif(os.name == "nt", reason="the canaries crash by a signal")
@pytest.mark.parametrize("stock", [True, False], ids=["twisted", "deferrous"])
def test_runner_notices_failures_crashes_and_hangs(stock):
    assert run.check_canaries(stock=stock) == []


# The comparison itself.

PASSED, FAILED, SKIPPED = map(run.Result, ("passed", "failed", "skipped"))


@pytest.mark.parametrize(
    ("stock", "ours", "listed", "wrong"),
    [
        (PASSED, PASSED, False, False),
        (PASSED, FAILED, False, True),
        (PASSED, SKIPPED, False, True),
        (PASSED, None, False, True),
        (PASSED, FAILED, True, False),
        (PASSED, PASSED, True, True),
        (SKIPPED, SKIPPED, False, False),
        (SKIPPED, FAILED, False, True),
        (FAILED, FAILED, False, False),
        (FAILED, PASSED, False, False),
        (None, FAILED, False, True),
    ],
)
def test_compare(stock, ours, listed, wrong):
    entries = {"a": run.Expected("a", "all", "4", "reason")} if listed else {}
    verdict = run.compare(
        "suite",
        {"b": PASSED} | ({"a": stock} if stock else {}),
        {"b": PASSED} | ({"a": ours} if ours else {}),
        entries,
    )
    assert bool(verdict.problems) == wrong


def test_compare_is_not_content_with_nothing():
    assert run.compare("suite", {}, {}, {}).problems


def test_list_is_read(tmp_path):
    path = tmp_path / "expected.txt"
    path.write_text("# remark\n\na.b | all | 4 | why | not\nc.d | 2.7 | never | old\n")
    assert run.read_expected(path) == {"a.b": run.Expected("a.b", "all", "4", "why | not")}
    path.write_text("a.b | all | 4\n")
    with pytest.raises(ValueError, match=r"expected\.txt:1"):
        run.read_expected(path)
