"""A witness: cosigns a log's checkpoints as long as each continues the one before, and never anything else."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from ledger.errors import MalformedValue
from ledger.log.checkpoint import Checkpoint, cosign, verify_log_checkpoint
from ledger.log.errors import (
    CheckpointMalformed,
    ConsistencyInvalid,
    LogDamaged,
    LogError,
    NoteMalformed,
    NoteUnverified,
    WitnessRefused,
)
from ledger.log.files import TEMPORARY, Files, storage_errors
from ledger.log.notes import (
    COSIGNATURE,
    NOTE_SIZE_MAX,
    NoteKey,
    NoteSigner,
    SignedNote,
    decode_base64,
    encode_base64,
)
from ledger.log.tree import EMPTY_ROOT, HASH_SIZE, SIZE_MAX, verify_consistency

PROOF_LINES_MAX: Final = 63
REQUEST_SIZE_MAX: Final = NOTE_SIZE_MAX + 8 * 1024
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
EVIDENCE_MAX: Final = 1024  # refused checkpoints kept for each log and rule: a flood of them fills no disk
_KEPT: Final = ("fork", "proof")  # the rules that a log itself may have broken
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """An HTTP answer of a witness."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class WitnessRequest:
    """What a log sends: the size that it believes the witness to be at, the proof from there, and a checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: SignedNote

    def to_bytes(self) -> bytes:
        """Return the body of add-checkpoint. Source: C2SP tlog-witness."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.proof), "", self.note.to_text()]
        return "\n".join(lines).encode("utf-8")

    @classmethod
    def parse(cls, body: bytes) -> WitnessRequest:
        """Read the body of add-checkpoint.

        Raises:
            NoteMalformed: it has another form.
        """
        if len(body) > REQUEST_SIZE_MAX:
            raise NoteMalformed(f"request: expected at most {REQUEST_SIZE_MAX} bytes, got {len(body)}")
        head, blank, note = body.partition(b"\n\n")
        try:
            old, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as err:
            raise NoteMalformed("request: expected ASCII before the checkpoint") from err
        match = _OLD.fullmatch(old)
        if not blank or match is None or int(match[1]) > SIZE_MAX:
            raise NoteMalformed("request: expected an old size, proof lines, an empty line and a checkpoint")
        if len(lines) > PROOF_LINES_MAX:
            raise NoteMalformed(f"request: expected at most {PROOF_LINES_MAX} proof lines, got {len(lines)}")
        proof = tuple(decode_base64(line, "proof line") for line in lines)
        if any(len(line) != HASH_SIZE for line in proof):
            raise NoteMalformed(f"request: expected proof lines of {HASH_SIZE} bytes")
        return cls(int(match[1]), proof, SignedNote.parse(note))


def witness_request(old_size: int, proof: Sequence[bytes], note: str) -> bytes:
    """Return the body of add-checkpoint.

    Args:
        old_size: entries at which the witness is believed to be.
        proof: of consistency from there; empty for 0.
        note: the signed checkpoint.

    Raises:
        NoteMalformed: it is no note.
    """
    return WitnessRequest(old_size, tuple(proof), SignedNote.parse(note)).to_bytes()


