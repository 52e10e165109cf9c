"""Paillier's equations on bare integers: no range is checked and no key size refused.

Everything here is named `raw_` or `Raw` because it keeps no promise of its own; the package exports none of it. The
published test vectors, of 2048 bits, are checked against these functions: what the rest runs is this.

Source: Paillier, Public-Key Cryptosystems Based on Composite Degree Residuosity Classes, EUROCRYPT 1999,
    §4 (scheme 1 with g = n + 1) and §7 (decryption by Chinese remaindering).
"""

from __future__ import annotations

from typing import NamedTuple

from gmpy2 import invert, mpz, powmod_sec


def raw_add_plain(n: mpz, n_square: mpz, ciphertext: mpz, message: int) -> mpz:
    """Return c · g^m mod n², g^m = 1 + m·n: a ciphertext of c's plaintext plus m.

    With an n-th residue for c, which is an encryption of zero, it encrypts m.

    Args:
        n: the modulus.
        n_square: n².
        ciphertext: c.
        message: m, any integer; it counts modulo n.
    """
    return (message * n + 1) * ciphertext % n_square


def raw_add(n_square: mpz, left: mpz, right: mpz) -> mpz:
    """Return a ciphertext of the sum of two plaintexts."""
    return left * right % n_square


class RawFactors(NamedTuple):
    """The prime factors of n, and what decryption needs of them.

    Attributes:
        p, q: the factors.
        p_constant: L_p(g^(p−1) mod p²)^−1 mod p; since g = n + 1, L_p(g^(p−1)) = (p − 1)·q mod p.
        q_constant: the same with p and q changed over.
        p_inverse: p^−1 mod q.
    """

    p: mpz
    q: mpz
    p_constant: mpz
    q_constant: mpz
    p_inverse: mpz

    @classmethod
    def of(cls, p: int, q: int) -> RawFactors:
        """Compute the constants of two primes."""
        p, q = mpz(p), mpz(q)
        return cls(p, q, invert((p - 1) * q, p), invert((q - 1) * p, q), invert(p, q))

    def raw_decrypt(self, ciphertext: mpz) -> mpz:
        """Return the plaintext in 0 … n − 1 of a unit modulo n²."""
        at_p = _residue(ciphertext, self.p, self.p_constant)
        at_q = _residue(ciphertext, self.q, self.q_constant)
        return at_p + (at_q - at_p) * self.p_inverse % self.q * self.p


def _residue(ciphertext: mpz, p: mpz, constant: mpz) -> mpz:
    """Return the plaintext modulo a prime, by GMP's exponentiation without secret-dependent branches or look-ups."""
    p_square = p * p
    return (powmod_sec(ciphertext % p_square, p - 1, p_square) - 1) // p * constant % p
