"""Paillier's equations on bare integers: no range is checked and no key size refused.

Everything here is named `raw_` because it keeps no promise of its own; the package exports none of it. The
published test vectors, of 2048 bits, are checked against these functions, on which the rest is built.

Source: Paillier, Public-Key Cryptosystems Based on Composite Degree Residuosity Classes, EUROCRYPT 1999,
    §4 (scheme 1 with g = n + 1) and §7 (decryption by Chinese remaindering).
"""

from __future__ import annotations

from gmpy2 import invert, mpz, powmod, powmod_sec


def raw_embed(n: int, message: int) -> mpz:
    """Return g^m mod n² = 1 + m·n mod n², for any integer m."""
    return (message * mpz(n) + 1) % (mpz(n) * n)


def raw_encrypt(n: int, message: int, unit: int) -> mpz:
    """Return g^m · r^n mod n².

    Args:
        n: the modulus.
        message: m, any integer; it counts modulo n.
        unit: r, a unit modulo n.
    """
    n_square = mpz(n) * n
    return raw_embed(n, message) * powmod(unit, n, n_square) % n_square


def raw_add(n: int, left: int, right: int) -> mpz:
    """Return a ciphertext of the sum of two plaintexts."""
    return left * mpz(right) % (mpz(n) * n)


def raw_scale(n: int, ciphertext: int, factor: int) -> mpz:
    """Return a ciphertext of a plaintext times a factor, in a time that does not depend on the factor.

    The exponent is factor mod n, plus n: always between n and 2n, so its length says nothing, and c^n
    encrypts zero. `powmod_sec` is GMP's exponentiation without secret-dependent branches or table look-ups.
    """
    return powmod_sec(mpz(ciphertext), mpz(factor) % n + n, mpz(n) * n)


def raw_decryption_constant(p: int, q: int) -> mpz:
    """Return L_p(g^(p−1) mod p²)^−1 mod p; since g = n + 1, L_p(g^(p−1)) = (p − 1)·q mod p."""
    return invert((p - 1) * mpz(q), p)


def raw_residue(ciphertext: int, p: int, constant: int) -> mpz:
    """Return the plaintext modulo the prime p.

    Args:
        ciphertext: any unit modulo p².
        p: a prime factor of n.
        constant: `raw_decryption_constant` of p and the other factor.
    """
    p_square = mpz(p) * p
    return (powmod_sec(ciphertext % p_square, mpz(p) - 1, p_square) - 1) // p * constant % p


def raw_decrypt(p: int, q: int, ciphertext: int) -> mpz:
    """Return the plaintext in 0 … n − 1, from the factors of n."""
    at_p = raw_residue(ciphertext, p, raw_decryption_constant(p, q))
    at_q = raw_residue(ciphertext, q, raw_decryption_constant(q, p))
    return at_p + (at_q - at_p) * invert(p, q) % q * p
