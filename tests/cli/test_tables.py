from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.demo import electricity, tables
from cli.demo.plaintext import plaintext_rows
from cli.errors import CliError
from cli.home import Home
from privacy.policy import Policy
from privacy.sql import parse_query

POLICY = """
version: 1
listing: shops
title: Shops
privacy_unit: {column: null, rows_per_unit: 1, proved: true, disjoint: true}
rows_max: 1000
columns:
  town: {type: text, domain: [虎门, 长安], filter: true}
  net_pay: {type: number, low: 0, high: 100, scale_bits: 4, filter: true}
  staff: {type: integer, low: 0, high: 10, scale_bits: 0}
null_values: ["?"]
aggregates: [count, sum, avg, var, histogram]
purposes: [research]
buyers: "*"
rho: {per_request: "1", total: "10"}
price: {fee_minor: 0, rate_minor_per_rho: 0}
min_holders: 1
approval: automatic
"""
CSV = "town, net-pay, staff\n虎门, 10.5, 3\n长安, ?, 4\n 石龙 , 30, 5\n虎门, 20, ?\n\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    return split(tmp_path, CSV)


def split(folder: Path, text: str) -> tuple[Path, ...]:
    (folder / "policy.yaml").write_text(POLICY, encoding="utf8")
    (folder / "shops.csv").write_text(text, encoding="utf8")
    return tables.split(Home(folder / "home"), folder / "shops.csv", folder / "policy.yaml")


def test_split_gives_each_holder_its_rows_in_turn(files: tuple[Path, ...]) -> None:
    rows = [pq.read_table(file).to_pylist() for file in files]
    assert [len(part) for part in rows] == [2, 1, 1]
    assert rows[0][0] == {"town": "虎门", "net_pay": 10.5, "staff": 3}
    assert rows[0][1] == {"town": "虎门", "net_pay": 20.0, "staff": None}
    assert rows[1][0]["net_pay"] is None
    assert rows[2][0]["town"] == "石龙"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column town, net_pay, staff"),
        ("town,net-pay\n虎门,1\n", "no column staff"),
        ("town,net-pay,staff\n虎门,1\n", "line 2: 2 values, expected 3"),
        ("town,net-pay,staff\n虎门,many,1\n", "line 2: column net_pay is not of type number"),
    ],
)
def test_split_names_what_is_wrong_with_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CliError, match=message):
        split(tmp_path, text)


def test_split_never_shows_a_value_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        split(tmp_path, "town,net-pay,staff\n虎门,SECRET,1\n")
    assert "SECRET" not in str(caught.value)


def test_plaintext_counts_every_group_of_the_domain(files: tuple[Path, ...]) -> None:
    policy = Policy.from_yaml(POLICY)
    sql = "SELECT town, COUNT(*) AS n, SUM(net_pay) AS pay, AVG(staff) AS s, HISTOGRAM(staff, 2) AS h FROM shops GROUP BY town"
    like = [["other", 0, 0.0, 0.0, 0, 0], ["虎门", 0, 0.0, 0.0, 0, 0], ["长安", 0, 0.0, 0.0, 0, 0]]
    rows = plaintext_rows(parse_query(sql, policy), policy, sql, files, like=like)
    assert rows == [["other", 1, 30.0, 5.0, 0, 1], ["虎门", 2, 30.5, 3.0, 1, 0], ["长安", 1, 0, 4.0, 1, 0]]


def test_plaintext_applies_the_buyers_filter(files: tuple[Path, ...]) -> None:
    policy = Policy.from_yaml(POLICY)
    sql = "SELECT COUNT(*) AS n FROM shops WHERE net_pay BETWEEN 10 AND 20 AND NOT town = '长安'"
    assert plaintext_rows(parse_query(sql, policy), policy, sql, files, like=[[0]]) == [[2]]


def test_generated_tables_are_the_same_every_time_and_differ_between_holders() -> None:
    def make(holder: int) -> list[dict[str, object]]:
        return electricity.table(holder, 500, towns=["虎门", "长安"], industries=["电子"]).to_pylist()

    assert make(1) == make(1)
    assert make(1) != make(2)
    assert {row["town"] for row in make(1)} == {"虎门", "长安", "市外"}
    assert not {row["enterprise_id"] for row in make(1)} & {row["enterprise_id"] for row in make(2)}
