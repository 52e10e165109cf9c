"""Two holders of one join in one process, a bank and a power company, around the world of the other requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from holder.join_key import JoinKey
from holder.vault import Vault
from ledger.types import Digest
from privacy.join.kind import JoinPlan
from privacy.layout import cell_index, group_index
from privacy.messages import Kind, decode_frame
from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from tests.holder.join_tables import Row, amount, example_fields, kept
from tests.holder.world import LISTING, Member, World
from tests.privacy.join_plan_world import BANK, POWER
from tests.privacy.paillier_world import stream

KEY = "统一社会信用代码"
SQL = (
    f"SELECT b.信用等级, p.行业, COUNT(*) AS n, SUM(p.用电量) AS kwh FROM {BANK} b JOIN {POWER} p ON b.{KEY} = p.{KEY} "
    "WHERE p.用电量 > 0 GROUP BY b.信用等级, p.行业"
)
SHORT = f"SELECT COUNT(*) AS n, SUM(p.用电量) AS kwh FROM {BANK} b JOIN {POWER} p ON b.{KEY} = p.{KEY}"
SCHEMAS = (
    pa.schema(
        {KEY: pa.string(), "客户号": pa.string(), "信用等级": pa.string(), "贷款余额": pa.float64()}.items()
    ),
    pa.schema(
        {
            KEY: pa.string(),
            "电表号": pa.string(),
            "月份": pa.string(),
            "行业": pa.string(),
            "镇": pa.string(),
            "用电量": pa.float64(),
        }.items()
    ),
)


def customer(key: str | None, number: int, grade: str = "甲") -> Row:
    """One row of the bank."""
    return {KEY: key, "客户号": f"C{number:05}", "信用等级": grade, "贷款余额": 100.0}


def meter(key: str | None, number: int, kwh: float, industry: str = "制造业") -> Row:
    """One row of the power company."""
    month = f"2026-{number % 12 + 1:02}"
    return {KEY: key, "电表号": f"M{number:05}", "月份": month, "行业": industry, "镇": "东镇", "用电量": kwh}


class JoinWorld(World):
    """The bank is the first holder, the power company, whose the measures are, the second."""

    def __init__(
        self, home: Path, bank: Sequence[Row], power: Sequence[Row], *, rule: str = "text", **sides: int
    ) -> None:
        self._rows_of = (list(bank), list(power))
        fields = {**example_fields(rule=rule, **sides), "listing": LISTING, "dropouts": None}
        super().__init__(home, holders=2, policy=fields)
        value = self.power
        JoinKey(
            value.store.engine, Vault(value.signer), stream("paillier key")
        ).take()  # quickly found primes

    @property
    def bank(self) -> Member:
        """The matcher."""
        return self.members[0]

    @property
    def power(self) -> Member:
        """The value side."""
        return self.members[1]

    def asset_name(self, number: int) -> str:
        """The name of the side."""
        return (BANK, POWER)[number]

    def rows_of(self, number: int) -> list[Row]:
        """The side's rows."""
        return self._rows_of[number]

    def table_of(self, number: int, rows: list[Row]) -> pa.Table:
        """The side's rows with their types, be there none."""
        return pa.Table.from_pylist(rows, schema=SCHEMAS[number])

    def plan_of(self, request_id: Digest) -> Plan:
        """The plan of a request."""
        return Plan.from_json(self.broker.published[request_id].plan)

    def source(self, member: Member, request_id: Digest) -> NoiseSource:
        """What a member's noise follows from, which its test may know."""
        return member.machine._secrets.noise_source(request_id, self.session(request_id))

    def sums(self, request_id: Digest) -> list[int]:
        """The opened values without the noise of both: exact sums of the joined table, if nobody lied."""
        plan = self.plan_of(request_id)
        terms = plan.terms
        assert isinstance(terms, JoinPlan)
        values = list(terms.values(plan, self.answer(request_id)))
        for member in self.members:
            noise = draw_noise_share(plan, self.session(request_id).params, self.source(member, request_id))
            values = [value - int(part) for value, part in zip(values, noise, strict=True)]
        return values

    def plain(self, plan: Plan) -> list[int]:
        """The same as plain Python computes it from both tables."""
        terms = plan.terms
        assert isinstance(terms, JoinPlan)
        most = {BANK: terms.matcher.multiplicity, POWER: terms.value.multiplicity}
        bank, power = (
            kept(self._passing(rows, plan), plan, self.policy, terms.normalise, side, most[side])
            for rows, side in zip(self._rows_of, (BANK, POWER), strict=True)
        )
        sums = [0] * plan.values
        for key, one in bank:
            for other, two in power:
                if key == other:
                    self._add(sums, plan, {**one, **two})
        return sums

    @staticmethod
    def _passing(rows: list[Row], plan: Plan) -> list[Row]:
        if plan.filter is None:
            return rows
        return [row for row in rows if "用电量" not in row or (row["用电量"] or 0) > 0]

    @staticmethod
    def _add(sums: list[int], plan: Plan, row: Row) -> None:
        group = group_index(plan, [row[dimension.column] for dimension in plan.group_by])
        for number, lane in enumerate(plan.lanes):
            sums[cell_index(plan, number, group)] += amount(lane, row)


def parts_sent(world: World) -> dict[tuple[bytes, bytes], set[bytes]]:
    """The parts that came, by sender and place."""
    found: dict[tuple[bytes, bytes], set[bytes]] = {}
    for sender, kind, frame in world.broker.arrivals:
        if kind == Kind.JOIN:
            found.setdefault((sender, decode_frame(frame).payload[:3]), set()).add(frame)
    return found


def payloads(world: World, request_id: Digest, number: int) -> list[bytes]:
    """The parts of a round as they stand at the exchange, in order."""
    return [
        decode_frame(frame).payload for _, frame in sorted(world.broker.parts[request_id, number].items())
    ]
