"""The plugin for pytest, in runs of pytest within pytest."""

import importlib.metadata
import pathlib
import re

import pytest

pytestmark = [
    pytest.mark.deferrous_only,
    # These runs have no configuration, for which some versions of pytest-asyncio ask.
    pytest.mark.filterwarnings("ignore:.*asyncio_default_fixture_loop_scope"),
]

MODULE = "deferrous.pytest_plugin"
IS_INSTALLED = any(
    each.value == MODULE for each in importlib.metadata.entry_points(group="pytest11")
)
DOCS = pathlib.Path(__file__).parent.parent / "docs" / "testing.md"
PRELUDE = """
import gc
import logging
import unittest

import pytest

import deferrous as defer

def fail(error):
    raise error

def lose(error):
    defer.maybeDeferred(fail, error)

def lose_in_cycle(error):
    d = defer.maybeDeferred(fail, error)
    d.itself = d
"""


@pytest.fixture
def run(pytester):
    """Run pytest on the source of a test module; `args` replace the option that turns it on."""

    def run(source, *more, args=("--deferrous",), subprocess=False):
        pytester.makepyfile(PRELUDE + source)
        start = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        load = () if IS_INSTALLED else ("-p", MODULE)
        return start(*load, "-p", "no:cacheprovider", "-p", "no:randomly", *args, *more)

    return run


def text_of(result):
    return re.sub(r"0x[0-9a-f]+", "0x?", result.stdout.str())


def test_entry_point():
    assert IS_INSTALLED, (
        "install the package anew: its entry points are not those of pyproject.toml"
    )


# Off, unless asked for.

LOSING = """
def test_it():
    lose(ValueError("bad"))
"""


def test_off(run):
    result = run(LOSING, args=())
    result.assert_outcomes(passed=1)


def test_off_has_no_hooks(run, pytester):
    pytester.makeconftest(
        """
        def pytest_runtest_setup(item):
            assert not item.config.pluginmanager.has_plugin("deferrous-hooks")
        """
    )
    run(LOSING, args=()).assert_outcomes(passed=1)


def test_does_not_import_twisted(pytester):
    pytester.makepyfile(
        """
        import sys
        def test_it():
            assert not [name for name in sys.modules if name.partition(".")[0] == "twisted"]
        """
    )
    load = () if IS_INSTALLED else ("-p", MODULE)
    for more in (), ("--deferrous",):
        result = pytester.runpytest_subprocess(*load, "-p", "no:cacheprovider", *more)
        result.assert_outcomes(passed=1)


def test_option(run):
    run(LOSING).assert_outcomes(failed=1)


def test_setting(run, pytester):
    pytester.makeini("[pytest]\ndeferrous = true")
    run(LOSING, args=()).assert_outcomes(failed=1)
    run(LOSING, args=("-o", "deferrous=false")).assert_outcomes(passed=1)


def test_marker(run):
    result = run(
        """
@pytest.mark.deferrous
def test_marked():
    lose(ValueError("bad"))

def test_unmarked():
    lose(ValueError("bad"))

@pytest.mark.deferrous
class TestClass:
    async def test_method(self):
        assert await defer.succeed(1) == 2
""",
        args=("--strict-markers", "-v"),
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["*::test_unmarked PASSED*"])


def test_marked_module(run):
    run("pytestmark = pytest.mark.deferrous\n" + LOSING, args=()).assert_outcomes(failed=1)


def test_marker_is_listed(run):
    run("", args=("--markers",)).stdout.fnmatch_lines(["@pytest.mark.deferrous: *"])


def test_option_is_listed(run):
    run("", args=("--help",)).stdout.fnmatch_lines(["*--deferrous *", "*deferrous (bool):*"])


def test_nothing_stays_behind(run):
    import deferrous

    before = vars(deferrous.DebugInfo)["__del__"]
    run(LOSING)
    assert vars(deferrous.DebugInfo)["__del__"] is before


# Unhandled errors.


@pytest.mark.parametrize("lose", ["lose", "lose_in_cycle"])
@pytest.mark.parametrize("twisted", ["", "import twisted.logger"])
def test_unhandled_error(run, lose, twisted):
    result = run(
        f"""
{twisted}
def test_before():
    pass

def test_it():
    {lose}(ValueError("bad"))

def test_after():
    pass
""",
        "-v",
        "--show-capture=no",
        subprocess=True,
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_before PASSED*",
            "*::test_it FAILED*",
            "*::test_after PASSED*",
            "Unhandled error in a Deferred:",
            "Traceback (most recent call last):",
            "*in fail",
            "*raise error",
            "ValueError: bad",
            "FAILED *::test_it*",
        ]
    )


