"""HTTP edge of the exchange: routes, sign-in, problem+json."""

from typing import Final

VERSION: Final = "0.1.0"
