"""RFC 6962 consistency vectors, the refused ones too, against LogAnchor on a chain."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from ledger.anchors.types import EMPTY_ROOT
from tests.ledger.anchors.conftest import trust_chain as trust_chain
from tests.ledger.anchors.world import OPERATOR, Trust, call_from, head_slots
from tests.vectors.shared_files import shared_path

# From size 0 the contract takes any tree without a proof, since every tree extends the empty one. The vectors' library asks for no
# such proof and calls one that is empty useless, whatever the older root is.
FROM_NOTHING = {"size1-is-zero-and-does-not-equal-size2", "size1-is-zero-and-size2-is-not-zero"}


def vectors() -> list[tuple[str, dict[str, Any]]]:
    folder: Path = shared_path("vectors", "merkle", "consistency")
    return [(p.stem, json.loads(p.read_text(encoding="utf-8"))) for p in sorted(folder.rglob("*.json"))]


def word(text: str) -> bytes:
    """A hash as the ABI can carry it: what is no hash is filled up, so that equal stays equal and other stays other."""
    return base64.b64decode(text).ljust(32, b"\0")


def answer(trust: Trust, vector: dict[str, Any]) -> str | None:
    """What the contract says to the newer tree when the older one is anchored: an error's name, or None."""
    root1, root2 = word(vector["root1"]), word(vector["root2"])
    proof = [word(hash_) for hash_ in vector["proof"] or []]
    call = trust.log.anchor_call(root2, vector["size2"], EMPTY_ROOT, proof)
    # At size 0 the contract has the empty root, whatever the vector calls the root of no entries.
    slots = head_slots(root1, vector["size1"], EMPTY_ROOT) if vector["size1"] else {}
    return call_from(trust.chain, call, OPERATOR.address, slots)


def test_contract_agrees_with_every_vector(trust_chain: Trust) -> None:
    seen = 0
    for name, vector in vectors():
        error = answer(trust_chain, vector)
        expected = vector["wantErr"] and name not in FROM_NOTHING
        assert (error is not None) == expected, (name, error)
        seen += 1
    assert seen >= 90


def test_refusals_have_the_name_of_what_is_wrong(trust_chain: Trust) -> None:
    named = {name: answer(trust_chain, vector) for name, vector in vectors()}
    assert named["size1-is-greater-than-size2"] == "LogAnchorRollback"
    assert named["sizes-are-equal-one-but-roots-are-not"] == "LogAnchorFork"
    assert named["roots-do-not-not-match-and-sizes-are-one"] == "LogAnchorFork"
    assert named["truncated-proof"] == "LogAnchorProofInvalid"
    assert named["trailing-garbage"] == "LogAnchorProofInvalid"
