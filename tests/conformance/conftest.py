"""Fixtures over the table of engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.engines import Opening, Stores, named, stores
from tests.conformance.events import Words
from tests.fakes.memory_log import MemoryLog


@pytest.fixture(params=named())
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens an engine's stores."""
    return lambda: stores(request.param, tmp_path)


@pytest.fixture(params=named(lasting=True))
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens an engine's stores; again over the same database each time."""
    return lambda: stores(request.param, tmp_path)


@pytest.fixture
async def kept(opened: Opening) -> AsyncIterator[Stores]:
    """An engine's stores, empty."""
    async with opened() as found:
        yield found


@pytest.fixture(params=["model", *named()])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Words]:
    """Every log there is, the model among them."""
    if request.param == "model":
        yield Words(MemoryLog())
        return
    async with stores(request.param, tmp_path) as found:
        yield Words(found.log)
