"""The private join beside OpenMined's private set intersection: CPU of both parties; and memory at 2^20 keys a side."""

from __future__ import annotations

import secrets
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import machine, run_peer
from benchmarks.processes import two_cores, watched
from benchmarks.report import Target, report
from benchmarks.timing import cpu_ms_of
from privacy.join import (
    JoinTerms,
    KeyValues,
    MatcherState,
    ValueState,
    matcher_round1,
    matcher_round3,
    value_finish,
    value_round2,
)
from privacy.join.lists import NOWHERE, TagIndex, hash_keys, tags_of
from privacy.join.randomness import Stream
from privacy.paillier import PrivateKey
from privacy.ristretto import clamped, multiply_all

KEYS = 1 << 16
KEYS_LARGE = 1 << 20
ROUNDS = 3
MEMORY_MB = 1000.0
VALUES = 2  # a count and a sum
VALUE_MAX = 1 << 40
DUMMIES = 1000
SESSION = bytes(32)

Figures = dict[str, float]


def run() -> dict[str, Any]:
    """Measure intersection sizes in turn with the peer, then joins with sums."""
    env = machine(("pyzmq", "numpy", "gmpy2", "cryptography"))
    rounds = []
    for _ in range(ROUNDS):
        ours, peer = _size(KEYS), _peer()
        env["openmined-psi"] = peer.pop("version")
        rounds.append(
            {
                "times_less_cpu_than_openmined_psi": sum(peer.values()) / sum(ours.values()),
                "size_cpu_s": sum(ours.values()),
                "openmined_psi_cpu_s": sum(peer.values()),
            }
        )
    figures = {label: statistics.median(each[label] for each in rounds) for label in rounds[0]}
    with tempfile.TemporaryDirectory(prefix="shuyao-bench-") as folder:
        joined = _join(Path(folder), KEYS)
    figures |= {"with_sums_cpu_s": joined["cpu_s"], "with_sums_value_side_cpu_s": joined["value_cpu_s"]}
    with tempfile.TemporaryDirectory(prefix="shuyao-bench-") as folder:
        large = _join(Path(folder), KEYS_LARGE)
    figures |= {
        "matcher_peak_mb_2_20": large["matcher_mb"],
        "value_side_peak_mb_2_20": large["value_mb"],
        "with_sums_cpu_s_2_20": large["cpu_s"],
        "with_sums_sent_mb_2_20": large["sent_mb"],
    }
    targets = {
        "times_less_cpu_than_openmined_psi": Target(at_least=1.0),
        "matcher_peak_mb_2_20": Target(at_most=MEMORY_MB),
        "value_side_peak_mb_2_20": Target(at_most=MEMORY_MB),
    }
    return report("join", figures, targets, env | _method())


def names(first: int, count: int) -> list[bytes]:
    """Return keys in text."""
    return [b"key %d" % number for number in range(first, first + count)]


def _peer() -> dict[str, Any]:
    arguments = {
        "count": KEYS,
        "common": KEYS // 2,
        "structure": "RAW",
        "false_positives": 1e-9,
        "tolerated": 0,
    }
    return run_peer("openmined_psi", "openmined_psi.py", arguments)


