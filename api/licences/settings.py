"""The choices of who runs a city's licence service, and of who runs a witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.encoding import require_keys
from ledger.errors import MalformedValue

VERSION: Final = 1
WORKERS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness of a log: its key in the vkey form of docs/log.md, and where it listens."""

    vkey: str
    url: str

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"vkey": self.vkey, "url": self.url}

    @classmethod
    def from_json(cls, value: object) -> WitnessAddress:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape.
        """
        given = require_keys("witness", value, frozenset({"vkey", "url"}))
        return cls(_text(given, "vkey"), _text(given, "url"))


@dataclass(frozen=True, slots=True)
class AnchorAddress:
    """The LogAnchor contract of a log, and the chain's own address of a node."""

    rpc_url: str
    chain_id: int
    contract: str

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"rpc_url": self.rpc_url, "chain_id": self.chain_id, "contract": self.contract}

    @classmethod
    def from_json(cls, value: object) -> AnchorAddress:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape.
        """
        given = require_keys("anchor", value, frozenset({"rpc_url", "chain_id", "contract"}))
        return cls(_text(given, "rpc_url"), _positive(given, "chain_id"), _text(given, "contract"))


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the duties of a service run, in seconds.

    Args:
        cosign_s: between two looks for entries that no quorum has cosigned yet; at most 60.
        publish_s: between two looks for status lists that changed or near their end.
        anchor_s: between two anchors.
        seal_s: between two batches of access records.
    """

    cosign_s: float = 2.0
    publish_s: float = 5.0
    anchor_s: float = 600.0
    seal_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("cosign_s", "publish_s", "anchor_s", "seal_s"):
            if not 0 < getattr(self, name) <= 86_400:
                raise MalformedValue(name, "seconds in (0, 86400]", repr(getattr(self, name)))
        if self.cosign_s > 60:
            raise MalformedValue("cosign_s", "at most 60 seconds", repr(self.cosign_s))

    def to_json(self) -> dict[str, float]:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in ("cosign_s", "publish_s", "anchor_s", "seal_s")}

    @classmethod
    def from_json(cls, value: object) -> Pace:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape.
        """
        names = ("cosign_s", "publish_s", "anchor_s", "seal_s")
        given = require_keys("pace", value, frozenset(names))
        return cls(*(_seconds(given, name) for name in names))


@dataclass(frozen=True, slots=True)
class CitySettings:
    """One city's licence log and its service.

    Args:
        origin: the log's name, as in its checkpoints.
        name: the city's, for people.
        log_key: vkey of the log.
        registrar, service: public keys as JWKs.
        witnesses, threshold: who cosigns, and how many are a quorum.
        anchor: None while the log is on no chain.
        host, port: where the service listens; port 0 takes a free one.
        verify_port, verify_workers: where processes of their own answer `POST /licences/verify` as well, and how many.
    """

    origin: str
    name: str
    log_key: str
    registrar: Mapping[str, str]
    service: Mapping[str, str]
    witnesses: tuple[WitnessAddress, ...] = ()
    threshold: int = 3
    anchor: AnchorAddress | None = None
    host: str = "127.0.0.1"
    port: int = 0
    verify_port: int = 0
    verify_workers: int = 0
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if not 0 <= self.verify_workers <= WORKERS_MAX or not 0 <= self.verify_port <= 65_535:
            raise MalformedValue(
                "verify_workers", f"0 to {WORKERS_MAX}, and a TCP port", str(self.verify_workers)
            )
        if self.verify_workers and not self.verify_port:
            raise MalformedValue("verify_port", "a TCP port for the workers", "0")
        if not self.origin or len(self.origin) > 200 or any(c in self.origin for c in "\n +"):
            raise MalformedValue("origin", "1 to 200 characters without space and plus", repr(self.origin))
        if not 0 <= self.port <= 65_535:
            raise MalformedValue("port", "a TCP port", str(self.port))
        if self.witnesses and not 1 <= self.threshold <= len(self.witnesses):
            raise MalformedValue("threshold", f"1 to {len(self.witnesses)}", str(self.threshold))
        if len({witness.vkey for witness in self.witnesses}) != len(self.witnesses):
            raise MalformedValue("witnesses", "different keys", "a repeated one")

    def city(self) -> dict[str, Any]:
        """Return the city as a verifier's policy names it (docs/licence.md §9)."""
        anchor = None
        if self.anchor is not None:
            anchor = {"chain_id": self.anchor.chain_id, "contract": self.anchor.contract, "validators": []}
        return {
            "origin": self.origin,
            "name": self.name,
            "log_key": self.log_key,
            "witnesses": [witness.vkey for witness in self.witnesses],
            "threshold": self.threshold,
            "registrar": dict(self.registrar),
            "service": dict(self.service),
            "types": None,
            "anchor": anchor,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "version": VERSION,
            "origin": self.origin,
            "name": self.name,
            "log_key": self.log_key,
            "registrar": dict(self.registrar),
            "service": dict(self.service),
            "witnesses": [witness.to_json() for witness in self.witnesses],
            "threshold": self.threshold,
            "anchor": None if self.anchor is None else self.anchor.to_json(),
            "host": self.host,
            "port": self.port,
            "verify_port": self.verify_port,
            "verify_workers": self.verify_workers,
            "pace": self.pace.to_json(),
        }

    @classmethod
    def from_json(cls, value: object) -> CitySettings:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape or version.
        """
        names = frozenset(
            [
                "version",
                "origin",
                "name",
                "log_key",
                "registrar",
                "service",
                "witnesses",
                "threshold",
                "anchor",
                "host",
                "port",
                "verify_port",
                "verify_workers",
                "pace",
            ]
        )
        given = require_keys("city", value, names)
        _require_version(given)
        witnesses = given["witnesses"]
        if not isinstance(witnesses, list):
            raise MalformedValue("witnesses", "a list", type(witnesses).__name__)
        return cls(
            origin=_text(given, "origin"),
            name=_text(given, "name"),
            log_key=_text(given, "log_key"),
            registrar=_jwk(given, "registrar"),
            service=_jwk(given, "service"),
            witnesses=tuple(map(WitnessAddress.from_json, witnesses)),
            threshold=_positive(given, "threshold"),
            anchor=None if given["anchor"] is None else AnchorAddress.from_json(given["anchor"]),
            host=_text(given, "host"),
            port=_integer(given, "port"),
            verify_port=_integer(given, "verify_port"),
            verify_workers=_integer(given, "verify_workers"),
            pace=Pace.from_json(given["pace"]),
        )


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """A log that a witness watches: its vkey, and its LogAnchor where the witness also attests what is on the chain."""

    vkey: str
    origin: str
    chain_id: int | None = None
    contract: str | None = None

    def __post_init__(self) -> None:
        if (self.chain_id is None) != (self.contract is None):
            raise MalformedValue("contract", "chain id and contract together", "one of them")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "vkey": self.vkey,
            "origin": self.origin,
            "chain_id": self.chain_id,
            "contract": self.contract,
        }

    @classmethod
    def from_json(cls, value: object) -> WatchedLog:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape.
        """
        given = require_keys("log", value, frozenset({"vkey", "origin", "chain_id", "contract"}))
        on_chain = given["contract"] is not None
        return cls(
            _text(given, "vkey"),
            _text(given, "origin"),
            _positive(given, "chain_id") if on_chain else None,
            _text(given, "contract") if on_chain else None,
        )


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """One witness: its name, the logs it watches, and the node through which it reads the chain by itself."""

    name: str
    vkey: str
    logs: tuple[WatchedLog, ...] = ()
    rpc_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "version": VERSION,
            "name": self.name,
            "vkey": self.vkey,
            "logs": [log.to_json() for log in self.logs],
            "rpc_url": self.rpc_url,
            "host": self.host,
            "port": self.port,
        }

    @classmethod
    def from_json(cls, value: object) -> WitnessSettings:
        """Read the JSON form.

        Raises:
            MalformedValue: another shape or version.
        """
        names = frozenset({"version", "name", "vkey", "logs", "rpc_url", "host", "port"})
        given = require_keys("witness", value, names)
        _require_version(given)
        logs = given["logs"]
        if not isinstance(logs, list):
            raise MalformedValue("logs", "a list", type(logs).__name__)
        return cls(
            name=_text(given, "name"),
            vkey=_text(given, "vkey"),
            logs=tuple(map(WatchedLog.from_json, logs)),
            rpc_url=None if given["rpc_url"] is None else _text(given, "rpc_url"),
            host=_text(given, "host"),
            port=_integer(given, "port"),
        )


def _require_version(given: Mapping[str, Any]) -> None:
    if given["version"] != VERSION:
        raise MalformedValue("version", str(VERSION), repr(given["version"]))


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if not isinstance(value, str) or not value:
        raise MalformedValue(name, "a text", type(value).__name__)
    return value


def _integer(given: Mapping[str, Any], name: str) -> int:
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedValue(name, "an integer from 0", repr(value))
    return value


def _positive(given: Mapping[str, Any], name: str) -> int:
    value = _integer(given, name)
    if value == 0:
        raise MalformedValue(name, "an integer from 1", "0")
    return value


def _seconds(given: Mapping[str, Any], name: str) -> float:
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedValue(name, "seconds", type(value).__name__)
    return float(value)


def _jwk(given: Mapping[str, Any], name: str) -> Mapping[str, str]:
    value = given[name]
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise MalformedValue(name, "a JWK", type(value).__name__)
    return value
