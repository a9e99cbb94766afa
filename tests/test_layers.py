"""The rooms of the source: a file uses its own room and those below it, never one above.

Read from the `use` lines of Rust and the imports of Python. Types, and functions of ours that
Python calls by way of the interpreter, are the only other ways between files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest
from source_helpers import (
    FILES,
    MODULES,
    PYTHON,
    ROOMS,
    ROOT,
    RUST,
    code,
    imports,
    room_and_file,
    siblings,
    used,
    used_of_own_room,
)


def test_every_file_is_in_a_room() -> None:
    outside = [str(path.relative_to(RUST)) for path in FILES if room_and_file(path)[0] not in ROOMS]
    assert outside == ["binding/mod.rs", "lib.rs"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_uses_a_room_above_its_own(room: str) -> None:
    upwards = [
        f"{path.relative_to(RUST)} uses {other}/{name}"
        for path in FILES
        if room_and_file(path)[0] == room
        for other, name in used(path)
        if ROOMS.index(other) > ROOMS.index(room)
    ]
    assert upwards == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_form_no_circle(room: str) -> None:
    files = [path for path in FILES if room_and_file(path)[0] == room and path.stem != "mod"]
    names = {room_and_file(path)[1] for path in files}
    graph = {room_and_file(path)[1]: used_of_own_room(path, room) & names for path in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", ROOMS)
def test_the_table_of_rooms_names_every_file(room: str) -> None:
    folder = "src/core/" if room == "core" else f"src/binding/{room}/"
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    [row] = [line for line in table if line.startswith(f"| `{folder}`")]
    names = {room_and_file(path)[1] for path in FILES if room_and_file(path)[0] == room}
    # What is in a folder is named as a whole.
    here = {name.partition("/")[0] for name in names} - {"mod"}
    assert here - set(re.findall(r"`(\w+)`", row)) == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "_deferrous"])
def test_no_module_uses_one_above(module: str) -> None:
    tree = PYTHON / f"{module}.py"
    above = [name for name in imports(tree) if MODULES.index(name) >= MODULES.index(module)]
    allowed = {"__init__": ["twisted"]}.get(module, [])
    assert [name for name in above if name not in allowed] == []


def test_the_modules_of_concurrency_form_no_circle() -> None:
    graph = {
        path.stem: {name for name in siblings(path) if name != path.stem}
        for path in (PYTHON / "concurrency").glob("*.py")
        if path.stem != "__init__"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_every_module_has_a_place() -> None:
    assert {path.stem for path in PYTHON.glob("*.py")} == set(MODULES) - {"_deferrous"}


#: How state is guarded, by the types it is made of. (Without the GIL, a `Shared` has a lock.)
GUARDS = (
    (r"\bShared<", "the GIL"),
    (r"\bEachThread<", "the GIL"),
    (r"\bEachThread<", "the thread"),
    (r"\b(Py)?OnceLock<", "written once"),
    (r"\bAtomic\w+", "atomic"),
    (r"\bOnce\b", "written once"),
    (r"\bMutex<", "a mutex"),
)

#: The statics that never change, so that nothing need guard them.
CONSTANTS = {
    ("capi/reserve", "ALLOCATOR"),
    ("judge/attributes", "CAPTURE_VARS"),
    ("judge/attributes", "COUNT_FIELD"),
    ("judge/attributes", "FIELDS"),
    ("judge/attributes", "TB"),
    ("judge/attributes", "TYPE"),
    ("judge/attributes", "VALUE"),
    ("run/deliver", "OTHERS"),
}


def declarations(text: str, word: str) -> Iterator[tuple[int, str, str]]:
    """Where something is declared, its name, and what follows the name up to an `=`."""
    for match in re.finditer(rf"(?<!['\w]){word} (?:mut )?(\$?\w+)\s*:([^=]*)=", text):
        yield match.start(), match[1], match[2]


def blocks(text: str, beginning: str) -> Iterator[range]:
    """Where the blocks are that begin so."""
    for match in re.finditer(beginning + r"\s*\{", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield range(match.start(), end)


def guards_of(kind: str, structs: dict[str, str], seen: frozenset[str] = frozenset()) -> set[str]:
    """What guards a value of a type of Rust's: nothing if it never changes."""
    found = {guard for pattern, guard in GUARDS if re.search(pattern, kind)}
    # How these two guard what is in them is said above.
    known = {"Shared", "EachThread"}
    for name in set(re.findall(r"\w+", kind)) & structs.keys() - seen - known:
        # What stands behind a reference, a lock or in a function's type is another's. In a pool
        # there is memory of such objects, and none of them.
        if not re.search(rf"(Shared<|Lock<|Py<|Pool<|fn\b|&).*\b{name}\b", kind):
            found |= guards_of(structs[name], structs, seen | {name})
    return found


