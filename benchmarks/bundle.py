"""Offline bundles of a log of a million licences: how large they are, and how long one core needs to verify one."""

from __future__ import annotations

import importlib
import os
import pkgutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ledger.licences
import ledger.log
from benchmarks import registry
from benchmarks.environment import machine
from benchmarks.licences import THRESHOLD, WITNESSES, BenchCity, CityKeys, bench_folder
from benchmarks.report import Target, report
from ledger.licences import sdjwt
from ledger.licences.attest import with_bare_quorum
from ledger.licences.bundle import Bundle
from ledger.licences.bundles import BundleMaker
from ledger.licences.encoding import canonical
from ledger.licences.events import Code, Kind
from ledger.licences.facts import open_anchor, open_bundle, open_checkpoint, open_issuer, open_status
from ledger.licences.leaf import LIST_SIZE
from ledger.licences.verify import Expected, State, verify, verify_facts

LICENCES = LIST_SIZE  # a whole status list, so that every entry of its token is a licence's
SHARES = (1, 10)  # per cent of the list that is not valid
SAMPLE = 400
STEP = 613_651  # odd: every licence comes up once before one comes up again
EXPECTED = Expected("bench-nonce-0123456789", "urn:shuyao:verifier:bench")
_WORKERS = 2


def run() -> dict[str, Any]:
    """Build the log, change one licence in a hundred, measure; then one in ten."""
    env = machine(("pynacl", "pybase64"))
    figures: dict[str, float] = {}
    with bench_folder() as folder:
        city = BenchCity(folder, CityKeys.generate())
        city.admit()
        rows = folder / "rows.parquet"
        registry.write(rows, LICENCES)
        _tell(f"issuing {LICENCES:,} licences")
        city.backfill(rows, workers=_WORKERS)
        changed = 0
        for share in SHARES:
            _tell(f"changing {share} % of them")
            changed = _change(city, changed, LICENCES * share // 100)
            figures |= _figures(city, share, changed)
        size = city.book.size
        city.book.close()
    targets = {"without_list_and_anchor_bytes": Target(at_most=6_144)}
    targets |= {
        f"verify_{share}_percent_p50_ms": Target(at_most=at) for share, at in zip(SHARES, (1, 3), strict=True)
    }
    method = {
        "log": f"{size:,} entries, one full status list of {LICENCES:,} licences",
        "not valid": "spread over the list by its permutation: of ten, six revoked, two suspended, two cancelled",
        "bundle": f"12 of 12 fields disclosed, KB-JWT, {THRESHOLD} of {WITNESSES} cosignatures and attestations, as many as the quorum "
        "needs; policy insists on the anchor",
        "verify": f"{SAMPLE} licences, each bundle once, all VALID, from bytes to verdict, wall clock on one pinned core; "
        "caches of all modules emptied before each; the policy is read",
        "caches_kept": "the same bundles once more, nothing emptied: keys of the policy, of the issuer and of the holder are known",
        "parts": "p50 of each part alone, in the same runs; read: JSON and paths, credential: SD-JWT and disclosures, "
        "steps: credential's and bearer's signatures, inclusion, the entry of the list, rules",
    }
    return report("bundle", figures, targets, env | method)


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
    return 1 + number * STEP % LICENCES


def _figures(city: BenchCity, share: int, changed: int) -> dict[str, float]:
    """Publish, verify a sample of the licences that are valid, and name what was seen."""
    checkpoint = city.publish()
    quorum = city.keys.trust().quorum
    maker = BundleMaker(city.root, quorum=quorum)
    anchor = with_bare_quorum(city.anchor_evidence(checkpoint), quorum)
    now_s = int(time.time())
    bundles = []
    for number in range(changed, changed + SAMPLE):
        text = sdjwt.bind(
            city.book.credential(_log_index(number)),
            city.keys.custodian,
            nonce=EXPECTED.nonce,
            audience=EXPECTED.audience,
            now_s=now_s,
        )
        bundles.append(replace(maker.bundle_of(text), anchor=anchor).to_bytes())
    seen = Seen(city)
    with pinned():
        for bundle in bundles:
            seen.add(bundle)
        for bundle in bundles:
            seen.add_again(bundle)
    return seen.figures(share)


@dataclass(slots=True)
class Seen:
    """What verifying bundles of one city cost."""

    city: BenchCity
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # whole, token, anchor

    def add(self, data: bytes) -> None:
        """Verify one bundle as a whole and then part by part."""
        policy, now_s = self.city.keys.policy(), int(time.time())
        empty_caches()
        wall, cpu = time.perf_counter(), time.process_time()
        verdict = verify(data, policy, now_s=now_s, expected=EXPECTED)
        self.cpu_ms.append((time.process_time() - cpu) * 1e3)
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)
        if verdict.state is not State.VALID:
            raise AssertionError(f"expected VALID, got {verdict.state} {verdict.reason} {verdict.missing}")
        empty_caches()
        self._parts(data, now_s)

    def add_again(self, data: bytes) -> None:
        """Verify one bundle as a process that goes on does, which keeps what it learnt of keys and names."""
        policy, now_s = self.city.keys.policy(), int(time.time())
        begin = time.perf_counter()
        verify(data, policy, now_s=now_s, expected=EXPECTED)
        self.again_ms.append((time.perf_counter() - begin) * 1e3)

    def _parts(self, data: bytes, now_s: int) -> None:
        policy = self.city.keys.policy()
        (city,) = policy.cities
        bundle = self._timed("read", lambda: Bundle.parse(data))
        assert bundle.status is not None and bundle.anchor is not None
        assert bundle.checkpoint is not None and bundle.issuer is not None
        checkpoint, issuer, status, anchor = bundle.checkpoint, bundle.issuer, bundle.status, bundle.anchor
        presented = self._timed("credential", lambda: sdjwt.parse(bundle.credential, bundle.opened))
        self._timed("checkpoint", lambda: open_checkpoint(checkpoint, city))
        self._timed("issuer", lambda: open_issuer(issuer, city, bundle.opened))
        self._timed("status", lambda: open_status(status, city))
        self._timed("anchor", lambda: open_anchor(anchor, city))
        facts = open_bundle(bundle, presented, policy)
        self._timed("steps", lambda: verify_facts(facts, policy, now_s=now_s, expected=EXPECTED))
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
            f"{name}_p50_ms": statistics.median(self.wall_ms),
            f"{name}_cpu_p50_ms": statistics.median(self.cpu_ms),
            f"{name}_caches_kept_p50_ms": statistics.median(self.again_ms),
            f"{name}_p99_ms": sorted(self.wall_ms)[len(self.wall_ms) * 99 // 100],
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