def _size(count: int) -> Figures:
    """Return the CPU seconds of each side for the size of an intersection, with the join's own steps."""
    matcher, value = (Stream(secrets.token_bytes(32), SESSION, name) for name in ("m", "v"))
    k_m, k_v = clamped(matcher.read(32)), clamped(value.read(32))
    mine, theirs = names(0, count), names(count // 2, count)
    first_ms, sent = cpu_ms_of(
        lambda: multiply_all(k_m, hash_keys(SESSION, ((key, 0) for key in mine)))[matcher.permutation(count)]
    )
    second_ms, (returned, own) = cpu_ms_of(
        lambda: (
            tags_of(k_v, sent)[value.permutation(count)],
            multiply_all(k_v, hash_keys(SESSION, ((key, 0) for key in theirs)))[value.permutation(count)],
        )
    )
    third_ms, found = cpu_ms_of(lambda: TagIndex(returned).find(tags_of(k_m, own)))
    if int((found != NOWHERE).sum()) != count - count // 2:
        raise AssertionError("the size of the intersection is wrong")
    return {"matcher": (first_ms + third_ms) / 1e3, "value": second_ms / 1e3}


def _terms(count: int) -> JoinTerms:
    return JoinTerms(
        session=SESSION,
        groups=1,
        matcher_rows=count,
        value_keys=count,
        copies=1,
        dummies=DUMMIES,
        values=VALUES,
        value_max=VALUE_MAX,
    )


def _join(folder: Path, count: int) -> Figures:
    """Run a join with sums, each step in a process of its own and the messages on disk between them."""
    cores = two_cores()
    terms = _terms(count)
    (folder / "m").write_bytes(MatcherState(terms, secrets.token_bytes(32)).to_bytes())
    key = PrivateKey.generate(secrets.token_bytes)
    (folder / "v").write_bytes(ValueState(terms, secrets.token_bytes(32), key).to_bytes())
    steps = [watched(step, (str(folder), count), cores=cores) for step in (_first, _second, _third, _last)]
    shares = [left + right for left, right in zip(steps[2].result, steps[3].result, strict=True)]
    common = range(count // 2, count)
    if [share % (1 << 96) for share in shares] != [len(common), sum(common)]:
        raise AssertionError("the sums are wrong")
    matcher, value = (steps[0], steps[2]), (steps[1], steps[3])
    return {
        "cpu_s": sum(step.cpu_s for step in steps),
        "value_cpu_s": sum(step.cpu_s for step in value),
        "matcher_mb": max(step.peak_mb for step in matcher),
        "value_mb": max(step.peak_mb for step in value),
        "sent_mb": (terms.round1_bytes + terms.round2_bytes + terms.round3_bytes) / 1e6,
    }


def _write(folder: str, round_: int, parts: Iterable[bytes]) -> None:
    for number, part in enumerate(parts):
        (Path(folder) / f"{round_}-{number:05}").write_bytes(part)


def _read(folder: str, round_: int) -> Iterator[bytes]:
    for path in sorted(Path(folder).glob(f"{round_}-*")):
        yield path.read_bytes()


def _matcher(folder: str) -> MatcherState:
    return MatcherState.from_bytes((Path(folder) / "m").read_bytes())


def _value(folder: str) -> ValueState:
    return ValueState.from_bytes((Path(folder) / "v").read_bytes())


def _first(folder: str, count: int) -> None:
    _write(folder, 1, matcher_round1(_matcher(folder), [names(0, count)]))


def _second(folder: str, count: int) -> None:
    first = count // 2
    numbers = np.stack((np.ones(count), np.arange(first, first + count)), axis=1).astype(np.int64)
    rows = KeyValues(
        tuple(names(first, count)),
        np.arange(0, VALUES * count + 1, VALUES),
        np.tile(np.arange(VALUES), count),
        numbers.reshape(-1),
    )
    _write(folder, 2, value_round2(_value(folder), rows, [DUMMIES // 2], _read(folder, 1)))


def _third(folder: str, count: int) -> list[int]:
    matched = matcher_round3(_matcher(folder), _read(folder, 2))
    if matched.matches != (count - count // 2 + DUMMIES // 2,):
        raise AssertionError("the number of matches is wrong")
    _write(folder, 3, matched.parts)
    return list(matched.share)


def _last(folder: str, count: int) -> list[int]:
    return value_finish(_value(folder), _read(folder, 3))


def _method() -> dict[str, str]:
    return {
        "sets": f"{KEYS} keys a side, half of them common; as text, hashed to the group by both",
        "size_cpu_s": "the size of the intersection: hashing, both products, random orders, look-up; both parties",
        "peer": "structure RAW, exact; its two compressed ones take more CPU and are not exact",
        "with_sums": f"the whole join: COUNT and a SUM below 2^{VALUE_MAX.bit_length() - 1} a key, one Paillier ciphertext a "
        f"key, {DUMMIES} places for dummies, every message written to files and read back",
        "peak": "resident memory of the process of one step, its imports included, sampled every 0.2 s",
        "security level, ours": "ristretto255: 2^126 group operations (Pollard rho, ℓ ≈ 2^252); Paillier 3072 bits",
        "security level, openmined-psi": "NIST P-256: 2^128 group operations",
        "time": f"CPU of the process; sizes are medians of {ROUNDS} rounds, the peer's in turn with ours",
    }
