"""Twisted on this package: `install()`.

Its other forms are in test_python_m.py and test_install_inherited.py.
"""

import textwrap

import pytest
from install_helpers import run, run_installed

pytestmark = pytest.mark.deferrous_only


def test_importing_deferrous_imports_no_twisted():
    run("""
        import sys, deferrous, deferrous.twisted
        assert not deferrous.installed()
        deferrous.install()
        assert not [name for name in sys.modules if name.split(".")[0] == "twisted"]
        """)


def test_install_is_idempotent():
    run("""
        import sys, deferrous, deferrous.twisted
        before = list(sys.meta_path)
        for _ in range(3):
            deferrous.install()
            assert deferrous.installed() and deferrous.twisted.installed()
        assert len(sys.meta_path) == len(before) + 1
        import twisted.internet.defer
        deferrous.install()
        assert deferrous.installed()
        """)


def test_the_objects_are_the_same_everywhere():
    run_installed("""
        import sys, types
        import deferrous.failure
        from twisted.internet import defer, reactor, protocol, task, threads, utils
        from twisted.logger import _logger
        from twisted.python import failure, log
        from twisted.spread import pb
        from twisted.trial import unittest
        from twisted.web import client, server

        assert isinstance(defer, types.ModuleType) and isinstance(failure, types.ModuleType)
        assert type(defer) is types.ModuleType
        for name in deferrous.__all__:
            assert getattr(defer, name) is getattr(deferrous, name), name
        for name in deferrous.failure.__all__:
            assert getattr(failure, name) is getattr(deferrous.failure, name), name
        for module in list(sys.modules.values()):
            for name, ours in (
                ("Deferred", deferrous.Deferred),
                ("Failure", deferrous.failure.Failure),
                ("inlineCallbacks", deferrous.inlineCallbacks),
            ):
                if isinstance(module, types.ModuleType):
                    assert vars(module).get(name, ours) is ours, (module, name)

        assert issubclass(pb.CopyableFailure, failure.Failure)
        d = defer.fail(ValueError(1))
        assert isinstance(d, deferrous.Deferred) and isinstance(d.result, failure.Failure)
        d.addErrback(lambda f: None)

        assert defer._DEFERRED_SUBCLASSES is deferrous._DEFERRED_SUBCLASSES
        class Mine(defer.Deferred): pass
        assert defer._DEFERRED_SUBCLASSES[-1] is Mine
        """)


def test_nothing_left_is_built_on_what_was_replaced():
    """No class of Twisted's own that remains has a base that is not in the module any more."""
    run_installed("""
        import inspect
        from twisted.internet import defer
        from twisted.python import failure

        for module in (defer, failure):
            for name, value in vars(module).items():
                if inspect.isclass(value) and value.__module__ == module.__name__:
                    for base in value.__mro__:
                        if base.__module__ == module.__name__:
                            assert getattr(module, base.__name__) is base, (name, base)
        """)


def test_every_name_of_twisteds_is_there():
    script = """
        from twisted.internet import defer
        from twisted.python import failure
        print(sorted((m.__name__, n) for m in (defer, failure) for n in {*dir(m), *vars(m)}))
        """
    missing = {*eval(run(script))} - {*eval(run_installed(script))}
    assert missing - {("twisted.python.failure", "count")} == set()
    run_installed("from twisted.python.failure import count, Failure, _extraneous")


def test_the_modules_look_as_ever():
    script = """
        import inspect, pkgutil
        from twisted.internet import defer
        from twisted.python import failure
        for m in (defer, failure):
            print(m.__name__, m.__file__, m.__doc__, m.__package__, m.__spec__.name)
            print(m.__spec__.origin, type(m.__spec__.loader), type(m.__loader__))
            print(m.__spec__.cached, getattr(m, "__cached__", "none since 3.15"))
            print(m, len(inspect.getsource(m)), m.__spec__.loader is m.__loader__)
            print(pkgutil.resolve_name(m.__name__) is m)
        print(defer.__all__)
        """
    assert run(script) == run_installed(script)


