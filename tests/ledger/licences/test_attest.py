"""Anchor evidence: attested by witnesses or proved by validators, for the pinned chain and contract only."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.encoding import Address
from ledger.licences.attest import (
    AnchorStatement,
    attest,
    attested_evidence,
    statement_key,
    verify_evidence,
    with_bare_quorum,
)
from ledger.licences.errors import AnchorEvidenceInvalid, AnchorEvidenceMissing, Malformed
from ledger.licences.policy import AnchorKind, AnchorPin
from ledger.licences.verify import State, verify
from ledger.log.checkpoint import cosign
from ledger.log.checkpoint import with_bare_quorum as bare_checkpoint
from ledger.log.errors import NoteMalformed
from ledger.log.notes import ED25519, NoteSigner, SignedNote
from tests.ledger.anchors.sealing import PINNED, VALIDATORS
from tests.ledger.licences.sealed import proved
from tests.ledger.licences.world import build_city, seed_of

CITY = build_city()
LICENCE = CITY.issue()
CITY.publish()
SEALED = replace(CITY.pin, validators=PINNED)
ORIGIN_HASH = sha256(CITY.origin.encode()).digest()


def test_statement_is_nine_lines_and_has_one_form() -> None:
    statement = CITY.statement()
    text = statement.to_text()
    lines = text.split("\n")
    assert lines[0] == "shuyao/anchor/v1" and lines[1] == "31337" and lines[-1] == "" and len(lines) == 10
    assert lines[2] == "0x" + CITY.pin.contract.hex()
    assert AnchorStatement.parse(text) == statement


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shuyao/anchor/v1", "shuyao/anchor/v2"),
        ("31337", "031337"),
        ("31337", "３1337"),
        ("0x", "0X"),
        ("\n77\n", "\n77\n\n"),
        ("\n77\n", "\n-77\n"),
        ("=\n", "\n"),
    ],
)
def test_statement_in_another_form_is_refused(old: str, new: str) -> None:
    text = CITY.statement().to_text()
    with pytest.raises(Malformed):
        AnchorStatement.parse(text.replace(old, new))
    with pytest.raises(Malformed):
        AnchorStatement.parse(text + "\n")


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        AnchorStatement.parse("shuyao/anchor/v1\n" + text)


def test_a_quorum_of_witnesses_attests() -> None:
    found = verify_evidence(CITY.attested(), CITY.trust(), CITY.pin)
    statement = CITY.statement()
    assert (found.kind, found.size, found.root, found.time_s) == (
        "attested",
        statement.size,
        statement.root,
        statement.time_s,
    )


def test_statement_key_is_the_witnesss_own_key_for_plain_notes() -> None:
    witness = CITY.witnesses[0].key
    key = statement_key(witness)
    assert (key.name, key.public_key, key.algorithm) == (witness.name, witness.public_key, ED25519)
    assert key.key_id != witness.key_id
    with pytest.raises(NoteMalformed):
        attest(CITY.statement(), CITY.witnesses[0])


@pytest.mark.parametrize("by", [(0,), (0, 1)])
def test_too_few_or_strangers_prove_nothing(by: tuple[int, ...]) -> None:
    with pytest.raises(AnchorEvidenceMissing):
        verify_evidence(CITY.attested(by=by), CITY.trust(), CITY.pin)
    strangers = [attest(CITY.statement(), NoteSigner.from_seed(f"s{i}", seed_of(i))) for i in range(4)]
    with pytest.raises(AnchorEvidenceMissing):
        verify_evidence(attested_evidence(CITY.statement(), strangers), CITY.trust(), CITY.pin)


def test_signature_of_another_statement_is_forged() -> None:
    evidence = CITY.attested()
    evidence["notes"] = evidence["notes"].replace("\n77\n", "\n78\n")
    with pytest.raises(AnchorEvidenceInvalid) as caught:
        verify_evidence(evidence, CITY.trust(), CITY.pin)
    assert caught.value.reason == "AnchorForged"


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": Address(b"\1" * 20)}])
def test_other_chains_and_contracts_are_refused(change: dict[str, Any]) -> None:
    statement = replace(CITY.statement(), **change)
    for evidence in (CITY.attested(statement), proved(statement, ORIGIN_HASH)):
        with pytest.raises(AnchorEvidenceInvalid) as caught:
            verify_evidence(evidence, CITY.trust(), SEALED)
        assert caught.value.reason == "WrongChain"


def test_sealed_block_proves_the_head() -> None:
    found = verify_evidence(proved(CITY.statement(), ORIGIN_HASH), CITY.trust(), SEALED)
    statement = CITY.statement()
    assert (found.kind, found.size, found.root, found.status_root, found.block) == (
        "proved",
        statement.size,
        statement.root,
        statement.status_root,
        77,
    )


def test_contract_of_another_log_or_chain_is_refused_though_its_seals_hold() -> None:
    foreign = proved(CITY.statement(), sha256(b"another.example/log").digest())
    renamed = proved(replace(CITY.statement(), chain_id=5), ORIGIN_HASH, chain_id=CITY.pin.chain_id)
    for evidence in (foreign, renamed):
        with pytest.raises(AnchorEvidenceInvalid) as caught:
            verify_evidence(evidence, CITY.trust(), SEALED)
        assert caught.value.reason == "WrongChain"


def test_too_few_seals_or_no_pinned_validators_prove_nothing() -> None:
    few = proved(CITY.statement(), ORIGIN_HASH, signers=VALIDATORS[:2])
    with pytest.raises(AnchorEvidenceMissing):
        verify_evidence(few, CITY.trust(), SEALED)
    with pytest.raises(AnchorEvidenceMissing):
        verify_evidence(proved(CITY.statement(), ORIGIN_HASH), CITY.trust(), CITY.pin)


def test_altered_node_is_forged() -> None:
    evidence = proved(CITY.statement(), ORIGIN_HASH)
    node = evidence["proof"]["slots"][0][1]
    evidence["proof"]["slots"][0][1] = node[:-2] + ("00" if node[-2:] != "00" else "01")
    with pytest.raises(AnchorEvidenceInvalid) as caught:
        verify_evidence(evidence, CITY.trust(), SEALED)
    assert caught.value.reason == "AnchorForged"


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"kind": "attested"},
        {"kind": "attested", "notes": 1},
        {"kind": "attested", "notes": ["note"]},
        {"kind": "attested", "notes": "no note"},
        {"kind": "proved", "proof": None},
        {"kind": "proved", "proof": {"version": "1"}},
        {"kind": "sealed", "proof": {}},
        {"kind": ["attested"], "notes": "x"},
        {"kind": "attested", "notes": "x", "proof": {}},
    ],
)
def test_other_evidence_is_forged(evidence: dict[str, Any]) -> None:
    pin = AnchorPin(CITY.pin.chain_id, CITY.pin.contract, PINNED)
    with pytest.raises(AnchorEvidenceInvalid) as caught:
        verify_evidence(evidence, CITY.trust(), pin)
    assert caught.value.reason == "AnchorForged"


@settings(deadline=None)
@given(st.permutations(range(4)), st.integers(0, 4))
def test_a_bare_quorum_proves_what_all_signatures_prove(order: list[int], count: int) -> None:
    quorum, statement = CITY.trust().quorum, CITY.statement()
    stranger = attest(statement, NoteSigner.from_seed("stranger.example", seed_of("stranger")))
    signed = SignedNote.parse(CITY.attested(by=order[:count] or (0,))["notes"])
    evidence = attested_evidence(statement, (stranger, *signed.signatures))
    bare = with_bare_quorum(evidence, quorum)
    lines = SignedNote.parse(bare["notes"]).signatures
    assert len(lines) == 1 + min(len(signed.signatures), quorum.threshold) and lines[0] == stranger
    if count < quorum.threshold:
        assert bare == evidence
        with pytest.raises(AnchorEvidenceMissing):
            verify_evidence(bare, CITY.trust(), CITY.pin)
    else:
        expected = verify_evidence(evidence, CITY.trust(), CITY.pin)
        assert verify_evidence(bare, CITY.trust(), CITY.pin) == expected


def test_sealed_evidence_has_no_quorum_to_bare() -> None:
    evidence = proved(CITY.statement(), ORIGIN_HASH)
    assert with_bare_quorum(evidence, CITY.trust().quorum) is evidence


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 3), st.integers(-400, 400), max_size=4),
    st.lists(st.integers(0, 3), unique=True, min_size=1),
    st.integers(-200, 200),
    st.sampled_from(["none", "attested"]),
)
def test_a_bundle_of_a_bare_quorum_gets_the_same_verdict(
    times: dict[int, int], attesting: list[int], now: int, anchor: AnchorKind
) -> None:
    policy, now_s = CITY.policy(anchor=anchor), CITY.now_s + now
    quorum, published = CITY.trust().quorum, CITY.published
    assert published is not None
    note = SignedNote.parse(CITY.checkpoint(by=()))
    note = note.with_signatures(
        cosign(note.text, CITY.witnesses[who], CITY.now_s + time) for who, time in times.items()
    )
    evidence = CITY.attested(by=attesting)
    full = CITY.bundle(LICENCE, checkpoint=note.to_text(), anchor=evidence)
    bare = replace(
        full,
        checkpoint=bare_checkpoint(note, quorum).to_text(),
        anchor=with_bare_quorum(evidence, quorum),
    )
    expected = verify(full.to_bytes(), policy, now_s=now_s)
    assert verify(bare.to_bytes(), policy, now_s=now_s) == expected
    assert expected.state in (State.VALID, State.UNKNOWN)
