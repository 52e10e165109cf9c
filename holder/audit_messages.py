"""The messages that an audit is brought beside its JSON text: one file of sealed records, read one at a time.

    record = u32 length ‖ ChaCha20-Poly1305(u8 kind ‖ u16 sender ‖ payload)

Kinds 1 to 4 are those of docs/protocol.md §4, and a payload is what was sent; 0 is what a kind of plan needs besides. The key is
drawn for one folder and sealed to each regulator; the nonce is the record's number, so that none can be moved.

Source: docs/protocol.md §5.2; RFC 8439.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from holder.audit_seal import AuditContext
from holder.errors import AuditBoxClosed
from privacy.errors import StateCorrupt
from privacy.messages import Kind

MESSAGES_NAME: Final = "messages.sealed"
BUNDLES_NAME: Final = "bundles"  # of the stored secret: those of the other holders, as entries
OPENING: Final = 0  # the kind of what is no message of the protocol
KEY_BYTES: Final = 32
RECORD_BYTES_MAX: Final = 1 << 26
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = 3
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: its kind, its sender's place in the roster, and what was sent."""

    kind: int
    sender: int
    payload: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Encode."""
        return bytes((self.kind,)) + self.sender.to_bytes(2, "big") + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Entry:
        """Decode.

        Raises:
            StateCorrupt: too short.
        """
        if len(data) < _HEAD_BYTES:
            raise StateCorrupt(f"a message: expected {_HEAD_BYTES} bytes or more, got {len(data)}")
        return cls(data[0], int.from_bytes(data[1:_HEAD_BYTES], "big"), data[_HEAD_BYTES:])


def seal_entries(entries: Iterable[Entry], key: bytes, context: AuditContext) -> Iterator[bytes]:
    """Yield the file's records, sealed.

    Args:
        entries: made as they are asked for.
        key: 32 bytes, for this file alone.
        context: where they belong.
    """
    cipher = ChaCha20Poly1305(key)
    for number, entry in enumerate(entries):
        sealed = cipher.encrypt(_nonce(number), entry.to_bytes(), context.to_bytes())
        yield len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed


class AuditMessages:
    """Reads the file; a record is opened when it is its turn. Use it as a context manager.

    Args:
        path: of the file; one that is not there, and None, has no messages.
        key: from its box.
        context: where the messages belong.

    Raises:
        AuditBoxClosed: a record is malformed, or does not open in its place.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path | None, key: bytes, context: AuditContext) -> None:
        self._cipher, self._bound = ChaCha20Poly1305(key), context.to_bytes()
        self._file: BinaryIO | None = None
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}
        with ExitStack() as stack:
            if path is not None and path.exists():
                self._file = stack.enter_context(path.open("rb"))
            for number, start in enumerate(self._starts()):
                entry = self._open(number, start)
                self._places.setdefault((entry.kind, entry.sender), []).append((number, start))
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def of(self, kind: int, sender: int) -> Iterator[bytes]:
        """Yield the payloads of one kind and sender, in order."""
        for number, start in self._places.get((kind, sender), ()):
            yield self._open(number, start).payload

    def _starts(self) -> Iterator[int]:
        """Yield where the records start."""
        if self._file is None:
            return
        at, end = 0, os.fstat(self._file.fileno()).st_size
        while at < end:
            yield at
            self._file.seek(at)
            at += _LENGTH_BYTES + int.from_bytes(self._file.read(_LENGTH_BYTES), "big")

    def _open(self, number: int, start: int) -> Entry:
        if self._file is None:
            raise AuditBoxClosed("there are no messages")
        self._file.seek(start)
        length = int.from_bytes(self._file.read(_LENGTH_BYTES), "big")
        if not _HEAD_BYTES + _TAG_BYTES <= length <= RECORD_BYTES_MAX:
            raise AuditBoxClosed(f"message {number}: expected at most {RECORD_BYTES_MAX} bytes")
        try:
            return Entry.from_bytes(
                self._cipher.decrypt(_nonce(number), self._file.read(length), self._bound)
            )
        except InvalidTag as err:
            raise AuditBoxClosed(f"message {number} does not open for this session and holder") from err


def stored_bundles(bundles: Mapping[int, bytes]) -> dict[str, bytes]:
    """Return what goes to disk with the masked input: the payloads of the others' bundles, by index, whose riders it follows from."""
    encoded = [Entry(Kind.BUNDLE, index, payload).to_bytes() for index, payload in sorted(bundles.items())]
    return {BUNDLES_NAME: b"".join([len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in encoded])}


def decode_entries(data: bytes) -> list[Entry]:
    """Decode what `stored_bundles` wrote.

    Raises:
        StateCorrupt: other bytes.
    """
    found, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise StateCorrupt("stored messages end before their length")
        found.append(Entry.from_bytes(data[start:at]))
    return found


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
