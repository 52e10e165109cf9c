"""Paillier: the vectors of Milagro's C library, of 2048 bits, against the bare equations; and what is refused."""

import re

import pytest
from gmpy2 import mpz, powmod

from privacy.paillier import EncryptedVector, PrivateKey, PublicKey
from privacy.paillier.errors import (
    CiphertextInvalid,
    CiphertextNotUnit,
    CiphertextOutOfRange,
    KeySizeRefused,
)
from privacy.paillier.power_product import PowerProduct
from privacy.paillier.raw import RawFactors, raw_add, raw_add_plain
from tests.privacy.paillier_world import owner
from tests.vectors.shared_files import shared_path

MEMBER = re.compile(r"^(\w+) = (\w+)", re.MULTILINE)


def vectors(name: str) -> list[dict[str, int]]:
    text = shared_path("vectors", "paillier", f"{name}.txt").read_text(encoding="ascii")
    tests: list[dict[str, int]] = []
    for member, value in MEMBER.findall(text):
        if member == "TEST":
            tests.append({})
        tests[-1][member] = int(value, 16)
    return tests


def decrypted(p: int, q: int, ciphertext: int) -> int:
    return int(RawFactors.of(p, q).raw_decrypt(mpz(ciphertext)))


def test_every_key_has_its_published_parts() -> None:
    found = vectors("keygen")
    assert len(found) == 10
    for vector in found:
        p, q = vector["P"], vector["Q"]
        assert (p * q, p * q + 1, p - 1, q - 1) == tuple(vector[k] for k in ("N", "G", "LP", "LQ"))
        factors = RawFactors.of(p, q)
        assert (factors.p_constant, factors.q_constant) == (vector["MP"], vector["MQ"])


def test_every_encryption_gives_the_published_ciphertext() -> None:
    found = vectors("encrypt")
    assert len(found) == 11
    wrong = []
    for vector in found:
        n = mpz(vector["N"])
        zero = powmod(vector["R"], n, n * n)
        if raw_add_plain(n, n * n, zero, vector["PLAINTEXT"]) != vector["CIPHERTEXT"]:
            wrong.append(vector["TEST"])
    assert not wrong


def test_every_decryption_gives_the_published_plaintext() -> None:
    found = vectors("decrypt")
    assert len(found) == 10
    wrong = [v["TEST"] for v in found if decrypted(v["P"], v["Q"], v["CIPHERTEXT"]) != v["PLAINTEXT"]]
    assert not wrong


def test_every_addition_gives_the_published_ciphertext() -> None:
    found = vectors("add")
    assert len(found) == 100
    wrong = []
    for vector in found:
        left, right = mpz(vector["CIPHERTEXT1"]), mpz(vector["CIPHERTEXT2"])
        if raw_add(mpz(vector["N"]) ** 2, left, right) != vector["CIPHERTEXT"]:
            wrong.append(vector["TEST"])
    assert not wrong


def test_every_multiplication_gives_the_published_plaintext() -> None:
    found = vectors("mult")
    keys = {v["P"] * v["Q"]: (v["P"], v["Q"]) for v in vectors("keygen")}
    assert len(found) == 11
    compared = 0
    for vector in found:
        n, c, factor = vector["N"], vector["CIPHERTEXT1"], vector["PLAINTEXT2"]
        # the published product has the same plaintext; ours has c^n, an encryption of zero, besides
        ours = PowerProduct([mpz(c)], mpz(n) * n).power([factor % n + n], bits=n.bit_length() + 1)
        assert ours == vector["CIPHERTEXT"] * pow(c, n, n * n) % (n * n)
        if n in keys:
            assert decrypted(*keys[n], ours) == decrypted(*keys[n], vector["CIPHERTEXT"])
            compared += 1
    assert compared


def test_every_key_of_the_vectors_is_too_small_for_use() -> None:
    for vector in vectors("keygen"):
        with pytest.raises(KeySizeRefused):
            PublicKey(vector["N"])
        with pytest.raises(KeySizeRefused):
            PrivateKey(vector["P"], vector["Q"])


@pytest.mark.parametrize(
    ("number", "error"),
    [
        ("0", CiphertextOutOfRange),
        ("-1", CiphertextOutOfRange),
        ("n²", CiphertextOutOfRange),
        ("n² + 1", CiphertextOutOfRange),
        ("n", CiphertextNotUnit),
        ("p", CiphertextNotUnit),
        ("n·q", CiphertextNotUnit),
    ],
)
def test_numbers_that_are_no_ciphertexts_have_named_errors(
    number: str, error: type[CiphertextInvalid]
) -> None:
    key = owner()
    n = key.public.n
    numbers = {"0": 0, "-1": -1, "n²": n * n, "n² + 1": n * n + 1, "n": n, "p": key.p, "n·q": n * key.q}
    with pytest.raises(error):
        EncryptedVector(key.public, (mpz(numbers[number]),))
