"""Routes for those who run the exchange: health and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from api.edge import TheEdge
from api.metrics import Metrics
from ledger.errors import DatabaseError

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def read_health(edge: TheEdge, response: Response) -> dict[str, Any]:
    """Say whether the exchange works. 503 when it cannot; "degraded" while the chain is away: reads go on."""
    market = edge.market
    follower = market.follower
    try:
        stages, database = market.store.stage_counts(), "ok"
    except DatabaseError as err:
        stages, database = {}, type(err).__name__
    if database != "ok" or not follower.is_alive:
        status, response.status_code = "down", 503
    else:
        status = "degraded" if follower.fault else "ok"
    return {
        "status": status,
        "chain": {
            "reachable": not follower.fault,
            "fault": follower.fault or None,
            "head": follower.head,
            "lag_s": round(follower.lag_s, 3),
            "transactions_waiting": market.chain.waiting_count(),
        },
        "database": database,
        "requests": stages,
    }


@router.get("/metrics")
def read_metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type="text/plain; version=0.0.4")
