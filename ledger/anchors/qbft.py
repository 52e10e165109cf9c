"""Block headers of a QBFT chain, and the committed seals of their validators.

A QBFT header carries its proof in `extraData`: RLP of [vanity, validators, vote, round, seals]. Validators sign
the hash of the header with the list of seals empty; the block's own hash leaves the round out too.

Source: Hyperledger Besu, `QbftExtraDataCodec` and `BftBlockHashing`; EIP-1559, 4895, 4844, 4788, 7685 (fields).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.anchors import rlp
from ledger.anchors.errors import EvidenceMalformed, SealInvalid, SealsTooFew
from ledger.encoding import keccak
from ledger.errors import BadSignature
from ledger.rlp import Item, encode
from ledger.signing import SIGNATURE_LENGTH, recover
from ledger.types import Address, Digest, to_hex

HEADER_MAX: Final = 1 << 16  # bytes
_FIELDS_MIN: Final = 15  # before EIP-1559
_FIELDS_MAX: Final = 32
_STATE_ROOT, _NUMBER, _TIME, _EXTRA, _MIX = 3, 8, 11, 12, 13
_EXTRA_ITEMS: Final = 5
_VANITY_SIZE: Final = 32
_MIX_HASH: Final = bytes.fromhex("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365")


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A block that enough validators sealed, with those of the pinned ones who did."""

    number: int
    hash: Digest
    state_root: Digest
    time_s: int
    sealers: frozenset[Address]


def quorum(validators: int) -> int:
    """Return how many of n validators must seal a block: two thirds, rounded up."""
    return -(-2 * validators // 3)


def verify_header_seals(header_rlp: bytes, validators: frozenset[Address]) -> SealedHeader:
    """Verify that at least two thirds of the pinned validators sealed a block.

    The header's own list of validators is not asked: who may seal is the caller's policy. Seals of others do not
    count.

    Args:
        header_rlp: the header with its seals.
        validators: pinned, at least one.

    Raises:
        EvidenceMalformed: no header of a QBFT chain.
        SealInvalid: a seal is no signature, or an account sealed twice.
        SealsTooFew: fewer than `quorum(len(validators))` of the pinned validators sealed it.
    """
    fields = _header(header_rlp)
    extra = _extra(fields)
    sealed_by = _sealers(_hash_with(fields, [*extra[:4], []]), rlp.require_list(extra[4], "seals"))
    pinned, need = sealed_by & validators, max(1, quorum(len(validators)))
    if len(pinned) < need:
        raise SealsTooFew(len(pinned), need, len(validators))
    return SealedHeader(
        number=rlp.require_number(fields[_NUMBER], "block number", 8),
        hash=_hash_with(fields, [*extra[:3], b"", []]),
        state_root=Digest(rlp.require_bytes(fields[_STATE_ROOT], "state root", 32)),
        time_s=rlp.require_number(fields[_TIME], "block time", 8),
        sealers=pinned,
    )


def block_hash(header_rlp: bytes) -> Digest:
    """Return the hash that a QBFT chain gives a block: of the header without round and seals.

    Raises:
        EvidenceMalformed: no header of a QBFT chain.
    """
    fields = _header(header_rlp)
    return _hash_with(fields, [*_extra(fields)[:3], b"", []])


def _header(header_rlp: bytes) -> list[Item]:
    if len(header_rlp) > HEADER_MAX:
        raise EvidenceMalformed("header", f"at most {HEADER_MAX} bytes", f"{len(header_rlp)} bytes")
    fields = rlp.decode_list(header_rlp, "header")
    if not _FIELDS_MIN <= len(fields) <= _FIELDS_MAX:
        raise EvidenceMalformed("header", f"{_FIELDS_MIN} to {_FIELDS_MAX} fields", f"{len(fields)}")
    if rlp.require_bytes(fields[_MIX], "mix hash", 32) != _MIX_HASH:
        raise EvidenceMalformed("mix hash", "that of a BFT chain", "another")
    return fields


def _extra(fields: list[Item]) -> list[Item]:
    extra = rlp.decode_list(rlp.require_bytes(fields[_EXTRA], "extra data"), "extra data")
    if len(extra) != _EXTRA_ITEMS:
        raise EvidenceMalformed("extra data", f"{_EXTRA_ITEMS} items", f"{len(extra)}")
    rlp.require_bytes(extra[0], "vanity", _VANITY_SIZE)
    for item in (extra[1], extra[2], extra[4]):
        rlp.require_list(item, "validators, vote and seals")
    rlp.require_number(extra[3], "round", 4)
    return extra


def _hash_with(fields: list[Item], extra: list[Item]) -> Digest:
    return keccak(encode([*fields[:_EXTRA], encode(extra), *fields[_EXTRA + 1 :]]))


def _sealers(digest: bytes, seals: list[Item]) -> frozenset[Address]:
    """Return the accounts that sealed; a seal is r ‖ s ‖ v with v 0 or 1."""
    found: set[Address] = set()
    for seal in seals:
        signature = rlp.require_bytes(seal, "seal", SIGNATURE_LENGTH)
        if signature[64] > 1:
            raise SealInvalid(f"expected v 0 or 1 in a seal, got {signature[64]}")
        try:
            account = recover(digest, signature[:64] + bytes([27 + signature[64]]))
        except BadSignature as err:
            raise SealInvalid(f"expected a signature of the header: {err}") from err
        if account in found:
            raise SealInvalid(f"expected one seal of each validator, got two of {to_hex(account)}")
        found.add(account)
    return frozenset(found)
