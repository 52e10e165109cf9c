"""The bundle: all that a verifier needs about one licence with the network cable pulled, as canonical JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ledger.encoding import parse_json
from ledger.errors import MalformedValue
from ledger.licences.encoding import b64u, parse_b64u
from ledger.licences.errors import Malformed
from ledger.licences.identifiers import require_origin
from ledger.licences.packing import Opened, is_plain, pack_credential, pack_jws, unpack
from ledger.licences.policy import require_members

BUNDLE_VERSION: Final = 1
BUNDLE_MAX: Final = 4 << 20
PATH_MAX: Final = 63
_MEMBERS: Final = (
    "version",
    "credential",
    "origin",
    "checkpoint",
    "inclusion",
    "issuer",
    "status",
    "anchor",
    "recognition",
)
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_TOKEN: Final = b',"token":"'
_AFTER_TOKEN: Final = b'"},"version":1}'
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where a leaf stands, and the way from it to the root: 32-byte hashes, leaf side first."""

    index: int
    path: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.index < 1 << 63:
            raise Malformed("inclusion.index", "an index below 2^63", str(self.index))
        if len(self.path) > PATH_MAX or set(map(len, self.path)) - {32}:
            raise Malformed("inclusion.path", f"at most {PATH_MAX} hashes of 32 bytes", "something else")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"index": str(self.index), "path": b64u(b"".join(self.path))}


@dataclass(frozen=True, slots=True)
class StatusPart:
    """A status token, and where its leaf stands in the bundle's checkpoint."""

    token: str
    inclusion: Inclusion


@dataclass(frozen=True, slots=True)
class RecognitionPart:
    """The home city's `recognise` event, and where its leaf stands in a checkpoint of the home city's log."""

    event: str
    checkpoint: str
    inclusion: Inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A licence with its evidence; nothing in it is verified, and each part may be absent (None).

    Attributes:
        credential: SD-JWT, or SD-JWT+KB.
        origin: of the log that the licence is in.
        checkpoint: of that log, with its cosignatures.
        inclusion: of the credential's leaf in the checkpoint.
        issuer: the issuer history.
        status: the status token, and its leaf's inclusion in the checkpoint.
        anchor: the evidence that the checkpoint was anchored, as its JSON object.
        recognition: why a verifier that knows another city may trust this one.
        opened: what reading it has parsed already; it follows from the rest.
    """

    credential: str
    origin: str
    checkpoint: str | None = None
    inclusion: Inclusion | None = None
    issuer: str | None = None
    status: StatusPart | None = None
    anchor: Mapping[str, Any] | None = None
    recognition: RecognitionPart | None = None
    opened: Opened = field(default_factory=dict, compare=False, repr=False)

    def to_bytes(self) -> bytes:
        """Return the RFC 8785 bytes. Source: docs/licence.md §8.

        Raises:
            Malformed: a text has no form in UTF-8, or the bundle is too long.
        """
        status, recognition = self.status, self.recognition
        value = {
            "version": BUNDLE_VERSION,
            "credential": pack_credential(self.credential),
            "origin": self.origin,
            "checkpoint": self.checkpoint,
            "inclusion": None if self.inclusion is None else self.inclusion.to_json(),
            "issuer": None if self.issuer is None else pack_jws(self.issuer),
            "status": None if status is None else {"token": status.token, **status.inclusion.to_json()},
            "anchor": self.anchor,
            "recognition": None
            if recognition is None
            else {
                "checkpoint": recognition.checkpoint,
                "event": recognition.event,
                **recognition.inclusion.to_json(),
            },
        }
        data = _canonical(value)
        if len(data) > BUNDLE_MAX:
            raise Malformed("bundle", f"at most {BUNDLE_MAX} bytes", f"{len(data)} bytes")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Read a bundle in its one form; the parts inside are not looked into.

        Raises:
            Malformed: too long, not RFC 8785 bytes, other members, or a part of another shape.
        """
        data, token = _without_token(data)
        try:
            value = parse_json(data, size_max=BUNDLE_MAX)
        except MalformedValue as err:
            raise Malformed("bundle", err.expected, err.actual) from err
        given = require_members("bundle", value, _MEMBERS)
        if type(given["version"]) is not int or given["version"] != BUNDLE_VERSION:
            raise Malformed("bundle.version", str(BUNDLE_VERSION), "another version")
        anchor = given["anchor"]
        if anchor is not None and (not isinstance(anchor, dict) or not is_plain(anchor)):
            raise Malformed("bundle.anchor", "an object without fractions, or null", "something else")
        texts = unpack(given)
        bundle = cls(
            credential=texts.credential,
            origin=require_origin(given["origin"]),
            checkpoint=_optional_text("checkpoint", given["checkpoint"]),
            inclusion=None if given["inclusion"] is None else _inclusion(given["inclusion"]),
            issuer=texts.issuer,
            status=None if given["status"] is None else _status(given["status"], token),
            anchor=anchor,
            recognition=None if given["recognition"] is None else _recognition(given["recognition"]),
            opened=texts.opened,
        )
        if texts.canonical != data:
            raise Malformed("bundle", "RFC 8785 bytes", "another form of the same value")
        return bundle


