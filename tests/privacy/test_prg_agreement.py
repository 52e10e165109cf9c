"""X25519 and secp256k1 key agreement: RFC vectors, and the keys that are refused."""

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.agreement import (
    clamp,
    is_x25519_pair,
    require_x25519_public,
    secp256k1_public,
    secp256k1_shared,
    x25519,
    x25519_public,
    x25519_shared,
)
from privacy.errors import WeakKey, WordInvalid

# RFC 7748 §5.2: scalar, u-coordinate, result
RFC_7748 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("vector", RFC_7748)
def test_x25519_matches_rfc_7748(vector: tuple[str, str, str]) -> None:
    private, public, expected = (bytes.fromhex(text) for text in vector)
    assert x25519(private, public) == x25519(clamp(private), public) == expected
    assert x25519_shared(X25519PrivateKey.from_private_bytes(private), public) == expected
    assert x25519_shared(X25519PrivateKey.from_private_bytes(clamp(private)), public) == expected
    assert not is_x25519_pair(private, public)
    assert is_x25519_pair(private, x25519_public(private))


@pytest.mark.parametrize("text", LOW_ORDER)
def test_a_zero_result_is_refused_and_named(text: str) -> None:
    private = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    with pytest.raises(WeakKey, match="sender 5") as caught:
        x25519_shared(private, bytes.fromhex(text), sender=5)
    assert caught.value.sender == 5
    with pytest.raises(WeakKey):
        require_x25519_public(bytes.fromhex(text))


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_x25519_agrees_with_openssl(private: bytes, public: bytes) -> None:
    key = X25519PrivateKey.from_private_bytes(private)
    assert x25519_public(private) == key.public_key().public_bytes_raw()
    try:
        expected = key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        with pytest.raises(WeakKey):
            x25519(private, public)
    else:
        assert x25519(private, public) == expected


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused_before_they_are_read(length: int) -> None:
    good = x25519_public(bytes(range(32)))
    with pytest.raises(WeakKey, match="sender 5"):
        x25519(bytes(range(32)), bytes(length), sender=5)
    with pytest.raises(WeakKey):
        require_x25519_public(bytes(length))
    with pytest.raises(WordInvalid):
        x25519(bytes(length), good)
    with pytest.raises(WordInvalid):
        x25519_public(bytes(length))


def test_secp256k1_agreement_is_symmetric_and_affine() -> None:
    first, second = bytes(31) + b"\x07", b"\x01" * 32
    x, y = secp256k1_shared(first, secp256k1_public(second))
    assert (x, y) == secp256k1_shared(second, secp256k1_public(first))
    point = PrivateKey(second).public_key.multiply(first).point()
    assert (int.from_bytes(x, "big"), int.from_bytes(y, "big")) == point


def test_the_generator_times_one_is_the_generator() -> None:
    one = bytes(31) + b"\x01"
    x, _ = secp256k1_shared(one, secp256k1_public(one))
    assert x.hex() == "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest.mark.parametrize(
    "key", [b"", bytes(33), b"\x02" + bytes(31) + b"\x05", b"\x02" + b"\xff" * 32, b"\x04" + b"\x01" * 64]
)
def test_bytes_that_are_no_point_are_refused(key: bytes) -> None:
    with pytest.raises(WeakKey):
        secp256k1_shared(bytes(31) + b"\x01", key)
