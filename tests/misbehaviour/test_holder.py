"""A dishonest holder, before a real exchange, the real contracts and a real buyer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.errors import AnswerMismatch
from holder.types import Stage
from ledger.encoding import keccak, parse_hex
from ledger.errors import ContractReverted
from ledger.signing import Signer
from ledger.types import Contribution, Digest
from privacy.messages import Frame, Kind, decode_frame, message_hash
from privacy.sealed_sum import Unmask
from tests.misbehaviour.world import Holder, World, is_post, problem, require_silence, signer_of


@pytest.fixture(scope="module")
def masked(standing_world: World) -> tuple[World, Digest]:
    """A request in which every vector is masked, and the first holder's is held back."""
    first = standing_world.holders[0]
    first.middleman.honest()
    request_id = standing_world.open()
    standing_world.shared(request_id)
    first.middleman.drop = lambda request: is_post(request, Kind.MASKED_INPUT)
    standing_world.contributed_but(request_id, first)
    return standing_world, request_id


def frame_of(holder: Holder, request_id: Digest, kind: Kind) -> Frame:
    stored = holder.parts.store.message(request_id, kind)
    assert stored is not None
    return decode_frame(stored.frame)


def signed(signer: Signer, frame: Frame, **changes: Any) -> bytes:
    """The frame with other fields, signed anew."""
    values: dict[str, Any] = {
        "kind": frame.kind,
        "session": frame.session,
        "sender": frame.sender,
        "payload": frame.payload,
    }
    values.update(changes)
    digest = message_hash(values["kind"], values["session"], values["sender"], values["payload"])
    return Frame(**values, signature=signer.sign(Digest(digest))).encode()


Make = Callable[[Holder, Frame, int], bytes]

MESSAGES: dict[str, tuple[str, Make]] = {
    "truncated": ("frame-truncated", lambda h, f, _: f.encode()[:-1]),
    "cut to its head": ("frame-truncated", lambda h, f, _: f.encode()[:20]),
    "longer": ("frame-trailing", lambda h, f, _: f.encode() + b"\0"),
    "another protocol": ("frame-magic-wrong", lambda h, f, _: b"X" + f.encode()[1:]),
    "another version": ("frame-version-unknown", lambda h, f, _: f.encode()[:3] + b"\2" + f.encode()[4:]),
    "an unknown kind": ("frame-kind-unknown", lambda h, f, _: f.encode()[:4] + b"\7" + f.encode()[5:]),
    "a cell less": ("payload-malformed", lambda h, f, _: signed(h.keys.signer, f, payload=f.payload[8:])),
    "a cell more": (
        "payload-malformed",
        lambda h, f, _: signed(h.keys.signer, f, payload=bytes(8) + f.payload),
    ),
    "another session": ("session-mismatch", lambda h, f, _: signed(h.keys.signer, f, session=b"\5" * 32)),
    "in a peer's name": ("sender-unknown", lambda h, f, peer: signed(h.keys.signer, f, sender=peer)),
    "signed by another": ("bad-signature", lambda h, f, _: signed(signer_of("x"), f)),
    "altered": ("bad-signature", lambda h, f, _: f.encode()[:60] + b"\xff\xff" + f.encode()[62:]),
    "another bundle": (
        "message-conflict",
        lambda h, f, _: signed(h.keys.signer, f, kind=Kind.BUNDLE, payload=f.payload),
    ),
    "its shares before the seal": (
        "message-too-early",
        lambda h, f, _: signed(h.keys.signer, f, kind=Kind.UNMASK, payload=f.payload),
    ),
}


@pytest.mark.parametrize("case", list(MESSAGES))
def test_a_message_that_is_not_what_it_should_be_is_refused_by_name(
    masked: tuple[World, Digest], case: str
) -> None:
    world, request_id = masked
    holder, (name, make) = world.holders[0], MESSAGES[case]
    frame = frame_of(holder, request_id, Kind.MASKED_INPUT)
    peer = world.index_of(world.holders[1], request_id)
    response = world.post_frame(holder, request_id, make(holder, frame, peer))
    assert problem(response) == name
    assert frame.payload[:8].hex() not in response.text and frame.payload[-32:].hex() not in response.text


def test_others_have_no_say_in_a_request(masked: tuple[World, Digest]) -> None:
    world, request_id = masked
    holder, peer = world.holders[0], world.holders[1]
    frame = frame_of(holder, request_id, Kind.MASKED_INPUT).encode()
    assert problem(world.post_frame(peer, request_id, frame)) == "sender-unknown"
    stranger = Holder(
        9, type(holder.keys)(signer_of("stranger"), holder.keys.x25519_private), holder.settings
    )
    assert problem(world.post_frame(stranger, request_id, frame)) == "not-yours"


def test_a_second_vector_and_one_other_than_the_chains_are_refused(masked: tuple[World, Digest]) -> None:
    world, request_id = masked
    peer = world.holders[1]
    frame = frame_of(peer, request_id, Kind.MASKED_INPUT)
    other = signed(peer.keys.signer, frame, payload=changed(frame.payload))
    assert problem(world.post_frame(peer, request_id, other)) == "message-conflict"


def changed(payload: bytes) -> bytes:
    """Another vector: one more in the first cell."""
    cells = np.frombuffer(payload[:-32], dtype=">u8").astype(np.uint64)
    cells[0] += np.uint64(1)
    return bytes(cells.astype(">u8").tobytes()) + payload[-32:]


