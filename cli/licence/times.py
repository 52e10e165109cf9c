"""Times as people write and read them: printed in UTC, taken as Unix seconds, dates or date-times."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from cli.errors import CliError

_CHINA = timezone(timedelta(hours=8))
_SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z


def utc(at_s: float | None) -> str | None:
    """Return Unix seconds as `2026-01-01 00:00:00`, in UTC; None stays None."""
    return None if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))


def read_time(text: str) -> int:
    """Read Unix seconds, a date or a time; one without an offset is China Standard Time.

    Args:
        text: such as `1893456000`, `2030-01-01` or `2030-01-01T00:00:00+08:00`. Nine digits and more are Unix seconds, eight a date.

    Raises:
        CliError: it is none.
    """
    if text.isascii() and text.isdigit() and len(text) > len("20300101"):
        if int(text[:20]) > _SECONDS_MAX:
            raise CliError(f"expected a time before the year 10000, got {text[:20]!r}")
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as err:
        raise CliError(f"expected a date or time such as 2030-01-01, or Unix seconds, got {text!r}") from err
    return int((found if found.tzinfo is not None else found.replace(tzinfo=_CHINA)).timestamp())
