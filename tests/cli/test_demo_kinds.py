"""The demo's kinds: what each brings, and that the frame takes any of them."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.demo import customers
from cli.demo.join import JoinDemo, joined
from cli.demo.kinds import DemoOptions, make_demo, usual_rows
from cli.demo.plaintext import plaintext_rows
from cli.demo.score import ScoreDemo
from cli.errors import CliError
from cli.home import Home
from client.models import Model
from privacy.join import Rule, normalise_key
from privacy.policy import Policy
from privacy.sql import parse_query
from privacy.terms import PlanKind

OPTIONS = DemoOptions(query=None, rows=300)


@pytest.mark.parametrize(("kind", "holders"), [(PlanKind.SUM, 3), (PlanKind.SCORE, 1), (PlanKind.JOIN, 2)])
def test_a_kind_brings_tables_and_a_question_that_its_policy_allows(
    tmp_path: Path, kind: PlanKind, holders: int
) -> None:
    demo = make_demo(kind, OPTIONS)
    tables = demo.tables(Home(tmp_path))
    policy = Policy.from_yaml(tables.policy.read_text(encoding="utf8"))
    assert (policy.terms.kind if policy.terms else PlanKind.SUM) is kind
    assert [pq.read_metadata(file).num_rows for file in tables.files] == [300] * holders
    assert parse_query(demo.sql, policy).listing == policy.listing


def test_another_question_takes_the_place_of_the_kinds_own() -> None:
    asked = DemoOptions(query="SELECT 1", rows=1)
    kinds = (PlanKind.SUM, PlanKind.SCORE, PlanKind.JOIN)
    assert {make_demo(kind, asked).sql for kind in kinds} == {"SELECT 1"}


def test_a_file_needs_a_question_and_the_kind_that_can_split_it() -> None:
    data = Path("rows.csv")
    with pytest.raises(CliError, match="--query"):
        make_demo(PlanKind.SUM, DemoOptions(query=None, rows=1, data=data, policy=data))
    with pytest.raises(CliError, match="--kind sum"):
        make_demo(PlanKind.SCORE, DemoOptions(query="SELECT 1", rows=1, data=data, policy=data))


def test_the_plain_score_is_the_sum_over_rows_where_no_feature_is_null(tmp_path: Path) -> None:
    import pyarrow as pa

    file = tmp_path / "rows.parquet"
    rows = {
        "town": ["虎门", "虎门", "长安"],
        "kwh": [10.0, None, float("nan")],
        "staff": [1, 2, 3],
    }
    pq.write_table(pa.table(rows), file)
    policy = Policy.from_mapping(
        {
            "version": 1,
            "listing": "shops",
            "privacy_unit": {"column": None, "rows_per_unit": 1, "proved": True, "disjoint": True},
            "rows_max": 10,
            "columns": {
                "town": {"type": "text", "domain": ["虎门", "长安"]},
                "kwh": {"type": "number", "low": 0, "high": 100, "scale_bits": 4},
                "staff": {"type": "integer", "low": 0, "high": 10, "nullable": False},
            },
            "aggregates": ["count", "score"],
            "purposes": ["research"],
            "rho": {"per_request": "1", "total": "10"},
            "price": {"fee_minor": 0, "rate_minor_per_rho": 0},
            "score": {},
        }
    )
    sql = "SELECT town, COUNT(*) AS n, SCORE(kwh, staff) AS s FROM shops GROUP BY town"
    like = [["other", 0, 0.0], ["虎门", 0, 0.0], ["长安", 0, 0.0]]
    weights = (0.5, {"kwh": 2.0, "staff": -3.0})
    found = plaintext_rows(parse_query(sql, policy), policy, sql, [file], like=like, score=weights)
    assert found == [["other", 0, 0], ["虎门", 2, 17.5], ["长安", 1, 0]]


def test_the_plain_join_counts_the_pairs_of_one_code_however_it_is_written(tmp_path: Path) -> None:
    demo = JoinDemo(DemoOptions(query=None, rows=500))
    made = demo.tables(Home(tmp_path))
    policy = Policy.from_yaml(made.policy.read_text(encoding="utf8"))
    query = parse_query(demo.sql, policy)
    like = [[name, 0, 0.0, None] for name in ("other", "制造业", "服务业", "零售业", "餐饮业")]
    source = joined(demo.sql, dict(zip(made.names, made.files, strict=True)))
    found = plaintext_rows(query, policy, demo.sql, [], like=like, source=source)
    bank, power = (pq.read_table(file).to_pylist() for file in made.files)
    key = customers.KEY
    by_key = {normalise_key(Rule.USCC, row[key]): row for row in bank if normalise_key(Rule.USCC, row[key])}
    counts = dict.fromkeys((row[0] for row in like), 0)
    written = set()
    for row in power:
        customer = by_key.get(normalise_key(Rule.USCC, row[key]) or b"")
        if customer and customer["信用等级"] in ("甲", "乙") and row["镇"] in ("东镇", "南镇"):
            counts[row["行业"] if row["行业"] in counts else "other"] += 1
            written |= {customer[key] == row[key]}
    assert [row[1] for row in found] == list(counts.values())
    assert sum(counts.values()) > 50 and written == {True, False}


def test_the_join_demo_has_no_more_rows_than_its_policy(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="20480"):
        JoinDemo(DemoOptions(query=None, rows=20_481)).tables(Home(tmp_path))
    assert usual_rows(PlanKind.JOIN) <= 20_480


def test_the_examples_model_fits_the_examples_policy() -> None:
    policy = Policy.from_yaml(ScoreDemo.example("policy.yaml").read_text(encoding="utf8"))
    model = Model.from_file(ScoreDemo.example("model.yaml"))
    assert policy.terms is not None
    assert set(policy.terms.to_json()["features"]) == set(model.weights)


def test_the_deposit_demo_gives_five_trustees_copies_of_one_deposit_and_shares_of_its_key(
    tmp_path: Path,
) -> None:
    from holder.ceremony_folder import judge
    from privacy.deposit import Deposit

    home = Home(tmp_path)
    home.passphrases.mkdir()
    demo = make_demo(PlanKind.DEPOSIT, OPTIONS)
    tables = demo.tables(home)
    policy = Policy.from_yaml(tables.policy.read_text(encoding="utf8"))
    assert policy.terms is not None and policy.terms.kind is PlanKind.DEPOSIT
    assert parse_query(demo.sql, policy).listing == policy.listing
    deposits = [Deposit.open(folder) for folder in tables.files]
    assert (len(deposits), len({deposit.root for deposit in deposits})) == (5, 1)
    key = judge(tmp_path / "ceremony").key
    assert (key.threshold, key.trustees, key.id) == (3, 5, deposits[0].header.key_id)
    shares = [list((home.holder(number) / "trustee").iterdir()) for number in range(1, 6)]
    assert [[path.suffix for path in found] for found in shares] == [[".share"]] * 5
    assert demo.tables(home) == tables  # as after a crash
    with pytest.raises(CliError, match="--kind sum"):
        make_demo(PlanKind.DEPOSIT, DemoOptions(query="SELECT 1", rows=1, data=Path("x"), policy=Path("y")))
