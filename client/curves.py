"""The two implementations of the commitments that a verifier can choose from; each is imported only when chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from client.deposits import DecryptedAnswer
    from ledger.receipt import Receipt
    from privacy.plan import Plan
    from privacy.session import Session

POINT_BYTES = 128
Progress = Callable[[int, int], None]  # generators done, of how many


class Backend(StrEnum):
    """Which library recomputes the commitments."""

    ARKWORKS = "arkworks"  # fast; generators from a checked cache
    REFERENCE = "reference"  # py_ecc alone; every generator recomputed, about 2 ms each


class Curves(Protocol):
    """What the verification of an answer needs of BLS12-381."""

    def sum(self, commitments: Mapping[int, bytes]) -> bytes:
        """Return ΣC_i in 128 bytes.

        Raises:
            PointEncodingInvalid, PointNotInSubgroup: naming the roster index whose commitment it is.
        """

    def commit(self, cells: Sequence[int], blinding: int) -> bytes:
        """Return Σ X_j·G_j + R·H in 128 bytes.

        Raises:
            CellOutOfRange: |X_j| ≥ 2^62.
        """

    def require_points(self, plan: Plan) -> None:
        """Check the points in a plan that was read without: a deposit's joint key; there are no others.

        Raises:
            PrivacyError: they are none, or no key.
        """

    def decrypt(self, receipt: Receipt, plan: Plan, session: Session) -> DecryptedAnswer:
        """Check what a receipt says was decrypted from an encrypted deposit.

        Raises:
            ReceiptContradicted, PrivacyError: it was not.
        """


class ArkworksCurves:
    """The fast implementation.

    Args:
        cache: a directory for the generators, None to keep them in memory only.
    """

    def __init__(self, cache: Path | None = None) -> None:
        from privacy.generators import GeneratorCache

        self._generators = GeneratorCache(cache)

    def sum(self, commitments: Mapping[int, bytes]) -> bytes:
        """Return ΣC_i; see `Curves`."""
        from privacy.curve import decode_point, encode_point

        total = decode_point(bytes(POINT_BYTES))  # infinity
        for index, commitment in sorted(commitments.items()):
            total += decode_point(commitment, sender=index)
        return encode_point(total)

    def commit(self, cells: Sequence[int], blinding: int) -> bytes:
        """Return Σ X_j·G_j + R·H; see `Curves`."""
        import numpy as np

        from privacy.curve import commit

        return commit(self._generators.take(len(cells)), np.array(cells, dtype=np.int64), blinding)

    def require_points(self, plan: Plan) -> None:
        """Check a joint key; see `Curves`."""
        from privacy.terms import require_points

        require_points(plan.terms)

    def decrypt(self, receipt: Receipt, plan: Plan, session: Session) -> DecryptedAnswer:
        """Check partial decryptions; see `Curves`."""
        from client.deposits import verify_evidence

        return verify_evidence(receipt, plan, session)


class ReferenceCurves:
    """The independent implementation: no arkworks, no cache, no table of generators.

    Args:
        progress: told how many of how many generators are done.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress

    def sum(self, commitments: Mapping[int, bytes]) -> bytes:
        """Return ΣC_i; see `Curves`."""
        from privacy.curve_reference import decode_point, encode_point, multiply_sum

        points = [decode_point(data, sender=index) for index, data in sorted(commitments.items())]
        return encode_point(multiply_sum(points, [1] * len(points)))

    def commit(self, cells: Sequence[int], blinding: int) -> bytes:
        """Return Σ X_j·G_j + R·H; see `Curves`."""
        from privacy.curve_reference import commit

        return commit(cells, blinding, self._progress)

    def require_points(self, plan: Plan) -> None:
        """Check a joint key; see `Curves`. Some milliseconds a point."""
        from privacy.terms import PlanKind

        if plan.kind is PlanKind.DEPOSIT:
            from privacy.deposit.terms import deposit_terms
            from privacy.deposit_reference import require_key

            require_key(deposit_terms(plan).key)

    def decrypt(self, receipt: Receipt, plan: Plan, session: Session) -> DecryptedAnswer:
        """Check partial decryptions; see `Curves`. Some milliseconds a point."""
        from client.deposits import DecryptedAnswer, lost_trustees, require_evidence, riders_of
        from privacy.deposit_reference import check

        evidence = require_evidence(receipt, session)
        bundles, inputs = riders_of(plan, evidence)
        found = check(plan, session, receipt.answer.cells, bundles, inputs, evidence.values)
        faults = [f"trustee 0x{session.members[index].holder.hex()} is left out" for index in found.wrong]
        return DecryptedAnswer(
            evidence, found.contributors, (*faults, *lost_trustees(plan, session, evidence))
        )


def make_curves(backend: Backend, *, cache: Path | None = None, progress: Progress | None = None) -> Curves:
    """Return the chosen implementation."""
    return ReferenceCurves(progress) if backend is Backend.REFERENCE else ArkworksCurves(cache)
