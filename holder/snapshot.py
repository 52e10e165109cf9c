"""Registering data: the rows are checked against the policy, and their Merkle root is taken.

Rows enter the tree in the source's order (files) or ascending by their canonical values (tables). A row's canonical
bytes are, for each policy column in the policy's order, one tag byte (0 NULL, 1 integer, 2 number, 3 text), and then
the integer as 8 bytes big-endian two's complement, the number as 8 bytes big-endian IEEE 754, or the text as a u32
length and UTF-8. A leaf is SHA-256(0x00 ‖ salt ‖ row) with salt = SHA-256(salt key ‖ u64 position), node
SHA-256(0x01 ‖ left ‖ right), the tree's shape that of RFC 6962: so an audit can show single rows, and nobody can try
the values of the others. The salt key is derived from the holder's account key and the asset.

Source: RFC 6962 §2.1.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlglot import exp

from holder.engine import Engine, Reading, by_code_point
from holder.errors import RowsExceedCeiling, SchemaMismatch
from holder.vault import derive_key
from ledger.log.tree import EMPTY_ROOT, fold_right, level_above, node_hash
from ledger.signing import Signer
from ledger.types import Digest
from privacy.columns import ColumnType
from privacy.policy import Policy
from privacy.terms import PlanKind

BATCH_ROWS: Final = 1 << 14
_HEIGHT_MAX: Final = 14
_TEXTS_MAX: Final = 1 << 14  # encoded texts remembered for each column
_NULL: Final = b"\x00"

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A registered state of the data: its root, its size, and what it is recognised by."""

    root: Digest
    rows: int
    fingerprint: Mapping[str, Any]


def take_snapshot(
    engine: Engine,
    policy: Policy,
    *,
    salt_key: bytes,
    trim: bool = False,
    progress: Progress | None = None,
) -> Snapshot:
    """Check the rows against the policy and take their root; memory stays flat.

    Args:
        engine: the open relation.
        policy: what the rows must be.
        salt_key: from `snapshot_salt_key`.
        trim: see `Reading`.
        progress: told of rows done and rows in all.

    Raises:
        SchemaMismatch: with every problem: types, values that cannot be read, NULL where the policy promises none,
            a row key that is not unique, a unit with more rows than proved.
        RowsExceedCeiling: more rows than the policy's ceiling.
    """
    reading = Reading(policy, engine.schema(), dialect=engine.dialect, trim=trim)
    rows = require_rows(engine, policy, reading)
    query = _canonical_rows(engine, policy, reading)
    tree, salted = MerkleTree(), hashlib.sha256(salt_key)
    encode = _batch_encoder(policy)
    for batch in engine.stream(query, BATCH_ROWS):
        positions = range(tree.size, tree.size + len(batch))
        tree.extend(
            [_leaf(salted, position, row) for position, row in zip(positions, encode(batch), strict=True)]
        )
        if progress is not None:
            progress(tree.size, rows)
    return Snapshot(Digest(tree.root()), tree.size, engine.fingerprint())


def snapshot_salt_key(signer: Signer, asset_id: bytes) -> bytes:
    """Return the key of an asset's row salts."""
    return derive_key(signer, "snapshot-salt/" + asset_id.hex())


class MerkleTree:
    """An RFC 6962 tree over leaves that come one by one; it keeps one hash per level."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash), heights strictly falling

    def extend(self, leaves: list[bytes]) -> None:
        """Add leaves' hashes, whole subtrees at a time where they are aligned."""
        start = 0
        while start < len(leaves):
            room = len(leaves) - start
            height = min(_aligned(self.size), room.bit_length() - 1)
            self._add(height, _subtree(leaves[start : start + (1 << height)]))
            start += 1 << height

    def _add(self, height: int, node: bytes) -> None:
        self.size += 1 << height
        while self._peaks and self._peaks[-1][0] == height:
            node = node_hash(self._peaks.pop()[1], node)
            height += 1
        self._peaks.append((height, node))

    def root(self) -> bytes:
        """Return the root of the leaves so far; SHA-256 of nothing for none."""
        return fold_right([peak for _, peak in self._peaks]) if self._peaks else EMPTY_ROOT


def _aligned(size: int) -> int:
    """Return the height of the largest whole subtree that may start after `size` leaves."""
    return _HEIGHT_MAX if size == 0 else min(_HEIGHT_MAX, (size & -size).bit_length() - 1)


def _subtree(nodes: list[bytes]) -> bytes:
    """Return the root of a power of two of nodes."""
    while len(nodes) > 1:
        nodes = level_above(nodes)
    return nodes[0]


def _leaf(salted: hashlib._Hash, position: int, row: bytes) -> bytes:
    salt = salted.copy()
    salt.update(position.to_bytes(8, "big"))
    return hashlib.sha256(b"\x00" + salt.digest() + row).digest()


# --- checks ----------------------------------------------------------------------------------------------------------


def require_rows(engine: Engine, policy: Policy, reading: Reading) -> int:
    """Require that an engine's rows are what a policy says, and return their number.

    Raises:
        SchemaMismatch, RowsExceedCeiling: as `take_snapshot`.
    """
    rows = int(engine.fetch(exp.select(exp.Count(this=exp.Star())).from_(engine.relation.copy()))[0][0])
    if rows > policy.rows_max:
        raise RowsExceedCeiling(rows_max=policy.rows_max, rows=rows)
    problems = _malformed_values(engine, policy, reading)
    if not problems:  # a value that cannot be read would make the following queries fail
        problems = _missing_values(engine, policy, reading) + _repeated_keys(engine, policy, reading)
        problems += _overfull_units(engine, policy, reading)
    if problems:
        raise SchemaMismatch(problems)
    return rows


