"""Gathering cosignatures: sends a log's checkpoint to its witnesses and adds what they sign."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from ledger.log.checkpoint import Checkpoint, verify_cosignature
from ledger.log.errors import LogError, NoteMalformed, WitnessRefused
from ledger.log.notes import NoteKey, NoteSignature, SignedNote
from ledger.log.tiles import TileReader, consistency_proof
from ledger.log.witness import witness_request

Post = Callable[[str, bytes], tuple[int, bytes]]  # (url, body) -> (status, body); raises WitnessUnreachable
_SIZE_LINE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
_ATTEMPTS: Final = (
    3  # the first tells the witness's size; between the others another sender may have moved it
)
_ANSWER_SIZE_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness: its key and the URL of its add-checkpoint."""

    key: NoteKey
    url: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """A checkpoint with the cosignatures that came, and why the other witnesses gave none."""

    note: str
    failures: tuple[tuple[str, LogError], ...]


class WitnessClient:
    """Sends checkpoints of one log to its witnesses, and remembers how far each one is."""

    def __init__(self, reader: TileReader, witnesses: Sequence[WitnessAddress], *, post: Post) -> None:
        """Serve one log.

        Args:
            reader: its tiles, for the proofs.
            witnesses: to ask.
            post: sends an HTTP POST, raises `WitnessUnreachable` without an answer. Called from several threads.
        """
        self._reader, self._witnesses, self._post = reader, tuple(witnesses), post
        self._sizes: dict[str, int] = {}

    def gather(self, note: str) -> Gathered:
        """Ask all witnesses at the same time; one that is dead or refuses costs only its own cosignature.

        Args:
            note: the log's newest signed checkpoint.

        Raises:
            NoteMalformed: it is no note.
            CheckpointMalformed: its text is no checkpoint.
        """
        parsed = SignedNote.parse(note)
        checkpoint = Checkpoint.parse(parsed.text)
        if not self._witnesses:
            return Gathered(note, ())
        with ThreadPoolExecutor(len(self._witnesses)) as pool:
            answers = list(pool.map(lambda witness: self._ask(witness, parsed, checkpoint), self._witnesses))
        lines = [answer for answer in answers if isinstance(answer, NoteSignature)]
        failures = tuple(
            (witness.key.name, answer)
            for witness, answer in zip(self._witnesses, answers, strict=True)
            if isinstance(answer, LogError)
        )
        return Gathered(parsed.with_signatures(lines).to_text(), failures)

    def _ask(
        self, witness: WitnessAddress, note: SignedNote, checkpoint: Checkpoint
    ) -> NoteSignature | LogError:
        try:
            return self._cosignature(witness, note, checkpoint)
        except LogError as err:
            return err

    def _cosignature(
        self, witness: WitnessAddress, note: SignedNote, checkpoint: Checkpoint
    ) -> NoteSignature:
        """Return one witness's verified cosignature.

        Raises:
            WitnessUnreachable: no answer.
            WitnessRefused: it does not cosign, or its size keeps moving.
            NoteMalformed: the answer has another form, or no line is by the witness's key.
            CosignatureReplayed: the answer does not cover this checkpoint.
        """
        old_size = self._sizes.get(witness.key.name, 0)
        for _ in range(_ATTEMPTS):
            if old_size > checkpoint.size:
                raise WitnessRefused(
                    "size", 409, f"it is at {old_size}, ahead of {checkpoint.size}", size=old_size
                )
            proof = consistency_proof(self._reader, old_size, checkpoint.size)
            status, body = self._post(witness.url, witness_request(old_size, proof, note.to_text()))
            if status == 200:
                line = _own_line(body, witness.key)
                verify_cosignature(note.text, line, witness.key)
                self._sizes[witness.key.name] = checkpoint.size
                return line
            told = _SIZE_LINE.fullmatch(body) if status == 409 else None
            if told is None or int(told[1]) == old_size:
                raise WitnessRefused(
                    "answer", status, f"{witness.key.name!r} does not cosign {checkpoint.size}"
                )
            old_size = int(told[1])
        raise WitnessRefused("size", 409, f"the size of {witness.key.name!r} keeps moving", size=old_size)


def _own_line(body: bytes, key: NoteKey) -> NoteSignature:
    """Return the line of one key from an answer; those of unknown keys are ignored."""
    if len(body) > _ANSWER_SIZE_MAX or not body.endswith(b"\n"):
        raise NoteMalformed("answer of a witness: expected signature lines")
    try:
        lines = body[:-1].decode("utf-8").split("\n")
    except UnicodeDecodeError as err:
        raise NoteMalformed("answer of a witness: expected UTF-8") from err
    for line in map(NoteSignature.parse, lines):
        if (line.name, line.key_id) == (key.name, key.key_id):
            return line
    raise NoteMalformed(f"answer of a witness: no signature by {key.name!r}")
