"""The pytest plugin: asynchronous tests."""

import pytest
from plugin_helpers import run, text_of

pytestmark = [
    pytest.mark.deferrous_only,
    # These runs have no configuration, for which some versions of pytest-asyncio ask.
    pytest.mark.filterwarnings("ignore:.*asyncio_default_fixture_loop_scope"),
]


def test_asynchronous(run):
    run(
        """
@pytest.fixture
def number():
    yield 3

async def test_coroutine(number):
    assert await defer.succeed(number) == 3

@defer.inlineCallbacks
def test_generator(number):
    assert (yield defer.succeed(number)) == 3
    return "ignored"

def test_returning_a_deferred():
    return defer.succeed(3)

def test_returning_a_coroutine():
    return test_coroutine(3)

class TestClass:
    @pytest.mark.parametrize("given", [1, 2])
    async def test_method(self, given, number):
        assert await defer.succeed(given) < number
""",
        "-W",
        "error::pytest.PytestReturnNotNoneWarning",
    ).assert_outcomes(passed=6)


def test_asynchronous_failing(run):
    result = run(
        """
async def inner():
    await defer.succeed(1)
    raise ValueError("bad")

async def test_coroutine():
    number = await defer.succeed(3)
    assert number == 4

@defer.inlineCallbacks
def test_generator():
    yield inner()

def test_returning():
    return defer.maybeDeferred(fail, KeyError("worse"))
"""
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E *assert 3 == 4",
            "> * yield inner()",
            "> * raise ValueError(?bad?)",
            "E * ValueError: bad",
            "> * raise error",
            "E * KeyError: 'worse'",
        ]
    )
    assert "pytest_plugin.py" not in text_of(result)


def test_outcomes_other_than_failure(run):
    run(
        """
async def test_skipping():
    await defer.succeed(1)
    pytest.skip("for a reason")

@pytest.mark.xfail(raises=ValueError, strict=True)
async def test_expected():
    await defer.maybeDeferred(fail, ValueError("bad"))
"""
    ).assert_outcomes(skipped=1, xfailed=1)


def test_unhandled_error_in_an_asynchronous_test(run):
    run("async def test_it(): lose_in_cycle(ValueError('bad'))").assert_outcomes(failed=1)


def test_returned_values_are_pytests_affair(run):
    result = run("def test_it(): return 3")
    result.stdout.fnmatch_lines(["*PytestReturnNotNoneWarning*"])


def test_off_leaves_asynchronous_tests_to_pytest(run):
    result = run("async def test_it(): pass", args=())
    result.stdout.fnmatch_lines(["*async def functions are not natively supported*"])


def test_never_fires(run):
    result = run(
        """
cancelled = []

async def answer():
    return await defer.Deferred(cancelled.append)

@defer.inlineCallbacks
def test_waiting():
    yield answer()

def test_cancelled():
    assert len(cancelled) == 1
"""
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_waiting _*",
            "The test has no result, and waits for something that will not happen by itself:",
            "[*] <Deferred at 0x*> waits for generator test_waiting",
            "  + Call stack:",
            "  |   File *, line *, in generator test_waiting",
            "  |     yield answer()",
            "  + Waits for:",
            "    [*] awaits: <Deferred at 0x*> waits for coroutine answer",
            "      + Call stack:",
            "      |   File *, line *, in coroutine answer",
            "      |     return await defer.Deferred(cancelled.append)",
            "      + Waits for:",
            "        [*] awaits: <Deferred at 0x*> has not been fired",
        ],
        consecutive=True,
    )
    assert "It was cancelled" not in text_of(result)
    assert "hidden" not in text_of(result)


def test_never_fires_and_fails_when_cancelled(run):
    result = run(
        """
async def test_it():
    try:
        await defer.Deferred()
    finally:
        raise ValueError("while cleaning up")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["It was cancelled, and failed:", "*CancelledError*", "ValueError: while cleaning up"]
    )


def test_never_fires_and_will_not_be_cancelled(run):
    result = run(
        """
async def test_it():
    try:
        await defer.Deferred()
    except defer.CancelledError:
        await defer.DeferredQueue().get()
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "It was cancelled, and goes on waiting:",
            "*await defer.DeferredQueue().get()",
            "*stands in line at <DeferredQueue at 0x*>, place 1 of 1 (it holds 0)",
        ]
    )


def test_never_fires_but_takes_cancellation_well(run):
    result = run(
        """
async def test_it():
    try:
        await defer.Deferred()
    except defer.CancelledError:
        pass
"""
    )
    result.assert_outcomes(failed=1)
    assert "It was cancelled" not in text_of(result)


def test_twisteds_own_result(run):
    pytest.importorskip("twisted")
    result = run(
        """
from twisted.internet import defer as theirs

@theirs.inlineCallbacks
def test_passing():
    yield theirs.succeed(3)

@theirs.inlineCallbacks
def test_failing():
    yield theirs.succeed(3)
    raise ValueError("bad")

def test_waiting():
    return theirs.Deferred()
"""
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["E * ValueError: bad", "*> of Twisted's own has not been fired"])


def test_hypothesis(run):
    pytest.importorskip("hypothesis")
    result = run(
        """
from hypothesis import given, strategies

@given(strategies.integers(0, 9))
async def test_coroutine(number):
    assert await defer.succeed(number) < 10

@given(strategies.integers(0, 9))
@defer.inlineCallbacks
def test_generator(number):
    assert (yield defer.succeed(number)) < 9
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E * assert 9 < 9"])
