"""What the operator of an exchange chooses. Built once, in the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from exchange.errors import SettingsInvalid
from ledger.types import Deployment, Roles

WINDOW_BLOCKS_MAX: Final = 10_000_000
HOLDER_MESSAGE_BYTES_MAX: Final = (1 << 20) + 4096  # 2^17 cells of 8 bytes, the lane, the frame around it


def _require_range(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsInvalid(f"{name}: expected a number in [{low}, {high}], got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How many blocks each step of a request may take.

    Args:
        approve: from the head at the quote to the end of approving.
        share: for the bundles of shares.
        contribute: for running the plan and committing.
        answer: for unmasking and the broker's answer.
    """

    approve: int = 40
    share: int = 40
    contribute: int = 80
    answer: int = 80

    def __post_init__(self) -> None:
        for name in ("approve", "share", "contribute", "answer"):
            _require_range(f"windows.{name}", getattr(self, name), 1, WINDOW_BLOCKS_MAX)

    def to_json(self) -> dict[str, int]:
        """Return the windows as the API shows them."""
        return {
            "approve": self.approve,
            "share": self.share,
            "contribute": self.contribute,
            "answer": self.answer,
        }


MANUAL_WINDOWS: Final = Windows(approve=50_000, share=400, contribute=800, answer=800)


