"""The documentation: its examples run, its reference is complete, its links work."""

import html.parser
import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import types
import urllib.parse

import pytest

pytestmark = [pytest.mark.deferrous_only, pytest.mark.same_everywhere]

ROOT = pathlib.Path(__file__).parents[1]
RUNNER = ROOT / "tests/run_document.py"

#: The public modules.
MODULES = (
    "deferrous",
    "deferrous.failure",
    "deferrous.concurrency",
    "deferrous.testing",
    "deferrous.twisted",
)

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
)

#: What the examples of a page print, where it says so in a sentence.
PRINTED = {"README.md": "Hello, Dave!\nHello, nobody!\n"}

#: How other pages say so.
PRINTS = re.compile(r"^(?:This|It) prints:\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: The languages of blocks. The first is run; the others are no Python.
LANGUAGES = ("python", "console", "ini", "sh", "text", "toml")


def public_objects():
    """Yield every public module, name, and public member of a class: its name and the object."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield f"{module_name}:", module
        for name in module.__all__:
            obj = getattr(module, name)
            yield f"{module_name}:{name}", obj
            if not isinstance(obj, type):
                continue
            for cls in obj.__mro__:
                if not is_ours(cls):
                    continue
                # Those of a class in Rust are in another order in each process.
                for member, value in sorted(vars(cls).items()):
                    if not member.startswith("_"):
                        yield f"{module_name}:{name}.{member}", value


def is_ours(cls):
    # Inside Twisted's tests, ours say that they are Twisted's.
    return cls.__module__.partition(".")[0] in ("deferrous", "twisted")


OBJECTS = dict(public_objects())


def docstring(obj):
    """Return an object's own docstring, not one that it inherits or has from its class."""
    if isinstance(obj, (classmethod, staticmethod)):
        obj = obj.__func__
    if isinstance(obj, types.GenericAlias):  # which says it is a type, on 3.10
        return None
    if isinstance(obj, type):
        return vars(obj).get("__doc__") or ""
    if inspect.isroutine(obj) or inspect.ismodule(obj) or inspect.isdatadescriptor(obj):
        return obj.__doc__ or ""
    return None


# The examples.


def run(document, **options):
    pytest.importorskip("sybil")
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), document],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        **options,
    )


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_page(page, tmp_path):
    done = run(page, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unhandled error" not in done.stderr
    # Python's warnings about what was not closed, which do not fail a program.
    assert "Exception ignored" not in done.stderr
    printed = PRINTED.get(page) or "".join(PRINTS.findall((ROOT / page).read_text("utf-8")))
    if printed or page.startswith(("docs/tutorial/", "docs/howto/")):
        assert anywhere(done.stdout) == anywhere(printed)


def anywhere(text):
    """Leave out of a text what is different each time: where in memory, in which file."""
    text = re.sub(r"\b0x[0-9a-f]+", "0x...", text)
    text = re.sub(r'File "[^"]+", line \d+', 'File "...", line ...', text)
    text = re.sub(r"^> \S+\(\d+\)", "> ...(...)", text, flags=re.MULTILINE)
    # Not every Python says which part of a line it was.
    return [line.rstrip() for line in text.splitlines() if line.strip(" ~^")]


def test_pictures_are_as_they_would_be_drawn():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/chains.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


#: One name of each object: what a class inherits is not run again.
ONCE = {id(obj): name for name, obj in reversed(OBJECTS.items())}


@pytest.mark.parametrize(
    "name", sorted(name for name in ONCE.values() if "```" in (docstring(OBJECTS[name]) or ""))
)
def test_examples_of_docstring(name, tmp_path):
    done = run(name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unhandled error" not in done.stderr
    # What it says to print: in code spans, or else the words of the sentence.
    for said in re.findall(r"^This prints (.+)", inspect.getdoc(OBJECTS[name]), re.MULTILINE):
        printed = re.findall(r"`(.+?)`", said)
        for each in printed or set(re.findall(r"\w+", said.partition(":")[0])) - {
            "and",
            "then",
            "twice",
        }:
            assert each in done.stdout


FENCE = re.compile(r"^[ \t]*```([^\n]*)\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


def texts():
    yield from ((page, (ROOT / page).read_text(encoding="utf-8")) for page in PAGES)
    for name, obj in OBJECTS.items():
        if docstring(obj):
            yield name, inspect.cleandoc(docstring(obj))


@pytest.mark.parametrize("name, text", [pytest.param(*each, id=each[0]) for each in texts()])
def test_all_code_is_marked_as_what_it_is(name, text):
    """No example escapes being run by not being in a block of its language."""
    for language, _ in FENCE.findall(text):
        assert language in LANGUAGES
    outside = FENCE.sub("", text)
    assert "```" not in outside
    assert ">>>" not in outside
    # Markdown's other way to write code, which has no room for a language.
    assert not re.search(r"(^|\n)\n( {4}|\t)[^\s*\-]", outside)
    # What is not run says why. The other comments are where `make publish` puts its tables.
    for comment in re.findall(r"^<!--.*?-->", outside, re.MULTILINE):
        if not re.fullmatch(
            r"<!-- ([\w. -]+: written by `make publish`|end of [\w. -]+) -->", comment
        ):
            assert re.fullmatch(r'<!-- skip: next "[^"]{10,}" -->', comment)


# The docstrings.


@pytest.mark.parametrize("name", OBJECTS)
def test_has_docstring(name):
    text = docstring(OBJECTS[name])
    if text is None:
        pytest.skip("a value: the reference says what it is")
    lines = text.strip().splitlines()
    assert len(text.split()) >= 2, text
    # Python's own, where there is none.
    assert "help(type(self))" not in text
    # A heading that ends like a sentence, and nothing that sticks to it.
    assert re.search(r"[.:]$", lines[-1].strip()) or lines[-1].strip() == "```"
    assert max(map(len, text.splitlines())) <= 100


#: What has no example, and why.
WITHOUT_EXAMPLE = {
    "deferrous:returnValue": "deprecated",
    "deferrous:timeout": "deprecated",
    "deferrous.concurrency:Clock": "a protocol",
    "deferrous.concurrency:DelayedCall": "a protocol",
    "deferrous.concurrency:Lockable": "the base of several classes",
    "deferrous.failure:format_frames": "part of `Failure.printTraceback`",
    "deferrous.failure:startDebugMode": "starts a debugger",
}


def needs_example(name, obj):
    """Return whether this is a function, a class (but no exception), or a method of a Deferred."""
    # CPython 3.10 takes `Callable[..., object]` for a class.
    if isinstance(obj, type) and not isinstance(obj, types.GenericAlias):
        return not issubclass(obj, BaseException)
    native = name.startswith(("deferrous:Deferred", "deferrous.failure:"))
    return inspect.isroutine(obj) and ("." not in name.partition(":")[2] or native)


@pytest.mark.parametrize(
    "name",
    sorted(name for name, obj in OBJECTS.items() if needs_example(name, obj)),
)
def test_has_example(name):
    short = ("deferrous:DeferredFilesystemLock.", "deferrous.failure:Failure.")
    if name in WITHOUT_EXAMPLE or name.startswith(short):
        assert "```" not in docstring(OBJECTS[name]) or name.startswith(short)
    else:
        assert "```python" in docstring(OBJECTS[name])


# The site.


class Page(html.parser.HTMLParser):
    """The links of a page, and what can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links = []
        self.resources = []
        self.anchors = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.update(attrs[key] for key in ("id", "name") if attrs.get(key))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        elif tag in ("link", "script", "img") and (attrs.get("href") or attrs.get("src")):
            self.resources.append(attrs.get("href") or attrs.get("src"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it: its folder, and its pages by their paths."""
    for needed in ("mkdocs", "mkdocstrings", "griffe_sphinx"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install deferrous[docs]")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        # The theme has something to say about the future of MkDocs, which is no warning of ours.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder, {
        path.relative_to(folder).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
    }


def test_every_document_is_a_page(site):
    _, pages = site
    for page in PAGES:
        assert page_of(page) in pages


def page_of(document):
    return "index.html" if document == "README.md" else document.replace(".md", ".html")


def test_every_name_is_in_the_reference(site):
    _, pages = site
    anchors = set()
    for name, page in pages.items():
        if name.startswith("docs/reference/"):
            anchors |= page.anchors
    names = {name.replace(":", ".") for name in OBJECTS}
    # The pages as a whole.
    names -= {f"{module}." for module in MODULES}
    # What is said once, of `deferrous.failure.Failure`.
    names = {re.sub(r"^deferrous\.Failure\b", "deferrous.failure.Failure", each) for each in names}
    # What a class has is not said again for its subclasses.
    public = {id(obj) for obj in OBJECTS.values() if isinstance(obj, type)}
    said_elsewhere = {
        f"{name.replace(':', '.')}.{member}"
        for name, cls in OBJECTS.items()
        if isinstance(cls, type)
        for base in cls.__mro__[1:]
        if id(base) in public
        for member in vars(base).keys() - vars(cls).keys()
    }
    assert names - said_elsewhere <= anchors


def test_links_lead_somewhere(site):
    folder, pages = site
    seen = 0
    for name, page in pages.items():
        for link in page.links + page.resources:
            scheme, _, path, _, fragment = urllib.parse.urlsplit(link)
            if scheme in ("http", "https"):
                continue
            if name == "404.html":
                # Its links are from the root.
                path = path.lstrip("/")
            seen += 1
            target = (folder / name).parent / urllib.parse.unquote(path) if path else folder / name
            assert target.resolve().is_file(), f"{name}: {link}"
            if fragment and target.suffix == ".html":
                anchors = pages[target.resolve().relative_to(folder.resolve()).as_posix()].anchors
                assert urllib.parse.unquote(fragment) in anchors, f"{name}: {link}"
    assert seen > 100


def test_search_knows_every_page(site):
    """Also where there is no server, for which its index is a script."""
    folder, _ = site
    text = (folder / "search/search_index.json").read_text(encoding="utf-8")
    found = {entry["location"].partition("#")[0] for entry in json.loads(text)["docs"]}
    for page in PAGES:
        assert page_of(page) in found
    script = (folder / "search/search_index.js").read_text(encoding="utf-8")
    assert script == f"var __index = {text}"


def test_pictures_of_chains_are_in_the_pages(site):
    folder, _ = site
    text = (folder / "docs/tutorial/chains.html").read_text(encoding="utf-8")
    assert text.count('<svg xmlns="http://www.w3.org/2000/svg" class="chain" role="img"') == 14
    assert "images/chains" not in text


def test_nothing_is_fetched(site):
    """Readers of the site need no network."""
    _, pages = site
    for name, page in pages.items():
        assert not [each for each in page.resources if "//" in each], name


# The README, which the package index shows as well, where no relative link works.


def test_links_of_the_readme_are_absolute_and_lead_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Repository = "([^"]+)"$', project, re.MULTILINE)[1]
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    assert len(links) > 20
    for link in ("".join(each) for each in links):
        assert link.startswith(("https://", "#")), link
        if link.startswith("#"):
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert link[1:] in [heading.lower().replace(" ", "-") for heading in headings]
        elif link.startswith(address + "/"):
            path = re.sub(r"^/(blob|raw)/main/", "", link[len(address) :])
            assert (ROOT / path).is_file(), link
