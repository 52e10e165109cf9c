"""Points from outside: what is read, what is refused, and the check of many at once."""

import hashlib

import pytest
from py_arkworks_bls12381 import G1Point
from py_ecc.optimized_bls12_381.optimized_curve import G1, multiply, normalize

from privacy.curve import BASE_PRIME
from privacy.deposit.errors import LengthMismatch, PointOutsideSubgroup, PointRefused, ScalarRefused
from privacy.deposit.points import (
    are_in_subgroup,
    decode_curve_points,
    decode_points,
    decode_scalar,
    encode_points,
    encode_scalar,
    generator,
    multiply_sum,
    require_subgroup,
    scalar,
)
from privacy.deposit.sizes import POINT_BYTES
from privacy.prg import CURVE_ORDER
from tests.privacy.deposit.deposit_world import ORDER_THREE, outside


def multiples(count: int) -> list[G1Point]:
    points = [generator()]
    for _ in range(count - 1):
        points.append(points[-1] + generator())
    return points


def py_ecc_bytes(factor: int) -> bytes:
    x, y = normalize(multiply(G1, factor))
    return int(x).to_bytes(48, "big") + int(y).to_bytes(48, "big")


@pytest.mark.parametrize("factor", [1, 2, 12345, CURVE_ORDER - 1])
def test_points_are_the_bytes_that_another_library_has(factor: int) -> None:
    assert encode_points([generator() * scalar(factor)]) == py_ecc_bytes(factor)


def test_infinity_is_zero_bytes_both_ways() -> None:
    assert encode_points([G1Point.identity()]) == bytes(POINT_BYTES)
    assert decode_points(bytes(POINT_BYTES), count=1) == [G1Point.identity()]


def test_points_come_back() -> None:
    points = multiples(5)
    assert decode_points(encode_points(points), count=5) == points


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_points_is_refused(count: int) -> None:
    with pytest.raises(LengthMismatch):
        decode_points(encode_points(multiples(2)), count=count)


def test_a_point_that_is_not_on_the_curve_is_named() -> None:
    data = bytearray(encode_points(multiples(3)))
    data[2 * POINT_BYTES - 1] ^= 1
    with pytest.raises(PointRefused, match="point 1") as refused:
        decode_curve_points(bytes(data))
    assert refused.value.position == 1


def test_a_coordinate_that_is_not_below_the_prime_is_refused() -> None:
    x, y = BASE_PRIME, 2  # x is 0 again: the curve's equation alone would let it pass
    with pytest.raises(PointRefused):
        decode_curve_points(x.to_bytes(48, "big") + y.to_bytes(48, "big"))


def test_bytes_that_are_no_whole_points_are_refused() -> None:
    with pytest.raises(LengthMismatch):
        decode_curve_points(bytes(POINT_BYTES + 1))


def test_a_point_outside_the_subgroup_is_on_the_curve_and_refused_by_position() -> None:
    data = encode_points(multiples(2)) + ORDER_THREE
    assert len(decode_curve_points(data)) == 3
    with pytest.raises(PointOutsideSubgroup, match="point 2"):
        decode_points(data, count=3)
    with pytest.raises(PointOutsideSubgroup):
        require_subgroup([outside()])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 300])
def test_the_batch_accepts_points_of_the_subgroup(count: int) -> None:
    assert are_in_subgroup([*multiples(count), G1Point.identity()], bytes(32))


@pytest.mark.parametrize("seed", range(20))
def test_the_batch_refuses_one_point_of_the_least_order(seed: int) -> None:
    rand = hashlib.sha256(bytes([seed])).digest()
    points = multiples(60)
    points[seed] += outside()
    assert not are_in_subgroup(points, rand)


@pytest.mark.parametrize("seed", range(20))
def test_the_batch_refuses_points_outside_whose_sum_is_inside(seed: int) -> None:
    rand = hashlib.sha256(b"pair" + bytes([seed])).digest()
    points = multiples(60)
    points[3] += outside()
    points[40 - seed] -= outside()
    assert not are_in_subgroup(points, rand)


def test_a_word_that_is_not_below_the_order_is_no_scalar() -> None:
    assert decode_scalar(encode_scalar(CURVE_ORDER - 1)) == CURVE_ORDER - 1
    for word in (CURVE_ORDER.to_bytes(32, "big"), bytes(31), bytes(33)):
        with pytest.raises(ScalarRefused):
            decode_scalar(word)


def test_a_sum_of_no_products_is_infinity() -> None:
    assert multiply_sum([], []) == G1Point.identity()
    assert multiply_sum(multiples(2), [5, -1]) == generator() * scalar(3)
