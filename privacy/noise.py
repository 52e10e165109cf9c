"""Noise shares: exact parameters, drawn from the seed that the holder fixed before it approved.

The sum over the survivors must carry σ² = Δ²/(2ρ) even if c of them tell the others their shares and
d_max more never contribute. So each adds σ²/(n − c − d_max), on a grid so fine that this share is at
least 16 grid units²: only then is the sum of discrete Gaussians as private as one
(`privacy.lanes.SHARE_MIN`).

A share is a function of (seed, session, index, plan). So a restart adds the same noise, and an auditor to whom the seed is
opened recomputes it bit by bit. Who learns a seed can take that holder's noise off: it never leaves in the open. A parameter that
is zero or no number is an error, never "no noise".

Source: docs/protocol.md §3 and §5.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from privacy.encoding import WORD_BYTES
from privacy.errors import NoiseInvalid
from privacy.gaussian import draw_discrete_gaussian
from privacy.lanes import Lane
from privacy.plan import Plan
from privacy.prg import derive_key
from privacy.session import SumParameters


@dataclass(frozen=True, slots=True)
class NoiseSource:
    """What one holder's noise in one session is derived from.

    Attributes:
        seed: 32 bytes, fixed by `noiseCommitment` in the holder's approval.
        session: session id.
        index: the holder's in the roster.
    """

    seed: bytes = field(repr=False)
    session: bytes
    index: int

    def __post_init__(self) -> None:
        if len(self.seed) != WORD_BYTES or len(self.session) != WORD_BYTES:
            raise NoiseInvalid(f"seed and session must be {WORD_BYTES} bytes each")

    def key(self, lane: int) -> bytes:
        """Return the key of one lane's draws: KDF(seed, session, "noise", i, lane)."""
        return derive_key(self.seed, self.session, "noise", self.index, lane)


def share_parameter(lane: Lane, divisor: int) -> Fraction:
    """Return σ²/m, the parameter of one holder's noise, in grid units²; see `Lane.share`."""
    return lane.share(divisor)


def draw_noise_share(plan: Plan, params: SumParameters, source: NoiseSource) -> NDArray[np.int64]:
    """Return one holder's noise for every value of a plan: the same for the same source.

    Args:
        plan: a verified plan.
        params: the session's parameters, of its true roster.
        source: the holder's.

    Raises:
        NoiseInvalid: a lane has no valid parameter, or the roster is larger than planned; nothing is
        drawn then.
    """
    if params.divisor > plan.divisor:
        raise NoiseInvalid(f"expected a divisor of at most {plan.divisor}, as planned, not {params.divisor}")
    parameters = [share_parameter(lane, params.divisor) for lane in plan.lanes]
    if not parameters:
        raise NoiseInvalid("a plan without lanes has no noise")
    shares = [
        draw_discrete_gaussian(source.key(number), parameter, plan.groups * lane.bins)
        for number, (lane, parameter) in enumerate(zip(plan.lanes, parameters, strict=True))
    ]
    return np.concatenate(shares)
