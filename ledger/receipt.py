"""The buyer's receipt: one canonical JSON text that proves an answer against the chain.

Parsing is strict: RFC 8785 bytes, exact keys, lower-case hex, decimal strings in range. So a receipt has
one form, and `dump_receipt(parse_receipt(data)) == data`. What the values mean is checked by the
verifier; here it is checked that they are values.

Source: docs/protocol.md; RFC 8785.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from ledger.encoding import (
    U256_MAX,
    Address,
    Digest,
    canonical_json,
    decimal,
    keccak,
    parse_canonical_json,
    parse_decimal,
    parse_hex,
    require_keys,
    tagged_hash,
    to_hex,
)
from ledger.errors import BadSignature, MalformedValue, ReceiptInvalid
from ledger.request import MAX_HOLDERS, Request
from ledger.signing import Signer, require_signature

SIZE_MAX: Final = 1 << 25
CELLS_MAX: Final = 1 << 17
CELL_BOUND: Final = (1 << 62) - 1  # |X_j| < 2^62
PAYLOAD_MAX: Final = (1 << 20) + 32  # of one message (docs/protocol.md §4)
DEPOSIT_KIND: Final = "deposit"  # of a plan whose receipt has the member of this name
BLS_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001  # q

Scalar = str | int | float | None
Table = tuple[tuple[Scalar, ...], ...]


@dataclass(frozen=True, slots=True)
class RosterMember:
    """One approval: who, with which asset, on which line, with which session keys, and what fixed its noise."""

    holder: Address
    asset: bytes
    asset_version: int
    line: bytes
    mask_key: bytes
    share_key: bytes
    e_x: bytes
    e_parity: int
    noise_commitment: bytes


@dataclass(frozen=True, slots=True)
class Survivor:
    """One contribution: index in the roster, commitment (128 bytes), input hash and the buyer's pad key."""

    index: int
    commitment: bytes
    input_hash: bytes
    pad: bytes


@dataclass(frozen=True, slots=True)
class ReceiptAnswer:
    """The answer's root on the chain, its cells without the pads, and the sum of the blindings."""

    root: bytes
    cells: tuple[int, ...]
    blinding: int


@dataclass(frozen=True, slots=True)
class ReceiptTable:
    """The decoded answer as it was shown: column names, rows, and each cell's 95 % error."""

    columns: tuple[str, ...]
    rows: Table
    error95: Table


