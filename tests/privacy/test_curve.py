"""Commitments: RFC 9380 points, both implementations, encodings and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.optimized_bls12_381.optimized_curve import Z1, add, multiply

from privacy import curve, curve_reference
from privacy.curve import BASE_PRIME, CELL_BOUND, commit, decode_point, encode_point, verify_opening
from privacy.errors import (
    CellOutOfRange,
    CommitmentMismatch,
    PointEncodingInvalid,
    PointNotInSubgroup,
    ProtocolError,
)
from privacy.prg import CURVE_ORDER
from tests.privacy.sum_world import GENERATORS

CELLS = st.lists(st.integers(-CELL_BOUND + 1, CELL_BOUND - 1), max_size=4)
SCALARS = st.integers(0, CURVE_ORDER - 1)
# RFC 9380 J.9.1, msg = "" and "abc"
RFC_DST = b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"
RFC_9380 = {
    b"": (
        "052926add2207b76ca4fa57a8734416c8dc95e24501772c814278700eed6d1e4e8cf62d9c09db0fac349612b759e79a1",
        "08ba738453bfed09cb546dbb0783dbb3a5f1f566ed67bb6be0e8c67e2e81a4cc68ee29813bb7994998f3eae0c9c6a265",
    ),
    b"abc": (
        "03567bc5ef9c690c2ab2ecdf6a96ef1c139cc0b2f284dca0a9a7943388a49a3aee664ba5379a7655d3c68900be2f6903",
        "0b9c15f3fe6e5cf4211f346271d7b01c8f3b28be689c8429c85b67af215533311f0b8dfaaa154fa6b88176c229f2885d",
    ),
}


def signed(cells: list[int]) -> curve.SignedCells:
    return np.array(cells, dtype=np.int64)


def outside_subgroup() -> bytes:
    """Return a point of the curve whose order is not q."""
    x = next(x for x in range(1, 99) if pow(x**3 + 4, (BASE_PRIME - 1) // 2, BASE_PRIME) == 1)
    y = pow(x**3 + 4, (BASE_PRIME + 1) // 4, BASE_PRIME)
    return x.to_bytes(64, "big") + y.to_bytes(64, "big")


@pytest.mark.parametrize("message", list(RFC_9380))
def test_both_implementations_hash_as_rfc_9380(message: bytes) -> None:
    expected = "".join("0" * 32 + coordinate for coordinate in RFC_9380[message])
    assert encode_point(curve.hash_to_point(message, RFC_DST)).hex() == expected
    reference = curve_reference.hash_to_point(message, RFC_DST)
    assert curve_reference.encode_point(reference).hex() == expected


@settings(max_examples=15, deadline=None)
@given(CELLS, SCALARS)
def test_both_implementations_commit_alike(cells: list[int], blinding: int) -> None:
    commitment = commit(GENERATORS.take(len(cells)), signed(cells), blinding)
    assert commitment == curve_reference.commit(cells, blinding)
    curve_reference.verify_opening({0: commitment}, cells, blinding)


def test_both_implementations_agree_on_a_long_vector() -> None:
    cells = [(-1) ** k * (k * 2654435761 % (1 << 41)) for k in range(300)]
    commitment = commit(GENERATORS.take(300), signed(cells), CURVE_ORDER - 1)
    steps: list[tuple[int, int]] = []
    curve_reference.verify_opening(
        {3: commitment}, cells, CURVE_ORDER - 1, lambda done, total: steps.append((done, total))
    )
    assert steps[0] == (1, 300)
    assert steps[-1] == (300, 300)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-(1 << 60), 1 << 60), SCALARS), min_size=1, max_size=3))
def test_commitments_add_up(holders: list[tuple[int, int]]) -> None:
    generators = GENERATORS.take(1)
    commitments = {k: commit(generators, signed([x]), r) for k, (x, r) in enumerate(holders)}
    total = sum(x for x, _ in holders)
    blinding = sum(r for _, r in holders) % CURVE_ORDER
    verify_opening(generators, commitments, signed([total]), blinding)
    for wrong in (total + 1, -total - 1):
        with pytest.raises(CommitmentMismatch):
            verify_opening(generators, commitments, signed([wrong]), blinding)
    with pytest.raises(CommitmentMismatch):
        verify_opening(generators, commitments, signed([total]), blinding + 1)


def test_the_reference_refuses_a_wrong_opening() -> None:
    commitment = commit(GENERATORS.take(2), signed([5, -7]), 11)
    for cells, blinding in (([5, -6], 11), ([5, -7], 12), ([-7, 5], 11), ([5], 11)):
        with pytest.raises(CommitmentMismatch):
            curve_reference.verify_opening({0: commitment}, cells, blinding)


def test_nothing_and_zero_commit_to_infinity() -> None:
    assert commit(GENERATORS.take(0), signed([]), 0) == bytes(128)
    assert commit(GENERATORS.take(2), signed([0, 0]), 0) == bytes(128)
    assert curve_reference.commit([0, 0], 0) == bytes(128)
    verify_opening(GENERATORS.take(1), {0: bytes(128)}, signed([0]), 0)
    curve_reference.verify_opening({0: bytes(128)}, [0], 0)


@pytest.mark.parametrize("cell", [CELL_BOUND, -CELL_BOUND, -(1 << 63), (1 << 63) - 1])
def test_a_cell_outside_the_range_is_refused(cell: int) -> None:
    with pytest.raises(CellOutOfRange):
        commit(GENERATORS.take(1), signed([cell]), 0)
    with pytest.raises(CellOutOfRange):
        curve_reference.commit([cell], 0)


@settings(deadline=None)
@given(SCALARS)
def test_points_read_back(scalar: int) -> None:
    data = commit(GENERATORS.take(0), signed([]), scalar)
    assert encode_point(decode_point(data)) == data
    assert curve_reference.encode_point(curve_reference.decode_curve_point(data)) == data


GOOD = encode_point(curve.blinding_generator())
BAD_ENCODINGS = {
    "short": GOOD[:-1],
    "long": GOOD + b"\x00",
    "empty": b"",
    "96 bytes": GOOD[16:64] + GOOD[80:],
    "padding": b"\x01" + GOOD[1:],
    "second padding": GOOD[:64] + b"\x01" + GOOD[65:],
    "x not below the prime": (BASE_PRIME + int.from_bytes(GOOD[:64], "big")).to_bytes(64, "big") + GOOD[64:],
    "x is the prime": BASE_PRIME.to_bytes(64, "big") + bytes(64),
    "not on the curve": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "half zero": GOOD[:64] + bytes(64),
    "compression flag": bytes(16) + b"\xc0" + bytes(111),
}


@pytest.mark.parametrize("name", list(BAD_ENCODINGS))
def test_bytes_that_are_no_point_are_refused_by_both(name: str) -> None:
    for decode in (curve.decode_point, curve_reference.decode_point):
        with pytest.raises(PointEncodingInvalid, match="sender 2"):
            decode(BAD_ENCODINGS[name], sender=2)


def test_a_point_outside_the_subgroup_is_refused_by_both() -> None:
    data = outside_subgroup()
    for decode in (curve.decode_point, curve_reference.decode_point):
        with pytest.raises(PointNotInSubgroup, match="sender 2"):
            decode(data, sender=2)
    assert encode_point(curve.decode_curve_point(data)) == data
    error: type[ProtocolError] = PointNotInSubgroup
    with pytest.raises(error, match="sender 1"):
        verify_opening(GENERATORS.take(1), {0: GOOD, 1: data}, signed([1]), 0)
    with pytest.raises(error, match="sender 1"):
        curve_reference.verify_opening({0: GOOD, 1: data}, [1], 0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-(1 << 70), 1 << 70), max_size=6))
def test_the_bucket_sum_is_the_plain_sum(scalars: list[int]) -> None:
    points = [curve_reference.hash_to_point(bytes([k]), RFC_DST) for k in range(len(scalars))]
    total = Z1
    for point, scalar in zip(points, scalars, strict=True):
        total = add(total, multiply(point, scalar % CURVE_ORDER))
    result = curve_reference.multiply_sum(points, scalars)
    assert curve_reference.encode_point(result) == curve_reference.encode_point(total)
