"""What the chain says about the log: every anchor event, from a node or from an export of one.

An export is one JSON file: `{"version":1,"chain_id","contract","origin_hash","head","anchors","blocks"}`, integers as decimal
strings, bytes as lower-case hex with 0x; `head` is LogAnchor's storage, `anchors` its events in order, `blocks` number, hash and
time of each block that an anchor names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from ledger.anchors.contract import LogAnchorContract
from ledger.anchors.types import EMPTY_ROOT, Anchored, AnchorHead
from ledger.chain import Chain
from ledger.encoding import (
    U64_MAX,
    U256_MAX,
    Address,
    Digest,
    canonical_json,
    decimal,
    parse_decimal,
    parse_hex,
    parse_json,
    require_keys,
    to_hex,
)
from ledger.errors import MalformedValue
from ledger.licences.policy import AnchorPin
from ledger.replay.errors import ExportMalformed, LogUnreadable
from ledger.replay.findings import Difference, Rule

VERSION: Final = 1
EXPORT_SIZE_MAX: Final = 1 << 28
_ANCHOR_KEYS: Final = frozenset({"size", "root", "status_root", "time_s", "block", "block_hash", "tx_hash"})
_HEAD_KEYS: Final = frozenset({"size", "root", "status_root", "time_s"})
_BLOCK_KEYS: Final = frozenset({"number", "hash", "time_s"})
_EXPORT_KEYS: Final = frozenset(
    {"version", "chain_id", "contract", "origin_hash", "head", "anchors", "blocks"}
)


@dataclass(frozen=True, slots=True)
class BlockFact:
    """A block of the chain: its hash (32 bytes) and time (Unix seconds)."""

    hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """The anchors of one log on one chain.

    Args:
        chain_id: of the chain.
        contract: LogAnchor's address.
        origin_hash: that the contract was made with, 32 bytes.
        head: the contract's storage.
        anchors: its events, in the chain's order.
        blocks: the blocks that the events name, as the chain has them.
    """

    chain_id: int
    contract: Address
    origin_hash: bytes
    head: AnchorHead
    anchors: tuple[Anchored, ...]
    blocks: Mapping[int, BlockFact]

    def sizes(self, size_max: int) -> set[int]:
        """Return the anchored sizes up to `size_max`."""
        return {anchor.size for anchor in self.anchors if anchor.size <= size_max}

    def to_bytes(self) -> bytes:
        """Return the export: RFC 8785 bytes."""
        return canonical_json(
            {
                "version": VERSION,
                "chain_id": decimal(self.chain_id),
                "contract": to_hex(self.contract),
                "origin_hash": to_hex(self.origin_hash),
                "head": _values(self.head, _HEAD_KEYS),
                "anchors": [_values(anchor, _ANCHOR_KEYS) for anchor in self.anchors],
                "blocks": [
                    {"number": decimal(number), "hash": to_hex(block.hash), "time_s": decimal(block.time_s)}
                    for number, block in sorted(self.blocks.items())
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ChainFacts:
        """Read an export.

        Raises:
            ExportMalformed: no JSON, other members, or a value outside its type.
        """
        try:
            given = require_keys("export", parse_json(data, size_max=EXPORT_SIZE_MAX), _EXPORT_KEYS)
            if given["version"] != VERSION or not isinstance(given["version"], int):
                raise ExportMalformed("version", str(VERSION), "another version")
            return cls(
                chain_id=parse_decimal(given["chain_id"], "chain_id", 1, U256_MAX),
                contract=Address(parse_hex(given["contract"], "contract", 20)),
                origin_hash=parse_hex(given["origin_hash"], "origin_hash", 32),
                head=AnchorHead(**_parsed("head", given["head"], _HEAD_KEYS)),
                anchors=tuple(
                    Anchored(**_parsed("anchors", item, _ANCHOR_KEYS))
                    for item in _array("anchors", given["anchors"])
                ),
                blocks=dict(_blocks(given["blocks"])),
            )
        except MalformedValue as err:
            raise ExportMalformed(err.field, err.expected, err.actual) from err

    @classmethod
    def load(cls, path: Path) -> ChainFacts:
        """Read an export from a file.

        Raises:
            LogUnreadable: the file cannot be read.
            ExportMalformed: as `from_bytes`.
        """
        try:
            with path.open("rb") as file:
                return cls.from_bytes(file.read(EXPORT_SIZE_MAX + 1))
        except OSError as err:
            raise LogUnreadable(path.name, err.strerror or "not readable") from err


def collect(chain: Chain, contract: Address, *, from_block: int = 0) -> ChainFacts:
    """Read a log's anchors from a node.

    Args:
        chain: a node that the caller trusts.
        contract: LogAnchor's address.
        from_block: block of the contract's deployment, or one before it.

    Raises:
        ChainMismatch: there is no contract at this address.
        ChainUnreachable: no usable answer.
        ContractReverted: the contract is another one.
        MalformedLog: an event does not decode.
    """
    chain.require_code(contract, "LogAnchor")
    log_anchor = LogAnchorContract(chain, contract)
    tip = chain.block_number()
    anchors = log_anchor.events(from_block, tip)
    blocks = {}
    for number in sorted({anchor.block for anchor in anchors}):
        block = chain.block(number)
        if block is not None:
            blocks[number] = BlockFact(block.hash, block.timestamp)
    return ChainFacts(
        chain_id=chain.chain_id(),
        contract=contract,
        origin_hash=log_anchor.origin_hash(),
        head=log_anchor.head(tip),
        anchors=tuple(anchors),
        blocks=blocks,
    )


def check_anchors(
    facts: ChainFacts,
    *,
    origin: str,
    size: int,
    roots: Mapping[int, bytes],
    status_roots: Mapping[int, bytes],
    pin: AnchorPin | None = None,
) -> Iterator[Difference]:
    """Compare every anchor with the log.

    Args:
        facts: of the chain.
        origin: of the log.
        size: entries of the log.
        roots: the log's root at each anchored size up to `size`.
        status_roots: the status root at each of them.
        pin: chain and contract by the caller's policy.
    """
    if pin is not None and (pin.chain_id, pin.contract) != (facts.chain_id, facts.contract):
        detail = (
            f"the policy has contract {to_hex(pin.contract)} on chain {pin.chain_id}, "
            f"these are the anchors of {to_hex(facts.contract)} on chain {facts.chain_id}"
        )
        yield Difference(Rule.ANCHOR_CHAIN, detail)
    if sha256(origin.encode()).digest() != facts.origin_hash:
        yield Difference(Rule.ANCHOR_CHAIN, f"the contract is another log's, not that of {origin}")
    before = AnchorHead(EMPTY_ROOT, 0, EMPTY_ROOT, 0)
    if not facts.anchors or facts.anchors[0].size:
        yield Difference(Rule.ANCHOR_HEAD, "the contract's first event, at size 0, is missing", index=0)
    for anchor in facts.anchors:
        yield from _check_block(facts, anchor)
        if anchor.size < before.size:
            detail = f"size {anchor.size} after size {before.size}"
            yield Difference(Rule.ANCHOR_ORDER, detail, index=anchor.size, block=anchor.block)
        before = AnchorHead(anchor.root, anchor.size, anchor.status_root, anchor.time_s)
        if anchor.size > size:
            detail = f"the chain has a head of {anchor.size} entries, the log has {size}"
            yield Difference(Rule.ANCHOR_BEYOND_LOG, detail, index=size, block=anchor.block)
            continue
        for rule, anchored, derived in (
            (Rule.ANCHOR_ROOT, anchor.root, roots[anchor.size]),
            (Rule.ANCHOR_STATUS_ROOT, anchor.status_root, status_roots[anchor.size]),
        ):
            if anchored != derived:
                detail = (
                    f"at size {anchor.size} the chain has {anchored.hex()}, the log gives {derived.hex()}"
                )
                yield Difference(rule, detail, index=anchor.size, block=anchor.block)
    if before != facts.head:
        detail = (
            f"the contract's head is size {facts.head.size} with root {facts.head.root.hex()}, "
            f"the last event size {before.size} with root {before.root.hex()}: an anchor's block is missing"
        )
        yield Difference(Rule.ANCHOR_HEAD, detail, index=before.size)


def _check_block(facts: ChainFacts, anchor: Anchored) -> Iterator[Difference]:
    block = facts.blocks.get(anchor.block)
    if block is None or block.hash != anchor.block_hash:
        actual = "no such block" if block is None else block.hash.hex()
        detail = f"expected the block {anchor.block_hash.hex()}, the chain has {actual}"
        yield Difference(Rule.ANCHOR_BLOCK, detail, index=anchor.size, block=anchor.block)
    elif block.time_s != anchor.time_s:
        detail = f"expected the block's time {block.time_s}, the event says {anchor.time_s}"
        yield Difference(Rule.ANCHOR_TIME, detail, index=anchor.size, block=anchor.block)


def _values(item: AnchorHead | Anchored, keys: frozenset[str]) -> dict[str, str]:
    found = {key: getattr(item, key) for key in keys}
    return {key: to_hex(v) if isinstance(v, bytes) else decimal(v) for key, v in found.items()}


def _parsed(field: str, value: object, keys: frozenset[str]) -> dict[str, Any]:
    given = require_keys(field, value, keys)
    return {
        key: parse_decimal(text, f"{field}.{key}", 0, U64_MAX)
        if key in ("size", "time_s", "block", "number")
        else Digest(parse_hex(text, f"{field}.{key}", 32))
        for key, text in given.items()
    }


def _array(field: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedValue(field, "an array", type(value).__name__)
    return value


def _blocks(value: object) -> Iterator[tuple[int, BlockFact]]:
    for item in _array("blocks", value):
        parsed = _parsed("blocks", item, _BLOCK_KEYS)
        yield parsed["number"], BlockFact(parsed["hash"], parsed["time_s"])
