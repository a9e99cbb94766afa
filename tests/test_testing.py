"""`deferrous.testing`: assertions about the results of Deferreds."""

import gc
import re
import sys
import unittest

import deferrous as defer
import pytest
from deferrous import testing
from deferrous._call_graph import describe
from helpers import raiser

pytestmark = pytest.mark.deferrous_only


def failing(error):
    return defer.maybeDeferred(raiser(error))


async def coroutine_of(outcome):
    """A coroutine that awaits, and then returns or raises."""
    await defer.succeed(None)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def generator_of(outcome):
    """The same as a generator."""
    yield defer.succeed(None)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def deferred_of(outcome):
    return failing(outcome) if isinstance(outcome, Exception) else defer.succeed(outcome)


ALL_KINDS = pytest.mark.parametrize("of", [deferred_of, coroutine_of, generator_of])


def message(function, *args):
    with pytest.raises(AssertionError) as caught:
        function(*args)
    return re.sub(r"0x[0-9a-f]+", "0x?", str(caught.value))


@ALL_KINDS
def test_success(of):
    assert testing.successResultOf(of(3)) == 3


def test_success_takes_the_result():
    d = defer.succeed(3)
    testing.successResultOf(d)
    assert testing.successResultOf(d) is None


@ALL_KINDS
def test_success_expected_but_failed(of, reports):
    text = message(testing.successResultOf, of(ValueError("bad")))
    assert "was expected to have succeeded, but it failed:\nTraceback" in text
    assert text.endswith("ValueError: bad")
    assert f'File "{__file__}"' in text or "helpers.py" in text
    assert reports.failures() == []


def test_success_expected_but_none_yet():
    assert message(testing.successResultOf, defer.Deferred()) == (
        "<Deferred at 0x?> was expected to have succeeded, but has no result yet:\n"
        "* <Deferred at 0x?> has not been fired"
    )


def test_causes_are_shown():
    def fail():
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ValueError("effect") from error

    text = message(testing.successResultOf, defer.maybeDeferred(fail))
    assert text.index("KeyError: 'cause'") < text.index("ValueError: effect")


def test_failure_that_is_no_exception():
    # Twisted's Failure may hold anything.
    d = defer.Deferred()
    d.errback(testing.Failure("spam", str))
    assert "spam" in message(testing.successResultOf, d)


@ALL_KINDS
@pytest.mark.parametrize("types", [(), (ValueError,), (KeyError, Exception)])
def test_failure(of, types, reports):
    error = ValueError("bad")
    assert testing.failureResultOf(of(error), *types).value is error
    assert reports.failures() == []


def test_failure_expected_but_succeeded():
    assert message(testing.failureResultOf, defer.succeed(3), ValueError) == (
        "<Deferred at 0x?> was expected to have failed with ValueError, but it succeeded with 3"
    )


def test_failure_of_another_type(reports):
    text = message(testing.failureResultOf, failing(ValueError("bad")), KeyError, testing.Failure)
    heading, traceback = text.split("\n", 1)
    assert heading == (
        "<Deferred at 0x?> was expected to have failed with KeyError or "
        "deferrous.failure.Failure, but it failed with ValueError:"
    )
    assert traceback.endswith("ValueError: bad")
    assert reports.failures() == []


def test_failure_expected_but_none_yet():
    assert message(testing.failureResultOf, defer.Deferred()) == (
        "<Deferred at 0x?> was expected to have failed, but has no result yet:\n"
        "* <Deferred at 0x?> has not been fired"
    )


def test_no_result_leaves_the_result_alone():
    d = defer.Deferred()
    testing.assertNoResult(d)
    d.callback(3)
    assert testing.successResultOf(d) == 3


def test_no_result_leaves_a_failure_unhandled(reports):
    d = defer.Deferred()
    testing.assertNoResult(d)
    d.errback(ValueError("bad"))
    del d
    assert [type(value) for value in reports.values()] == [ValueError]


def test_no_result_of_a_coroutine():
    d = defer.Deferred()

    async def wait():
        results.append(await d)

    results = []
    testing.assertNoResult(wait())
    d.callback(3)
    assert results == [3]


@ALL_KINDS
def test_no_result_expected_but_succeeded(of):
    text = message(testing.assertNoResult, of(3))
    assert text.endswith("was expected to have no result yet, but it has succeeded with 3")


def test_no_result_keeps_a_success():
    d = defer.succeed(3)
    message(testing.assertNoResult, d)
    assert testing.successResultOf(d) == 3


@ALL_KINDS
def test_no_result_expected_but_failed(of, reports):
    text = message(testing.assertNoResult, of(ValueError("bad")))
    assert "was expected to have no result yet, but it has failed:\nTraceback" in text
    assert reports.failures() == []


@pytest.mark.parametrize(
    "function", [testing.successResultOf, testing.failureResultOf, testing.assertNoResult]
)
def test_something_else(function):
    with pytest.raises(defer.NotACoroutineError):
        function(3)


def test_twisteds_own():
    theirs = pytest.importorskip("twisted.internet.defer")
    assert testing.successResultOf(theirs.succeed(3)) == 3
    assert testing.failureResultOf(theirs.fail(KeyError("k")), KeyError).value.args == ("k",)
    testing.assertNoResult(theirs.Deferred())
    assert "KeyError" in message(testing.successResultOf, theirs.fail(KeyError("k")))


def test_mixin():
    class Case(testing.DeferredAssertions, unittest.TestCase):
        def test_it(self):
            self.assertNoResult(defer.Deferred())
            self.assertEqual(self.successResultOf(defer.succeed(3)), 3)
            self.failureResultOf(failing(KeyError()), KeyError)

        def test_failing(self):
            self.successResultOf(defer.Deferred())

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, len(result.failures)) == (2, [], 1)
    # The frames of the assertion itself are not shown.
    assert "testing.py" not in result.failures[0][1].replace("test_testing.py", "")


