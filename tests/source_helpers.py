"""Reads the source: which file uses which, and how long files and functions are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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
    "_futures",
    "_graph_objects",
    "_graph_futures",
    "_graph_blocks",
    "_graph_entries",
    "_graph_parts",
    "_notes",
    "_report",
    "_timeout",
    "_copying",
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
    """The room of a file, and its path within that, such as `several/items`."""
    parts = path.relative_to(RUST).with_suffix("").parts
    parts = parts[1:] if parts[0] == "binding" else parts
    return (parts[0], "/".join(parts[1:])) if parts[0] in ROOMS else ("", parts[-1])


def file_named(room: str, names: list[str]) -> str:
    """The file within a room that a path leads to, or the name that the room hands on."""
    folder = RUST / ("" if room == "core" else "binding") / room
    within: list[str] = []
    for name in names:
        if (folder / name).is_dir():
            folder, within = folder / name, [*within, name]
        elif (folder / f"{name}.rs").is_file():
            return "/".join([*within, name])
        else:
            break
    return "/".join([*within, "mod"]) if within or not names else names[0]


def used(path: Path) -> Iterator[tuple[str, str]]:
    """The rooms and files that a file of Rust uses."""
    here = path.relative_to(RUST).with_suffix("").parts
    for name in paths(path.read_text(encoding="utf-8")):
        parts = [part.strip() for part in name.replace("crate::", "").split("::")]
        if parts[0] == "super":
            above = list(here[:-1])
            while parts[:2] == ["super", "super"]:
                above.pop()
                parts.pop(0)
            parts = above + parts[1:]
        parts = [part for part in parts if part != "binding"]
        if parts and parts[0] in ROOMS:
            yield parts[0], file_named(parts[0], parts[1:])


FILES = sorted(RUST.rglob("*.rs"))


def code(path: Path) -> str:
    return re.sub(r"//.*", "", path.read_text(encoding="utf-8"))


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
    return {of.get(name, name) for name in names} - {room_and_file(path)[1]}


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


def siblings(path: Path) -> Iterator[str]:
    """The modules of its own package that one of them imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


#: The folders that have source, and what ends the names of its files.
FOLDERS = ("benchmarks", "examples", "fuzz", "python", "src", "tests", "tools")
ENDINGS = (".py", ".pyi", ".rs", ".c", ".h")


def sources(*endings: str) -> Iterator[Path]:
    """The files of the source that have such a name."""
    paths = [*ROOT.iterdir(), *(path for each in FOLDERS for path in (ROOT / each).rglob("*"))]
    yield from sorted(
        path
        for path in paths
        if path.suffix in endings and "target" not in path.relative_to(ROOT).parts
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lengths_of_files() -> dict[str, int]:
    """How many lines each file has."""
    files = sources(*ENDINGS)
    return {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in files}


def lengths_of_functions() -> dict[str, int]:
    """How many lines each function has, by file and name."""
    found: dict[str, int] = {}
    for endings, functions in (
        ((".py",), functions_of_python),
        ((".rs",), functions_of_rust),
        ((".c", ".h"), functions_of_c),
    ):
        for path in sources(*endings):
            for name, lines in functions(path.read_text(encoding="utf-8")):
                place = f"{name_of(path)} {name}"
                found[place] = max(lines, found.get(place, 0))
    return found


def functions_of_python(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def functions_of_rust(text: str) -> Iterator[tuple[str, int]]:
    lines = text.splitlines()
    beginning = re.compile(
        r'( *)(?:pub(?:\([a-z]+\))? |const |async |unsafe |extern "C" )*fn (\w+)'
    )
    for start, line in enumerate(lines):
        if match := beginning.match(line):
            yield match[2], length_in_braces(lines[start:], match[1])


def length_in_braces(lines: list[str], indent: str) -> int:
    """How many lines a function has that begins here. One without a body has none."""
    for count, line in enumerate(lines, 1):
        if line.startswith(f"{indent}}}"):
            return count
        if line.endswith((";", "}")) and not line.startswith(f"{indent} "):
            # A declaration, or all of it in one line.
            return 0
    return 0


def functions_of_c(text: str) -> Iterator[tuple[str, int]]:
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if match := re.match(r"(?=[a-zA-Z_])[\w *]*?(\w+)\(", line):
            yield match[1], length_in_braces(lines[start:], "")
