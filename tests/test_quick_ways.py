"""What is done in a quick way is done as in the usual one: arguments by name, lists of arguments,
classes of Deferreds, printing, timeouts with a canceller.
"""

from io import BytesIO, StringIO, TextIOWrapper

import pytest
from helpers import outcome
from twisted.internet.task import Clock


def made(construct):
    """What a call gives, or what it raises."""
    try:
        return construct()
    except Exception as error:
        return type(error)


CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((), {"size": 1}),
    ((), {"backlog": 2}),
    ((), {"size": None, "backlog": None}),
    ((), {"backlog": 2, "size": 1}),
    ((1,), {"backlog": 2}),
    ((1,), {"size": 2}),
    ((1, 2), {"backlog": 3}),
    ((), {"tokens": 3}),
    ((), {"tokens": 0}),
    ((3,), {"tokens": 3}),
    ((), {"canceller": None}),
    ((1,), {"canceller": None}),
    ((), {"other": 1}),
]


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("number", range(len(CALLS)))
def test_arguments_by_name(defer, number, derived):
    """Of queues and semaphores: the same objects, or a TypeError, as with Twisted."""
    from twisted.internet import defer as twisted

    args, kwargs = CALLS[number]

    def shown(module):
        queues, semaphores = module.DeferredQueue, module.DeferredSemaphore
        if derived:
            queues, semaphores = (type("Derived", (cls,), {}) for cls in (queues, semaphores))
        queue = made(lambda: queues(*args, **kwargs))
        semaphore = made(lambda: semaphores(*args, **kwargs))
        return (
            queue if isinstance(queue, type) else (queue.size, queue.backlog),
            semaphore if isinstance(semaphore, type) else (semaphore.tokens, semaphore.limit),
        )

    assert shown(defer) == shown(twisted)


@pytest.mark.parametrize("derived", [False, True])
def test_canceller_by_name(defer, derived):
    asked = []
    cls = type("Derived", (defer.Deferred,), {}) if derived else defer.Deferred
    d = cls(canceller=asked.append)
    d.cancel()
    assert asked == [d]
    [f] = outcome(d)
    assert f.check(defer.CancelledError)
    for args, kwargs in (((None,), {"canceller": None}), ((), {"cancel": None})):
        with pytest.raises(TypeError):
            cls(*args, **kwargs)


@pytest.mark.parametrize("limit", [0, 1, 2, True, 1.5, 10**30])
def test_limits_of_queues(defer, limit):
    """Whatever can be compared with a number."""
    queue = defer.DeferredQueue(size=limit, backlog=limit)
    for put in range(3):
        if put < limit:
            queue.put(put)
        else:
            with pytest.raises(defer.QueueOverflow):
                queue.put(put)
    while queue.pending:
        queue.get()
    for get in range(3):
        if get < limit:
            queue.get()
        else:
            with pytest.raises(defer.QueueUnderflow):
                queue.get()


def test_a_queue_is_initialised_again(defer):
    """Its limits are set, and nothing is left in it."""
    queue = defer.DeferredQueue(1)
    queue.put("one")
    queue.__init__(backlog=0)
    assert (queue.size, queue.backlog, list(queue.pending)) == (None, 0, [])
    pending = queue.pending
    queue.__init__(2)
    queue.put("two")
    assert list(queue.pending) == ["two"]
    assert queue.size == 2
    assert pending is not queue.pending or list(pending) == ["two"]


def test_lists_of_arguments(defer):
    """They are read when the callback is called."""
    calls = []

    def callback(*args, **kwargs):
        calls.append((args, kwargs))

    args, kwargs = [1], {"name": 2}
    d = defer.Deferred()
    d.addCallbacks(callback, callback, args, kwargs)
    e = defer.Deferred()
    e.addCallbacks(callback, callback, args, {}, args, {})
    args.append(3)
    kwargs["more"] = 4
    d.callback(0)
    e.callback(0)
    assert calls == [((0, 1, 3), {"name": 2, "more": 4}), ((0, 1, 3), {})]


def test_listed_classes(defer):
    """A class counts for as long as it is listed, wherever that is."""

    class Sub(defer.Deferred):
        pass

    listed = defer._DEFERRED_SUBCLASSES

    def is_waited_for():
        return defer.succeed(None).addCallback(lambda _: Sub()).paused > 0

    try:
        assert is_waited_for() and is_waited_for()
        listed.remove(Sub)
        assert not is_waited_for()
        listed.insert(0, Sub)
        assert is_waited_for() and is_waited_for()
        listed.remove(Sub)
        assert not is_waited_for()
    finally:
        if Sub in listed:
            listed.remove(Sub)


class Pieces(list):
    """A file that keeps what is written, each piece."""

    write = list.append


@pytest.mark.parametrize("detail", ["default", "brief", "verbose"])
@pytest.mark.parametrize("text", ["wrong", "falsch: \xe4"])
def test_printed_at_once(defer, detail, text):
    """What is written at once is what is written in pieces."""
    try:
        raise ValueError(text)
    except ValueError:
        failure = defer.Failure()
    pieces, memory = Pieces(), StringIO()
    file = TextIOWrapper(BytesIO(), "utf-8", newline="")
    for each in (pieces, memory, file):
        failure.printTraceback(each, detail=detail)
    file.flush()
    assert len(pieces) > 1
    assert "".join(pieces) == memory.getvalue() == file.buffer.getvalue().decode()


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_printed_until_it_cannot_be_encoded(defer):
    """What comes before that is there."""
    failure = defer.Failure(ValueError("\xe4"))
    file = TextIOWrapper(BytesIO(), "ascii", newline="")
    with pytest.raises(UnicodeEncodeError):
        failure.printTraceback(file)
    file.flush()
    assert file.buffer.getvalue().decode() == "Traceback (most recent call last):\n"


