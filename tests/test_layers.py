"""The rooms of the source: a file uses its own room and those below it, never one above.

Read from the `use` lines of Rust and the imports of Python. Types, and functions of ours that
Python calls by way of the interpreter, are the only other ways between files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUST = ROOT / "src"
PYTHON = ROOT / "python" / "deferrous"

#: From the bottom to the top.
ROOMS = ("core", "capi", "model", "judge", "waits", "run", "face")

#: The modules of the Python half, from the bottom to the top. Each uses those before it.
MODULES = (
    "_deferrous",
    "_environment",
    "_reflect",
    "_tracking",
    "_trace_names",
    "_perfetto",
    "_trace",
    "_clock",
    "_debugging",
    "_callbacks",
    "_deprecation",
    "_frames",
    "_linked_errors",
    "failure",
    "_waiting",
    "_reasons",
    "_graph_objects",
    "_graph_futures",
    "_graph_blocks",
    "_graph_entries",
    "_graph_parts",
    "_notes",
    "_report",
    "_timeout",
    "_copying",
    "_futures",
    "_gathering",
    "_generators",
    "_interop",
    "_lock_system",
    "_lock_links",
    "_lock_warrants",
    "_lockfile",
    "_graph_ways",
    "_graph_state",
    "_graph_holders",
    "_graph_search",
    "_graph_pictures",
    "_graph_text",
    "_call_graph",
    "_deadlocks",
    "_pending",
    "_survey",
    "_folders",
    "inspect",
    "_asked_process",
    "_ask_by_socket",
    "_ask_by_script",
    "_asking",
    "_ps_lines",
    "_ps",
    "__init__",
    "_wrong_thread",
    "testing",
    "pytest_plugin",
    "twisted",
    "twisted_plugin",
    "__main__",
)


def branches(tree: str) -> Iterator[str]:
    """The paths of a tree such as `a::{b, c::{self, d}}`."""
    before, brace, rest = tree.strip().partition("{")
    if not brace:
        yield before
        return
    depth, start, body = 0, 0, rest[: rest.rindex("}")] + ","
    for place, character in enumerate(body):
        depth += (character == "{") - (character == "}")
        if character == "," and not depth:
            if body[start:place].strip():
                for branch in branches(body[start:place]):
                    yield before.rstrip() + branch
            start = place + 1


def paths(text: str) -> Iterator[str]:
    """The paths to parts of the crate that a Rust file names."""
    text = re.sub(r"//.*", "", text)
    for tree in re.findall(r"\buse ((?:crate|super)\b[^;]*);", text):
        yield from branches(re.sub(r"\s+", " ", tree))
    yield from re.findall(r"(?<![\w$])crate(?:::\w+)+", text)


def room_and_file(path: Path) -> tuple[str, str]:
    parts = path.relative_to(RUST).with_suffix("").parts
    return (next((part for part in parts if part in ROOMS), ""), parts[-1])


def used(path: Path) -> Iterator[tuple[str, str]]:
    """The rooms and files that a file of Rust uses."""
    here = path.relative_to(RUST).with_suffix("").parts
    for name in paths(path.read_text(encoding="utf-8")):
        parts = name.replace("crate::", "").split("::")
        if parts[0] == "super":
            above = list(here[:-1])
            while parts[:2] == ["super", "super"]:
                above.pop()
                parts.pop(0)
            parts = above + parts[1:]
        parts = [part for part in parts if part != "binding"]
        if parts and parts[0] in ROOMS:
            yield (parts[0], parts[1].strip() if len(parts) > 1 else "mod")


FILES = sorted(RUST.rglob("*.rs"))


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


def handed_on(room: str) -> dict[str, str]:
    """The file that each name is from which a room hands on by its `mod.rs`."""
    text = code(next(RUST.rglob(f"{room}/mod.rs")))
    branched = (list(branches(tree)) for tree in re.findall(r"\buse ([^;]*);", text))
    parts = [re.split(r"\s*::\s*", branch.strip()) for tree in branched for branch in tree]
    return {part[-1]: part[-2] for part in parts if len(part) > 1}


def used_of_own_room(path: Path, room: str) -> set[str]:
    """The files of its own room that a file uses, under whatever name."""
    names = {name for other, name in used(path) if other == room}
    if "mod" in names:
        names |= set(re.findall(rf"\b{room}::(\w+)", code(path)))
    of = handed_on(room)
    return {of.get(name, name) for name in names} - {path.stem}


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_form_no_circle(room: str) -> None:
    files = [path for path in FILES if room_and_file(path)[0] == room and path.stem != "mod"]
    stems = {path.stem for path in files}
    graph = {path.stem: used_of_own_room(path, room) & stems for path in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that one of them imports, when it is imported or later, but for
    what type checkers alone see.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "") == "deferrous"):
            within = "" if node.module == "deferrous" else (node.module or "")
            if within:
                yield within
            else:
                names = [alias.name for alias in node.names]
                modules = [name for name in names if name in MODULES]
                yield from modules
                if len(modules) < len(names):
                    yield "__init__"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deferrous."):
            yield (node.module or "").removeprefix("deferrous.")


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


def siblings(path: Path) -> Iterator[str]:
    """The modules of its own package that one of them imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


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


def code(path: Path) -> str:
    return re.sub(r"//.*", "", path.read_text(encoding="utf-8"))


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


#: Files that are longer than others may be, and the most lines of each.
LONG = {
    # The stub of one module, most of it docstrings that tools/stub_docs.py copies. It only becomes
    # longer by native functions, two lines for each.
    "python/deferrous/_deferrous.pyi": 1860,
}

#: Functions that are longer than others may be.
LONG_FUNCTIONS = {
    # The loop that runs everything. Cut where a waiter has answered, it takes 27 instructions more
    # for each.
    "src/binding/run/links.rs links": 73,
}


def test_no_file_is_long() -> None:
    """Beyond 500 lines, a file is about more than one thing."""
    endings = ("*.py", "*.pyi", "*.rs", "*.c", "*.h")
    folders = ("benchmarks", "examples", "fuzz", "python", "src", "tests", "tools")
    files = [path for each in folders for end in endings for path in (ROOT / each).rglob(end)]
    lengths = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for path in files
        if "target" not in path.parts
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONG.get(name, 500)}
    assert long == {}


def test_no_function_is_long() -> None:
    """Beyond 60 lines, a function does more than one thing."""
    long = {}
    for folder in ("benchmarks", "examples", "python", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    if lines > 60:
                        long[f"{path.relative_to(ROOT).as_posix()} {node.name}"] = lines
    for path in [*FILES, *(ROOT / "tests").rglob("*.rs")]:
        beginning = r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const |unsafe |extern \"C\" )*fn (\w+)"
        # A declaration without a body ends with a semicolon.
        function = re.compile(beginning + r"[^;{]*\{\n(?:.*\n)*?\1\}(?:\)\?)?$", re.M)
        for match in function.finditer(path.read_text(encoding="utf-8")):
            lines = match[0].count("\n") + 1
            if lines > 60:
                long[f"{path.relative_to(ROOT).as_posix()} {match[2]}"] = lines
    assert long == LONG_FUNCTIONS


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


#: Calls that make what never changes.
PURE = {
    "ParamSpec",
    "TypeVar",
    "_nested",
    "_never_refused",
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
