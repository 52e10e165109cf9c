"""Shamir's sharing over GF(2^255 − 19), and opening it although shares are wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.decoding import decode_secret
from privacy.shamir import FIELD_PRIME, combine, evaluate, lagrange_weights, split
from tests.privacy.sum_world import rand_of

ELEMENTS = st.integers(0, FIELD_PRIME - 1)


def dealt(secret: int, threshold: int, count: int) -> dict[int, int]:
    rand = rand_of(f"{secret}/{threshold}/{count}")
    coefficients = [int.from_bytes(rand(64), "big") % FIELD_PRIME for _ in range(threshold - 1)]
    return dict(enumerate(split(secret, coefficients, count)))


def test_the_field_is_that_of_curve25519() -> None:
    assert FIELD_PRIME == 57896044618658097711785492504343953926634992332820282019728792003956564819949


def test_a_share_is_the_polynomial_at_index_plus_one() -> None:
    assert split(5, [3, 2], 3) == [5 + 3 + 2, 5 + 6 + 8, 5 + 9 + 18]


def test_threshold_one_gives_the_secret_itself() -> None:
    assert split(77, [], 4) == [77] * 4
    assert lagrange_weights([2]) == [1]


def test_weights_of_three_holders() -> None:
    # f(0) = 3·f(1) − 3·f(2) + f(3) for every parabola
    assert lagrange_weights([0, 1, 2]) == [3, FIELD_PRIME - 3, 1]


@settings(deadline=None)
@given(st.data())
def test_any_threshold_of_shares_opens_the_secret(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, count))
    secret = data.draw(ELEMENTS)
    coefficients = data.draw(st.lists(ELEMENTS, min_size=threshold - 1, max_size=threshold - 1))
    shares = split(secret, coefficients, count)
    chosen = data.draw(st.permutations(range(count)))[:threshold]
    weights = lagrange_weights(chosen)
    assert combine(weights, [shares[k] for k in chosen]) == secret
    assert sum(weights) % FIELD_PRIME == 1


@settings(deadline=None)
@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_one_share_less_fits_every_secret(first: int, second: int, secret: int) -> None:
    # two shares of a threshold of three: a parabola through them exists for any secret at all
    weights = lagrange_weights([0, 1, 2])
    third = (
        (secret - weights[0] * first - weights[1] * second) * pow(weights[2], -1, FIELD_PRIME) % FIELD_PRIME
    )
    assert combine(weights, [first, second, third]) == secret


@settings(deadline=None)
@given(st.lists(ELEMENTS, min_size=1, max_size=30), st.integers(0, 1023))
def test_evaluation_is_exact_between_reductions(polynomial: list[int], index: int) -> None:
    plain = sum(c * (index + 1) ** k for k, c in enumerate(polynomial)) % FIELD_PRIME
    assert evaluate(polynomial, index) == plain


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_wrong_shares_within_the_radius_are_mended_and_named(data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 20))
    threshold = data.draw(st.integers(1, count - 2))
    liars = data.draw(st.sets(st.integers(0, count - 1), max_size=(count - threshold) // 2))
    secret = data.draw(ELEMENTS)
    shares = dealt(secret, threshold, count)
    for liar in liars:
        shares[liar] = (shares[liar] + data.draw(st.integers(1, FIELD_PRIME - 1))) % FIELD_PRIME
    decoded = decode_secret(shares, threshold, lambda value: value == secret)
    assert decoded is not None
    assert decoded.secret == secret
    assert set(decoded.wrong) == liars


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_one_spare_share_is_enough_for_one_liar(liar: int) -> None:
    shares = dealt(1234, 2, 3)
    shares[liar] ^= 1
    decoded = decode_secret(shares, 2, lambda value: value == 1234)
    assert decoded is not None
    assert decoded.wrong == (liar,)


def test_without_a_spare_share_nothing_is_accepted() -> None:
    shares = dealt(1234, 3, 3)
    shares[1] ^= 1
    assert decode_secret(shares, 3, lambda value: value == 1234) is None


def test_no_secret_is_accepted_that_the_check_refuses() -> None:
    assert decode_secret(dealt(1234, 4, 9), 4, lambda value: value == 1235) is None


def test_a_large_roster_with_liars_is_opened_in_reasonable_time() -> None:
    shares = dealt(99, 67, 100)
    for liar in range(0, 32, 2):
        shares[liar] = liar
    decoded = decode_secret(shares, 67, lambda value: value == 99)
    assert decoded is not None
    assert decoded.wrong == tuple(range(0, 32, 2))
