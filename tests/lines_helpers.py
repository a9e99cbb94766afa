"""The behaviour of lists that a line must have: for test_lines.py."""

from __future__ import annotations

import copy
import itertools

from deferrous import DeferredQueue

Line = type(DeferredQueue().pending)


class Item:
    """Equal to what it is told to be, after it has done something."""

    def __init__(self, name, act=None, equal=()):
        self.name, self.act, self.equal = name, act, equal

    def __eq__(self, other):
        if self.act is not None:
            act, self.act = self.act, None
            act()
        return self is other or getattr(other, "name", other) in self.equal

    __hash__ = None

    def __lt__(self, other):
        self == other  # noqa: B015
        return self.name < other.name

    def __repr__(self):
        return f"<{self.name}>"


class Index:
    """An index that does something when it is asked for."""

    def __init__(self, value, act):
        self.value, self.act = value, act

    def __index__(self):
        self.act()
        return self.value


def items_of(made, rng):
    """The same items for a list and for a line, with actions that change the container."""
    names = "abcdefgh"
    items = [Item(name, equal=(rng.choice(names),)) for name in names[: rng.randrange(2, 8)]]
    for item in items:
        if rng.random() < 0.4:
            act = rng.choice(["append", "pop", "clear", "insert", "remove"])
            item.act = lambda act=act, item=item: {
                "append": lambda: made.append(Item("new")),
                "pop": lambda: made.pop() if made else None,
                "clear": made.clear,
                "insert": lambda: made.insert(0, Item("first")),
                "remove": lambda: made.pop(0) if made else None,
            }[act]()
    made.extend(items)
    return items


def attempt(function):
    try:
        result = function()
    except (ValueError, IndexError, TypeError) as error:
        return type(error).__name__, str(error)
    return type(result).__name__ if isinstance(result, Line) else repr(result)


def looks(line, items, item, place, cut, step, other, act):
    """Ways to look at a line that a list has as well."""
    return [
        lambda: line.index(item),
        lambda: line.index(item, place),
        lambda: line.index(item, 1, Index(place, act)),
        lambda: line.index(item, None),
        lambda: line.count(item),
        lambda: item in line,
        lambda: line + other,
        lambda: other + line,
        lambda: line + 5,
        lambda: line * 2,
        lambda: 2 * line,
        lambda: line * "x",
        lambda: line[place],
        lambda: line[Index(place, act)],
        lambda: line[cut],
        lambda: line[step],
        lambda: line["x"],
        lambda: line == other,
        lambda: line != list(items),
        lambda: line == list(line),
        lambda: line < other,
        lambda: line >= list(items),
        lambda: line == 5,
        lambda: len(line),
        lambda: bool(line),
        lambda: list(reversed(line)),
        lambda: [act() or it for it in itertools.islice(line, 20)],
        lambda: line.copy(),
        lambda: copy.copy(line) == line,
    ]


def changes(line, item, place, cut, step, other, act, rng):
    """Ways to change it."""
    return [
        lambda: line.remove(item),
        lambda: line.pop(),
        lambda: line.pop(place),
        lambda: line.pop(Index(place, act)),
        lambda: line.pop("x"),
        lambda: line.insert(Index(place, act), Item("in")),
        lambda: line.append(Item("end")),
        lambda: line.extend(other),
        lambda: line.extend(iter(other)),
        lambda: line.extend(5),
        lambda: line.__iadd__(other) is line,
        lambda: line.__imul__(rng.randrange(3)) is line,
        lambda: line.__setitem__(place, Item("set")),
        lambda: line.__setitem__(Index(place, act), Item("set")),
        lambda: line.__setitem__(cut, other),
        lambda: line.__setitem__(cut, line),
        lambda: line.__setitem__(step, other),
        lambda: line.__delitem__(place),
        lambda: line.__delitem__(cut),
        lambda: line.__delitem__(step),
        line.reverse,
        line.sort,
        lambda: line.sort(key=lambda it: (act(), it.name)[1], reverse=True),
        line.clear,
    ]


def one_step(line, items, rng):
    """Do something that a list can do, and return what came of it."""
    item = rng.choice([*items, Item("z", equal=("a", "b"))])
    place = rng.randrange(-9, 9)
    act = rng.choice([lambda: None, line.clear, lambda: line.append(Item("late"))])
    cut = slice(rng.choice([None, place]), rng.choice([None, rng.randrange(-9, 9)]))
    step = slice(cut.start, cut.stop, rng.choice([-2, -1, 2, 3]))
    other = [Item("x"), Item("y", equal=("a",))][: rng.randrange(3)]
    every = [
        *looks(line, items, item, place, cut, step, other, act),
        *changes(line, item, place, cut, step, other, act, rng),
    ]
    return attempt(rng.choice(every))
