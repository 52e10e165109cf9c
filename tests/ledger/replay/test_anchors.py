"""Anchors from a real chain, and from an export of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.encoding import Address
from ledger.errors import ChainMismatch
from ledger.licences.policy import AnchorPin
from ledger.log.tree import hash_leaves
from ledger.replay.anchors import ChainFacts, check_anchors, collect
from ledger.replay.errors import ExportMalformed, LogUnreadable
from ledger.replay.findings import Rule
from ledger.replay.licences import Against, replay_log
from ledger.replay.stages import ReplayOptions
from tests.ledger.anchors.conftest import trust_chain as trust_chain
from tests.ledger.anchors.world import ORIGIN_HASH, Trust
from tests.ledger.replay.synthetic import CITY, CONTRACT, ORIGIN, honest_log, seed


def test_a_log_is_replayed_against_a_chain(trust_chain: Trust, tmp_path: Path) -> None:
    log = honest_log()
    log.write(tmp_path)
    hashes = hash_leaves(log.entries)
    leaves = [hashes[i : i + 32] for i in range(0, len(hashes), 32)]
    for size in (256, 303, len(leaves)):
        trust_chain.anchor(leaves, size, log.status_root(size))
    facts = collect(trust_chain.chain, trust_chain.deployment.anchor, from_block=trust_chain.deployment.block)
    assert [anchor.size for anchor in facts.anchors] == [0, 256, 303, len(leaves)]
    assert facts.origin_hash == ORIGIN_HASH
    assert ChainFacts.from_bytes(facts.to_bytes()) == facts
    own = replace(facts, origin_hash=hashlib.sha256(ORIGIN.encode()).digest())
    options = ReplayOptions(rand=bytes(8), workers=0)
    replay = replay_log(tmp_path, options=options, against=Against(city=CITY, chain=own))
    assert (replay.findings.kept, replay.anchors) == ([], 4)
    late = collect(trust_chain.chain, trust_chain.deployment.anchor, from_block=facts.anchors[1].block)
    late = replace(late, origin_hash=own.origin_hash)
    replay = replay_log(tmp_path, options=options, against=Against(city=CITY, chain=late))
    assert [difference.rule for difference in replay.findings.kept] == [Rule.ANCHOR_HEAD]


def test_an_address_without_a_contract_is_refused(trust_chain: Trust) -> None:
    with pytest.raises(ChainMismatch):
        collect(trust_chain.chain, Address(b"\x77" * 20))


def test_another_chain_than_the_policys_is_found() -> None:
    log = honest_log()
    facts = log.chain(256)
    roots = {a.size: a.root for a in facts.anchors}
    status_roots = {a.size: a.status_root for a in facts.anchors}
    for pin, rules in (
        (AnchorPin(31337, CONTRACT), []),
        (AnchorPin(31338, CONTRACT), [Rule.ANCHOR_CHAIN]),
        (AnchorPin(31337, Address(b"\x12" * 20)), [Rule.ANCHOR_CHAIN]),
    ):
        found = check_anchors(facts, origin=ORIGIN, size=621, roots=roots, status_roots=status_roots, pin=pin)
        assert [difference.rule for difference in found] == rules


def malformed_exports() -> Iterator[bytes]:
    good = json.loads(honest_log().chain(256).to_bytes())
    yield b"{"
    yield b"[]"
    for name in good:
        yield json.dumps({key: value for key, value in good.items() if key != name}).encode()
    for name, value in (
        ("version", 2),
        ("chain_id", "0"),
        ("contract", "0x12"),
        ("head", []),
        ("anchors", {}),
        ("anchors", [{}]),
        ("blocks", [{"number": 1, "hash": "0x", "time_s": "1"}]),
        ("origin_hash", seed("x").hex()),
    ):
        yield json.dumps({**good, name: value}).encode()


@pytest.mark.parametrize("data", list(malformed_exports()))
def test_a_malformed_export_is_refused(data: bytes) -> None:
    with pytest.raises(ExportMalformed):
        ChainFacts.from_bytes(data)


def test_a_missing_export_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable):
        ChainFacts.load(tmp_path / "anchors.json")


@pytest.mark.slow
def test_an_export_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anchors.json"
    path.touch()
    os.truncate(path, 1 << 40)  # a hole, which takes no disk; read whole it would take the memory
    with pytest.raises(ExportMalformed, match="at most"):
        ChainFacts.load(path)
