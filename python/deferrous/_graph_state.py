"""The description of one Deferred or future in the graph."""

from __future__ import annotations

import functools
import sys
from types import FrameType, FunctionType, MethodDescriptorType
from typing import Any

from . import _deferrous
from ._graph_blocks import timeouts_of
from ._graph_entries import CallbackEntry, FrameCallGraphEntry, callback_entry
from ._graph_futures import future_behind
from ._graph_objects import (
    DICT_OF_CLASS,
    KINDS,
    LINKS,
    attribute,
    class_name,
    clean,
    dict_of,
    error_text,
    future_classes,
    held_by_function,
    is_a,
    is_deferred,
    is_generator,
    is_running,
    of_future,
    one_of,
    task_classes,
    text_of,
)
from ._graph_parts import line_of, parts_of
from ._graph_ways import behind, frames_of, future_callbacks
from ._notes import age_of, made_at

#: The most callbacks that are shown.
CALLBACKS = 10
#: How many frames are shown from the outer and from the inner end of a call stack.
FRAMES = 10


class Edge:
    """An arrow from one to another, with the number of those left out between them."""

    __slots__ = ("label", "skipped", "to")

    def __init__(self, to: int, label: str = "", skipped: int = 0) -> None:
        self.to = to
        self.label = label
        self.skipped = skipped


class Node:
    """The facts about one Deferred or future."""

    __slots__ = (
        "age",
        "any",
        "awaited_by",
        "awaited_by_more",
        "callbacks",
        "callbacks_more",
        "detail",
        "frames",
        "frames_more",
        "made",
        "name",
        "obj",
        "state",
        "waits_for",
        "waits_for_more",
    )

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self.name = f"<{class_name(obj)} at {id(obj):#x}>"
        self.state = "pending"
        self.detail = ""
        #: Whether one of the things it waits for is enough.
        self.any = False
        #: Where it was made, and how many seconds ago, if known.
        self.made = ""
        self.age: float | None = None
        self.frames: list[FrameCallGraphEntry] = []
        self.frames_more = 0
        self.callbacks: list[CallbackEntry] = []
        self.callbacks_more = 0
        self.waits_for: list[Edge] = []
        self.waits_for_more = 0
        self.awaited_by: list[Edge] = []
        self.awaited_by_more = 0


def waits_chained(called: bool) -> str:
    """Describe a Deferred that is chained to another. `called`: whether it has fired itself."""
    if called:
        return "waits for a Deferred that one of its callbacks returned"
    return "waits for a Deferred that will fire it"


def is_chained(state: Any) -> bool:
    """Return whether a Deferred waits for the one that it is chained to, by its `_state_of`.

    A paused Deferred remains chained after it has been given the result.
    """
    return state[5] is not None and (not state[2] or state[0] == "deferred")


def describe(node: Node, limit: int | None, skip: FrameType | None) -> None:
    """Fill in the facts about a node, with up to `limit` frames, and without those above `skip`."""
    if is_deferred(node.obj):
        _describe_deferred(node, limit, skip)
    elif is_a(node.obj, *future_classes()):
        _describe_future(node, limit, skip)
    else:
        _describe_theirs(node)


def _describe_deferred(node: Node, limit: int | None, skip: FrameType | None) -> None:
    state = _deferrous._state_of(node.obj, LINKS)
    outcome, held, called, paused, running, _, canceller, links, calls, _ = state
    if not called:
        node.made, node.age = made_at(node.obj), age_of(node.obj)
    if is_chained(state):
        node.state = "waiting"
        node.detail = waits_chained(called)
        # Waiting for another counts as one.
        if paused > called:
            node.detail += f", and is paused ({paused - called} times)"
    elif called and paused != 0:
        node.state, node.detail = "paused", f"is paused ({paused} times)"
    elif running:
        node.state, node.detail = "running", "is running its callbacks"
    elif called:
        _describe_outcome(node, outcome, held)
    else:
        _describe_pending(node, canceller, limit, skip)
        if paused:
            node.detail += f", and is paused ({paused} times)"
    for kind, one, other in links:
        if kind != "call":
            continue
        if len(node.callbacks) >= CALLBACKS:
            node.callbacks_more += 1
        elif one is None or other is None:
            on = "result" if other is None else "failure"
            node.callbacks.append(callback_entry(on, one if other is None else other))
        elif one is other:
            node.callbacks.append(callback_entry("both", one))
        else:
            node.callbacks.append(callback_entry("result", one))
            node.callbacks.append(callback_entry("failure", other))
    node.callbacks_more += max(0, calls - LINKS)


