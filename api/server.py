"""The composition root of an exchange: database, chain, market and HTTP server in one process."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import uvicorn

from api.app import create_app
from api.serving import QUIET, configure_logs, serve
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
    configuration = _configuration(settings, market)
    _require_capable(chain)
    market.start()
    try:
        # open event streams end only when the market says so
        serve(configuration, on_ready=on_ready, on_stop=market.waiting.stop)
    finally:
        market.stop()
        chain.close()
        engine.dispose()


def _configuration(settings: Settings, market: Market) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(market),
        host=settings.host,
        port=settings.port,
        **QUIET,
    )


def _require_capable(chain: Chain) -> None:
    """Refuse a chain without the curve's precompiles; one that is away is asked again by nobody, and reads go on."""
    try:
        chain.require_precompiles()
    except ChainUnreachable as err:
        _log.warning("chain_unreachable_at_start", error=str(err))
