"""The call graph of one Deferred: its state, its callbacks, both directions, and the formats."""

import contextlib
import functools
import gc
import io
import sys

import deferrous as defer
import pytest
from call_graph_helpers import (
    Own,
    awaited_by,
    generator,
    graph,
    inner,
    iterating,
    last,
    later,
    line_of,
    named,
    outer,
)

pytestmark = pytest.mark.deferrous_only


def test_one_that_nobody_has_fired():
    d = defer.Deferred()
    assert named(str(graph(d)), d=d) == "* <d> has not been fired"
    assert graph(d).state == "pending"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (3, "3"),
        (1.5, "1.5"),
        ("a\nb", r"'a\nb'"),
        ("x" * 1000, f"'{'x' * 60}'..."),
        (b"abc", "b'abc'"),
        (1 << 100_000, "int of 100,001 bits"),
        ([1] * 1000, "list of 1,000"),
        ({1: 2}, "dict of 1"),
        ((1, "a"), "(1, 'a')"),
        ((1,), "(1,)"),
        (Own, "class Own"),
        (Own(), "<Own>"),
        ("\ud800\x1b[0m", r"'\ud800\x1b[0m'"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_fired_with(value, text):
    found = graph(defer.succeed(value))
    assert found.state == "fired"
    assert named(found.detail) == f"was fired with {text}"


def test_failed_with():
    d = defer.fail(ValueError("no", Own(), 3, 4))
    found = graph(d)
    assert found.state == "failed"
    assert named(found.detail) == "failed with ValueError('no', <Own>, 3, ...)"
    d.addErrback(lambda _: None)


def test_cancelled():
    d = defer.Deferred()
    d.cancel()
    assert graph(d).state == "cancelled"
    assert graph(d).detail == "failed with CancelledError()"
    d.addErrback(lambda _: None)


def test_the_failure_is_still_reported(reports):
    d = defer.fail(ValueError("no"))
    graph(d)
    del d
    gc.collect()
    assert [str(each) for each in reports.values()] == ["no"]


def test_paused():
    d = defer.Deferred()
    d.pause()
    assert graph(d).detail == "has not been fired, and is paused (1 times)"
    d.callback(1)
    d.addCallback(print)
    assert graph(d).state == "paused"
    assert [each.name for each in graph(d).callbacks] == ["print"]


@pytest.mark.parametrize("fired_by", [defer.Deferred.callback, defer.Deferred.errback])
def test_paused_while_chained(fired_by):
    """It waits for the other until that fires. Then it has the result, and is only paused."""
    inner, outer = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(1)
    waits = "waits for a Deferred that one of its callbacks returned"
    assert graph(outer).detail == waits
    outer.pause()
    outer.pause()
    assert graph(outer).detail == f"{waits}, and is paused (2 times)"
    fired_by(inner, ValueError())
    assert graph(outer).detail == "is paused (2 times)"
    assert graph(outer).state == "paused"
    assert not graph(outer).waits_for
    assert not graph(inner).awaited_by
    outer.addBoth(lambda _: None)
    outer.unpause()
    assert graph(outer).detail == "is paused (1 times)"
    outer.unpause()
    assert graph(outer).detail == "was fired with None"


def test_paused_while_another_is_to_fire_it():
    first, second = defer.Deferred(), defer.Deferred()
    first.chainDeferred(second)
    second.pause()
    waits = "waits for a Deferred that will fire it"
    assert graph(second).detail == f"{waits}, and is paused (1 times)"
    first.callback(1)
    assert graph(second).detail == "is paused (1 times)"
    assert not graph(second).waits_for


def test_running_inside_a_callback():
    d, seen = defer.Deferred(), []
    d.addCallback(lambda _: seen.append(graph(d)))
    d.addCallback(later)
    d.callback(1)
    assert seen[0].state == "running"
    assert [each.name for each in seen[0].callbacks] == ["later"]


def test_one_whose_result_was_taken():
    inner, outer = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(1)
    inner.callback(2)
    assert graph(outer).detail == "was fired with 2"
    assert graph(inner).state == "fired"


class Service:
    def method(self, result):
        return result

    def __call__(self, result):
        return result


def test_callbacks_by_name_file_and_line():
    d = defer.Deferred()
    service = Service()
    d.addCallback(later, 1, key=2)
    d.addErrback(service.method)
    d.addBoth(service)
    d.addCallbacks(functools.partial(functools.partial(later), 1), len)
    d.addCallback(Service)
    found = graph(d)
    here = __file__
    assert [
        (each.on, named(each.name, service=service), each.file, each.line)
        for each in found.callbacks[:4]
    ] == [
        ("result", "later", here, line_of(later)),
        ("failure", "Service.method", here, line_of(Service.method)),
        ("both", "<service>", here, line_of(Service.__call__)),
        ("result", "partial of partial of later", here, line_of(later)),
    ] or found.callbacks[3].name == "partial of later"
    assert (found.callbacks[4].on, found.callbacks[4].name) == ("failure", "len")
    assert (found.callbacks[5].on, found.callbacks[5].name) == ("result", "class Service")


def both_ways(waiting, awaited):
    assert awaited in last(graph(waiting)), str(graph(waiting))
    assert waiting in last(graph(awaited), awaited_by), str(graph(awaited))


def test_a_chain():
    first, second, third = (defer.Deferred() for _ in range(3))
    second.addCallback(lambda _: third)
    second.callback(None)
    first.addCallback(lambda _: second)
    first.callback(None)
    both_ways(first, third)
    assert last(graph(first)) == [first, second, third]
    assert last(graph(third), awaited_by) == [third, second, first]
    assert named(str(graph(second)), a=first, b=second, c=third) == (
        "* <b> waits for a Deferred that one of its callbacks returned\n"
        "  + Waits for:\n"
        "    * chained to: <c> has not been fired\n"
        "  + Awaited by:\n"
        "    * chained to: <a> waits for a Deferred that one of its callbacks returned"
    )


def test_chain_deferred_and_bound_callbacks():
    first, second, third = (defer.Deferred() for _ in range(3))
    first.chainDeferred(second)
    second.addCallback(third.callback)
    assert awaited_by(graph(first)) == [second]
    assert awaited_by(graph(second)) == [third]


@pytest.mark.parametrize(
    ("make", "functions"),
    [
        (lambda d: defer.ensureDeferred(outer(d)), ["inner", "outer"]),
        (generator, ["inner_generator", "generator"]),
        (lambda d: defer.ensureDeferred(iterating(d)), ["iterating.<locals>.numbers", "iterating"]),
    ],
    ids=["coroutine", "generator", "async generator"],
)
def test_generators_and_coroutines(make, functions):
    d = defer.Deferred()
    waiting = make(d)
    both_ways(waiting, d)
    found = graph(waiting)
    if sys.version_info < (3, 11):
        functions = [each.rpartition(".")[2] for each in functions]
    assert [each.function for each in found.call_stack] == functions
    assert {each.file for each in found.call_stack} == {inner.__code__.co_filename}
    assert len(found.call_stack) == len(functions)
    assert all(each.line == each.frame.f_lineno for each in found.call_stack)
    assert f"line {found.call_stack[0].line}, in" in str(found)
    assert found.state == "waiting"
    # The lines are those of the moment.
    before = str(found)
    d.callback(1)
    assert str(found) == before
    assert graph(waiting).state == "fired"


def test_asked_by_the_coroutine_or_generator_itself():
    d = defer.Deferred()
    coroutine = outer(d)
    waiting = defer.ensureDeferred(coroutine)
    assert graph(coroutine).future is waiting
    d.callback(None)
    with contextlib.closing(outer(d)) as other, pytest.raises(TypeError, match="nothing runs this"):
        defer.capture_call_graph(other)


@pytest.mark.parametrize(
    "obj", [3, "text", object(), defer.Deferred], ids=["int", "str", "object", "class"]
)
def test_something_else(obj):
    with pytest.raises(TypeError, match="is needed, not"):
        defer.capture_call_graph(obj)


def test_limit():
    d = defer.Deferred()
    waiting = defer.ensureDeferred(outer(d))
    for limit, functions in ((0, []), (1, ["inner"]), (-1, ["outer"]), (5, ["inner", "outer"])):
        found = graph(waiting, limit=limit)
        assert [each.function for each in found.call_stack] == functions


@pytest.mark.parametrize("before", [None, "waited"])
def test_what_runs_now(before):
    d, seen = defer.Deferred(), []

    async def asks():
        seen.append(defer.capture_call_graph())

    async def work():
        if before:
            await d
        await asks()

    assert defer.capture_call_graph() is None
    assert defer.format_call_graph() == ""
    waiting = defer.ensureDeferred(work())
    if before:
        d.callback(None)
    assert seen[0].future is waiting
    assert seen[0].state == "running"
    assert [each.function.rpartition(".")[2] for each in seen[0].call_stack] == ["asks", "work"]


def test_print():
    out = io.StringIO()
    d = defer.Deferred()
    defer.print_call_graph(d, file=out)
    assert out.getvalue() == defer.format_call_graph(d) + "\n"


def test_forms_escape():
    function = lambda _: None  # noqa: E731
    function.__qualname__ = '<b>"&#\\'
    d = defer.Deferred().addCallback(function)
    awkward = defer.succeed('<i>"\\')
    assert "<b>" not in graph(d)._repr_html_()
    assert '"' not in graph(awkward).to_mermaid().split('["')[1].split('"]')[0]
    assert r"'<i>\"\\\\'" in graph(awkward).to_dot()


def test_as_data():
    d = defer.Deferred()
    waiting = defer.ensureDeferred(outer(d))
    data = graph(waiting).to_dict()
    assert [node["state"] for node in data["nodes"]] == ["waiting", "pending"]
    assert data["nodes"][0]["waits_for"] == [{"to": 1, "how": "awaits", "left_out_between": 0}]
    assert data["nodes"][0]["call_stack"][0]["function"] == "inner"
    assert data["cycles"] == []
