"""Participants: what the chain says of an account, the name it chose, and who may do what."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from exchange.errors import Invalid, NotAdmitted, ParticipantUnknown
from exchange.follower import Follower
from exchange.mirror import Mirror
from exchange.store import Store
from exchange.types import NamedParticipant, Page
from ledger.types import Address, Participant, Roles, to_hex

NAME_MAX: Final = 120

LicenceCheck = Callable[
    [Address, Roles], None
]  # raises where an account may not act in a role for want of a licence


def admit_without_licence(account: Address, roles: Roles) -> None:
    """Ask for no licence: what the chain says of an account is enough at an exchange without `admission` in its settings."""


class Participants:
    """The members of the market."""

    def __init__(self, *, store: Store, mirror: Mirror, follower: Follower) -> None:
        self._store, self._mirror, self._follower = store, mirror, follower

    def get(self, account: Address) -> NamedParticipant:
        """Return a participant.

        Raises:
            ParticipantUnknown: the account was never admitted.
        """
        found = self._mirror.participant(account)
        if found is None:
            raise ParticipantUnknown(to_hex(account))
        return NamedParticipant(found, self._store.names([account]).get(account, ""))

    def page(self, after: int, limit: int) -> Page[NamedParticipant]:
        """Return participants in the order of their admission."""
        found, following = self._mirror.participants(after, limit)
        names = self._store.names([each.account for each in found])
        return Page(tuple(NamedParticipant(each, names.get(each.account, "")) for each in found), following)

    def set_name(self, account: Address, name: str) -> NamedParticipant:
        """Keep the display name that an active participant chose for itself.

        Raises:
            NotAdmitted: the account is not an active participant.
            Invalid: the name is empty, too long or not printable.
        """
        self.require(account, Roles(0))
        self._store.put_name(account, require_title("name", name, longest=NAME_MAX))
        return self.get(account)

    def require(self, account: Address, roles: Roles) -> Participant:
        """Return an active participant that has all of these roles.

        The chain is looked at once more before an account is refused: it may have been admitted just now.

        Raises:
            NotAdmitted: it is not.
        """
        for attempt in range(2):
            found = self._mirror.participant(account)
            if found is not None and found.has(roles):
                return found
            if attempt == 0:
                self._follower.catch_up()
        raise NotAdmitted(roles.name.lower() if roles.name else "participant")

    def has(self, account: Address, roles: Roles) -> bool:
        """Say whether an account is an active participant with all of these roles."""
        found = self._mirror.participant(account)
        return found is not None and found.has(roles)


def require_title(field: str, text: str, *, longest: int) -> str:
    """Return a text that people read, in its composed form.

    Raises:
        Invalid: empty, too long, or with characters that do not print.
    """
    title = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(title) <= longest or not title.isprintable():
        raise Invalid(field, f"1 to {longest} printable characters", f"{len(title)} characters")
    return title


def require_name(field: str, text: str) -> str:
    """Return a name that SQL can use after FROM: letters (of any script), digits and `_`, not a digit first.

    Raises:
        Invalid: anything else, or another form of the same name.
    """
    if not text.isidentifier() or len(text) > 64 or unicodedata.normalize("NFC", text) != text:
        raise Invalid(field, "at most 64 letters, digits and _ in composed form", f"{len(text)} characters")
    return text
