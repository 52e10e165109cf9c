"""The registries as a holder reads them: once, until an event says that something there changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holder.chain_side import LiveChain
from ledger.types import (
    AccountReplaced,
    Address,
    Event,
    EventRef,
    Participant,
    ParticipantAdmitted,
    ParticipantStatus,
    Roles,
    RolesChanged,
)

ONE, OTHER = b"\x01" * 20, b"\x02" * 20


@dataclass
class Index:
    """An indexer of registry events alone."""

    at: int = 1
    blocks: list[int] = field(default_factory=list)

    def head(self) -> int:
        return self.at

    def events(self, *, after: Any, **_: Any) -> list[int]:
        return [block for block in self.blocks if block > after.block]


@dataclass
class Registry:
    """Answers with a number, and may be interrupted while it does."""

    value: int = 1
    reads: int = 0
    meanwhile: Callable[[], None] | None = None

    def get(self, _: bytes) -> int:
        self.reads += 1
        value, interrupt, self.meanwhile = self.value, self.meanwhile, None
        if interrupt is not None:
            interrupt()
        return value


@dataclass
class Registries:
    """The contracts, as far as they are read here."""

    participants: Registry = field(default_factory=Registry)
    assets: Registry = field(default_factory=Registry)


def chain_of(contracts: Registries, index: Index) -> Any:
    given: Any = (contracts, index, None)
    return LiveChain(*given, confirmations=0)


def test_a_registry_is_read_once_until_an_event_says_that_it_changed() -> None:
    contracts, index = Registries(), Index()
    chain = chain_of(contracts, index)
    assert [chain.participant(ONE) for _ in range(3)] == [1, 1, 1]
    contracts.participants.value, index.at = 2, 2
    assert (chain.participant(ONE), contracts.participants.reads) == (1, 1)
    index.at, index.blocks = 3, [3]
    assert (chain.participant(ONE), contracts.participants.reads) == (2, 2)


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    """Another thread learns of the event while the answer from before it is on its way."""
    contracts, index = Registries(), Index()
    chain = chain_of(contracts, index)

    def change() -> None:
        contracts.participants.value = 2
        index.at, index.blocks = 2, [2]
        chain.asset(OTHER)

    contracts.participants.meanwhile = change
    assert chain.participant(ONE) == 1
    assert chain.participant(ONE) == 2


def test_what_was_read_before_lost_blocks_is_not_kept_after_them() -> None:
    contracts, index = Registries(), Index()
    chain = chain_of(contracts, index)
    contracts.participants.meanwhile = lambda: (setattr(contracts.participants, "value", 2), chain.forget())[
        1
    ]
    assert chain.participant(ONE) == 1
    assert chain.participant(ONE) == 2


# --- regulators ----------------------------------------------------------------------------------------------------


@dataclass
class EventIndex:
    """An indexer over typed events."""

    found: list[Event]

    def head(self) -> int:
        return len(self.found)

    def events(self, *, kinds: Any, after: Any = None, **_: Any) -> list[Event]:
        return [e for e in self.found if isinstance(e, kinds) and (after is None or e.at.block > after.block)]


@dataclass
class Book:
    """Participants by account."""

    rows: dict[bytes, Participant]

    def get(self, account: bytes) -> Participant:
        return self.rows[account]


def person(
    number: int,
    roles: Roles = Roles.REGULATOR,
    status: ParticipantStatus = ParticipantStatus.ACTIVE,
    key: bytes = b"k" * 32,
) -> Participant:
    account = Address(bytes([number]) * 20)
    return Participant(account, account, roles, status, 1, 0, key)


def test_regulators_are_the_active_ones_with_a_key_however_they_came_to_the_role() -> None:
    def at(block: int) -> EventRef:
        return EventRef(block, 0, b"", b"")

    def admitted(number: int, roles: Roles) -> ParticipantAdmitted:
        account = Address(bytes([number]) * 20)
        return ParticipantAdmitted(account, account, roles, b"k" * 32, at=at(number))

    people = [
        person(1),
        person(2, Roles.HOLDER),
        person(3),
        person(4, status=ParticipantStatus.SUSPENDED),
        person(5, key=bytes(32)),
        person(6, Roles.BUYER),
        person(7, status=ParticipantStatus.REPLACED),
        person(8),
    ]
    events: list[Event] = [
        *(admitted(n, Roles.REGULATOR) for n in (1, 4, 5, 6, 7)),
        admitted(2, Roles.HOLDER),
        admitted(3, Roles.BUYER),
        RolesChanged(people[2].account, Roles.REGULATOR, at=at(9)),
        AccountReplaced(people[6].account, people[7].account, 2, b"k" * 32, at=at(10)),
    ]
    contracts: Any = Registries(participants=Book({p.account: p for p in people}))  # type: ignore[arg-type]
    chain = chain_of(contracts, EventIndex(events))  # type: ignore[arg-type]
    assert [each.account[0] for each in chain.regulators()] == [1, 3, 8]
