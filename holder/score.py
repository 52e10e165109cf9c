"""This holder's part of a score under private weights: its noisy sums, combined under the buyer's encrypted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holder.computation import SumComputation
from holder.errors import ShareRefused
from holder.types import StoredRequest
from privacy.errors import PrivacyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holder.chain_side import RequestView
    from privacy.plan import Plan
    from privacy.session import Session


class ScoreComputation(SumComputation):
    """A score: the values of a plain sum, noise included, and only then the weights.

    The ciphertexts are re-randomised from the seed of the noise, so a restart gives the same bytes.
    """

    def vector(
        self, stored: StoredRequest, view: RequestView, session: Session, plan: Plan
    ) -> NDArray[np.int64] | None:
        """See `Computation`."""
        from privacy.score.combine import blinding_seed, score_cells

        values = self.noisy_values(stored, session, plan)
        source = self._secrets.noise_source(stored.request_id, session)
        try:
            return score_cells(plan, values, blinding_seed(source))
        except PrivacyError as err:
            raise ShareRefused(str(err)) from err
