"""Encrypted noise of one trustee, with a proof that it made the ciphertexts itself.

ElGamal is malleable: without the proof, a trustee who waits could answer another's ciphertexts with their negatives and take that
noise out of the sum, although it was counted on. The proof shows knowledge of Σ ρ_k·r_k for coefficients that depend on all
ciphertexts, and so of all r_k; it is bound to trustee and session.

Source: R. Gennaro, D. Leigh, R. Sundaram, W. Yerazunis, Batching Schnorr Identification Scheme (ASIACRYPT 2004) §3;
C. Schnorr, M. Jakobsson, Security of Signed ElGamal Encryption (ASIACRYPT 2000).
"""

from __future__ import annotations

from privacy.deposit.elgamal import Ciphertexts, Values, encrypt, randomness
from privacy.deposit.errors import DepositError, NoiseRefused
from privacy.deposit.keys import DepositKey
from privacy.deposit.proofs import Proof, coefficients, fold, is_possession, prove_possession
from privacy.deposit.sizes import PROOF_BYTES, noise_size
from privacy.encoding import keccak, tagged_hash
from privacy.prg import CURVE_ORDER


def encrypt_noise(key: DepositKey, noise: Values, seed: bytes, *, trustee: int, session: bytes) -> bytes:
    """Return ciphertexts of a trustee's noise, 192 bytes each, and the proof.

    Args:
        key: the joint key.
        noise: int64, one for each result cell.
        seed: 32 secret bytes of this trustee.
        trustee: its index.
        session: 32 bytes that no other sum has.

    Returns:
        Always the same bytes for the same arguments.
    """
    context = tagged_hash("deposit-noise-context", session, key.id, trustee)
    ciphertexts = encrypt(key.key, noise, seed, context)
    statement = _statement(key, ciphertexts, trustee, session)
    factors = zip(coefficients(statement, len(noise)), randomness(noise, seed, context), strict=True)
    folded = sum(coefficient * r for coefficient, r in factors) % CURVE_ORDER
    return ciphertexts.encode() + prove_possession(folded, statement).encode()


def read_noise(key: DepositKey, data: bytes, *, count: int, trustee: int, session: bytes) -> Ciphertexts:
    """Return the ciphertexts that a trustee sent, if their proof holds.

    Args:
        key: the joint key.
        data: what `encrypt_noise` returned.
        count: of result cells.
        trustee: who sent them.
        session: as for the trustee.

    Raises:
        NoiseRefused: malformed, a point that is refused, or the proof does not hold; naming the trustee.
    """
    if len(data) != noise_size(count):
        raise NoiseRefused(f"expected {noise_size(count)} bytes of noise, got {len(data)}", trustee=trustee)
    try:
        ciphertexts = Ciphertexts.decode(data[:-PROOF_BYTES], count=count)
        proof = Proof.decode(data[-PROOF_BYTES:])
    except DepositError as err:
        raise NoiseRefused(str(err), trustee=trustee) from err
    statement = _statement(key, ciphertexts, trustee, session)
    (folded,) = fold(statement, ciphertexts.a)
    if not is_possession(folded, statement, proof):
        raise NoiseRefused("the proof does not hold", trustee=trustee)
    return ciphertexts


def _statement(key: DepositKey, ciphertexts: Ciphertexts, trustee: int, session: bytes) -> bytes:
    """Return H("deposit-noise"; session, key id, trustee, count, keccak(ciphertexts))."""
    return tagged_hash(
        "deposit-noise", session, key.id, trustee, len(ciphertexts), keccak(ciphertexts.encode())
    )
