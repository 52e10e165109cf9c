"""Key derivation, masks and pads against their definitions and typed-in vectors."""

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encoding import keccak, word
from privacy.errors import PayloadMalformed, WordInvalid
from privacy.prg import CURVE_ORDER, MaskedVector, derive_key, expand, pad_cells, pad_lane, reduce_mod

ZERO_KEY = bytes(32)
# AES-256 with a zero key of the counters 0, 1 and 2: NIST GCM test cases 13 and 14 (H, E(K, Y0), first ciphertext)
NIST_BLOCKS = (
    "dc95c078a2408989ad48a21492842087",
    "530f8afbc74536b9a963b4f1c4cb738b",
    "cea7403d4d606b6e074ec5d3baf39d18",
)


def aes_stream(key: bytes, blocks: int) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return b"".join(encryptor.update(counter.to_bytes(16, "big")) for counter in range(blocks))


def test_the_stream_is_aes_256_in_counter_mode_from_zero() -> None:
    stream = aes_stream(ZERO_KEY, 8)
    assert stream[:48].hex() == "".join(NIST_BLOCKS)
    mask = expand(ZERO_KEY, 8)
    assert mask.lane == int.from_bytes(stream[:64], "big") % CURVE_ORDER
    assert mask.cells.tolist() == [int.from_bytes(stream[k : k + 8], "little") for k in range(64, 128, 8)]


@pytest.mark.parametrize("cells", [1, 16383, 16384, 16385, 40000])
def test_masks_do_not_depend_on_the_piece_size(cells: int) -> None:
    stream = aes_stream(ZERO_KEY, 4 + (cells + 1) // 2)[64 : 64 + 8 * cells]
    assert (
        expand(ZERO_KEY, cells).cells.tobytes()
        == np.frombuffer(stream, dtype="<u8").astype(np.uint64).tobytes()
    )


def test_key_derivation_is_hkdf_with_the_documented_info() -> None:
    ikm, session = b"\x0b" * 32, b"\x01" * 32
    info = b"shuyao/v1/mask\x00" + (3).to_bytes(2, "big") + (258).to_bytes(2, "big")
    extracted = hmac.new(session, ikm, hashlib.sha256).digest()
    assert (
        derive_key(ikm, session, "mask", 3, 258)
        == hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
    )


def test_hkdf_matches_rfc_5869() -> None:
    # RFC 5869 A.1 through the standard library, which the test above ties to derive_key
    prk = hmac.new(bytes(range(13)), b"\x0b" * 22, hashlib.sha256).digest()
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = hmac.new(prk, bytes(range(0xF0, 0xFA)) + b"\x01", hashlib.sha256).hexdigest()
    assert okm == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 23))
def test_the_buyers_pad_is_keccak_in_counter_mode(key: bytes, cells: int) -> None:
    stream = b"".join(keccak(key + word(t)) for t in range(6))
    expected = [int.from_bytes(stream[8 * j : 8 * j + 8], "big") for j in range(cells)]
    assert pad_cells(key, 0, cells).tolist() == expected
    lane = keccak(key + word(1 << 64)) + keccak(key + word((1 << 64) + 1))
    assert pad_lane(key) == int.from_bytes(lane, "big") % CURVE_ORDER


def test_a_long_pad_is_made_of_its_pieces() -> None:
    vector = MaskedVector.zero(40_001)
    vector.add_pad(ZERO_KEY)
    last = keccak(ZERO_KEY + word(10_000))
    assert int(vector.cells[40_000]) == int.from_bytes(last[:8], "big")
    assert np.array_equal(vector.cells, pad_cells(ZERO_KEY, 0, 40_001))


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9), st.integers(0, CURVE_ORDER - 1))
def test_masks_and_pads_come_off_again(cells: list[int], lane: int) -> None:
    vector = MaskedVector(np.array(cells, dtype=np.uint64), lane)
    before = vector.payload()
    vector.add_mask(b"\x01" * 32)
    vector.add_pad(b"\x02" * 32)
    assert vector.payload() != before
    vector.subtract_pad(b"\x02" * 32)
    vector.subtract_mask(b"\x01" * 32)
    assert vector.payload() == before
    assert MaskedVector.of_payload(before).payload() == before


@pytest.mark.parametrize("length", [0, 31, 32, 33, 39, 41, 8 * (1 << 17) + 40])
def test_a_vector_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(PayloadMalformed):
        MaskedVector.of_payload(bytes(length), sender=4)


def test_a_lane_that_is_not_reduced_is_refused() -> None:
    with pytest.raises(PayloadMalformed, match="sender 4"):
        MaskedVector.of_payload(bytes(8) + CURVE_ORDER.to_bytes(32, "big"), sender=4)


def test_reduction_needs_64_bytes() -> None:
    with pytest.raises(WordInvalid):
        reduce_mod(bytes(32), CURVE_ORDER)
