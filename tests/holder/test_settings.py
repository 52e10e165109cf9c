"""`config.json`, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holder.errors import SettingsInvalid
from holder.settings import FileSource, SqlSource, load_settings, settings_from_mapping
from tests.holder.model_chain import DEPLOYMENT

GOOD: dict[str, Any] = {
    "version": "1",
    "rpc_url": "http://127.0.0.1:8545",
    "exchange_url": "http://127.0.0.1:8000/",
    "deployment": DEPLOYMENT.to_json(),
    "assets": [{"name": "用电", "source": {"kind": "csv", "path": "data.csv"}, "policy": "policy.yaml"}],
}


def test_a_small_config_has_sensible_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GOOD))
    settings = load_settings(tmp_path)
    asset = settings.asset("用电")
    assert settings.exchange_url == "http://127.0.0.1:8000"
    assert settings.database_url == f"sqlite:///{tmp_path / 'holder.db'}"
    assert (asset.title, asset.key_space, asset.grade) == ("用电", "用电", 1)
    assert asset.source == FileSource("csv", tmp_path / "data.csv", trim=True)
    assert settings.engine.temp_directory == tmp_path / "tmp"
    assert (settings.poll_live_s, settings.manual, settings.confirmations) == (0.2, False, 0)


def test_the_deployment_may_stand_in_a_file_beside(tmp_path: Path) -> None:
    home = tmp_path / "holders" / "1"
    home.mkdir(parents=True)
    (tmp_path / "deployment.json").write_text(json.dumps(DEPLOYMENT.to_json()))
    given = GOOD | {"deployment": "../../deployment.json", "cache": "../../cache"}
    settings = settings_from_mapping(given, home)
    assert settings.deployment == DEPLOYMENT
    assert settings.cache.resolve() == (tmp_path / "cache").resolve()


def test_credentials_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS_URL", "postgresql://u:secret@db/rows")
    monkeypatch.setenv("STORE_URL", "postgresql://u:secret@db/store")
    source = {"kind": "sql", "url": "$ROWS_URL", "table": "t", "schema": "s"}
    assets = [{"name": "a", "source": source, "policy": "p.yaml"}]
    settings = settings_from_mapping(GOOD | {"assets": assets, "database_url": "$STORE_URL"}, tmp_path)
    found = settings.assets[0].source
    assert isinstance(found, SqlSource) and found.url.startswith("postgresql://u:secret")
    assert "secret" not in repr(found) and "url" not in found.to_json()
    assert settings.database_url == "postgresql://u:secret@db/store"
    monkeypatch.delenv("ROWS_URL")
    with pytest.raises(SettingsInvalid, match="ROWS_URL"):
        settings_from_mapping(GOOD | {"assets": assets}, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"rpc_url": "ftp://x"},
        {"exchange_url": "x"},
        {"deployment": {}},
        {"deployment": "missing.json"},
        {"unknown": 1},
        {"assets": [{"name": "a"}]},
        {"assets": [{"name": "a", "source": {"kind": "oracle"}, "policy": "p"}]},
        {"assets": [{"name": "a", "source": {"kind": "csv", "path": "p", "pasword": 1}, "policy": "p"}]},
        {"assets": GOOD["assets"] * 2},
        {"confirmations": -1},
        {"poll_live_s": 0},
        {"engine": {"memory_mb": 1}},
        {"engine": {"threads": "many"}},
    ],
    ids=str,
)
def test_what_is_wrong_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        settings_from_mapping(GOOD | change, tmp_path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        load_settings(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsInvalid):
        load_settings(tmp_path)
    with pytest.raises(SettingsInvalid):
        settings_from_mapping({key: GOOD[key] for key in GOOD if key != "rpc_url"}, tmp_path)