# What a Deferred waits for.


def described(d):
    return re.sub(r"0x[0-9a-f]+", "0x?", describe(d)).replace(f'"{__file__}"', "here")


def test_suspended_coroutines_and_generators():
    async def inner():
        await defer.Deferred()

    async def middle():
        await inner()

    @defer.inlineCallbacks
    def outer():
        yield defer.ensureDeferred(middle())

    text = re.sub(r"line \d+", "line ?", described(outer()))
    prefix = "test_suspended_coroutines_and_generators.<locals>."
    # CPython 3.10 knows no qualified names of code.
    qualified = prefix if sys.version_info >= (3, 11) else ""
    assert text == (
        f"* <Deferred at 0x?> waits for generator {prefix}outer\n"
        "  + Call stack:\n"
        f"  |   File here, line ?, in generator {qualified}outer\n"
        "  |     yield defer.ensureDeferred(middle())\n"
        "  + Waits for:\n"
        f"    * awaits: <Deferred at 0x?> waits for coroutine {prefix}middle\n"
        "      + Call stack:\n"
        f"      |   File here, line ?, in coroutine {qualified}inner\n"
        "      |     await defer.Deferred()\n"
        f"      |   File here, line ?, in coroutine {qualified}middle\n"
        "      |     await inner()\n"
        "      + Waits for:\n"
        "        * awaits: <Deferred at 0x?> has not been fired"
    )


def test_suspended_in_delegation():
    def inner():
        yield defer.Deferred()

    @defer.inlineCallbacks
    def outer():
        yield from inner()

    text = described(outer())
    assert text.index("yield defer.Deferred()") < text.index("yield from inner()")


def test_suspended_in_an_asynchronous_generator():
    async def numbers():
        await defer.Deferred()
        yield 1

    async def use():
        async for _ in numbers():
            pass

    text = described(defer.ensureDeferred(use()))
    assert text.index("await defer.Deferred()") < text.index("in numbers()")


def test_chained():
    d = defer.succeed(None).addCallback(lambda _: defer.Deferred())
    assert described(d) == (
        "* <Deferred at 0x?> waits for a Deferred that one of its callbacks returned\n"
        "  + Waits for:\n"
        "    * chained to: <Deferred at 0x?> has not been fired"
    )


def test_gathered():
    members = [defer.succeed(1), *(defer.Deferred() for _ in range(7))]
    lines = described(defer.DeferredList(members)).split("\n")
    assert lines[0] == "* <DeferredList at 0x?> waits for 7 that are missing of 8"
    assert lines[2:-1] == ["    * member: <Deferred at 0x?> has not been fired"] * 5
    assert lines[-1] == "    ... 2 more ..."


def test_race():
    assert described(defer.race([defer.Deferred(), defer.Deferred()])) == (
        "* <Deferred at 0x?> waits for one of 2 that are missing of 2\n"
        "  + Waits for:\n"
        "    * member: <Deferred at 0x?> has not been fired\n"
        "    * member: <Deferred at 0x?> has not been fired"
    )


def test_lock_and_queue():
    lock = defer.DeferredLock()
    lock.acquire()
    assert described(lock.acquire()) == (
        "* <Deferred at 0x?> stands in line at <DeferredLock at 0x?>, place 1 of 1 (it is locked)"
    )
    assert described(defer.DeferredQueue().get()) == (
        "* <Deferred at 0x?> stands in line at <DeferredQueue at 0x?>, place 1 of 1 (it holds 0)"
    )


def test_paused():
    d = defer.succeed(1)
    d.pause()
    assert described(d) == "* <Deferred at 0x?> is paused (1 times)"


def test_running():
    seen = []
    d = defer.Deferred()
    d.addCallback(lambda _: seen.append(described(d)))
    d.callback(None)
    assert seen == ["* <Deferred at 0x?> is running its callbacks"]


def test_creator_in_debug_mode():
    defer.setDebugging(True)
    try:
        d = defer.Deferred()
    finally:
        defer.setDebugging(False)
    heading, made = described(d).split("\n")
    assert heading == "* <Deferred at 0x?> has not been fired"
    assert re.sub(r"line \d+", "line ?", made) == (
        "  + Made: File here, line ?, in test_creator_in_debug_mode"
    )


def test_shown_once():
    d = defer.Deferred()
    lines = described(defer.DeferredList([d, d])).split("\n")
    assert lines[1:] == [
        "  + Waits for:",
        "    * member: <Deferred at 0x?> has not been fired",
        "    * member: <Deferred at 0x?>: see above",
    ]


def test_long_chain():
    d = defer.Deferred()
    for _ in range(100_000):
        d = defer.succeed(None).addCallback(lambda _, inner=d: inner)
        d.pause()
    # Chained Deferreds that are paused by hand stay in the chain.
    text = described(d)
    assert text.count("\n") < 40


def test_deep_nesting():
    d = defer.Deferred()

    async def nest(inner):
        await inner

    for _ in range(10_000):
        d = defer.ensureDeferred(nest(d))
    text = described(d)
    assert re.search(r"\.\.\. 9,98\d more, each waits for the next \.\.\.", text)
    assert text.endswith("* awaits: <Deferred at 0x?> has not been fired")


def test_lists_in_lists():
    d = defer.Deferred()
    for _ in range(1_000):
        d = defer.DeferredList([d])
    assert described(d).count("\n") < 200


def test_describing_holds_nothing():
    d = defer.Deferred()
    describe(d)
    gc.collect()
    assert not [each for each in gc.get_referrers(d) if isinstance(each, (list, set, dict))]