def test_names_in_messages_reprs_and_deprecations():
    script = r"""
        import re, sys, warnings
        import twisted
        from twisted.internet import defer
        from twisted.python import failure

        def show(*what):
            print(*(re.sub("0x[0-9a-f]+", "0x", str(each)) for each in what))

        for module in (defer, failure):
            for name in sorted(getattr(module, "__all__", ("Failure", "startDebugMode"))):
                value = getattr(module, name)
                show(name, getattr(value, "__module__", value), getattr(value, "__name__", ""))
        for value in (
            defer.Deferred(), defer.DeferredLock(), defer.Deferred, defer.DeferredList([]),
            defer.CancelledError(), defer.CancelledError, failure.Failure(ValueError(1)),
            failure.Failure(defer.AlreadyCalledError()), failure.Failure, defer.QueueOverflow,
            defer.Deferred[int], defer.FirstError,
        ):
            show(repr(value), value)
        for expression in (
            "defer.Deferred().nothing", "defer.Deferred.nothing", "defer.DeferredList.nothing",
            "defer.DeferredLock().nothing", "failure.Failure(ValueError()).nothing",
            "defer.ensureDeferred(1)", "defer.Deferred().callback(defer.Deferred())",
            "defer.DeferredSemaphore(0)", "defer.nothing", "failure.nothing",
        ):
            try:
                eval(expression)
            except BaseException as error:
                show(type(error), error)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if twisted.version.major > 24:
                defer.Deferred().callbacks
            defer.timeout(defer.Deferred().addErrback(lambda _: None))
            try:
                defer.returnValue(1)
            except BaseException as error:
                show(type(error))
            failure.Failure(ValueError()).stack
            for each in caught:
                show(each.category, each.message, each.filename, each.lineno)
        """
    assert run_installed(script) == run(script)


PICKLES = """
    import pickle, re, sys
    from twisted.internet import defer, error
    from twisted.python import failure
    try:
        raise defer.AlreadyCalledError("once")
    except Exception:
        one = failure.Failure()
    things = [
        defer.Deferred, defer.DeferredList, defer.CancelledError, defer.succeed, failure.Failure,
        defer.inlineCallbacks, defer.gatherResults, defer.maybeDeferred, defer.DeferredLock,
        defer.CancelledError("x"), one, failure.Failure(error.ConnectionLost("gone")),
    ]
    """


@pytest.mark.parametrize("writer", [run, run_installed])
@pytest.mark.parametrize("reader", [run, run_installed])
def test_pickles_go_both_ways(writer, reader, tmp_path):
    path = tmp_path / "pickles"
    writer(
        textwrap.dedent(PICKLES)
        + f"open({str(path)!r}, 'wb').write(b''.join(map(pickle.dumps, things)))"
    )
    stocked = reader(
        textwrap.dedent(PICKLES)
        + textwrap.dedent(f"""
            with open({str(path)!r}, 'rb') as file:
                for thing in things:
                    found = pickle.load(file)
                    if isinstance(thing, type) or callable(thing):
                        assert found is thing, thing
                    else:
                        assert type(found) is type(thing), thing
                    if isinstance(thing, failure.Failure):
                        assert found.getErrorMessage() == thing.getErrorMessage()
                        assert found.check(thing.type) is thing.type
                        lines = [re.sub("line [0-9]+", "", each.getTraceback())
                                 for each in (found, thing)]
                        assert lines[0] == lines[1]
            print("deferrous" in sys.modules)
            """)
    )
    assert stocked.strip() == str(reader is run_installed)


def test_our_own_pickles_are_the_same_objects():
    run_installed("""
        import pickle, deferrous, deferrous.failure
        before = pickle.dumps([deferrous.CancelledError, deferrous.Deferred, deferrous.succeed])
        from twisted.internet import defer
        assert pickle.loads(before) == [defer.CancelledError, defer.Deferred, defer.succeed]
        assert b"deferrous" not in pickle.dumps([deferrous.CancelledError, deferrous.succeed])
        """)


def test_unhandled_errors_are_reported_as_twisted_does():
    script = """
        import re
        from twisted.internet import defer
        from twisted.logger import globalLogPublisher, formatEvent

        events = []
        globalLogPublisher.addObserver(events.append)
        defer.fail(ValueError("lost"))
        defer.setDebugging(True)
        defer.fail(ValueError("lost"))
        defer.setDebugging(False)
        defer.fail(ValueError("told")).addErrback(defer.logError).addErrback(lambda _: None)
        for event in events:
            text = re.sub('(?m)^.*File "(?!<string>).*$\\n?.*$', "", formatEvent(event))
            print(event["log_namespace"], event["log_level"].name, event.get("isError"),
                  text[:40], event.get("log_failure"), sorted(event))
        """
    assert run_installed(script) == run(script)


def test_what_programs_patch():
    run_installed("""
        from unittest import mock
        from twisted.internet import defer
        from twisted.python import failure

        reports = []
        class Info:
            failResult = None
            def __del__(self):
                if self.failResult is not None:
                    reports.append(self.failResult.value)
        with mock.patch.object(defer, "DebugInfo", Info):
            defer.fail(ValueError(1))
        assert [type(each) for each in reports] == [ValueError]

        logged = []
        class Log:
            def critical(self, *args, **kwargs):
                logged.append("critical")
            def failure(self, *args, **kwargs):
                logged.append("failure")
        with mock.patch.object(defer, "log", Log()):
            defer.fail(ValueError(2))
            defer.logError(failure.Failure(ValueError(3)))
            def broken(d):
                raise ValueError(4)
            defer.DeferredList([defer.Deferred(broken)]).cancel()
        assert logged == ["critical", "failure", "failure", "failure"], logged
        """)


