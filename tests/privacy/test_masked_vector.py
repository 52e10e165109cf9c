"""A masked vector made again from docs/protocol.md §5: streams, keys and signs, without the product's code for any of them."""

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privacy.prg import CURVE_ORDER
from privacy.sealed_sum import holder_pad
from tests.privacy.sum_world import World


def aes_stream(key: bytes, length: int) -> bytes:
    counter = (2).to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(length))


def hkdf(ikm: bytes, session: bytes, use: bytes, i: int, j: int) -> bytes:
    extracted = hmac.digest(session, ikm, "sha256")
    info = b"shuyao/v1/" + use + b"\0" + i.to_bytes(2, "big") + j.to_bytes(2, "big")
    return hmac.digest(extracted, info + b"\x01", "sha256")


@pytest.mark.parametrize("me", [0, 1, 2])
def test_a_masked_vector_is_the_protocols_sum_of_streams(me: int) -> None:
    world = World(3, cells=9)
    mine, session = world.secrets[me], world.session
    key = X25519PrivateKey.from_private_bytes(mine.mask_private)
    own = hkdf(mine.self_seed.to_bytes(32, "big"), session.id, b"self", me, me)
    terms = [(1, aes_stream(own, 64 + 8 * 9))]
    for peer, member in enumerate(session.members):
        if peer != me:
            shared = key.exchange(X25519PublicKey.from_public_bytes(member.mask_key))
            pair = hkdf(shared, session.id, b"mask", min(me, peer), max(me, peer))
            terms.append((1 if me < peer else -1, aes_stream(pair, 64 + 8 * 9)))
    pad = holder_pad(session.id, me, mine.e_private, world.buyer.compressed)
    pad_stream = Cipher(algorithms.ChaCha20(pad, bytes(16)), None).encryptor().update(bytes(64 + 8 * 9))
    terms.append((1, pad_stream))
    cells = [
        (int(x) + sum(sign * int.from_bytes(term[k : k + 8], "little") for sign, term in terms)) % 2**64
        for k, x in zip(range(64, 64 + 8 * 9, 8), world.input_of(me), strict=True)
    ]
    lane = mine.blinding + sum(sign * int.from_bytes(term[:64], "little") for sign, term in terms)
    expected = b"".join(cell.to_bytes(8, "little") for cell in cells)
    assert world.masked(me, world.everybody) == expected + (lane % CURVE_ORDER).to_bytes(32, "big")
