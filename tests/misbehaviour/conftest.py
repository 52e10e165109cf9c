"""The worlds that the tests of misbehaviour play in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.misbehaviour.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A market of its own, for a test that leaves it in disorder."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A market for all tests of a module; each opens requests of its own."""
    made = World(tmp_path_factory.mktemp("market"), policy={"rho": {"per_request": "1", "total": "1000"}})
    yield made
    made.close()
