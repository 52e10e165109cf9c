"""Signed notes: text that ends in signature lines, with Ed25519 signatures and timestamped cosignatures."""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from ledger.errors import MalformedValue
from ledger.log.errors import CosignatureReplayed, NoteMalformed, NoteUnverified

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
NOTE_SIZE_MAX: Final = 256 * 1024
SIGNATURES_MAX: Final = 64
TIME_MAX: Final = (1 << 63) - 1
_ALGORITHMS: Final = (ED25519, COSIGNATURE)
_DASH: Final = "— "
_NOT_IN_NAMES: Final = re.compile(r"[\s+\x00-\x1f]")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE_SIZE: Final = 64


def require_name(name: str) -> None:
    """Refuse what cannot be a key's name.

    Raises:
        NoteMalformed: it is empty, is no Unicode (a lone surrogate, as JSON may carry), or has a space of any script,
            a plus sign or a control character.

    Source: C2SP signed-note, Format.
    """
    if not name or _NOT_IN_NAMES.search(name):
        raise NoteMalformed("key name: expected a text without spaces, plus signs and control characters")
    _utf8_size(name, "key name")


def decode_base64(text: str, what: str) -> bytes:
    """Decode standard base64 in its one canonical form.

    Raises:
        NoteMalformed: other characters, padding or spare bits.
    """
    try:
        given = text.encode("ascii")
        data = binascii.a2b_base64(given, strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as err:
        raise NoteMalformed(f"{what}: expected canonical base64") from err
    if binascii.b2a_base64(data, newline=False) != given:
        raise NoteMalformed(f"{what}: expected canonical base64")
    return data


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key with its name and what it signs: notes (0x01) or timestamped checkpoints (0x04)."""

    name: str
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        require_name(self.name)
        if self.algorithm not in _ALGORITHMS:
            raise NoteMalformed(f"key algorithm: expected 0x01 or 0x04, got {self.algorithm:#04x}")
        if len(self.public_key) != 32:
            raise NoteMalformed(f"Ed25519 key: expected 32 bytes, got {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, algorithm, key). Source: C2SP signed-note."""
        return _key_id(self.name, self.algorithm, self.public_key)

    def to_text(self) -> str:
        """Return the verifier key: `name+hex key id+base64(algorithm, key)`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.algorithm]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key.

        Raises:
            NoteMalformed: it has another form, an unknown algorithm or an id that is not its own.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteMalformed("key: expected name+id+base64")
        data = decode_base64(parts[2], "key")
        if not data:
            raise NoteMalformed("key: expected an algorithm byte and a key")
        key = cls(parts[0], data[0], data[1:])
        if parts[1] != key.key_id.hex():
            raise NoteMalformed(f"key id: expected {key.key_id.hex()}, got {parts[1][:16]!r}")
        return key


@lru_cache(maxsize=4096)  # a verifier asks for the ids of the same few keys with every note
def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    return sha256(name.encode("utf-8") + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A private Ed25519 key under a name."""

    key: NoteKey
    _secret: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes, *, algorithm: int = ED25519) -> NoteSigner:
        """Derive a signer from 32 secret bytes.

        Args:
            name: of the key; the log's origin, or the witness's name.
            seed: 32 bytes from a cryptographic source. One seed for one name and one algorithm.
            algorithm: `ED25519` for a log, `COSIGNATURE` for a witness.

        Raises:
            MalformedValue: the seed is not 32 bytes.
            NoteMalformed: the name or the algorithm is none.
        """
        if len(seed) != 32:
            raise MalformedValue("seed", "32 bytes", f"{len(seed)} bytes")
        public_key, secret = crypto_sign_seed_keypair(seed)
        return cls(NoteKey(name, algorithm, public_key), secret)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes; the same for the same message."""
        return bytes(crypto_sign(message, self._secret)[:_SIGNATURE_SIZE])


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, not verified."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        require_name(self.name)
        if len(self.key_id) != 4 or not self.signature:
            raise NoteMalformed("signature: expected a key id of 4 bytes and a signature")

    def to_line(self) -> str:
        """Return the line, with its newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Read a line without its newline.

        Raises:
            NoteMalformed: it has another form.
        """
        parts = line.removeprefix(_DASH).split(" ")
        if not line.startswith(_DASH) or len(parts) != 2:
            raise NoteMalformed(
                "signature line: expected an em dash, a name and base64, one space between them"
            )
        blob = decode_base64(parts[1], "signature line")
        return cls(parts[0], blob[:4], blob[4:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and its signature lines, not verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        _require_text(self.text)
        if not 1 <= len(self.signatures) <= SIGNATURES_MAX:
            raise NoteMalformed(
                f"note: expected 1 to {SIGNATURES_MAX} signatures, got {len(self.signatures)}"
            )
        if len({(s.name, s.key_id) for s in self.signatures}) != len(self.signatures):
            raise NoteMalformed("note: a key signed twice")

    def to_text(self) -> str:
        """Return the whole note."""
        return self.text + "\n" + "".join(s.to_line() for s in self.signatures)

    @classmethod
    def parse(cls, note: str | bytes) -> SignedNote:
        """Read a note strictly; nothing is verified.

        Raises:
            NoteMalformed: too long, no UTF-8, a control character, no signature, or a malformed line.

        Source: C2SP signed-note, Format.
        """
        size = _utf8_size(note, "note") if isinstance(note, str) else len(note)
        if size > NOTE_SIZE_MAX:
            raise NoteMalformed(f"note: expected at most {NOTE_SIZE_MAX} bytes, got {size}")
        if isinstance(note, bytes):
            try:
                note = note.decode("utf-8")
            except UnicodeDecodeError as err:
                raise NoteMalformed("note: expected UTF-8") from err
        text, blank, lines = note.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteMalformed("note: expected a text, an empty line and signature lines")
        split = lines[:-1].split("\n")
        if len(split) > SIGNATURES_MAX:
            raise NoteMalformed(f"note: expected at most {SIGNATURES_MAX} signatures, got {len(split)}")
        return cls(text + "\n", tuple(map(NoteSignature.parse, split)))

    def with_signatures(self, signatures: Iterable[NoteSignature]) -> SignedNote:
        """Return the note with more signatures; a key's new signature takes the place of its old one."""
        merged = {(s.name, s.key_id): s for s in (*self.signatures, *signatures)}
        return SignedNote(self.text, tuple(merged.values()))


