"""A trustee that is lost, whenever that happens, is named to the buyer and to whoever verifies the receipt, by either library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from client.types import Status
from holder.chain_side import RequestView
from holder.types import Stage
from ledger.types import to_hex
from privacy.messages import Kind
from privacy.payloads import split_rider
from privacy.sealed_sum import aggregate
from tests.client.receipts import Case
from tests.holder.deposit_world import SQL, DepositWorld


@dataclass
class LostCase(Case):
    """Only those that shared are summed."""

    @property
    def payload(self) -> bytes:
        """Y."""
        world, session = self.world, self.world.session(self.request_id)
        view, plan = world.chain.view(self.request_id), world.plan_of(self.request_id)
        assert view is not None
        survivors = {session.index_of(holder) for holder in view.contributed}
        masked = {
            index: split_rider(payload, plan.input_rider_size, sender=index)[0]
            for index, payload in self._payloads(Kind.MASKED_INPUT).items()
            if index in survivors
        }
        total = aggregate(
            session,
            cells=plan.cells,
            sharers=sorted(session.index_of(holder) for holder in view.shared),
            masked=masked,
            unmasks=self._payloads(Kind.UNMASK),
            seed_hashes={session.index_of(h): e.seed_hash for h, e in view.shared.items()},
        )
        return total.payload


def asked_without(home: Path, phase: str | None) -> tuple[LostCase, str]:
    """A question to five trustees, the first of whom is lost after a phase or before all; and its account."""
    world = DepositWorld(home / "world")
    request_id, others = world.open(SQL), world.members[1:]

    def view() -> RequestView:
        found = world.chain.view(request_id)
        assert found is not None
        return found

    while phase is not None and len(getattr(view(), phase)) < 5:
        world.step(request_id)
    request = view().opened.request
    for deadline in (request.approve_by, request.share_by, request.contribute_by):
        for _ in range(3):
            world.step(request_id, only=others)
        world.chain.block = max(world.chain.block, deadline + 1)
    assert len(view().contributed) == 4
    world.chain.seal(request_id)
    world.chain.mine()
    world.run(request_id, Stage.DONE, only=others)
    return LostCase(world, request_id, home / "cache"), to_hex(world.members[0].address)


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        (None, "it did not approve"),
        pytest.param("approved", "it approved, and never shared", marks=pytest.mark.slow),
        ("shared", "it shared, and then did not contribute"),
    ],
)
def test_a_lost_trustee_is_named_and_the_answer_stands(tmp_path: Path, phase: str | None, told: str) -> None:
    case, account = asked_without(tmp_path, phase)
    opened = case.open()
    assert opened.faults == (f"trustee {account}: lost: {told}",)
    receipt = case.receipt()
    for second in (False, True):
        verdict = case.verify(receipt, second=second)
        assert verdict.status is Status.VALID, verdict.first_failing
        assert f"{account}: lost: {told}" in verdict.steps[9].detail