def test_several(run):
    result = run(
        """
def test_it():
    lose_in_cycle(ValueError("first"))
    lose(KeyError("second"))
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["2 unhandled errors in Deferreds:"])
    assert "ValueError: first" in text_of(result)
    assert "KeyError: 'second'" in text_of(result)


def test_error_held_by_an_error(run):
    # The second Deferred hangs on a frame of the first one's traceback.
    result = run(
        """
def outer():
    inner = defer.maybeDeferred(fail, KeyError("inner"))
    raise ValueError("outer")

def test_it():
    defer.maybeDeferred(outer)

def test_after():
    pass
""",
        # Here, Twisted's log would keep the first one.
        subprocess=True,
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["2 unhandled errors in Deferreds:"])


def test_still_logged(run):
    result = run(
        """
def test_it(caplog):
    lose(ValueError("bad"))
    [record] = caplog.records
    assert record.name == "deferrous" and record.levelno == logging.CRITICAL
""",
        subprocess=True,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Unhandled error in a Deferred:", "CRITICAL *deferrous*"])
    assert "AssertionError" not in text_of(result)


def test_debug_mode(run):
    result = run(
        """
def test_it():
    defer.setDebugging(True)
    lose(ValueError("bad"))
    defer.setDebugging(False)
"""
    )
    result.stdout.fnmatch_lines(["ValueError: bad", " C: Deferred was created:"])


def test_handled(run):
    run(
        """
def test_it():
    defer.maybeDeferred(fail, ValueError("bad")).addErrback(lambda _: None)
"""
    ).assert_outcomes(passed=1)


def test_left_by_another_test(run):
    result = run(
        """
def test_off():
    lose_in_cycle(ValueError("bad"))
    held = defer.maybeDeferred(fail, ValueError("bad"))
    assert not held

@pytest.mark.deferrous
def test_on():
    gc.collect()
""",
        args=("-v",),
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*::test_on PASSED*"])


@pytest.mark.parametrize("lose", ["lose", "lose_in_cycle"])
def test_in_setup(run, lose):
    result = run(
        f"""
@pytest.fixture
def losing():
    {lose}(ValueError("bad"))

def test_it(losing):
    pass
"""
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_it*", "Unhandled error in a Deferred:"])


@pytest.mark.parametrize("lose", ["lose", "lose_in_cycle"])
@pytest.mark.parametrize("scope", ["function", "module"])
def test_in_teardown(run, lose, scope):
    result = run(
        f"""
@pytest.fixture(scope="{scope}")
def losing():
    yield 3
    {lose}(ValueError("bad"))

def test_it(losing):
    assert losing == 3
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "ValueError: bad"])


def test_in_teardown_of_a_test_without_fixtures(run):
    run(
        """
@pytest.fixture(scope="module")
def losing():
    yield
    lose_in_cycle(ValueError("bad"))

def test_with(losing):
    pass

def test_without():
    pass
"""
    ).assert_outcomes(passed=2, errors=1)


