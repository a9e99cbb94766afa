"""Print a table of every public name of Twisted's modules, and what deferrous has of it.

    python tools/name_table.py [--strict]

The modules are `twisted.internet.defer` and `twisted.python.failure`. A name is what a module
defines itself, not what it imports; of a class also the attributes that it has or that its methods
set. A signature is the same if parameters have the same names, kinds and defaults. The last column
has the files below tests/ in which the name occurs; Twisted's own tests, which run as well, are not
among them.

Exits with 1 if a name is missing; with --strict, also if a signature differs or a name occurs in no
test.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1] / "tests"

#: Twisted's modules, and ours that correspond to them.
MODULES = {
    "twisted.internet.defer": "deferrous",
    "twisted.python.failure": "deferrous.failure",
}

#: Names that are left out on purpose, and why.
ABSENT = {
    "twisted.internet.defer.log": "a `twisted.logger.Logger`, which needs Twisted",
}

#: What is not there.
UNSET = object()


@dataclass
class Row:
    """A line of the table."""

    name: str
    kind: str
    present: bool
    reason: str = ""
    theirs: str = ""
    ours: str = ""
    tests: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return self.theirs != self.ours

    @property
    def tested(self) -> bool:
        """Whether a test uses it that is run; those of types are not."""
        return any(not path.startswith("typing/") for path in self.tests)

    def cells(self) -> Iterator[str]:
        yield f"`{self.name}`"
        yield self.kind
        yield "yes" if self.present else f"no: {self.reason}" if self.reason else "**no**"
        if not self.present or not self.theirs:
            yield ""
        elif self.differs:
            yield f"**no**: `{self.ours}` for `{self.theirs}`"
        else:
            yield "yes"
        yield ", ".join(self.tests) if self.tested else f"**none** {' '.join(self.tests)}".strip()


def names_defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the public names that a module defines, in order, with what defines them."""
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        targets: list[ast.expr] = []
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = statement
    return {name: each for name, each in found.items() if not name.startswith("_")}


def attributes_defined(definition: ast.ClassDef) -> Iterator[str]:
    """Yield the attributes that a class has, and those that its methods set on `self`."""
    for statement in definition.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield statement.name
            for node in ast.walk(statement):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                ):
                    yield node.attr
        elif isinstance(statement, ast.Assign):
            yield from (each.id for each in statement.targets if isinstance(each, ast.Name))
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id


def definitions_of_bases(cls: type) -> Iterator[ast.ClassDef]:
    """Yield the definitions of Twisted's classes that a class inherits from.

    Those that have a line of their own are left out.
    """
    for base in cls.__mro__[1:]:
        if base.__module__ in MODULES and not base.__name__.startswith("_"):
            continue
        if base.__module__.startswith("twisted."):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)
            yield definition


def is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def signature(obj: object, bound: bool = False) -> str:
    """Return a signature without annotations, or "" if there is none.

    `bound` is for methods, of which the first parameter is left out.
    """
    if isinstance(obj, (classmethod, staticmethod)):
        bound = bound and isinstance(obj, classmethod)
        obj = obj.__func__
    if not callable(obj):
        return ""
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return "unknown"
    parameters = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    if bound:
        parameters = parameters[1:]
    return str(found.replace(parameters=parameters, return_annotation=found.empty))


def of_class(cls: type, name: str) -> object:
    """Return what a class has by this name, as it is, without that of `object`."""
    for base in cls.__mro__[:-1]:
        if name in vars(base):
            return vars(base)[name]
    return UNSET


def examples(module: ModuleType) -> dict[str, object]:
    """Return an instance of each class whose attributes are not all in the class."""
    failure = module.Failure(ValueError())
    return {
        "Deferred": module.succeed(None),
        "DeferredList": module.DeferredList([]),
        "DeferredLock": module.DeferredLock(),
        "DeferredSemaphore": module.DeferredSemaphore(1),
        "DeferredQueue": module.DeferredQueue(),
        "FirstError": module.FirstError(failure, 0),
        "FailureGroup": module.FailureGroup([failure]),
        "Failure": failure,
        "DebugInfo": module.DebugInfo(),
        "DeferredFilesystemLock": module.DeferredFilesystemLock("unused", scheduler=object()),
    }