LICENSED_ROLES: Final = ("holder", "broker", "buyer")
_TYPE_LENGTH: Final = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionTerms:
    """Which licence admits whom.

    Args:
        policy: file with the trust policy under which licences are verified (docs/licence.md §9).
        types: licence types that count, one of which is enough.
        service_url: of the city's licence service, which is asked for newer facts before each request; None where participants
            bring theirs in a bundle.
        max_age_s: how old the last known status may be. Services publish an unchanged status list anew every 6 hours.
        roles: who needs a licence: some of holder, broker, buyer.
    """

    policy: Path
    types: tuple[str, ...]
    service_url: str | None = None
    max_age_s: int = 86_400
    roles: tuple[str, ...] = LICENSED_ROLES

    def __post_init__(self) -> None:
        _require_range("admission.max_age_s", self.max_age_s, 1, 31 * 86_400)
        if not self.types or not all(
            isinstance(each, str) and len(each) == _TYPE_LENGTH for each in self.types
        ):
            raise SettingsInvalid(f"admission.types: expected licence types of {_TYPE_LENGTH} characters")
        if not self.roles or set(self.roles) - set(LICENSED_ROLES):
            raise SettingsInvalid(f"admission.roles: expected some of {', '.join(LICENSED_ROLES)}")
        if self.service_url is not None and urlsplit(self.service_url).scheme not in ("http", "https"):
            raise SettingsInvalid("admission.service_url: expected http(s)://AUTHORITY, or null")

    @property
    def role_bits(self) -> Roles:
        """The roles as bits."""
        bits = Roles(0)
        for name in self.roles:
            bits |= Roles[name.upper()]
        return bits

    @classmethod
    def from_json(cls, value: object) -> AdmissionTerms:
        """Read the terms from a mapping.

        Raises:
            SettingsInvalid: a key is missing or unknown, or a value outside its range.
        """
        known = {each.name for each in fields(cls)}
        if not isinstance(value, Mapping) or set(value) - known or {"policy", "types"} - set(value):
            raise SettingsInvalid(f"admission: expected policy, types and some of {sorted(known)}")
        given = dict(value)
        for name in ("types", "roles"):
            if name in given:
                given[name] = _read_texts(f"admission.{name}", given[name])
        for name in ("policy", "service_url"):
            if not isinstance(given.get(name), str | None):
                raise SettingsInvalid(f"admission.{name}: expected a text")
        if not given["policy"]:
            raise SettingsInvalid("admission.policy: expected a file")
        return cls(**{**given, "policy": Path(given["policy"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One exchange.

    Args:
        deployment: the contracts that it serves.
        rpc_url: the node that it reads and writes through.
        database_url: `sqlite:///PATH` or `postgresql://…`, for the market's own tables.
        workflow_database_url: the same for the workflows' journal. A SQLite file of its own.
        public_url: as users see it; its authority is the domain of a sign-in message.
        host, port: where it listens.
        windows: for policies that approve automatically.
        manual_windows: for policies under which a person approves.
        join_entries_per_block: entries of a private join's lists that its two holders get through in a block; the window
            for sharing is longer by as many blocks as that takes.
        quote_ttl_s: how long a quote holds.
        session_ttl_s: how long a sign-in holds.
        sign_in_ttl_s: how long a sign-in nonce can be used.
        signature_age_s: how old a machine's signed request may be.
        poll_s: between two looks at the chain while requests are in flight.
        idle_poll_s: the same while there are none.
        confirmations: blocks on top of one before it counts as final.
        threads: that answer requests.
        live_requests_max: in flight at once.
        executor_id: name of this process in the workflows' journal; stable across restarts.
        admission: the licence that participants must present; None where what the chain says of them is enough.
    """

    deployment: Deployment
    rpc_url: str
    database_url: str
    workflow_database_url: str
    public_url: str
    host: str = "127.0.0.1"
    port: int = 8700
    windows: Windows = field(default_factory=Windows)
    manual_windows: Windows = MANUAL_WINDOWS
    join_entries_per_block: int = 1000
    quote_ttl_s: int = 900
    session_ttl_s: int = 3600
    sign_in_ttl_s: int = 300
    signature_age_s: int = 60
    poll_s: float = 0.2
    idle_poll_s: float = 1.0
    confirmations: int = 0
    threads: int = 8
    live_requests_max: int = 1000
    executor_id: str = "exchange"
    admission: AdmissionTerms | None = None

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            _require_range(name, getattr(self, name), low, high)
        address = urlsplit(self.public_url)
        if address.scheme not in ("http", "https") or not address.netloc or address.path not in ("", "/"):
            raise SettingsInvalid(f"public_url: expected http(s)://AUTHORITY, got {self.public_url!r}")
        if self.database_url == self.workflow_database_url and self.database_url.startswith("sqlite"):
            raise SettingsInvalid("workflow_database_url: expected a SQLite file of its own")
        if not self.executor_id:
            raise SettingsInvalid("executor_id: expected a name, got none")

    @property
    def domain(self) -> str:
        """The authority that a sign-in message must name."""
        return urlsplit(self.public_url).netloc

    @property
    def origin(self) -> str:
        """The URI that a sign-in message must name."""
        return self.public_url.rstrip("/")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        """Read the settings from nested mappings, as a JSON file gives them.

        Raises:
            SettingsInvalid: a key is missing or unknown, or a value outside its range.
            MalformedValue: the deployment is malformed.
        """
        try:
            return cls._read(value)
        except (TypeError, ValueError, AttributeError) as err:  # of another type than its field has
            raise SettingsInvalid(f"settings: {type(err).__name__}: {err}") from err

    @classmethod
    def _read(cls, value: Mapping[str, Any]) -> Settings:
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(value) - known)
        missing = sorted(
            {"deployment", "rpc_url", "database_url", "workflow_database_url", "public_url"} - set(value)
        )
        if unknown or missing:
            raise SettingsInvalid(f"settings: missing {missing}, unknown {unknown}")
        given = dict(value)
        given["deployment"] = Deployment.from_json(value["deployment"])
        for name in ("windows", "manual_windows"):
            if name in given:
                given[name] = _read_windows(name, given[name])
        if given.get("admission") is not None:
            given["admission"] = AdmissionTerms.from_json(given["admission"])
        return cls(**given)


_RANGES: Final[tuple[tuple[str, float, float], ...]] = (
    ("port", 0, 65_535),
    ("join_entries_per_block", 1, 10_000_000),
    ("quote_ttl_s", 1, 86_400),
    ("session_ttl_s", 1, 86_400),
    ("sign_in_ttl_s", 1, 3600),
    ("signature_age_s", 1, 3600),
    ("poll_s", 0.005, 60),
    ("idle_poll_s", 0.005, 600),
    ("confirmations", 0, 10_000),
    ("threads", 1, 256),
    ("live_requests_max", 1, 100_000),
)


def _read_windows(name: str, value: object) -> Windows:
    if not isinstance(value, Mapping) or set(value) - {"approve", "share", "contribute", "answer"}:
        raise SettingsInvalid(f"{name}: expected approve, share, contribute and answer, in blocks")
    return Windows(**value)


def _read_texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise SettingsInvalid(f"{name}: expected a list of texts")
    return tuple(value)
