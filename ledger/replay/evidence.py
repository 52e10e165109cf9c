"""The signed events kept beside the entries: digest, leaf and signature of each, chunk by chunk in worker processes.

This is what binds the operator: a leaf that no issuer signed for has no evidence with its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ledger.errors import DatabaseError
from ledger.licences.errors import LicenceError, Malformed
from ledger.licences.events import leaf_of_claims, parse_event
from ledger.licences.jws import Jws
from ledger.licences.keys import PublicKey
from ledger.licences.leaf import CHANGE_KINDS, LICENCE_KINDS, Kind, Leaf
from ledger.licences.record import template_id_of, unpack_record
from ledger.licences.sdjwt import parse as parse_credential
from ledger.licences.store import BookStore
from ledger.licences.template import Template
from ledger.log.batch import decode_evidence
from ledger.log.errors import LogError
from ledger.log.layout import Layout
from ledger.log.tiles import TILE_WIDTH, DirectoryTiles, decode_bundle, tile_width
from ledger.replay.beside import Signatures, open_store
from ledger.replay.errors import BookUnreadable
from ledger.replay.findings import Difference, Rule
from ledger.replay.leaves import IS_LICENCE, grouped
from ledger.replay.scan import COLUMN, ScanPlan

SAMPLE: Final = 1024  # one credential in so many is read where not all are
_SAMPLE_FACTOR: Final = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class EvidencePlan:
    """What all chunks share.

    Args:
        scan: plan of the replay.
        log: the log's own folder, with `private/` in it.
        signatures: which signed events are read.
        database_url: of the book's tables, which have the templates of private records.
        keys: public keys by key id: of issuers, registrar and service.
        attested: whether registrar and service are known by a policy; else their signatures cannot be checked.
    """

    scan: ScanPlan
    log: Path
    signatures: Signatures
    database_url: str
    keys: Mapping[bytes, PublicKey]
    attested: bool


class _Records:
    """Turns private records into credentials; the templates are read once."""

    def __init__(self, store: BookStore) -> None:
        self._store = store
        self._templates: dict[bytes, Template] = {}

    def text(self, record: bytes) -> str:
        """Return the credential's text.

        Raises:
            LicenceError: it is no record, or of a template that the book has not.
        """
        template_id = template_id_of(record)
        return unpack_record(record, None if template_id is None else self._template(template_id)).text

    def _template(self, template_id: bytes) -> Template:
        template = self._templates.get(template_id)
        if template is None:
            data = self._store.template(template_id)
            if data is None:
                raise Malformed("private record", "a template that the book has", "another")
            template = self._templates[template_id] = Template.decode(data)
        return template


@dataclass(frozen=True, slots=True)
class EvidenceScan:
    """What one chunk gave: signed events read, private records found erased, differences."""

    read: int
    erased: int
    differences: list[Difference]


def scan_evidence(plan: EvidencePlan, number: int) -> EvidenceScan:
    """Read and check the signed events of one chunk.

    Raises:
        BookUnreadable: the book's database cannot be read.
    """
    try:
        with open_store(plan.database_url) as store:
            return _scan(plan, number, _Records(store))
    except DatabaseError as err:
        raise BookUnreadable(str(err)) from err


def _scan(plan: EvidencePlan, number: int, records: _Records) -> EvidenceScan:
    kinds = np.fromfile(plan.scan.columns_path(number), COLUMN)["kind"]
    first = plan.scan.first(number)
    wanted = np.flatnonzero(_wanted(plan, kinds, first)) + first
    tiles, layout = DirectoryTiles(plan.scan.folder), Layout(plan.log)
    read = erased = 0
    differences: list[Difference] = []
    for n, begin, end in grouped(wanted // TILE_WIDTH):
        indexes = wanted[begin:end].tolist()
        width = tile_width(0, n, plan.scan.size)
        try:
            entries = decode_bundle(tiles.bundle(n, width), width)
            evidence = decode_evidence(layout.evidence(n).read_bytes())
        except (LogError, OSError) as err:
            detail = f"evidence bundle {n} cannot be read: {err}"
            differences += [Difference(Rule.EVIDENCE_MISSING, detail, index=index) for index in indexes]
            continue
        for index in indexes:
            offset = index % TILE_WIDTH
            record = evidence[offset] if offset < len(evidence) else b""
            if not record and kinds[index - first] in LICENCE_KINDS:
                erased += 1
                continue
            read += 1
            differences += _check(plan, records, index, entries[offset], record)
    return EvidenceScan(read, erased, differences)


def _wanted(plan: EvidencePlan, kinds: NDArray[np.uint8], first: int) -> NDArray[np.bool_]:
    """Say which entries of a chunk are read; status tokens are in the archive."""
    licence = IS_LICENCE[kinds]
    events = (kinds != 0) & ~licence & (kinds != Kind.STATUS_LIST)
    if plan.signatures is Signatures.ALL:
        return np.asarray(events | licence)
    # which ones depends on the replay's own randomness: nobody can know beforehand what will not be looked at
    mixed = (np.arange(first, first + len(kinds), dtype=np.uint64) ^ np.uint64(plan.scan.factor)) * np.uint64(
        _SAMPLE_FACTOR
    )
    return np.asarray(events | licence & (mixed >> np.uint64(54) == 0))


def _check(
    plan: EvidencePlan, records: _Records, index: int, entry: bytes, record: bytes
) -> list[Difference]:
    if not record:
        return [Difference(Rule.EVIDENCE_MISSING, "the signed event is not kept", index=index)]
    try:
        leaf = Leaf.decode(entry)
        jws, signed_leaf = _signed(records, leaf, record)
    except (LicenceError, UnicodeDecodeError) as err:
        return [Difference(Rule.EVIDENCE_DIGEST, f"what is kept is no signed event: {err}", index=index)]
    digest = sha256(jws.text.encode("ascii")).digest()
    if digest != leaf.evidence:
        detail = f"the signed event kept has digest {digest.hex()}, the leaf {leaf.evidence.hex()}"
        return [Difference(Rule.EVIDENCE_DIGEST, detail, index=index)]
    found = []
    if signed_leaf.encode() != entry:
        found.append(Difference(Rule.EVIDENCE_LEAF, "the leaf is not that of the signed event", index=index))
    problem = _signature_problem(plan, leaf, jws)
    if problem is not None:
        found.append(Difference(Rule.EVENT_SIGNATURE, problem, index=index))
    return found


def _signed(records: _Records, leaf: Leaf, record: bytes) -> tuple[Jws, Leaf]:
    if leaf.kind in LICENCE_KINDS:
        presented = parse_credential(records.text(record).partition("~")[0] + "~")
        return presented.jwt, leaf_of_claims(presented.jwt, presented.claims)
    signed = parse_event(record.decode("ascii"))
    return signed.jws, signed.leaf()


def _signature_problem(plan: EvidencePlan, leaf: Leaf, jws: Jws) -> str | None:
    by_issuer = leaf.kind in CHANGE_KINDS or leaf.kind in LICENCE_KINDS
    if not by_issuer and not plan.attested:
        return None
    key = plan.keys.get(leaf.key_id)
    if key is None:
        return f"no key {leaf.key_id.hex()} is known"
    try:
        jws.verify(key)
    except LicenceError as err:
        return str(err)
    return None
