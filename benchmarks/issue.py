"""Issuing 50,000 licences beside OpenAttestation's wrapping of as many documents, and whether time stays linear to a million."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.environment import machine, run_npm_peer
from benchmarks.licences import new_template
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms_of
from ledger.licences.batch import issue_batch
from ledger.licences.keys import SigningKey
from ledger.licences.sdjwt import parse
from ledger.licences.template import Row, Template
from ledger.log.tree import root_of

DOCUMENTS = 50_000
FEW = 5_000
LINEAR = (100_000, 1_000_000)
CHUNK = 4_096  # what a worker of the backfill has in hand at once
OPEN_FIELDS = ("identifier", "type", "valid_from", "valid_until")
YEAR_S = 31_536_000


def run() -> dict[str, Any]:
    """Issue with ours, wrap with the peer, at the same size; then ours at two larger sizes."""
    env = machine(("pynacl",))
    key, template = new_template()
    peer, few = (_wrapped(template, count) for count in (DOCUMENTS, FEW))
    issue(template, key, CHUNK)  # imports and caches
    ours_s = issue(template, key, DOCUMENTS)
    short_s, long_s = (issue(template, key, count) for count in LINEAR)
    figures = {
        "times_faster_than_open_attestation": peer["cpu_s"] / ours_s,
        "times_faster_at_5000": few["cpu_s"] / (ours_s * FEW / DOCUMENTS),
        "t_1m_over_t_100k": long_s / short_s,
        "issue_s": ours_s,
        "open_attestation_s": peer["cpu_s"],
        "issue_us_each": ours_s / DOCUMENTS * 1e6,
        "issue_us_each_at_1m": long_s / LINEAR[1] * 1e6,
        "open_attestation_us_each": peer["cpu_s"] / DOCUMENTS * 1e6,
        "open_attestation_us_each_at_5000": few["cpu_s"] / FEW * 1e6,
        "sd_jwt_bytes": credential_bytes(template, key),
        "open_attestation_bytes": peer["bytes"],
    }
    targets = {
        "times_faster_than_open_attestation": Target(at_least=20),
        "t_1m_over_t_100k": Target(at_most=11),
    }
    method = {
        "credentials": f"{DOCUMENTS:,} of 16 fields: {len(OPEN_FIELDS)} open, {len(template.fields)} salted",
        "peer": "@govtechsg/open-attestation wrapDocuments (schema 2.0), one batch, documents made before the clock starts",
        "ours": "rows with their randomness, SD-JWT, Ed25519 signature, disclosures, leaf, leaf hash, private record, "
        f"and the tree over all leaves; in chunks of {CHUNK}",
        "not the same": "the peer signs nothing: its root is put on a chain later; ours signs each",
        "time": "CPU of the process, one thread, once each",
    }
    return report("issue", figures, targets, env | method)


def rows(template: Template, first: int, count: int) -> Iterator[Row]:
    """Make rows with values of the peer's length, and draw their ids and seeds."""
    now_s = int(time.time())
    names = range(len(template.fields))
    drawn = os.urandom(48 * count)
    for i in range(first, first + count):
        at = 48 * (i - first)
        yield Row(
            event_id=drawn[at : at + 16],
            seed=drawn[at + 16 : at + 48],
            serial=f"{i:010d}",
            version="001",
            issued_at=now_s,
            not_before=now_s,
            expires_at=now_s + YEAR_S,
            status_list=i >> 20,
            status_index=i & 0xFFFFF,
            values=[f"值{k}-{i}" for k in names],
        )


def issue(template: Template, key: SigningKey, count: int) -> float:
    """Issue so many licences and return the CPU seconds; chunks are let go once their leaves are in the tree."""

    def work() -> bytes:
        hashes: list[bytes] = []
        for first in range(0, count, CHUNK):
            issued = issue_batch(rows(template, first, min(CHUNK, count - first)), template, key)
            hashes += [one.leaf_hash for one in issued]
        return root_of(b"".join(hashes))

    return cpu_ms_of(work)[0] / 1e3


def credential_bytes(template: Template, key: SigningKey) -> int:
    """Return the size of one credential with all its disclosures, after reading it back."""
    (issued,) = issue_batch(rows(template, 0, 1), template, key)
    if len(parse(issued.text).disclosed) != len(template.fields):
        raise AssertionError("the credential does not disclose its fields")
    return len(issued.text)


def _wrapped(template: Template, count: int) -> dict[str, Any]:
    fields = ["issuers.name", "issuers.certificateStore", *OPEN_FIELDS[2:], *template.fields]
    return run_npm_peer("open-attestation", "wrap.mjs", {"documents": count, "fields": fields})
