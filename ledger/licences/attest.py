"""Evidence that a log's head was anchored on a chain: attested by its witnesses, or proved by the chain's validators.

Source: docs/licence.md §10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Literal

from ledger.anchors.errors import AnchoredElsewhere, AnchorError, SealsTooFew
from ledger.anchors.proof import AnchorPolicy, AnchorProof, verify_anchor
from ledger.encoding import Address, Digest
from ledger.errors import MalformedValue
from ledger.licences.errors import AnchorEvidenceInvalid, AnchorEvidenceMissing, Malformed
from ledger.licences.policy import AnchorPin, City, require_int
from ledger.log.checkpoint import Quorum
from ledger.log.errors import LogError, NoteUnverified
from ledger.log.notes import (
    ED25519,
    NoteKey,
    NoteSignature,
    NoteSigner,
    SignedNote,
    decode_base64,
    encode_base64,
    sign_line,
    verify_note,
)

STATEMENT: Final = "shuyao/anchor/v1"
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})+", re.ASCII)
_LINES: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorStatement:
    """What a witness says that it saw on the chain: a head of the log in a block.

    Attributes:
        chain_id: of the chain.
        contract: LogAnchor's address.
        block: its number.
        block_hash: 32 bytes.
        size: leaves of the log.
        root: of the log, 32 bytes.
        status_root: 32 bytes.
        time_s: of the block, Unix seconds.
    """

    chain_id: int
    contract: Address
    block: int
    block_hash: bytes
    size: int
    root: bytes
    status_root: bytes
    time_s: int

    def __post_init__(self) -> None:
        for name in ("chain_id", "block", "size", "time_s"):
            require_int(f"anchor.{name}", getattr(self, name), 0, (1 << 53) - 1)
        if len(self.contract) != 20 or any(
            len(d) != 32 for d in (self.block_hash, self.root, self.status_root)
        ):
            raise Malformed("anchor", "an address of 20 bytes and digests of 32", "another length")

    def to_text(self) -> str:
        """Return the note's text."""
        lines = (
            STATEMENT,
            str(self.chain_id),
            "0x" + self.contract.hex(),
            str(self.block),
            "0x" + self.block_hash.hex(),
            str(self.size),
            encode_base64(self.root),
            encode_base64(self.status_root),
            str(self.time_s),
            "",
        )
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> AnchorStatement:
        """Read a note's text.

        Raises:
            Malformed: other lines, or one that is not in its one form.
        """
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines[0] != STATEMENT or lines[-1]:
            raise Malformed("anchor", f"{_LINES} lines that begin with {STATEMENT}", "something else")
        _, chain_id, contract, block, block_hash, size, root, status_root, time_s, _ = lines
        if not all(map(_DECIMAL.fullmatch, (chain_id, block, size, time_s))):
            raise Malformed("anchor", "decimal numbers", "something else")
        if not all(map(_HEX.fullmatch, (contract, block_hash))):
            raise Malformed("anchor", "lower-case hex with 0x", "something else")
        try:
            roots = decode_base64(root, "root"), decode_base64(status_root, "status root")
        except LogError as err:
            raise Malformed("anchor", "roots in base64", "something else") from err
        return cls(
            chain_id=int(chain_id),
            contract=Address(bytes.fromhex(contract[2:])),
            block=int(block),
            block_hash=bytes.fromhex(block_hash[2:]),
            size=int(size),
            root=roots[0],
            status_root=roots[1],
            time_s=int(time_s),
        )


@dataclass(frozen=True, slots=True)
class VerifiedAnchor:
    """A head that was on the pinned chain, and how that is known."""

    kind: Literal["attested", "proved"]
    size: int
    root: Digest
    status_root: Digest
    block: int
    block_hash: Digest
    time_s: int


@lru_cache(maxsize=4096)
def statement_key(witness: NoteKey) -> NoteKey:
    """Return the key under which a witness signs statements: its own key under its own name, as a plain note key (0x01).

    The first line of what it signs keeps statements and cosignatures apart.
    """
    return NoteKey(witness.name, ED25519, witness.public_key)


def attest(statement: AnchorStatement, signer: NoteSigner) -> NoteSignature:
    """Sign a statement as a witness.

    Args:
        statement: what the witness has checked itself against its own node.
        signer: the witness's, of the plain note algorithm (0x01).

    Raises:
        NoteMalformed: the signer is a cosigner's.
    """
    return sign_line(statement.to_text(), signer)


