"""The composition root of an exchange: database, chain, market and HTTP server in one process."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket

import structlog
import uvicorn

from api.app import create_app
from exchange.market import Market
from exchange.onchain import OnChain
from exchange.settings import Settings
from ledger.chain import Chain
from ledger.database import make_engine
from ledger.errors import ChainUnreachable
from ledger.signing import Signer

_log = structlog.get_logger("api.server")


def run(settings: Settings, signer: Signer, *, on_ready: Callable[[int], None] | None = None) -> None:
    """Run an exchange until SIGTERM or SIGINT.

    Args:
        settings: the operator's choices.
        signer: the broker's account key, out of its keystore.
        on_ready: called with the port once requests are answered; port 0 in the settings takes a free one.

    Raises:
        ChainTooOld, ChainMismatch: the node cannot serve this deployment.
        DatabaseError, SchemaUnknown: the database cannot be used.
    """
    configure_logs()
    engine = make_engine(settings.database_url)
    chain = Chain(settings.rpc_url)
    side = OnChain(engine, chain, settings.deployment, signer, confirmations=settings.confirmations)
    market = Market(settings, engine=engine, chain=side, signer=signer)
    server = _Server(_configuration(settings, market), market, on_ready)
    _require_capable(chain)
    market.start()
    try:
        with _signals_kept():
            server.run()
    finally:
        market.stop()
        chain.close()
        engine.dispose()


def configure_logs(level: int = logging.INFO) -> None:
    """Write logs as one JSON object a line to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _configuration(settings: Settings, market: Market) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(market),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


def _require_capable(chain: Chain) -> None:
    """Refuse a chain without the curve's precompiles; one that is away is asked again by nobody, and reads go on."""
    try:
        chain.require_precompiles()
    except ChainUnreachable as err:
        _log.warning("chain_unreachable_at_start", error=str(err))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Let the server end at a signal without ending the process: uvicorn raises the signal once more afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


class _Server(uvicorn.Server):
    """Says when it answers, and ends event streams and workflows when it stops."""

    def __init__(
        self, config: uvicorn.Config, market: Market, on_ready: Callable[[int], None] | None
    ) -> None:
        super().__init__(config)
        self._market, self._on_ready = market, on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind and listen, then say so."""
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """End what waits, so that open streams end by themselves."""
        self._market.waiting.stop()
        await super().shutdown(sockets)
