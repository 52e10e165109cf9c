"""Each side's part of a join is the same on every engine, and what plain Python computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from holder.duckdb_engine import open_files
from holder.engine import Engine
from holder.errors import KeysExceedList, RowsExceedCeiling, SchemaMismatch
from holder.join_data import SideRows, read_side, require_keys
from holder.settings import EngineSettings, FileSource, SqlSource
from holder.snapshot import take_snapshot
from holder.sqlalchemy_engine import open_table
from privacy.join import Rule
from privacy.join.kind import JoinPlan, PlanSide
from privacy.plan import Plan
from privacy.policy import Policy
from privacy.sides import asset_policy
from tests.holder.join_tables import Row, amount, bank_rows, example, group_of, kept, power_rows
from tests.holder.tables import columns_of
from tests.privacy.join_plan_world import BANK, JOIN, POWER, join_plan, terms_of

Opener = Callable[[list[Row]], Engine]


@pytest.fixture
def parquet(tmp_path: Path) -> Iterator[Opener]:
    opened: list[Engine] = []

    def open_rows(rows: list[Row]) -> Engine:
        path = tmp_path / f"{len(opened)}.parquet"
        pq.write_table(pa.table(dict(columns_of(rows))), path)
        limits = EngineSettings(tmp_path / "spill", memory_mb=256, threads=2)
        opened.append(open_files(FileSource("parquet", path), limits))
        return opened[-1]

    yield open_rows
    for each in opened:
        each.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Opener]:
    engine = sa.create_engine(postgres_url)
    opened: list[Engine] = []

    def open_rows(rows: list[Row]) -> Engine:
        name = f"joined{len(opened)}"
        columns = [
            sa.Column(column, sa.Double if isinstance(_first(rows, column), float) else sa.Text)
            for column in rows[0]
        ]
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
            table = sa.Table(name, sa.MetaData(), *columns)
            table.create(connection)
            connection.execute(table.insert(), rows)
        opened.append(open_table(SqlSource(url=postgres_url, table=name)))
        return opened[-1]

    yield open_rows
    for each in opened:
        each.close()
    engine.dispose()


def _first(rows: list[Row], column: str) -> object:
    return next(row[column] for row in rows if row[column] is not None)


@pytest.fixture(params=["parquet", pytest.param("postgres", marks=pytest.mark.postgres)])
def opener(request: pytest.FixtureRequest) -> Opener:
    found: Opener = request.getfixturevalue(request.param)
    return found


def read(engine: Engine, plan: Plan, policy: Policy, name: str, **options: int) -> SideRows:
    return read_side(engine, plan, policy, side_of(terms_of(plan), name), **options)


def side_of(terms: JoinPlan, name: str) -> PlanSide:
    return terms.value if terms.value.name == name else terms.matcher


SQL = f"""SELECT p.镇, b.信用等级, p.行业, COUNT(*), AVG(p.用电量), VAR_POP(p.用电量) {JOIN}
    WHERE b.信用等级 <> '丙' AND p.用电量 < 4500 GROUP BY p.镇, b.信用等级, p.行业"""


def test_the_matchers_lists_are_what_plain_python_computes(opener: Opener) -> None:
    policy, rows = example(), bank_rows(300)
    plan = join_plan(SQL, policy)
    found = read(opener(rows), plan, policy, BANK)
    wanted: list[Counter[bytes]] = [Counter() for _ in range(4)]
    chosen = [row for row in rows if row["信用等级"] not in ("丙", None)]
    for key, row in kept(chosen, plan, policy, Rule.TEXT, BANK, 2):
        wanted[group_of(plan, ["信用等级"], row, policy)][key] += 1
    assert found.values is None and found.sublists is not None
    assert [Counter(each) for each in found.sublists] == wanted
    assert all(list(each) == sorted(each) for each in found.sublists)


def test_the_value_sides_numbers_are_what_plain_python_computes(opener: Opener) -> None:
    policy, rows = example(), power_rows(400)
    plan = join_plan(SQL, policy)
    found = read(opener(rows), plan, policy, POWER)
    assert found.sublists is None and found.values is not None
    wanted: dict[bytes, Counter[int]] = {}
    chosen = [row for row in rows if row["用电量"] < 4500]
    for key, row in kept(chosen, plan, policy, Rule.TEXT, POWER, 3):
        group = group_of(plan, ["镇", "行业"], row, policy)
        sums = wanted.setdefault(key, Counter())
        for number, lane in enumerate(plan.lanes):
            sums[number * 25 + group] += amount(lane, row)
    assert found.values.keys == tuple(sorted(wanted))
    found.values.require(terms_of(plan).terms(plan, bytes(32)))
    for number, key in enumerate(found.values.keys):
        dense = found.values.dense(number, 25 * len(plan.lanes))
        assert dense == [wanted[key][place] for place in range(len(dense))]


def test_nullable_measures_of_the_other_side_count_only_where_known(opener: Opener) -> None:
    policy, rows = example(), bank_rows(200)
    plan = join_plan(f"SELECT AVG(b.贷款余额) {JOIN} WHERE p.镇 = '东镇'", policy)
    found = read(opener(rows), plan, policy, BANK).values
    assert found is not None
    wanted: dict[bytes, list[int]] = {}
    for key, row in kept(rows, plan, policy, Rule.TEXT, BANK, 2):
        sums = wanted.setdefault(key, [0, 0])
        for number, lane in enumerate(plan.lanes):
            sums[number] += amount(lane, row)
    assert {key: found.dense(place, 2) for place, key in enumerate(found.keys)} == wanted


def test_dropping_surplus_rows_as_they_come_changes_nothing(parquet: Opener) -> None:
    policy, rows = example(), power_rows(400)
    plan = join_plan(SQL, policy)
    at_once = read(parquet(rows), plan, policy, POWER).values
    bit_by_bit = read(parquet(list(reversed(rows))), plan, policy, POWER, waiting_rows=17).values
    assert at_once is not None and bit_by_bit is not None
    assert at_once.keys == bit_by_bit.keys
    for name in ("starts", "places", "numbers"):
        assert getattr(at_once, name).tolist() == getattr(bit_by_bit, name).tolist()


def test_identifiers_that_cannot_be_ones_match_nothing_and_are_counted(parquet: Opener) -> None:
    policy, rows = example(rule="uscc"), bank_rows(40)
    for row, text in zip(
        rows, ["91350100M000100Y43", " 91350100m000100y43", "91350100M000100Y44", None], strict=False
    ):
        row["统一社会信用代码"] = text
    plan = join_plan(f"SELECT COUNT(*) {JOIN} WHERE p.镇 = '东镇'", policy)
    terms = terms_of(plan)
    found = read(parquet(rows[:4]), plan, policy, BANK)
    assert terms.matcher.name in (BANK, POWER)
    keys = found.sublists[0] if found.sublists is not None else found.values.keys if found.values else ()
    assert len(set(keys)) == 1 and (found.malformed, found.missing) == (1, 1)


def test_an_empty_table_brings_nothing(parquet: Opener) -> None:
    policy, rows = example(), power_rows(3)
    plan = join_plan(f"SELECT SUM(p.用电量) {JOIN} WHERE p.用电量 > 3999.9 AND p.用电量 < 0", policy)
    found = read(parquet(rows), plan, policy, POWER).values
    assert found is not None and found.keys == () and len(found.numbers) == 0 and found.starts.tolist() == [0]
    plan = join_plan(f"SELECT SUM(b.贷款余额) {JOIN} WHERE p.用电量 > 3999.9 AND p.用电量 < 0", policy)
    assert read(parquet(rows), plan, policy, POWER).sublists == ((),)


def test_more_keys_than_the_list_are_refused(parquet: Opener) -> None:
    policy, rows = example(), bank_rows(100)
    for number, row in enumerate(rows):
        row["统一社会信用代码"] = f"N{number}"
    plan = join_plan(f"SELECT SUM(p.用电量) {JOIN}", policy)
    with pytest.raises(KeysExceedList):
        read(parquet(rows), plan, policy, BANK)
    with pytest.raises(SchemaMismatch):
        require_keys(parquet(rows), policy, BANK)
    require_keys(parquet(rows[:64]), policy, BANK)
    with pytest.raises(RowsExceedCeiling):
        read(parquet([{**row, "统一社会信用代码": "一"} for row in bank_rows(4001)]), plan, policy, BANK)


def test_a_snapshot_is_of_the_sides_own_columns_and_rows_may_lack_a_key(parquet: Opener) -> None:
    policy = example()
    taken = take_snapshot(parquet(bank_rows(50)), asset_policy(policy, BANK), salt_key=b"\x01" * 32)
    assert taken.rows == 50
    repeated = [*bank_rows(50), {**bank_rows(1)[0]}]
    for row in (repeated[0], repeated[-1]):
        row["统一社会信用代码"] = "K1"
    with pytest.raises(SchemaMismatch):
        take_snapshot(parquet(repeated), asset_policy(policy, BANK), salt_key=b"\x01" * 32)
    for row in (repeated[0], repeated[-1]):
        row["统一社会信用代码"] = None
    assert take_snapshot(parquet(repeated), asset_policy(policy, BANK), salt_key=b"\x01" * 32).rows == 51
