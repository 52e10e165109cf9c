"""What a holder decided once stays decided: whatever the exchange or the chain shows later, the same bytes or nothing."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest

from holder.errors import StoreError
from holder.types import Stage
from ledger.errors import SubmitterBehindChain
from ledger.types import Digest
from privacy.messages import Kind, decode_frame
from privacy.sealed_sum import ShareType, Unmask
from tests.misbehaviour.world import Holder, World, is_post, require_silence

KINDS = [Kind.BUNDLE, Kind.MASKED_INPUT, Kind.UNMASK]  # of a sum; of a join: tests/holder/test_join_crash.py


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_an_exchange_that_says_it_got_nothing_gets_the_same_bytes_after_a_restart(
    shared_world: World, kind: Kind
) -> None:
    world, victim = shared_world, shared_world.holders[0]
    request_id = world.open()
    victim.middleman.drop = lambda request: is_post(request, kind)
    if kind is Kind.UNMASK:
        world.contributed(request_id)
        world.seal(request_id)
    world.settle_down(request_id, 4)
    (sent,) = victim.middleman.of_kind(request_id, kind)
    victim.restart()
    victim.try_step(request_id)
    victim.middleman.honest()
    victim.try_step(request_id)
    assert victim.middleman.of_kind(request_id, kind) == {sent}
    require_silence(world, request_id)


def test_an_exchange_that_claims_to_have_other_bytes_stops_the_holder(shared_world: World) -> None:
    request_id, victim = shared_world.open(), shared_world.holders[0]
    shared_world.shared(request_id)
    conflict = {"type": "urn:shuyao:problem:message-conflict", "title": "Message conflict"}
    victim.middleman.alter = lambda request, response: (
        httpx.Response(409, json=conflict) if is_post(request, Kind.MASKED_INPUT) else response
    )
    victim.step(request_id)
    assert (victim.stage(request_id), victim.reason(request_id)) == (Stage.REFUSED, "RestoredBackup")
    victim.middleman.honest()
    victim.restart()
    victim.step(request_id)
    assert victim.stage(request_id) is Stage.REFUSED
    assert shared_world.contracts.ledger.state(request_id).contributed == 0
    require_silence(shared_world, request_id)


def test_a_second_seal_with_other_survivors_gets_no_second_share(world: World) -> None:
    """The broker wants both shares of one peer: a chain that loses its last blocks tells two stories."""
    *kept, lost = world.holders
    request_id = world.open()
    world.contributed(request_id, kept)
    before = world.chain.request("evm_snapshot")
    world.settle_down(request_id, 2)
    assert world.contracts.ledger.state(request_id).contributed == 3
    world.seal(request_id)
    world.settle_down(request_id, 2)
    decided = {holder.number: unmask_of(holder, request_id) for holder in kept}
    index = world.index_of(lost, request_id)

    assert world.chain.request("evm_revert", before) is True
    world.mine_past(world.request_of(request_id).contribute_by)
    world.seal(request_id)
    assert world.contracts.ledger.state(request_id).contributed == 2
    for holder in kept:
        holder.step(request_id)
        holder.restart()
        holder.step(request_id)
        holder.step(request_id)
        assert (holder.stage(request_id), holder.reason(request_id)) == (Stage.REFUSED, "SessionChanged")
        assert unmask_of(holder, request_id) == decided[holder.number]
        shares = {share.owner: share.type for share in decided[holder.number].shares}
        assert shares[index] is ShareType.SELF_SEED and len(shares) == 3
        with pytest.raises(StoreError):
            holder.parts.store.secret(request_id, "received")  # the shares of the other kind exist nowhere
    require_silence(world, request_id)


def unmask_of(holder: Holder, request_id: Digest) -> Unmask:
    """The one unmask message that the holder ever sent."""
    (frame,) = holder.middleman.of_kind(request_id, Kind.UNMASK)
    return Unmask.of_payload(decode_frame(frame).payload)


def test_a_chain_with_another_roster_gets_no_second_vector(world: World) -> None:
    """Fewer holders in the roster is another session: what was masked for the first is never masked again."""
    *kept, lost = world.holders
    request_id = world.open()
    for holder in kept:
        holder.step(request_id)
        holder.step(request_id)
    before = world.chain.request("evm_snapshot")
    world.contributed(request_id)
    sent = {holder.number: holder.middleman.of_kind(request_id, Kind.MASKED_INPUT) for holder in kept}
    assert all(sent.values())

    assert world.chain.request("evm_revert", before) is True
    lost.middleman.drop = lambda request: True
    world.mine_past(world.request_of(request_id).approve_by)
    for holder in kept:
        holder.step(request_id)
        holder.restart()
        holder.step(request_id)
        assert (holder.stage(request_id), holder.reason(request_id)) == (Stage.REFUSED, "SessionChanged")
        assert holder.middleman.of_kind(request_id, Kind.MASKED_INPUT) == sent[holder.number]
        assert not holder.middleman.of_kind(request_id, Kind.UNMASK)
    require_silence(world, request_id)


def test_a_restored_backup_sends_nothing_more(world: World) -> None:
    request_id, victim = world.open(), world.holders[0]
    world.step(request_id)
    victim.parts.close()
    database = victim.settings.home / "holder.db"
    for extra in ("-wal", "-shm"):
        assert not database.with_name(database.name + extra).exists()
    backup = database.read_bytes()
    victim.start()
    world.shared(request_id)
    sent = victim.middleman.of_kind(request_id, Kind.BUNDLE)
    victim.parts.close()
    database.write_bytes(backup)
    victim.start()
    for _ in range(3):
        with suppress(SubmitterBehindChain):  # another error that says the same
            victim.step(request_id)
    victim.node._machine.step(request_id)
    assert (victim.stage(request_id), victim.reason(request_id)) == (Stage.REFUSED, "RestoredBackup")
    assert victim.middleman.of_kind(request_id, Kind.BUNDLE) == sent
    assert not victim.middleman.of_kind(request_id, Kind.MASKED_INPUT)
