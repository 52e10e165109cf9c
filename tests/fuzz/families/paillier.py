"""Paillier keys and ciphertexts, in their own encoding and in that of the stock library's command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from privacy.paillier.codec import (
    PackedVector,
    decode_packed,
    decode_private_key,
    decode_public_key,
    decode_vector,
    encode_packed,
    encode_private_key,
    encode_public_key,
    encode_vector,
)
from privacy.paillier.encrypt import EncryptedVector, encrypt
from privacy.paillier.errors import PaillierError
from privacy.paillier.interchange import (
    dump_numbers,
    dump_private_key,
    dump_public_key,
    load_numbers,
    load_private_key,
    load_public_key,
)
from privacy.paillier.packing import SlotLayout
from tests.fuzz.contract import Decoder
from tests.fuzz.families.texts import bytes_of, of_text, text_of
from tests.privacy.paillier_world import owner, short

_NUMBERS_MAX = 16


@cache
def _vector() -> EncryptedVector:
    return encrypt(short(), [1, 2, 3], exponent=-2)


@cache
def _packed() -> PackedVector:
    layout = SlotLayout(8, 4)
    return PackedVector(encrypt(short(), [5, 6]), layout, 7)


def _numbers(data: bytes) -> EncryptedVector:
    """A few numbers: `pheutil` writes each to a file of its own, and to raise one to another exponent takes milliseconds."""
    return load_numbers(owner().public, text_of(data).split("\n", _NUMBERS_MAX - 1))


def _number_seeds() -> Iterator[bytes]:
    yield "\n".join(dump_numbers(_vector())).encode()
    yield b"\n".join(json.dumps({"v": "12345", "e": exponent}).encode() for exponent in (-64, -3, 0))


def _lines(vector: EncryptedVector) -> bytes:
    return bytes_of("\n".join(dump_numbers(vector)))


FAMILIES = {
    "paillier": (
        Decoder(
            "decode_public_key",
            decode_public_key,
            (PaillierError,),
            lambda: [encode_public_key(owner().public)],
            encode_public_key,
        ),
        Decoder(
            "decode_private_key",
            decode_private_key,
            (PaillierError,),
            lambda: [encode_private_key(owner())],
            encode_private_key,
        ),
        Decoder(
            "decode_vector",
            lambda data: decode_vector(data, owner().public),
            (PaillierError,),
            lambda: [encode_vector(_vector())],
            encode_vector,
        ),
        Decoder(
            "decode_packed",
            lambda data: decode_packed(data, owner().public),
            (PaillierError,),
            lambda: [encode_packed(_packed())],
            encode_packed,
        ),
        Decoder(
            "load_public_key",
            of_text(load_public_key),
            (PaillierError,),
            lambda: [dump_public_key(owner().public, name="数").encode()],
            lambda key: dump_public_key(key, name="").encode(),
            False,
        ),
        Decoder(
            "load_private_key",
            of_text(load_private_key),
            (PaillierError,),
            lambda: [dump_private_key(owner(), name="a").encode()],
            lambda key: dump_private_key(key, name="").encode(),
            False,
        ),
        Decoder("load_numbers", _numbers, (PaillierError,), _number_seeds, _lines, False),
    ),
}