def test_of_a_failing_test(run):
    result = run(
        """
def test_it():
    lose(ValueError("bad"))
    assert 1 == 2
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * assert 1 == 2", "*Unhandled errors in Deferreds (call)*", "ValueError: bad"]
    )


def test_held_by_a_failing_test(run):
    # Without care, it would die, and be reported, when the next test starts.
    result = run(
        """
def test_it():
    held = defer.maybeDeferred(fail, ValueError("bad"))
    assert 1 == 2

def test_after():
    pass
""",
        "-v",
        # Within a process, pytester keeps all that hooks were called with.
        subprocess=True,
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*::test_it FAILED*",
            "*::test_after PASSED*",
            "*Unhandled errors in Deferreds (teardown)*",
            "ValueError: bad",
        ]
    )


def test_expected_failure(run):
    run(
        """
@pytest.mark.xfail(strict=True)
def test_it():
    lose(ValueError("bad"))
"""
    ).assert_outcomes(xfailed=1)


def test_exit_at_first(run):
    result = run(LOSING + "\ndef test_after(): pass\n", "-x")
    result.assert_outcomes(failed=1)


def test_unittest(run):
    result = run(
        """
class TestCase(unittest.TestCase):
    def tearDown(self):
        pass

    def test_losing(self):
        lose_in_cycle(ValueError("bad"))

    def test_failing(self):
        lose(ValueError("worse"))
        self.fail("anyway")

    def test_passing(self):
        pass
"""
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["*AssertionError: anyway", "ValueError: worse"])
    result.stdout.fnmatch_lines(["Unhandled error in a Deferred:", "*", "ValueError: bad"])


def test_twisteds_own_deferreds(run):
    pytest.importorskip("twisted")
    run(
        """
from twisted.internet import defer as theirs

def test_it():
    d = theirs.maybeDeferred(fail, ValueError("bad"))
    d.itself = d
""",
        subprocess=True,
    ).assert_outcomes(failed=1)


def test_on_deferrous(run):
    pytest.importorskip("twisted")
    run(
        """
import deferrous.twisted
deferrous.twisted.install()
from twisted.internet import defer

def test_losing():
    lose_in_cycle(ValueError("bad"))

@defer.inlineCallbacks
def test_passing():
    assert (yield defer.succeed(3)) == 3
""",
        subprocess=True,
    ).assert_outcomes(failed=1, passed=1)


def test_replaced_hook(run):
    # Programs that want no reports delete the method; then there is nothing to hear.
    run(
        """
del defer.DebugInfo.__del__
"""
        + LOSING,
        subprocess=True,
    ).assert_outcomes(passed=1)


# Flushing.


def test_flush(run):
    result = run(
        """
def test_all(flush_deferred_errors):
    lose(ValueError("bad"))
    lose_in_cycle(KeyError("worse"))
    values = [failure.value for failure in flush_deferred_errors()]
    assert [type(value) for value in values] == [ValueError, KeyError]
    assert flush_deferred_errors() == []

def test_some(flush_deferred_errors):
    lose(ValueError("bad"))
    lose(KeyError("worse"))
    [failure] = flush_deferred_errors(OSError, ValueError)
    assert failure.check(ValueError)

def test_none(flush_deferred_errors):
    assert flush_deferred_errors() == []
"""
    )
    result.assert_outcomes(passed=2, failed=1)
    assert "KeyError: 'worse'" in text_of(result)
    assert "1 failed" in text_of(result)


def test_flush_while_off(run):
    result = run("def test_it(flush_deferred_errors): pass", args=())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["flush_deferred_errors has nothing to flush: *--deferrous*"])


def test_flush_with_marker(run):
    run(
        """
@pytest.mark.deferrous
def test_it(flush_deferred_errors):
    lose(ValueError("bad"))
    assert len(flush_deferred_errors()) == 1
""",
        args=(),
    ).assert_outcomes(passed=1)


# Asynchronous tests.


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


# Beside other plugins.


def test_anyio(run):
    pytest.importorskip("anyio")
    run(
        """
import asyncio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_theirs():
    await asyncio.sleep(0)

async def test_theirs_too(anyio_backend):
    await asyncio.sleep(0)

@pytest.mark.anyio
async def test_losing():
    await asyncio.sleep(0)
    lose(ValueError("bad"))

async def test_ours():
    assert await defer.succeed(3) == 3
"""
    ).assert_outcomes(passed=3, failed=1)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_asyncio(run, mode):
    ours = "async def test_ours(): await defer.succeed(3)" if mode == "strict" else ""
    result = run(
        f"""
import asyncio

@pytest.mark.asyncio
async def test_theirs():
    await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_losing():
    await asyncio.sleep(0)
    lose(ValueError("bad"))

{ours}
""",
        "-o",
        f"asyncio_mode={mode}",
        subprocess=True,
    )
    result.assert_outcomes(passed=2 if ours else 1, failed=1)


@pytest.mark.parametrize("marker", ["asyncio", "trio"])
def test_markers_of_others(run, pytester, marker):
    # A plugin that runs the tests with its marker as late as can be.
    pytester.makeconftest(
        f"""
        import pytest

        def pytest_configure(config):
            config.addinivalue_line("markers", "{marker}: of another plugin")

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_setup(item):
            if item.get_closest_marker("{marker}"):
                def call():
                    assert item.obj is call
                item.obj = call
        """
    )
    run(
        f"""
@pytest.mark.{marker}
async def test_theirs():
    assert not "reached"
""",
        "-p",
        "no:asyncio",
        "-p",
        "no:trio",
    ).assert_outcomes(passed=1)


def test_documentation(pytester):
    """The examples in the documentation do what it says: each block is a module of tests."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    pytester.makepyfile(**{f"test_block_{n}": block for n, block in enumerate(blocks)})
    load = () if IS_INSTALLED else ("-p", MODULE)
    result = pytester.runpytest_subprocess(*load, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=len(re.findall(r"def test_", "".join(blocks))))
