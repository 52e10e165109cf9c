"""The worker of a backfill: signs stretches of rows and builds whole bundles of the log. It knows no book and writes nothing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import NamedTuple

import pyarrow as pa

from ledger.encoding import Digest
from ledger.licences.batch import BatchIssuer, Issued
from ledger.licences.checks import identifier_lookup
from ledger.licences.encoding import parse_b64u
from ledger.licences.errors import BackfillRefused, IdentifierInvalid, Malformed
from ledger.licences.keys import Algorithm, SigningKey
from ledger.licences.leaf import LICENCE_LEAF_SIZE
from ledger.licences.mapping import BackfillMapping, read_columns
from ledger.licences.schema import LicenceType
from ledger.licences.template import Row, Template
from ledger.log.batch import Bundle, Item, encode_evidence, key_hash
from ledger.log.tiles import TILE_WIDTH

_SEED_SIZE = 32
_EVENT_ID_SIZE = 16
_LEAF_LENGTH = LICENCE_LEAF_SIZE.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Plan:
    """What all rows of a backfill share. `secret` and `lookup_key` stay on this machine."""

    mapping: BackfillMapping
    kind: LicenceType
    template: Template
    alg: Algorithm
    secret: bytes = field(repr=False)
    lookup_key: bytes = field(repr=False)
    issued_at: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows to issue: their record batch in Arrow's IPC form, and their slots."""

    data: bytes = field(repr=False)
    lists: Sequence[int]
    indexes: Sequence[int]


class _Logged(NamedTuple):
    """What a log and its private evidence have of one licence."""

    event_id: bytes
    leaf: bytes
    leaf_hash: Digest
    record: bytes


class Issuer:
    """Issues the rows of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._issuer = BatchIssuer(plan.template, SigningKey(plan.alg, plan.secret))
        self._prefix = f"{plan.mapping.type_code}{plan.mapping.issuer}"

    def items(self, stretch: Stretch) -> list[Item]:
        """Issue every row of a stretch, in order.

        Raises:
            BackfillRefused: a row cannot be a licence; the message counts rows from the start of the stretch.
        """
        rows = self._rows(stretch)
        return [
            Item(one.event_id, one.leaf, one.record, self._lookup(row))
            for row, one in zip(rows, self._issued(rows), strict=True)
        ]

    def bundles(self, stretch: Stretch) -> list[Bundle]:
        """Issue a stretch of whole bundles.

        Raises:
            BackfillRefused: as `items`.
        """
        rows = self._rows(stretch)
        parts = [(at, rows[at : at + TILE_WIDTH]) for at in range(0, len(rows), TILE_WIDTH)]
        return [self._bundle(part, self._issued(part, at)) for at, part in parts]

    def _issued(self, rows: Sequence[Row], first: int = 0) -> list[_Logged]:
        """Issue rows of a stretch, the first of which is its row `first`, and check the last one's signature."""
        logged: list[_Logged] = []
        issue, take = self._issuer.issue, logged.append
        try:
            for row in rows:
                one = issue(row)
                # nothing else is kept: the next licence finds its memory still in the processor's cache
                take(_Logged(one.event_id, one.leaf, one.leaf_hash, one.record))
        except (Malformed, IdentifierInvalid) as err:
            raise BackfillRefused(
                f"row {first + len(logged)} of a stretch cannot be a licence: {err}"
            ) from err
        if rows:
            _require_signed(one, self._plan)
        return logged

    def _bundle(self, rows: Sequence[Row], issued: Sequence[_Logged]) -> Bundle:
        """Return what `Bundle.of` makes of the same licences, without hashing the leaves again."""
        return Bundle(
            entries=b"".join([_LEAF_LENGTH + one.leaf for one in issued]),
            leaf_hashes=b"".join([one.leaf_hash for one in issued]),
            evidence=encode_evidence([one.record for one in issued]),
            event_ids=b"".join([one.event_id for one in issued]),
            lookups=b"".join([key_hash(self._lookup(row)) for row in rows]),
        )

    def _lookup(self, row: Row) -> bytes:
        return identifier_lookup(self._plan.lookup_key, f"{self._prefix}{row.serial}{row.version}")

    def _rows(self, stretch: Stretch) -> list[Row]:
        with pa.ipc.open_stream(stretch.data) as reader:
            batch = reader.read_next_batch()
        columns = read_columns(batch, self._plan.mapping, self._plan.kind)
        count = len(columns.serials)
        ids, seeds = os.urandom(count * _EVENT_ID_SIZE), os.urandom(count * _SEED_SIZE)
        cells = (
            [ids[at : at + _EVENT_ID_SIZE] for at in range(0, len(ids), _EVENT_ID_SIZE)],
            [seeds[at : at + _SEED_SIZE] for at in range(0, len(seeds), _SEED_SIZE)],
            columns.serials,
            [self._plan.mapping.licence_version] * count,
            [self._plan.issued_at] * count,
            columns.not_before,
            columns.expires_at,
            stretch.lists,
            stretch.indexes,
            columns.values,
            [None] * count,  # the holder is the template's
            [None] * count,
            [False] * count,
        )
        return list(map(Row._make, zip(*cells, strict=True)))


def _require_signed(issued: Issued, plan: Plan) -> None:
    """Check one signature, as anybody would: a machine that miscomputes must not fill a log.

    Raises:
        SignatureInvalid: it does not verify.
    """
    signing_input, _, _ = issued.jwt.rpartition(b".")
    signature = parse_b64u(issued.jwt.rpartition(b".")[2].decode("ascii"), "signature", 64)
    plan.template.signer.verify(signing_input, signature)


_issuer: list[Issuer] = []  # of this worker process


def start_worker(plan: Plan) -> None:
    """Prepare this process for a plan. It ends with the process that started it, however that one ends."""
    _issuer[:] = [Issuer(plan)]
    gc.freeze()
    gc.disable()  # nothing in a stretch is cyclic, and looking for cycles in it costs a third of the time
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Leave when the parent is gone: after a SIGKILL nobody else tells a worker, and it has the issuer's key."""
    wait([sentinel])
    os._exit(1)


def issue_bundles(stretch: Stretch) -> list[Bundle]:
    """Issue a stretch of whole bundles in this worker process."""
    bundles = _issuer[0].bundles(stretch)
    gc.collect()
    return bundles
