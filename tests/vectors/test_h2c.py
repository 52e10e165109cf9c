"""RFC 9380 hash to curve, suite BLS12381G1_XMD:SHA-256_SSWU_RO_, both implementations."""

from typing import Any

from privacy import curve, curve_reference
from tests.vectors.shared_files import shared_json


def suite() -> tuple[bytes, list[dict[str, Any]]]:
    data = shared_json("vectors", "h2c", "BLS12381G1_XMD_SHA-256_SSWU_RO_.json")
    assert data["ciphersuite"] == "BLS12381G1_XMD:SHA-256_SSWU_RO_"
    return data["dst"].encode("ascii"), data["vectors"]


def encoded(point: dict[str, str]) -> bytes:
    return int(point["x"], 16).to_bytes(64, "big") + int(point["y"], 16).to_bytes(64, "big")


def test_the_fast_implementation_matches_every_vector() -> None:
    dst, vectors = suite()
    assert len(vectors) >= 5
    for vector in vectors:
        assert curve.encode_point(curve.hash_to_point(vector["msg"].encode(), dst)) == encoded(vector["P"])


def test_the_second_implementation_matches_every_vector() -> None:
    dst, vectors = suite()
    for vector in vectors:
        point = curve_reference.hash_to_point(vector["msg"].encode(), dst)
        assert curve_reference.encode_point(point) == encoded(vector["P"])
