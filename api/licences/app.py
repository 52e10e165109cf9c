"""The HTTP application of one city's licence service."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from api.application import make_app
from api.licences import routes, routes_events, routes_log
from api.licences.guard import layers
from api.licences.hot import PATH, HotVerify, openapi_path
from api.licences.service import LicenceService

THREADS: Final = 32


def create_app(service: LicenceService) -> FastAPI:
    """Build the application over a service, which the caller starts and stops."""
    metrics = service.metrics
    hot = HotVerify(
        service.online,
        service.policy,
        service.access,
        note=metrics.note_verdict,
        now_s=service.now,
    )
    app = make_app(
        "Shuyao licences",
        "A city's e-licences: a log that anybody can check, and verdicts over it.",
        threads=THREADS,
        layers=layers(hot, metrics.note),
    )
    app.state.service = service
    groups = (routes.everybody, routes.departments, routes.holders, routes.operations)
    for router in (*groups, routes_log.router, routes_events.router):
        app.include_router(router)
    _document_hot_route(app)
    return app


def _document_hot_route(app: FastAPI) -> None:
    """Put the route that the guard answers into the OpenAPI document."""
    made = app.openapi

    def with_hot_route() -> dict[str, Any]:
        document = made()
        document["paths"].setdefault(PATH, openapi_path())
        return document

    app.openapi = with_hot_route  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
