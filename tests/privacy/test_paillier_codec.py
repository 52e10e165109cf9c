"""One encoding each: what is encoded decodes, anything else has the name of what is wrong."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.paillier import (
    PackedVector,
    PublicKey,
    SlotLayout,
    decode_packed,
    decode_private_key,
    decode_public_key,
    decode_vector,
    encode_packed,
    encode_private_key,
    encode_public_key,
    encode_vector,
    encrypt,
    pack,
)
from privacy.paillier.errors import (
    CiphertextNotUnit,
    CiphertextOutOfRange,
    EncodingRefused,
    ExponentRefused,
    KeyInvalid,
    KeyMismatch,
    KeySizeRefused,
    KindUnknown,
    LengthMismatch,
    MagicWrong,
    PackingInvalid,
    PaillierError,
    TrailingBytes,
    Truncated,
    VersionUnknown,
)
from tests.privacy.paillier_world import owner, short, stranger

LAYOUT = SlotLayout(8, 47)


def vector_bytes() -> bytes:
    return encode_vector(encrypt(short(), [1, -2], exponent=-5))


def packed_bytes() -> bytes:
    values = list(range(50))
    return encode_packed(PackedVector(encrypt(short(), pack(values, LAYOUT)), LAYOUT, len(values)))


def test_everything_that_is_encoded_decodes_to_the_same() -> None:
    assert decode_public_key(encode_public_key(owner().public)) == owner().public
    assert decode_private_key(encode_private_key(owner())) == owner()
    vector = vector_bytes()
    assert encode_vector(decode_vector(vector, owner().public)) == vector
    packed = packed_bytes()
    assert encode_packed(decode_packed(packed, owner().public)) == packed


def test_every_byte_is_where_the_protocol_says() -> None:
    n = owner().public.n.to_bytes(384, "big")
    assert encode_public_key(owner().public) == b"SYP\x01\x01\x01\x80" + n
    assert encode_private_key(owner())[:7] == b"SYP\x01\x02\x00\xc0"
    vector = vector_bytes()
    assert vector[:5] == b"SYP\x01\x03" and vector[5:37] == owner().public.id
    assert vector[37:39] == b"\xff\xfb" and vector[39:43] == b"\0\0\0\x02" and len(vector) == 43 + 2 * 768
    packed = packed_bytes()
    assert packed[:5] == b"SYP\x01\x04" and packed[37:39] == b"\0\0"
    assert packed[39:47] == b"\0\x08\0\x2f\0\0\0\x32" and len(packed) == 47 + 2 * 768


@pytest.mark.parametrize(
    ("data", "decode"),
    [(vector_bytes, decode_vector), (packed_bytes, decode_packed)],
    ids=["vector", "packed"],
)
def test_damaged_bytes_have_named_errors(
    data: Callable[[], bytes], decode: Callable[[bytes, PublicKey], object]
) -> None:
    good, key = data(), owner().public
    assert decode(good, key)
    other_kind = bytes([7 - good[4]])
    for damaged, error in (
        (b"SYM" + good[3:], MagicWrong),
        (good[:3] + b"\2" + good[4:], VersionUnknown),
        (good[:4] + other_kind + good[5:], KindUnknown),
        (good[:-1], Truncated),
        (good + b"\0", TrailingBytes),
        (b"", Truncated),
        (good[:20], Truncated),
        (good[:37] + b"\0\1" + good[39:], ExponentRefused),
        (good[:-768] + bytes(768), CiphertextOutOfRange),
        (good[:-768] + b"\xff" * 768, CiphertextOutOfRange),
        (good[:-768] + owner().p.to_bytes(768, "big"), CiphertextNotUnit),
    ):
        with pytest.raises(error):
            decode(damaged, key)
    with pytest.raises(KeyMismatch):
        decode(good, stranger().public)


def test_impossible_counts_and_layouts_have_named_errors() -> None:
    key, vector, packed = owner().public, vector_bytes(), packed_bytes()
    for count in (0, 1 << 31):
        with pytest.raises(LengthMismatch):
            decode_vector(vector[:39] + count.to_bytes(4, "big") + vector[43:], key)
        with pytest.raises(LengthMismatch):
            decode_packed(packed[:43] + count.to_bytes(4, "big") + packed[47:], key)
    with pytest.raises(PackingInvalid):
        decode_packed(packed[:39] + b"\0\x08\0\x30" + packed[43:], key)
    with pytest.raises(Truncated):
        decode_packed(packed[:43] + (95).to_bytes(4, "big") + packed[47:], key)


def test_keys_in_another_form_have_named_errors() -> None:
    public, private = encode_public_key(owner().public), encode_private_key(owner())
    p, q = private[7:199], private[199:]
    for damaged, error in (
        (public[:5] + b"\x01\x81\0" + public[7:], EncodingRefused),
        (public + b"\0", TrailingBytes),
        (public[:-1], Truncated),
        (public[:5] + b"\0\0", EncodingRefused),
        (public[:5] + b"\1\0" + b"\x81" * 256, KeySizeRefused),
        (public[:-1] + bytes([public[-1] ^ 1]), KeyInvalid),
    ):
        with pytest.raises(error):
            decode_public_key(damaged)
    for damaged, error in (
        (private[:7] + q + p, EncodingRefused),
        (private[:7] + p + p, EncodingRefused),
        (private[:-1] + bytes([private[-1] ^ 2]), KeyInvalid),
        (private[:-1], Truncated),
    ):
        with pytest.raises(error):
            decode_private_key(damaged)


@given(st.binary(max_size=200), st.sampled_from(range(5)))
@settings(max_examples=300)
def test_no_bytes_raise_anything_but_a_named_error(tail: bytes, kind: int) -> None:
    for data in (
        tail,
        b"SYP\x01" + bytes([kind]) + tail,
        b"SYP\x01" + bytes([kind]) + owner().public.id + tail,
    ):
        for decode in (decode_public_key, decode_private_key):
            with pytest.raises(PaillierError):
                decode(data)
        for decode_under in (decode_vector, decode_packed):
            with pytest.raises(PaillierError):
                decode_under(data, owner().public)
