"""What the chain says about one request: its events, read in two round trips, and whose contract says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from client.types import RegisteredAsset
from ledger.abi import artifact, interface
from ledger.chain import RawLog, data_bytes, quantity
from ledger.errors import ChainError, ChainUnreachable, MalformedValue
from ledger.events import EVENTS, build_event
from ledger.types import (
    Address,
    Answered,
    Approved,
    Asset,
    ChunkDemanded,
    ChunkPosted,
    Closed,
    Contributed,
    Digest,
    Event,
    EventRef,
    Opened,
    RequestState,
    Sealed,
    Settled,
    Shared,
    Withheld,
    to_hex,
)

E = TypeVar("E", bound=Event)
CONTRACT = "ComputeLedger"
REGISTRY = "AssetRegistry"
_STATES_A_ROUND_TRIP: Final = 100

_CLOSED_BECAUSE: Mapping[int, str] = {
    1: "too few holders approved",
    2: "too few holders shared their keys",
    3: "too few holders contributed",
    4: "it was not sealed in time",
    5: "it was sealed, but never answered",
}


class ChainReader(Protocol):
    """What verification needs of a chain; `ledger.chain.Chain` is one."""

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Make several JSON-RPC calls in one round trip; an error stands in its call's place."""

    def logs(
        self,
        addresses: Sequence[Address],
        from_block: int,
        to_block: int,
        topics: Sequence[Any] | None = None,
    ) -> list[RawLog]:
        """Return the logs of some contracts between two blocks, both included, in order."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Which chain a node serves, how far it is, and what code stands at the ledger's address."""

    chain_id: int
    block: int
    code: bytes


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The final events of one request, in the chain's order.

    Args:
        events: of this request alone.
        final_block: the newest block that counts.
    """

    events: tuple[Event, ...]
    final_block: int

    def all(self, kind: type[E]) -> tuple[E, ...]:
        """Return the events of one kind."""
        return tuple(event for event in self.events if isinstance(event, kind))

    def one(self, kind: type[E]) -> E | None:
        """Return the event of a kind that happens once, None while it has not happened."""
        return next(iter(self.all(kind)), None)

    @property
    def state(self) -> str:
        """The state that the events lead to, in the words of the exchange."""
        for kind, name in (
            (Settled, "settled"),
            (Withheld, "withheld"),
            (Closed, "closed"),
            (Answered, "answered"),
            (Sealed, "sealed"),
            (Contributed, "contributing"),
            (Shared, "sharing"),
            (Opened, "open"),
        ):
            if self.one(kind) is not None:
                return name
        return "none"

    @property
    def ended_because(self) -> str | None:
        """Why there will be no answer, None while there may be one."""
        if (closed := self.one(Closed)) is not None:
            return _CLOSED_BECAUSE.get(closed.reason, f"reason {closed.reason}")
        if self.one(Withheld) is not None:
            return "the broker withheld the answer; its bond pays the buyer"
        return None

    @property
    def chunks(self) -> dict[int, bytes]:
        """The chunks of the answer that were posted on the chain."""
        return {event.chunk: event.data for event in self.all(ChunkPosted)}

    @property
    def demanded(self) -> frozenset[int]:
        """The chunks that the buyer demanded."""
        return frozenset(event.chunk for event in self.all(ChunkDemanded))

    def approved(self) -> dict[Address, Approved]:
        """The roster, by holder."""
        return {event.holder: event for event in self.all(Approved)}

    def shared(self) -> dict[Address, Shared]:
        """Those that shared, by holder."""
        return {event.holder: event for event in self.all(Shared)}

    def contributed(self) -> dict[Address, Contributed]:
        """The survivors, by holder."""
        return {event.holder: event for event in self.all(Contributed)}


def read_head(chain: ChainReader, ledger: Address) -> ChainHead:
    """Ask a node for its chain id, its newest block and the code at the ledger's address, in one round trip.

    Raises:
        ChainUnreachable: no usable answer.
        ChainRefused: the node does not answer one of the questions.
    """
    answers = chain.batch(
        [("eth_chainId", []), ("eth_blockNumber", []), ("eth_getCode", [to_hex(ledger), "latest"])]
    )
    for answer in answers:
        if isinstance(answer, ChainError):
            raise answer
    if len(answers) != 3:
        raise ChainUnreachable(f"expected 3 answers to a batch, got {len(answers)}")
    return ChainHead(quantity(answers[0]), quantity(answers[1]), data_bytes(answers[2]))


def read_request(
    chain: ChainReader, ledger: Address, request_id: Digest, *, from_block: int, final_block: int
) -> RequestFacts:
    """Read the events of one request between two blocks, both included.

    Raises:
        ChainUnreachable: no usable answer.
        MalformedLog: a log of the ledger does not decode.
    """
    if final_block < from_block:
        return RequestFacts((), final_block)
    logs = chain.logs([ledger], from_block, final_block, [None, to_hex(request_id)])
    events = [_decode(log) for log in logs if log.address == ledger and log.block <= final_block]
    return RequestFacts(tuple(event for event in events if event is not None), final_block)


def read_assets(
    chain: ChainReader, registry: Address, listing: bytes, asset_ids: Sequence[bytes]
) -> list[RegisteredAsset]:
    """Read assets, and who may list each under a listing, in one round trip.

    Raises:
        ChainUnreachable: no usable answer, or no asset registry at that address.
    """
    abi = interface(REGISTRY)
    calls = [abi.encode("get", asset) for asset in asset_ids]
    calls += [abi.encode("entrustedTo", listing, asset) for asset in asset_ids]
    given = [("eth_call", [{"to": to_hex(registry), "data": to_hex(data)}, "latest"]) for data in calls]
    answers = []
    for answer in chain.batch(given):
        if isinstance(answer, ChainError):
            raise answer
        answers.append(data_bytes(answer))
    try:
        assets = [
            _asset(asset, abi.decode("get", data)) for asset, data in zip(asset_ids, answers, strict=False)
        ]
        brokers = [Address(abi.decode("entrustedTo", data)[0]) for data in answers[len(asset_ids) :]]
    except MalformedValue as err:
        raise ChainUnreachable(f"no asset registry at {to_hex(registry)}: {err}") from err
    return [RegisteredAsset(asset, broker) for asset, broker in zip(assets, brokers, strict=True)]


def read_states(chain: ChainReader, ledger: Address, request_ids: Sequence[bytes]) -> list[RequestState]:
    """Read where requests stand now, in the order given; NONE was never opened.

    Raises:
        ChainUnreachable: no usable answer, or no compute ledger at that address.
    """
    abi = interface(CONTRACT)
    states: list[RequestState] = []
    for begin in range(0, len(request_ids), _STATES_A_ROUND_TRIP):
        asked = [abi.encode("status", each) for each in request_ids[begin : begin + _STATES_A_ROUND_TRIP]]
        calls = [("eth_call", [{"to": to_hex(ledger), "data": to_hex(data)}, "latest"]) for data in asked]
        for answer in chain.batch(calls):
            if isinstance(answer, ChainError):
                raise answer
            try:
                states.append(RequestState(abi.decode("status", data_bytes(answer))[0][0]))
            except (MalformedValue, ValueError) as err:
                raise ChainUnreachable(f"no compute ledger at {to_hex(ledger)}: {err}") from err
    return states


def is_ledger_code(code: bytes) -> bool:
    """Say whether a runtime code is that of our ComputeLedger, whatever its immutable values are."""
    compiled = artifact(CONTRACT)
    expected = bytes.fromhex(compiled["deployedBytecode"].removeprefix("0x"))
    references = [place for places in compiled["immutableReferences"].values() for place in places]
    return len(code) == len(expected) and _masked(code, references) == _masked(expected, references)


def _masked(code: bytes, references: Sequence[Mapping[str, int]]) -> bytes:
    masked = bytearray(code)
    for place in references:
        start, length = int(place["start"]), int(place["length"])
        masked[start : start + length] = bytes(length)
    return bytes(masked)


def _asset(asset_id: bytes, decoded: tuple[Any, ...]) -> Asset:
    holder, version, grade, status, line, policy_hash, snapshot_root, descriptor_hash = decoded[0]
    return Asset(
        Digest(asset_id),
        holder,
        version,
        grade,
        status,
        line,
        policy_hash,
        snapshot_root,
        descriptor_hash,
    )


def _decode(log: RawLog) -> Event | None:
    decoded = interface(CONTRACT).decode_event(log)
    if decoded is None or decoded[0] not in EVENTS:
        return None
    return build_event(*decoded, EventRef(log.block, log.log_index, log.block_hash, log.tx_hash))
