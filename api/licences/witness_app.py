"""The HTTP process of a witness: it cosigns checkpoints that extend what it saw, and attests what it read on the chain by itself.

Source: C2SP tlog-witness (`POST /add-checkpoint`); docs/licence.md §10 (`POST /attest`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from api.body import read_body
from api.errors import BodyTooLarge, BodyTooSlow
from ledger.errors import ChainError, LedgerError
from ledger.log.witness import WitnessAnswer

BODY_MAX: Final = 1 << 18
_log = structlog.get_logger("api.witness")


class Cosigner(Protocol):
    """What cosigns: `ledger.log.witness.Witness`."""

    def add_checkpoint(self, body: bytes, now_s: int) -> WitnessAnswer:
        """Answer one request of the witness protocol."""


class Attests(Protocol):
    """What reads the chain and signs what it saw."""

    def attest(self, statement: str) -> str:
        """Return the signature line over a statement that the chain bears out."""


def create_witness_app(
    cosigner: Cosigner, attestor: Attests | None, *, now_s: Callable[[], float] = time.time
) -> Starlette:
    """Build the application of one witness.

    Args:
        cosigner: its state and key.
        attestor: reads the chain; None where the witness watches no chain.
        now_s: clock, Unix seconds.
    """

    async def add_checkpoint(request: Request) -> Response:
        body = await read_body(request.receive, BODY_MAX)
        answer = await run_sync(cosigner.add_checkpoint, body, int(now_s()))
        if answer.status != 200:
            _log.info("not_cosigned", status=answer.status)
        return Response(answer.body, answer.status, {"content-type": answer.content_type})

    async def attest(request: Request) -> Response:
        if attestor is None:
            return PlainTextResponse("this witness reads no chain\n", 404)
        try:
            text = (await read_body(request.receive, BODY_MAX)).decode("utf-8")
            line = await run_sync(attestor.attest, text)
        except UnicodeDecodeError:
            return PlainTextResponse("expected UTF-8\n", 400)
        except ChainError as err:
            _log.warning("chain_away", error=type(err).__name__)
            return PlainTextResponse("the witness cannot read the chain now\n", 503)
        except LedgerError as err:
            _log.info("not_attested", error=type(err).__name__)
            return PlainTextResponse(f"{err}\n", 422)
        return PlainTextResponse(line)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def too_large(_request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{error}\n", 413)

    async def too_slow(_request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{error}\n", 408)

    return Starlette(
        exception_handlers={BodyTooLarge: too_large, BodyTooSlow: too_slow},
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/attest", attest, methods=["POST"]),
            Route("/healthz", health),
        ],
    )
