"""One chain with the trust contracts for each module; each test gets it as it was deployed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.anchors.world import Trust, make_trust
from tests.ledger.conftest import ANVIL, Anvil


@pytest.fixture(scope="module")
def trust_chain() -> Iterator[Trust]:
    """The trust contracts on a chain of the Prague hard fork, which keeps old states."""
    if not ANVIL.exists():
        pytest.skip("anvil is not installed: run ./shuyao once")
    anvil = Anvil(("--hardfork", "prague"))
    anvil.start()
    yield make_trust(anvil)
    anvil.kill()


@pytest.fixture
def trust(trust_chain: Trust) -> Iterator[Trust]:
    """The same, put back afterwards."""
    snapshot = trust_chain.anvil.snapshot()
    yield trust_chain
    trust_chain.anvil.revert(snapshot)
