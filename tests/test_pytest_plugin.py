"""The pytest plugin: turning it on and off, flushing errors, other plugins."""

import re

import pytest
from plugin_helpers import DOCS, IS_INSTALLED, LOSING, MODULE, run, text_of

pytestmark = [
    pytest.mark.deferrous_only,
    # These runs have no configuration, for which some versions of pytest-asyncio ask.
    pytest.mark.filterwarnings("ignore:.*asyncio_default_fixture_loop_scope"),
]


def test_entry_point():
    assert IS_INSTALLED, (
        "install the package anew: its entry points are not those of pyproject.toml"
    )


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
