"""The contracts' compiled interfaces: encoding of calls, decoding of answers, events and errors.

The artifacts in `contracts/artifacts` are what the sources compile to; nothing of them is repeated here.

Source: Solidity contract ABI specification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError, ParseError

from ledger.chain import RawLog
from ledger.encoding import keccak
from ledger.errors import ContractReverted, LedgerError, MalformedLog, MalformedValue

ARTIFACTS: Final = Path(__file__).resolve().parent.parent / "contracts" / "artifacts"
CONTRACTS: Final = (
    "Participants",
    "AssetRegistry",
    "ComputeLedger",
    "Settlement",
    "AccessManager",
    "LogAnchor",
    "IssuerRegistry",
)
# the codec's own, and what it lets through: an offset beyond any index, a text that is no UTF-8
_UNDECODABLE: Final = (DecodingError, OverflowError, UnicodeDecodeError)


class ArtifactMissing(LedgerError):
    """A contract's compiled artifact is not there or not readable."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One function, event or error: its name, its inputs and its outputs, by ABI type."""

    name: str
    inputs: tuple[tuple[str, str], ...]  # (name, canonical type)
    indexed: tuple[bool, ...]
    outputs: tuple[str, ...]

    @property
    def types(self) -> list[str]:
        """The canonical types of the inputs."""
        return [kind for _, kind in self.inputs]

    @property
    def hash(self) -> bytes:
        """Keccak of the canonical signature."""
        return keccak(f"{self.name}({','.join(self.types)})".encode())


class Interface:
    """One contract's ABI."""

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self.functions = {e["name"]: _signature(e) for e in entries if e["type"] == "function"}
        self.events = {s.hash: s for e in entries if e["type"] == "event" for s in [_signature(e)]}
        self.errors = {s.hash[:4]: s for e in entries if e["type"] == "error" for s in [_signature(e)]}
        constructors = [_signature({**e, "name": ""}) for e in entries if e["type"] == "constructor"]
        self._constructor = constructors[0] if constructors else Signature("", (), (), ())
        self._selectors = {name: signature.hash[:4] for name, signature in self.functions.items()}

    def encode(self, function: str, *arguments: Any) -> bytes:
        """Encode a call.

        Raises:
            MalformedValue: an argument does not fit its type.
        """
        return self._selectors[function] + _encode(function, self.functions[function].types, arguments)

    def encode_constructor(self, *arguments: Any) -> bytes:
        """Encode a constructor's arguments.

        Raises:
            MalformedValue: an argument does not fit its type.
        """
        return _encode("constructor", self._constructor.types, arguments)

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        """Decode what a call returned; addresses as 20 bytes.

        Raises:
            MalformedValue: the bytes do not decode, so there is another contract at the address.
        """
        kinds = self.functions[function].outputs
        try:
            return tuple(_plain(k, v) for k, v in zip(kinds, decode(list(kinds), data), strict=True))
        except _UNDECODABLE as err:
            raise MalformedValue(
                f"answer of {function}", f"({','.join(kinds)})", f"{len(data)} bytes"
            ) from err

    def decode_event(self, log: RawLog) -> tuple[str, dict[str, Any]] | None:
        """Decode a log into the event's name and its arguments by name, None when it is no event of this ABI.

        Raises:
            MalformedLog: it has the event's topic and does not decode.
        """
        signature = self.events.get(log.topics[0]) if log.topics else None
        if signature is None:
            return None
        kinds = list(zip(signature.inputs, signature.indexed, strict=True))
        try:
            topics = list(decode(_kinds(kinds, indexed=True), b"".join(log.topics[1:])))
            data = list(decode(_kinds(kinds, indexed=False), log.data))
        except _UNDECODABLE as err:
            raise MalformedLog(f"{signature.name} in block {log.block} does not decode") from err
        return signature.name, {
            name: _plain(kind, topics.pop(0) if indexed else data.pop(0)) for (name, kind), indexed in kinds
        }


@cache
def interface(contract: str) -> Interface:
    """Return a contract's ABI, read once.

    Raises:
        ArtifactMissing: it is not in `contracts/artifacts`.
    """
    return Interface(artifact(contract)["abi"])


def artifact(contract: str) -> dict[str, Any]:
    """Read a contract's artifact: `abi`, `bytecode`, `deployedBytecode`.

    Raises:
        ArtifactMissing: it is not in `contracts/artifacts`.
    """
    try:
        return dict(json.loads((ARTIFACTS / f"{contract}.json").read_bytes()))
    except (OSError, ValueError) as err:
        raise ArtifactMissing(f"expected the artifact of {contract} in contracts/artifacts") from err


def decode_revert(data: bytes, *, tx_hash: bytes | None = None) -> ContractReverted:
    """Name the error that a contract reverted with.

    Returns:
        A ContractReverted to raise: one of our contracts' errors, `Error`, `Panic`, or `Unknown`.
    """
    signature = _errors().get(data[:4])
    if signature is None:
        return ContractReverted("Unknown", {"data": data}, tx_hash=tx_hash)
    try:
        values = decode(signature.types, data[4:])
    except _UNDECODABLE:
        return ContractReverted("Unknown", {"data": data}, tx_hash=tx_hash)
    arguments = {n: _plain(k, v) for (n, k), v in zip(signature.inputs, values, strict=True)}
    return ContractReverted(signature.name, arguments, tx_hash=tx_hash)


@cache
def _errors() -> dict[bytes, Signature]:
    built_in = (
        Signature("Error", (("message", "string"),), (), ()),
        Signature("Panic", (("code", "uint256"),), (), ()),
    )
    found = {signature.hash[:4]: signature for signature in built_in}
    for contract in CONTRACTS:
        found |= interface(contract).errors
    return found


def _signature(entry: Mapping[str, Any]) -> Signature:
    inputs = entry.get("inputs", ())
    return Signature(
        name=entry["name"],
        inputs=tuple((i["name"], _canonical(i)) for i in inputs),
        indexed=tuple(bool(i.get("indexed", False)) for i in inputs),
        outputs=tuple(map(_canonical, entry.get("outputs", ()))),
    )


def _canonical(parameter: Mapping[str, Any]) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(map(_canonical, parameter["components"]))
    return f"({inner}){kind.removeprefix('tuple')}"


def _encode(what: str, kinds: Sequence[str], arguments: Sequence[Any]) -> bytes:
    try:
        return encode(list(kinds), list(arguments))
    except (EncodingError, ParseError, TypeError, ValueError) as err:
        raise MalformedValue(f"arguments of {what}", f"({','.join(kinds)})", type(err).__name__) from err


def _kinds(inputs: Sequence[tuple[tuple[str, str], bool]], *, indexed: bool) -> list[str]:
    return [kind for (_, kind), is_indexed in inputs if is_indexed is indexed]


def _plain(kind: str, value: Any) -> Any:
    """Turn the codec's hex addresses into bytes, in tuples too."""
    if kind == "address":
        return bytes.fromhex(value[2:])
    if kind.startswith("(") and kind.endswith(")"):
        return tuple(_plain(k, v) for k, v in zip(_split(kind[1:-1]), value, strict=True))
    return value


@cache
def _split(kinds: str) -> tuple[str, ...]:
    """Split the members of a tuple type; our tuples are flat."""
    return tuple(kinds.split(","))
