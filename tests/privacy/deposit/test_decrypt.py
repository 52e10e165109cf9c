"""Threshold decryption: any t trustees give the values, and a wrong one is named."""

from itertools import combinations

import numpy as np
import pytest
from py_arkworks_bls12381 import G1Point

from privacy.deposit import Ciphertexts, combine, decrypt_partially, encrypt, partial_size, verify_partial
from privacy.deposit.errors import PartialInvalid, PartialsTooFew, PointOutsideSubgroup, ShareMismatch
from privacy.deposit.points import decode_points, encode_points, generator
from privacy.deposit.shares import KeyShare
from privacy.deposit.sizes import POINT_BYTES
from tests.privacy.deposit.deposit_world import (
    CONTEXT,
    ORDER_THREE,
    SEED,
    SESSION,
    THRESHOLD,
    TRUSTEES,
    key,
    logarithms,
    outside,
    partials,
    share,
)

VALUES = [0, 1, -1, 4321, -99]


@pytest.fixture(scope="module")
def sums() -> Ciphertexts:
    return encrypt(key().key, np.array(VALUES, dtype=np.int64), SEED, CONTEXT)


def values_from(sums: Ciphertexts, given: dict[int, bytes]) -> list[int]:
    points = combine(key(), sums, given, SESSION).points
    return logarithms().find(points, [1 << 20] * len(points))


@pytest.mark.parametrize("trustees", combinations(range(TRUSTEES), THRESHOLD))
def test_any_threshold_of_trustees_decrypts(sums: Ciphertexts, trustees: tuple[int, ...]) -> None:
    assert values_from(sums, partials(sums, trustees)) == VALUES


def test_more_than_the_threshold_do_no_harm(sums: Ciphertexts) -> None:
    combined = combine(key(), sums, partials(sums, range(TRUSTEES)), SESSION)
    assert combined.used == (0, 1, 2)
    assert combined.faults == ()


def test_fewer_are_refused(sums: Ciphertexts) -> None:
    with pytest.raises(PartialsTooFew, match="expected 3 good partial decryptions, got 2"):
        combine(key(), sums, partials(sums, (1, 4)), SESSION)


def test_a_partial_decryption_is_the_same_when_it_is_made_again(sums: Ciphertexts) -> None:
    assert partials(sums) == partials(sums)
    assert {len(each) for each in partials(sums).values()} == {partial_size(len(VALUES))}


@pytest.mark.parametrize(
    "where", ["point", "swapped", "compensated", "challenge", "response", "short", "long", "subgroup"]
)
def test_a_wrong_one_is_named_and_the_others_decrypt(sums: Ciphertexts, where: str) -> None:
    given = partials(sums, range(4))
    good = given[0]
    points = decode_points(good[:-64], count=len(VALUES))
    changed = {
        "point": encode_points([points[0] + generator(), *points[1:]]) + good[-64:],
        "swapped": encode_points([points[1], points[0], *points[2:]]) + good[-64:],
        "compensated": encode_points([points[0] + generator(), points[1] - generator(), *points[2:]])
        + good[-64:],
        "challenge": good[:-33] + bytes([good[-33] ^ 1]) + good[-32:],
        "response": good[:-1] + bytes([good[-1] ^ 1]),
        "short": good[:-1],
        "long": good + b"\x00",
        "subgroup": ORDER_THREE + good[POINT_BYTES:],
    }
    given[0] = changed[where]
    combined = combine(key(), sums, given, SESSION)
    assert combined.used == (1, 2, 3)
    assert [fault.trustee for fault in combined.faults] == [0]
    assert values_from(sums, given) == VALUES


def test_too_few_good_ones_name_all_the_bad(sums: Ciphertexts) -> None:
    given = partials(sums, (0, 1, 2))
    given[0], given[2] = given[1], given[1]
    with pytest.raises(PartialsTooFew) as refused:
        combine(key(), sums, given, SESSION)
    assert [fault.trustee for fault in refused.value.faults] == [0, 2]


def test_a_partial_decryption_is_of_one_session_and_one_set_of_sums(sums: Ciphertexts) -> None:
    given = partials(sums, (0,))[0]
    with pytest.raises(PartialInvalid, match="trustee 0"):
        verify_partial(key(), sums, given, trustee=0, session=bytes(32))
    other = sums.plus(sums)
    with pytest.raises(PartialInvalid):
        verify_partial(key(), other, given, trustee=0, session=SESSION)


def test_nobody_is_a_trustee_beyond_the_last(sums: Ciphertexts) -> None:
    given = partials(sums) | {7: partials(sums)[0]}
    del given[0]
    with pytest.raises(PartialsTooFew, match="no trustee 7"):
        combine(key(), sums, given, SESSION)


def test_a_trustee_multiplies_no_point_outside_the_subgroup(sums: Ciphertexts) -> None:
    poisoned = Ciphertexts([sums.a[0] + outside(), *sums.a[1:]], sums.b)
    with pytest.raises(PointOutsideSubgroup, match="point 0"):
        decrypt_partially(key(), share(0), poisoned, SESSION)
    with pytest.raises(PointOutsideSubgroup):
        combine(key(), Ciphertexts(sums.a, [outside(), *sums.b[1:]]), partials(sums), SESSION)


def test_a_share_of_another_trustee_decrypts_nothing(sums: Ciphertexts) -> None:
    wrong = KeyShare(1, share(0).secret, key().id)
    with pytest.raises(ShareMismatch):
        decrypt_partially(key(), wrong, sums, SESSION)


def test_sums_without_randomness_decrypt_to_what_they_are() -> None:
    zero = Ciphertexts.zero(2)
    assert zero.a == [G1Point.identity()] * 2
    assert values_from(zero, partials(zero)) == [0, 0]
