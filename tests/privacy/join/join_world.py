"""Two sides of a join in one process, with the same secrets in every run; and the join of plain rows beside it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.join import (
    SHARE_MODULUS,
    JoinTerms,
    KeyValues,
    Matched,
    MatcherState,
    ValueState,
    matcher_round1,
    matcher_round3,
    value_finish,
    value_round2,
)
from tests.privacy.paillier_world import owner

SESSION = hashlib.sha256(b"session").digest()

Row = tuple[bytes, list[tuple[int, int]]]


def terms(**changed: int) -> JoinTerms:
    """Return terms of a small join."""
    sizes = {
        "groups": 2,
        "matcher_rows": 4,
        "value_keys": 5,
        "copies": 2,
        "dummies": 2,
        "values": 3,
        "value_max": 1000,
    }
    return JoinTerms(SESSION, **(sizes | changed))


def matcher(found: JoinTerms, seed: bytes = b"matcher") -> MatcherState:
    return MatcherState(found, hashlib.sha256(seed).digest())


def value_side(found: JoinTerms, seed: bytes = b"value side") -> ValueState:
    return ValueState(found, hashlib.sha256(seed).digest(), owner())


@dataclass(frozen=True, slots=True)
class Joined:
    """What went over the wire, and what came of it."""

    round1: list[bytes]
    round2: list[bytes]
    matched: Matched
    shares: list[int]

    @property
    def sums(self) -> list[int]:
        """The sums that both shares give together."""
        both = zip(self.matched.share, self.shares, strict=True)
        half = SHARE_MODULUS // 2
        return [(left + right + half) % SHARE_MODULUS - half for left, right in both]


def run(
    found: JoinTerms,
    sublists: Sequence[Sequence[bytes]],
    rows: Sequence[Row],
    dummies: Sequence[int] | None = None,
    *,
    most: int = 9,
) -> Joined:
    """Run a join, every state written down and read back between the rounds."""
    m, v = matcher(found), value_side(found)
    round1 = list(matcher_round1(m, sublists))
    v = ValueState.from_bytes(v.to_bytes())
    values = KeyValues.of_rows(rows, most=most)
    round2 = list(value_round2(v, values, dummies or [0] * found.groups, round1))
    matched = matcher_round3(MatcherState.from_bytes(m.to_bytes()), round2)
    shares = value_finish(ValueState.from_bytes(v.to_bytes()), matched.parts)
    return Joined(round1, round2, matched, shares)


def plain_join(found: JoinTerms, sublists: Sequence[Sequence[bytes]], rows: Sequence[Row]) -> list[int]:
    """Return the sums of the join, pair by pair."""
    sums = [0] * (found.groups * found.values)
    for group, keys in enumerate(sublists):
        for key, times in Counter(keys).items():
            for other, pairs in rows:
                for place, number in pairs:
                    sums[group * found.values + place] += times * number * (other == key)
    return sums
