"""Runs the examples of one document: `python run_document.py document`.

A document is a Markdown file, or, as `module:name`, the docstring of an object. Its examples are
its blocks of Python, which Sybil finds; they share a namespace. Where one defines tests, pytest
runs these, with our plugin. What a comment `<!-- skip: next "reason" -->` stands before is not
run.
"""

import ast
import contextlib
import importlib
import inspect
import os
import pathlib
import sys
import tempfile
import unittest
from functools import reduce

from sybil import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

ROOT = pathlib.Path(__file__).parents[1]


def text_of(name):
    """Return the text of a document."""
    module, colon, path = name.partition(":")
    if not colon:
        return (ROOT / name).read_text(encoding="utf-8")
    obj = reduce(getattr, filter(None, path.split(".")), importlib.import_module(module))
    return inspect.getdoc(obj)


def document_of(name):
    """Return a document, parsed."""
    document = Document(text_of(name), str(ROOT / name) if ":" not in name else name)
    for parser in (SkipParser(), CodeBlockParser(language="python", evaluator=Evaluator())):
        for region in parser(document):
            document.add(region)
    return document


class Evaluator(PythonEvaluator):
    """Runs a block of Python, or the tests that it defines."""

    def __call__(self, example):
        if has_tests(example.parsed):
            run_tests(example.parsed)
        else:
            super().__call__(example)


def has_tests(source):
    return any(
        (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[:5] == "test_")
        or (isinstance(node, ast.ClassDef) and "TestCase" in "".join(map(ast.dump, node.bases)))
        for node in ast.parse(source).body
    )


def run_tests(source):
    import pytest

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["-p", "deferrous.pytest_plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "test_example.py")
        file.write_text(source, encoding="utf-8")
        # What it says is not what the examples print.
        with contextlib.redirect_stdout(sys.stderr):
            status = pytest.main(["-q", *plugins, f"--rootdir={folder}", str(file)])
    # It is not 0 either where there are no tests.
    assert status == 0, f"pytest: {status!r}"


def main():
    [name] = sys.argv[1:]
    document = document_of(name)
    # They are programs.
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        try:
            example.evaluate()
        except unittest.SkipTest as skipped:
            print(f"line {example.line} is not run: {skipped}", file=sys.stderr)


if __name__ == "__main__":
    main()
