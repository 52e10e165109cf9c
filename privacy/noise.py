"""Noise shares: exact parameters, drawn by OpenDP, once.

The sum over the survivors must carry σ² = Δ²/(2ρ) even if c of them tell the others their shares and
d_max more never contribute. So each adds σ²/(n − c − d_max), on a grid so fine that this share is at
least 16 grid units²: only then is the sum of discrete Gaussians as private as one
(`privacy.lanes.SHARE_MIN`).

OpenDP samples the discrete Gaussian exactly (rational arithmetic, rejection from a discrete Laplace). Its
bytes come from OpenSSL's generator, which the operating system seeds, and which seeds itself again after
a fork. A scale that is zero, not a number or infinite is an error, never
"no noise".

Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, Algorithm 3.
"""

import math
from fractions import Fraction

import numpy as np
import opendp.prelude as dp
from numpy.typing import NDArray

from privacy.errors import NoiseInvalid
from privacy.lanes import Lane
from privacy.plan import Plan
from privacy.session import SumParameters

dp.enable_features("contrib")


def share_parameter(lane: Lane, divisor: int) -> Fraction:
    """Return σ²/m, the parameter of one holder's noise, in grid units²; see `Lane.share`."""
    return lane.share(divisor)


def noise_scale(parameter: Fraction) -> float:
    """Return the standard deviation that OpenDP is given: the least double whose square is at least the
    parameter.

    Raises:
        NoiseInvalid: the parameter is not positive, or too large for a double.
    """
    if parameter <= 0:
        raise NoiseInvalid(f"a noise parameter must be above zero, not {parameter}")
    try:
        scale = math.sqrt(parameter)
    except OverflowError as err:
        raise NoiseInvalid("a noise parameter must have a finite scale") from err
    while Fraction(scale) ** 2 < parameter:
        scale = math.nextafter(scale, math.inf)
    while Fraction(math.nextafter(scale, 0.0)) ** 2 >= parameter:
        scale = math.nextafter(scale, 0.0)
    return scale


def draw_discrete_gaussian(scale: float, count: int) -> NDArray[np.int64]:
    """Draw integers from the discrete Gaussian with σ = `scale`, exactly, from the operating system's
    entropy.

    Raises:
        NoiseInvalid: the scale is zero, negative, infinite or not a number.
    """
    if not math.isfinite(scale) or scale <= 0:
        raise NoiseInvalid(f"a noise scale must be finite and above zero, not {scale}")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
    drawn = dp.m.make_gaussian(*space, scale=scale)([0] * count)
    return np.array(drawn, dtype=np.int64)


def draw_noise_share(plan: Plan, params: SumParameters) -> NDArray[np.int64]:
    """Draw one holder's noise for every cell of a plan. The caller stores it before anything is sent.

    Args:
        plan: a verified plan.
        params: the session's parameters, of its true roster.

    Raises:
        NoiseInvalid: a lane has no valid parameter, or the roster is larger than planned; nothing is
        drawn then.
    """
    if params.divisor > plan.divisor:
        raise NoiseInvalid(f"expected a divisor of at most {plan.divisor}, as planned, not {params.divisor}")
    scales = [noise_scale(share_parameter(lane, params.divisor)) for lane in plan.lanes]
    if not scales:
        raise NoiseInvalid("a plan without lanes has no noise")
    counts = [plan.groups * lane.bins for lane in plan.lanes]
    shares = [draw_discrete_gaussian(scale, count) for scale, count in zip(scales, counts, strict=True)]
    return np.concatenate(shares)
