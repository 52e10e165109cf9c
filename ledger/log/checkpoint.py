"""Checkpoints: the signed size and root of a log, and the witnesses' cosignatures on them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.errors import MalformedValue
from ledger.log.errors import (
    CheckpointMalformed,
    CosignatureMissing,
    NoteMalformed,
    NoteUnverified,
    WrongOrigin,
)
from ledger.log.notes import (
    COSIGNATURE,
    ED25519,
    NoteKey,
    NoteSignature,
    NoteSigner,
    SignedNote,
    VerifiedSignature,
    decode_base64,
    encode_base64,
    sign_line,
    sign_note,
    verify_line,
    verify_note,
)
from ledger.log.tree import HASH_SIZE, SIZE_MAX

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's name, size and root; the extension lines are the log's own."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX:
            raise CheckpointMalformed(f"tree size: expected 0 to 2^63 - 1, got {self.size}")
        if len(self.root) != HASH_SIZE:
            raise CheckpointMalformed(f"root: expected {HASH_SIZE} bytes, got {len(self.root)}")
        for line in (self.origin, *self.extensions):
            if not line or any(c < " " for c in line):
                raise CheckpointMalformed(
                    "origin and extension lines: expected text without control characters"
                )

    def to_text(self) -> str:
        """Return the note's text. Source: C2SP tlog-checkpoint, Note text."""
        return "\n".join((self.origin, str(self.size), encode_base64(self.root), *self.extensions, ""))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text.

        Raises:
            CheckpointMalformed: fewer than three lines, an empty line, or a size or root in another form.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise CheckpointMalformed("expected at least three lines, each with its newline")
        if not _SIZE.fullmatch(lines[1]):
            raise CheckpointMalformed("tree size: expected a decimal without leading zeroes")
        try:
            root = decode_base64(lines[2], "root")
        except NoteMalformed as err:
            raise CheckpointMalformed(str(err)) from err
        return cls(lines[0], int(lines[1]), root, tuple(lines[3:-1]))


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """Return the checkpoint as a note signed by the log; the same bytes for the same checkpoint."""
    return sign_note(checkpoint.to_text(), signer).to_text()


def verify_log_checkpoint(note: SignedNote | str | bytes, *, origin: str, log_key: NoteKey) -> Checkpoint:
    """Verify the log's own signature on a checkpoint; this alone does not rule out a split view.

    Args:
        note: the signed checkpoint.
        origin: of the log that is meant.
        log_key: its Ed25519 key.

    Raises:
        NoteMalformed: it is no note.
        NoteUnverified: the log did not sign it.
        CheckpointMalformed: its text is no checkpoint.
        WrongOrigin: it is another log's.
    """
    if log_key.algorithm != ED25519:
        raise NoteUnverified(f"the key of {log_key.name!r} is no log's key")
    parsed = note if isinstance(note, SignedNote) else SignedNote.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    if checkpoint.origin != origin:
        raise WrongOrigin(origin, checkpoint.origin)
    verify_note(parsed, (log_key,))
    return checkpoint


def cosign(checkpoint_text: str, signer: NoteSigner, now_s: int) -> NoteSignature:
    """Cosign a checkpoint's text as a witness.

    Args:
        checkpoint_text: the note's text, without signatures.
        signer: with a key for `COSIGNATURE`.
        now_s: POSIX time.

    Raises:
        CheckpointMalformed: the text is no checkpoint.
        NoteMalformed: the key is no cosigner's, or the time is out of range.
    """
    Checkpoint.parse(checkpoint_text)
    return sign_line(checkpoint_text, signer, time_s=now_s)


def verify_cosignature(checkpoint_text: str, line: NoteSignature, key: NoteKey) -> int:
    """Verify a witness's cosignature on a checkpoint's text.

    Returns:
        The POSIX time at which the witness signed.

    Raises:
        NoteUnverified: the line or the key is not this witness's.
        CosignatureReplayed: it does not cover this text.
    """
    time_s = verify_line(checkpoint_text, line, key).time_s
    if time_s is None:
        raise NoteUnverified(f"the key of {key.name!r} is no cosigner's")
    return time_s