class Witness:
    """The state of a witness: the newest checkpoint that it cosigned, for each log."""

    def __init__(
        self,
        signer: NoteSigner,
        logs: Mapping[str, NoteKey],
        state_folder: Path,
        *,
        files: Files | None = None,
    ) -> None:
        """Witness some logs.

        Args:
            signer: with a key for `COSIGNATURE`.
            logs: each log's key, by its origin.
            state_folder: private to this witness.
            files: the file system.

        Raises:
            MalformedValue: the signer's key is no cosigner's.
            StorageFailed: the folder cannot be written.
        """
        if signer.key.algorithm != COSIGNATURE:
            raise MalformedValue("signer", "a cosigner's key", "a key of another algorithm")
        self._signer, self._logs, self._folder = signer, dict(logs), state_folder
        self._files = files or Files()
        with storage_errors():
            self._files.make_folder(state_folder)
            self._files.sync(())

    def size(self, origin: str) -> int:
        """Return the size of the newest checkpoint that was cosigned for a log, 0 before the first.

        Raises:
            LogDamaged: the state is torn.
        """
        return self._state(origin).size

    def add_checkpoint(self, body: bytes, now_s: int) -> WitnessAnswer:
        """Answer one add-checkpoint request; a cosignature is given only once the new state is durable.

        Args:
            body: of the HTTP POST.
            now_s: POSIX time.

        Returns:
            200 with the cosignature's line, 409 with the known size, or 400, 403, 404, 422 with a reason.

        Raises:
            LogDamaged: the state is torn.
            StorageFailed: the state cannot be written; nothing was cosigned.

        Source: C2SP tlog-witness, add-checkpoint.
        """
        try:
            line = self._cosign(body, now_s)
        except WitnessRefused as refusal:
            return self._refusal(refusal)
        return WitnessAnswer(200, TEXT_TYPE, line.encode("utf-8"))

    @staticmethod
    def _refusal(refusal: WitnessRefused) -> WitnessAnswer:
        if refusal.size is not None:
            return WitnessAnswer(refusal.status, SIZE_TYPE, f"{refusal.size}\n".encode("ascii"))
        return WitnessAnswer(refusal.status, TEXT_TYPE, f"{refusal}\n".encode())

    def _cosign(self, body: bytes, now_s: int) -> str:
        request, checkpoint = self._authentic(body)
        if request.old_size > checkpoint.size:
            raise WitnessRefused(
                "old-size", 400, f"{request.old_size} is over the checkpoint's {checkpoint.size}"
            )
        with self._locked(checkpoint.origin):
            known = self._state(checkpoint.origin)
            try:
                _require_next(known, request, checkpoint)
            except WitnessRefused as refusal:
                if refusal.rule in _KEPT:
                    self._keep(checkpoint.origin, refusal.rule, request.note)
                raise
            line = cosign(request.note.text, self._signer, now_s).to_line()
            with storage_errors():
                note = request.note.to_text().encode("utf-8")
                self._files.replace(self._path(checkpoint.origin), (sha256(note).digest(), note))
        return line

    def _authentic(self, body: bytes) -> tuple[WitnessRequest, Checkpoint]:
        """Return a request that a known log signed."""
        try:
            request = WitnessRequest.parse(body)
            checkpoint = Checkpoint.parse(request.note.text)
        except (NoteMalformed, CheckpointMalformed) as err:
            raise WitnessRefused("form", 400, str(err)) from err
        key = self._logs.get(checkpoint.origin)
        if key is None:
            raise WitnessRefused("origin", 404, "this log is not known here")
        try:
            verify_log_checkpoint(request.note, origin=checkpoint.origin, log_key=key)
        except NoteUnverified as err:
            raise WitnessRefused("signature", 403, str(err)) from err
        return request, checkpoint

    # --- state -----------------------------------------------------------------------------------------------

    def _path(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode('utf-8')).hexdigest()}.checkpoint"

    @contextmanager
    def _locked(self, origin: str) -> Iterator[None]:
        # compare and persist are one step for all processes: a slower request must not roll the state back
        with storage_errors():
            descriptor = os.open(
                self._path(origin).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def _state(self, origin: str) -> Checkpoint:
        with storage_errors():
            try:
                state = self._path(origin).read_bytes()
            except FileNotFoundError:
                return Checkpoint(origin, 0, EMPTY_ROOT)
        if sha256(state[32:]).digest() != state[:32]:
            raise LogDamaged("the witness's state is torn: its bytes do not have the hash that begins it")
        try:
            return Checkpoint.parse(SignedNote.parse(state[32:]).text)
        except LogError as err:
            raise LogDamaged("the witness's state is no checkpoint") from err

    def _folder_of(self, origin: str, rule: str) -> Path:
        return self._path(origin).with_suffix(f".{rule}")

    def _keep(self, origin: str, rule: str, note: SignedNote) -> None:
        """Keep a refused checkpoint with the log's own signature: it may prove the log's misbehaviour.

        What a stranger can choose is left out, proof lines and signatures of others, and each rule has its own folder:
        no flood of true checkpoints with false proofs takes the place of the two that contradict each other.
        """
        folder, key = self._folder_of(origin, rule), self._logs[origin]
        path = folder / sha256(note.text.encode("utf-8")).hexdigest()
        if folder.is_dir() and (path.exists() or sum(1 for _ in folder.iterdir()) >= EVIDENCE_MAX):
            return
        lines = tuple(line for line in note.signatures if (line.name, line.key_id) == (key.name, key.key_id))
        with storage_errors():
            self._files.make_folder(folder)
            self._files.sync(())
            self._files.replace(path, (SignedNote(note.text, lines).to_text().encode("utf-8"),))

    def refused(self, origin: str, rule: str = "fork") -> list[bytes]:
        """Return the kept checkpoints, as notes signed by the log, in no particular order.

        Args:
            origin: of the log.
            rule: "fork" for those with another root at the size that was cosigned: each proves, with the cosigned one,
                that the log forked. "proof" for those that came without a proof that leads to them.

        Raises:
            StorageFailed: they cannot be read.
        """
        folder = self._folder_of(origin, rule)
        with storage_errors():
            if not folder.is_dir():
                return []
            return [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != TEMPORARY]


def _require_next(known: Checkpoint, request: WitnessRequest, checkpoint: Checkpoint) -> None:
    """Check that a checkpoint continues the known one.

    Raises:
        WitnessRefused: 409 for another old size or another root at the same size, 422 for a proof that fails.
    """
    same_size = checkpoint.size == known.size
    if same_size and known.size and checkpoint.root != known.root:
        raise WitnessRefused("fork", 409, f"another root at {known.size} entries", size=known.size)
    if request.old_size != known.size:
        raise WitnessRefused("size", 409, f"the newest cosigned size is {known.size}", size=known.size)
    try:
        verify_consistency(known.size, known.root, checkpoint.size, checkpoint.root, request.proof)
    except ConsistencyInvalid as err:
        raise WitnessRefused("proof", 422, str(err)) from err
