"""What the buyer's library is told from outside; built once, in the composition root."""

from dataclasses import dataclass, field
from pathlib import Path

from client.errors import SettingsInvalid
from ledger.types import Deployment


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Where the buyer keeps its state and whom it talks to.

    Args:
        home: the buyer's directory: `buyer.db` and `receipts/` live in it.
        exchange_url: the exchange, `http(s)://host:port`, without a trailing slash.
        rpc_url: the JSON-RPC node that the buyer itself trusts.
        deployment: the contracts this buyer accepts; never taken from the exchange.
        confirmations: blocks that must follow an event before it counts (0 where blocks are final at once).
        cache: the directory of the public generators' cache, None for none on disk.
        timeout_s: for one HTTP exchange.
        poll_s: between two questions when event streams are not to be had.
        answer_timeout_s: how long `fetch` waits for chunks it demanded on the chain.
    """

    home: Path
    exchange_url: str
    rpc_url: str
    deployment: Deployment
    confirmations: int = 0
    cache: Path | None = None
    timeout_s: float = 15.0
    poll_s: float = 1.0
    answer_timeout_s: float = 120.0
    receipts: Path = field(init=False)

    def __post_init__(self) -> None:
        if not self.exchange_url.startswith(("http://", "https://")):
            raise SettingsInvalid(f"the exchange's address must be an http(s) URL, got {self.exchange_url!r}")
        if self.confirmations < 0 or min(self.timeout_s, self.poll_s, self.answer_timeout_s) <= 0:
            raise SettingsInvalid("confirmations must be at least 0 and every time must be positive")
        object.__setattr__(self, "exchange_url", self.exchange_url.rstrip("/"))
        object.__setattr__(self, "receipts", self.home / "receipts")

    @property
    def database_url(self) -> str:
        """The buyer's own SQLite file."""
        return f"sqlite:///{self.home / 'buyer.db'}"