def _without_token(data: bytes) -> tuple[bytes, str | None]:
    """Take a status token out of the end of a bundle, where its one form has it; None where there is none to take.

    The token is most of a bundle, and the parser would look at each of its characters three times over. What is left has an empty string in
    its place; where that is a bundle in its one form with an empty token, the bundle with the token is one: ASCII without
    control characters below 0x20, quotes and backslashes is its own JSON form.
    """
    if len(data) > BUNDLE_MAX or not data.endswith(_AFTER_TOKEN):
        return data, None
    end = len(data) - len(_AFTER_TOKEN)
    start = data.rfind(b'"', 0, end) + 1  # one character is found at memory speed, `_TOKEN` is not
    if start == end or not data.endswith(_TOKEN, 0, start) or data.find(b"\\", start, end) >= 0:
        return data, None
    try:
        token = str(memoryview(data)[start:end], "ascii")
    except UnicodeDecodeError:
        return data, None
    if np.minimum.reduce(np.frombuffer(data, dtype=np.uint8, count=end - start, offset=start)) < 0x20:
        return data, None
    return data[:start] + data[end:], token


def _canonical(value: Mapping[str, Any]) -> bytes:
    """Return RFC 8785 bytes of a value with ASCII names and without fractions, for which the C encoder's form is that one."""
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except (ValueError, TypeError, RecursionError) as err:
        raise Malformed("bundle", "a value with an RFC 8785 form", type(err).__name__) from err


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Malformed(f"bundle.{name}", "a string", type(value).__name__)
    return value


def _optional_text(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _inclusion(value: object) -> Inclusion:
    return _place(require_members("bundle.inclusion", value, ("index", "path")))


def _status(value: object, token: str | None) -> StatusPart:
    given = require_members("bundle.status", value, ("index", "path", "token"))
    return StatusPart(_text("status.token", given["token"]) if token is None else token, _place(given))


def _recognition(value: object) -> RecognitionPart:
    given = require_members("bundle.recognition", value, ("checkpoint", "event", "index", "path"))
    checkpoint = _text("recognition.checkpoint", given["checkpoint"])
    return RecognitionPart(_text("recognition.event", given["event"]), checkpoint, _place(given))


def _place(given: Mapping[str, Any]) -> Inclusion:
    index, path = given["index"], given["path"]
    if not isinstance(index, str) or not _INDEX.fullmatch(index):
        raise Malformed("bundle.index", "a decimal string", "something else")
    data = parse_b64u(path, "bundle.path")
    if len(data) % 32 or len(data) > PATH_MAX * 32:
        raise Malformed("bundle.path", f"at most {PATH_MAX} hashes of 32 bytes", f"{len(data)} bytes")
    return Inclusion(int(index), tuple(data[at : at + 32] for at in range(0, len(data), 32)))
