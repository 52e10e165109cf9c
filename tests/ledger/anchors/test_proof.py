"""Anchor evidence from a chain to an offline verifier, and everything that is not evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.anchors.deploy import deploy_trust
from ledger.anchors.errors import (
    AnchoredElsewhere,
    AnchorError,
    EvidenceMalformed,
    SealInvalid,
    SealsTooFew,
    TrieProofInvalid,
    WrongBinding,
    WrongChain,
    WrongContract,
)
from ledger.anchors.proof import SLOTS, AnchorProof, binding_of, collect, head_of, header_rlp, verify_anchor
from ledger.anchors.types import EMPTY_ROOT
from ledger.encoding import keccak, parse_json
from ledger.errors import ChainRefused, ChainUnreachable, MalformedValue
from ledger.types import to_hex
from tests.ledger.anchors.sealing import PINNED, VALIDATORS, SealedChain, header_fields, policy_of, sealed
from tests.ledger.anchors.world import (
    ADMINISTRATOR,
    OPERATOR,
    ORIGIN_HASH,
    REGISTRAR,
    Trust,
    leaf,
    make_trust,
    root,
)
from tests.ledger.conftest import Anvil, signer_for

LEAVES = [leaf(i) for i in range(300)]
STATUS = keccak(b"status")


def evidence(trust: Trust, block: int | None = None) -> AnchorProof:
    number = trust.chain.block_number() if block is None else block
    return collect(SealedChain(trust.anvil.url, VALIDATORS[:3]), trust.deployment.anchor, number)


@pytest.fixture(scope="module")
def anchored(trust_chain: Trust) -> tuple[Trust, AnchorProof]:
    """Evidence for a log of 300 entries, with no seal too many."""
    trust_chain.anchor(LEAVES, 300, STATUS)
    return trust_chain, evidence(trust_chain)


# --- what holds ------------------------------------------------------------------------------------------


def test_evidence_proves_the_head_that_the_chain_holds(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, proof = anchored
    proved = verify_anchor(proof, policy_of(trust))
    assert proved.head == trust.log.head()
    assert (proved.head.size, proved.head.root, proved.head.status_root) == (300, root(LEAVES), STATUS)
    block = SealedChain(trust.anvil.url).block(proved.block)
    assert block is not None
    assert (proved.block_hash, proved.block_time_s) == (block.hash, block.timestamp)


def test_evidence_survives_its_json_form(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, proof = anchored
    text = json.dumps(proof.to_json()).encode()
    assert len(text) < 16_384
    again = AnchorProof.from_json(parse_json(text))
    assert again == proof
    verify_anchor(again, policy_of(trust))


def test_head_of_an_empty_log_can_be_proved(trust: Trust) -> None:
    fresh = deploy_trust(
        trust.chain,
        ADMINISTRATOR,
        operator=OPERATOR.address,
        registrar=REGISTRAR.address,
        origin_hash=ORIGIN_HASH,
    )
    proof = collect(SealedChain(trust.anvil.url), fresh.anchor, trust.chain.block_number())
    head = verify_anchor(proof, policy_of(trust, contract=fresh.anchor)).head
    assert (head.root, head.size, head.status_root) == (EMPTY_ROOT, 0, EMPTY_ROOT)


def test_earlier_block_proves_the_earlier_head(trust: Trust) -> None:
    trust.anchor([leaf(i) for i in range(301)], 301, STATUS)
    before = trust.chain.block_number()
    trust.anchor([leaf(i) for i in range(302)], 302, STATUS)
    assert verify_anchor(evidence(trust, before), policy_of(trust)).head.size == 301
    assert verify_anchor(evidence(trust), policy_of(trust)).head.size == 302


def test_binding_is_what_the_contract_keeps(trust: Trust) -> None:
    assert trust.log.binding() == binding_of(trust.deployment.chain_id, ORIGIN_HASH)


# --- seals -----------------------------------------------------------------------------------------------


def resealed(trust: Trust, proof: AnchorProof, signers: list[Any]) -> AnchorProof:
    block = trust.chain.request("eth_getBlockByNumber", hex(trust.chain.block_number()), False)
    return replace(proof, header=sealed(header_fields(block), signers))


def test_too_few_foreign_and_repeated_seals_are_refused(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, proof = anchored
    strangers = [signer_for(f"foreign {i}") for i in range(4)]
    verify_anchor(resealed(trust, proof, VALIDATORS[1:]), policy_of(trust))
    for signers in (VALIDATORS[:2], strangers, [*VALIDATORS[:2], *strangers[:2]], []):
        with pytest.raises(SealsTooFew):
            verify_anchor(resealed(trust, proof, signers), policy_of(trust))
    with pytest.raises(SealInvalid):
        verify_anchor(resealed(trust, proof, [*VALIDATORS[:2], VALIDATORS[0]]), policy_of(trust))
    with pytest.raises(SealsTooFew):
        verify_anchor(proof, policy_of(trust, validators=frozenset(s.address for s in strangers)))


def test_chain_without_seals_proves_nothing(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, _ = anchored
    plain = collect(trust.chain, trust.deployment.anchor, trust.chain.block_number())
    with pytest.raises(EvidenceMalformed):
        verify_anchor(plain, policy_of(trust))


def test_seals_of_another_block_do_not_prove_this_state(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, proof = anchored
    earlier = collect(SealedChain(trust.anvil.url), trust.deployment.anchor, trust.deployment.block + 1)
    with pytest.raises(TrieProofInvalid):
        verify_anchor(replace(proof, header=earlier.header), policy_of(trust))


# --- elsewhere -------------------------------------------------------------------------------------------


def test_anchor_of_another_chain_is_refused_even_under_this_chains_name(
    anchored: tuple[Trust, AnchorProof], start_anvil: Callable[..., Anvil]
) -> None:
    trust, _ = anchored
    other = make_trust(start_anvil("--hardfork", "prague", "--chain-id", "4242"))
    assert other.deployment.anchor == trust.deployment.anchor  # the same deployer and nonce
    other.anchor([leaf(i, b"forged") for i in range(9)], 9, STATUS)
    proof = evidence(other)
    assert verify_anchor(proof, policy_of(other)).head.size == 9
    with pytest.raises(WrongChain) as caught:
        verify_anchor(proof, policy_of(trust))
    assert (caught.value.expected, caught.value.actual) == (31337, 4242)
    with pytest.raises(WrongBinding):
        verify_anchor(replace(proof, chain_id=31337), policy_of(trust))


def test_anchor_of_another_contract_or_log_is_refused(trust: Trust) -> None:
    other = deploy_trust(
        trust.chain,
        ADMINISTRATOR,
        operator=OPERATOR.address,
        registrar=REGISTRAR.address,
        origin_hash=keccak(b"another log"),
    )
    trust.anchor(LEAVES, 300, STATUS)
    proof = collect(SealedChain(trust.anvil.url), other.anchor, trust.chain.block_number())
    with pytest.raises(WrongContract):
        verify_anchor(proof, policy_of(trust))
    with pytest.raises(TrieProofInvalid):
        verify_anchor(replace(proof, contract=trust.deployment.anchor), policy_of(trust))
    with pytest.raises(WrongBinding):
        verify_anchor(proof, policy_of(trust, contract=other.anchor))
    with pytest.raises(AnchoredElsewhere):
        verify_anchor(evidence(trust), policy_of(trust, origin_hash=keccak(b"another log")))


def test_account_and_slots_of_two_contracts_do_not_mix(trust: Trust) -> None:
    other = deploy_trust(
        trust.chain,
        ADMINISTRATOR,
        operator=OPERATOR.address,
        registrar=REGISTRAR.address,
        origin_hash=ORIGIN_HASH,
    )
    trust.anchor(LEAVES, 300, STATUS)
    mine = evidence(trust)
    theirs = collect(SealedChain(trust.anvil.url), other.anchor, trust.chain.block_number())
    for mixed in (replace(mine, slots=theirs.slots), replace(mine, account=theirs.account)):
        with pytest.raises(TrieProofInvalid):
            verify_anchor(mixed, policy_of(trust))


# --- altered ---------------------------------------------------------------------------------------------


def test_slots_out_of_place_are_refused(anchored: tuple[Trust, AnchorProof]) -> None:
    trust, proof = anchored
    a, b, c, d = proof.slots
    for slots in ((b, a, c, d), (a, b, d, c), (a, a, c, d), (a, b, c, c)):
        with pytest.raises(TrieProofInvalid):
            verify_anchor(replace(proof, slots=slots), policy_of(trust))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(data=st.data())
def test_any_altered_byte_is_refused(anchored: tuple[Trust, AnchorProof], data: st.DataObject) -> None:
    trust, proof = anchored
    value = proof.to_json()
    part = data.draw(st.sampled_from(["header", "account", "slots"]))
    holder: Any = value
    key: Any = part
    while isinstance(holder[key], list):
        holder, key = holder[key], data.draw(st.integers(0, len(holder[key]) - 1))
    raw = bytearray.fromhex(holder[key][2:])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    holder[key] = to_hex(bytes(raw))
    with pytest.raises(AnchorError):
        verify_anchor(AnchorProof.from_json(value), policy_of(trust))


def altered_json(proof: AnchorProof) -> dict[str, Any]:
    good = proof.to_json()
    return {
        "no object": [good],
        "no version": {k: v for k, v in good.items() if k != "version"},
        "another version": {**good, "version": "2"},
        "a key too many": {**good, "more": 1},
        "a number": {**good, "chain_id": 31337},
        "chain 0": {**good, "chain_id": "0"},
        "upper-case hex": {**good, "contract": good["contract"].upper()},
        "a short address": {**good, "contract": "0x00"},
        "no header": {**good, "header": "0x"},
        "a header too long": {**good, "header": "0x" + "00" * 70_000},
        "no nodes": {**good, "account": []},
        "nodes that are none": {**good, "account": "0x00"},
        "a node that is a number": {**good, "account": [1]},
        "a node too long": {**good, "account": ["0x" + "00" * 1025]},
        "too many nodes": {**good, "account": good["account"][:1] * 66},
        "a slot too few": {**good, "slots": good["slots"][:-1]},
        "slots that are none": {**good, "slots": {}},
        "a slot that is none": {**good, "slots": [*good["slots"][:-1], "0x00"]},
    }


def test_json_of_another_form_is_refused(anchored: tuple[Trust, AnchorProof]) -> None:
    for name, value in altered_json(anchored[1]).items():
        with pytest.raises(EvidenceMalformed):
            AnchorProof.from_json(value)
            pytest.fail(name)


def test_size_and_time_with_more_in_their_slot_are_refused() -> None:
    slots = dict.fromkeys(SLOTS, (1 << 128).to_bytes(32, "big"))
    with pytest.raises(EvidenceMalformed):
        head_of(slots)


def test_policy_needs_validators(trust: Trust) -> None:
    refused: list[dict[str, Any]] = [
        {"validators": frozenset()},
        {"validators": PINNED | {b"short"}},
        {"chain_id": 0},
    ]
    for changes in refused:
        with pytest.raises(MalformedValue):
            policy_of(trust, **changes)


# --- collecting ------------------------------------------------------------------------------------------


def test_header_that_has_not_the_hash_that_the_node_says_is_refused(trust: Trust) -> None:
    block = trust.chain.request("eth_getBlockByNumber", "latest", False)
    assert keccak(header_rlp(block)) == bytes.fromhex(block["hash"][2:])
    altered_blocks: list[Any] = [
        None,
        [],
        {**block, "stateRoot": to_hex(STATUS)},
        {**block, "gasUsed": None},
        {"hash": "0x"},
    ]
    for altered in altered_blocks:
        with pytest.raises(ChainUnreachable):
            header_rlp(altered)


def test_block_that_is_not_there_is_refused(trust: Trust) -> None:
    with pytest.raises((ChainUnreachable, ChainRefused)):
        collect(trust.chain, trust.deployment.anchor, trust.chain.block_number() + 100)
