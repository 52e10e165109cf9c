"""Signatures have one accepted form."""

from __future__ import annotations

import copy
import pickle

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import keccak
from ledger.errors import BadSignature, MalformedValue
from ledger.signing import ORDER, Signer, address_of, recover, require_signature

digests = st.binary(min_size=32, max_size=32)
keys = st.integers(1, ORDER - 1).map(lambda k: k.to_bytes(32, "big"))
SIGNER = Signer(keccak(b"signer"))
DIGEST = keccak(b"digest")
SIGNATURE = SIGNER.sign(DIGEST)


@given(keys, digests)
def test_signature_is_that_of_eth_account(key: bytes, digest: bytes) -> None:
    signer, other = Signer(key), Account.from_key(key)
    signature = signer.sign(digest)
    assert signature == bytes(other.unsafe_sign_hash(digest).signature)
    assert "0x" + signer.address.hex() == other.address.lower()
    assert recover(digest, signature) == signer.address == address_of(signer.public_key)


@given(st.integers(0, 64), st.integers(1, 255))
def test_altered_signature_never_recovers_the_signer(position: int, flip: int) -> None:
    altered = bytearray(SIGNATURE)
    altered[position] ^= flip
    with pytest.raises(BadSignature):
        require_signature(SIGNER.address, DIGEST, bytes(altered))


def test_signature_with_high_s_is_refused() -> None:
    r, s, v = SIGNATURE[:32], int.from_bytes(SIGNATURE[32:64], "big"), SIGNATURE[64]
    twin = r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    with pytest.raises(BadSignature, match="order/2"):
        recover(DIGEST, twin)


@pytest.mark.parametrize("v", [0, 1, 26, 29, 30, 37, 255])
def test_signature_with_another_v_is_refused(v: int) -> None:
    with pytest.raises(BadSignature):
        recover(DIGEST, SIGNATURE[:64] + bytes([v]))


@pytest.mark.parametrize(
    "signature",
    [b"", SIGNATURE[:64], SIGNATURE + b"\0", bytes(64) + b"\x1b", bytes(32) + SIGNATURE[32:],
     SIGNATURE[:32] + bytes(32) + b"\x1b", ORDER.to_bytes(32, "big") + SIGNATURE[32:],
     b"\xff" * 64 + b"\x1b"],
)  # fmt: skip
def test_malformed_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        recover(DIGEST, signature)


def test_digest_of_another_length_is_refused() -> None:
    with pytest.raises(BadSignature):
        recover(b"short", SIGNATURE)
    with pytest.raises(MalformedValue):
        SIGNER.sign(b"short")


@pytest.mark.parametrize("key", [b"", bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\1" * 33])
def test_key_out_of_range_is_refused(key: bytes) -> None:
    with pytest.raises(MalformedValue):
        Signer(key)


def test_signer_does_not_show_or_pickle_its_key() -> None:
    secret = SIGNER.raw_private_key().hex()
    assert secret not in repr(SIGNER) + str(SIGNER)
    with pytest.raises(TypeError):
        pickle.dumps(SIGNER)
    with pytest.raises(TypeError):
        copy.deepcopy(SIGNER)


def test_public_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(MalformedValue):
        address_of(b"\2" + b"\xff" * 32)
