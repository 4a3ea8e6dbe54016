"""What holds for all tests: each test process has a network and mounts of its own, if it runs as root."""

import os

import pytest

from tests.support import apart, marks


def pytest_configure(config: pytest.Config) -> None:
    if os.geteuid() == 0:
        apart.enter()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marks.mark(items)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes as they are make no name that one can read, and compressed ones have a time in them."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 20 else None
