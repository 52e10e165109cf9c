"""Requests and deployments validate themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedValue
from ledger.types import Address, Deployment, Participant, ParticipantStatus, Request, Roles

U64 = 2**64 - 1


@st.composite
def requests(draw: st.DrawFn) -> Request:
    word, account = st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20)
    holders = draw(st.integers(1, 1024))
    deadlines = sorted(draw(st.sets(st.integers(0, U64), min_size=4, max_size=4)))
    return Request(
        buyer=Address(draw(account)),
        broker=Address(draw(account)),
        listing=draw(word),
        plan_hash=draw(word),
        key_x=draw(word),
        key_parity=draw(st.sampled_from([2, 3])),
        rho_micro=draw(st.integers(1, U64)),
        price_minor=draw(st.integers(0, 2**128 - 1)),
        holders=holders,
        min_holders=draw(st.integers(1, holders)),
        colluders=draw(st.integers(0, 1023)),
        dropouts=draw(st.integers(0, 1023)),
        approve_by=deadlines[0],
        share_by=deadlines[1],
        contribute_by=deadlines[2],
        answer_by=deadlines[3],
        nonce=draw(st.integers(0, 2**256 - 1)),
    )


@given(requests())
def test_request_json_round_trips(request: Request) -> None:
    assert Request.from_json(request.to_json()) == request
    assert len(request.to_json()) == len(fields(Request))
    assert all(isinstance(value, str) for value in request.to_json().values())


@given(requests(), st.data())
def test_request_json_refuses_any_other_key_set(request: Request, data: st.DataObject) -> None:
    value = request.to_json()
    key = data.draw(st.sampled_from(sorted(value)))
    with pytest.raises(MalformedValue):
        Request.from_json({k: v for k, v in value.items() if k != key})
    with pytest.raises(MalformedValue):
        Request.from_json({**value, "extra": "1"})
    with pytest.raises(MalformedValue):
        Request.from_json({**value, key: value[key].upper().replace("0X", "0x") + " "})


@pytest.mark.parametrize(
    "change",
    [{"buyer": b"\1" * 19}, {"plan_hash": b""}, {"key_parity": 4}, {"rho_micro": 0}, {"rho_micro": 2**64},
     {"price_minor": -1}, {"holders": 0}, {"holders": 1025}, {"min_holders": 4}, {"share_by": 1000},
     {"answer_by": 3000}, {"nonce": 2**256}, {"holders": True}, {"nonce": 1.0}],
)  # fmt: skip
def test_request_cannot_be_built_with(make_request: Callable[..., Request], change: dict[str, Any]) -> None:
    request = make_request(Address(bytes(20)), Address(b"\1" * 20))
    with pytest.raises(MalformedValue):
        replace(request, **change)


def test_deployment_json_round_trips_and_is_strict() -> None:
    a, b, c, d, e = (Address(bytes([i]) * 20) for i in range(5))
    deployment = Deployment(31337, a, b, c, d, e, block=3)
    assert Deployment.from_json(deployment.to_json()) == deployment
    changes: list[dict[str, object]] = [{"chain_id": 31337}, {"chain_id": "0"}, {"block": "-1"}]
    changes.append({"ledger": "0x" + "AB" * 20})
    for change in changes:
        with pytest.raises(MalformedValue):
            Deployment.from_json(dict(deployment.to_json(), **change))
    others: list[object] = [None, [], {}, {**deployment.to_json(), "more": "1"}]
    for other in others:
        with pytest.raises(MalformedValue):
            Deployment.from_json(other)


def test_suspended_participant_has_no_role() -> None:
    account = Address(bytes(20))
    one = Participant(account, account, Roles.HOLDER | Roles.BUYER, ParticipantStatus.ACTIVE, 1, 1, bytes(32))
    assert one.has(Roles.HOLDER) and one.has(Roles.HOLDER | Roles.BUYER) and not one.has(Roles.BROKER)
    assert not replace(one, status=ParticipantStatus.SUSPENDED).has(Roles.HOLDER)
