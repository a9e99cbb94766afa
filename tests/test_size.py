"""No file of the source is long, and no function."""

from __future__ import annotations

import pytest
from source_helpers import (
    functions_of_c,
    functions_of_rust,
    lengths_of_files,
    lengths_of_functions,
)

#: Files that are longer than others may be, and the most lines of each.
LONG = {
    # The stub of one module, most of it docstrings that tools/stub_docs.py copies. Split, it would
    # describe modules that do not exist at runtime: stubtest rejects that, and editors would show
    # names such as `deferrous._deferrous.deferred.Deferred`.
    "python/deferrous/_deferrous.pyi": 1893,
}

#: Functions that are longer than others may be.
LONG_FUNCTIONS = {
    # The loop that runs everything. Cut where a waiter has answered, it takes 27 instructions more
    # for each.
    "src/binding/run/links.rs links": 73,
}


def test_no_file_is_long() -> None:
    """Beyond 500 lines, a file is about more than one thing."""
    lengths = lengths_of_files()
    assert {name: lines for name, lines in lengths.items() if lines > LONG.get(name, 500)} == {}


def test_no_function_is_long() -> None:
    """Beyond 60 lines, a function does more than one thing."""
    lengths = lengths_of_functions()
    assert {name: lines for name, lines in lengths.items() if lines > 60} == LONG_FUNCTIONS


RUST = """
impl Some {
    pub(crate) async fn one(of: [u8; 4]) {
        of;
    }

    fn two<T>(of: T)
    where
        T: Any,
    {
        of;
    }
}

unsafe extern "C" {
    fn declared(
        of: u8,
    );
}

fn short() {}
"""

C = """
static int
declared(int of);

static PyObject *one(PyObject *self,
                     int of)
{
    return f(of);
}

int two(void) {
    return 0;
}
"""


@pytest.mark.parametrize(
    ("functions", "text", "lengths"),
    [
        (functions_of_rust, RUST, [("one", 3), ("two", 6), ("declared", 0), ("short", 0)]),
        (functions_of_c, C, [("declared", 0), ("one", 5), ("two", 3)]),
    ],
)
def test_functions_are_found(functions, text, lengths) -> None:
    assert list(functions(text)) == lengths
