"""EIP-2537 vectors: what the chain's precompiles accept, both implementations decode, add and multiply alike."""

from typing import Any

import pytest
from py_arkworks_bls12381 import G1Point, Scalar
from py_ecc.optimized_bls12_381.optimized_curve import add

from privacy import curve, curve_reference
from privacy.errors import PointEncodingInvalid, PointNotInSubgroup, ProtocolError
from privacy.prg import CURVE_ORDER
from tests.vectors.shared_files import shared_json

ERRORS: dict[str, type[ProtocolError]] = {
    "invalid input length": PointEncodingInvalid,
    "invalid point: not on curve": PointEncodingInvalid,
    "invalid fp.Element encoding": PointEncodingInvalid,
    "invalid field element top bytes": PointEncodingInvalid,
    "g1 point is not in the correct subgroup": PointNotInSubgroup,
}
REFERENCE_TERMS_MAX = 12  # py_ecc takes milliseconds a term


def vectors(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = shared_json("vectors", "eip2537", f"{name}.json")
    return cases


def terms(data: bytes) -> list[tuple[bytes, int]]:
    pieces = [data[k : k + 160] for k in range(0, len(data), 160)]
    return [(piece[:128], int.from_bytes(piece[128:], "big")) for piece in pieces]


def test_addition_does_not_ask_for_the_subgroup() -> None:
    for case in vectors("add_G1_bls"):
        data, expected = bytes.fromhex(case["Input"]), bytes.fromhex(case["Expected"])
        first, second = data[:128], data[128:]
        fast = curve.decode_curve_point(first) + curve.decode_curve_point(second)
        slow = add(curve_reference.decode_curve_point(first), curve_reference.decode_curve_point(second))
        assert curve.encode_point(fast) == expected, case["Name"]
        assert curve_reference.encode_point(slow) == expected, case["Name"]


@pytest.mark.parametrize("name", ["mul_G1_bls", "msm_G1_bls"])
def test_multiplication_matches(name: str) -> None:
    for case in vectors(name):
        pairs, expected = terms(bytes.fromhex(case["Input"])), bytes.fromhex(case["Expected"])
        points = [curve.decode_point(point) for point, _ in pairs]
        scalars = [Scalar(k % CURVE_ORDER) for _, k in pairs]
        assert curve.encode_point(G1Point.multiexp_unchecked(points, scalars)) == expected, case["Name"]
        if len(pairs) <= REFERENCE_TERMS_MAX:
            slow = curve_reference.multiply_sum(
                [curve_reference.decode_point(point) for point, _ in pairs], [k for _, k in pairs]
            )
            assert curve_reference.encode_point(slow) == expected, case["Name"]


@pytest.mark.parametrize(("name", "stride"), [("fail-add_G1_bls", 128), ("fail-msm_G1_bls", 160)])
def test_what_the_precompiles_refuse_is_refused_by_both(name: str, stride: int) -> None:
    for case in vectors(name):
        data = bytes.fromhex(case["Input"])
        pieces = [data[k : k + stride][:128] for k in range(0, len(data), stride)] or [b""]
        # an input of a wrong length leaves a last piece that is no whole entry
        if len(data) % stride and len(data) % stride >= 128:
            pieces[-1] = data[-(len(data) % stride) :]
        for module in (curve, curve_reference):
            decode = module.decode_point if stride == 160 else module.decode_curve_point
            with pytest.raises(ERRORS[case["ExpectedError"]]):
                for piece in pieces:
                    decode(piece)
