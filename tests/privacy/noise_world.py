"""Noise shares from seeds of the system's randomness, for tests that want the law and not the numbers."""

import secrets

import numpy as np
from numpy.typing import NDArray

from privacy.noise import NoiseSource, draw_noise_share
from privacy.plan import Plan
from privacy.session import SumParameters


def fresh_noise(plan: Plan, params: SumParameters) -> NDArray[np.int64]:
    """Return one share of a new seed."""
    source = NoiseSource(secrets.token_bytes(32), secrets.token_bytes(32), 0)
    return draw_noise_share(plan, params, source)
