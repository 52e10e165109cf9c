"""kill -9 of both sides of a private join in its rounds, as processes: the parts on disk stay as they are, and the answer is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from cli.demo import customers
from cli.demo.join import BANK, POWER, JoinDemo
from cli.market import MarketPlan
from client.types import Answer, Status
from holder.join import STATE_NAME
from holder.tables import join_parts, secrets_
from ledger.database import read_transaction
from ledger.types import Digest
from tests.stack import WINDOWS, Stack, make_home, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.xdist_group("join-kills")]
LIST_MAX = 3000  # of which the second round has three parts, and takes seconds to make
SQL = f"SELECT COUNT(*) AS n FROM {BANK} b JOIN {POWER} p ON b.{customers.KEY} = p.{customers.KEY} WHERE p.用电量 > "
VALUE_SIDE, MATCHER = 2, 1
Places = dict[tuple[int, int], bytes]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A bank and a power company, whose lists are short enough for a test."""
    home = make_home(tmp_path_factory.mktemp("join"), "market")
    given: dict[str, Any] = yaml.safe_load(JoinDemo.example("policy.yaml").read_text(encoding="utf8"))
    for side in given["join"]["sides"].values():
        side["list_max"] = LIST_MAX
    policy = home.path / "policy.yaml"
    policy.write_text(yaml.safe_dump(given, allow_unicode=True), encoding="utf8")
    files = tuple(home.path / f"{name}.parquet" for name in (BANK, POWER))
    for file, rows in zip(files, (customers.customers(400), customers.readings(900)), strict=True):
        customers.write(file, rows)
    windows = {**WINDOWS, "share": 400}
    plan = MarketPlan(policy, files, block_time_s=0.5, windows=windows, names=(BANK, POWER))
    made = Stack.build(home, plan)
    try:
        yield made
    finally:
        made.close()


def ask(market: Stack, least: int) -> Digest:
    """Another question each time, so that none is answered from what was sealed before."""
    policy = market.market.policy
    return market.buyer.submit(
        market.buyer.quote(policy.listing, f"{SQL}{least}", purpose=policy.purposes[0])
    )


def state_of(market: Stack, number: int, request_id: Digest) -> bytes | None:
    where = (secrets_.c.request_id == request_id) & (secrets_.c.name == STATE_NAME)
    with read_transaction(market.holder_engine(number)) as connection:
        found = connection.execute(select(secrets_.c.sealed).where(where)).scalar()
    return None if found is None else bytes(found)


def places(market: Stack, number: int, request_id: Digest) -> Places:
    """The hashes of all parts that a holder has stored, its own and the other side's."""
    with read_transaction(market.holder_engine(number)) as connection:
        rows = connection.execute(select(join_parts).where(join_parts.c.request_id == request_id)).all()
    return {(row.round, row.part): bytes(row.message_hash) for row in rows}


def finish(market: Stack, request_id: Digest) -> Answer:
    market.buyer.wait(request_id, timeout_s=200)
    return market.buyer.fetch(request_id)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("number", "round_"), [(VALUE_SIDE, None), (VALUE_SIDE, 2), (VALUE_SIDE, 1), (MATCHER, 1), (MATCHER, 2)]
)
def test_a_side_that_is_killed_in_the_rounds_sends_the_same_parts(
    market: Stack, number: int, round_: int | None
) -> None:
    """Killed once its state is on disk, or the first part of a round: its own, or one that it fetched."""
    request_id = ask(market, -(10 * number + (round_ or 0)) - 1)
    if round_ is None:
        wait_until(lambda: state_of(market, number, request_id), "the state", poll_s=0.005, timeout_s=120)
    else:
        first = (round_, 0)
        wait_until(lambda: first in places(market, number, request_id), "a part", poll_s=0.005, timeout_s=200)
    market.kill(f"holder-{number}")
    state, kept = state_of(market, number, request_id), places(market, number, request_id)
    assert state is not None
    market.start(f"holder-{number}")
    answer = finish(market, request_id)
    assert answer.verdict.status is Status.VALID and answer.survivors == 2
    assert state_of(market, number, request_id) == state
    later = {each: places(market, each, request_id) for each in (MATCHER, VALUE_SIDE)}
    assert kept.items() <= later[number].items()
    assert later[MATCHER] == later[VALUE_SIDE]  # nobody has another part than was sent
    assert {place[0] for place in later[MATCHER]} == {1, 2, 3}
    count = answer.rows[0][0]
    assert isinstance(count, int)
    assert abs(count - 600) < 400  # whatever the noise is: not shares that do not fit
