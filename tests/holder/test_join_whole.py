"""Both sides' rows through the rounds of a join to the answer's cells: the sums of the joined table, to the integer."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holder.duckdb_engine import open_files
from holder.join_data import SideRows, read_side
from holder.settings import EngineSettings, FileSource
from privacy.join import (
    MatcherState,
    Rule,
    ValueState,
    add_to_shares,
    matcher_round1,
    matcher_round3,
    to_limbs,
    value_finish,
    value_round2,
)
from privacy.join.dummies import draw_dummies
from privacy.join.layout import value_places
from privacy.lanes import LaneKind
from privacy.layout import cell_index, group_index
from privacy.noise import NoiseSource
from tests.holder.join_tables import Row, amount, bank_rows, example, kept, power_rows
from tests.holder.tables import columns_of
from tests.privacy.join_plan_world import BANK, JOIN, POWER, join_plan, terms_of
from tests.privacy.paillier_world import owner

SESSION = hashlib.sha256(b"whole join").digest()


@pytest.mark.slow
def test_the_cells_of_both_sides_add_up_to_the_sums_of_the_joined_table(tmp_path: Path) -> None:
    policy = example()
    sql = f"SELECT b.信用等级, p.行业, COUNT(*), SUM(p.用电量) {JOIN} WHERE p.用电量 > 0 GROUP BY b.信用等级, p.行业"
    plan = join_plan(sql, policy)
    terms = terms_of(plan)
    tables = {BANK: bank_rows(120), POWER: power_rows(200)}
    sides: dict[str, SideRows] = {}
    for side in (terms.matcher, terms.value):
        path = tmp_path / f"{side.name}.parquet"
        pq.write_table(pa.table(dict(columns_of(tables[side.name]))), path)
        engine = open_files(FileSource("parquet", path), EngineSettings(tmp_path / "spill"))
        sides[side.name] = read_side(engine, plan, policy, side)
        engine.close()
    sizes = terms.terms(plan, SESSION)
    matcher = MatcherState(sizes, hashlib.sha256(b"matcher").digest())
    value = ValueState(sizes, hashlib.sha256(b"value").digest(), owner())
    sublists, rows = sides[terms.matcher.name].sublists, sides[terms.value.name].values
    assert sublists is not None and rows is not None

    first = list(matcher_round1(matcher, sublists))
    dummies = draw_dummies(plan, terms, NoiseSource(bytes([5]) * 32, SESSION, 0))
    second = list(value_round2(value, rows, dummies, first))
    matched = matcher_round3(matcher, second)
    opened = value_finish(value, matched.parts)

    places = value_places(plan, terms.value.group_by).reshape(-1)
    cells = [0] * plan.cells
    for share in (list(matched.share), opened):
        ordered = [0] * plan.values
        for place, number in zip(places.tolist(), share, strict=True):
            ordered[place] = number
        cells = [
            a + b for a, b in zip(cells, to_limbs(add_to_shares(ordered, [0] * plan.values)), strict=True)
        ]
    assert list(terms.values(plan, cells)) == joined_sums(tables)


def joined_sums(tables: dict[str, list[Row]]) -> list[int]:
    """The plan's values as plain Python computes them from both tables."""
    policy = example()
    sql = f"SELECT b.信用等级, p.行业, COUNT(*), SUM(p.用电量) {JOIN} WHERE p.用电量 > 0 GROUP BY b.信用等级, p.行业"
    plan = join_plan(sql, policy)
    bank = kept(tables[BANK], plan, policy, Rule.TEXT, BANK, 2)
    power = kept([row for row in tables[POWER] if row["用电量"] > 0], plan, policy, Rule.TEXT, POWER, 3)
    sums = [0] * plan.values
    pairs: Counter[str] = Counter()
    for key, customer in bank:
        for other, meter in power:
            if key != other:
                continue
            pairs["all"] += 1
            group = group_index(plan, [customer["信用等级"], meter["行业"]])
            for number, lane in enumerate(plan.lanes):
                sums[cell_index(plan, number, group)] += amount(lane, meter)
    assert pairs["all"] > 20 and plan.lanes[0].kind is LaneKind.COUNT
    return sums
