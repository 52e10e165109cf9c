"""The HTTP application of one market."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api import (
    routes_admission,
    routes_brokers,
    routes_buyers,
    routes_events,
    routes_everybody,
    routes_holders,
    routes_operations,
)
from api.edge import Edge
from api.errors import STATUS, BodyInvalid, Problem, headers_of, http_problem, problem_of
from api.metrics import Metrics
from api.middleware import Guard
from exchange.market import Market
from privacy.types import Violation

VERSION: Final = "0.1.0"
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

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = market.settings.threads
        yield

    app = FastAPI(
        title="Shuyao exchange",
        version=VERSION,
        description="A marketplace that sells verified answers, never data.",
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses={
            "4XX": {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {}}}
        },
    )
    app.state.edge = Edge(market, now_s=now_s)
    app.state.metrics = Metrics(market)
    app.add_middleware(Guard, metrics=app.state.metrics)
    app.add_exception_handler(RequestValidationError, _show_invalid)
    app.add_exception_handler(HTTPException, _show_http)
    for known in STATUS:
        app.add_exception_handler(known, _show_known)
    for module in _ROUTES:
        app.include_router(module.router)
    return app


def _show_known(request: Request, error: Exception) -> Response:
    return _response(request, problem_of(error))


def _show_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return _response(request, http_problem(status, f"{request.method} is not answered here"))


def _show_invalid(request: Request, error: Exception) -> Response:
    """Show a schema's offences by place and rule, never by value."""
    found: list[Any] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    violations = tuple(
        Violation(rule=f"schema-{each['type']}", message=f"{_place(each['loc'])}: {each['msg']}")
        for each in found
    )
    return _response(request, problem_of(BodyInvalid(violations)))


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _response(request: Request, problem: Problem) -> Response:
    body = problem.to_json(request.url.path)
    return Response(body, problem.status, headers_of(problem))