def test_functions_that_programs_patch():
    run_installed("""
        from unittest import mock
        import deferrous.failure
        from twisted.internet import defer
        from twisted.python import failure

        wrapped = []
        original = defer.inlineCallbacks
        def wrapper(f):
            wrapped.append(f)
            return original(f)
        with mock.patch.object(defer, "inlineCallbacks", wrapper):
            from twisted.internet.defer import inlineCallbacks
            @inlineCallbacks
            def generator():
                yield
            generator()
        assert len(wrapped) == 1 and defer.inlineCallbacks is original

        made = []
        init = failure.Failure.__init__
        def patched(self, *args, **kwargs):
            made.append(self)
            init(self, *args, **kwargs)
        with mock.patch.object(failure.Failure, "__init__", patched):
            defer.execute(lambda: 1 / 0).addErrback(lambda _: None)
        assert len(made) == 1

        assert failure.DO_POST_MORTEM is True
        with mock.patch.object(failure, "DO_POST_MORTEM", False):
            assert deferrous.failure.DO_POST_MORTEM is False
        assert deferrous.failure.DO_POST_MORTEM is True
        count = failure.count
        failure.Failure(ValueError())
        assert failure.count == count + 1
        """)


def test_reload_and_a_second_import():
    run_installed("""
        import importlib, sys
        import deferrous, deferrous.failure
        from twisted.internet import defer
        from twisted.python import failure

        for module in (failure, defer):
            assert importlib.reload(module) is module
        assert defer.Deferred is deferrous.Deferred
        assert failure.Failure is deferrous.failure.Failure and failure.count >= 0
        for name in [name for name in sys.modules if name.split(".")[0] == "twisted"]:
            del sys.modules[name]
        from twisted.internet import defer as again
        assert again is not defer and again.Deferred is defer.Deferred and deferrous.installed()
        """)


def test_without_twisted_nothing_happens():
    run_installed("""
        import sys
        class Nowhere:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "twisted":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Nowhere())
        try:
            import twisted.internet.defer
        except ModuleNotFoundError:
            pass
        import deferrous
        assert deferrous.installed() and deferrous.succeed(1).result == 1
        """)


def test_an_import_that_fails_leaves_nothing_behind():
    run_installed("""
        import sys
        sys.modules["twisted.logger"] = None
        try:
            import twisted.internet.defer
        except ImportError:
            pass
        assert "twisted.internet.defer" not in sys.modules and deferrous.installed()
        del sys.modules["twisted.logger"]
        import twisted.internet.defer
        assert twisted.internet.defer.Deferred is deferrous.Deferred
        """)


@pytest.mark.parametrize("first", ["twisted.python.failure", "twisted.internet.defer"])
def test_too_late(first, tmp_path):
    (tmp_path / "program.py").write_text(f"from {first} import *\nfrom {first} import Failure\n")
    out = run(
        """
        import sys
        import program
        modules, finders = dict(sys.modules), list(sys.meta_path)
        import deferrous, deferrous.twisted
        assert not deferrous.installed()
        try:
            deferrous.install()
        except deferrous.InstallError as error:
            assert isinstance(error, RuntimeError)
            print(error)
        assert not deferrous.installed() and sys.meta_path == finders
        from twisted.internet import defer
        from twisted.python import failure
        assert defer.Deferred is not deferrous.Deferred
        assert failure.Failure is not deferrous.failure.Failure
        assert all(sys.modules[name] is module for name, module in modules.items())
        """,
        PYTHONPATH=str(tmp_path),
    )
    assert out.startswith("twisted.python.failure was imported before deferrous.install()")
    assert ", by way of program." in out and "before it imports program or anything else" in out
    assert "python -m deferrous" in out


@pytest.mark.parametrize(
    ("version", "warned"),
    [("24.10.0", 0), ("26.10.0", 0), ("26.10.1", 0), ("24.7.0", 1), ("26.11.0", 1), ("?", 1)],
)
def test_versions(version, warned):
    out = run_installed(f"""
        import warnings, twisted
        twisted.__version__ = {version!r}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import twisted.internet.defer
        ours = [each for each in caught if "deferrous" in str(each.message)]
        print(len([each for each in ours if each.category is RuntimeWarning]))
        assert deferrous.installed()
        assert not ours or {version!r} in str(ours[0].message)
        """)
    assert out.split() == [str(warned)]
