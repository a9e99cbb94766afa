"""Copy the docstrings of the compiled module into its stub, for editors to show.

    python tools/stub_docs.py [--check]

The docstrings are written once, in Rust. An editor reads the stub instead, so the stub has the same
text: of every class, function, method and attribute that has one. Of several overloads, the first
has it. With --check, nothing is written; exits with 1 if the stub says something else.

The installed deferrous is the one whose docstrings are copied: run `make install` first.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STUB = Path(__file__).parents[1] / "python/deferrous/_deferrous.pyi"

Definition = ast.ClassDef | ast.FunctionDef


def definitions(
    tree: ast.Module,
) -> Iterator[tuple[str, Definition | ast.AnnAssign, list[ast.stmt]]]:
    """Yield each definition, its name with that of its class, and the statements around it."""
    bodies: list[tuple[str, list[ast.stmt]]] = [("", tree.body)]
    for prefix, body in bodies:
        for node in body:
            if isinstance(node, ast.If):
                bodies.append((prefix, node.body))
            elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                yield prefix + node.name, node, body
                if isinstance(node, ast.ClassDef):
                    bodies.append((f"{node.name}.", node.body))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield prefix + node.target.id, node, body


def is_dots(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and node.value.value is Ellipsis
    )


def is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def without_docs(source: str) -> str:
    """Return a stub without docstrings."""
    lines: list[str | None] = list(source.splitlines())
    for _, node, around in definitions(ast.parse(source)):
        if isinstance(node, ast.AnnAssign):
            after = around.index(node) + 1
            found = around[after : after + 1]
            alone = False
        else:
            found = node.body[:1]
            alone = len(node.body) == 1
        if not found or not is_string(found[0]):
            continue
        first, last = found[0].lineno, found[0].end_lineno or found[0].lineno
        lines[first - 1 : last] = [None] * (last - first + 1)
        if alone:
            lines[first - 2] = f"{lines[first - 2]} ..."
        elif isinstance(node, ast.ClassDef) and lines[last] == "":
            lines[last] = None
    return "".join(f"{line}\n" for line in lines if line is not None)


def with_docs(source: str, module: Any) -> str:
    """Return a stub without docstrings with those of a module."""
    lines = source.splitlines()
    after: dict[int, list[str]] = {}
    seen = set()
    for name, node, _ in definitions(ast.parse(source)):
        text = docstring(module, name)
        if text is None or name in seen:
            continue
        seen.add(name)
        if isinstance(node, ast.AnnAssign):
            after[node.end_lineno or node.lineno] = quoted(text, node.col_offset)
            continue
        if len(node.body) == 1 and is_dots(node.body[0]):
            header = node.body[0].lineno
            lines[header - 1] = lines[header - 1].removesuffix(" ...")
            after[header] = quoted(text, node.col_offset + 4)
        else:
            # The first line of a class; no header here takes two.
            after[node.lineno] = [*quoted(text, node.col_offset + 4), ""]
    return "".join(
        f"{line}\n" for number, old in enumerate(lines, 1) for line in (old, *after.get(number, ()))
    )


def docstring(module: Any, name: str) -> str | None:
    """Return what a module says of a name, if it says something of its own."""
    owner, dot, member = name.partition(".")
    obj = getattr(module, owner, None)
    if owner.startswith("_") and not isinstance(obj, type):
        return None
    if dot:
        # What starts with an underscore has CPython's words, or is for nobody to see.
        hidden = obj is None or member.startswith("_")
        obj = None if hidden else vars(obj).get(member)
    documented = isinstance(obj, type) or inspect.isroutine(obj) or inspect.isdatadescriptor(obj)
    if not documented and not isinstance(obj, (classmethod, staticmethod)):
        return None
    text = vars(obj).get("__doc__") if isinstance(obj, type) else getattr(obj, "__doc__", None)
    return inspect.cleandoc(text) if text else None


def quoted(text: str, indent: int) -> list[str]:
    """Return the lines of a docstring."""
    if '"""' in text or "\\" in text or text.endswith('"'):
        raise ValueError(f"this needs more than quotes around it: {text}")
    first, *others = text.split("\n")
    lines = [f'"""{first}', *others, '"""'] if others else [f'"""{first}"""']
    return [" " * indent + line if line else "" for line in lines]


def docs_of(source: str, module: Any) -> dict[str, str]:
    """Return what a stub should say: the docstring of each name that it has."""
    texts = {name: docstring(module, name) for name, _, _ in definitions(ast.parse(source))}
    return {name: text for name, text in texts.items() if text is not None}


def docs_in(source: str) -> dict[str, str]:
    """Return what a stub says: the first docstring of each name."""
    found: dict[str, str] = {}
    for name, node, around in definitions(ast.parse(source)):
        if isinstance(node, ast.AnnAssign):
            after = around.index(node) + 1
            strings = [each for each in around[after : after + 1] if is_string(each)]
            text = strings and ast.literal_eval(strings[0].value)  # type: ignore[attr-defined]
        else:
            text = ast.get_docstring(node, clean=False)
        if text:
            found.setdefault(name, inspect.cleandoc(text))
    return found


def formatted(source: str) -> str:
    """Return a stub as ruff formats it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", STUB.name, "-"]
    return subprocess.run(
        command, input=source, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, and say what differs")
    options = parser.parse_args()
    from deferrous import _deferrous

    source = STUB.read_text(encoding="utf-8")
    expected, found = docs_of(source, _deferrous), docs_in(source)
    differing = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    if options.check:
        for name in differing:
            print(f"{name}: the stub does not say what the compiled module says")
        return int(bool(differing))
    if differing:
        STUB.write_text(formatted(with_docs(without_docs(source), _deferrous)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
