"""The pieces of a holder, put together once from its settings and keys."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self

import httpx

from holder.chain_side import LiveChain
from holder.data import DataRoom
from holder.epoch import EpochFile
from holder.errors import StoreInUse
from holder.exchange_client import ExchangeClient
from holder.settings import HolderSettings
from holder.store import HolderStore
from holder.vault import Vault
from ledger.chain import Chain
from ledger.contracts import Contracts
from ledger.database import make_engine
from ledger.indexer import Indexer
from ledger.keystore import Keys
from ledger.store import create_tables
from ledger.submitter import Submitter

if TYPE_CHECKING:
    from pandas import DataFrame

EPOCH_NAME: Final = "epoch"
LOCK_NAME: Final = "node.lock"


class Parts:
    """Everything that the node, the registration and the commands work with. Use it as a context manager.

    Args:
        settings: from `load_settings`.
        keys: from the keystore.
        frames: pandas frames by asset name, for a holder that runs the node inside its own program.
        transport: another way to reach the exchange (in process, for one); None for the network.
    """

    def __init__(
        self,
        settings: HolderSettings,
        keys: Keys,
        *,
        frames: Mapping[str, DataFrame] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.settings, self.keys = settings, keys
        self.engine = make_engine(settings.database_url)
        create_tables(self.engine)
        self.store = HolderStore(self.engine, Vault(keys.signer), EpochFile(settings.home / EPOCH_NAME))
        self.store.create_tables()
        self.chain = Chain(settings.rpc_url)
        self.contracts = Contracts(self.chain, settings.deployment)
        confirmations = settings.confirmations
        self.indexer = Indexer(self.engine, self.chain, self.contracts, confirmations=confirmations)
        self.submitter = Submitter(self.engine, self.chain, keys.signer, confirmations=confirmations)
        self.chain_side = LiveChain(self.contracts, self.indexer, self.submitter, confirmations=confirmations)
        self.exchange = ExchangeClient(settings.exchange_url, keys.signer, transport=transport)
        self.data = DataRoom(settings, frames=frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the database; whoever still waits on one of them gets an error at once."""
        self.exchange.close()
        self.chain.close()
        self.data.close()
        self.engine.dispose()


class NodeLock:
    """Held while a node runs: a second one on the same home would be a second memory.

    Args:
        home: the holder's directory.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK_NAME
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            file.close()
            raise StoreInUse(f"another node runs on {self._path.parent}") from err
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
