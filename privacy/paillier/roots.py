"""Opening ciphertexts to somebody who does not get the key: by the roots of their residues.

c = (1 + m·n)·ρ^n mod n² is ρ^n modulo n. Whoever has ρ, below n, computes m with the public key alone; the key's owner finds ρ
as the n-th root of c modulo n. Two roots of one c give the same m, unless n has a square factor. The owner proves that it has
none, and gcd(n, φ(n)) = 1, with the n-th roots of numbers that nobody chose: of a modulus without factors below 2^16 at most one
unit in 2^16 has one otherwise.

Source: P. Paillier (EUROCRYPT 1999) §4 and §5; S. Goldberg, L. Reyzin, O. Sagga, F. Baldimtsi, Efficient Noninteractive
    Certification of RSA Moduli and Beyond (ASIACRYPT 2019) §3; docs/protocol.md §8.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import invert, mpz, powmod, powmod_sec

from privacy.encoding import WORD_BYTES
from privacy.paillier.errors import RootRefused
from privacy.paillier.keys import PrivateKey, PublicKey
from privacy.prg import derive_key

CHALLENGES: Final = 8  # of 16 bits each: 2^-128
_EXTRA_BYTES: Final = 16  # uniform modulo n up to 2^-128


def roots_of(key: PrivateKey, values: Iterable[int]) -> list[int]:
    """Return the n-th roots modulo n of ciphertexts, or of other units, 0 … n − 1: secret, as they open them."""
    n = mpz(key.public.n)
    exponent = invert(n, mpz(key.p - 1) * (key.q - 1))
    return [int(powmod_sec(mpz(value) % n, exponent, n)) for value in values]


def open_with_root(key: PublicKey, ciphertext: int, root: int) -> int:
    """Return the signed plaintext of a number that was checked to be a ciphertext.

    Args:
        key: for which `require_permutation` held.
        ciphertext: c.
        root: ρ.

    Raises:
        RootRefused: it is not the root of this ciphertext.
        PlaintextOutOfRange: the plaintext is in the range where only an overflow leads.
    """
    residue = powmod(root, key.n, key.n_square)
    if not 0 < root < key.n or (ciphertext - residue) % key.n:
        raise RootRefused("expected the root of this ciphertext, got another number")
    plain = int((ciphertext * invert(residue, key.n_square) % key.n_square - 1) // key.n)
    return key.signed(plain)


def prove_permutation(key: PrivateKey) -> bytes:
    """Return the proof that every ciphertext under a key has one plaintext: 8 roots of n's length. It is no secret."""
    roots = roots_of(key, _challenges(key.public))
    return b"".join([root.to_bytes(key.public.size, "big") for root in roots])


def require_permutation(key: PublicKey, proof: bytes) -> None:
    """Require what `prove_permutation` proves.

    Raises:
        RootRefused: the proof is of another length, or does not hold.
    """
    if len(proof) != CHALLENGES * key.size:
        raise RootRefused(f"expected {CHALLENGES * key.size} bytes of roots, got {len(proof)}")
    for number, challenge in enumerate(_challenges(key)):
        root = int.from_bytes(proof[number * key.size : (number + 1) * key.size], "big")
        if not 0 < root < key.n or powmod(root, key.n, key.n) != challenge:
            raise RootRefused("the proof that gcd(n, φ(n)) = 1 does not hold")


def _challenges(key: PublicKey) -> Iterator[mpz]:
    """Yield numbers modulo n that follow from n: the stream of AES-256-CTR under KDF(key id, 0, "paillier-roots", 0, 0)."""
    seed = derive_key(key.id, bytes(WORD_BYTES), "paillier-roots", 0, 0)
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    for _ in range(CHALLENGES):
        yield mpz(int.from_bytes(stream.update(bytes(key.size + _EXTRA_BYTES)), "big")) % key.n
