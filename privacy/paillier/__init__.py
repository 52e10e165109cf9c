"""Paillier encryption for private weights and joins: keys, blinding, vectors, packing, and the stock library's forms.

Bytes: docs/protocol.md §8. Why short exponents, and where not: docs/adr/0008-paillier-djn.md.
"""

from privacy.paillier.blinding import Blinding, ShortBlinding, UniformBlinding, draw_ahead
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
    decrypt,
    encrypt,
    rerandomise,
)
from privacy.paillier.keys import KEY_BITS, PrivateKey, PublicKey
from privacy.paillier.packing import SlotLayout, SumBound, pack, unpack
from privacy.paillier.roots import open_with_root, prove_permutation, require_permutation, roots_of

__all__ = [
    "KEY_BITS",
    "Blinding",
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
    "decode_packed",
    "decode_private_key",
    "decode_public_key",
    "decode_vector",
    "decrypt",
    "draw_ahead",
    "encode_packed",
    "encode_private_key",
    "encode_public_key",
    "encode_vector",
    "encrypt",
    "open_with_root",
    "pack",
    "prove_permutation",
    "require_permutation",
    "rerandomise",
    "roots_of",
    "unpack",
]