def test_a_commitment_that_was_not_fixed_before_the_others_were_seen_reverts(
    masked: tuple[World, Digest],
) -> None:
    world, request_id = masked
    holder, peer = world.holders[:2]
    (seen,) = [
        e.commitment for h, e in progress_of(world, request_id).contributions.items() if h == peer.address
    ]
    with pytest.raises(ContractReverted, match="ComputeLedgerMemberWrong"):
        contribute(
            world, holder, request_id, frame_of(holder, request_id, Kind.MASKED_INPUT), commitment=seen
        )


def progress_of(world: World, request_id: Digest) -> Any:
    world.market.follower.catch_up()
    return world.market.requests.progress(world.market.store.request(request_id))


def contribute(
    world: World, holder: Holder, request_id: Digest, frame: Frame, *, commitment: bytes = b""
) -> None:
    """Hand a vector to the exchange and open the commitment with its receipt, past the holder's own node."""
    response = world.post_frame(holder, request_id, frame.encode())
    assert response.status_code in (200, 201), response.text
    receipt = parse_hex(response.json()["receipt"], "receipt", 65)
    session, shared = world.session(request_id), progress_of(world, request_id).shares[holder.address]
    member = session.members[frame.sender]
    said = Contribution(
        line=member.line,
        keys_hash=member.keys_hash,
        bundle_hash=shared.bundle_hash,
        seed_hash=shared.seed_hash,
        session=session.id,
        sender=frame.sender,
        payload_hash=keccak(frame.payload),
    )
    commitment = commitment or holder.parts.store.secret(request_id, "commitment")
    call = world.contracts.ledger.contribute(world.request_of(request_id), said, commitment, receipt)
    world.send(holder.keys.signer, call)


def test_a_vector_other_than_committed_to_gives_no_answer(world: World) -> None:
    request_id = world.open()
    world.shared(request_id)
    liar = world.holders[0]
    liar.middleman.drop = lambda request: is_post(request, Kind.MASKED_INPUT)
    world.contributed_but(request_id, liar)
    frame = frame_of(liar, request_id, Kind.MASKED_INPUT)
    lie = decode_frame(signed(liar.keys.signer, frame, payload=changed(frame.payload)))
    contribute(world, liar, request_id, lie)
    world.answered(request_id, world.holders[1:])
    with pytest.raises(AnswerMismatch) as caught:
        world.buyer.fetch(request_id)
    assert "does not open" in str(caught.value)
    assert not world.buyer.receipt_path(request_id).exists()
    # The node of the same holder sees that the chain has another input than it stored, and goes no further.
    liar.parts.indexer.tick()
    liar.node._machine.step(request_id)
    assert liar.reason(request_id) == "CommitmentChanged"
    require_silence(world, request_id)


def test_a_late_vector_is_refused_by_exchange_and_contract(shared_world: World) -> None:
    world = shared_world
    request_id = world.open()
    world.shared(request_id)
    late = world.holders[0]
    late.middleman.drop = lambda request: is_post(request, Kind.MASKED_INPUT)
    world.contributed_but(request_id, late)
    frame = frame_of(late, request_id, Kind.MASKED_INPUT)
    world.mine_past(world.request_of(request_id).contribute_by)
    world.market.follower.catch_up()
    assert problem(world.post_frame(late, request_id, frame.encode())) == "message-too-late"
    late.middleman.honest()
    late.step(request_id)
    world.seal(request_id)
    late.step(request_id)
    assert late.stage(request_id) is Stage.CLOSED
    world.holders[1].step(request_id)
    unmask = frame_of(world.holders[1], request_id, Kind.UNMASK)
    for name, payload in bad_unmasks(unmask.payload):
        own = signed(world.holders[1].keys.signer, unmask, payload=payload)
        fresh = world.post_frame(world.holders[1], request_id, own)
        assert problem(fresh) in ("message-conflict", "bad-unmask"), name
    mine = world.index_of(world.holders[2], request_id)
    for name, payload in bad_unmasks(unmask.payload):
        peer = signed(world.holders[2].keys.signer, unmask, sender=mine, payload=payload)
        assert problem(world.post_frame(world.holders[2], request_id, peer)) == "bad-unmask", name
    outsider = signed(late.keys.signer, unmask, sender=world.index_of(late, request_id))
    assert problem(world.post_frame(late, request_id, outsider)) == "bad-unmask"
    require_silence(world, request_id)


def bad_unmasks(payload: bytes) -> list[tuple[str, bytes]]:
    """Messages with a share of the wrong kind, two shares of one peer, one share too few, a share out of range."""
    entry, rows = 35, Unmask.of_payload(payload).shares
    body = payload[2:]
    twice = body[:entry] * 2 + body[2 * entry :]
    wrong_kind = body[:2] + bytes([3 - body[2]]) + body[3:]
    return [
        ("wrong kind", payload[:2] + wrong_kind),
        ("two of one peer", payload[:2] + twice),
        ("one too few", (len(rows) - 1).to_bytes(2, "big") + body[entry:]),
        ("one more", (len(rows) + 1).to_bytes(2, "big") + body + body[-entry:]),
        ("out of range", payload[:2] + body[:3] + b"\xff" * 32 + body[entry:]),
    ]


def test_a_contribution_after_its_deadline_reverts(shared_world: World) -> None:
    world = shared_world
    request_id = world.open()
    world.shared(request_id)
    late = world.holders[0]
    late.middleman.drop = lambda request: is_post(request, Kind.MASKED_INPUT)
    world.contributed_but(request_id, late)
    frame = frame_of(late, request_id, Kind.MASKED_INPUT)
    receipt_first = world.post_frame(late, request_id, frame.encode())
    assert receipt_first.status_code == 201
    world.mine_past(world.request_of(request_id).contribute_by)
    with pytest.raises(ContractReverted, match="ComputeLedgerTooLate"):
        contribute(world, late, request_id, frame)
