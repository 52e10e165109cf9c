"""Ciphertexts opened without the key: each to its own plaintext, and to no other."""

from __future__ import annotations

import pytest
from gmpy2 import invert, mpz, next_prime, powmod

from privacy.paillier import (
    PublicKey,
    decrypt,
    encrypt,
    open_with_root,
    prove_permutation,
    require_permutation,
    rerandomise,
    roots_of,
)
from privacy.paillier.errors import PlaintextOutOfRange, RootRefused
from tests.privacy.paillier_world import owner, short, uniform

KEY = owner().public
MESSAGES = [0, 1, -1, 12345, -(1 << 900), KEY.plaintext_max, -KEY.plaintext_max]


def test_a_root_opens_what_the_key_decrypts() -> None:
    for vector in (encrypt(short(), MESSAGES), rerandomise(encrypt(uniform(), MESSAGES), uniform())):
        roots = roots_of(owner(), vector.values)
        opened = [open_with_root(KEY, c, root) for c, root in zip(vector.values, roots, strict=True)]
        assert opened == decrypt(owner(), vector) == MESSAGES


def test_any_other_number_opens_nothing() -> None:
    vector = encrypt(uniform(), [7, 8])
    first, second = roots_of(owner(), vector.values)
    for wrong in (second, first + 1, first + KEY.n, KEY.n - first, 0, -first):
        with pytest.raises(RootRefused):
            open_with_root(KEY, vector.values[0], wrong)


def test_an_overflow_is_refused_as_in_decryption() -> None:
    middle = KEY.n // 2
    root = 3
    ciphertext = (1 + middle * mpz(KEY.n)) * powmod(root, KEY.n, KEY.n_square) % KEY.n_square
    with pytest.raises(PlaintextOutOfRange):
        open_with_root(KEY, ciphertext, root)


def test_the_proof_holds_for_its_key_alone() -> None:
    proof = prove_permutation(owner())
    require_permutation(KEY, proof)
    changed = [proof[:place] + bytes([proof[place] ^ 1]) + proof[place + 1 :] for place in (0, 383, 384, -1)]
    for wrong in (*changed[:3], proof[:-1] + bytes([proof[-1] ^ 1]), proof[:-1], proof + b"\0", b""):
        with pytest.raises(RootRefused):
            require_permutation(KEY, wrong)


def test_a_key_under_which_a_ciphertext_has_two_plaintexts_is_not_proved() -> None:
    """n = p²·q: the root 1 + p·q of one opens another plaintext, p·q apart."""
    p, q = next_prime(mpz(1) << 1000), next_prime(mpz(1) << 1072)
    key, step = PublicKey(int(p * p * q)), p * q
    ciphertext = (1 + 42 * mpz(key.n)) * powmod(5, key.n, key.n_square) % key.n_square
    other = int(5 * invert(1 + step, key.n) % key.n)
    assert open_with_root(key, ciphertext, 5) == 42
    assert open_with_root(key, ciphertext, other) == 42 + step
    exponent = invert(q, (p - 1) * (q - 1))  # roots modulo p·q, where there are some
    for challenges in ((), range(2, 10)):
        forged = [int(powmod(each, exponent, key.n)) for each in challenges]
        with pytest.raises(RootRefused):
            require_permutation(key, b"".join([root.to_bytes(key.size, "big") for root in forged]))
