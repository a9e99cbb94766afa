"""The stub has the docstrings of the compiled module, so that editors show them."""

import importlib.util
import pathlib

import deferrous
import pytest
from deferrous import _deferrous

pytestmark = [pytest.mark.deferrous_only, pytest.mark.same_everywhere]

ROOT = pathlib.Path(__file__).parents[1]
STUB = (ROOT / "python/deferrous/_deferrous.pyi").read_text(encoding="utf-8")


def load():
    spec = importlib.util.spec_from_file_location("stub_docs", ROOT / "tools/stub_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stub_docs = load()


def test_stub_says_what_the_compiled_module_says():
    """If this fails: `make install`, then `python tools/stub_docs.py`."""
    # What only some versions of CPython have is in the stub for all of them.
    there = {
        name: text
        for name, text in stub_docs.docs_in(STUB).items()
        if hasattr(_deferrous, name.partition(".")[0])
    }
    assert there == stub_docs.docs_of(STUB, _deferrous)


@pytest.mark.parametrize("name", ["Deferred", "Deferred.addCallback", "gatherResults"])
def test_editors_have_something_to_show(name):
    assert "```python" in stub_docs.docs_in(STUB)[name]


def test_every_public_native_name_has_its_docstring_in_the_stub():
    native = {name for name in deferrous.__all__ if hasattr(_deferrous, name)}
    assert native <= stub_docs.docs_in(STUB).keys()


def test_docstrings_come_and_go_without_a_trace():
    bare = stub_docs.without_docs(STUB)
    assert stub_docs.docs_in(bare) == {}
    again = stub_docs.with_docs(bare, _deferrous)
    assert stub_docs.docs_in(again) == stub_docs.docs_of(bare, _deferrous)
    # What type checkers read is as it was.
    assert stub_docs.without_docs(again) == bare
