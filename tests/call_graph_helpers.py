"""Helpers for the tests of the call graph."""

import json
import re

import deferrous as defer
from deferrous._call_graph import DeferredCallGraph


def graph(obj, **options):
    found = defer.capture_call_graph(obj, **options)
    assert isinstance(found, DeferredCallGraph)
    # Each form can be made of each graph.
    text = defer.format_call_graph(obj, **options)
    assert json.loads(json.dumps(found.to_dict()))["root"] == 0
    assert found.to_mermaid().startswith("flowchart TD\n")
    assert found.to_dot().startswith("digraph waiting {\n")
    assert found._repr_html_().startswith("<pre")
    assert len(text.splitlines()) < 400
    return found


def named(text, **names):
    """A text with names in the place of addresses."""
    for name, obj in names.items():
        text = text.replace(f"{type(obj).__name__} at {id(obj):#x}", name)
    return re.sub(r' at 0x\w+|file "[^"]*", line \d+|File "[^"]*", line \d+', "", text)


def waits_for(found):
    return [each.future for each in found.waits_for]


def awaited_by(found):
    return [each.future for each in found.awaited_by]


def line_of(function):
    return function.__code__.co_firstlineno


def last(found, way=waits_for):
    """The end of the one way from here."""
    steps = [found.future]
    while True:
        further = found.waits_for if way is waits_for else found.awaited_by
        if not further:
            return steps
        (found,) = further
        steps.append(found.future)


async def inner(d):
    return await d


async def outer(d):
    return await inner(d)


def inner_generator(d):
    return (yield d)


@defer.inlineCallbacks
def generator(d):
    return (yield from inner_generator(d))


async def iterating(d):
    async def numbers():
        yield await d

    async for number in numbers():
        return number


class Own:
    pass


def later(result):
    return result
