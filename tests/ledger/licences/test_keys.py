"""Signature keys: what is published verifies, what other libraries sign verifies, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import json

import gmalg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from jwcrypto.jwk import JWK

from ledger.encoding import canonical_json
from ledger.licences import sm2
from ledger.licences.errors import KeyUnsupported, Malformed, SignatureInvalid
from ledger.licences.keys import ALGORITHMS, Algorithm, PublicKey, SigningKey
from tests.ledger.licences.credentials import key

# RFC 8037 appendix A, the key of RFC 8032 §7.1 test 1
RFC8037_SECRET = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
# RFC 7515 appendix A.3: an ES256 key and the signature of its example
RFC7515_JWK = {
    "crv": "P-256",
    "kty": "EC",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_INPUT = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC7515_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
# GB/T 32918.5-2017 appendix A.2: message, default user id, and the signature for the nonce below
SM2_SECRET = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8"
SM2_X = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
SM2_Y = "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
SM2_NONCE = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
SM2_R = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
SM2_S = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
MESSAGE = b"message digest"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_ed25519_key_and_thumbprint_are_those_of_rfc_8037() -> None:
    made = SigningKey("EdDSA", unpadded(RFC8037_SECRET))
    assert made.public.jwk() == {"crv": "Ed25519", "kty": "OKP", "x": RFC8037_X}
    assert made.public.kid == RFC8037_THUMBPRINT


def test_ed25519_signature_is_that_of_rfc_8037() -> None:
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    assert SigningKey("EdDSA", unpadded(RFC8037_SECRET)).sign(message) == unpadded(expected)


def test_es256_signature_of_rfc_7515_verifies() -> None:
    public = PublicKey.from_jwk(RFC7515_JWK)
    public.verify(RFC7515_INPUT, unpadded(RFC7515_SIGNATURE))
    with pytest.raises(SignatureInvalid):
        public.verify(RFC7515_INPUT + b"x", unpadded(RFC7515_SIGNATURE))


def test_es256_signature_is_that_of_rfc_6979() -> None:
    secret = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"  # RFC 6979 appendix A.2.5
    expected = (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
    assert SigningKey("ES256", bytes.fromhex(secret)).sign(b"sample") == bytes.fromhex(expected)


def test_sm2_signature_of_the_standard_verifies() -> None:
    public = PublicKey("SM2", bytes.fromhex(SM2_X + SM2_Y))
    public.verify(MESSAGE, bytes.fromhex(SM2_R + SM2_S))
    for changed in (SM2_S + SM2_R, "00" * 32 + SM2_S, SM2_R + "ff" * 32, SM2_R + SM2_S[:-2] + "ab"):
        with pytest.raises(SignatureInvalid):
            public.verify(MESSAGE, bytes.fromhex(changed))


def test_sm2_public_key_of_the_standards_secret_is_the_standards() -> None:
    made = SigningKey("SM2", bytes.fromhex(SM2_SECRET))
    assert made.public.raw.hex() == SM2_X + SM2_Y
    made.public.verify(MESSAGE, made.sign(MESSAGE))


def test_second_sm2_library_makes_the_standards_signature_for_the_standards_nonce() -> None:
    other = gmalg.SM2(bytes.fromhex(SM2_SECRET), sm2.USER_ID, rnd_fn=lambda bits: SM2_NONCE)
    r, s = other.sign(MESSAGE)
    assert (r.hex(), s.hex()) == (SM2_R, SM2_S)


@pytest.mark.parametrize("message", [b"", b"x", MESSAGE * 100])
def test_sm2_signatures_verify_both_ways_between_two_libraries(message: bytes) -> None:
    ours = key("数", "SM2")
    other = gmalg.SM2(ours.secret, sm2.USER_ID)  # it computes the public key on its own
    signature = ours.sign(message)
    assert other.verify(message, signature[:32], signature[32:])
    ours.public.verify(message, b"".join(number.rjust(32, b"\0") for number in other.sign(message)))


def test_sm2_signature_under_another_user_id_does_not_verify() -> None:
    ours = key("a", "SM2")
    other = gmalg.SM2(ours.secret, b"ALICE123@YAHOO.COM", b"\4" + ours.public.raw)
    with pytest.raises(SignatureInvalid):
        ours.public.verify(MESSAGE, b"".join(other.sign(MESSAGE)))


def test_ed25519_verifies_both_ways_with_another_library() -> None:
    ours = key("a")
    Ed25519PublicKey.from_public_bytes(ours.public.raw).verify(ours.sign(MESSAGE), MESSAGE)
    theirs = Ed25519PrivateKey.from_private_bytes(ours.secret).sign(MESSAGE)
    ours.public.verify(MESSAGE, theirs)
    assert theirs == ours.sign(MESSAGE)


def test_p256_verifies_both_ways_with_another_library() -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    numbers = theirs.public_key().public_numbers()
    public = PublicKey("ES256", numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
    r, s = decode_dss_signature(theirs.sign(MESSAGE, ec.ECDSA(SHA256())))
    public.verify(MESSAGE, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    ours = SigningKey("ES256", theirs.private_numbers().private_value.to_bytes(32, "big"))
    signature = ours.sign(MESSAGE)
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    theirs.public_key().verify(der, MESSAGE, ec.ECDSA(SHA256()))


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_thumbprint_is_another_librarys(alg: Algorithm) -> None:
    public = key("a", alg).public
    assert JWK.from_json(json.dumps(public.jwk())).thumbprint() == public.kid


def test_sm2_thumbprint_is_the_digest_of_the_canonical_jwk() -> None:
    public = key("a", "SM2").public
    text = '{{"crv":"SM2","kty":"EC","x":"{x}","y":"{y}"}}'.format(**public.jwk())
    assert public.key_id == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_key_is_read_back_from_its_jwk(alg: Algorithm) -> None:
    assert PublicKey.from_jwk(key("a", alg).public.jwk()) == key("a", alg).public


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_altered_message_or_signature_does_not_verify(alg: Algorithm) -> None:
    signer = key("a", alg)
    signature = signer.sign(MESSAGE)
    for at in (0, 31, 32, 63):
        altered = bytearray(signature)
        altered[at] ^= 1
        with pytest.raises(SignatureInvalid):
            signer.public.verify(MESSAGE, bytes(altered))
    for other in (b"", signature[:-1], signature + b"\0", bytes(64), b"\xff" * 64):
        with pytest.raises(SignatureInvalid):
            signer.public.verify(MESSAGE, other)
    with pytest.raises(SignatureInvalid):
        signer.public.verify(MESSAGE + b"\0", signature)
    with pytest.raises(SignatureInvalid):
        key("b", alg).public.verify(MESSAGE, signature)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_printing_a_key_shows_no_secret(alg: Algorithm) -> None:
    signer = key("a", alg)
    shown = repr(signer) + str(signer) + repr(signer.public)
    assert signer.secret.hex() not in shown
    assert repr(signer.secret)[2:-1] not in shown
    assert signer.public.kid in repr(signer)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_same_randomness_gives_the_same_key_and_each_algorithm_another(alg: Algorithm) -> None:
    rand = bytes(range(32))
    assert SigningKey.generate(alg, rand).public == SigningKey.generate(alg, rand).public
    assert SigningKey.generate(alg, rand).public != SigningKey.generate(alg, rand[::-1]).public
    if alg != "EdDSA":
        assert SigningKey.generate(alg, rand).secret != rand


@pytest.mark.parametrize(
    ("alg", "raw"),
    [
        ("EdDSA", bytes(32)),  # order 4
        ("EdDSA", b"\1" + bytes(31)),  # the neutral element
        (
            "EdDSA",
            bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ),  # order 2
        (
            "EdDSA",
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ),  # order 8
        ("EdDSA", b"\xff" * 32),
        ("EdDSA", bytes(31)),
        ("EdDSA", b""),
        ("ES256", bytes(64)),
        ("ES256", b"\xff" * 64),
        ("ES256", bytes.fromhex(SM2_X + SM2_Y)),  # a point of another curve
        ("ES256", bytes(65)),
        ("SM2", bytes(64)),
        ("SM2", b"\xff" * 64),
        ("SM2", bytes.fromhex(SM2_X + SM2_X)),
        ("SM2", bytes(63)),
        ("none", bytes(32)),
        ("HS256", bytes(32)),
    ],
)
def test_what_is_no_point_of_prime_order_is_no_key(alg: Algorithm, raw: bytes) -> None:
    with pytest.raises(KeyUnsupported):
        PublicKey(alg, raw)


@pytest.mark.parametrize(
    ("alg", "secret"),
    [("ES256", bytes(32)), ("ES256", P256_ORDER.to_bytes(32, "big")), ("SM2", bytes(32)),
     ("SM2", (sm2.ORDER - 1).to_bytes(32, "big")), ("SM2", b"\xff" * 32), ("none", bytes(32))],
)  # fmt: skip
def test_secret_out_of_range_is_no_key(alg: Algorithm, secret: bytes) -> None:
    with pytest.raises(KeyUnsupported):
        SigningKey(alg, secret)


@pytest.mark.parametrize("rand", [b"", bytes(31), bytes(33)])
def test_key_is_made_from_32_bytes_only(rand: bytes) -> None:
    with pytest.raises(Malformed):
        SigningKey.generate("EdDSA", rand)
    with pytest.raises(Malformed):
        SigningKey("EdDSA", rand)


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        {},
        {"crv": "Ed25519"},
        {"crv": ["Ed25519"], "kty": "OKP", "x": RFC8037_X},
        {"crv": "Ed25519", "kty": "EC", "x": RFC8037_X},
        {"crv": "Ed25519", "kty": "OKP", "x": RFC8037_X, "d": RFC8037_SECRET},
        {"crv": "Ed25519", "kty": "OKP", "x": RFC8037_X + "="},
        {"crv": "Ed25519", "kty": "OKP", "x": RFC8037_X[:-1] + "p"},  # the last two bits are not zero
        {"crv": "Ed25519", "kty": "OKP", "x": RFC8037_X[:-1]},
        {"crv": "Ed25519", "kty": "OKP", "x": "ｘ" + RFC8037_X[1:]},
        {"crv": "Ed25519", "kty": "OKP", "x": 1},
        {"crv": "X25519", "kty": "OKP", "x": RFC8037_X},
        {"crv": "secp256k1", "kty": "EC", "x": RFC7515_JWK["x"], "y": RFC7515_JWK["y"]},
        {"crv": "P-256", "kty": "EC", "x": RFC7515_JWK["x"]},
        {"crv": "P-256", "kty": "EC", "x": RFC7515_JWK["y"], "y": RFC7515_JWK["x"]},
        {"crv": "SM2", "kty": "EC", "x": RFC7515_JWK["x"], "y": RFC7515_JWK["y"]},
        {**RFC7515_JWK, "kid": "a"},
    ],
)
def test_anything_else_is_no_jwk(jwk: object) -> None:
    with pytest.raises((Malformed, KeyUnsupported)):
        PublicKey.from_jwk(jwk)


@pytest.mark.parametrize("size", [0, 1 << 10, (96 << 10) - 1, 96 << 10, 1 << 18])
def test_messages_of_every_length_verify_and_no_altered_one(size: int) -> None:
    signer, message = key("signer"), bytes(size)
    signature = signer.sign(message)
    signer.public.verify(message, signature)
    order = (1 << 252) + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little")
    again = signature[:32] + (scalar + order).to_bytes(32, "little")  # the same S, not reduced
    no_nonce = (1).to_bytes(32, "little") + signature[32:]
    for text, forged in (
        (message + b"\0", signature),
        (message, again),
        (message, no_nonce),
        (message, bytes(64)),
        (message, (1).to_bytes(32, "little") + bytes(32)),
        (message, signature[:-1] + bytes([signature[-1] ^ 0x20])),
    ):
        with pytest.raises(SignatureInvalid):
            signer.public.verify(text, forged)


@pytest.mark.parametrize("size", [1 << 10, 1 << 17])
def test_a_signature_without_a_nonce_is_refused_at_every_length(size: int) -> None:
    """S = h·a under R = neutral point satisfies the equation, and shows the secret to all who see it."""
    secret, message = bytes(range(32)), bytes(size)
    signer = SigningKey("EdDSA", secret)
    order = (1 << 252) + 27742317777372353535851937790883648493
    digest = bytearray(hashlib.sha512(secret).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    neutral = (1).to_bytes(32, "little")
    challenge = int.from_bytes(hashlib.sha512(neutral + signer.public.raw + message).digest(), "little")
    forged = neutral + (challenge * int.from_bytes(digest, "little") % order).to_bytes(32, "little")
    with pytest.raises(SignatureInvalid):
        signer.public.verify(message, forged)


def test_key_id_is_the_hash_of_the_canonical_jwk() -> None:
    for alg in ALGORITHMS:
        public = key("signer", alg).public
        assert public.key_id == hashlib.sha256(canonical_json(public.jwk())).digest()
