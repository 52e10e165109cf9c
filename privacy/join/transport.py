"""Which part of which round a message is, and whether its sender may send it: the same for exchange and holders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from privacy.encoding import keccak, tagged_hash
from privacy.join.errors import PartMalformed, RoundWrong
from privacy.join.kind import ROUNDS, JoinPlan
from privacy.join.parts import HEAD_BYTES, parts_needed, require_part
from privacy.plan import Plan
from privacy.session import Session


def round_size(plan: Plan, terms: JoinPlan, session: Session, round_: int) -> int:
    """Return the bytes of a round, without the heads of its parts; they depend on the plan alone.

    Raises:
        RoundWrong: there is no such round.
    """
    if round_ not in ROUNDS:
        raise RoundWrong(f"expected a round of 1 to {ROUNDS[-1]}, got {round_}")
    sizes = terms.terms(plan, session.id)
    return (sizes.round1_bytes, sizes.round2_bytes, sizes.round3_bytes)[round_ - 1]


def round_parts(plan: Plan, terms: JoinPlan, session: Session, round_: int) -> int:
    """Return how many parts a round has."""
    return parts_needed(round_size(plan, terms, session, round_))


def round_sender(plan: Plan, terms: JoinPlan, session: Session, round_: int) -> int:
    """Return the index of the holder that sends a round."""
    asset = terms.sender(round_).asset
    return next(index for index, member in enumerate(session.members) if member.asset == asset)


def rounds_rider(session: bytes, hashes: Sequence[Sequence[bytes]]) -> bytes:
    """Return what both sides fix of the rounds behind their bundles, H("join-round"; session, round, keccak(all message hashes)).

    Args:
        session: session id.
        hashes: of the messages that the parts are, round by round, in order.
    """
    return b"".join(round_hash(session, round_, found) for round_, found in zip(ROUNDS, hashes, strict=True))


def round_hash(session: bytes, round_: int, hashes: Iterable[bytes]) -> bytes:
    """Return the hash of one round, from the hashes of the messages that its parts are."""
    return tagged_hash("join-round", session, round_, keccak(b"".join(hashes)))


def read_place(plan: Plan, terms: JoinPlan, session: Session, sender: int, payload: bytes) -> tuple[int, int]:
    """Return the round and number of a part.

    Args:
        plan, terms: verified.
        session: of a roster of both sides.
        sender: roster index of who signed it.
        payload: `u8 round ‖ u16 part ‖ u16 parts ‖ bytes`.

    Raises:
        RoundWrong: another round than the sender's.
        PartMalformed, PartOutOfOrder: not as long as this part is, or another number of parts.
    """
    if len(payload) < HEAD_BYTES:
        raise PartMalformed(f"expected at least {HEAD_BYTES} bytes, got {len(payload)}")
    round_, number = payload[0], int.from_bytes(payload[1:3], "big")
    size = round_size(plan, terms, session, round_)
    if round_sender(plan, terms, session, round_) != sender:
        raise RoundWrong(f"expected round {round_} from the other side")
    require_part(payload, round_=round_, number=number, size=size)
    return round_, number
