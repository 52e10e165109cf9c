"""LogAnchor and IssuerRegistry on a chain, through their wrappers."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import abi
from ledger.anchors.contract import ISSUER_EVENTS, LogAnchorContract
from ledger.anchors.types import (
    EMPTY_ROOT,
    AnchorHead,
    IssuerBound,
    IssuerRecognised,
    KeyCompromised,
    KeyRegistered,
    KeyRetired,
    KeyStatus,
    RecognitionWithdrawn,
    TrustDeployment,
)
from ledger.encoding import keccak
from ledger.errors import MalformedValue
from ledger.log import tree
from ledger.types import Address, Digest
from tests.ledger.anchors.world import (
    ADMINISTRATOR,
    OPERATOR,
    ORIGIN_HASH,
    REGISTRAR,
    Trust,
    call_from,
    consistency,
    head_slots,
    leaf,
    root,
    sparse_growth,
)
from tests.ledger.conftest import signer_for

GAS_LIMIT = 80_000
BATCH = 4096
ALL = 52_150_000
WORST = 50_331_647  # less one 10111…10 in binary: 27 hashes, 23 of which enter both roots
LEAVES = [leaf(i) for i in range(600)]
STRANGER = signer_for("stranger")
BUREAU, POLICE, BUSINESS, CITY, KEY = (
    keccak(name) for name in (b"bureau", b"police", b"type", b"city", b"k")
)
ZERO = Address(bytes(20))


# --- deployment ------------------------------------------------------------------------------------------


def test_deployment_is_what_was_asked_for(trust: Trust) -> None:
    assert trust.deployment.chain_id == trust.chain.chain_id()
    assert trust.log.operator() == OPERATOR.address
    assert trust.log.origin_hash() == ORIGIN_HASH
    head = trust.log.head()
    assert (head.root, head.size, head.status_root) == (EMPTY_ROOT, 0, EMPTY_ROOT)
    block = trust.chain.block(trust.deployment.block)
    assert block is not None
    assert head.time_s == block.timestamp


def test_deployment_survives_its_json_form_and_nothing_else_is_read(trust: Trust) -> None:
    given = trust.deployment.to_json()
    assert TrustDeployment.from_json(given) == trust.deployment
    for altered in (
        {**given, "more": "1"},
        {**given, "chain_id": "0"},
        {**given, "block": "01"},
        {**given, "anchor": given["anchor"].upper()},
        {name: value for name, value in given.items() if name != "issuers"},
    ):
        with pytest.raises(MalformedValue):
            TrustDeployment.from_json(altered)


# --- anchoring -------------------------------------------------------------------------------------------


def test_heads_are_anchored_and_reported_in_order(trust: Trust) -> None:
    statuses = {3: keccak(b"three"), 7: keccak(b"seven"), 600: keccak(b"all")}
    receipts = [trust.anchor(LEAVES, size, status) for size, status in statuses.items()]
    found = trust.log.events(receipts[0].block, receipts[-1].block)
    assert [(e.size, e.root, e.status_root) for e in found] == [
        (size, root(LEAVES[:size]), status) for size, status in statuses.items()
    ]
    assert [(e.block, e.block_hash, e.tx_hash) for e in found] == [
        (r.block, r.block_hash, r.tx_hash) for r in receipts
    ]
    head = trust.log.head()
    assert head == AnchorHead(Digest(root(LEAVES)), 600, statuses[600], found[-1].time_s)
    assert trust.log.head(receipts[0].block).size == 3


def test_events_of_other_blocks_are_left_out(trust: Trust) -> None:
    first = trust.anchor(LEAVES, 3, EMPTY_ROOT)
    second = trust.anchor(LEAVES, 7, EMPTY_ROOT)
    assert [e.size for e in trust.log.events(second.block, second.block)] == [7]
    assert trust.log.events(first.block - 1, first.block - 1) == []


def test_what_the_operator_may_not_do_is_refused_by_name(trust: Trust) -> None:
    trust.anchor(LEAVES, 6, EMPTY_ROOT)
    other = [leaf(i, b"other") for i in range(9)]
    call = trust.log.anchor_call
    refused = {
        "LogAnchorNotOperator": (STRANGER, call(root(LEAVES[:6]), 6, EMPTY_ROOT)),
        "LogAnchorRollback": (OPERATOR, call(root(LEAVES[:5]), 5, EMPTY_ROOT)),
        "LogAnchorFork": (OPERATOR, call(root(other), 9, EMPTY_ROOT, consistency(other, 6))),
        "LogAnchorStatusFork": (OPERATOR, call(root(LEAVES[:6]), 6, keccak(b"other"))),
        "LogAnchorProofInvalid": (
            OPERATOR,
            call(root(LEAVES[:9]), 9, EMPTY_ROOT, consistency(LEAVES[:9], 5)),
        ),
        "LogAnchorProofTooLong": (OPERATOR, call(root(LEAVES[:9]), 9, EMPTY_ROOT, [EMPTY_ROOT] * 66)),
    }
    for name, (signer, sent) in refused.items():
        error = trust.refusal(signer, sent)
        assert error is not None, name
        assert error[0] == name
    assert trust.refusal(OPERATOR, refused["LogAnchorRollback"][1]) == (
        "LogAnchorRollback",
        {"size": 5, "current": 6},
    )


def test_only_the_administrator_changes_the_operator(trust: Trust) -> None:
    change = trust.log.set_operator(STRANGER.address)
    for signer in (OPERATOR, REGISTRAR, STRANGER):
        error = trust.refusal(signer, change)
        assert error is not None
        assert error[0] == "AccessManagedUnauthorized"
    trust.send(ADMINISTRATOR, change)
    assert trust.log.operator() == STRANGER.address


def test_head_of_an_address_without_contract_is_refused(trust: Trust) -> None:
    with pytest.raises(MalformedValue):
        LogAnchorContract(trust.chain, STRANGER.address).head()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(data=st.data())
def test_growth_of_any_log_is_accepted_and_any_change_of_its_proof_refused(
    trust_chain: Trust, data: st.DataObject
) -> None:
    size2 = data.draw(st.integers(2, len(LEAVES)))
    size1 = data.draw(st.integers(1, size2 - 1))
    proof = consistency(LEAVES[:size2], size1)
    assert proof == tree.consistency_path(LEAVES[:size2], size1)
    old, new = root(LEAVES[:size1]), root(LEAVES[:size2])
    place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(proof[place]) ^ 1 << bit).to_bytes(32, "big")

    def answer(to: bytes, given: list[bytes], head: bytes = old) -> str | None:
        call = trust_chain.log.anchor_call(to, size2, EMPTY_ROOT, given)
        return call_from(trust_chain.chain, call, OPERATOR.address, head_slots(head, size1))

    assert answer(new, proof) is None
    assert answer(new, [*proof[:place], flipped, *proof[place + 1 :]]) == "LogAnchorProofInvalid"
    assert answer(new, proof[:-1]) == "LogAnchorProofInvalid"
    assert answer(new, proof[1:]) == "LogAnchorProofInvalid"
    assert answer(new, [*proof, flipped]) == "LogAnchorProofInvalid"
    assert answer(new, [old, *proof]) == "LogAnchorProofInvalid"
    assert answer(flipped, proof) == "LogAnchorProofInvalid"
    assert answer(new, proof, head=flipped) in ("LogAnchorProofInvalid", "LogAnchorFork")


# --- gas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size1", "size2"),
    [
        (WORST, ALL),
        (WORST, WORST + BATCH),
        (1 << 25, (1 << 25) + BATCH),
        (ALL - BATCH, ALL),
        (BATCH, 2 * BATCH),
    ],
)
def test_anchor_transaction_costs_at_most_the_limit(trust: Trust, size1: int, size2: int) -> None:
    first, second, proof = sparse_growth(size1, size2)
    trust.send(OPERATOR, trust.log.anchor_call(first, size1, keccak(b"first")))
    gas = trust.send(OPERATOR, trust.log.anchor_call(second, size2, keccak(b"second"), proof)).gas_used
    assert gas <= GAS_LIMIT
    assert gas / BATCH <= 30


# --- issuers ---------------------------------------------------------------------------------------------


def test_issuers_and_keys_go_their_way_and_every_step_is_reported(trust: Trust) -> None:
    account = signer_for("bureau")
    trust.send(ADMINISTRATOR, trust.log.set_operator(OPERATOR.address))  # an event of another contract
    registry, start = trust.issuers, trust.chain.block_number() + 1
    trust.send(REGISTRAR, registry.recognise(BUREAU, BUSINESS, CITY))
    assert registry.is_recognised(BUREAU, BUSINESS, CITY)
    trust.send(REGISTRAR, registry.withdraw(BUREAU, BUSINESS, CITY))
    assert not registry.is_recognised(BUREAU, BUSINESS, CITY)
    trust.send(REGISTRAR, registry.bind_issuer(BUREAU, OPERATOR.address))
    assert (registry.account_of(BUREAU), registry.issuer_of(OPERATOR.address)) == (OPERATOR.address, BUREAU)
    assert (registry.account_of(POLICE), registry.issuer_of(account.address)) == (ZERO, bytes(32))
    trust.send(OPERATOR, registry.register_key(BUREAU, KEY))
    assert registry.key(BUREAU, KEY).status is KeyStatus.ACTIVE
    trust.send(OPERATOR, registry.retire_key(BUREAU, KEY))
    key = registry.key(BUREAU, KEY)
    assert key.status is KeyStatus.RETIRED
    assert key.since_s <= key.until_s
    trust.send(OPERATOR, registry.compromise_key(BUREAU, KEY))
    assert registry.key(BUREAU, KEY).status is KeyStatus.COMPROMISED
    trust.send(OPERATOR, registry.register_key(BUREAU, BUSINESS))
    trust.send(REGISTRAR, registry.revoke_key(BUREAU, BUSINESS))
    found = registry.events(start, trust.chain.block_number())
    refs = [event.at for event in found]
    assert refs == sorted(refs)
    assert found == [
        IssuerRecognised(at=refs[0], issuer=BUREAU, licence_type=BUSINESS, city=CITY),
        RecognitionWithdrawn(at=refs[1], issuer=BUREAU, licence_type=BUSINESS, city=CITY),
        IssuerBound(at=refs[2], issuer=BUREAU, account=OPERATOR.address),
        KeyRegistered(at=refs[3], issuer=BUREAU, key_id=KEY),
        KeyRetired(at=refs[4], issuer=BUREAU, key_id=KEY),
        KeyCompromised(at=refs[5], issuer=BUREAU, key_id=KEY),
        KeyRegistered(at=refs[6], issuer=BUREAU, key_id=BUSINESS),
        KeyCompromised(at=refs[7], issuer=BUREAU, key_id=BUSINESS),
    ]


def test_claim_seen_pending_and_sent_first_by_a_stranger_gets_nothing(trust: Trust) -> None:
    registry = trust.issuers
    trust.send(REGISTRAR, registry.bind_issuer(BUREAU, OPERATOR.address))
    error = trust.refusal(STRANGER, registry.register_key(BUREAU, KEY))
    assert error == ("IssuerRegistryNotIssuer", {"caller": STRANGER.address, "issuer": BUREAU})
    error = trust.refusal(STRANGER, registry.bind_issuer(POLICE, STRANGER.address))
    assert error is not None
    assert error[0] == "AccessManagedUnauthorized"
    trust.send(OPERATOR, registry.register_key(BUREAU, KEY))
    assert registry.key(BUREAU, KEY).status is KeyStatus.ACTIVE


def test_claim_sent_first_by_another_issuer_neither_blocks_nor_ends_the_true_one(trust: Trust) -> None:
    registry = trust.issuers
    trust.send(REGISTRAR, registry.bind_issuer(POLICE, OPERATOR.address))
    trust.send(OPERATOR, registry.register_key(POLICE, KEY))
    trust.send(OPERATOR, registry.compromise_key(POLICE, KEY))
    trust.send(REGISTRAR, registry.register_key_for(BUREAU, KEY))
    assert registry.key(BUREAU, KEY).status is KeyStatus.ACTIVE
    assert registry.key(POLICE, KEY).status is KeyStatus.COMPROMISED
    error = trust.refusal(OPERATOR, registry.retire_key(BUREAU, KEY))
    assert error == ("IssuerRegistryNotIssuer", {"caller": OPERATOR.address, "issuer": BUREAU})
    error = trust.refusal(REGISTRAR, registry.register_key_for(BUREAU, KEY))
    assert error == ("IssuerRegistryKeyTaken", {"keyId": KEY, "issuer": BUREAU})


def test_only_the_registrar_acts_for_an_issuer(trust: Trust) -> None:
    registry = trust.issuers
    trust.send(REGISTRAR, registry.register_key_for(BUREAU, KEY))
    for call in (registry.register_key_for(BUREAU, CITY), registry.retire_key_for(BUREAU, KEY)):
        for signer in (OPERATOR, ADMINISTRATOR, STRANGER):
            error = trust.refusal(signer, call)
            assert error is not None
            assert error[0] == "AccessManagedUnauthorized"
    trust.send(REGISTRAR, registry.retire_key_for(BUREAU, KEY))
    assert registry.key(BUREAU, KEY).status is KeyStatus.RETIRED


def test_every_event_of_the_registry_has_its_class_field_by_field() -> None:
    renamed = {"licenceType": "licence_type", "keyId": "key_id"}
    signatures = [s for s in abi.interface("IssuerRegistry").events.values() if s.name != "AuthorityUpdated"]
    assert {s.name for s in signatures} == set(ISSUER_EVENTS)
    for signature in signatures:
        declared = [field.name for field in fields(ISSUER_EVENTS[signature.name]) if field.name != "at"]
        assert declared == [renamed.get(name, name) for name, _ in signature.inputs]


def test_head_out_of_range_cannot_be_built() -> None:
    with pytest.raises(MalformedValue):
        AnchorHead(root=EMPTY_ROOT, size=1 << 64, status_root=EMPTY_ROOT, time_s=0)
    with pytest.raises(MalformedValue):
        AnchorHead(root=EMPTY_ROOT, size=1, status_root=EMPTY_ROOT[1:], time_s=0)  # type: ignore[arg-type]
