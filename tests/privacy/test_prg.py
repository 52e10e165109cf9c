"""Key derivation, masks and pads against their definitions and typed-in vectors."""

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import PayloadMalformed, WordInvalid
from privacy.prg import CURVE_ORDER, MaskedVector, derive_key, reduce_mod

ZERO_KEY = bytes(32)
# AES-256 with a zero key of counter 2: the first ciphertext of NIST GCM test case 14
NIST_BLOCK = "cea7403d4d606b6e074ec5d3baf39d18"
# AES-256-CTR with a zero key, counters 2, 3, … across each power of 256 that 2^17 cells reach
COUNTERS_SEEN = 4 + (1 << 16)


def aes_stream(key: bytes, blocks: int) -> bytes:
    counters = b"".join(counter.to_bytes(16, "big") for counter in range(2, 2 + blocks))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)


def chacha20_stream(key: bytes, length: int) -> bytes:
    return Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(length))


def mask_of(key: bytes, cells: int) -> MaskedVector:
    vector = MaskedVector.zero(cells)
    vector.add_mask(key)
    return vector


def pad_of(key: bytes, cells: int) -> MaskedVector:
    vector = MaskedVector.zero(cells)
    vector.add_pad(key)
    return vector


def test_the_mask_is_aes_256_in_counter_mode_from_two() -> None:
    stream = aes_stream(ZERO_KEY, 8)
    assert stream[:16].hex() == NIST_BLOCK
    mask = mask_of(ZERO_KEY, 8)
    assert mask.lane == int.from_bytes(stream[:64], "little") % CURVE_ORDER
    assert mask.cells.tolist() == [int.from_bytes(stream[k : k + 8], "little") for k in range(64, 128, 8)]


@pytest.mark.parametrize("cells", [1, 2, 3, 40_001, 1 << 17])
def test_masks_and_pads_of_every_length_are_prefixes_of_one_stream(cells: int) -> None:
    mask, pad = aes_stream(ZERO_KEY, COUNTERS_SEEN), chacha20_stream(ZERO_KEY, 64 + (8 << 17))
    for vector, stream in ((mask_of(ZERO_KEY, cells), mask), (pad_of(ZERO_KEY, cells), pad)):
        assert vector.cells.astype("<u8").tobytes() == stream[64 : 64 + 8 * cells]
        assert vector.lane == int.from_bytes(stream[:64], "little") % CURVE_ORDER


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
def test_the_buyers_pad_is_chacha20_the_first_block_for_the_lane(key: bytes, cells: int) -> None:
    stream = chacha20_stream(key, 64 + 8 * cells)
    pad = pad_of(key, cells)
    assert pad.cells.tolist() == [
        int.from_bytes(stream[k : k + 8], "little") for k in range(64, 64 + 8 * cells, 8)
    ]
    assert pad.lane == int.from_bytes(stream[:64], "little") % CURVE_ORDER


def test_one_vector_takes_masks_and_pads_one_after_another() -> None:
    vector = MaskedVector.zero(1000)
    vector.add_mask(ZERO_KEY)
    vector.add_pad(ZERO_KEY)
    vector.subtract_mask(b"\x01" * 32)
    expected = (
        mask_of(ZERO_KEY, 1000).cells + pad_of(ZERO_KEY, 1000).cells - mask_of(b"\x01" * 32, 1000).cells
    )
    assert np.array_equal(vector.cells, expected)


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


@pytest.mark.parametrize("payload", [bytes(8 * 3 + 32), bytearray(8 * 3 + 32)])
def test_a_payload_stays_as_it_came(payload: bytes) -> None:
    before = bytes(payload)
    vector = MaskedVector.of_payload(payload)
    vector.add_mask(ZERO_KEY)
    vector.add_payload(vector.payload())
    vector.subtract_pad(ZERO_KEY)
    assert bytes(payload) == before != vector.payload()


@pytest.mark.parametrize("step", [1, 2, -1])
def test_signed_cells_stay_as_they_came(step: int) -> None:
    cells = np.repeat(np.array([-1, 2**62 - 1, 1 - 2**62], dtype=np.int64), abs(step))[::step]
    before = cells.tolist()
    vector = MaskedVector.of_signed(cells, 7)
    assert vector.payload()[:24] == cells.tobytes()
    vector.add_mask(ZERO_KEY)
    vector.add_mask(b"\x01" * 32)
    assert cells.tolist() == before
    vector.subtract_mask(ZERO_KEY)
    vector.subtract_mask(b"\x01" * 32)
    assert (vector.cells.view(np.int64).tolist(), vector.lane) == (before, 7)


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
