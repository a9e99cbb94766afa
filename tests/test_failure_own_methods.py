"""Methods set on a Failure object, which its other methods call, as in Twisted."""

import copy
import io
import pickle

import pytest


def made(failure):
    try:
        raise ValueError("why")
    except ValueError:
        return failure.Failure()


def printed(name):
    def call(f, defer):
        file = io.StringIO()
        getattr(f, name)(file)
        assert file.getvalue()

    return call


def throw(f, defer):
    def catches():
        try:
            yield
        except ValueError:
            yield "caught"

    generator = catches()
    next(generator)
    assert f.throwExceptionIntoGenerator(generator) == "caught"


def trap_of_another(f, defer):
    with pytest.raises(ValueError, match="why"):
        f.trap(KeyError)


def in_an_errback(f, defer):
    found = []
    defer.fail(f).addErrback(lambda it: it.trap(ValueError)).addBoth(found.append)
    assert found == [ValueError]


def awaited(f, defer):
    async def wait(d):
        try:
            await d
        except ValueError:
            return "caught"

    found = []
    defer.ensureDeferred(wait(defer.fail(f))).addBoth(found.append)
    assert found == ["caught"]


def yielded(f, defer):
    @defer.inlineCallbacks
    def wait(d):
        try:
            yield d
        except ValueError:
            return "caught"

    found = []
    wait(defer.fail(f)).addBoth(found.append)
    assert found == ["caught"]


def yielded_before(f, defer):
    d, found = defer.Deferred(), []

    @defer.inlineCallbacks
    def wait():
        try:
            yield d
        except ValueError:
            return "caught"

    wait().addBoth(found.append)
    d.errback(f)
    assert found == ["caught"]


OPERATIONS = {
    "getTraceback": lambda f, _: f.getTraceback(),
    "getTraceback, verbose": lambda f, _: f.getTraceback(detail="verbose"),
    "getTraceback, brief": lambda f, _: f.getTraceback(detail="brief"),
    "getBriefTraceback": lambda f, _: f.getBriefTraceback(),
    "getErrorMessage": lambda f, _: f.getErrorMessage(),
    "printTraceback": printed("printTraceback"),
    "printBriefTraceback": printed("printBriefTraceback"),
    "printDetailedTraceback": printed("printDetailedTraceback"),
    "check": lambda f, _: f.check(ValueError),
    "trap": lambda f, _: f.trap(ValueError),
    "trap of another": trap_of_another,
    "throw": throw,
    "cleanFailure": lambda f, _: f.cleanFailure(),
    "repr": lambda f, _: repr(f),
    "str": lambda f, _: str(f),
    "copy": lambda f, _: copy.copy(f),
    "pickle": lambda f, _: pickle.dumps(f),
    "in an errback": in_an_errback,
    "awaited": awaited,
    "yielded": yielded,
    "yielded before": yielded_before,
}

METHODS = [
    "getTraceback",
    "getBriefTraceback",
    "getErrorMessage",
    "printTraceback",
    "printBriefTraceback",
    "printDetailedTraceback",
    "check",
    "trap",
    "raiseException",
    "throwExceptionIntoGenerator",
    "cleanFailure",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
]

#: Which of its methods each asks, besides the one of this name. Of those that awaiting asks,
#: Twisted asks one for a Deferred that has fired, and the other for one that has not.
ASKED = {
    "getTraceback": {"printTraceback"},
    "getTraceback, verbose": {"getTraceback", "printTraceback"},
    "getTraceback, brief": {"getTraceback", "printTraceback"},
    "getBriefTraceback": {"printBriefTraceback", "printTraceback"},
    "printBriefTraceback": {"printTraceback"},
    "printDetailedTraceback": {"printTraceback"},
    "trap": {"check"},
    "trap of another": {"check", "trap", "raiseException"},
    "throw": {"throwExceptionIntoGenerator"},
    "cleanFailure": {"__getstate__"},
    "repr": {"getErrorMessage"},
    "str": {"getBriefTraceback", "printBriefTraceback", "printTraceback"},
    "copy": {"__reduce_ex__", "__reduce__", "__getstate__"},
    "pickle": {"__reduce_ex__", "__reduce__", "__getstate__"},
    "in an errback": {"check", "trap"},
    "awaited": {"raiseException"},
    "yielded": {"throwExceptionIntoGenerator"},
    "yielded before": {"throwExceptionIntoGenerator"},
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_it_asks(defer, failure, operation):
    asked = set()
    for method in METHODS:
        f = made(failure)
        before = getattr(f, method)

        def instead(*args, method=method, before=before, **names):
            asked.add(method)
            return before(*args, **names)

        setattr(f, method, instead)
        try:
            OPERATIONS[operation](f, defer)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            # A function of a test cannot be; it has been asked by then.
            text = str(error).lower()
            assert "pickle" in text or "local object" in text, (operation, method)
    asked.discard(operation)
    expected = ASKED.get(operation, set())
    if operation == "awaited" and defer.__name__ == "deferrous":
        expected = expected | {"throwExceptionIntoGenerator"}
    assert asked == expected


def test_its_answers_are_taken(defer, failure):
    f = made(failure)
    f.getErrorMessage = lambda: "something else"
    assert "something else" in repr(f)
    f = made(failure)
    f.printTraceback = lambda file, *_args, **_names: file.write("mine")
    assert f.getTraceback() == f.getBriefTraceback() == "mine"
    f = made(failure)
    f.check = lambda *_: KeyError
    assert f.trap(OSError) is KeyError
    # What is no method stays an attribute.
    f = made(failure)
    f.request = "/"
    assert f.trap(ValueError) is ValueError
    assert "why" in f.getTraceback()