def attested_evidence(statement: AnchorStatement, signatures: Iterable[NoteSignature]) -> dict[str, Any]:
    """Return the evidence of kind `attested`.

    Raises:
        NoteMalformed: no signature, or a witness twice.
    """
    return {"kind": "attested", "notes": SignedNote(statement.to_text(), tuple(signatures)).to_text()}


def with_bare_quorum(evidence: Mapping[str, Any], quorum: Quorum) -> Mapping[str, Any]:
    """Return attested evidence with no more of a quorum's signatures than it needs; evidence of another kind as it is.

    Args:
        evidence: as `attested_evidence` returns it, checked when it was collected.
        quorum: of the verifiers for whom it is meant.

    Raises:
        NoteMalformed: the notes of the evidence are no note.
    """
    if evidence.get("kind") != "attested":
        return evidence
    note = SignedNote.parse(evidence["notes"])
    keys = {(key.name, key.key_id) for key in map(statement_key, quorum.keys)}
    known = [line for line in note.signatures if (line.name, line.key_id) in keys]
    spare = set(known[quorum.threshold :])
    kept = tuple(line for line in note.signatures if line not in spare)
    return {**evidence, "notes": SignedNote(note.text, kept).to_text()}


def proved_evidence(proof: AnchorProof) -> dict[str, Any]:
    """Return the evidence of kind `proved`."""
    return {"kind": "proved", "proof": proof.to_json()}


def verify_evidence(evidence: Mapping[str, Any], city: City, pin: AnchorPin) -> VerifiedAnchor:
    """Verify evidence of either kind against a city's witnesses and the chain that the policy pins.

    Raises:
        AnchorEvidenceInvalid: another chain or contract (`WrongChain`), or a signature, seal or node that is not
            what it must be (`AnchorForged`).
        AnchorEvidenceMissing: too few witnesses or validators, or no validators are pinned.
    """
    if evidence.keys() == {"kind", "notes"} and evidence["kind"] == "attested":
        if not isinstance(evidence["notes"], str):
            raise AnchorEvidenceInvalid("AnchorForged", "expected a signed note, got something else")
        return _attested(evidence["notes"], city, pin)
    if evidence.keys() == {"kind", "proof"} and evidence["kind"] == "proved":
        return _proved(evidence["proof"], city.origin, pin)
    raise AnchorEvidenceInvalid(
        "AnchorForged", "expected evidence that is attested or proved, got another kind"
    )


@lru_cache(
    maxsize=64
)  # bundles of one checkpoint have one statement; what is kept was verified with these keys
def _attested(text: str, city: City, pin: AnchorPin) -> VerifiedAnchor:
    try:
        note = SignedNote.parse(text)
        statement = AnchorStatement.parse(note.text)
    except (LogError, Malformed) as err:
        raise AnchorEvidenceInvalid("AnchorForged", str(err)) from err
    if (statement.chain_id, statement.contract) != (pin.chain_id, pin.contract):
        raise AnchorEvidenceInvalid(
            "WrongChain", "a statement about another chain or contract than the pinned one"
        )
    keys = {(key.name, key.key_id): key for key in map(statement_key, city.quorum.keys)}
    signed = [line for line in note.signatures if (line.name, line.key_id) in keys]
    try:
        found = verify_note(note, keys.values()) if signed else ()
    except NoteUnverified as err:
        raise AnchorEvidenceInvalid("AnchorForged", str(err)) from err
    if len(found) < city.quorum.threshold:
        raise AnchorEvidenceMissing(f"{len(found)} known witnesses attest, {city.quorum.threshold} needed")
    return VerifiedAnchor(
        "attested",
        statement.size,
        Digest(statement.root),
        Digest(statement.status_root),
        statement.block,
        Digest(statement.block_hash),
        statement.time_s,
    )


def _proved(value: object, origin: str, pin: AnchorPin) -> VerifiedAnchor:
    if not pin.validators:
        raise AnchorEvidenceMissing("the policy pins no validators, whose seals a proof needs")
    try:
        policy = AnchorPolicy(
            pin.chain_id, pin.contract, sha256(origin.encode("ascii")).digest(), pin.validators
        )
        proved = verify_anchor(AnchorProof.from_json(value), policy)
    except AnchoredElsewhere as err:
        raise AnchorEvidenceInvalid("WrongChain", str(err)) from err
    except SealsTooFew as err:
        raise AnchorEvidenceMissing(str(err)) from err
    except (AnchorError, MalformedValue) as err:
        raise AnchorEvidenceInvalid("AnchorForged", str(err)) from err
    head = proved.head
    return VerifiedAnchor(
        "proved", head.size, head.root, head.status_root, proved.block, proved.block_hash, proved.block_time_s
    )
