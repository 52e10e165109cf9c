"""Offline bundles of a log of a million licences: how large they are, and how long one core needs to verify one."""

from __future__ import annotations

import importlib
import os
import pkgutil
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import ledger.licences
import ledger.log
from benchmarks import registry
from benchmarks.environment import machine
from benchmarks.licences import (
    ISSUER,
    ORIGIN,
    THRESHOLD,
    VERSION,
    WITNESSES,
    BenchCity,
    CityKeys,
    bench_folder,
    business_licence,
)
from benchmarks.report import Target, report
from ledger.errors import LedgerError
from ledger.licences import sdjwt
from ledger.licences.attest import with_bare_quorum
from ledger.licences.bundle import Bundle
from ledger.licences.bundles import BundleMaker
from ledger.licences.encoding import canonical
from ledger.licences.events import Code, Kind
from ledger.licences.facts import (
    kept_tokens,
    open_anchor,
    open_bundle,
    open_checkpoint,
    open_issuer,
    open_status,
)
from ledger.licences.identifiers import Identifier
from ledger.licences.keys import SigningKey
from ledger.licences.leaf import LIST_SIZE
from ledger.licences.policy import TrustPolicy
from ledger.licences.sdjwt import Claims
from ledger.licences.verify import Expected, State, verify, verify_facts

LICENCES = LIST_SIZE  # a whole status list, so that every entry of its token is a licence's
SHARES = (1, 10)  # per cent of the list that is not valid
SAMPLE = 400  # issued one by one after the others, to a holder each
BACKFILLED = LICENCES - SAMPLE
STEP = 613_651  # without a factor in common with BACKFILLED: every licence comes up once before one comes up again
_LIFE_S = 20 * 365 * 86_400
EXPECTED = Expected("bench-nonce-0123456789", "urn:shuyao:verifier:bench")
_WORKERS = 2


