"""What a buyer is told from outside."""

from pathlib import Path
from typing import Any

import pytest

from client.errors import SettingsInvalid
from client.settings import ClientSettings
from ledger.types import Address, Deployment

NAMES = ("participants", "assets", "ledger", "settlement", "manager")
DEPLOYMENT = Deployment(
    chain_id=1, block=1, **{name: Address(bytes([k]) * 20) for k, name in enumerate(NAMES)}
)


def settings(**changes: Any) -> ClientSettings:
    given = {"home": Path("home"), "exchange_url": "https://x.test/", "rpc_url": "http://y", **changes}
    return ClientSettings(deployment=DEPLOYMENT, **given)


def test_paths_follow_from_the_home() -> None:
    found = settings()
    assert found.exchange_url == "https://x.test"
    assert found.receipts == Path("home/receipts")
    assert found.database_url == "sqlite:///home/buyer.db"


@pytest.mark.parametrize(
    "change",
    [
        {"exchange_url": "exchange.test"},
        {"confirmations": -1},
        {"timeout_s": 0.0},
        {"poll_s": -1.0},
        {"answer_timeout_s": 0.0},
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        settings(**change)
