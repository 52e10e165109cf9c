"""The audit room of a join's two sides and of a deposit's trustees, with real markets: what is brought, and the verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cli.demo import customers
from cli.demo.deposit import DepositDemo
from cli.demo.join import BANK, POWER, JoinDemo
from cli.demo.kinds import DemoOptions
from cli.market import MarketPlan
from tests.e2e.test_audit_room import audit, collect
from tests.stack import WINDOWS, Stack, make_home

if TYPE_CHECKING:
    from cli.home import Home

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.xdist_group("e2e")]
JOIN_SQL = f"SELECT COUNT(*) AS n, SUM(p.用电量) AS s FROM {BANK} b JOIN {POWER} p ON b.{customers.KEY} = p.{customers.KEY}"
DEPOSIT_SQL = "SELECT COUNT(*) AS n, SUM(kwh) AS s FROM electricity_deposit WHERE town = '虎门'"


def join_market(home: Home) -> MarketPlan:
    """The example's two tables, with lists that are short enough for a test."""
    tables = JoinDemo(DemoOptions(query=None, rows=200)).tables(home)
    given: dict[str, Any] = yaml.safe_load(tables.policy.read_text(encoding="utf8"))
    for side in given["join"]["sides"].values():
        side["list_max"] = 400
    policy = home.path / "policy.yaml"
    policy.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf8")
    return MarketPlan(policy, tables.files, 0.5, windows={**WINDOWS, "share": 400}, names=tables.names)


def deposit_market(home: Home) -> MarketPlan:
    tables = DepositDemo(DemoOptions(query=None, rows=500)).tables(home)
    return MarketPlan(tables.policy, tables.files, 0.5, windows=dict(WINDOWS), names=tables.names)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("make", "sql", "numbers", "own"),
    [
        (join_market, JOIN_SQL, (1, 2), ["rounds"]),
        (deposit_market, DEPOSIT_SQL, (1, 4), ["noise", "decryption"]),
    ],
    ids=["join", "deposit"],
)
def test_the_regulator_makes_each_part_again_in_its_holders_room(
    tmp_path: Path, make: Any, sql: str, numbers: tuple[int, ...], own: list[str]
) -> None:
    for stack in market(tmp_path, make):
        policy = stack.market.policy
        quote = stack.buyer.quote(policy.listing, sql, purpose=policy.purposes[0])
        request_id = stack.buyer.submit(quote)
        stack.buyer.wait(request_id, timeout_s=300)
        for number in numbers:
            folder = tmp_path / str(number)
            collect(stack, request_id, folder, number)
            messages = folder / "messages.sealed"
            assert messages.stat().st_mode & 0o077 == 0
            done = audit(stack, folder, number=number)
            assert done.exit_code == 0, done.output
            verdict = json.loads(done.output)
            assert verdict["status"] == "PASSED"
            assert [step["name"] for step in verdict["steps"]][4:] == [*own, "contribution"]
        data = bytearray(messages.read_bytes())
        data[len(data) // 2] ^= 1
        messages.write_bytes(bytes(data))
        done = audit(stack, folder, number=number)
        assert done.exit_code == 1
        assert json.loads(done.output)["steps"][-1]["name"] == own[0]


def market(folder: Path, make: Any) -> Iterator[Stack]:
    home = make_home(folder, "market")
    built = Stack.build(home, make(home))
    try:
        yield built
    finally:
        built.close()
