"""The pytest plugin: unhandled errors fail tests."""

import pytest
from plugin_helpers import LOSING, run, text_of

pytestmark = [
    pytest.mark.deferrous_only,
    # These runs have no configuration, for which some versions of pytest-asyncio ask.
    pytest.mark.filterwarnings("ignore:.*asyncio_default_fixture_loop_scope"),
]


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
