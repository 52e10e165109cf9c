"""What a buyer's requests cost in privacy, as (ε, δ): one request's ρ, and all of its requests together on each line.

zCDP adds up over a budget line, so the composed total is the sum of ρ, and its ε is that of the sum. Requests under way count
as charged; those that closed before their seal do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from client.errors import StoreError
from client.types import LineLoss, LocalState, Losses, StoredRequest
from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.types import Digest, digest_from_hex
from privacy.accounting import DELTA_DEFAULT, PrivacyLoss
from privacy.decimals import read_decimal

_RELEASED = (LocalState.CLOSED, LocalState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Spending:
    """One request of the buyer's: its ρ, charged once to the line of each of its assets."""

    rho_micro: int
    assets: tuple[Digest, ...]


def earlier_spending(requests: Iterable[StoredRequest], *, but: bytes | None) -> list[Spending]:
    """Return what the buyer's other requests are charged, or will be if they are sealed.

    Args:
        requests: all that the buyer knows.
        but: the request, if it is among them, that is counted by itself.
    """
    from privacy.plan import Plan

    found = []
    for each in requests:
        if each.state in _RELEASED or each.request_id == but:
            continue
        plan = Plan.from_bytes(each.plan_json)
        found.append(Spending(each.request.rho_micro, tuple(Digest(asset.asset) for asset in plan.assets)))
    return found


def known_lines(requests: Iterable[StoredRequest]) -> dict[Digest, Digest]:
    """Return the budget line of every asset that the buyer's requests were quoted with.

    Raises:
        StoreError: what is stored cannot be read back.
    """
    found: dict[Digest, Digest] = {}
    for each in requests:
        lines = _terms(each).get("lines", {})
        try:
            found |= {digest_from_hex(asset): digest_from_hex(line) for asset, line in lines.items()}
        except (AttributeError, MalformedValue) as err:
            raise StoreError("the budget lines of a stored quote cannot be read back") from err
    return found


def quoted_delta(stored: StoredRequest) -> Decimal:
    """Return the δ at which a request's losses were quoted."""
    delta = read_decimal(_terms(stored).get("delta"))
    return DELTA_DEFAULT if delta is None else delta


def _terms(stored: StoredRequest) -> dict[str, Any]:
    try:
        terms = parse_json(stored.quote_json.encode())
    except (UnicodeEncodeError, MalformedValue) as err:
        raise StoreError("the terms of a stored quote cannot be read back") from err
    return terms if isinstance(terms, dict) else {}


def losses_of(
    own: Spending, earlier: Iterable[Spending], lines: Mapping[Digest, Digest], delta: Decimal
) -> Losses:
    """Return a request's own loss and the composed one on each line that it charges.

    Args:
        own: the request.
        earlier: the buyer's other requests.
        lines: the budget line of each asset, as the chain has it.
        delta: δ of every ε.
    """
    charged = {lines[asset]: 0 for asset in own.assets}
    for spending in [own, *earlier]:
        for asset in spending.assets:
            line = lines.get(asset)
            if line is not None and line in charged:
                charged[line] += spending.rho_micro
    composed = tuple(LineLoss(line, PrivacyLoss.of(total, delta)) for line, total in sorted(charged.items()))
    return Losses(PrivacyLoss.of(own.rho_micro, delta), composed)
