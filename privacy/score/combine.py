"""The holder's part: noisy values and an encrypted model in, the d cells of the sealed sum out.

The values have their noise already. So whatever the ciphertexts hold — weights far beyond the bound, plaintexts of a
malformed key — what comes out is a function of noisy values: post-processing, which costs no privacy. A buyer who encrypts
weights beyond the bound makes the slots of its own answer carry into each other, and harms nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import gmpy2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmpy2 import mpz
from numpy.typing import NDArray

from privacy.encoding import WORD_BYTES
from privacy.errors import CellOutOfRange
from privacy.layout import lane_cells
from privacy.noise import NoiseSource
from privacy.paillier.blinding import UniformBlinding, draw_ahead
from privacy.paillier.packing import pack
from privacy.paillier.power_product import PowerProduct
from privacy.paillier.raw import raw_add
from privacy.plan import Plan
from privacy.prg import derive_key
from privacy.score.model import EncryptedModel
from privacy.score.shape import ScoreShape, limbs_of, shown_lanes, to_limbs
from privacy.score.terms import ScorePlan
from privacy.terms import PlanKind, require_terms

_ZERO_COUNTER: Final = bytes(16)


def score_terms(plan: Plan) -> ScorePlan:
    """Return the terms of a plan of this kind.

    Raises:
        PlanInvalid: it is of another kind.
    """
    return require_terms(plan.terms, PlanKind.SCORE, ScorePlan)


def blinding_seed(source: NoiseSource) -> bytes:
    """Return what a holder's ciphertexts in one session are re-randomised from.

    It follows from the seed of the noise: who learns that seed can take the noise off anyway, and whoever audits the
    holder's rows with it can make the whole vector again.
    """
    return derive_key(source.seed, source.session, "score-blinding", source.index, 0)


def score_cells(plan: Plan, values: Sequence[int] | NDArray[np.int64], seed: bytes) -> NDArray[np.int64]:
    """Return the holder's d cells.

    Args:
        plan: verified.
        values: the noisy value of every cell of the layout, as a plain sum would carry them.
        seed: 32 bytes from which the ciphertexts are re-randomised, secret and used for this request alone: the same
            seed gives the same cells.

    Raises:
        PlanInvalid: a plan of another kind.
        CellOutOfRange: values that the policy's bounds exclude.
    """
    terms, numbers = score_terms(plan), [int(value) for value in values]
    if len(numbers) != plan.values or len(seed) != WORD_BYTES:
        raise CellOutOfRange(f"expected {plan.values} values and a seed of {WORD_BYTES} bytes")
    cells: list[int] = []
    for number in shown_lanes(plan):
        place = lane_cells(plan, number)
        cells += numbers[place.start : place.stop]
    limbs = limbs_of(terms.model.key)
    for ciphertext in combine(terms.model, packed_factors(plan, numbers), seed):
        cells += to_limbs(int(ciphertext), limbs)
    return np.array(cells, dtype=np.int64)


def packed_factors(plan: Plan, values: Sequence[int]) -> list[list[int]]:
    """Return, for each plaintext, the packed factors of the intercept and of each feature.

    Raises:
        CellOutOfRange: a factor is larger than any that the policy's bounds and the noise's tails give.
    """
    shape, layout = ScoreShape.of(plan), score_terms(plan).layout
    groups = [shape.factors(plan, values, group) for group in range(plan.groups)]
    columns = []
    for bound, column in zip(shape.bounds(plan), zip(*groups, strict=True), strict=True):
        if max(abs(factor) for factor in column) > bound:
            raise CellOutOfRange(f"a factor of the score: expected at most {bound.bit_length()} bits")
        columns.append(pack(column, layout))
    return [list(factors) for factors in zip(*columns, strict=True)]


def combine(model: EncryptedModel, packed: Sequence[Sequence[int]], seed: bytes) -> list[mpz]:
    """Return re-randomised ciphertexts of Σ_k W_k·P_k, one for each plaintext.

    A factor P counts modulo n, so it is raised to between n and 2n: c^n encrypts zero, and no exponent's length says
    anything.

    Args:
        model: the buyer's.
        packed: P_k for each plaintext, signed.
        seed: as in `score_cells`.
    """
    key, bits = model.key, model.key.n.bit_length() + 1
    stream = Cipher(algorithms.AES(seed), modes.CTR(_ZERO_COUNTER)).encryptor()
    blinding = UniformBlinding(key, lambda size: stream.update(bytes(size)))
    # other threads work on while a long exponentiation runs: that of the blinding values, and those of other requests
    released = gmpy2.context(gmpy2.get_context(), allow_release_gil=True)
    with draw_ahead(blinding, len(packed)) as residues, released:
        product = PowerProduct(model.ciphertexts, key.n_square)
        exponents = ([factor % key.n + key.n for factor in factors] for factors in packed)
        return [
            raw_add(key.n_square, product.power(each, bits=bits), residue)
            for each, residue in zip(exponents, residues, strict=True)
        ]