@dataclass(frozen=True, slots=True)
class Quorum:
    """The witnesses that a verifier knows, and how many of them must have cosigned."""

    keys: tuple[NoteKey, ...]
    threshold: int

    def __post_init__(self) -> None:
        if any(key.algorithm != COSIGNATURE for key in self.keys):
            raise MalformedValue("quorum keys", "cosigners' keys", "a key of another algorithm")
        # one witness under two names, or with two keys, would count twice
        for distinct in ({key.name for key in self.keys}, {key.public_key for key in self.keys}):
            if len(distinct) != len(self.keys):
                raise MalformedValue("quorum keys", "one name and one key a witness", "a name or key twice")
        if not 1 <= self.threshold <= len(self.keys):
            raise MalformedValue("quorum threshold", f"1 to {len(self.keys)}", str(self.threshold))


@dataclass(frozen=True, slots=True)
class Cosignature:
    """Which witness cosigned, and when (POSIX time)."""

    witness: str
    time_s: int


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A checkpoint that a quorum of witnesses has cosigned."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def count_cosignatures(note: SignedNote, keys: Iterable[NoteKey]) -> tuple[Cosignature, ...]:
    """Return the known witnesses' cosignatures on a note, each verified.

    Raises:
        CosignatureReplayed: a known witness's cosignature does not cover this text.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: list[VerifiedSignature] = [
        verify_line(note.text, line, known[line.name, line.key_id])
        for line in note.signatures
        if (line.name, line.key_id) in known
    ]
    return tuple(Cosignature(v.key.name, v.time_s) for v in found if v.time_s is not None)


def with_bare_quorum(note: SignedNote, quorum: Quorum) -> SignedNote:
    """Return a note with no more cosignatures than a quorum needs: the newest, so that the time of the quorum stays what it is.

    A verifier that knows this quorum judges both notes alike. One that knows other witnesses may need those left out, so lines that are
    not the quorum's stay.

    Args:
        note: a checkpoint.
        quorum: of the verifiers for whom the note is meant.

    Raises:
        CosignatureReplayed: a cosignature of the quorum does not cover this text.
    """
    newest = sorted(count_cosignatures(note, quorum.keys), key=lambda found: found.time_s, reverse=True)
    spare = {found.witness for found in newest[quorum.threshold :]}
    left_out = {(key.name, key.key_id) for key in quorum.keys if key.name in spare}
    kept = tuple(line for line in note.signatures if (line.name, line.key_id) not in left_out)
    return SignedNote(note.text, kept)


def verify_checkpoint(
    note: SignedNote | str | bytes, *, origin: str, log_key: NoteKey, quorum: Quorum
) -> CosignedCheckpoint:
    """Verify the log's signature on a checkpoint and a quorum of cosignatures.

    Args:
        note: the signed checkpoint.
        origin: of the log that is meant.
        log_key: its Ed25519 key.
        quorum: the known witnesses.

    Raises:
        NoteMalformed: it is no note.
        NoteUnverified: the log did not sign it.
        CheckpointMalformed: its text is no checkpoint.
        WrongOrigin: it is another log's.
        CosignatureReplayed: a known witness's cosignature does not cover this text.
        CosignatureMissing: fewer known witnesses cosigned than the quorum needs.
    """
    parsed = note if isinstance(note, SignedNote) else SignedNote.parse(note)
    checkpoint = verify_log_checkpoint(parsed, origin=origin, log_key=log_key)
    cosignatures = count_cosignatures(parsed, quorum.keys)
    if len(cosignatures) < quorum.threshold:
        raise CosignatureMissing(len(cosignatures), quorum.threshold)
    return CosignedCheckpoint(checkpoint, cosignatures)
