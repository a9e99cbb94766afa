"""The language of random programs, and their generator.

A program is a tuple of *acts*; an act is a tuple whose first item names it
(`Machine.op_<name>` performs it) and whose other items are small numbers, values,
callbacks or scripts, themselves tuples.  Everything is plain data, so a program
prints as what one pastes to run it again, and any piece may be cut out of it:
references are taken modulo what exists, so no program is invalid.

    value     ("v", 3)  ("none",)  ("d", 2)  ("self",)  ("same",)  ("f", exc) ...
    callback  ("cb", acts, outcome)
    outcome   ("ret", value)  ("raise", exc)  ("reraise",)  ("trap", exc)  ("raw", act)
    script    ("script", statements)      see `Generator.statement`
"""

from __future__ import annotations

import random
import sys
from typing import Any, Protocol

Node = tuple[Any, ...]
Program = tuple[Node, ...]

SELF = -1  # the Deferred that the running callback belongs to
LATEST = -2  # the Deferred that was made last

# What a program may do, and what the machine looks at.  `REQUIRES` in machine/implementation.py
# says which names an implementation must have for each.
GENERATED = (
    "subclasses",
    "byhand",
    "debug",
    "timeouts",
    "generators",
    "contexts",
    "failures",
    "iterate",
    "callbacks",
    "bare_errback",
    "old_functions",
    "gather",
    "sync",
    "futures",
)
OBSERVED = ("chained_to", "frames", "reports", "exc_context")
ALL_FEATURES = frozenset(GENERATED + OBSERVED)

# `__context__` of exceptions depends on frames inside the implementation: on request.
DEFAULT_FEATURES = ALL_FEATURES - {"exc_context"}

EXCEPTIONS = (
    "ValueError",
    "Boom",
    "SubBoom",
    "KeyError",
    "CancelledError",
    "BaseBoom",
    "SystemExit",
    "GeneratorExit",
    "KeyboardInterrupt",
    "StopIteration",
    "TimeoutError",
    "AlreadyCalledError",
    "Unprintable",
)


class Source(Protocol):
    """Where the generator's decisions come from."""

    def below(self, n: int) -> int: ...


