"""The HTTP application of one market."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from api import (
    routes_admission,
    routes_brokers,
    routes_buyers,
    routes_events,
    routes_everybody,
    routes_holders,
    routes_operations,
)
from api.application import make_app
from api.body import BodyLimit, WholeBody
from api.edge import Edge
from api.metrics import Metrics
from api.middleware import Guard
from exchange.market import Market
from exchange.settings import HOLDER_MESSAGE_BYTES_MAX

JSON_BYTES_MAX: Final = 1 << 20  # SQL of 64 KB and a plan over large domains fit many times over
LICENCE_BYTES_MAX: Final = (4 << 20) + 4096  # a bundle (docs/licence.md §8), and the member around it
_ROUTES: Final = (
    routes_everybody,
    routes_admission,
    routes_buyers,
    routes_events,
    routes_holders,
    routes_brokers,
    routes_operations,
)


def create_app(market: Market, *, now_s: Callable[[], float] = time.time) -> FastAPI:
    """Build the application over a market, which the caller starts and stops."""
    metrics = Metrics(market)
    app = make_app(
        "Shuyao exchange",
        "A marketplace that sells verified answers, never data.",
        threads=market.settings.threads,
        layers=[Middleware(Guard, note=metrics.note), Middleware(WholeBody, limit_of=_limit)],
    )
    app.state.edge = Edge(market, now_s=now_s)
    app.state.metrics = metrics
    for module in _ROUTES:
        app.include_router(module.router)
    return app


def _limit(path: str) -> BodyLimit:
    if path.endswith("/messages"):
        return BodyLimit(HOLDER_MESSAGE_BYTES_MAX, is_json=False)
    return BodyLimit(LICENCE_BYTES_MAX if path.endswith("/licence") else JSON_BYTES_MAX)
