"""Paillier encryption for private weights and joins: keys, blinding, vectors, packing, and the stock library's forms.

Bytes: docs/protocol.md §8. Why short exponents, and where not: docs/adr/0008-paillier-djn.md.
"""

from privacy.paillier.blinding import Blinding, BlindingPool, ShortBlinding, UniformBlinding
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
from privacy.paillier.encrypt import (
    EncryptedVector,
    add,
    add_plain,
    concatenate,
    decrypt,
    encrypt,
    rerandomise,
    weighted_sum,
)
from privacy.paillier.keys import KEY_BITS, PrivateKey, PublicKey
from privacy.paillier.packing import SlotLayout, SumBound, pack, unpack

__all__ = [
    "KEY_BITS",
    "Blinding",
    "BlindingPool",
    "EncryptedVector",
    "PackedVector",
    "PrivateKey",
    "PublicKey",
    "ShortBlinding",
    "SlotLayout",
    "SumBound",
    "UniformBlinding",
    "add",
    "add_plain",
    "concatenate",
    "decode_packed",
    "decode_private_key",
    "decode_public_key",
    "decode_vector",
    "decrypt",
    "encode_packed",
    "encode_private_key",
    "encode_public_key",
    "encode_vector",
    "encrypt",
    "pack",
    "rerandomise",
    "unpack",
    "weighted_sum",
]