def state_in_source() -> dict[tuple[str, str], str]:
    """What each process or thread has of its own, by file and name, and how it is guarded."""
    texts = {path: code(path) for path in FILES}
    structs: dict[str, str] = {}
    for text in texts.values():
        for name, body in re.findall(r"\bstruct (\w+)[^;{(]*(\(.*?\);|\{.*?\n\s*\})", text, re.S):
            structs[name] = structs.get(name, "") + body
    found: dict[tuple[str, str], set[str]] = {}
    for path, text in texts.items():
        of_threads = list(blocks(text, r"\bthread_local!"))
        for start, name, kind in declarations(text, "static"):
            of_thread = any(start in block for block in of_threads)
            guards = {"the thread"} if of_thread else guards_of(kind, structs)
            if guards:
                file = path.relative_to(RUST).with_suffix("").as_posix()
                # Some are declared twice, for builds with the GIL and without.
                found.setdefault((file.removeprefix("binding/"), name), set()).update(guards)
    return {place: ", ".join(sorted(guards)) for place, guards in found.items()}


def state_in_page() -> dict[tuple[str, str], str]:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## State of the process\n")[2].partition("\n### ")[0]
    return rows_of(section)


def rows_of(section: str) -> dict[tuple[str, str], str]:
    found = {}
    for row in re.findall(r"^\| `(.*) \|$", section, re.M):
        file, names, guard, *_ = row.split(" | ")
        for name in re.findall(r"`([^`]+)`", names):
            found[file.rstrip("`"), name] = guard
    return found


def test_all_state_of_the_process_is_in_the_table() -> None:
    assert state_in_page() == state_in_source()


def test_every_other_static_is_a_constant() -> None:
    """State of a type that `GUARDS` does not know, such as a `static mut`, is not overlooked."""
    found = set()
    for path in FILES:
        text = code(path)
        file = path.relative_to(RUST).with_suffix("").as_posix().removeprefix("binding/")
        names = [name for _, name, _ in declarations(text, "static")]
        assert len(names) == len(re.findall(r"(?<!['\w])static\b", text)), path
        found.update((file, name) for name in names)
    assert found - state_in_source().keys() == CONSTANTS


def test_only_the_lowest_room_of_the_binding_has_unsafe_code() -> None:
    """In the others there may be an `unsafe impl`, which vouches for a type of theirs."""
    found = [
        f"{path.relative_to(RUST)}: {line.strip()}"
        for path in FILES
        if room_and_file(path)[0] != "capi"
        for line in code(path).splitlines()
        if re.search(r"\bunsafe\b", line) and "unsafe_code" not in line
    ]
    assert found == ["binding/model/failure.rs: unsafe impl ZeroIsEmpty for FailureBase {}"]


def test_there_are_no_more_unsafe_blocks() -> None:
    """Counted is each `unsafe {`, whether a macro repeats it or not. 88 at first."""
    assert sum(len(re.findall(r"\bunsafe \{", code(path))) for path in FILES) <= 79


#: Calls that make what never changes.
PURE = {
    "ParamSpec",
    "TypeVar",
    "_nested",
    "_never_refused",
    "_owed",
    "frozenset",
    "getLogger",
    "getattr",
    "partial",
    "tuple",
}
#: Names whose values never change, though nothing here shows that.
PYTHON_CONSTANTS = {("_linked_errors", "NOTHING"), ("concurrency/_base", "_QUIET")}
#: Methods that change what they are called on.
CHANGING = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "remove",
    "setdefault",
    "update",
}


def changed_within(tree: ast.Module) -> set[str]:
    """The names whose values functions of a module change, or that they bind anew."""
    found = set()
    functions = [it for it in ast.walk(tree) if isinstance(it, ast.FunctionDef)]
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.value, ast.Name):
            changes = isinstance(node, ast.Attribute) and node.attr in CHANGING
            if changes or not isinstance(node.ctx, ast.Load):
                found.add(node.value.id)
    return found


def bindings(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, ast.expr]]:
    """The names that a module binds when it is imported, with those of its classes."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from bindings([*node.body, *node.orelse], within)
        elif isinstance(node, ast.ClassDef):
            yield from bindings(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((within + it.id, node.value) for it in targets if isinstance(it, ast.Name))


def guard_of(value: ast.expr, classes: dict[str, str]) -> str:
    text = ast.unparse(value)
    made = classes.get(text.removesuffix("()"), "")
    if "threading.local" in made:
        return "the thread"
    return "a lock" if "Lock()" in made else "the GIL"


def python_state() -> dict[tuple[str, str], str]:
    """What modules and classes have that changes, and how it is guarded."""
    found = {}
    for path in sorted(PYTHON.rglob("*.py")):
        module = path.relative_to(PYTHON).with_suffix("").as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        changed = changed_within(tree)
        classes = {it.name: ast.unparse(it) for it in tree.body if isinstance(it, ast.ClassDef)}
        for name, value in bindings(tree.body):
            if isinstance(value, ast.Call):
                is_state = "." not in name and ast.unparse(value.func).split(".")[-1] not in PURE
            else:
                is_empty = ast.unparse(value) in ("[]", "{}")
                is_state = name in changed or is_empty
            if is_state and (module, name) not in PYTHON_CONSTANTS:
                found[module, name] = guard_of(value, classes)
    return found


def test_all_state_of_the_python_half_is_in_the_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("\n### In the Python half\n")[2].partition("\n## ")[0]
    assert python_state() == rows_of(section)
