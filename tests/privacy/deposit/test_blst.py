"""blst's ciphertexts are arkworks', also where points coincide, cancel out or are infinity; without blst there is arkworks."""

import _ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.deposit.blst import Blst, BlstUnusable, open_blst
from privacy.deposit.elgamal import VALUE_BOUND, arithmetic
from privacy.deposit.errors import PointRefused
from privacy.deposit.fixed_base import FACTOR_BYTES, Arkworks, Columns, factor_digits
from privacy.deposit.points import encode_points, generator
from privacy.deposit.sizes import POINT_BYTES
from privacy.prg import CURVE_ORDER
from tests.privacy.deposit.deposit_world import ORDER_THREE, key, outside

G = encode_points([generator()])
INFINITY = bytes(POINT_BYTES)

found = open_blst()
assert found is not None, "ckzg brings no blst: deposits are encrypted at two fifths of the speed"
blst: Blst = found


def ciphertexts(
    of: Blst | Arkworks, pairs: list[tuple[int, int]], under: bytes | None = None
) -> tuple[list[bytes], list[bytes]]:
    factors = factor_digits(b"".join(r.to_bytes(FACTOR_BYTES, "little") for r, _ in pairs))
    values = np.array([m for _, m in pairs], dtype=np.int64)
    columns: Columns = of.ciphertexts(under or key().key, factors, values)
    a, b = ([each[k : k + POINT_BYTES] for k in range(0, len(each), POINT_BYTES)] for each in columns)
    return a, b


factors = st.one_of(
    st.integers(0, CURVE_ORDER - 1),
    st.sampled_from([0, 1, 4_095, 4_096, CURVE_ORDER - 1]),
    st.lists(st.sampled_from([0, 1, 4_095]), min_size=21, max_size=21).map(
        lambda digits: sum(digit << 12 * place for place, digit in enumerate(digits))
    ),
)
values = st.one_of(
    st.integers(-VALUE_BOUND + 1, VALUE_BOUND - 1), st.integers(-5_000, 5_000), st.sampled_from([0, 4_096])
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(factors, values), max_size=6), st.sampled_from([None, G]))
def test_both_arithmetics_give_the_same_bytes(pairs: list[tuple[int, int]], under: bytes | None) -> None:
    assert ciphertexts(blst, pairs, under) == ciphertexts(Arkworks(), pairs, under)


def test_infinity_among_others_is_zeros_and_spoils_none() -> None:
    pairs = [(5, 7), (0, 0), (CURVE_ORDER - 3, 3), (3, -3), (9, 9), (0, 4)]
    a, b = ciphertexts(blst, pairs, G)
    assert (a, b) == ciphertexts(Arkworks(), pairs, G)
    assert [k for k, point in enumerate(a) if point == INFINITY] == [1, 5]
    assert [k for k, point in enumerate(b) if point == INFINITY] == [1, 2, 3]
    assert b[4] == encode_points([sum([generator()] * 18, -generator()) + generator()])


OUTSIDE = encode_points([outside() + generator()])
REFUSED = [INFINITY, ORDER_THREE, OUTSIDE, bytes(POINT_BYTES - 1) + b"\x01", b"\xff" * POINT_BYTES]


@pytest.mark.parametrize("refused", REFUSED)
def test_a_key_outside_the_subgroup_or_at_infinity_is_refused(refused: bytes) -> None:
    with pytest.raises(PointRefused):
        ciphertexts(blst, [(1, 1)], refused)


def test_deposits_use_it() -> None:
    assert isinstance(arithmetic(), Blst)


def test_without_blst_there_is_none() -> None:
    assert open_blst("no_such_module") is None
    assert open_blst("sys") is None
    assert open_blst(_ctypes.__name__) is None


def test_a_library_without_its_functions_is_named() -> None:
    with pytest.raises(BlstUnusable, match="blst_p1s_add"):
        Blst(_ctypes.__file__)
    with pytest.raises(BlstUnusable, match="cannot be loaded"):
        Blst(__file__)