def _malformed_values(engine: Engine, policy: Policy, reading: Reading) -> list[str]:
    conditions = {
        column.name: condition
        for column in policy.columns
        if (condition := reading.malformed(column.name)) is not None
    }
    counts = _counts(engine, list(conditions.values()))
    return [
        f"{name}: {count} values cannot be read as the policy says"
        for name, count in zip(conditions, counts, strict=True)
        if count
    ]


def _missing_values(engine: Engine, policy: Policy, reading: Reading) -> list[str]:
    names = [column.name for column in policy.columns if not column.nullable]
    joins = policy.terms is not None and policy.terms.kind is PlanKind.JOIN  # there, no key matches nothing
    names += [] if policy.unit.column is None or joins else [policy.unit.column]
    names = list(dict.fromkeys([*names, *policy.row_key]))
    missing = [exp.Is(this=reading.value(name), expression=exp.null()) for name in names]
    counts = _counts(engine, missing)
    return [
        f"{name}: {count} values are missing where the policy allows none"
        for name, count in zip(names, counts, strict=True)
        if count
    ]


def _repeated_keys(engine: Engine, policy: Policy, reading: Reading) -> list[str]:
    if not policy.row_key or policy.unit.proved or policy.unit.column is None:
        return []
    names = list(dict.fromkeys([policy.unit.column, *policy.row_key]))
    keys = [exp.alias_(reading.value(name), f"k{number}") for number, name in enumerate(names)]
    if not _exceeds(engine, keys, 1):
        return []
    return [f"row_key: {', '.join(policy.row_key)} names some row of a unit twice"]


def _overfull_units(engine: Engine, policy: Policy, reading: Reading) -> list[str]:
    unit = policy.unit
    if unit.column is None or not unit.proved:
        return []
    if not _exceeds(engine, [exp.alias_(reading.value(unit.column), "k0")], unit.rows_per_unit):
        return []
    return [f"{unit.column}: some unit has more than the {unit.rows_per_unit} rows that were to be proved"]


def _counts(engine: Engine, conditions: Sequence[exp.Expr]) -> list[int]:
    """Return for each condition the number of rows for which it holds."""
    if not conditions:
        return []
    one = exp.Literal.number(1)
    counts = [exp.Count(this=exp.Case().when(condition, one)) for condition in conditions]
    row = engine.fetch(exp.select(*counts).from_(engine.relation.copy()))[0]
    return [int(value) for value in row]


def _exceeds(engine: Engine, keys: Sequence[exp.Expr], limit: int) -> bool:
    """Say whether some key whose first part, the unit, is not NULL has more than `limit` rows."""
    rows = exp.select(*keys).from_(engine.relation.copy()).subquery("r")
    names = [exp.column(f"k{number}", table="r") for number in range(len(keys))]
    many = exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(limit))
    there = names[0].copy().is_(exp.null()).not_()
    query = exp.select(exp.Literal.number(1)).from_(rows).where(there).group_by(*names).having(many).limit(1)
    return bool(engine.fetch(query))


# --- rows ------------------------------------------------------------------------------------------------------------


def _canonical_rows(engine: Engine, policy: Policy, reading: Reading) -> exp.Select:
    columns = [
        exp.alias_(reading.value(column.name), f"c{number}") for number, column in enumerate(policy.columns)
    ]
    query = exp.select(*columns).from_(engine.relation.copy())
    if engine.dialect == "duckdb":
        return query  # the file's order
    order = []
    for number, column in enumerate(policy.columns):
        value: exp.Expr = exp.column(f"c{number}", table="r")
        if column.type is ColumnType.TEXT:
            value = by_code_point(value, engine.dialect)
        order.append(exp.Ordered(this=value, nulls_first=False))
    names = [exp.column(f"c{number}", table="r") for number in range(len(columns))]
    return exp.select(*names).from_(query.subquery("r")).order_by(*order)


def _batch_encoder(policy: Policy) -> Callable[[Sequence[Sequence[Any]]], Iterable[bytes]]:
    """Return a function that gives the canonical bytes of each row of a batch, column by column."""
    encoders = [_column_encoder(column.type) for column in policy.columns]

    def encode(batch: Sequence[Sequence[Any]]) -> Iterable[bytes]:
        columns = zip(*batch, strict=True)
        parts = [encoder(values) for encoder, values in zip(encoders, columns, strict=True)]
        return map(b"".join, zip(*parts, strict=True))

    return encode


def _column_encoder(kind: ColumnType) -> Callable[[Sequence[Any]], list[bytes]]:
    if kind is ColumnType.INTEGER:
        pack = struct.Struct(">Bq").pack
        return lambda values: [_NULL if value is None else pack(1, value) for value in values]
    if kind is ColumnType.NUMBER:
        pack = struct.Struct(">Bd").pack
        return lambda values: [_NULL if value is None else pack(2, value) for value in values]
    known: dict[str | None, bytes] = {None: _NULL}

    def encode(values: Sequence[Any]) -> list[bytes]:
        if len(known) > _TEXTS_MAX:
            known.clear()
            known[None] = _NULL
        for value in set(values) - known.keys():
            known[value] = _encode_text(value)
        return [known[value] for value in values]

    return encode


def _encode_text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack(">BI", 3, len(data)) + data
