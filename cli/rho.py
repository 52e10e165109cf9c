"""ρ as people write it, as it is charged, and as (ε, δ)."""

import math
from decimal import Decimal, DecimalException
from typing import Final

from cli.errors import CliError
from privacy.accounting import PrivacyLoss

_DIGITS_MAX: Final = 28  # more than any ρ has that can be charged, and computed with exactly


def rho_to_micro(text: str) -> int:
    """Read ρ as a decimal with at most six places.

    Raises:
        CliError: anything else.
    """
    try:
        rho = Decimal(text)
    except DecimalException as err:
        raise CliError(f"--rho {text!r}: expected a decimal such as 0.05") from err
    is_readable = (
        rho.is_finite() and abs(rho.adjusted()) < _DIGITS_MAX and len(rho.as_tuple().digits) <= _DIGITS_MAX
    )
    micro = rho.scaleb(6) if is_readable else Decimal("NaN")
    if not is_readable or micro != int(micro) or micro <= 0:
        raise CliError(f"--rho {text!r}: expected a positive decimal with at most six places")
    return int(micro)


def read_delta(text: str) -> Decimal:
    """Read δ, a decimal between 0 and 1 such as 1e-9.

    Raises:
        CliError: anything else.
    """
    try:
        delta = Decimal(text)
    except DecimalException as err:
        raise CliError(f"--delta {text!r}: expected a decimal such as 1e-9") from err
    if not (delta.is_finite() and 0 < delta < 1 and float(delta) > 0):
        raise CliError(f"--delta {text!r}: expected a decimal above 0 and below 1")
    return delta


def loss_row(loss: PrivacyLoss) -> list[str]:
    """Return ρ, ε and δ as they are shown; ε is rounded up to three places."""
    return [
        str(Decimal(loss.rho_micro) / 1_000_000),
        f"{math.ceil(loss.epsilon * 1000) / 1000:.3f}",
        f"{loss.delta.normalize():e}",
    ]
