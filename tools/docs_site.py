"""A hook and an extension for MkDocs, used by mkdocs.yml.

mkdocs loads this file as a hook, griffe (which reads the package for mkdocstrings) as an
extension.
"""

from __future__ import annotations

import builtins
import itertools
import re
from pathlib import Path
from typing import Any

import deferrous
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Where the project is, as pyproject.toml has it.
ADDRESS = re.search(
    r'^Repository = "([^"]+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
)[1]  # type: ignore[index]

#: From how many columns on a table is wide.
WIDE = 5

#: What the site is made of. It has the layout of the repository, so that links work in both.
CONTENTS = (
    "README.md",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "docs/**/*.md",
    "docs/images/**/*.*",
    "docs/assets/*",
    "examples/*.py",
    "benchmarks/**/*.py",
    "benchmarks/native/*.c",
    "tests/compare/exceptions.txt",
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Have what is defined in Rust say so, in this process.

    Its classes say that they are of the public module. griffe would look for them there, find
    that they are imported, and not see their docstrings.
    """
    from deferrous import _deferrous

    for value in vars(_deferrous).values():
        if isinstance(value, type):
            value.__module__ = _deferrous.__name__
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the site of `CONTENTS`, and of what the theme brings."""
    theirs = [file for file in files if file.src_dir != config.docs_dir]
    ours = [
        File(
            path.relative_to(ROOT).as_posix(),
            str(ROOT),
            config.site_dir,
            config.use_directory_urls,
        )
        for pattern in CONTENTS
        for path in sorted(ROOT.glob(pattern))
    ]
    return Files(theirs + ours)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Have charts in the colours of the page, which its reader chooses, not those of the system.

    And have the README's links, which are absolute for the package index, lead to the site's pages.
    """
    markdown = re.sub(rf"{re.escape(ADDRESS)}/(blob|raw)/main/", "", markdown)
    # As HTML it would be looked at by the browser only.
    markdown = re.sub(
        r'<picture>.*?<img alt="([^"]+)" src="([^"]+)">\s*</picture>',
        r"![\1](\2)",
        markdown,
        flags=re.DOTALL,
    )
    return re.sub(
        r"!\[([^\]]+)\]\(([^)]+)-light\.svg\)",
        r"![\1](\2-light.svg#only-light) ![\1](\2-dark.svg#only-dark)",
        markdown,
    )


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put the pictures of chains into the page itself, whose colours they take then.

    And have each cell of a wide table know its column, as narrow windows show its rows as cards.
    """

    def drawn(match: re.Match[str]) -> str:
        return (ROOT / "docs/images/chains" / match[1]).read_text(encoding="utf-8")

    html = re.sub(r'<img [^>]*src="[^"]*images/chains/([\w-]+\.svg)"[^>]*>', drawn, html)
    html = re.sub(r"Bases: <code>(.*?)</code>", public_base, html)
    return re.sub(r"<table>.*?</table>", labelled, html, flags=re.DOTALL)


def public_base(line: re.Match[str]) -> str:
    """Say what a class derives from, if that has a name for users."""
    name = re.sub(r"<[^>]+>", "", line[1]).rpartition(".")[2]
    public = hasattr(deferrous, name) or hasattr(builtins, name)
    return f"Bases: <code>{name}</code>" if public and name[0] != "_" else ""


def labelled(table: re.Match[str]) -> str:
    """Label the cells of a table of many columns."""
    names = [re.sub(r"<[^>]+>", "", name) for name in re.findall(r"<th[^>]*>(.*?)</th>", table[0])]
    if len(names) < WIDE:
        return table[0]
    columns = itertools.cycle(names)
    cells = re.sub(r"<td", lambda _: f'<td data-column="{next(columns)}"', table[0])
    return cells.replace("<table>", "<table data-wide>", 1)


class Mended(griffe.Extension):
    """Mends what griffe finds out about classes, most of all about native ones."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Take constructors from the stub, and leave out what only Python is interested in.

        A native class's `__init__` knows no parameters, and an attribute that is a plain value
        has the docstring of the value's class.
        """
        native = pkg["_deferrous"]
        path = native.filepath.with_name("_deferrous.pyi")
        stub = griffe.visit(native.path, path, path.read_text(encoding="utf-8"))
        for name, cls in native.classes.items():
            if cls.is_alias:
                continue
            cls.members.pop("__init__", None)
            known = stub.classes.get(name)
            if known is not None:
                # Of overloads, the last is the one that takes everything.
                init = known.overloads.get("__init__") or [known.members.get("__init__")]
                if init[-1] is not None:
                    for overload in init:
                        for name in (each.name for each in overload.parameters if each.default):
                            init[-1].parameters[name].default = overload.parameters[name].default
                    cls.set_member("__init__", init[-1])
            for attribute in cls.attributes.values():
                if "property" not in attribute.labels:
                    attribute.docstring = None
        for function in native.functions.values():
            to_be_read(function)
        for cls in native.classes.values():
            if not cls.is_alias:
                for function in cls.functions.values():
                    to_be_read(function)
        for module in pkg.modules.values():
            for cls in module.classes.values():
                if not cls.is_alias:
                    for name in [each for each in cls.members if each.startswith("__")]:
                        if name != "__init__":
                            del cls.members[name]


def to_be_read(function: griffe.Function | griffe.Alias) -> None:
    """Leave the types of all signatures out of the one that people read first."""
    if function.is_alias or not function.overloads:
        return
    for parameter in function.parameters:
        parameter.annotation = None
    returns = {str(overload.returns).partition("[")[0] for overload in function.overloads}
    function.returns = returns.pop() if len(returns) == 1 else None
