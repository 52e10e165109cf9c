"""What each side of a join sees: no key without the other's blinding, no order, and a number of matches that is noised."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from privacy.gamma import chi_square_tail
from privacy.join import MatcherState, matcher_round1
from privacy.join.dummies import draw_dummies
from privacy.join.lists import hash_keys
from privacy.join.parts import HEAD_BYTES as PART_HEAD
from privacy.join.terms import HEAD_BYTES, PUBLIC_KEY_BYTES
from privacy.noise import NoiseSource, draw_noise_share
from privacy.planning import plan_parameters
from privacy.ristretto import multiply_all, tags
from tests.privacy.join.join_world import SESSION, matcher, run, terms, value_side
from tests.privacy.join_plan_world import FOLDER, JOIN, join_plan, terms_of

START = PART_HEAD + HEAD_BYTES
KEYS = [f"91441900{number:09d}".encode() for number in range(24)]


def elements(data: bytes, width: int = 32) -> list[bytes]:
    return [data[at : at + 32] for at in range(0, len(data), width)]


def test_no_view_holds_a_key_without_the_blinding_of_its_owner() -> None:
    """Of each key the other side sees one product with a scalar that it does not know, and nothing that it can make itself."""
    found = terms(groups=1, matcher_rows=24, value_keys=24, copies=1, dummies=4)
    joined = run(found, [KEYS[:16]], [(key, [(0, 1)]) for key in KEYS[8:]], [3])
    hashed = hash_keys(SESSION, [(key, 0) for key in KEYS])
    bare = {row.tobytes() for row in hashed}
    m, v = matcher(found).scalar(), value_side(found).scalar()
    first, second = joined.round1[0], joined.round2[0]
    returned = set(elements(second[START + PUBLIC_KEY_BYTES :][: 32 * found.returned]))
    entries = set(elements(second[START + PUBLIC_KEY_BYTES + 32 * found.returned :], width=found.entry_bytes))
    sent = set(elements(first[START + 32 :]))
    # what the value side could make of any key, and what the matcher could
    of_value = {row.tobytes() for row in multiply_all(v, hashed)} | {row.tobytes() for row in tags(v, hashed)}
    of_matcher = {row.tobytes() for row in multiply_all(m, hashed)} | {
        row.tobytes() for row in tags(m, hashed)
    }
    assert not sent & (bare | of_value)
    assert not (returned | entries) & (bare | of_matcher)
    assert len(sent) == 24 and len(entries) == found.entries and len(returned) == found.returned
    for view in (first, second, *joined.matched.parts):
        for key in KEYS:
            for known in (key, hashlib.sha256(key).digest(), hashlib.sha512(key).digest()[:32]):
                assert known not in view


def test_two_sessions_of_the_same_keys_share_no_element() -> None:
    found = terms(groups=1, matcher_rows=24, copies=1)
    one, two = (
        set(elements(next(matcher_round1(MatcherState(found, bytes([n]) * 32), [KEYS]))[START:]))
        for n in (1, 2)
    )
    assert not one & two


def test_blinded_keys_and_padding_look_alike() -> None:
    """Byte by byte, both have the bytes of uniform elements (chi-square; a sound one fails with 1e-6 together)."""
    found = terms(groups=1, matcher_rows=1200, copies=1)
    state = matcher(found)
    keys = [b"%d" % number for number in range(600)]
    (part,) = matcher_round1(state, [keys])
    real = {
        row.tobytes() for row in multiply_all(state.scalar(), hash_keys(SESSION, [(key, 0) for key in keys]))
    }
    both = elements(part[START + 32 :])
    assert len(real & set(both)) == 600
    for chosen in ([each for each in both if each in real], [each for each in both if each not in real]):
        counts = np.bincount(
            np.frombuffer(b"".join(each[1:31] for each in chosen), dtype=np.uint8), minlength=256
        )
        expected = counts.sum() / 256
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert chi_square_tail(Fraction(255), Fraction(statistic)) > 5e-7


def test_the_place_of_a_key_says_nothing_about_it() -> None:
    """Over many sessions the first key of a list is at each place equally often."""
    found = terms(groups=1, matcher_rows=4, copies=1)
    places: Counter[int] = Counter()
    for number in range(400):
        state = MatcherState(found, hashlib.sha256(b"place %d" % number).digest())
        (part,) = matcher_round1(state, [KEYS[:3]])
        blinded = multiply_all(state.scalar(), hash_keys(SESSION, [(KEYS[0], 0)]))[0].tobytes()
        places[elements(part[START + 32 :]).index(blinded)] += 1
    statistic = sum((places[place] - 100) ** 2 / 100 for place in range(4))
    assert chi_square_tail(Fraction(3), Fraction(statistic)) > 1e-6


# --- the number of matches ----------------------------------------------------------------------------------------


def test_the_number_of_matches_is_the_true_one_with_discrete_gaussian_noise() -> None:
    """Dummies over many sessions against the exact probabilities: offset + N_Z(0, Δ²/2ρ), never outside 0 … 2·offset."""
    plan = join_plan((FOLDER / "query.sql").read_text(encoding="utf8"))
    match = terms_of(plan).match
    seen = Counter(
        draw_dummies(plan, terms_of(plan), NoiseSource(secrets.token_bytes(32), secrets.token_bytes(32), 1))[
            0
        ]
        - match.offset
        for _ in range(4000)
    )
    variance = float(match.sigma_squared)
    weights = {x: math.exp(-x * x / (2 * variance)) for x in range(-match.offset, match.offset + 1)}
    total = sum(weights.values())
    inside = [x for x, weight in weights.items() if 4000 * weight / total >= 5]
    expected = [4000 * weights[x] / total for x in inside]
    statistic = sum((seen[x] - e) ** 2 / e for x, e in zip(inside, expected, strict=True))
    rest = 4000 - sum(expected)
    statistic += (sum(n for x, n in seen.items() if x not in inside) - rest) ** 2 / rest
    assert len(inside) >= 7 and variance == 4
    assert chi_square_tail(Fraction(len(inside)), Fraction(statistic)) > 1e-6


def test_each_sub_list_has_noise_of_its_own_and_none_of_the_answers() -> None:
    plan = join_plan(f"SELECT b.信用等级, COUNT(*), SUM(p.用电量) {JOIN} GROUP BY b.信用等级")
    join = terms_of(plan)
    pairs, with_answer = [], []
    for _ in range(600):
        source = NoiseSource(secrets.token_bytes(32), secrets.token_bytes(32), 1)
        drawn = [each - join.match.offset for each in draw_dummies(plan, join, source)]
        assert len(drawn) == 4
        pairs.append(drawn[0] * drawn[1])
        noise = draw_noise_share(plan, plan_parameters(plan), source)
        with_answer.append(drawn[0] * float(noise[0]) / math.sqrt(float(plan.lanes[0].share(1))))
    sigma = math.sqrt(float(join.match.sigma_squared))
    assert abs(np.mean(pairs)) < 5 * sigma**2 / math.sqrt(600)
    assert abs(np.mean(with_answer)) < 5 * sigma / math.sqrt(600)


def test_what_the_matcher_counts_is_true_matches_and_dummies_together() -> None:
    found = terms(groups=2, matcher_rows=4, copies=1, dummies=6)
    for dummies in ([0, 6], [5, 1]):
        joined = run(found, [KEYS[:3], KEYS[3:5]], [(key, []) for key in KEYS[1:5]], dummies)
        assert joined.matched.matches == (2 + dummies[0], 2 + dummies[1])


@pytest.mark.parametrize("rho", [8, 80_000, 1_000_000])
def test_the_dummies_of_any_rho_fit_their_list(rho: int) -> None:
    from privacy.join.kind import MatchSize

    match = MatchSize.of(3, rho // 8)
    assert match.offset >= 16 * math.sqrt(match.sigma_squared)
    assert match.dummies_max == 2 * match.offset
