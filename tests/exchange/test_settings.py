"""Settings: read strictly, refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchange.errors import SettingsInvalid
from exchange.settings import Settings, Windows
from ledger.errors import MalformedValue
from ledger.types import Roles
from tests.exchange.fake_chain import DEPLOYMENT

GOOD: dict[str, Any] = {
    "deployment": DEPLOYMENT.to_json(),
    "rpc_url": "http://127.0.0.1:8545",
    "database_url": "sqlite:////tmp/a.db",
    "workflow_database_url": "sqlite:////tmp/b.db",
    "public_url": "http://127.0.0.1:8700",
}
ADMISSION: dict[str, Any] = {"policy": "policy.json", "types": ["11100000MB0143028R001"]}


def test_settings_are_read_from_json() -> None:
    settings = Settings.from_json({**GOOD, "windows": {"approve": 7}, "port": 0})
    assert settings.windows == Windows(approve=7)
    assert settings.deployment == DEPLOYMENT
    assert (settings.domain, settings.origin) == ("127.0.0.1:8700", "http://127.0.0.1:8700")


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"port": 65_536},
        {"port": True},
        {"port": "80"},
        {"public_url": "ftp://x"},
        {"public_url": "http://x/path"},
        {"windows": {"approve": 0}},
        {"windows": {"aprove": 1}},
        {"windows": 5},
        {"workflow_database_url": "sqlite:////tmp/a.db"},
        {"executor_id": ""},
        {"quote_ttl_s": 0},
        {"threads": 0},
        {"admission": 5},
        {"admission": {"policy": "policy.json"}},
        {"admission": {**ADMISSION, "unknown": 1}},
        {"admission": {**ADMISSION, "policy": None}},
        {"admission": {**ADMISSION, "policy": ""}},
        {"admission": {**ADMISSION, "types": []}},
        {"admission": {**ADMISSION, "types": ["short"]}},
        {"admission": {**ADMISSION, "types": "11100000MB0143028R001"}},
        {"admission": {**ADMISSION, "service_url": "ftp://x"}},
        {"admission": {**ADMISSION, "service_url": 5}},
        {"admission": {**ADMISSION, "max_age_s": 0}},
        {"admission": {**ADMISSION, "roles": []}},
        {"admission": {**ADMISSION, "roles": ["regulator"]}},
    ],
)
def test_a_setting_outside_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        Settings.from_json({**GOOD, **change})


def test_a_missing_or_malformed_setting_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="rpc_url"):
        Settings.from_json({name: value for name, value in GOOD.items() if name != "rpc_url"})
    with pytest.raises(MalformedValue):
        Settings.from_json({**GOOD, "deployment": {}})


def test_admission_by_licence_is_off_unless_the_settings_name_its_terms() -> None:
    assert Settings.from_json(GOOD).admission is None
    assert Settings.from_json({**GOOD, "admission": None}).admission is None
    terms = Settings.from_json({**GOOD, "admission": {**ADMISSION, "roles": ["buyer", "broker"]}}).admission
    assert terms is not None
    assert (terms.policy, terms.role_bits) == (Path("policy.json"), Roles.BUYER | Roles.BROKER)
    assert (terms.service_url, terms.max_age_s) == (None, 86_400)