def occurrences(name: str, attribute: bool) -> tuple[str, ...]:
    pattern = re.compile(rf"\.{name}\b|\b{name}=" if attribute else rf"\b{name}\b")
    return tuple(path for path, text in _TESTS.items() if pattern.search(text))


_TESTS = {
    str(path.relative_to(TESTS)): path.read_text()
    for path in sorted(TESTS.rglob("*.py"))
    if path.name != "conftest.py"
}


def rows_of_class(
    full_name: str, definition: ast.ClassDef, theirs: type, ours: type, example: object
) -> Iterator[Row]:
    definitions = [definition, *definitions_of_bases(theirs)]
    for name in dict.fromkeys(each for one in definitions for each in attributes_defined(one)):
        if not is_public(name) or name in ("__init__", "__init_subclass__", "__slots__"):
            # The constructor is in the line of the class.
            continue
        their, our = of_class(theirs, name), of_class(ours, name)
        present = our is not UNSET or hasattr(example, name)
        method = inspect.isroutine(their) or isinstance(their, (classmethod, staticmethod))
        special = name.startswith("__")
        yield Row(
            f"{full_name}.{name}",
            "method" if method else "attribute",
            present,
            # The interpreter decides how special methods are called.
            theirs=signature(their, bound=True) if method and not special else "",
            ours=signature(our, bound=True) if method and not special else "",
            tests=occurrences(name, attribute=True)
            if not special
            else occurrences_of_special(name),
        )


#: How programs use special methods, where they do not name them.
SPECIAL = {
    "__str__": r"\bstr\(|!s\}",
    "__repr__": r"\brepr\(|!r\}",
    "__iter__": r"\byield from\b|\biter\(",
    "__await__": r"\bawait\b",
    "__aenter__": r"\basync with\b",
    "__aexit__": r"\basync with\b",
    "__del__": r"\bgc\.collect\(|\bdel ",
    "__cmp__": r" [<>]=? ",
    "__setstate__": r"\bpickle\b",
    "__getstate__": r"\bpickle\b",
    "__reduce__": r"\bpickle\b",
}


def occurrences_of_special(name: str) -> tuple[str, ...]:
    pattern = re.compile(rf"\b{name}\b|{SPECIAL.get(name, name)}")
    return tuple(path for path, text in _TESTS.items() if pattern.search(text))


def rows() -> Iterator[Row]:
    our_examples = examples(importlib.import_module("deferrous"))
    for their_name, our_name in MODULES.items():
        theirs, ours = importlib.import_module(their_name), importlib.import_module(our_name)
        source = inspect.getsource(theirs)
        for name, statement in names_defined(ast.parse(source)).items():
            full_name = f"{their_name}.{name}"
            their, our = getattr(theirs, name), getattr(ours, name, UNSET)
            kind = "constant"
            if isinstance(statement, ast.ClassDef):
                kind = "class"
            elif isinstance(statement, ast.FunctionDef):
                kind = "function"
            exception = kind == "class" and issubclass(their, Exception)
            compared = kind != "constant" and (
                not exception or their.__init__ is not Exception.__init__
            )
            if exception and "__init__" not in vars(their):
                compared = False
            yield Row(
                full_name,
                kind,
                our is not UNSET,
                reason=ABSENT.get(full_name, ""),
                theirs=signature(their) if compared else "",
                ours=signature(our) if compared else "",
                tests=occurrences(name, attribute=False),
            )
            if isinstance(statement, ast.ClassDef) and inspect.isclass(our):
                example = our_examples.get(name, UNSET)
                yield from rows_of_class(full_name, statement, their, our, example)


def in_markdown(table: Iterable[Row]) -> Iterator[str]:
    yield "| name | kind | present | same signature | tested by |"
    yield "| --- | --- | --- | --- | --- |"
    for row in table:
        cells = (cell.replace("|", "\\|") for cell in row.cells())
        yield f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the names of deferrous to Twisted's.")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail for different signatures and untested names, too",
    )
    strict = parser.parse_args().strict
    table = list(rows())
    print("\n".join(in_markdown(table)))

    missing = [row for row in table if not row.present and not row.reason]
    different = [row for row in table if row.present and row.differs]
    untested = [row for row in table if row.present and not row.tested]
    print(
        f"\n{len(table)} names: {len(missing)} missing, {len(different)} with another signature, "
        f"{len(untested)} in no test."
    )
    return int(bool(missing or (strict and (different or untested))))


if __name__ == "__main__":
    sys.exit(main())