def _require_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteMalformed("note text: expected lines without control characters, each with its newline")
    size = _utf8_size(text, "note text")
    if size > NOTE_SIZE_MAX:
        raise NoteMalformed(f"note text: expected at most {NOTE_SIZE_MAX} bytes, got {size}")


def _utf8_size(text: str, what: str) -> int:
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as err:
        raise NoteMalformed(f"{what}: expected Unicode without lone surrogates") from err


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A known key's signature that verifies; `time_s` is a cosignature's POSIX time, else None."""

    key: NoteKey
    time_s: int | None


def cosigned_message(text: str, time_s: int) -> bytes:
    """Return what a witness signs. Source: C2SP tlog-cosignature, Ed25519 signed message."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def sign_line(text: str, signer: NoteSigner, *, time_s: int | None = None) -> NoteSignature:
    """Sign a note's text with a key of either algorithm.

    Args:
        text: of the note, with its final newline.
        signer: the key.
        time_s: POSIX time, exactly when the key is a cosigner's.

    Raises:
        NoteMalformed: the text is none, or a time is missing, superfluous or out of range.
    """
    _require_text(text)
    key = signer.key
    if key.algorithm == ED25519 and time_s is None:
        return NoteSignature(key.name, key.key_id, signer.sign(text.encode("utf-8")))
    if key.algorithm == COSIGNATURE and time_s is not None and 0 <= time_s <= TIME_MAX:
        signature = signer.sign(cosigned_message(text, time_s))
        return NoteSignature(key.name, key.key_id, time_s.to_bytes(8, "big") + signature)
    raise NoteMalformed(f"signing time {time_s} does not fit the key's algorithm {key.algorithm:#04x}")


def sign_note(text: str, signer: NoteSigner) -> SignedNote:
    """Sign a text with an Ed25519 note key.

    Raises:
        NoteMalformed: the text is none, or the key is a cosigner's.
    """
    return SignedNote(text, (sign_line(text, signer),))


def _verifies(message: bytes, signature: bytes, public_key: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError):
        return False
    return True


def verify_line(text: str, line: NoteSignature, key: NoteKey) -> VerifiedSignature:
    """Verify one signature line with the key that it names.

    Raises:
        NoteUnverified: it is another key's, or the signature is malformed or does not verify.
        CosignatureReplayed: a cosigner's signature does not cover this text and its time.
    """
    if line.name != key.name or not hmac.compare_digest(line.key_id, key.key_id):
        raise NoteUnverified(f"the signature of {line.name!r} is not by the key of {key.name!r}")
    if key.algorithm == ED25519:
        if len(line.signature) != _SIGNATURE_SIZE or not _verifies(
            text.encode("utf-8"), line.signature, key.public_key
        ):
            raise NoteUnverified(f"the signature of {key.name!r} does not verify")
        return VerifiedSignature(key, None)
    time_s = int.from_bytes(line.signature[:8], "big")
    if (
        len(line.signature) != 8 + _SIGNATURE_SIZE
        or time_s > TIME_MAX
        or not _verifies(cosigned_message(text, time_s), line.signature[8:], key.public_key)
    ):
        raise CosignatureReplayed(key.name)
    return VerifiedSignature(key, time_s)


def verify_note(note: SignedNote | str | bytes, keys: Iterable[NoteKey]) -> tuple[VerifiedSignature, ...]:
    """Verify a note against the known keys; signatures of unknown keys are ignored.

    Args:
        note: the note, parsed or not.
        keys: the known keys, of either algorithm.

    Returns:
        The known keys' signatures, in the note's order; at least one.

    Raises:
        NoteMalformed: it is no note.
        NoteUnverified: no known key signed it, or a known key's signature does not verify.
        CosignatureReplayed: a known cosigner's signature does not cover this text.

    Source: C2SP signed-note, Signatures.
    """
    parsed = note if isinstance(note, SignedNote) else SignedNote.parse(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified = tuple(
        verify_line(parsed.text, line, known[line.name, line.key_id])
        for line in parsed.signatures
        if (line.name, line.key_id) in known
    )
    if not verified:
        raise NoteUnverified("no known key signed the note")
    return verified
