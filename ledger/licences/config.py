"""What a book is created with and never changes: its parties and the service's secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledger.encoding import parse_json, require_keys
from ledger.errors import MalformedValue
from ledger.licences.checks import Parties
from ledger.licences.encoding import canonical
from ledger.licences.errors import BookDamaged, BookMismatch, LicenceError
from ledger.licences.identifiers import require_origin
from ledger.licences.keys import PublicKey
from ledger.licences.layout import BookFolder, put_file

SECRET_SIZE: Final = 32
_CONFIG_KEYS: Final = frozenset({"version", "origin", "registrar", "service", "slot_key", "lookup_key"})


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the service keeps to itself: the order of slots, and the key under which licences are found."""

    slot_key: bytes = field(repr=False)
    lookup_key: bytes = field(repr=False)


def write_config(folder: BookFolder, parties: Parties, secrets: Secrets) -> None:
    """Write the description of a new book; only its owner may read it.

    Raises:
        LogError: no room, or the operating system refused.
    """
    config = {
        "version": 1,
        "origin": parties.origin,
        "registrar": parties.registrar.jwk(),
        "service": parties.service.jwk(),
        "slot_key": secrets.slot_key.hex(),
        "lookup_key": secrets.lookup_key.hex(),
    }
    put_file(folder.config, canonical(config, "book.json"))
    folder.config.chmod(0o600)


def read_config(folder: BookFolder) -> tuple[Parties, Secrets]:
    """Read whose book a folder holds.

    Raises:
        BookMismatch: there is no book.
        BookDamaged: its description is not as it was written.
    """
    try:
        data = folder.config.read_bytes()
    except FileNotFoundError as err:
        raise BookMismatch(f"there is no book in {folder.root.name!r}") from err
    try:
        given = require_keys("book.json", parse_json(data), _CONFIG_KEYS)
        registrar, service = (PublicKey.from_jwk(given[name]) for name in ("registrar", "service"))
        slot_key, lookup_key = (bytes.fromhex(given[name]) for name in ("slot_key", "lookup_key"))
        parties = Parties(require_origin(given["origin"]), registrar, service)
    except (MalformedValue, LicenceError, TypeError, ValueError) as err:
        raise BookDamaged("book.json", "the description of a book", "something else") from err
    return parties, Secrets(slot_key, lookup_key)