def _describe_outcome(node: Node, outcome: str, held: Any) -> None:
    if outcome == "failure":
        error: Any = None
        if is_a(held, _deferrous.FailureBase):
            error = attribute(held, _deferrous.FailureBase, "value")
        if error is None:
            error = dict_of(held).get("value", held)
        was_cancelled = is_a(error, _deferrous.CancelledError)
        node.state = "cancelled" if was_cancelled else "failed"
        node.detail = f"failed with {error_text(error)}"
    elif outcome == "taken":
        node.state, node.detail = "fired", "was fired, and its result was taken by another"
    else:
        node.state, node.detail = "fired", f"was fired with {text_of(held)}"


def _describe_pending(
    node: Node, canceller: Any, limit: int | None, skip: FrameType | None
) -> None:
    members = _deferrous._members_of(node.obj, 0) or _deferrous._members_of(canceller, 0)
    if members is not None:
        _, missing, total, node.any, _ = members
        one = "one of " if node.any else ""
        node.detail = f"waits for {one}{missing:,} that are missing of {total:,}"
        node.state = "waiting"
        return
    parts = _deferrous._parts_of(canceller)
    if parts is not None and parts[0] == "task":
        node.state = "waiting"
        _describe_generator(node, parts[1], limit, skip, canceller)
        return
    line = line_of(canceller, node.obj)
    if line is not None:
        owner, at, count, held = line
        node.state = "waiting"
        node.detail = f"stands in line at {owner}, place {at + 1:,} of {count:,}{held}"
        return
    parts_of_ours = parts_of(node.obj, canceller)
    if parts_of_ours is not None:
        node.state, node.detail = "waiting", parts_of_ours[0]
        return
    if any(each is not node.obj for each in held_by_function(canceller)):
        node.state, node.detail = "waiting", "waits for a future, or for another's Deferred"
        return
    future = future_behind(canceller)
    if future is not None:
        node.state, node.detail = "waiting", f"waits for {text_of(future)}"
        return
    node.detail = "has not been fired"


def _describe_generator(
    node: Node, generator: Any, limit: int | None, skip: FrameType | None, task: Any
) -> None:
    if generator is None:
        node.detail = "waits for a generator that has ended"
        return
    if not is_generator(generator):
        node.detail = f"waits for {text_of(generator)}"
        return
    kind = KINDS[type(generator)]
    name = clean(generator.__qualname__)
    if is_running(generator):
        node.state = "running"
        node.detail = f"waits for {kind} {name}, which is running"
    else:
        node.detail = f"waits for {kind} {name}"
    for each in timeouts_of(generator, task):
        node.detail += f", in a timeout {each}"
    if limit != 0:
        frames = frames_of(generator, skip)[0]
        frames.reverse()
        if limit is not None:
            frames = frames[:limit] if limit > 0 else frames[limit:]
        elif len(frames) > 2 * FRAMES:
            node.frames_more = len(frames) - 2 * FRAMES
            frames = frames[:FRAMES] + frames[-FRAMES:]
        node.frames = [FrameCallGraphEntry(frame, kind) for frame, kind in frames]


def _describe_future(node: Node, limit: int | None, skip: FrameType | None) -> None:
    future = node.obj
    state = of_future(future, "_state")
    node.state = {"CANCELLED": "cancelled", "FINISHED": "fired"}.get(state, "pending")
    if node.state == "cancelled":
        node.detail = "was cancelled"
    elif node.state == "fired":
        error = of_future(future, "_exception")
        if error is not None:
            their_error = getattr(sys.modules.get("asyncio"), "CancelledError", None)
            was_cancelled = their_error is not None and is_a(error, their_error)
            node.state = "cancelled" if was_cancelled else "failed"
            node.detail = f"failed with {error_text(error)}"
        else:
            node.detail = f"was fired with {text_of(of_future(future, '_result'))}"
    else:
        node.detail = "has no result"
        for task in task_classes():
            if is_a(future, task):
                name = attribute(future, task, "_name")
                get_name = DICT_OF_CLASS(task).get("get_name")
                if name is None and type(get_name) is MethodDescriptorType:
                    name = get_name(future)
                if is_a(name, str):
                    node.name = f"<{class_name(future)} {clean(name)} at {id(future):#x}>"
                node.state = "waiting"
                _describe_generator(node, attribute(future, task, "_coro"), limit, skip, future)
                break
    if node.state == "pending":
        for callback, _ in future_callbacks(future):
            if one_of(type(callback), (FunctionType, functools.partial)) and not behind(callback):
                if len(node.callbacks) < CALLBACKS:
                    node.callbacks.append(callback_entry("both", callback))
                else:
                    node.callbacks_more += 1


def _describe_theirs(node: Node) -> None:
    attributes = dict_of(node.obj)
    node.name += " of Twisted's own"
    if attributes.get("called") is True or attributes.get("called") == 1:
        node.state, node.detail = "fired", "was fired"
    else:
        node.detail = "has not been fired"
