"""What every application of this package is made of: its settings, and problems for what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from api import VERSION
from api.errors import STATUS, BodyInvalid, Problem, headers_of, http_problem, problem_of
from privacy.types import Violation


def make_app(title: str, description: str, *, threads: int, layers: Sequence[Middleware]) -> FastAPI:
    """Build an application without routes.

    Args:
        title, description: in its OpenAPI document.
        threads: how many requests may wait for a disk or a database at once.
        layers: around the routes, the outermost first.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = threads
        yield

    app = FastAPI(
        title=title,
        version=VERSION,
        description=description,
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=layers,
        responses={
            "4XX": {"description": "A problem (RFC 9457)", "content": {"application/problem+json": {}}}
        },
    )
    app.add_exception_handler(RequestValidationError, _show_invalid)
    app.add_exception_handler(HTTPException, _show_http)
    for known in STATUS:
        app.add_exception_handler(known, _show_known)
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
        Violation(rule=f"schema-{each['type']}", message=f"{'.'.join(map(str, each['loc']))}: {each['msg']}")
        for each in found
    )
    return _response(request, problem_of(BodyInvalid(violations)))


def _response(request: Request, problem: Problem) -> Response:
    return Response(problem.to_json(request.url.path), problem.status, headers_of(problem))
