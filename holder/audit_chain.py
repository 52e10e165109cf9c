"""The chain as an audit sees it: read anew from a node, kept in memory, so that nothing of the holder's is believed."""

from __future__ import annotations

from holder.chain_side import RequestView, view_of
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine
from ledger.indexer import Indexer
from ledger.store import create_tables
from ledger.types import AssetRegistered, AssetUpdated, Deployment, Digest


class IndexedChain:
    """The final events of one deployment.

    Args:
        rpc_url: the node that the auditor trusts.
        deployment: the contracts that the auditor accepts.
        confirmations: blocks that must follow an event.

    Raises:
        ChainUnreachable, ChainMismatch: no usable node, or one of another chain or deployment.
    """

    def __init__(self, rpc_url: str, deployment: Deployment, *, confirmations: int = 0) -> None:
        engine = make_engine("sqlite://")
        create_tables(engine)
        self._confirmations = confirmations
        with Chain(rpc_url) as chain:
            contracts = Contracts(chain, deployment)
            self._indexer = Indexer(engine, chain, contracts, confirmations=confirmations)
            self._indexer.tick()

    def view(self, request_id: Digest) -> RequestView | None:
        """Return a request as the final chain shows it, None if it does not."""
        return view_of(self._indexer.events(request_id), self._indexer.head() - self._confirmations)

    def registered(self, asset: Digest, version: int) -> tuple[bytes, bytes] | None:
        """Return policy hash and snapshot root of one version of an asset, None if the chain does not show it."""
        for event in self._indexer.events(kinds=(AssetRegistered, AssetUpdated)):
            if isinstance(event, AssetRegistered):
                found = 1
            elif isinstance(event, AssetUpdated):
                found = event.version
            else:
                continue
            if (event.asset, found) == (asset, version):
                return event.policy_hash, event.snapshot_root
        return None
