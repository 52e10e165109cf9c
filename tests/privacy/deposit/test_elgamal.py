"""Ciphertexts: what they are, that they add up, and that no randomness is used twice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point
from py_ecc.optimized_bls12_381.optimized_curve import G1, add, eq, multiply, neg

from privacy.curve_reference import decode_point as reference_point
from privacy.deposit import CIPHERTEXT_BYTES, Ciphertexts, encrypt
from privacy.deposit.elgamal import VALUE_BOUND, randomness
from privacy.deposit.errors import LengthMismatch, PointOutsideSubgroup, ValueOutOfRange
from privacy.deposit.points import encode_points, generator, scalar
from privacy.deposit.sizes import POINT_BYTES
from tests.privacy.deposit.deposit_world import CONTEXT, ORDER_THREE, SEED, decrypted, key, values_of


def encrypted(values: list[int], seed: bytes = SEED, context: bytes = CONTEXT) -> Ciphertexts:
    return encrypt(key().key, np.array(values, dtype=np.int64), seed, context)


def in_py_ecc(point: G1Point) -> Any:
    data = encode_points([point])
    return reference_point(bytes(16) + data[:48] + bytes(16) + data[48:])


def test_a_ciphertext_is_what_another_library_computes() -> None:
    values = np.array([-77], dtype=np.int64)
    (r,) = randomness(values, SEED, CONTEXT)
    found = encrypt(key().key, values, SEED, CONTEXT)
    joint = reference_point(bytes(16) + key().key[:48] + bytes(16) + key().key[48:])
    assert eq(in_py_ecc(found.a[0]), multiply(G1, r))
    assert eq(in_py_ecc(found.b[0]), add(multiply(joint, r), multiply(neg(G1), 77)))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-(1 << 17), 1 << 17)] * 2), min_size=1, max_size=4), st.integers(-7, 7)
)
def test_sums_and_multiples_decrypt_to_sums_and_multiples(pairs: list[tuple[int, int]], factor: int) -> None:
    first, second = (encrypted([pair[k] for pair in pairs]) for k in (0, 1))
    total = first.plus(second.times([factor] * len(pairs)))
    assert decrypted(total, 1 << 21) == [a + factor * b for a, b in pairs]


def test_the_largest_values_are_encrypted_exactly() -> None:
    largest = VALUE_BOUND - 1
    found = encrypted([largest, -largest])
    assert found.plus(encrypted([-largest, largest], context=SEED)).encode() != bytes(2 * CIPHERTEXT_BYTES)
    assert decrypted(found.plus(encrypted([-largest + 5, largest - 6], context=SEED))) == [5, -6]


@pytest.mark.parametrize("value", [VALUE_BOUND, -VALUE_BOUND, -(1 << 63)])
def test_a_value_beyond_62_bits_is_refused(value: int) -> None:
    with pytest.raises(ValueOutOfRange):
        encrypted([0, value])


def test_the_same_work_gives_the_same_bytes() -> None:
    assert encrypted([1, 2, 3]).encode() == encrypted([1, 2, 3]).encode()


def test_another_value_seed_or_context_changes_the_randomness_of_every_cell() -> None:
    base = encrypted([5, 6]).a
    for other in (encrypted([5, 7]), encrypted([5, 6], seed=CONTEXT), encrypted([5, 6], context=SEED)):
        assert all(a != b for a, b in zip(base, other.a, strict=True))


def test_equal_values_have_different_ciphertexts() -> None:
    found = encrypted([0] * 50)
    assert len({encode_points([point]) for point in (*found.a, *found.b)}) == 100


def test_factors_are_below_the_order_and_fill_it() -> None:
    factors = randomness(values_of("factors", 500, 20), SEED, CONTEXT)
    assert all(factor.bit_length() <= 255 for factor in factors)
    assert max(factors).bit_length() == 255
    assert len(set(factors)) == 500


def test_no_values_have_no_ciphertexts() -> None:
    assert len(encrypted([])) == 0


def test_ciphertexts_come_back_and_foreign_points_are_refused() -> None:
    data = encrypted([1, -1]).encode()
    assert Ciphertexts.decode(data, count=2).encode() == data
    with pytest.raises(PointOutsideSubgroup, match="point 3"):
        Ciphertexts.decode(data[: 3 * POINT_BYTES] + ORDER_THREE, count=2)
    with pytest.raises(LengthMismatch):
        Ciphertexts.decode(data, count=1)


def test_vectors_of_other_lengths_do_not_add() -> None:
    with pytest.raises(LengthMismatch):
        encrypted([1]).plus(encrypted([1, 2]))
    with pytest.raises(LengthMismatch):
        encrypted([1]).times([1, 2])
    with pytest.raises(LengthMismatch):
        Ciphertexts([generator()], [])


def test_zero_is_neutral() -> None:
    found = encrypted([3])
    assert found.plus(Ciphertexts.zero(1)).encode() == found.encode()
    assert found.times([0]).encode() == Ciphertexts.zero(1).encode()
    assert generator() * scalar(-1) == -generator()


def test_plaintexts_and_points_are_not_in_the_representation() -> None:
    assert repr(encrypted([3])) == "Ciphertexts()"
