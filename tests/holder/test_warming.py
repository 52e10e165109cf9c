"""What a node makes ready before it says so, and that nothing of it is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from holder.data import DataRoom
from holder.errors import SourceUnreadable
from holder.settings import AssetSettings, EngineSettings, FileSource, HolderSettings
from holder.warming import GENERATORS_MAX, import_modules, prepare, widest_plan
from privacy.generators import GeneratorCache
from privacy.policy import Policy
from tests.holder.model_chain import DEPLOYMENT
from tests.holder.tables import POLICY, columns_of, make_rows


@pytest.fixture
def settings(tmp_path: Path) -> HolderSettings:
    pq.write_table(pa.table(dict(columns_of(make_rows(5)))), tmp_path / "rows.parquet")
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY, allow_unicode=True), encoding="utf-8")
    source = FileSource("parquet", tmp_path / "rows.parquet")
    return HolderSettings(
        home=tmp_path,
        rpc_url="http://127.0.0.1:9",
        exchange_url="http://127.0.0.1:9",
        deployment=DEPLOYMENT,
        database_url="sqlite://",
        assets=(AssetSettings("用电", "用电", source, tmp_path / "policy.yaml", "people"),),
        engine=EngineSettings(tmp_path / "tmp"),
        cache=tmp_path / "cache",
    )


def made(settings: HolderSettings) -> int:
    """How many blocks of generators are on disk."""
    return len(list(settings.cache.glob("generators-*")))


def test_a_node_has_engine_and_generators_ready(settings: HolderSettings) -> None:
    import_modules(settings)
    data = DataRoom(settings)
    try:
        prepare(data, GeneratorCache(settings.cache), settings)
        assert made(settings) == -(-widest_plan(Policy.from_mapping(POLICY)) // 256)
    finally:
        data.close()


def test_a_source_that_is_away_or_a_broken_policy_does_not_keep_a_node_from_starting(
    settings: HolderSettings,
) -> None:
    (settings.home / "rows.parquet").unlink()
    (settings.home / "policy.yaml").write_text("version: 9", encoding="utf-8")
    data = DataRoom(settings)
    with pytest.raises(SourceUnreadable):
        data.probe()
    prepare(data, GeneratorCache(settings.cache), settings)
    assert made(settings) == 0


def test_a_node_without_assets_prepares_nothing(settings: HolderSettings) -> None:
    without = replace(settings, assets=())
    prepare(DataRoom(without), GeneratorCache(settings.cache), without)
    assert made(settings) == 0


@pytest.mark.parametrize("values", [1, 4, 60])
def test_the_widest_plan_is_bounded(values: int) -> None:
    columns: dict[str, Any] = {
        f"d{k}": {"type": "integer", "role": "dimension", "domain": list(range(values))} for k in range(2)
    }
    columns["x"] = {"type": "number", "role": "measure", "low": 0, "high": 1, "scale_bits": 2}
    policy = Policy.from_mapping({**POLICY, "columns": {**POLICY["columns"], **columns}})
    smaller = widest_plan(Policy.from_mapping(POLICY))
    assert smaller <= widest_plan(policy) <= GENERATORS_MAX