def run() -> dict[str, Any]:
    """Build the log, change one licence in a hundred, measure; then one in ten."""
    env = machine(("pynacl", "pybase64", "zlib-ng"))
    figures: dict[str, float] = {}
    with bench_folder() as folder:
        city = BenchCity(folder, CityKeys.generate())
        city.admit()
        rows = folder / "rows.parquet"
        registry.write(rows, BACKFILLED)
        _tell(f"issuing {LICENCES:,} licences")
        city.backfill(rows, workers=_WORKERS)
        held = _issue_to_holders(city, rows)
        changed = 0
        for share in SHARES:
            _tell(f"changing {share} % of them")
            changed = _change(city, changed, LICENCES * share // 100)
            figures |= _figures(city, share, held)
        size = city.book.size
        city.book.close()
    return report("bundle", figures, _targets(), env | _method(size))


def _targets() -> dict[str, Target]:
    """Hold a verifier that stays up to the times, and every bundle to the size."""
    times = {
        f"verify_{share}_percent_p50_ms": Target(at_most=at) for share, at in zip(SHARES, (1, 3), strict=True)
    }
    return {"without_list_and_anchor_bytes": Target(at_most=6_144)} | times


def _method(size: int) -> dict[str, str]:
    return {
        "log": f"{size:,} entries, one full status list of {LICENCES:,} licences",
        "not valid": "spread over the list by its permutation: of ten, six revoked, two suspended, two cancelled",
        "bundle": f"12 of 12 fields disclosed, KB-JWT, {THRESHOLD} of {WITNESSES} cosignatures and attestations, as many as the quorum "
        "needs; policy insists on the anchor; each licence has a holder key of its own",
        "verify": f"a verifier that stays up: one process that has verified one bundle of another licence, then {SAMPLE} licences, each "
        "bundle for the first time, all VALID, from bytes to verdict, wall clock on one pinned core, the policy is read. New with each "
        "bundle, so parsed, checked and verified in full: the bundle, credential, disclosures, holder key, KB-JWT, both inclusion "
        "proofs, and the status token, whose memo is emptied before each: its base64, signature, hashes and list anew. Known from that "
        "other licence: the policy's and the issuer's keys, checkpoint with cosignatures, anchor statement, issuer history, headers, "
        "the issuer's name",
        "cold": "the same bundles, before each the caches of all modules emptied: a process that sees its first bundle, its imports done",
        "caches_kept": "the same bundles once more, nothing emptied: token and holder keys are known as well",
        "parts": "p50 of each part of a cold bundle alone, in the same runs; read: JSON and paths, credential: SD-JWT and disclosures, "
        "steps: credential's and bearer's signatures, inclusion, the entry of the list, rules",
    }


def _tell(what: str) -> None:
    print(f"benchmark: {what} …", file=sys.stderr)


def _change(city: BenchCity, done: int, wanted: int) -> int:
    """Change licences until `wanted` are not valid; returns `wanted`."""
    kinds = (
        [(Kind.REVOKE, Code.REVOKED)] * 6
        + [(Kind.SUSPEND, Code.SUSPENDED)] * 2
        + [(Kind.REVOKE, Code.CANCELLED)] * 2
    )
    for at, (kind, code) in enumerate(kinds):
        part = range(done + at, wanted, len(kinds))
        city.change(kind, code, [_log_index(number) for number in part])
    return wanted


def _log_index(number: int) -> int:
    """Return where the number-th licence of a shuffled order stands; the first leaf is the department's key."""
    return 1 + number * STEP % BACKFILLED


@dataclass(frozen=True, slots=True)
class Held:
    """A licence with the key of its holder."""

    text: str
    holder: SigningKey


def _issue_to_holders(city: BenchCity, rows: Path) -> list[Held]:
    """Issue and log what is left of the list, each licence to a holder of its own, with fields as in the first rows of a file."""
    kind, now_s = business_licence(), int(time.time())
    with pq.ParquetFile(rows) as file:
        values = next(file.iter_batches(SAMPLE, columns=list(kind.names))).to_pylist()
    made = []
    for number, (row, (listed, index)) in enumerate(
        zip(values, city.book.reserve("holders", SAMPLE), strict=True)
    ):
        holder = SigningKey.generate("EdDSA", secrets.token_bytes(32))
        claims = Claims(
            issuer=ISSUER,
            type_code=kind.code,
            identifier=Identifier(kind.code, ISSUER, registry.serial(BACKFILLED + number), VERSION),
            version=kind.version,
            event_id=secrets.token_bytes(16),
            issued_at=now_s,
            not_before=now_s,
            expires_at=now_s + _LIFE_S,
            list=listed,
            index=index,
            origin=ORIGIN,
            holder=holder.public,
        )
        issued = sdjwt.issue(claims, kind, row, city.keys.issuer, rand=secrets.token_bytes(32))
        made.append(Held(issued.text, holder))
    for answer in city.book.submit_all([each.text for each in made], now_s=now_s):
        if isinstance(answer, LedgerError):
            raise answer
    return made


def _figures(city: BenchCity, share: int, held: list[Held]) -> dict[str, float]:
    """Publish, verify the licences of the holders, which are valid, and name what was seen."""
    checkpoint = city.publish()
    quorum = city.keys.trust().quorum
    maker = BundleMaker(city.root, quorum=quorum)
    anchor = with_bare_quorum(city.anchor_evidence(checkpoint), quorum)
    now_s = int(time.time())
    valid = Held(city.book.credential(_log_index(BACKFILLED - 1)), city.keys.custodian)
    bundles = []
    for each in (valid, *held):
        text = sdjwt.bind(
            each.text, each.holder, nonce=EXPECTED.nonce, audience=EXPECTED.audience, now_s=now_s
        )
        bundles.append(replace(maker.bundle_of(text), anchor=anchor).to_bytes())
    seen, other = Seen(city.keys.policy()), bundles.pop(0)
    with pinned():
        for bundle in bundles:
            seen.add_cold(bundle)
        empty_caches()
        seen.timed_verify(other)
        for bundle in bundles:
            seen.add(bundle)
        for bundle in bundles:
            seen.add_again(bundle)
    return seen.figures(share)


@dataclass(slots=True)
class Seen:
    """What verifying bundles of one city cost."""

    policy: TrustPolicy
    new_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # whole, token, anchor

    def add(self, data: bytes) -> None:
        """Verify one bundle as a process does that knows its city, but neither the licence nor this token."""
        kept_tokens.cache_clear()
        cpu = time.process_time()
        self.new_ms.append(self.timed_verify(data))
        self.cpu_ms.append((time.process_time() - cpu) * 1e3)

    def add_again(self, data: bytes) -> None:
        """Verify one bundle as a process that goes on does, which keeps what it learnt of tokens and keys."""
        self.again_ms.append(self.timed_verify(data))

    def add_cold(self, data: bytes) -> None:
        """Verify one bundle as a process that knows nothing yet, as a whole and then part by part."""
        empty_caches()
        self.cold_ms.append(self.timed_verify(data))
        empty_caches()
        self._parts(data, int(time.time()))

    def timed_verify(self, data: bytes) -> float:
        """Return how long a verdict takes, in ms.

        Raises:
            AssertionError: it is not VALID.
        """
        now_s = int(time.time())
        begin = time.perf_counter()
        verdict = verify(data, self.policy, now_s=now_s, expected=EXPECTED)
        spent = time.perf_counter() - begin
        if verdict.state is not State.VALID:
            raise AssertionError(f"expected VALID, got {verdict.state} {verdict.reason} {verdict.missing}")
        return spent * 1e3

    def _parts(self, data: bytes, now_s: int) -> None:
        (city,) = self.policy.cities
        bundle = self._timed("read", lambda: Bundle.parse(data))
        assert bundle.status is not None and bundle.anchor is not None
        assert bundle.checkpoint is not None and bundle.issuer is not None
        checkpoint, issuer, status, anchor = bundle.checkpoint, bundle.issuer, bundle.status, bundle.anchor
        presented = self._timed("credential", lambda: sdjwt.parse(bundle.credential, bundle.opened))
        self._timed("checkpoint", lambda: open_checkpoint(checkpoint, city))
        self._timed("issuer", lambda: open_issuer(issuer, city, bundle.opened))
        self._timed("status", lambda: open_status(status, city))
        self._timed("anchor", lambda: open_anchor(anchor, city))
        facts = open_bundle(bundle, presented, self.policy)
        self._timed("steps", lambda: verify_facts(facts, self.policy, now_s=now_s, expected=EXPECTED))
        self.sizes.append((len(data), len(status.token), len(canonical(anchor, "anchor"))))

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        self.parts_ms.setdefault(name, []).append((time.perf_counter() - begin) * 1e3)
        return result

    def figures(self, share: int) -> dict[str, float]:
        """Return medians and sizes."""
        whole, token, anchor = max(self.sizes)
        name = f"verify_{share}_percent"
        found = {
            f"{name}_p50_ms": statistics.median(self.new_ms),
            f"{name}_cpu_p50_ms": statistics.median(self.cpu_ms),
            f"{name}_p99_ms": sorted(self.new_ms)[len(self.new_ms) * 99 // 100],
            f"{name}_cold_p50_ms": statistics.median(self.cold_ms),
            f"{name}_caches_kept_p50_ms": statistics.median(self.again_ms),
            f"token_{share}_percent_bytes": token,
            "without_list_and_anchor_bytes": max(a - b - c for a, b, c in self.sizes),
            "anchor_bytes": anchor,
        }
        parts = {f"{name}_{part}_ms": statistics.median(spent) for part, spent in self.parts_ms.items()}
        return found | {f"bundle_{share}_percent_bytes": whole} | parts


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process on one core for the block."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def empty_caches() -> None:
    """Forget what earlier verifications left: keys, headers, tables."""
    for forget in _caches():
        forget()


def _caches() -> Iterable[Callable[[], None]]:
    if not _CACHES:
        for package in (ledger.licences, ledger.log):
            for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                named = vars(importlib.import_module(found.name)).values()
                _CACHES.extend(each.cache_clear for each in named if hasattr(each, "cache_clear"))
    return _CACHES


_CACHES: list[Callable[[], None]] = []