@pytest.mark.parametrize("line", [-1, 0, 7, -(2**63), 2**63 - 1])
def test_numbers_of_lines(line):
    from deferrous.failure import format_frames

    pieces = []
    format_frames([("function", "file", line, (), ())], pieces.append, "brief")
    assert "".join(pieces) == f"file:{line}:function\n"


class Interrupting(BaseException):
    """What is no Exception."""


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("fires", [False, True])
def test_interrupted_canceller(defer, fires):
    """The time is over all the same, and the exception is raised at the end."""

    def canceller(deferred):
        if fires:
            deferred.callback("fired")
        raise Interrupting

    clock = Clock()
    d = defer.Deferred(canceller).addTimeout(1, clock)
    with pytest.raises(Interrupting):
        clock.advance(1)
    [result] = outcome(d)
    if fires:
        assert result == "fired"
    else:
        assert result.check(defer.TimeoutError)
        d.callback("late")


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_canceller_that_cancels_a_list(defer, reports):
    """Whatever is in the list, and raises when it is cancelled, fails."""

    class Refuses(defer.Deferred):
        def cancel(self):
            raise ValueError("refused")

    refuses = Refuses()
    several = defer.DeferredList([refuses], consumeErrors=True)
    clock = Clock()
    d = defer.Deferred(lambda _: several.cancel()).addTimeout(1, clock)
    clock.advance(1)
    [f] = outcome(d)
    assert f.check(defer.TimeoutError)
    assert refuses.called and several.called
    assert len(reports.values()) == 1


def test_time_is_over_for_a_generator(defer):
    """Three deep: the innermost is cancelled, and the outermost fails with a TimeoutError."""
    log = []

    @defer.inlineCallbacks
    def generator(depth):
        try:
            yield generator(depth - 1) if depth else defer.Deferred()
        except defer.CancelledError:
            log.append(depth)
            raise

    clock = Clock()
    d = generator(2).addTimeout(1, clock)
    clock.advance(1)
    assert log == [0, 1, 2]
    [f] = outcome(d)
    assert f.check(defer.TimeoutError)


def test_time_is_over_for_a_generator_that_goes_on(defer):
    """It has caught that, and waits for another."""
    second = defer.Deferred()

    @defer.inlineCallbacks
    def generator():
        try:
            yield defer.Deferred()
        except defer.CancelledError:
            return (yield second)

    clock = Clock()
    d = generator().addTimeout(1, clock)
    clock.advance(1)
    assert d.paused == 1
    second.callback("late")
    assert outcome(d) == ["late"]


def test_future_of_a_subclass(defer):
    """Its `addCallbacks` may take two arguments only."""
    import asyncio

    class Sub(defer.Deferred):
        def addCallbacks(self, callback, errback):
            return super().addCallbacks(callback, errback)

    async def main():
        fired, failed = Sub(), Sub()
        futures = [d.asFuture(asyncio.get_running_loop()) for d in (fired, failed)]
        fired.callback(1)
        failed.errback(ValueError())
        return await asyncio.gather(*futures, return_exceptions=True)

    result, error = asyncio.run(main())
    assert result == 1
    assert isinstance(error, ValueError)


def own(defer, how, log):
    """A Deferred of a class of a program, with this of its own."""

    class Sub(defer.Deferred):
        name = None

    def cancel(self):
        log.append("cancel")
        defer.Deferred.cancel(self)

    def errback(self, fail=None):
        log.append("errback")
        defer.Deferred.errback(self, fail)

    def callback(self, result):
        log.append("callback")
        defer.Deferred.callback(self, result)

    for method in (cancel, errback, callback):
        if how == method.__name__:
            setattr(Sub, how, method)
    d = Sub(lambda d: log.append("canceller")) if how == "canceller" else Sub()
    if how == "an attribute":
        d.name = "name"
    return d


@pytest.mark.parametrize(
    ("how", "logged"),
    [
        ("nothing", []),
        ("an attribute", []),
        ("callback", []),
        ("canceller", ["canceller"]),
        ("cancel", ["cancel"]),
        ("errback", ["errback"]),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
def test_time_is_over_for_a_subclass(defer, how, logged, waits):
    """Whatever of it is a program's is called, once."""
    log = []
    clock = Clock()
    d = own(defer, how, log)

    @defer.inlineCallbacks
    def generator():
        yield d

    given_up = (generator() if waits else d).addTimeout(1, clock)
    clock.advance(1)
    assert log == logged
    [f] = outcome(given_up)
    assert f.check(defer.TimeoutError)
    assert d.called
    assert clock.getDelayedCalls() == []


def test_time_is_over_for_one_with_a_cancel_of_its_own(defer):
    """It was set on the Deferred itself."""
    log = []
    clock = Clock()
    d = defer.Deferred()
    d.cancel = lambda: log.append("cancel")
    d.addTimeout(1, clock)
    clock.advance(1)
    assert log == ["cancel"]
    assert not d.called
