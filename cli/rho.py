"""ρ as people write it, and as it is charged."""

from decimal import Decimal, InvalidOperation

from cli.errors import CliError


def rho_to_micro(text: str) -> int:
    """Read ρ as a decimal with at most six places.

    Raises:
        CliError: anything else.
    """
    try:
        micro = Decimal(text) * 1_000_000
    except InvalidOperation as err:
        raise CliError(f"--rho {text!r}: expected a decimal such as 0.05") from err
    if not micro.is_finite() or micro != int(micro) or micro <= 0:
        raise CliError(f"--rho {text!r}: expected a positive decimal with at most six places")
    return int(micro)
