"""The call graph, as type checkers see it."""

import asyncio
from types import FrameType
from typing import Any

import deferrous as defer
from typing_extensions import assert_type


async def ask(d: defer.Deferred[int], task: asyncio.Task[int]) -> None:
    graph = defer.capture_call_graph(d, depth=2, limit=-3)
    assert_type(defer.format_call_graph(task), str)
    defer.print_call_graph()
    assert graph is not None
    assert_type(graph.call_stack[0].frame, FrameType)
    assert_type(graph.call_stack[0].line, int)
    assert_type(graph.state, str)
    assert_type(graph.callbacks[0].file, str | None)
    assert_type(graph.to_dict(), dict[str, Any])