@dataclass(frozen=True, slots=True)
class Carried:
    """The payload of one message, and its sender's index in the roster."""

    index: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReceiptDeposit:
    """What an answer over an encrypted deposit was decrypted from, and to.

    Attributes:
        bundles: payloads of kind 1 of all that shared.
        inputs: payloads of kind 2 of the survivors.
        values: the plan's values, in the order of its layout.
    """

    bundles: tuple[Carried, ...]
    inputs: tuple[Carried, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A buyer's receipt, version 1. `plan` is the plan's JSON; its hash is in the request.

    `deposit` is there for a plan over an encrypted deposit, and for no other.
    """

    chain_id: int
    ledger: Address
    request: Request
    request_signature: bytes
    plan: Mapping[str, Any]
    roster: tuple[RosterMember, ...]
    survivors: tuple[Survivor, ...]
    answer: ReceiptAnswer
    table: ReceiptTable
    signature: bytes
    deposit: ReceiptDeposit | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**_unsigned(self), "signature": to_hex(self.signature)}


def receipt_digest(receipt: Receipt) -> Digest:
    """Return what the buyer signs: H("buyer-receipt"; keccak(JCS(receipt without signature)))."""
    return tagged_hash("buyer-receipt", keccak(canonical_json(_unsigned(receipt))))


def sign_receipt(signer: Signer, receipt: Receipt) -> Receipt:
    """Return the receipt with its buyer's signature.

    Raises:
        BadSignature: the signer is not the request's buyer.
    """
    if signer.address != receipt.request.buyer:
        raise BadSignature(
            f"expected the buyer {to_hex(receipt.request.buyer)}, got {to_hex(signer.address)}"
        )
    return replace(receipt, signature=signer.sign(receipt_digest(receipt)))


def require_receipt_signature(receipt: Receipt) -> None:
    """Require that the request's buyer signed the receipt.

    Raises:
        BadSignature: malformed, or made by another account.
    """
    require_signature(receipt.request.buyer, receipt_digest(receipt), receipt.signature)


def dump_receipt(receipt: Receipt) -> bytes:
    """Return the receipt's canonical bytes.

    Raises:
        ReceiptInvalid: a value is none that a receipt may have.
    """
    try:
        data = canonical_json(receipt.to_json())
    except MalformedValue as err:
        raise ReceiptInvalid(err.field, str(err)) from err
    parse_receipt(data)
    return data


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt.

    Raises:
        ReceiptInvalid: naming the first field that is not as it must be.
    """
    try:
        return _receipt(parse_canonical_json(data, size_max=SIZE_MAX))
    except MalformedValue as err:
        raise ReceiptInvalid(err.field, str(err)) from err


# --- writing ---------------------------------------------------------------------------------------------


def _unsigned(receipt: Receipt) -> dict[str, Any]:
    answer, table = receipt.answer, receipt.table
    more = {} if receipt.deposit is None else {DEPOSIT_KIND: _deposit_json(receipt.deposit)}
    return more | {
        "version": "1",
        "chain_id": decimal(receipt.chain_id),
        "ledger": to_hex(receipt.ledger),
        "request": receipt.request.to_json(),
        "request_signature": to_hex(receipt.request_signature),
        "plan": dict(receipt.plan),
        "roster": [_plain(member) for member in receipt.roster],
        "survivors": [_plain(survivor) for survivor in receipt.survivors],
        "answer": {
            "root": to_hex(answer.root),
            "cells": [decimal(cell) for cell in answer.cells],
            "blinding": decimal(answer.blinding),
        },
        "table": {
            "columns": list(table.columns),
            "rows": [list(row) for row in table.rows],
            "error95": [list(row) for row in table.error95],
        },
    }


def _deposit_json(deposit: ReceiptDeposit) -> dict[str, Any]:
    return {
        "bundles": [_plain(each) for each in deposit.bundles],
        "inputs": [_plain(each) for each in deposit.inputs],
        "values": [decimal(value) for value in deposit.values],
    }


def _plain(value: RosterMember | Survivor | Carried) -> dict[str, str]:
    fields = {name: getattr(value, name) for name in type(value).__slots__}
    return {name: to_hex(v) if isinstance(v, bytes) else decimal(v) for name, v in fields.items()}


# --- reading ---------------------------------------------------------------------------------------------


def _receipt(value: object) -> Receipt:
    given = require_keys("receipt", value, _members_of(value))
    if given["version"] != "1":
        raise MalformedValue("version", "1", repr(given["version"])[:20])
    plan = given["plan"]
    if not isinstance(plan, dict):
        raise MalformedValue("plan", "an object", type(plan).__name__)
    roster = tuple(
        _member(f"roster[{i}]", v) for i, v in enumerate(_list("roster", given["roster"], MAX_HOLDERS))
    )
    listed = enumerate(_list("survivors", given["survivors"], MAX_HOLDERS))
    survivors = tuple(_survivor(f"survivors[{i}]", v, len(roster)) for i, v in listed)
    _require_ascending("roster", [member.holder for member in roster])
    _require_ascending("survivors", [survivor.index for survivor in survivors])
    return Receipt(
        chain_id=parse_decimal(given["chain_id"], "chain_id", 1, U256_MAX),
        ledger=Address(parse_hex(given["ledger"], "ledger", 20)),
        request=Request.from_json(given["request"]),
        request_signature=parse_hex(given["request_signature"], "request_signature", 65),
        plan=plan,
        roster=roster,
        survivors=survivors,
        answer=_answer(given["answer"]),
        table=_table(given["table"]),
        signature=parse_hex(given["signature"], "signature", 65),
        deposit=_deposit(given[DEPOSIT_KIND], len(roster)) if DEPOSIT_KIND in given else None,
    )


def _members_of(value: object) -> frozenset[str]:
    """Return the members that a receipt has, by the kind of its plan."""
    plan = value.get("plan") if isinstance(value, dict) else None
    is_deposit = isinstance(plan, dict) and plan.get("kind") == DEPOSIT_KIND
    return frozenset({"version", *Receipt.__slots__} - (set() if is_deposit else {DEPOSIT_KIND}))


def _deposit(value: object, roster: int) -> ReceiptDeposit:
    given = require_keys(DEPOSIT_KIND, value, frozenset(ReceiptDeposit.__slots__))
    values = enumerate(_list("deposit.values", given["values"], CELLS_MAX))
    return ReceiptDeposit(
        bundles=_carried("deposit.bundles", given["bundles"], roster),
        inputs=_carried("deposit.inputs", given["inputs"], roster),
        values=tuple(
            parse_decimal(each, f"deposit.values[{i}]", -CELL_BOUND, CELL_BOUND) for i, each in values
        ),
    )


def _carried(path: str, value: object, roster: int) -> tuple[Carried, ...]:
    carried = []
    for i, each in enumerate(_list(path, value, MAX_HOLDERS)):
        given = require_keys(f"{path}[{i}]", each, frozenset(Carried.__slots__))
        payload = parse_hex(given["payload"], f"{path}[{i}].payload", None)
        if len(payload) > PAYLOAD_MAX:
            raise MalformedValue(f"{path}[{i}].payload", f"at most {PAYLOAD_MAX} bytes", f"{len(payload)}")
        index = parse_decimal(given["index"], f"{path}[{i}].index", 0, roster - 1)
        carried.append(Carried(index, payload))
    _require_ascending(path, [each.index for each in carried])
    return tuple(carried)


def _member(path: str, value: object) -> RosterMember:
    given = require_keys(path, value, frozenset(RosterMember.__slots__))
    return RosterMember(
        holder=Address(parse_hex(given["holder"], f"{path}.holder", 20)),
        asset=parse_hex(given["asset"], f"{path}.asset", 32),
        asset_version=parse_decimal(given["asset_version"], f"{path}.asset_version", 1, (1 << 32) - 1),
        line=parse_hex(given["line"], f"{path}.line", 32),
        mask_key=parse_hex(given["mask_key"], f"{path}.mask_key", 32),
        share_key=parse_hex(given["share_key"], f"{path}.share_key", 32),
        e_x=parse_hex(given["e_x"], f"{path}.e_x", 32),
        e_parity=parse_decimal(given["e_parity"], f"{path}.e_parity", 2, 3),
        noise_commitment=parse_hex(given["noise_commitment"], f"{path}.noise_commitment", 32),
    )


def _survivor(path: str, value: object, roster: int) -> Survivor:
    given = require_keys(path, value, frozenset(Survivor.__slots__))
    return Survivor(
        index=parse_decimal(given["index"], f"{path}.index", 0, roster - 1),
        commitment=parse_hex(given["commitment"], f"{path}.commitment", 128),
        input_hash=parse_hex(given["input_hash"], f"{path}.input_hash", 32),
        pad=parse_hex(given["pad"], f"{path}.pad", 32),
    )


def _answer(value: object) -> ReceiptAnswer:
    given = require_keys("answer", value, frozenset(ReceiptAnswer.__slots__))
    cells = _list("answer.cells", given["cells"], CELLS_MAX)
    return ReceiptAnswer(
        root=parse_hex(given["root"], "answer.root", 32),
        cells=tuple(
            parse_decimal(cell, f"answer.cells[{i}]", -CELL_BOUND, CELL_BOUND) for i, cell in enumerate(cells)
        ),
        blinding=parse_decimal(given["blinding"], "answer.blinding", 0, BLS_ORDER - 1),
    )


def _table(value: object) -> ReceiptTable:
    given = require_keys("table", value, frozenset(ReceiptTable.__slots__))
    columns = _list("table.columns", given["columns"], CELLS_MAX)
    if not all(isinstance(name, str) for name in columns):
        raise MalformedValue("table.columns", "strings", "something else")
    rows = _rows("table.rows", given["rows"], len(columns))
    error95 = _rows("table.error95", given["error95"], len(columns))
    if len(rows) != len(error95):
        raise MalformedValue("table.error95", f"{len(rows)} rows, as in table.rows", f"{len(error95)}")
    return ReceiptTable(tuple(columns), rows, error95)


def _rows(path: str, value: object, width: int) -> Table:
    rows = []
    for i, row in enumerate(_list(path, value, CELLS_MAX, low=0)):
        cells = _list(f"{path}[{i}]", row, width, low=width)
        for j, cell in enumerate(cells):
            if isinstance(cell, bool) or not isinstance(cell, str | int | float | None):
                raise MalformedValue(f"{path}[{i}][{j}]", "a string, a number or null", type(cell).__name__)
            if isinstance(cell, float) and not math.isfinite(cell):
                raise MalformedValue(f"{path}[{i}][{j}]", "a finite number", "another")
        rows.append(tuple(cells))
    return tuple(rows)


def _list(path: str, value: object, high: int, *, low: int = 1) -> list[Any]:
    if not isinstance(value, list) or not low <= len(value) <= high:
        actual = f"{len(value)}" if isinstance(value, list) else type(value).__name__
        raise MalformedValue(path, f"a list of {low} to {high}", actual)
    return value


def _require_ascending(path: str, values: list[Any]) -> None:
    if any(later <= earlier for earlier, later in pairwise(values)):
        raise MalformedValue(path, "strictly ascending members", "another order")
