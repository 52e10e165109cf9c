"""The HTTP application of one city's licence service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.errors import STATUS, BodyInvalid, Problem, headers_of, http_problem, problem_of
from api.licences import routes, routes_events, routes_log
from api.licences.guard import Guard
from api.licences.hot import PATH, HotVerify, openapi_path
from api.licences.service import LicenceService
from privacy.types import Violation

VERSION: Final = "0.1.0"
THREADS: Final = 32


def create_app(service: LicenceService) -> Guard:
    """Build the application over a service, which the caller starts and stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(
        title="Shuyao licences",
        version=VERSION,
        description="A city's e-licences: a log that anybody can check, and verdicts over it.",
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses={
            "4XX": {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {}}}
        },
    )
    app.state.service = service
    app.add_exception_handler(RequestValidationError, _show_invalid)
    app.add_exception_handler(HTTPException, _show_http)
    for known in STATUS:
        app.add_exception_handler(known, _show_known)
    groups = (routes.everybody, routes.departments, routes.holders, routes.operations)
    for router in (*groups, routes_log.router, routes_events.router):
        app.include_router(router)
    _document_hot_route(app)
    hot = HotVerify(
        service.online,
        service.policy,
        service.access,
        note=service.metrics.note_verdict,
        now_s=service.now,
    )
    return Guard(app, hot=hot, note=service.metrics.note)


def _document_hot_route(app: FastAPI) -> None:
    """Put the route that the guard answers into the OpenAPI document."""
    made = app.openapi

    def with_hot_route() -> dict[str, Any]:
        document = made()
        document["paths"].setdefault(PATH, openapi_path())
        return document

    app.openapi = with_hot_route  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _show_known(request: Request, error: Exception) -> Response:
    return _response(request, problem_of(error))


def _show_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return _response(request, http_problem(status, f"{request.method} is not answered here"))


def _show_invalid(request: Request, error: Exception) -> Response:
    """Show a schema's offences by place and rule, never by value."""
    found: list[Any] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    violations = tuple(
        Violation(rule=f"schema-{each['type']}", message=f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
        for each in found
    )
    return _response(request, problem_of(BodyInvalid(violations)))


def _response(request: Request, problem: Problem) -> Response:
    return Response(problem.to_json(request.url.path), problem.status, headers_of(problem))
