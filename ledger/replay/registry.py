"""The registry of issuers on the chain, compared with the log's key events and recognitions, one to one.

What anybody else than the registrar wrote there, what the registrar logged and did not write, and the reverse, are differences.
Source: docs/licence.md §14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ledger.anchors.contract import IssuerRegistryContract
from ledger.anchors.names import city_id, issuer_id, type_id
from ledger.anchors.types import (
    IssuerRecognised,
    KeyCompromised,
    KeyRegistered,
    KeyRetired,
    RecognitionWithdrawn,
)
from ledger.chain import Chain
from ledger.encoding import Address
from ledger.licences.errors import LicenceError
from ledger.replay.findings import Difference, Rule
from ledger.replay.keys import KeyBook, KeySpan
from ledger.types import Event

_RECOGNITIONS_MAX: Final = 1 << 20  # of a log: a city has some hundred types and thousands of issuers
_VERBS: Final[dict[type[Event], str]] = {
    KeyRegistered: "registered",
    KeyRetired: "retired",
    KeyCompromised: "compromised",
}
_KeyStep = tuple[type[Event], bytes, bytes]  # event, issuer, key id
_Recognition = tuple[bytes, bytes, bytes]  # issuer, licence type, city
_State = tuple[bool, int | None]  # whether it is recognised, and the leaf or block that says so


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """What happened in one registry, in the chain's order.

    Args:
        contract: IssuerRegistry's address.
        events: all of its events.
    """

    contract: Address
    events: tuple[Event, ...]


def collect_registry(chain: Chain, contract: Address, *, from_block: int = 0) -> RegistryFacts:
    """Read a registry's events from a node.

    Args:
        chain: a node that the caller trusts.
        contract: IssuerRegistry's address.
        from_block: block of the contract's deployment, or one before it.

    Raises:
        ChainMismatch: there is no contract at this address.
        ChainUnreachable: no usable answer.
        ContractReverted: the contract is another one.
        MalformedLog, MalformedValue: the contract is another one, or an event does not decode.
    """
    chain.require_code(contract, "IssuerRegistry")
    registry = IssuerRegistryContract(chain, contract)
    registry.account_of(
        bytes(32)
    )  # of another contract there are no events either: that is no empty registry
    return RegistryFacts(contract, tuple(registry.events(from_block, chain.block_number())))


def check_registry(
    facts: RegistryFacts, *, origin: str, keys: KeyBook, recognitions_max: int = _RECOGNITIONS_MAX
) -> Iterator[Difference]:
    """Compare a registry with the log.

    Args:
        facts: of the chain.
        origin: of the log.
        keys: all keys and recognitions of the log.
        recognitions_max: pairs of an issuer and a type that are kept; a log made to fill the memory has more.
    """
    own = city_id(origin)
    known: list[tuple[bytes, KeySpan]] = []
    wanted: dict[_Recognition, _State] = {}
    for span in keys.spans:
        try:
            issuer, types = issuer_id(span.issuer), [type_id(code) for code in span.types]
        except LicenceError as err:
            detail = f"the issuer or a type of key {span.key_id.hex()} has no id: {err}"
            yield Difference(Rule.REGISTRY_KEY, detail, index=span.added)
            continue
        known.append((issuer, span))
        _want(wanted, [(issuer, kind, own) for kind in types], span)
        if len(wanted) > recognitions_max:
            detail = f"more than {recognitions_max} pairs of an issuer and a type: not compared from here on"
            yield Difference(Rule.REGISTRY_TYPE, detail, index=span.added)
            return
    yield from _check_keys(facts, known)
    newest: dict[bytes, int] = {}
    for other, (codes, index) in keys.recognised.items():
        try:
            issuer, types = city_id(other), [type_id(code) for code in codes]
        except LicenceError as err:
            yield Difference(Rule.REGISTRY_TYPE, f"the city or a type of it has no id: {err}", index=index)
            continue
        newest[issuer] = index
        wanted |= {(issuer, kind, own): (True, index) for kind in types}
    yield from _check_recognitions(facts, wanted, newest)


def _want(wanted: dict[_Recognition, _State], places: list[_Recognition], span: KeySpan) -> None:
    """Note what a key says of its issuer's types: one key that has not ended is enough for a type."""
    ends = [end for end in (span.retired, span.compromised) if end is not None]
    for place in places:
        is_active, index = wanted.get(place, (False, None))
        if not is_active:
            wanted[place] = (False, max(index or 0, *ends)) if ends else (True, span.added)


def _check_keys(facts: RegistryFacts, spans: list[tuple[bytes, KeySpan]]) -> Iterator[Difference]:
    """Compare leaf by leaf and event by event: the contract lets each happen once to a key, and so does the log."""
    logged: dict[_KeyStep, int] = {}
    for issuer, span in spans:
        steps = ((KeyRegistered, span.added), (KeyRetired, span.retired), (KeyCompromised, span.compromised))
        logged |= {(step, issuer, span.key_id): index for step, index in steps if index is not None}
    happened = {
        (type(event), bytes(event.issuer), bytes(event.key_id)): event.at.block
        for event in facts.events
        if isinstance(event, KeyRegistered | KeyRetired | KeyCompromised)
    }
    for step in sorted(logged.keys() - happened.keys(), key=logged.__getitem__):
        kind, issuer, key_id = step
        detail = f"key {key_id.hex()} is {_VERBS[kind]} in the log, not in the registry"
        block = happened.get((KeyRegistered, issuer, key_id))
        yield Difference(Rule.REGISTRY_KEY, detail, index=logged[step], block=block)
    for step in sorted(happened.keys() - logged.keys(), key=happened.__getitem__):
        kind, issuer, key_id = step
        detail = (
            f"key {key_id.hex()} of issuer {issuer.hex()} is {_VERBS[kind]} in the registry, not in the log"
        )
        index = logged.get((KeyRegistered, issuer, key_id))
        yield Difference(Rule.REGISTRY_KEY, detail, index=index, block=happened[step])


def _check_recognitions(
    facts: RegistryFacts, wanted: dict[_Recognition, _State], newest: dict[bytes, int]
) -> Iterator[Difference]:
    given: dict[_Recognition, _State] = {}
    for event in facts.events:
        if isinstance(event, IssuerRecognised | RecognitionWithdrawn):
            place = (bytes(event.issuer), bytes(event.licence_type), bytes(event.city))
            given[place] = (isinstance(event, IssuerRecognised), event.at.block)
    for place in sorted(wanted.keys() | given.keys()):
        issuer, kind, city = place
        in_log, index = wanted.get(place, (False, newest.get(issuer)))
        in_registry, block = given.get(place, (False, None))
        if in_log != in_registry:
            has, lacks = ("log", "registry") if in_log else ("registry", "log")
            detail = (
                f"issuer {issuer.hex()} is recognised for type {kind.hex()} in city {city.hex()} "
                f"by the {has}, not by the {lacks}"
            )
            yield Difference(Rule.REGISTRY_TYPE, detail, index=index, block=block)
