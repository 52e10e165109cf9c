"""The same rows give the same numbers on every engine, and those that plain Python computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from holder.duckdb_engine import open_files, open_frame
from holder.engine import Engine, SourceType
from holder.errors import EngineDisagrees, EngineFailed, RowsExceedCeiling, SchemaMismatch, SourceUnreadable
from holder.probe import require_same_numbers
from holder.settings import EngineSettings, FileSource, SqlSource
from holder.snapshot import take_snapshot
from holder.sqlalchemy_engine import open_table
from holder.sums import compute_cells
from privacy.answer import decode_answer
from privacy.planning import plan_parameters
from privacy.policy import Policy
from tests.holder.tables import (
    NAN,
    POLICY,
    Row,
    columns_of,
    expected_cells,
    make_plan,
    make_rows,
    policy,
    proved,
    write_csv,
)
from tests.privacy.noise_world import fresh_noise

Opener = Callable[[list[Row]], Engine]
TYPES = {"id": sa.BigInteger, "month": sa.Text, "person": sa.Text, "城镇": sa.Text, "grade": sa.BigInteger}
TYPES |= {"kwh": sa.Double, "age": sa.Integer}


@pytest.fixture
def limits(tmp_path: Path) -> EngineSettings:
    return EngineSettings(tmp_path / "spill", memory_mb=256, threads=2)


@pytest.fixture
def parquet(tmp_path: Path, limits: EngineSettings) -> Opener:
    def open_rows(rows: list[Row]) -> Engine:
        path = tmp_path / "表.parquet"
        pq.write_table(pa.table(dict(columns_of(rows))), path)
        return open_files(FileSource("parquet", path), limits)

    return open_rows


@pytest.fixture
def comma_file(tmp_path: Path, limits: EngineSettings) -> Opener:
    def open_rows(rows: list[Row]) -> Engine:
        path = tmp_path / "rows.csv"
        write_csv(path, rows)
        return open_files(FileSource("csv", path), limits)

    return open_rows


@pytest.fixture
def frame(limits: EngineSettings) -> Opener:
    def open_rows(rows: list[Row]) -> Engine:
        import pandas as pd

        columns = {name: pd.array(values, dtype=object) for name, values in columns_of(rows).items()}
        given = pd.DataFrame(columns)
        given["kwh"] = given["kwh"].astype("float64")
        given["grade"] = given["grade"].astype("Int64")
        for name in ("id", "age"):
            given[name] = given[name].astype("int64")
        for name in ("month", "person", "城镇"):
            given[name] = given[name].astype("str").where(given[name].notna())
        return open_frame(given, limits)

    return open_rows


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Opener]:
    engine = sa.create_engine(postgres_url)
    opened: list[Engine] = []

    def open_rows(rows: list[Row]) -> Engine:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS electricity"))
            table = sa.Table("electricity", sa.MetaData(), *[sa.Column(n, t) for n, t in TYPES.items()])
            table.create(connection)
            connection.execute(table.insert(), rows)
        opened.append(open_table(SqlSource(url=postgres_url, table="electricity")))
        return opened[-1]

    yield open_rows
    for each in opened:
        each.close()
    engine.dispose()


QUERIES: list[tuple[str, Callable[[Row], bool]]] = [
    ("SELECT COUNT(*) FROM 用电", lambda r: True),
    ("SELECT 城镇, COUNT(*), SUM(kwh), AVG(age) FROM 用电 GROUP BY 城镇", lambda r: True),
    (
        "SELECT grade, 城镇, VAR_POP(kwh), COUNT(DISTINCT person) FROM 用电 GROUP BY grade, 城镇",
        lambda r: True,
    ),
    ("SELECT HISTOGRAM(kwh, 7), HISTOGRAM(age, 10) FROM 用电", lambda r: True),
    (
        "SELECT 城镇, HISTOGRAM(age, 3), STDDEV_SAMP(age) FROM 用电 WHERE kwh > 0.2 GROUP BY 城镇",
        lambda r: r["kwh"] is not None and r["kwh"] > 0.2,
    ),
    (
        "SELECT COUNT(*) FROM 用电 WHERE NOT (kwh > 0.2) AND (城镇 <> '南山' OR grade = 9007199254740993)",
        lambda r: (
            r["kwh"] is not None
            and r["kwh"] <= 0.2
            and (r["城镇"] not in (None, "?", "南山") or r["grade"] == 9007199254740993)
        ),
    ),
    (
        """SELECT grade, AVG(kwh) FROM 用电 WHERE 城镇 IN ('a:b %s', 'O''Hara "x"') AND age BETWEEN -1 AND 90
           GROUP BY grade""",
        lambda r: r["城镇"] in ("a:b %s", 'O\'Hara "x"') and -1 <= r["age"] <= 90,
    ),
    (
        "SELECT COUNT(*), SUM(age) FROM 用电 WHERE 城镇 IS NULL AND kwh IS NOT NULL",
        lambda r: r["城镇"] in (None, "?") and r["kwh"] is not None and r["kwh"] == r["kwh"],
    ),
    ("SELECT COVAR(kwh, age), CORR(grade, kwh), LINREG(kwh, grade, age) AS fit FROM 用电", lambda r: True),
    (
        "SELECT grade, QUANTILE(kwh, 0.9), LINREG(kwh, age) AS fit, VAR(age) FROM 用电 WHERE age > 20 GROUP BY grade",
        lambda r: r["age"] > 20,
    ),
    ("SELECT CHI2(城镇, grade) AS t, COUNT(*) FROM 用电", lambda r: True),
    ("SELECT 城镇, CHI2(month, grade) AS t, SUM(kwh) FROM 用电 GROUP BY 城镇", lambda r: True),
    (
        "SELECT COUNT(*) FROM 用电 WHERE grade <= 9007199254740992",
        lambda r: (r["grade"] or 1e99) <= 9007199254740992,
    ),
]


def run(engine: Engine, sql: str, given: Policy, *, trim: bool = False) -> list[int]:
    try:
        return [int(cell) for cell in compute_cells(engine, make_plan(sql, given), given, trim=trim)]
    finally:
        engine.close()


@pytest.mark.parametrize("unit", [proved(), None], ids=["proved", "capped"])
@pytest.mark.parametrize("query", range(len(QUERIES)))
@pytest.mark.parametrize("engine", ["parquet", "comma_file", "frame", "postgres"])
def test_cells_are_those_of_plain_python(
    engine: str, query: int, unit: dict[str, Any] | None, request: pytest.FixtureRequest
) -> None:
    opener: Opener = request.getfixturevalue(engine)
    sql, keep = QUERIES[query]
    given = policy(**({} if unit is None else {"privacy_unit": unit}))
    rows = make_rows(400)
    assert run(opener(rows), sql, given) == expected_cells(rows, make_plan(sql, given), given, keep)


STEPS = [
    "SELECT LOGREG_STEP(城镇, kwh, grade, 0.3, -1.25, 7.5) AS l FROM 用电 WHERE kwh < 900",
    "SELECT grade, LOGREG_STEP(age, kwh, 0.123456789, -1000) AS l, COUNT(*) FROM 用电 WHERE kwh < 900 GROUP BY grade",
    "SELECT LOGREG_STEP(grade, kwh, age, 0, 0, 0) AS l, LOGREG_STEP(grade, age, 1, 20) AS m FROM 用电 WHERE kwh < 900",
]


def steps_policy(unit: dict[str, Any] | None) -> Policy:
    """Targets of every type: a text, an integer with a domain, and a measure of 0 and 1."""
    changed = {
        "城镇": {"type": "text", "domain": ['O\'Hara "x"', "福田"], "filter": True},
        "grade": {**POLICY["columns"]["grade"], "domain": [9007199254740993, 1]},
        "age": {"type": "integer", "low": 0, "high": 1, "nullable": False},
    }
    changes: dict[str, Any] = {} if unit is None else {"privacy_unit": unit}
    return policy(columns={**POLICY["columns"], **changed}, aggregates=["count", "logreg"], **changes)


@pytest.mark.parametrize("unit", [proved(), None], ids=["proved", "capped"])
@pytest.mark.parametrize("sql", STEPS)
@pytest.mark.parametrize("engine", ["parquet", "comma_file", "frame", "postgres"])
def test_a_step_of_a_regression_is_that_of_plain_python_to_the_bit(
    engine: str, sql: str, unit: dict[str, Any] | None, request: pytest.FixtureRequest
) -> None:
    opener: Opener = request.getfixturevalue(engine)
    given, rows = steps_policy(unit), make_rows(400)
    expected = expected_cells(
        rows, make_plan(sql, given), given, lambda r: r["kwh"] is not None and r["kwh"] < 900
    )
    assert any(expected)
    assert run(opener(rows), sql, given) == expected


def test_the_cap_keeps_other_rows_under_another_plan(parquet: Opener) -> None:
    given, rows = policy(), make_rows(300, persons=3)
    plans = [make_plan(sql, given) for sql in ("SELECT SUM(kwh) FROM 用电", "SELECT SUM(kwh) AS s FROM 用电")]
    first, second = ([int(cell) for cell in compute_cells(parquet(rows), plan, given)] for plan in plans)
    assert first[0] >> plans[0].lanes[0].grid_bits <= 9  # three units with three rows each, less the NULLs
    assert first != second


@pytest.mark.parametrize("engine", ["parquet", "comma_file", "frame", "postgres"])
def test_every_engine_passes_the_probe(engine: str, request: pytest.FixtureRequest) -> None:
    opened = request.getfixturevalue(engine)(make_rows(3))
    require_same_numbers(opened)
    opened.close()


def test_an_engine_with_other_rounding_is_named(parquet: Opener) -> None:
    class Rounding:
        dialect = "duckdb"

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def fetch(self, query: Any) -> list[tuple[Any, ...]]:
            return self.inner.fetch(query.transform(lambda node: node))[:0] or [
                tuple(None if v is None else v + 1 for v in self.inner.fetch(query)[0])
            ]

    with pytest.raises(EngineDisagrees, match=r"fixed point of 2\.5"):
        require_same_numbers(Rounding(parquet(make_rows(3))))  # type: ignore[arg-type]


def test_spaces_around_csv_values_and_names_do_not_matter(tmp_path: Path, limits: EngineSettings) -> None:
    path = tmp_path / "adult.csv"
    path.write_text(
        "id, month, person, 城镇, grade, kwh, age\n1, a, p, 南山, 1, 2.5, 30\n2, b, q, ?, ?, n/a, 31\n"
    )
    engine = open_files(FileSource("csv", path, trim=True), limits)
    given = policy(privacy_unit=proved())
    sql = "SELECT 城镇, AVG(kwh) FROM 用电 GROUP BY 城镇"
    cells, grid_bits = run(engine, sql, given, trim=True), make_plan(sql, given).lanes[0].grid_bits
    assert [cell >> grid_bits for cell in cells[:5]] == [1, 0, 0, 0, 0]  # COUNT(kwh) by town


def test_a_headerless_csv_takes_its_names_from_the_settings(tmp_path: Path, limits: EngineSettings) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("1;a;p;南山;1;2.5;30\n")
    names = ("id", "month", "person", "城镇", "grade", "kwh", "age")
    source = FileSource("csv", path, header=False, delimiter=";", columns=names)
    engine = open_files(source, limits)
    assert tuple(engine.schema()) == names
    assert set(engine.schema().values()) == {SourceType.TEXT}


def test_more_rows_than_the_ceiling_is_a_named_error(parquet: Opener) -> None:
    given = policy(privacy_unit=proved(), rows_max=1000)
    plan = make_plan("SELECT COUNT(*) FROM 用电", given)
    with pytest.raises(RowsExceedCeiling, match="at most 1000 rows, found 1001"):
        compute_cells(parquet(make_rows(1001, persons=400)), plan, given)


def test_a_missing_column_and_a_wrong_type_are_all_named(parquet: Opener) -> None:
    rows = [{"id": 1.5, "month": 2.5, "person": "p", "城镇": "x", "kwh": 1.0, "age": 3}]
    given = policy(privacy_unit=proved())
    with pytest.raises(SchemaMismatch) as caught:
        run(parquet(rows), "SELECT COUNT(*) FROM 用电", given)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["month", "grade"]


def test_a_file_that_is_not_there_is_a_named_error(tmp_path: Path, limits: EngineSettings) -> None:
    with pytest.raises(SourceUnreadable):
        open_files(FileSource("csv", tmp_path / "none.csv"), limits)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(SourceUnreadable):
        open_files(FileSource("parquet", tmp_path / "bad.parquet"), limits)


def test_engine_errors_never_quote_a_record(comma_file: Opener) -> None:
    rows = make_rows(5)
    rows[3]["kwh"] = "GEHEIM"
    with pytest.raises(EngineFailed) as caught:
        run(comma_file(rows), "SELECT SUM(kwh) FROM 用电", policy(privacy_unit=proved()))
    assert "GEHEIM" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_database_that_is_away_is_a_named_error_without_its_password() -> None:
    url = "postgresql+psycopg://user:hunter2@127.0.0.1:1/none"
    with pytest.raises(SourceUnreadable) as caught:
        open_table(SqlSource(url=url, table="t"))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(SqlSource(url=url, table="t"))


def test_a_missing_table_is_a_named_error(postgres_url: str) -> None:
    with pytest.raises(SourceUnreadable, match="no_such_table"):
        open_table(SqlSource(url=postgres_url, table="no_such_table"))


def test_a_changed_row_changes_the_fingerprint_of_a_table(postgres: Opener, postgres_url: str) -> None:
    rows = make_rows(50)
    before = postgres(rows).fingerprint()
    with sa.create_engine(postgres_url).begin() as connection:
        connection.execute(sa.text("UPDATE electricity SET kwh = 0.3 WHERE id = 17"))
    after = open_table(SqlSource(url=postgres_url, table="electricity"))
    try:
        assert before["rows"] == after.fingerprint()["rows"]
        assert before != after.fingerprint()
    finally:
        after.close()


def test_wide_decimals_become_the_nearest_double(tmp_path: Path, limits: EngineSettings) -> None:
    from decimal import Decimal

    rows = make_rows(3)
    table = columns_of(rows)
    wide = [Decimal("12345678901234567.891"), Decimal("0.1"), Decimal("900719925474099.123")]
    arrays = {**table, "kwh": pa.array(wide, type=pa.decimal128(30, 3))}
    pq.write_table(pa.table(arrays), tmp_path / "wide.parquet")
    engine = open_files(FileSource("parquet", tmp_path / "wide.parquet"), limits)
    from holder.engine import Reading

    reading = Reading(policy(), engine.schema(), dialect="duckdb")
    from sqlglot import exp

    got = engine.fetch(exp.select(reading.value("kwh")).from_(engine.relation))
    assert [row[0] for row in got] == [float(value) for value in wide]
    assert NAN != NAN
    engine.close()


def test_a_table_and_a_file_of_the_same_rows_have_one_root(parquet: Opener, postgres: Opener) -> None:
    rows = [row | {"age": abs(row["age"])} for row in make_rows(200)]
    given, roots = policy(), []
    for opener in (parquet, postgres):
        engine = opener(rows)
        roots.append(take_snapshot(engine, given, salt_key=bytes(32)).root)
        engine.close()
    assert roots[0] == roots[1]


@pytest.mark.parametrize("engine", ["parquet", "postgres"])
def test_what_a_policy_forbids_is_found_on_every_engine(engine: str, request: pytest.FixtureRequest) -> None:
    rows = [row | {"age": abs(row["age"])} for row in make_rows(50)]
    rows[3] |= {"age": None}
    rows[4] |= {"person": None}
    rows.append(dict(rows[9]))
    opened = request.getfixturevalue(engine)(rows)
    with pytest.raises(SchemaMismatch) as caught:
        take_snapshot(opened, policy(), salt_key=bytes(32))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["age", "person", "row_key"]
    opened.close()


def test_a_nan_outside_a_files_statistics_is_no_value(parquet: Opener) -> None:
    rows = [row | {"kwh": value} for row, value in zip(make_rows(3), [2.5, NAN, 3.5], strict=True)]
    given, sql = policy(privacy_unit=proved()), "SELECT SUM(kwh) FROM 用电"
    plan = make_plan(sql, given)
    assert run(parquet(rows), sql, given) == expected_cells(rows, plan, given, lambda r: True)


def test_statistics_of_three_holders_are_those_of_all_their_rows(
    tmp_path: Path, limits: EngineSettings
) -> None:
    """SQL, plan, each holder's cells and noise, their sum and its table: each value is within twice its 95 % error."""
    import numpy as np
    import pandas as pd

    given = policy(privacy_unit=proved(1), rho={"per_request": "50", "total": "100"})
    sql = (
        "SELECT QUANTILE(age, 0.5) AS q, COVAR(age, kwh) AS c, CORR(kwh, age) AS r, LINREG(kwh, age) AS l,"
        " CHI2(城镇, grade) AS t FROM 用电"
    )
    plan = make_plan(sql, given, rho_micro=50_000_000)
    rows = [{**row, "kwh": 4.0 * row["age"] + number % 97} for number, row in enumerate(make_rows(9000))]
    total = np.zeros(plan.cells, dtype=np.int64)
    for holder in range(3):
        path = tmp_path / f"{holder}.parquet"
        pq.write_table(pa.table(dict(columns_of(rows[holder::3]))), path)
        engine = open_files(FileSource("parquet", path), limits)
        total += compute_cells(engine, plan, given) + fresh_noise(plan, plan_parameters(plan))
        engine.close()
    table = decode_answer(plan, plan_parameters(plan), 3, [int(cell) for cell in total])
    frame = pd.DataFrame({"age": [min(max(row["age"], 0), 120) for row in rows]})
    frame["kwh"] = [min(max(row["kwh"], -2.75), 1000.5) for row in rows]
    slope = frame.age.cov(frame.kwh) / frame.age.var()
    truths = [frame.age.median(), frame.age.cov(frame.kwh), frame.age.corr(frame.kwh)]
    truths += [frame.kwh.mean() - slope * frame.age.mean(), slope]
    for name, value, error, truth in zip(
        table.columns, table.rows[0], table.error95[0], truths, strict=False
    ):
        assert abs(float(value or 0) - truth) <= 2 * float(error or 0), name
    assert dict(zip(table.columns, table.rows[0], strict=True))["t[df]"] == 6
