"""The option that selects the implementation for `test_deferred.py`."""

from __future__ import annotations

from typing import Any

import pytest

from .worker import load


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--implementation",
        choices=["both", "twisted", "deferrous"],
        default="both",
        help="whose Deferreds are measured",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "defer" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("implementation")
        names = ["twisted", "deferrous"] if chosen == "both" else [chosen]
        metafunc.parametrize("defer", names, indirect=True)


@pytest.fixture
def defer(request: pytest.FixtureRequest) -> Any:
    """The implementation: as `twisted.internet.defer`, with `Failure`."""
    return load(request.param)
