"""Parameters, roster and session id."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encoding import tagged_hash
from privacy.errors import BelowThreshold, ParametersInvalid, RosterInvalid, SenderUnknown
from privacy.sealed_sum import HolderSecrets
from privacy.session import Member, PublicKeys, Session, SumParameters
from tests.privacy.sum_world import digest_of, member_of, rand_of, session_of

MEMBERS = [member_of(HolderSecrets.generate(rand_of(f"member{k}")), f"member{k}") for k in range(4)]


@pytest.mark.parametrize(
    ("n", "colluders", "threshold", "dropouts_max"),
    [(1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 2, 1), (3, 1, 3, 0), (4, 1, 3, 1), (5, 1, 4, 1), (10, 3, 7, 3)],
)
def test_parameters_are_those_of_the_design(
    n: int, colluders: int, threshold: int, dropouts_max: int
) -> None:
    params = SumParameters.of(n=n, colluders=colluders, dropouts=n, min_holders=1)
    assert (params.threshold, params.dropouts_max) == (threshold, dropouts_max)
    assert params.divisor == n - colluders - dropouts_max
    assert params.floor == max(threshold, n - dropouts_max)


@settings(deadline=None)
@given(st.integers(1, 1024), st.integers(0, 1024), st.integers(0, 1024), st.integers(0, 1024))
def test_parameters_keep_their_promises(n: int, colluders: int, dropouts: int, fewest: int) -> None:
    try:
        params = SumParameters.of(n=n, colluders=colluders, dropouts=dropouts, min_holders=fewest)
    except ParametersInvalid:
        return
    assert 2 * params.threshold - n > colluders  # two sets of t holders share an honest one
    assert params.threshold <= params.floor <= n
    assert params.floor >= fewest
    assert 1 <= params.divisor <= params.floor - colluders  # the honest survivors' noise is enough


@pytest.mark.parametrize(
    ("n", "colluders", "fewest"), [(0, 0, 1), (1025, 0, 1), (3, 3, 1), (3, 2, 4), (1, 1, 1), (2, -1, 1)]
)
def test_impossible_parameters_are_refused(n: int, colluders: int, fewest: int) -> None:
    with pytest.raises(ParametersInvalid):
        SumParameters.of(n=n, colluders=colluders, dropouts=1, min_holders=fewest)


def test_the_roster_is_sorted_by_holder_whatever_the_order_of_mining() -> None:
    sessions = [session_of(MEMBERS), session_of(MEMBERS[::-1]), session_of(MEMBERS[2:] + MEMBERS[:2])]
    assert len({session.id for session in sessions}) == 1
    holders = [member.holder for member in sessions[0].members]
    assert holders == sorted(holders)
    assert [sessions[0].index_of(holder) for holder in holders] == [0, 1, 2, 3]


def test_the_session_id_is_what_the_document_spells() -> None:
    session = session_of(MEMBERS)
    roster = bytes(32)
    for member in session.members:
        keys = (member.mask_key, member.share_key, member.e_x, member.e_parity, member.noise_commitment)
        keys_hash = tagged_hash("keys", member.asset, member.asset_version, *keys)
        roster = tagged_hash("roster", roster, member.holder, member.line, keys_hash)
    expected = tagged_hash(
        "session", 31337, digest_of("ledger")[:20], digest_of("request"), digest_of("plan"), 4, roster
    )
    assert session.id == expected


def test_every_part_of_the_roster_is_bound() -> None:
    base = session_of(MEMBERS).id
    other = MEMBERS[1]
    changes = [
        replace(MEMBERS[0], asset=digest_of("other")),
        replace(MEMBERS[0], asset_version=2),
        replace(MEMBERS[0], line=digest_of("other")),
        replace(MEMBERS[0], mask_key=other.mask_key),
        replace(MEMBERS[0], share_key=other.share_key),
        replace(MEMBERS[0], e_x=other.e_x, e_parity=other.e_parity),
        replace(MEMBERS[0], e_parity=5 - MEMBERS[0].e_parity),
        replace(MEMBERS[0], noise_commitment=other.noise_commitment),
        replace(MEMBERS[0], holder=digest_of("other")[:20]),
    ]
    ids = {session_of([member, *MEMBERS[1:]]).id for member in changes}
    assert len(ids) == len(changes)
    assert base not in ids
    assert session_of(MEMBERS[1:]).id != base
    assert session_of(MEMBERS, request="another").id != base


def test_every_part_of_the_context_is_bound() -> None:
    def build(chain_id: int, ledger: str, plan: str) -> bytes:
        return Session.build(
            chain_id=chain_id,
            ledger=digest_of(ledger)[:20],
            request_id=digest_of("request"),
            plan_hash=digest_of(plan),
            members=MEMBERS,
            colluders=0,
            dropouts=0,
            min_holders=1,
        ).id

    ids = {build(1, "a", "p"), build(2, "a", "p"), build(1, "b", "p"), build(1, "a", "q")}
    assert len(ids) == 4


def test_a_holder_cannot_be_in_the_roster_twice() -> None:
    with pytest.raises(RosterInvalid):
        session_of([*MEMBERS, replace(MEMBERS[0], asset=digest_of("second"))])


@pytest.mark.parametrize("key", ["mask_key", "share_key", "e_x"])
def test_an_unusable_key_names_its_holder(key: str) -> None:
    bad = {"mask_key": bytes(32), "share_key": b"\x01" + bytes(31), "e_x": bytes(31) + b"\x05"}[key]
    changed: dict[str, Any] = {key: bad}
    order = sorted(MEMBERS, key=lambda member: member.holder)
    with pytest.raises(RosterInvalid) as caught:
        session_of([*order[:2], replace(order[2], **changed), order[3]])
    assert caught.value.sender == 2


@pytest.mark.parametrize(
    "change",
    [{"holder": bytes(19)}, {"asset": b""}, {"line": bytes(33)}, {"e_parity": 4}, {"noise_commitment": b""}],
)
def test_a_malformed_member_cannot_be_built(change: dict[str, object]) -> None:
    fields = {name: getattr(MEMBERS[0], name) for name in Member.__slots__}
    with pytest.raises(RosterInvalid):
        Member(**{**fields, **change})


def test_malformed_keys_cannot_be_built() -> None:
    with pytest.raises(RosterInvalid):
        PublicKeys(bytes(31), bytes(32), bytes(32), 2, bytes(32))


def test_a_stranger_has_no_index() -> None:
    session = session_of(MEMBERS)
    with pytest.raises(SenderUnknown):
        session.index_of(bytes(20))
    for index in (-1, 4):
        with pytest.raises(SenderUnknown):
            session.require_index(index)


def test_survivors_must_have_shared_and_reach_the_floor() -> None:
    session = session_of(MEMBERS, dropouts=1)
    assert session.params.floor == 3
    assert session.require_sharers([3, 0, 1]) == (0, 1, 3)
    assert session.require_survivors({0, 1, 3}, [0, 1, 2, 3]) == (0, 1, 3)
    with pytest.raises(SenderUnknown, match="sender 2"):
        session.require_survivors([0, 1, 2], [0, 1, 3])
    with pytest.raises(BelowThreshold) as caught:
        session.require_survivors([0, 1], [0, 1, 3])
    assert (caught.value.expected, caught.value.actual) == (3, 2)
    with pytest.raises(SenderUnknown):
        session.require_sharers([0, 1, 9])