class RandomSource:
    """Decisions from a seeded `random.Random`: fast, for soaking."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(repr(seed))

    def below(self, n: int) -> int:
        return int(self._random.random() * n)


def weighted(*table: tuple[int, str]) -> tuple[str, ...]:
    return tuple(name for weight, name in table for _ in range(weight))


CORE_ACTS: tuple[tuple[int, str, str | None], ...] = (
    (8, "fire", None),
    (14, "add", None),
    (7, "new", None),
    (5, "err", None),
    (4, "cancel", None),
    (2, "pause", None),
    (2, "unpause", None),
    (2, "chain", None),
    (2, "drop", None),
    (1, "succeed", None),
    (1, "fail", None),
    (1, "execute", None),
    (1, "maybe", None),
    (6, "gen", "generators"),
    (1, "notgen", "generators"),
    (2, "timeout", "timeouts"),
    (2, "advance", "timeouts"),
    (1, "ctx", "contexts"),
    (3, "probe", "failures"),
    (1, "iter", "iterate"),
    (1, "callbacks", "callbacks"),
    (1, "old", "old_functions"),
    (1, "setresult", "byhand"),
    (1, "setcalled", "byhand"),
    (1, "debug", "debug"),
    (3, "dlist", "gather"),
    (1, "gather", "gather"),
    (2, "race", "gather"),
    (1, "firsterror", "gather"),
    (1, "lock", "sync"),
    (1, "sem", "sync"),
    (1, "queue", "sync"),
    (3, "acquire", "sync"),
    (3, "release", "sync"),
    (2, "run", "sync"),
    (3, "put", "sync"),
    (3, "get", "sync"),
    (2, "asfuture", "futures"),
    (1, "future", "futures"),
    (2, "fromfuture", "futures"),
    (3, "futset", "futures"),
    (2, "futcancel", "futures"),
    (4, "spin", "futures"),
)
TOP_ONLY = {"drop", "debug"}
NESTED_WEIGHT = {"add": 6, "gen": 2}

# A theme makes some acts more frequent, so that programs are about something.
FEW = "few"  # not an act: few Deferreds, which wait for each other
THEMES: tuple[dict[str, int], ...] = (
    {},
    {"gen": 5, "fire": 2, "cancel": 2},
    {"dlist": 4, "gather": 5, "race": 4, "cancel": 2, "new": 2, "firsterror": 1},
    {"lock": 3, "sem": 3, "queue": 3, "acquire": 4, "release": 3, "run": 4}
    | {"put": 4, "get": 4, "cancel": 2},
    {"asfuture": 6, "future": 5, "fromfuture": 6, "futset": 5, "futcancel": 5}
    | {"spin": 5, "cancel": 2},
    {"probe": 8, "err": 3, "fail": 3, "iter": 3},
    {"timeout": 8, "advance": 8, "cancel": 2},
    {"pause": 5, "unpause": 5, "add": 2, "cancel": 2},
    {"pause": 6, "unpause": 6, "add": 2, "err": 3, "new": 2, "chain": 0, "gen": 0}
    | {"cancel": 0, "timeout": 0, "advance": 0, "probe": 0, "debug": 0, FEW: 1},
    {"cancel": 3, "new": 2, "probe": 0, "advance": 0, "old": 0, FEW: 1},
    {"cancel": 4, "new": 2, "gen": 3},
    {"drop": 8, "err": 3, "fail": 4, "iter": 4, "debug": 4},
)

# Acts that belong to one theme are rare outside of it.
SPECIAL = {"gather", "sync", "futures"}


class Generator:
    """Builds one program from the decisions of a `Source`."""

    def __init__(self, source: Source, features: frozenset[str], max_steps: int = 40) -> None:
        self.below = source.below
        self.features = features
        self.max_steps = max_steps
        self.budget = 160
        self.theme: dict[str, int] = {}
        self.top: tuple[str, ...] = ()
        self.nested: tuple[str, ...] = ()

    def program(self) -> Program:
        self.theme = THEMES[self.below(len(THEMES))]
        table = []
        for weight, name, feature in CORE_ACTS:
            if feature is not None and feature not in self.features:
                continue
            if feature in SPECIAL and name not in self.theme:
                continue
            table.append((weight * self.theme.get(name, 1), name))
        self.top = weighted(*table)
        self.nested = weighted(
            *(
                (NESTED_WEIGHT.get(name, weight), name)
                for weight, name in table
                if name not in TOP_ONLY
            )
        )
        steps = []
        for _ in range(3 + self.below(self.max_steps - 3)):
            steps.append(self.act(0))
            made = steps[-1][0]
            if made in ("dlist", "gather", "race", "gen") and self.below(4) == 3:
                steps.append(("cancel", LATEST))
        return tuple(steps)

    # -- acts

    def act(self, depth: int) -> Node:
        names = self.nested if depth else self.top
        self.budget -= 1
        if self.budget < 0:
            names = ("fire", "cancel", "unpause", "err", "advance", "spin")
            return self.simple(names[self.below(4)])
        name = names[self.below(len(names))]
        return self.build(name, depth)

    def simple(self, name: str) -> Node:
        if name == "fire":
            return ("fire", self.ref(), ("v", 0))
        if name == "err":
            return ("err", self.ref(), 0, "ValueError")
        return (name, self.ref())

    def build(self, name: str, depth: int) -> Node:
        below, ref = self.below, self.ref
        if name in ("pause", "unpause", "cancel", "drop", "iter", "callbacks"):
            return (name, ref())
        if name == "new":
            return ("new", self.canceller(depth), self.cls())
        if name == "fire":
            return ("fire", ref(), self.value())
        if name == "add":
            how = below(16)
            second = self.callback(depth) if how in (9, 10, 11) else None
            return ("add", ref(), how, self.callback(depth), second, below(4))
        if name == "err":
            return ("err", ref(), self.errback_kind(depth), self.exc())
        if name == "chain":
            return ("chain", ref(), ref())
        if name == "succeed":
            return ("succeed", self.value())
        if name == "fail":
            return ("fail", self.errback_kind(depth), self.exc())
        if name in ("execute", "maybe"):
            return (name, self.callback(depth), below(4))
        if name == "gen":
            return ("gen", below(7), self.script(depth))
        if name == "notgen":
            return ("notgen", below(7), ref())
        if name == "timeout":
            on_timeout = self.callback(depth) if below(3) == 0 else None
            return ("timeout", ref(), 1 + below(3), on_timeout)
        if name == "advance":
            return ("advance", 1 + below(4))
        if name == "ctx":
            return ("ctx", below(2), below(5))
        if name == "probe":
            return ("probe", ref(), below(8), below(17), self.target(), self.target())
        if name == "old":
            return ("old", below(3), ref(), self.exc())
        if name == "setresult":
            return ("setresult", ref(), self.value())
        if name == "setcalled":
            return (name, ref(), below(8))
        if name == "debug":
            return (name, below(2))
        if name == "dlist":
            return ("dlist", self.refs(), below(8))
        if name in ("gather",):
            return ("gather", self.refs(), below(2))
        if name == "firsterror":
            return (name, below(3), below(3), self.exc())
        if name == "race":
            return ("race", self.refs())
        return self.build_another(name, depth)

    def build_another(self, name: str, depth: int) -> Node:
        """Those of locks, semaphores, queues and futures."""
        below = self.below
        if name in ("lock", "spin", "future"):
            return (name,)
        if name == "sem":
            return ("sem", below(4))
        if name == "queue":
            return ("queue", below(4), below(4))
        if name in ("acquire", "release", "get", "futcancel"):
            return (name, below(4))
        if name == "run":
            return ("run", below(4), self.callback(depth), below(4))
        if name == "put":
            return ("put", below(4), self.value())
        if name == "asfuture":
            return ("asfuture", self.ref())
        if name == "fromfuture":
            return ("fromfuture", below(4), self.cls())
        if name == "futset":
            return ("futset", below(4), self.value())
        raise LookupError(name)

    # -- pieces

    def ref(self) -> int:
        if FEW in self.theme:
            return self.below(3)
        number = self.below(10)
        return {8: LATEST, 9: SELF, 7: LATEST}.get(number, number)

    def refs(self) -> tuple[int, ...]:
        return tuple(self.below(8) for _ in range(self.below(5)))

    def cls(self) -> int:
        if "subclasses" not in self.features:
            return 0
        return (0, 0, 0, 0, 1, 2, 2, 3)[self.below(8)]

    def exc(self) -> str:
        number = self.below(2 * len(EXCEPTIONS))
        # The text of a FirstError around one that cannot be printed, around another
        # and another, doubles in length every time.
        if number == len(EXCEPTIONS) - 1 and "dlist" in self.theme:
            return "ValueError"
        return EXCEPTIONS[number] if number < len(EXCEPTIONS) else "ValueError"

    def target(self) -> Node:
        """What `check` and `trap` are asked for: a class or its qualified name."""
        number = self.below(8)
        name = {5: "Exception", 6: "Boom", 7: "BaseException"}.get(number) or self.exc()
        return (("class", "name")[self.below(2)], name)

    def errback_kind(self, depth: int) -> int:
        # 0 Failure  1 exception  2 in an except  3 raised Failure  4 odd  5 bare
        kind = (0, 1, 1, 2, 2, 3, 3, 0, 4, 5)[self.below(10)]
        if kind == 5 and depth and "bare_errback" not in self.features:
            return 2
        return kind

    VALUES = weighted(
        (5, "v"),
        (2, "none"),
        (6, "d"),
        (3, "f"),
        (1, "rf"),
        (1, "exc"),
        (2, "same"),
        (1, "self"),
        (2, "sd"),
        (1, "fd"),
        (1, "pd"),
        (1, "sub"),
    )

    def value(self, deferreds: bool = False) -> Node:
        kind = self.VALUES[self.below(len(self.VALUES))]
        if FEW in self.theme and self.below(2):
            kind = "d"
        if deferreds and kind in ("v", "none", "same", "exc"):
            kind = "d"
        if kind == "v":
            return ("v", self.below(4))
        if kind == "d":
            return ("d", self.ref())
        if kind in ("f", "rf", "exc", "fd"):
            return (kind, self.exc())
        return (kind,)

    def acts(self, depth: int) -> tuple[Node, ...]:
        if depth >= 2 or self.budget < 0:
            return ()
        count = (0, 0, 0, 0, 1, 1, 2, 3)[self.below(8)]
        return tuple(self.act(depth + 1) for _ in range(count))

    OUTCOMES = weighted(
        (8, "ret"), (4, "raise"), (3, "same"), (1, "reraise"), (2, "trap"), (1, "raw")
    )

    def callback(self, depth: int) -> Node:
        acts = self.acts(depth)
        kind = self.OUTCOMES[self.below(len(self.OUTCOMES))]
        if kind == "ret":
            outcome: Node = ("ret", self.value())
        elif kind == "same":
            outcome = ("ret", ("same",))
        elif kind in ("raise", "trap"):
            outcome = (kind, self.exc())
            if kind == "trap" and self.below(3) == 0:
                outcome = (kind, "Exception")
        elif kind == "raw" and depth < 2:
            outcome = ("raw", self.act(depth + 1))
        else:
            outcome = ("reraise",)
        return ("cb", acts, outcome)

    CANCELLERS = weighted(
        (4, "nothing"),
        (2, "noop"),
        (2, "fires"),
        (2, "fails"),
        (2, "raises"),
        (1, "falsy"),
        (2, "acts"),
    )

    def canceller(self, depth: int) -> Node:
        kind = self.CANCELLERS[self.below(len(self.CANCELLERS))]
        if kind == "fires":
            return (kind, self.value())
        if kind in ("fails", "raises"):
            return (kind, self.exc())
        if kind == "acts":
            return (kind, (("cancel", SELF), *self.acts(depth))[self.below(2) :])
        return (kind,)

    # -- scripts: bodies of generators and coroutines

    def script(self, depth: int) -> Node:
        return ("script", self.statements(depth, 0, 4))

    def statements(self, depth: int, nesting: int, most: int) -> tuple[Node, ...]:
        count = 1 + self.below(most)
        return tuple(self.statement(depth, nesting) for _ in range(count))

    STATEMENTS = weighted(
        (12, "yield"),
        (5, "try"),
        (4, "act"),
        (2, "return"),
        (2, "raise"),
        (4, "nest"),
        (1, "rv"),
        (1, "hrv"),
        (2, "with"),
        (1, "twice"),
    )

    def statement(self, depth: int, nesting: int) -> Node:
        self.budget -= 1
        kind = self.STATEMENTS[self.below(len(self.STATEMENTS))]
        if self.budget < 0:
            kind = "yield"
        if kind == "try" and nesting < 2:
            handler = None
            caught = (None, "Exception", "BaseException", "CancelledError", "Boom")[self.below(5)]
            if caught is not None:
                handler = self.statements(depth, nesting + 1, 2)
            final = None
            if caught is None or self.below(2):
                final = self.statements(depth, nesting + 1, 2)
            body = self.statements(depth, nesting + 1, 3)
            return ("try", body, caught, handler, final)
        if kind == "twice" and nesting < 2:
            return ("twice", self.statements(depth, nesting + 1, 2))
        if kind == "with" and nesting < 2 and "sync" in self.features:
            return ("with", self.below(3), self.statements(depth, nesting + 1, 2))
        if kind == "act" and depth < 2:
            return ("act", self.act(depth + 1))
        if kind in ("return", "rv", "hrv"):
            # Before 3.11 Twisted finds the traceback of what `returnValue` raises too short where
            # an exception was thrown into the generator before, and raises AssertionError.
            if "old_functions" not in self.features or sys.version_info < (3, 11):
                kind = "return"
            return (kind, self.value())
        if kind == "raise":
            return ("raise", self.exc())
        if kind == "nest" and depth < 2:
            return ("nest", self.below(5), self.script(depth + 1))
        return ("yield", self.value(deferreds=self.below(4) > 0))


def generate(source: Source, features: frozenset[str], max_steps: int = 40) -> Program:
    return Generator(source, features, max_steps).program()


def show(program: Program) -> str:
    """The program as text that can be pasted into `machine.run`."""
    lines = "".join(f"    {step!r},\n" for step in program)
    return f"(\n{lines})"
