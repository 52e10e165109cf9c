"""The worlds that the tests of misbehaviour play in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.misbehaviour.world import World

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares one market on one worker; the broker's tests take as long as all others."""
    for item in items:
        if HERE in item.path.parents:
            half = "broker" if item.path.name == "test_broker.py" else "others"
            item.add_marker(pytest.mark.xdist_group(f"misbehaviour {half}"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A market of its own, for a test that leaves it in disorder."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def standing_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One market for all tests that leave it in order; each opens requests of its own."""
    made = World(tmp_path_factory.mktemp("market"), policy={"rho": {"per_request": "1", "total": "1000"}})
    yield made
    made.close()


@pytest.fixture
def shared_world(standing_world: World) -> World:
    """The same, with honest middlemen."""
    for holder in standing_world.holders:
        holder.middleman.honest()
    return standing_world
